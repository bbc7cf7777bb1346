"""Finds every TensorRT name that our sources use, by following values from the imported module through the code.

    python -m tests.engines.api FOLDER

writes tensorrt_api_names.json anew, from FOLDER's lists of the official bindings (tensorrt-10.16.1.11.json and so on).
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

__all__ = ["NAMES", "RESULTS", "Follower", "Found", "Guard", "Use", "find_sources", "find_uses", "used_names"]

NAMES = Path(__file__).with_name("tensorrt_api_names.json")
ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("engines", "wrn_deploy/backends", "wrn_deploy/pipeline")
MODULE = ""  # the class under which the names of the module itself are entered

# What a method gives, where that is another TensorRT object: everything else is plain data.
RESULTS = {
    ("Builder", "create_network"): "INetworkDefinition",
    ("Builder", "create_builder_config"): "IBuilderConfig",
    ("Builder", "create_optimization_profile"): "IOptimizationProfile",
    ("IBuilderConfig", "create_timing_cache"): "ITimingCache",
    ("IBuilderConfig", "get_timing_cache"): "ITimingCache",
    ("INetworkDefinition", "get_input"): "ITensor",
    ("OnnxParser", "get_error"): "ParserError",
    ("Runtime", "deserialize_cuda_engine"): "ICudaEngine",
    ("ICudaEngine", "create_execution_context"): "IExecutionContext",
    ("ICudaEngine", "create_engine_inspector"): "EngineInspector",
    ("ICudaEngine", "create_runtime_config"): "IRuntimeConfig",
    ("IRuntimeConfig", "create_runtime_cache"): "IRuntimeCache",
    ("IExecutionContext", "get_runtime_config"): "IRuntimeConfig",
}


class Guard(StrEnum):
    """What has been asked before a name is used; a docstring that begins with MARKS asks for its whole function."""

    NONE = ""
    TENSORRT = "tensorrt"
    RTX = "tensorrt_rtx"
    ASKED = "hasattr"


MARKS = {"TensorRT-RTX only:": Guard.RTX, "TensorRT only:": Guard.TENSORRT}
OTHER = {Guard.RTX: Guard.TENSORRT, Guard.TENSORRT: Guard.RTX}


@dataclass(frozen=True, order=True)
class Use:
    """A name of a class of TensorRT's (MODULE: of the module), and the guard under which it is used."""

    owner: str
    name: str
    guard: Guard


@dataclass
class Found:
    """What is known of all sources: it grows until a pass adds nothing."""

    uses: set[Use] = field(default_factory=set)
    unguarded: set[str] = field(default_factory=set)  # calls of marked functions from where nothing was asked
    parameters: dict[tuple[str, str], str] = field(default_factory=dict)  # (function, parameter) -> class
    results: dict[str, str] = field(default_factory=dict)  # function -> class
    functions: dict[str, list[ast.FunctionDef]] = field(default_factory=dict)  # those of one name, in any file

    @property
    def size(self) -> int:
        return len(self.uses) + len(self.unguarded) + len(self.parameters) + len(self.results)


