"""Every reader of graphs, on small graphs written out: what it finds, and what it says if there is nothing to find."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from wrn_deploy.graph import (
    activated,
    codes_type,
    constant,
    input_of,
    is_fixed,
    is_sum,
    macs_of,
    name_of,
    origin,
    parameter,
    producer,
    shape_of,
    size_of,
    users,
    value_name,
)

HEADER = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[n,3,8,8] x) => (float[n,3,8,8] y) <float s = {0.5}, int8 z = {0}>
"""


def last(text: str) -> ir.Node:
    """The last node of a graph of the input x, float of (n, 3, 8, 8), and the constants s = 0.5 and z = 0, int8."""
    graph: ir.Graph = ir.from_onnx_text(f"{HEADER} {{ {text} }}").graph
    return graph[-1]


def test_a_node_without_a_name_has_that_of_its_output() -> None:
    node = last("y = Relu(x)")
    assert name_of(node) == "y"
    node.name = "relu"
    assert name_of(node) == "relu"


def test_an_input_that_is_left_out_has_no_name_and_no_producer() -> None:
    node = last('y = Clip(x, "", s)')
    assert [value_name(input_of(node, index)) for index in range(4)] == ["x", "", "s", ""]
    assert input_of(node, 1) is input_of(node, 3) is None
    assert producer(None) is None


def test_a_producer_is_found_by_its_type() -> None:
    node = last("a = Sqrt(x) y = Relu(a)")
    sqrt = producer(node.inputs[0])
    assert sqrt is not None
    assert sqrt.op_type == "Sqrt"
    assert producer(node.inputs[0], "Exp", "Sqrt") is sqrt
    assert producer(node.inputs[0], "Exp") is None
    assert producer(sqrt.inputs[0]) is None


def test_a_node_that_reads_a_value_twice_is_two_users() -> None:
    node = last("a = Sqrt(x) b = Relu(a) y = Add(a, a)")
    assert node.inputs[0] is not None
    assert sorted(user.op_type for user in users(node.inputs[0])) == ["Add", "Add", "Relu"]


def test_the_origin_is_before_the_nodes_that_are_passed() -> None:
    node = last("a = Sqrt(x) b = Cast<to = 10>(a) c = Cast<to = 1>(b) y = Relu(c)")
    assert value_name(origin(node.inputs[0], "Cast")) == "a"
    assert value_name(origin(node.inputs[0], "Cast", "Sqrt")) == "x"
    assert origin(node.inputs[0], "Sqrt") is node.inputs[0]
    assert origin(None, "Cast") is None


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
def test_a_value_is_activated_by_its_only_user(activation: str) -> None:
    alone = last(f"a = Sqrt(x) b = {activation}(a) y = Neg(b)")
    sqrt = next(node for node in alone.graph or () if node.op_type == "Sqrt")
    assert value_name(activated(sqrt.outputs[0])) == "b"
    assert activated(alone.outputs[0]) is alone.outputs[0], "nothing reads it"
    shared = last(f"a = Sqrt(x) b = {activation}(a) y = Add(a, b)")
    assert shared.inputs[0] is not None
    assert activated(shared.inputs[0]) is shared.inputs[0]


def test_a_constant_is_an_initializer_or_made_by_a_constant_node() -> None:
    node = last("a = Constant<value = int32[2] {3, 4}>() b = Cast<to = 1>(a) y = Sum(x, s, a, b)")
    x, s, a, b = (constant(value) for value in node.inputs)
    assert x is None
    assert b is None, "it is computed, although from a constant"
    assert s is not None
    assert a is not None
    assert float(s) == 0.5
    assert a.tolist() == [3, 4]
    assert constant(None) is None


def test_a_parameter_is_given_in_double() -> None:
    node = last("y = Mul(x, s)")
    assert parameter(node, 1).dtype == np.float64
    with pytest.raises(AssertionError, match="input 0 of y, 'x', is not a constant"):
        parameter(node, 0)


