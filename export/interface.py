"""Puts the interface of a bundle around a core graph, and takes it off again: ONNX to ONNX, exactly undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.data.preprocess import scale_and_shift
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.graph import DEQUANTIZE, QUANTIZE, activated, is_sum, users
from wrn_deploy.spec import ModelSpec, Preprocessing, TensorSpec

__all__ = ["Units", "find_feature_maps", "take_pixels", "unwrap", "wrap"]

PREFIX = "interface."
IMAGES, TOP_K = f"{PREFIX}images", f"{PREFIX}top_k"
BEHIND_CLASSIFIER = ("Cast", "QuantizeLinear", "DequantizeLinear")  # what may change the type of the logits

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Units:
    """Equalisation's change of a tensor's channels, (C,) each: `values * factors - shifts`; None: no change."""

    factors: Floats | None = None
    shifts: Floats | None = None


def wrap(
    core: ir.Model, spec: ModelSpec, feature_factors: Floats | None = None, map_units: Mapping[str, Units] | None = None
) -> ir.Model:
    """A copy of the core graph that takes `spec.input` and gives `spec.outputs`.

    Pixels are normalised in float32 by the operations of `data.preprocess.normalize`, after a Cast, since TensorRT does
    not transpose uint8. The core computes what it did.

    Args:
        core: normalised images (batch, 3, H, W) float32 -> logits (batch, classes) float32, of any precision inside.
        spec: the bundle's.
        feature_factors: factors of the pooled features in an equalised graph, (F,), to undo; None: nothing.
        map_units: changes of the feature maps there, by the names of the core's tensors, to undo.

    Raises:
        DeployError: no classifier is found for the features, or it reads another number of them; or a feature map is
            not found.
    """
    model, interface = core.clone(), spec.interface
    graph = model.graph
    if interface.pixels:
        _take_pixels(graph, spec.preprocessing)
    logits = graph.outputs[0]
    outputs = [logits]
    if interface.top_k is not None:
        outputs = _top_k(graph, logits, interface.top_k)
    if interface.features:
        outputs.append(_features(graph, logits, interface.features, feature_factors))
    if interface.feature_maps:
        outputs += _feature_maps(graph, spec, map_units or {})
    graph.outputs[:] = outputs
    for value, wanted in zip(outputs, spec.outputs, strict=True):
        _describe(value, wanted, logits)
    return model


def take_pixels(model: ir.Model, preprocessing: Preprocessing) -> ir.Model:
    """A copy of a graph for normalised images, with any outputs, that takes pixels as `wrap` has it."""
    changed = model.clone()
    _take_pixels(changed.graph, preprocessing)
    return changed


def unwrap(model: ir.Model) -> ir.Model:
    """Undoes `wrap`: the core graph as it was; returns a graph without an interface unchanged.

    Raises:
        DeployError: the graph has nodes of an interface, but not as `wrap` puts them.
    """
    if not any((node.name or "").startswith(PREFIX) for node in model.graph):
        return model
    core = model.clone()
    try:
        _strip(core.graph)
    except (IndexError, ValueError) as error:
        text = f"the graph's interface is not as it was written ({error}): export the model again"
        raise DamagedFile(text) from error
    return core


def find_feature_maps(graph: ir.Graph) -> list[ir.Value]:
    """The tensors of a core graph of any precision that a detector reads of its backbone, finest first.

    In a residual network these are the last sums of each height and width, behind their ReLU if they have one; in
    others the last Convs, likewise. What a network computes at a resolution before its first sum (a stem) is left out.
    """
    nodes = [node for node in graph if is_sum(node)] or [node for node in graph if node.op_type == "Conv"]
    found: dict[tuple[object, ...], ir.Value] = {}
    for value in (activated(node.outputs[0]) for node in nodes):
        assert value.shape is not None, f"{value.name} has no shape"
        found[tuple(value.shape)[2:]] = value
    return list(found.values())


def _strip(graph: ir.Graph) -> None:
    nodes = {node.name: node for node in graph if (node.name or "").startswith(PREFIX)}
    logits = nodes[TOP_K].inputs[0] if TOP_K in nodes else graph.outputs[0]
    if logits is None or logits.producer() in nodes.values():
        raise ValueError("it hides the logits")
    graph.outputs[:] = [logits]
    if IMAGES in nodes:
        inner, outer = nodes[IMAGES].outputs[0], graph.inputs[0]
        image = ir.Value(name=outer.name, type=inner.type, shape=inner.shape)
        ir.convenience.replace_all_uses_with(inner, image)
        graph.inputs[:] = [image]
    graph.remove(list(nodes.values()), safe=True)  # refuses nodes that others read
    for name in [name for name in graph.initializers if name.startswith(PREFIX)]:
        del graph.initializers[name]


def _take_pixels(graph: ir.Graph, preprocessing: Preprocessing) -> None:
    """Images (batch, H, W, 3) uint8 -> Cast, Transpose, Mul, Add -> the core's input.

    In this order each factor holds for a whole plane: ONNX Runtime takes a fourteenth of the time (at 224x224).
    """
    image = graph.inputs[0]
    assert image.shape is not None
    batch, channels, *size = image.shape
    nhwc = ir.Shape([batch, *size, channels])
    pixels = ir.Value(name=image.name, type=ir.TensorType(ir.DataType.UINT8), shape=nhwc)
    scale, shift = (values.reshape(-1, 1, 1) for values in scale_and_shift(preprocessing))
    cast = _node("Cast", [pixels], "cast", {"to": ir.DataType.FLOAT})
    transpose = _node("Transpose", [cast.outputs[0]], "transpose", {"perm": [0, 3, 1, 2]})
    multiply = _node("Mul", [transpose.outputs[0], _constant(graph, "scale", scale)], "mul")
    add = _node("Add", [multiply.outputs[0], _constant(graph, "shift", shift)], "images")
    for node in (cast, transpose, multiply, add):
        node.outputs[0].type, node.outputs[0].shape = image.type, nhwc if node is cast else image.shape
    ir.convenience.replace_all_uses_with(image, add.outputs[0])
    graph.inputs[:] = [pixels]
    graph.insert_before(graph[0], [cast, transpose, multiply, add])


def _top_k(graph: ir.Graph, logits: ir.Value, count: int) -> list[ir.Value]:
    k = _constant(graph, "k", np.array([count], dtype=np.int64))
    node = ir.node("TopK", [logits, k], {"axis": -1, "largest": 1, "sorted": 1}, num_outputs=2, name=TOP_K)
    graph.append(node)
    return list(node.outputs)


def _features(graph: ir.Graph, logits: ir.Value, count: int, factors: Floats | None) -> ir.Value:
    """The classifier's input, in float32 and in the network's own units."""
    pooled = _classifier_input(logits)
    size = pooled.shape[-1] if pooled.shape is not None else None
    if size != count:
        raise DeployError(f"the graph's classifier reads {size} features: expected {count}; export the model again")
    return _as_float(graph, pooled, Units(factors), name="features", stored="pooled", unit="unit")


def _feature_maps(graph: ir.Graph, spec: ModelSpec, units: Mapping[str, Units]) -> list[ir.Value]:
    """The feature maps as their next readers see them, in float32 and in the network's own units."""
    found = {tuple(value.shape or ())[1:]: value for value in find_feature_maps(graph)}
    outputs = []
    for wanted in spec.feature_maps:
        if wanted.shape not in found:
            raise DeployError(f"the graph has no {wanted.name} {wanted.shape}: export the model again")
        value, name = found[wanted.shape], wanted.name
        own = units.get(value.name or "", Units())
        outputs.append(_as_float(graph, _as_read(value), own, name=name, stored=f"{name}.stored", unit=f"{name}.unit"))
    return outputs


