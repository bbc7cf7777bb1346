"""Mutants of a bundle's files for the fuzz tests: the same number makes the same mutant; nothing is written here."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from tests.manifests import read_record
from wrn_deploy.machine import find_gpu
from wrn_deploy.manifest import MANIFEST, seal

__all__ = ["Mutant", "damage", "make_mutant", "mutate_record"]

JUNK: list[Any] = [
    None, True, -1, 0, 3.5, 10**400, float("nan"), float("inf"), "", "x", "../../etc/passwd", "/etc/passwd", "fp64", [],
    ["a"], {}, {"a": 1}, {"a": {"b": []}}, "\ud800", "a" * 5000, ".", "a\0b", MANIFEST, ".lock/x", 2**63, -(2**63),
    "./fp32.onnx", "fp16.onnx/../fp32.onnx", "fp32.onnx/", "~/fp32.onnx",
]  # fmt: skip
HUGE = (0, -1, 1, 3, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
EDGE = 6000  # bytes at both ends of a graph's file, where its nodes and shapes are: the rest is weights
GRAPHS = ("onnx-fp32", "onnx-int8-onnxruntime")


@dataclass(frozen=True, slots=True)
class Mutant:
    """What `files` of a bundle become; `precision` and `backend` open the one that was changed.

    `trusted`: the manifest vouches for the changed file, so that the file itself is read.
    """

    what: str
    files: dict[str, bytes]
    precision: str = "fp32"
    backend: str = "onnxruntime"
    trusted: bool = False


def make_mutant(number: int, folder: Path) -> Mutant:
    """The mutant of the whole bundle in `folder`: of ten, four manifests, four graphs, a plan, and a damaged file.

    No manifest vouches for a plan where there is a GPU: TensorRT would read it, and a plan may hold code.
    """
    dice = random.Random(number)
    record = read_record(folder)
    artifacts: dict[str, Any] = record["artifacts"]
    plans = [key for key, artifact in artifacts.items() if artifact["kind"] == "plan"]
    kind = number % 10
    if kind < 2:
        return Mutant("manifest, values", {MANIFEST: mutate_record(record, dice)})
    if kind < 4:
        return Mutant("manifest, bytes", {MANIFEST: damage((folder / MANIFEST).read_bytes(), dice)})
    if kind == 8 and plans:
        made = artifacts[dice.choice(plans)]
        what = {"precision": made["precision"], "backend": made["facts"]["flavor"], "trusted": True}
        changed = damage((folder / made["path"]).read_bytes(), dice)
        return Mutant(
            "plan", _vouched(record, made, changed) if find_gpu() is None else {made["path"]: changed}, **what
        )
    made = artifacts[dice.choice(GRAPHS)]
    whole = (folder / made["path"]).read_bytes()
    if kind < 6:
        changed = damage(whole, dice, edge=EDGE)
        return Mutant("graph, bytes", _vouched(record, made, changed), made["precision"], trusted=True)
    if kind < 8:
        change, changed = _change_graph(whole, dice)
        return Mutant(f"graph, {change}", _vouched(record, made, changed), made["precision"], trusted=True)
    return Mutant("file that the manifest does not know", {made["path"]: damage(whole, dice)}, made["precision"])


def mutate_record(record: dict[str, Any], dice: random.Random) -> bytes:
    """The manifest of a record with one to three places removed, renamed, swapped or filled with junk."""
    changed = copy.deepcopy(record)
    for _ in range(dice.randint(1, 3)):
        container, key = dice.choice([*_places(changed)])
        action = dice.randrange(5)
        if action == 0:
            del container[key]
        elif action == 1 and isinstance(container, dict):
            container[dice.choice(["unknown", "path", "parents"])] = container.pop(key)
        elif action == 2:
            other, place = dice.choice([*_places(changed)])
            container[key] = copy.deepcopy(other[place])
        else:
            container[key] = dice.choice(JUNK)
    text = seal(changed).decode("ascii")
    if dice.random() < 0.2:
        start = dice.randrange(len(text))
        inserted = dice.choice(["", "}", '"', "\x01", "9" * 5000, "[" * 100_000, '{"a":' * 100_000])
        text = text[:start] + inserted + text[start + dice.randrange(20) :]
    return text.encode("utf-8")


def _places(record: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in the record with each of its keys."""
    keys = list(record) if isinstance(record, dict) else list(range(len(record))) if isinstance(record, list) else []
    for key in keys:
        yield record, key
        yield from _places(record[key])


def _vouched(record: dict[str, Any], artifact: dict[str, Any], content: bytes) -> dict[str, bytes]:
    """The file with this content, and a manifest that says so, as whoever can write both would leave them."""
    artifact["sha256"], artifact["size_bytes"] = hashlib.sha256(content).hexdigest(), len(content)
    for other in record["artifacts"].values():
        other["recipe"]["parents"].pop(artifact["key"], None)
    return {artifact["path"]: content, MANIFEST: seal(record)}