class Follower(ast.NodeVisitor):
    """`module`, wherever it comes from, is TensorRT; variables, attributes and parameters keep what they are given."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.known: dict[str, str] = {}
        self.guard = Guard.NONE
        self.function: str | None = None

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name in (Guard.TENSORRT, Guard.RTX):
                self.known[alias.asname or alias.name] = MODULE

    def visit_Assign(self, node: ast.Assign) -> None:
        kind = self.class_of(node.value)
        if kind is not None:
            self.known.update(dict.fromkeys((ast.unparse(target) for target in node.targets), kind))
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.class_of(node)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """What a class overrides must be there to be called."""
        for base in node.bases:
            owner = self.class_of(base)
            methods = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
            if owner:
                self.found.uses |= {Use(owner, name, self.guard) for name in methods if not name.startswith("_")}
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        before, outside = dict(self.known), self.function
        self.function = node.name
        for parameter in (*node.args.args, *node.args.kwonlyargs):
            self.known.pop(parameter.arg, None)
            kind = self.found.parameters.get((node.name, parameter.arg))
            if kind is not None:
                self.known[parameter.arg] = kind
        with self._under(_mark(node) or self.guard):
            self.generic_visit(node)
        self.known = before | {text: kind for text, kind in self.known.items() if text.startswith("self.")}
        self.function = outside

    def visit_Return(self, node: ast.Return) -> None:
        kind = self.class_of(node.value) if node.value is not None else None
        if kind is not None and self.function is not None:
            self.found.results[self.function] = kind
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name, method = _called(node)
        for function in self.found.functions.get(name, []):
            mark = _mark(function)
            if mark is not None and self.guard is not mark:
                self.found.unguarded.add(name)
            names = [each.arg for each in function.args.args][method or function.name == "__init__" :]
            pairs = [*zip(names, node.args, strict=False), *((each.arg, each.value) for each in node.keywords)]
            for parameter, value in pairs:
                kind = self.class_of(value)
                if kind is not None and parameter is not None:
                    self.found.parameters[function.name, parameter] = kind
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        self._branches(node, node.body, node.orelse)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._branches(node, [node.body], [node.orelse])

    def _branches(self, node: ast.If | ast.IfExp, body: Iterable[ast.AST], orelse: Iterable[ast.AST]) -> None:
        self.visit(node.test)
        asked = _asked(node.test)
        for branch, guard in ((body, asked), (orelse, OTHER.get(asked, Guard.NONE))):
            with self._under(guard or self.guard):
                for each in branch:
                    self.visit(each)

    @contextmanager
    def _under(self, guard: Guard) -> Iterator[None]:
        outside, self.guard = self.guard, guard
        yield
        self.guard = outside

    def class_of(self, node: ast.expr) -> str | None:
        """The TensorRT class of an expression's value, None for anything else; enters the names that it uses."""
        if isinstance(node, ast.IfExp):
            asked = _asked(node.test)
            with self._under(asked or self.guard):
                body = self.class_of(node.body)
            with self._under(OTHER.get(asked, Guard.NONE) or self.guard):
                orelse = self.class_of(node.orelse)
            return orelse if body is None else body
        if isinstance(node, ast.Call):
            name, method = _called(node)
            kind = self.class_of(node.func)
            return kind if kind is not None or method else self.found.results.get(name)
        text = ast.unparse(node)
        if text == "module" or text.endswith(".module"):
            return MODULE
        owner = self.class_of(node.value) if isinstance(node, ast.Attribute) else None
        if owner is None or not isinstance(node, ast.Attribute):
            return self.known.get(text)
        if node.attr.startswith("__") and node.attr != "__init__":  # any module, class or enum has them
            return None
        self.found.uses.add(Use(owner, node.attr, self.guard))
        return node.attr if owner == MODULE else RESULTS.get((owner, node.attr))


def _called(node: ast.Call) -> tuple[str, bool]:
    """The name of what is called, and whether it is called as a method."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr, True
    return (node.func.id if isinstance(node.func, ast.Name) else ""), False


def _mark(function: ast.FunctionDef) -> Guard | None:
    text = ast.get_docstring(function) or ""
    return next((guard for words, guard in MARKS.items() if text.startswith(words)), None)


def _asked(test: ast.expr) -> Guard:
    """What a condition asks: `x is Flavor.RTX`, `hasattr(...)`, or one of these with more conditions."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return next((guard for guard in map(_asked, test.values) if guard), Guard.NONE)
    if isinstance(test, ast.Call) and ast.unparse(test.func) == "hasattr":
        return Guard.ASKED
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], (ast.Is, ast.Eq, ast.IsNot, ast.NotEq)):
        names = {"Flavor.RTX": Guard.RTX, "Flavor.TENSORRT": Guard.TENSORRT}
        guard = names.get(ast.unparse(test.comparators[0]), Guard.NONE)
        return guard if isinstance(test.ops[0], (ast.Is, ast.Eq)) else OTHER.get(guard, Guard.NONE)
    return Guard.NONE


def find_sources() -> list[Path]:
    """Every file of ours that may use TensorRT: nobody keeps a list."""
    return [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]


def find_uses(*sources: Path) -> Found:
    """Follows values through all sources, from file to file, until nothing new is found."""
    trees = [ast.parse(source.read_text(encoding="utf-8")) for source in sources]
    found = Found()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef) and node.name != "__init__":
            found.functions.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.ClassDef):
            inits = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
            found.functions.setdefault(node.name, []).extend(inits)
    size = -1
    while size < found.size:
        size = found.size
        for tree in trees:
            follower = Follower(found)
            follower.visit(tree)
            follower.visit(tree)  # methods may stand before the one that assigns what they use
    return found


def used_names(uses: Iterable[Use], *guards: Guard) -> dict[str, list[str]]:
    """Class -> its members that are used under these guards (none: under any); the module's own are under ""."""
    pairs = {(use.owner, use.name) for use in uses if not guards or use.guard in guards}
    return {owner: sorted(name for other, name in pairs if other == owner) for owner in sorted({o for o, _ in pairs})}


def _known(record: dict[str, dict[str, list[str]]], owner: str) -> set[str]:
    if owner == MODULE:
        return set(record)
    return {*record.get(owner, {}).get("members", []), *record.get(owner, {}).get("enum", [])}


def main(folder: Path) -> None:
    """Writes the names that we use and each official list has."""
    used = used_names(find_uses(*find_sources()).uses)
    official = {}
    for file in sorted(folder.glob("tensorrt-*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        flavor, _, version = file.stem.rpartition("-")
        there = {owner: [name for name in names if name in _known(record, owner)] for owner, names in used.items()}
        official[f"{flavor.replace('-', '_')} {version}"] = {owner: names for owner, names in there.items() if names}
    NAMES.write_text(json.dumps(official, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
