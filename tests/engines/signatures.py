"""The signatures of TensorRT's real classes, from pybind11's docstrings, and the calls of ours that must fit them.

    python -m tests.engines.signatures MODULE

prints those of an installed module as JSON; importing it needs no GPU.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engines.api import Follower, Found, Guard, find_uses

__all__ = ["CLASSES", "Call", "Real", "find_calls", "parse_signature", "read_module"]

CLASSES = ("Runtime", "ICudaEngine", "IExecutionContext", "IRuntimeConfig", "IRuntimeCache", "EngineInspector")
LINE = re.compile(r"^\s*(?:\d+\. )?(\w+)\((.*)\) -> (.+)$", re.MULTILINE)
Parameters = list[tuple[str, str, bool]]  # name, type, whether it has a default


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a method of ours, or a read (`arguments` None) or write of a property."""

    owner: str
    name: str
    guard: Guard
    where: str
    positional: int = 0
    keywords: tuple[str, ...] = ()
    kind: str = "call"  # or "read" or "write"
    tested: bool = False  # for truth: it must return a bool


@dataclass(frozen=True, slots=True)
class Real:
    """What a real class says of one of its members: the overloads of a method, or a property."""

    overloads: tuple[tuple[Parameters, str], ...] = ()
    settable: bool | None = None  # None: not a property

    def accepts(self, positional: int, keywords: tuple[str, ...]) -> bool:
        """Whether an overload takes this number of positional arguments and these keywords."""
        return any(_binds(parameters, positional, keywords) for parameters, _ in self.overloads)

    @property
    def results(self) -> set[str]:
        """The types that it returns, without modules."""
        return {returns for _, returns in self.overloads}


def _binds(parameters: Parameters, positional: int, keywords: tuple[str, ...]) -> bool:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    made = [
        inspect.Parameter(name, kind, default=None if default else inspect.Parameter.empty)
        for name, _, default in parameters
    ]
    try:
        inspect.Signature(made).bind(*[None] * positional, **dict.fromkeys(keywords))
    except TypeError:
        return False
    return True


def parse_signature(doc: str) -> list[tuple[str, Parameters, str]]:
    """Name, parameters without `self`, and return type of each signature in a docstring of pybind11."""
    found = []
    for name, inside, returns in LINE.findall(doc):
        if inside == "*args, **kwargs":
            continue
        parameters = [_parameter(text) for text in _split(inside)]
        found.append((name, parameters[1:], _short(returns)))
    return found


def _split(text: str) -> list[str]:
    """The parts between the commas that are in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{<") - (letter in ")]}>")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _parameter(text: str) -> tuple[str, str, bool]:
    declared, default, _ = text.partition(" = ")
    name, _, kind = declared.partition(": ")
    return name, _short(kind), bool(default)


def _short(kind: str) -> str:
    """A type's name without its module or namespace."""
    return re.sub(r"[\w.]+[.]|[\w:]+::", "", kind.strip())


def read_module(module: Any) -> dict[str, dict[str, Real]]:
    """Class -> member -> what the module's own class says."""
    return {name: _read_class(getattr(module, name)) for name in CLASSES if hasattr(module, name)}


def _read_class(owner: type) -> dict[str, Real]:
    members = {}
    for name, member in vars(owner).items():
        if isinstance(member, property):
            members[name] = Real(settable=member.fset is not None)
        elif name == "__init__" or not name.startswith("_"):
            overloads = [(parameters, returns) for _, parameters, returns in parse_signature(member.__doc__ or "")]
            members[name] = Real(overloads=tuple(overloads))
    return members


class _Caller(Follower):
    """Enters the calls, reads and writes of TensorRT's objects in one file."""

    def __init__(self, found: Found, file: Path, tree: ast.AST) -> None:
        super().__init__(found)
        self.calls: set[Call] = set()
        self._file = file
        self._parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}

    def visit_Attribute(self, node: ast.Attribute) -> None:  # noqa: N802 (ast's name)
        owner = self.class_of(node.value)
        if owner and not node.attr.startswith("__"):
            parent = self._parents[node]
            if not (isinstance(parent, ast.Call) and parent.func is node):
                self._enter(owner, node, kind="write" if isinstance(node.ctx, ast.Store) else "read")
        super().visit_Attribute(node)

    def visit_Call(self, node: ast.Call) -> None:  # noqa: N802 (ast's name)
        if isinstance(node.func, ast.Attribute):
            owner = self.class_of(node.func.value)
            if owner:
                self._enter(owner, node.func, call=node)
            elif owner is not None and node.func.attr in CLASSES:  # a constructor of the module
                self._enter(node.func.attr, node.func, call=node, name="__init__")
        super().visit_Call(node)

    def _enter(
        self,
        owner: str,
        node: ast.Attribute,
        *,
        call: ast.Call | None = None,
        kind: str = "call",
        name: str | None = None,
    ) -> None:
        where = f"{self._file.name}:{node.lineno}"
        if call is None:
            self.calls.add(Call(owner, node.attr, self.guard, where, kind=kind))
            return
        parent = self._parents[call]
        tested = isinstance(parent, ast.UnaryOp | ast.BoolOp | ast.If | ast.IfExp) or (
            isinstance(parent, ast.Call) and ast.unparse(parent.func) == "bool"
        )
        keywords = tuple(each.arg for each in call.keywords if each.arg is not None)
        self.calls.add(
            Call(owner, name or node.attr, self.guard, where, len(call.args), keywords, tested=tested and name is None)
        )


def find_calls(*sources: Path) -> list[Call]:
    """Every call of ours on TensorRT's objects, and every read and write of their properties."""
    found, calls = find_uses(*sources), set[Call]()
    for source in sources:
        tree = ast.parse(source.read_text(encoding="utf-8"))
        caller = _Caller(found, source, tree)
        caller.visit(tree)
        caller.calls.clear()  # methods may stand before the one that assigns what they use
        caller.visit(tree)
        calls |= caller.calls
    return sorted(calls, key=lambda call: (call.owner, call.name, call.where))


def main(name: str) -> None:
    """Prints the members of the module's classes."""
    real = read_module(importlib.import_module(name))
    members = {
        owner: {member: [each.overloads, each.settable] for member, each in found.items()}
        for owner, found in real.items()
    }
    json.dump(members, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
