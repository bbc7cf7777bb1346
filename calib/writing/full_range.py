"""Shifts outputs of ReLUs, so that all 256 codes of symmetric int8 stand for them, not the 128 from zero on."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.collection.table import CalibrationTable, TensorRange
from wrn_deploy.calib.equalization.channels import own_parameter
from wrn_deploy.calib.placement import skip_points, tensorrt_points
from wrn_deploy.calib.writing.int8_weights import Int8Weights, find_int8_weights
from wrn_deploy.calib.writing.qdq import add_constant, rounded_up
from wrn_deploy.graph import QUANTIZE, array_of, is_sum, parameter, producer, users, value_name

__all__ = ["SHIFTED", "Shift", "is_shifted", "saturate", "settle", "use_full_range"]

SHIFTED = ".shifted"  # the end of a shifted tensor's name
LOWEST, LARGEST = -128, 127  # codes
ONE = 64  # the code of the constant channels: half of -LOWEST, so that they undo the shift by whole codes
VECTOR = 32  # channels of a vector in TensorRT's format for int8 (kCHW32): others are padded to a multiple of it
FEWEST = 4  # constant channels


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How one Conv reads a shifted tensor.

    Attributes:
        conv: its name.
        amount: what was subtracted from the tensor: 128 steps.
        channels: the tensor's channels, without constant ones.
        constants: how many constant channels undo the shift; 0: the bias does, as the Conv has no padding.
        bias: the Conv's bias in the shifted graph, (O,).
        weights: its sums of weights over these channels, (O,), that the bias was made with.
    """

    conv: str
    amount: float
    channels: int
    constants: int
    bias: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]


def use_full_range(
    model: ir.Model, table: CalibrationTable, kept: Collection[str]
) -> tuple[ir.Model, dict[str, TensorRange], list[Shift]]:
    """Returns a copy of the fp32 graph with the same logits and shifted tensors, their ranges, and who reads them.

    A ReLU's output x lies in 0 .. 255 s, where s is a step of int8. With x - 128 s the codes -128 .. 127 are all used:
    twice as many as 0 .. 127, and a quarter of the rounding error. Conv and sum take the shift as a bias:
        ReLU(y) - 128 s = max(y - 128 s, -128 s),  W x + b = W (x - 128 s) + (b + 128 s sum W).
    A Conv with padding reads 0 there, which now stands for 128 s. So if the tensor's Conv has channels to spare in
    TensorRT's format, it writes constant channels too, whose padding is 0 as well: they undo the shift inside the
    image, and only there. Other tensors with padding stay as they are, and so do those in `kept`.

    The maximum is a Clip, which `saturate` removes behind a Q: Q itself saturates at -128.
    """
    changed = model.clone()
    graph = changed.graph
    quantized = {point.tensor for point in tensorrt_points(graph)}
    skips = {point.tensor for point in skip_points(graph)}
    ranges: dict[str, TensorRange] = {}
    shifts: list[Shift] = []
    for node in [node for node in graph if node.op_type == "Relu"]:
        name = value_name(node.outputs[0])
        found = _find(node, skips) if name in quantized and name not in kept else None
        if found is None:
            continue
        step = float(rounded_up(np.asarray(table[name].amax / 255.0), np.float16))
        shifts += _shift(graph, node, found, -LOWEST * step)
        for value in (node.outputs[0], *(pool.outputs[0] for pool in found.pools)):
            ranges[f"{value_name(value)}{SHIFTED}"] = TensorRange(
                low=LOWEST * step, high=LARGEST * step, amax=LARGEST * step, clipped=0.0
            )
        _clip(graph, node, LOWEST * step)
        for pool in found.pools:
            pool.outputs[0].name = f"{value_name(pool.outputs[0])}{SHIFTED}"
    # A Conv may write one shifted tensor and read another: only now are its bias and its outputs complete.
    convs = {node.name: node for node in graph if node.op_type == "Conv"}
    return changed, ranges, [_complete(shift, convs[shift.conv]) for shift in shifts]


def is_shifted(value: ir.Value | None) -> bool:
    """Whether it is a shifted tensor."""
    return value_name(value).endswith(SHIFTED)


