"""Properties of calibration's pure functions for any values: merging, codes, changes that keep a graph's answers."""

from __future__ import annotations

from functools import reduce
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tests.calib.graphs import session_of
from tests.calib.writing.test_fold_strides import CHANNELS, graph
from wrn_deploy.calib.collection.ranges import Histogram, Part, Range
from wrn_deploy.calib.collection.table import Equalization
from wrn_deploy.calib.equalization.channels import channel_classes
from wrn_deploy.calib.equalization.equalize import equalize, find_equalization
from wrn_deploy.calib.placement import calibrated_tensors
from wrn_deploy.calib.qat.operators import OPERATORS
from wrn_deploy.calib.writing.fold_strides import fold_strides
from wrn_deploy.calib.writing.qdq import INT8, rounded_up, weight_scale
from wrn_deploy.graph import parameter

Floats = npt.NDArray[np.float32]
SIZE = 8  # pixels of a side

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
parts = st.lists(st.lists(numbers, min_size=1, max_size=20), min_size=1, max_size=6)


def histogram_of(values: list[float]) -> Histogram:
    array = np.array(values, dtype=np.float32)
    histogram = Histogram()
    histogram.add(array, float(np.abs(array).max()))
    return histogram


@given(parts, st.randoms(use_true_random=False))
def test_histograms_merge_to_the_same_bits_in_any_order(values: list[list[float]], random: Random) -> None:
    whole = histogram_of([value for part in values for value in part])
    histograms = [histogram_of(part) for part in values]
    random.shuffle(histograms)
    for merged in (
        reduce(Histogram.merged, histograms),
        reduce(lambda first, second: second.merged(first), histograms),
        histograms[0].merged(reduce(Histogram.merged, histograms[1:], Histogram())),
    ):
        assert merged.exponent == whole.exponent
        assert np.array_equal(merged.counts, whole.counts)


@given(
    st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=6, max_size=6), min_size=1, max_size=5),
    st.sampled_from([np.float16, np.float32]),
)
def test_weights_come_back_to_half_a_step(channels: list[list[float]], type_: type[np.floating]) -> None:
    weights = np.array(channels, dtype=np.float32)
    scale = rounded_up(weight_scale(weights), type_).astype(np.float32)[:, None]
    codes = INT8.encode(weights / scale).astype(np.int64)
    assert np.abs(codes).max() <= 127, "nothing is clipped"
    assert np.all(np.abs(codes * scale - weights) <= scale * (0.5 + 1e-4))


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30),
    st.floats(2.0**-10, 8.0, width=32),
    st.sampled_from([torch.int8, torch.uint8]),
    st.data(),
)
def test_activations_come_back_to_half_a_step_or_to_the_end_of_the_range(
    values: list[float], step: float, type_: torch.dtype, data: st.DataObject
) -> None:
    limits = torch.iinfo(type_)
    zero_point = 0 if type_ is torch.int8 else data.draw(st.integers(limits.min, limits.max))
    scale, zero = torch.tensor(step), torch.tensor(zero_point, dtype=type_)
    given_ = torch.tensor(values)
    codes = OPERATORS["QuantizeLinear"](given_, scale, zero)
    back = OPERATORS["DequantizeLinear"](codes, scale, zero)
    low, high = ((limit - zero_point) * step for limit in (limits.min, limits.max))
    assert torch.equal(codes, codes.round())
    assert torch.all((codes >= limits.min) & (codes <= limits.max))
    assert torch.all((back - given_.clamp(low, high)).abs() <= step * (0.5 + 1e-4))
    assert torch.all(back[given_ > high] == high)
    assert torch.all(back[given_ < low] == low)