def _as_read(value: ir.Value) -> ir.Value:
    """The tensor that its readers see: the DQ's output if only a Q reads the tensor, else the tensor itself.

    This keeps the integer kernel before it, and the graph computes what it would without this reader.
    """
    readers = users(value)
    if not readers or any(reader.op_type != QUANTIZE for reader in readers):
        return value
    dequantizers = [user for user in users(readers[0].outputs[0]) if user.op_type == DEQUANTIZE]
    return dequantizers[0].outputs[0] if dequantizers else value


def _as_float(graph: ir.Graph, value: ir.Value, units: Units, *, name: str, stored: str, unit: str) -> ir.Value:
    """The tensor in float32 and in its own units; `name` is the result's, `stored` the tensor's, `unit` theirs."""
    changes = [(op_type, change) for op_type, change in _undone(units, value) if change is not None]
    own = [name] if not changes else [stored, *(f"{name}.scaled" for _ in changes[1:]), name]
    half = value.dtype != ir.DataType.FLOAT
    nodes = [_node("Cast", [value], own[0], {"to": ir.DataType.FLOAT}) if half else _node("Identity", [value], own[0])]
    for at, (op_type, change) in enumerate(changes):
        last = nodes[-1].outputs[0]
        last.type, last.shape = ir.TensorType(ir.DataType.FLOAT), value.shape
        constant = _constant(graph, unit if op_type == "Mul" else f"{unit}.shift", change)
        nodes.append(_node(op_type, [last, constant], own[at + 1]))
    graph.extend(nodes)
    return nodes[-1].outputs[0]


def _undone(units: Units, value: ir.Value) -> list[tuple[str, Floats | None]]:
    """The factor and the summand that restore a tensor's own units, in the shape of its channels."""
    shape = (-1,) if value.shape is not None and len(value.shape) == 2 else (-1, 1, 1)
    factors = np.ones(1) if units.factors is None else units.factors.astype(np.float64)
    inverse = None if units.factors is None else (1.0 / factors).astype(np.float32).reshape(shape)
    shift = None if units.shifts is None else (units.shifts / factors).astype(np.float32).reshape(shape)
    return [("Mul", inverse), ("Add", shift)]


def _classifier_input(logits: ir.Value) -> ir.Value:
    """What the last Gemm or MatMul reads."""
    value: ir.Value | None = logits
    while value is not None and (node := value.producer()) is not None:
        if node.op_type in ("Gemm", "MatMul"):
            assert node.inputs[0] is not None
            return node.inputs[0]
        if node.op_type not in BEHIND_CLASSIFIER:
            break
        value = node.inputs[0]
    raise DeployError("the logits do not come out of a Gemm or MatMul: expected a classifier, for the pooled features")


def _describe(value: ir.Value, wanted: TensorSpec, logits: ir.Value) -> None:
    """Gives a new output its name, type and shape; the logits have them."""
    if value is logits:
        return
    assert logits.shape is not None
    value.name = wanted.name
    value.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(wanted.dtype)))
    value.shape = ir.Shape([logits.shape[0], *wanted.shape])


def _node(
    op_type: str, inputs: list[ir.Value], name: str, attributes: dict[str, int | list[int]] | None = None
) -> ir.Node:
    """A node whose output has its name."""
    node = ir.node(op_type, inputs, attributes, name=f"{PREFIX}{name}")
    node.outputs[0].name = node.name
    return node


def _constant(graph: ir.Graph, name: str, values: npt.NDArray[np.generic]) -> ir.Value:
    value = ir.val(f"{PREFIX}{name}", const_value=ir.Tensor(values, name=f"{PREFIX}{name}"))
    graph.initializers.add(value)
    return value