def settle(int8: ir.Model, shifts: Collection[Shift]) -> None:
    """Makes the shifts exact for the codes that the Convs' weights have now, in place."""
    stored = find_int8_weights(int8)
    for shift in shifts:
        if shift.conv in stored:
            _settle(stored[shift.conv], shift)


def saturate(int8: ir.Model) -> ir.Model:
    """Removes Clips whose output only Q read that saturate there, in place, and returns the graph."""
    graph = int8.graph
    for node in [node for node in graph if node.op_type == "Clip" and is_shifted(node.outputs[0])]:
        clipped, readers = node.outputs[0], users(node.outputs[0])
        lowest = float(array_of(node.inputs[1]))
        if readers and all(
            reader.op_type == QUANTIZE and LOWEST * float(array_of(reader.inputs[1])) == lowest for reader in readers
        ):
            value = node.inputs[0]
            for use in list(clipped.uses()):
                use.node.replace_input_with(use.idx, value)
            graph.remove(node, safe=True)
    return int8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A ReLU whose output can be shifted: the Conv that can take the shift, and who reads the output."""

    writer: ir.Node
    convs: tuple[ir.Node, ...]  # that read it
    sums: tuple[ir.Node, ...]  # the Convs in sums that it is the skip of
    pools: tuple[ir.Node, ...]
    constants: int


def _find(relu: ir.Node, skips: Collection[str]) -> _Found | None:
    before = relu.inputs[0]
    summed = producer(before, "Add")
    writer = producer(before, "Conv") if summed is None else _branch(summed, skips)
    if writer is None or before is None or len(users(before)) != 1:
        return None
    convs, sums, pools, waiting = list[ir.Node](), list[ir.Node](), list[ir.Node](), [*relu.outputs[0].uses()]
    for use in waiting:
        branch = _branch(use.node, skips) if is_sum(use.node) else None
        if use.node.op_type == "Conv" and use.idx == 0 and use.node.attributes.get_int("group", 1) == 1:
            convs.append(use.node)
        elif use.node.op_type == "MaxPool":
            pools.append(use.node)
            waiting += use.node.outputs[0].uses()
        elif branch is not None:
            sums.append(branch)
        else:
            return None
    if not all(_is_padded(conv) or _fits_fp16(conv) for conv in convs):
        return None
    constants = 0
    if any(map(_is_padded, convs)):
        constants = _constants(convs, len(parameter(writer, 1)))
        if summed is not None or sums or pools or not constants:
            return None
    return _Found(writer=writer, convs=tuple(convs), sums=tuple(sums), pools=tuple(pools), constants=constants)


def _branch(add: ir.Node, skips: Collection[str]) -> ir.Node | None:
    """The Conv in a sum whose output only the sum reads; not one in the skip, whose output has a scale of its own."""
    convs = (producer(value, "Conv") for value in add.inputs if value_name(value) not in skips)
    return next((conv for conv in convs if conv is not None and len(users(conv.outputs[0])) == 1), None)


def _fits_fp16(conv: ir.Node) -> bool:
    """Whether rounding the bias to fp16 costs less than the shift gives.

    The shift adds 128 s sum(w) to the bias, whose rounding error is up to 2**-11 of it. Rounding of the input costs
    s |w| (root of the sum of squares) in units of 1 / sqrt(12), or twice that without the shift.
    """
    weights = parameter(conv, 1)
    sums, norms = np.abs(weights.sum(axis=(1, 2, 3))), np.sqrt(np.square(weights).sum(axis=(1, 2, 3)))
    return bool((sums * (-LOWEST * 2.0**-11) <= norms).all())


def _is_padded(conv: ir.Node) -> bool:
    return any(conv.attributes.get_ints("pads", [0]))


def _constants(convs: Collection[ir.Node], channels: int) -> int:
    """The fewest constant channels whose weights are no larger than the others'; 0: the vector has no room for them."""
    for count in range(FEWEST, VECTOR - channels % VECTOR + 1, FEWEST) if channels % VECTOR else ():
        weights = [parameter(conv, 1) for conv in convs if _is_padded(conv)]
        largest = [np.abs(each).max(axis=(1, 2, 3)) for each in weights]
        undone = [np.abs(_undone(each, count)).max(axis=(1, 2, 3)) for each in weights]
        if all((mine <= most).all() for mine, most in zip(undone, largest, strict=True)):
            return count
    return 0