def damage(content: bytes, dice: random.Random, edge: int = 0) -> bytes:
    """Bits flipped, bytes overwritten, cut out, doubled or cut off; with `edge`, mostly near the two ends."""
    changed = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 5, 20))):
        reach = min(edge or len(changed), len(changed))
        if not reach:
            break
        start = dice.randrange(reach) if dice.random() < 0.5 else len(changed) - 1 - dice.randrange(reach)
        end = start + dice.choice((1, 1, 4, 16, 300))
        action = dice.randrange(12)
        if action < 6:
            changed[start] ^= 1 << dice.randrange(8)
        elif action < 8:
            changed[start:end] = dice.randbytes(len(changed[start:end]))
        elif action == 8:
            del changed[start:end]
        elif action == 9:
            changed[start:start] = changed[start:end]
        elif action == 10:
            changed[start:end] = b"\xff" * len(changed[start:end])
        elif dice.random() < 0.3:
            del changed[start:]
    return bytes(changed)


def _change_graph(content: bytes, dice: random.Random) -> tuple[str, bytes]:
    """A file that is ONNX still, with a graph that is changed in one to three places; and in words, how."""
    model = onnx.load_from_string(content)
    told = []
    for _ in range(dice.randint(1, 3)):
        change = dice.choice(CHANGES)
        change(model, dice)
        told.append(change.__name__.strip("_"))
    return " and ".join(told), model.SerializeToString()


def _rewire(model: Any, dice: random.Random) -> None:
    """Another tensor, an unknown one or its own output goes into a node: cycles, too."""
    node, other = dice.choice(model.graph.node), dice.choice(model.graph.node)
    if node.input:
        node.input[dice.randrange(len(node.input))] = dice.choice((other.output[0], node.output[0], "nowhere", ""))


def _rename_output(model: Any, dice: random.Random) -> None:
    node, other = dice.choice(model.graph.node), dice.choice(model.graph.node)
    node.output[0] = dice.choice((other.output[0], "logits", "", "x" * 5000))


def _another_operator(model: Any, dice: random.Random) -> None:
    names = ("Relu", "Conv", "Gemm", "Reshape", "Loop", "If", "NoSuchThing", "", "QLinearConv", "Resize", "Tile")
    dice.choice(model.graph.node).op_type = dice.choice(names)


def _another_attribute(model: Any, dice: random.Random) -> None:
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    attribute = dice.choice(attributes)
    if attribute.ints:
        attribute.ints[dice.randrange(len(attribute.ints))] = dice.choice(HUGE)
    elif dice.random() < 0.5:
        attribute.i = dice.choice(HUGE)
    else:
        attribute.type = dice.randrange(15)


def _another_shape(model: Any, dice: random.Random) -> None:
    tensor = dice.choice(model.graph.initializer)
    if tensor.dims and dice.random() < 0.7:
        tensor.dims[dice.randrange(len(tensor.dims))] = dice.choice(HUGE)
    else:
        tensor.dims.append(dice.choice(HUGE))


def _another_type(model: Any, dice: random.Random) -> None:
    dice.choice(model.graph.initializer).data_type = dice.randrange(30)


def _other_weights(model: Any, dice: random.Random) -> None:
    tensor = dice.choice(model.graph.initializer)
    tensor.raw_data = damage(tensor.raw_data, dice)


def _data_elsewhere(model: Any, dice: random.Random) -> None:
    """Weights in another file: one of the bundle's, or one outside of it."""
    tensor = dice.choice(model.graph.initializer)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    place = dice.choice((MANIFEST, "../../../../etc/passwd", "/etc/passwd", "fp16.onnx", "", "no/such", "/dev/zero"))
    for key, value in (("location", place), ("offset", dice.choice(HUGE)), ("length", dice.choice(HUGE))):
        tensor.external_data.add(key=key, value=str(value))


def _without_a_part(model: Any, dice: random.Random) -> None:
    graph = model.graph
    part = dice.choice((graph.node, graph.initializer, graph.input, graph.output, model.opset_import))
    if part:
        del part[dice.randrange(len(part))]


def _doubled_part(model: Any, dice: random.Random) -> None:
    part = dice.choice((model.graph.node, model.graph.initializer, model.graph.input, model.graph.output))
    if part:
        part.add().CopyFrom(dice.choice(part))


def _another_interface(model: Any, dice: random.Random) -> None:
    values = (*model.graph.input, *model.graph.output)
    if not values:
        return
    value = dice.choice(values)
    value.type.tensor_type.elem_type = dice.randrange(25)
    for dimension in value.type.tensor_type.shape.dim:
        if dice.random() < 0.3:
            dimension.dim_value = dice.choice(HUGE)


def _another_version(model: Any, dice: random.Random) -> None:
    model.ir_version = dice.choice(HUGE)
    if model.opset_import:
        model.opset_import[0].version = dice.choice((*HUGE, 7, 11, 18, 99))


def _deep(model: Any, dice: random.Random) -> None:
    """A chain of graphs within graphs, or of nodes."""
    node, depth = model.graph.node.add(op_type="If", input=["nowhere"], output=["deep"]), dice.choice((3, 30, 90))
    for _ in range(depth):
        attribute = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
        node = attribute.g.node.add(op_type="If", input=["nowhere"], output=["deep"])


CHANGES: tuple[Callable[[Any, random.Random], None], ...] = (
    _rewire, _rename_output, _another_operator, _another_attribute, _another_attribute, _another_shape, _another_type,
    _other_weights, _data_elsewhere, _without_a_part, _doubled_part, _another_interface, _another_version, _deep,
)  # fmt: skip