class Builder:
    """A residual network of random weights, as the exporter names its parts."""

    def __init__(self, channels: int, seed: int) -> None:
        self.channels = channels
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: npt.NDArray[np.floating]) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def conv(self, source: str, inputs: int | None = None) -> str:
        shape = (self.channels, inputs or self.channels, 3, 3)
        names = [source, self.constant(self.random.normal(0.0, 0.4, shape))]
        if self.random.random() < 0.5:
            names.append(self.constant(self.random.normal(size=self.channels)))
        return self.add("Conv", names, pads=[1, 1, 1, 1])

    def norm(self, source: str) -> str:
        parameters = [self.random.normal(size=self.channels) for _ in range(3)]
        variance = self.random.uniform(0.1, 2.0, self.channels)
        return self.add("BatchNormalization", [source, *map(self.constant, (*parameters, variance))])

    def relu(self, source: str) -> str:
        return self.add("Relu", [source])

    def block(self, kind: str, source: str) -> str:
        match kind:
            case "pre-activation":
                inside = self.conv(self.relu(self.norm(self.conv(self.relu(self.norm(source))))))
                return self.add("Add", [inside, source])
            case "post-activation":
                inside = self.conv(self.relu(self.conv(source)))
                return self.relu(self.add("Add", [source, inside]))
            case "pool":
                return self.add("MaxPool", [source], kernel_shape=[2, 2], strides=[1, 1])
            case _:
                return self.relu(self.conv(source))

    def model(self, blocks: list[str]) -> ir.Model:
        value = self.conv("images", inputs=3)
        for kind in blocks:
            value = self.block(kind, value)
        value = self.add("Flatten", [self.add("GlobalAveragePool", [self.relu(self.norm(value))])])
        weights = self.constant(self.random.normal(size=(5, self.channels)))
        self.nodes.append(helper.make_node("Gemm", [value, weights], ["logits"], name="fc", transB=1))
        images = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
        logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 5])
        made = helper.make_graph(self.nodes, "net", [images], [logits], self.constants)
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return ir.from_proto(model)


networks = st.builds(
    lambda channels, seed, blocks: Builder(channels, seed).model(blocks),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
    st.lists(st.sampled_from(["pre-activation", "post-activation", "plain", "pool"]), max_size=4),
)


def answers(model: ir.Model) -> Floats:
    images = np.random.default_rng(0).normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)
    logits: Floats = session_of(model).run(None, {"images": images})[0]
    return logits


def same_answers(model: ir.Model, changed: ir.Model) -> bool:
    wanted = answers(model)
    return bool(np.abs(answers(changed) - wanted).max() <= 1e-3 * max(np.abs(wanted).max(), 1.0))


def random_ranges(model: ir.Model, seed: int) -> dict[str, Range]:
    """Ranges of channels that differ by up to a thousand times, on either side of zero or around it."""
    random = np.random.default_rng(seed)
    channels = {value.name: CHANNELS for value in model.graph.inputs}
    for node in model.graph:
        source = node.inputs[0].name if node.inputs[0] is not None else ""
        channels[node.outputs[0].name] = len(parameter(node, 1)) if node.op_type == "Conv" else channels[source]
    ranges = {}
    for name in calibrated_tensors(model.graph):
        span = 10.0 ** random.uniform(-3, 0, channels[name])
        lows = random.choice([-1.0, 0.0, 0.5], channels[name]) * span
        part = Part(histogram=None, lows=lows.astype(np.float32), highs=(lows + span).astype(np.float32), values=1)
        ranges[name] = Range((part, Part(histogram=None)))
    return ranges


@given(networks, st.integers(0, 2**32 - 1))
def test_an_equalized_graph_gives_the_same_answers(model: ir.Model, seed: int) -> None:
    equalization = find_equalization(model.graph, random_ranges(model, seed))
    assert same_answers(model, equalize(model, equalization))


@given(networks, st.integers(0, 2**32 - 1))
def test_any_positive_factors_give_the_same_answers(model: ir.Model, seed: int) -> None:
    random = np.random.default_rng(seed)
    found = find_equalization(model.graph, random_ranges(model, seed))
    sizes = {class_: len(factors) for class_, factors in found.factors.items()}
    factors = {name: [float(one) for one in 10.0 ** random.uniform(-2, 2, size)] for name, size in sizes.items()}
    assert factors.keys() <= set(channel_classes(model.graph).values())
    assert same_answers(model, equalize(model, Equalization(factors=factors)))


@given(
    st.integers(2, 7),
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
    st.tuples(st.integers(4, 12), st.integers(4, 12)),
)
def test_a_folded_stride_gives_the_same_answers_bit_for_bit(
    kernel: int, pads: list[int], halves: tuple[int, int]
) -> None:
    size = (2 * halves[0], 2 * halves[1])
    assume(max(pads) < kernel)
    model = graph(kernel, pads, size)
    images = np.random.default_rng(0).normal(0.0, 1.5, (2, CHANNELS, *size)).astype(np.float32)
    wanted = session_of(model).run(None, {"images": images})[0]
    assert np.array_equal(session_of(fold_strides(model)).run(None, {"images": images})[0], wanted)