@pytest.mark.parametrize(
    ("made_by", "fixed"),
    [
        ("Cast<to = 1>(s)", True),
        ("QuantizeLinear(s, s)", True),
        ("Constant<value_float = 1.0>()", True),
        ("Cast<to = 1>(x)", False),
        ("Identity(s)", False),
    ],
)
def test_what_is_made_of_a_constant_by_q_dq_or_cast_is_fixed(made_by: str, fixed: bool) -> None:
    node = last(f"a = {made_by} y = Relu(a)")
    assert is_fixed(node.inputs[0]) == fixed
    assert is_fixed(None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a = Sqrt(x) y = Add(a, x)", True),
        ("y = Add(x, s)", False),
        ("a = Cast<to = 1>(s) y = Add(a, x)", False),
        ("a = Sqrt(x) y = Mul(a, x)", False),
    ],
)
def test_a_sum_adds_two_tensors(text: str, found: bool) -> None:
    assert is_sum(last(text)) == found


def test_q_dq_and_cast_have_the_shape_of_their_input() -> None:
    node = last("a = QuantizeLinear(x, s, z) b = DequantizeLinear(a, s, z) c = Cast<to = 10>(b) y = Relu(c)")
    assert [value.shape for value in node.inputs if value is not None] == [None], "the graph itself does not say it"
    assert shape_of(node.inputs[0]) == (None, 3, 8, 8)
    assert size_of(node.inputs[0]) is None, "the batch is not known"


def test_a_shape_that_nothing_tells_is_unknown() -> None:
    node = last("a = Sqrt(x) y = Relu(a)")
    assert shape_of(node.inputs[0]) is None
    assert size_of(node.inputs[0]) is None
    assert shape_of(None) is None


def test_the_shape_of_a_constant_is_that_of_its_array() -> None:
    node = last("y = Mul(x, s)")
    value = node.inputs[1]
    assert value is not None
    assert (shape_of(value), size_of(value)) == ((), 1)
    value.const_value = ir.Tensor(np.ones((2, 3)))
    assert (shape_of(value), size_of(value)) == ((2, 3), 6)


def multiplication(kind: str, weights: list[int], output: list[int | str] | None, **attributes: int) -> ir.Node:
    stored = ir.val("w", const_value=ir.Tensor(np.zeros(weights, dtype=np.float32), name="w"))
    node = ir.node(kind, [ir.val("x"), stored], attributes)
    node.outputs[0].shape = ir.Shape(output) if output is not None else None
    return node


@pytest.mark.parametrize(
    ("node", "macs"),
    [
        (multiplication("Conv", [16, 3, 3, 3], ["n", 16, 8, 4]), 16 * 3 * 9 * 32),
        (multiplication("Conv", [8, 1, 3, 3], ["n", 8, 2, 2], group=8), 72 * 4),
        (multiplication("Gemm", [10, 64], ["n", 10], transB=1), 640),
        (multiplication("MatMul", [4, 5], ["n", 8, 4, 5]), 20 * 8 * 4),
        (multiplication("Conv", [16, 3, 3, 3], None), None),
        (multiplication("Conv", [16, 3, 3, 3], ["n", 16, "h", 4]), None),
        (multiplication("MatMul", [4, 5], ["n", "tokens", 5]), None),
        (multiplication("MatMul", [4], [4]), None),
    ],
)
def test_each_weight_is_multiplied_once_a_position(node: ir.Node, macs: int | None) -> None:
    assert macs_of(node) == macs


def test_weights_that_are_computed_have_no_known_macs() -> None:
    node = ir.node("MatMul", [ir.val("x"), ir.val("w")])
    node.outputs[0].shape = ir.Shape([1, 5])
    assert macs_of(node) is None


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("y = QuantizeLinear(x, s, z)", ir.DataType.INT8),
        ("y = QuantizeLinear(x, s)", ir.DataType.UINT8),
        ("y = QuantizeLinear<output_dtype = 3>(x, s)", ir.DataType.INT8),
        ("a = QuantizeLinear(x, s) y = DequantizeLinear(a, s)", ir.DataType.UINT8),
        ("a = Constant<value = int32[1] {3}>() y = DequantizeLinear(a, s)", None),
        ("y = DequantizeLinear(z, s)", ir.DataType.INT8),
    ],
)
def test_the_type_of_codes_is_that_of_the_zero_point_or_of_what_writes_them(
    text: str, type_: ir.DataType | None
) -> None:
    assert codes_type(last(text)) is type_