def _undone(weights: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """The weights of `count` constant channels, (O, count, kh, kw), that undo the shift for weights (O, I, kh, kw)."""
    undone = weights.sum(axis=1, keepdims=True) * (-LOWEST / ONE / count)
    return np.repeat(undone, count, axis=1)


def _shift(graph: ir.Graph, relu: ir.Node, found: _Found, amount: float) -> list[Shift]:
    """Takes the shift out of what writes the tensor, and undoes it in what reads it."""
    channels = len(parameter(found.writer, 1))
    _add_bias(graph, found.writer, -amount)
    for conv in found.sums:
        _add_bias(graph, conv, amount)
    if found.constants:
        _add_channels(graph, found.writer, relu, found.constants, amount * ONE / -LOWEST)
    shifts = []
    for conv in found.convs:
        weights = parameter(conv, 1)
        sums = weights.sum(axis=(1, 2, 3))
        padded = _is_padded(conv)
        if found.constants:
            added = _undone(weights, found.constants)
            own_parameter(graph, conv, 1, np.concatenate([weights, added if padded else 0.0 * added], axis=1))
        if not padded:
            _add_bias(graph, conv, amount * sums)
        shifts.append(
            Shift(
                conv=conv.name or "",
                amount=amount,
                channels=channels,
                constants=found.constants if padded else 0,
                bias=parameter(conv, 2),
                weights=sums,
            )
        )
    return shifts


def _complete(shift: Shift, conv: ir.Node) -> Shift:
    weights = parameter(conv, 1)[:, : shift.channels].sum(axis=(1, 2, 3))
    return dataclasses.replace(shift, bias=parameter(conv, 2), weights=weights)


def _add_bias(graph: ir.Graph, conv: ir.Node, added: npt.NDArray[np.float64] | float) -> None:
    own_parameter(graph, conv, 2, parameter(conv, 2) + added)


def _add_channels(graph: ir.Graph, conv: ir.Node, relu: ir.Node, count: int, value: float) -> None:
    """The Conv writes `count` more channels, of this value everywhere."""
    weights, bias = parameter(conv, 1), parameter(conv, 2)
    own_parameter(graph, conv, 1, np.concatenate([weights, np.zeros((count, *weights.shape[1:]))]))
    own_parameter(graph, conv, 2, np.concatenate([bias, np.full(count, value)]))
    for output in (conv.outputs[0], relu.outputs[0]):
        assert output.shape is not None
        output.shape = ir.Shape([output.shape[0], len(bias) + count, *list(output.shape)[2:]])


def _clip(graph: ir.Graph, relu: ir.Node, lowest: float) -> None:
    old, name = relu.outputs[0], f"{value_name(relu.outputs[0])}{SHIFTED}"
    least = add_constant(graph, f"{name}.lowest", np.asarray(lowest, dtype=np.float32))
    clip = ir.node("Clip", [relu.inputs[0], least], name=name)
    new = clip.outputs[0]
    new.name, new.type, new.shape = name, old.type, old.shape
    graph.insert_after(relu, clip)
    for use in list(old.uses()):
        use.node.replace_input_with(use.idx, new)
    graph.remove(relu, safe=True)


def _settle(conv: Int8Weights, shift: Shift) -> None:
    codes, scale = conv.codes.astype(np.int64), conv.scale.astype(np.float64)
    if not shift.constants:
        now = codes[:, : shift.channels].sum(axis=(1, 2, 3)) * scale
        conv.set_bias(shift.bias + shift.amount * (now - shift.weights))
        return
    total = codes[:, : shift.channels].sum(axis=1, keepdims=True) * (-LOWEST // ONE)
    # As even as whole numbers can be: the first channels get one more.
    each, more = np.divmod(total, shift.constants)
    spread = each + (np.arange(shift.constants).reshape(1, -1, 1, 1) < more)
    codes[:, shift.channels :] = np.clip(spread, -LARGEST, LARGEST)
    conv.set_codes(codes)
