"""Finds every TensorRT name that our sources use, by following values from the imported module through the code."""

from __future__ import annotations

import ast
from pathlib import Path

__all__ = ["used_names"]

MODULE = ""  # the class under which the names of the module itself are entered

# What a method gives, where that is another TensorRT object: everything else is plain data.
RESULTS = {
    ("Builder", "create_network"): "INetworkDefinition",
    ("Builder", "create_builder_config"): "IBuilderConfig",
    ("Builder", "create_optimization_profile"): "IOptimizationProfile",
    ("INetworkDefinition", "get_input"): "ITensor",
    ("OnnxParser", "get_error"): "ParserError",
    ("Runtime", "deserialize_cuda_engine"): "ICudaEngine",
    ("ICudaEngine", "create_execution_context"): "IExecutionContext",
    ("ICudaEngine", "create_engine_inspector"): "EngineInspector",
}


class _Follower(ast.NodeVisitor):
    """`module`, wherever it comes from, is TensorRT; variables and attributes keep what was assigned to them."""

    def __init__(self) -> None:
        self.used: set[tuple[str, str]] = set()
        self.known: dict[str, str] = {}

    def visit_Assign(self, node: ast.Assign) -> None:
        kind = self.class_of(node.value)
        if kind is not None:
            self.known.update(dict.fromkeys((ast.unparse(target) for target in node.targets), kind))
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.class_of(node)
        self.generic_visit(node)

    def class_of(self, node: ast.expr) -> str | None:
        """The TensorRT class of an expression's value, None for anything else; enters the names that it uses."""
        if isinstance(node, ast.Call):
            return self.class_of(node.func)
        text = ast.unparse(node)
        if text == "module" or text.endswith(".module"):
            return MODULE
        owner = self.class_of(node.value) if isinstance(node, ast.Attribute) else None
        if owner is None or not isinstance(node, ast.Attribute):
            return self.known.get(text)
        if owner == MODULE and node.attr == "__version__":  # any Python module has it
            return None
        self.used.add((owner, node.attr))
        return node.attr if owner == MODULE else RESULTS.get((owner, node.attr))


def used_names(*sources: Path) -> dict[str, list[str]]:
    """Class -> its members that the sources use; the module's own names are under ""."""
    used = set()
    for source in sources:
        follower = _Follower()
        tree = ast.parse(source.read_text(encoding="utf-8"))
        follower.visit(tree)
        follower.visit(tree)  # methods may stand before the one that assigns what they use
        used |= follower.used
    return {owner: sorted(name for other, name in used if other == owner) for owner in sorted({o for o, _ in used})}
