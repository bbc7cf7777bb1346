"""Every reader of graphs, on small graphs written out: what it finds, and what it says if there is nothing to find."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from wrn_deploy.graph import (
    activated,
    codes_type,
    constant,
    dequantizer_of,
    input_of,
    is_fixed,
    is_sum,
    macs_of,
    name_of,
    origin,
    parameter,
    producer,
    quantizer_of,
    shape_of,
    size_of,
    type_of,
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
    assert s is not None
    assert a is not None
    assert b is not None
    assert float(s) == 0.5
    assert a.tolist() == b.tolist() == [3, 4]
    assert (a.dtype.name, b.dtype.name) == ("int32", "float32")
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
        ("Identity(s)", True),
        ("Add(s, s)", True),
        ("Add(s, x)", False),
        ("Dropout(s)", True),
        ("RandomNormal<shape = [1]>()", False),
    ],
)
def test_what_is_made_of_constants_alone_is_fixed(made_by: str, fixed: bool) -> None:
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
        ("a = Constant<value = int32[1] {3}>() y = DequantizeLinear(a, s)", ir.DataType.INT32),
        ("a = Constant<value = int8 {0}>() y = QuantizeLinear(x, s, a)", ir.DataType.INT8),
        ("a = Identity(z) y = QuantizeLinear(x, s, a)", ir.DataType.INT8),
        ("a = QuantizeLinear(x, s, z) b = Identity(a) y = DequantizeLinear(b, s)", ir.DataType.INT8),
        ("y = DequantizeLinear(z, s)", ir.DataType.INT8),
    ],
)
def test_the_type_of_codes_is_that_of_the_zero_point_or_of_what_writes_them(
    text: str, type_: ir.DataType | None
) -> None:
    assert codes_type(last(text)) is type_


@pytest.mark.parametrize(
    ("text", "array"),
    [
        ("a = Identity(s)", 0.5),
        ("a = Dropout(s)", 0.5),
        ("i = Constant<value_ints = [1, 1]>() a = Reshape(s, i)", [[0.5]]),
        ("i = Constant<value_ints = [0]>() a = Unsqueeze(s, i)", [0.5]),
        ("i = Constant<value_ints = [3]>() a = Expand(s, i)", [0.5, 0.5, 0.5]),
        ("i = Constant<value_ints = [2]>() a = ConstantOfShape<value = float[1] {0.25}>(i)", [0.25, 0.25]),
        ("b = Constant<value_floats = [1.0, 2.0]>() a = Mul(b, s)", [0.5, 1.0]),
        ("b = Constant<value_floats = [1.0, 2.0]>() a = Concat<axis = 0>(b, b)", [1.0, 2.0, 1.0, 2.0]),
        ("i = Constant<value_ints = [2, 2]>() b = Expand(s, i) a = Transpose<perm = [1, 0]>(b)", [[0.5, 0.5]] * 2),
        ("a = Div(s, s)", 1.0),
        ("b = Neg(s) a = Sqrt(b)", float("nan")),
    ],
)
def test_a_constant_is_computed_from_others(text: str, array: object) -> None:
    found = constant(last(f"{text} y = Mul(x, a)").inputs[1])
    assert found is not None
    np.testing.assert_array_equal(found, np.asarray(array, dtype=np.float32))


@pytest.mark.parametrize(
    "text",
    [
        "i = Constant<value_ints = [1000000, 1000000]>() a = Expand(s, i)",
        "i = Constant<value_ints = [-1]>() a = ConstantOfShape(i)",
        "i = Constant<value_ints = [2000]>() j = Constant<value_ints = [2000, 1]>() b = Expand(s, i) c = Expand(s, j) "
        "a = Mul(b, c)",
        "i = Constant<value_ints = [7]>() a = Reshape(s, i)",
        "a = Tan(s)",
        "a = QuantizeLinear(s, s, z)",
    ],
)
def test_a_constant_that_is_huge_wrong_or_of_an_unusual_operator_is_not_computed(text: str) -> None:
    value = last(f"{text} y = Mul(x, a)").inputs[1]
    assert is_fixed(value)
    assert constant(value) is None


def test_values_read_again_and_again_are_looked_at_once() -> None:
    doubled = " ".join(f"a{index + 1} = Add(a{index}, a{index})" for index in range(60))
    value = last(f"a0 = Identity(s) {doubled} y = Mul(x, a60)").inputs[1]
    assert is_fixed(value)
    found = constant(value)
    assert found is not None
    assert float(found) == 2.0**59


def test_a_long_way_back_is_taken_for_computed() -> None:
    chain = " ".join(f"a{index + 1} = Identity(a{index})" for index in range(2000))
    assert not is_fixed(last(f"a0 = Identity(s) {chain} y = Mul(x, a2000)").inputs[1])


def test_a_dropout_in_training_is_random() -> None:
    text = "t = Constant<value = bool {1}>() a = Dropout(DROPPED, s, t) y = Mul(x, a)"
    assert not is_fixed(last(text.replace("DROPPED", "s")).inputs[1])
    assert value_name(origin(last(text.replace("DROPPED", "x")).inputs[1], "Dropout")) == "a"
    assert is_fixed(last(text.replace("DROPPED", "s").replace("{1}", "{0}")).inputs[1])


def test_q_and_dq_are_found_behind_nodes_that_keep_all_elements() -> None:
    codes = "a = QuantizeLinear(x, s, z) b = Flatten(a) c = DequantizeLinear(b, s, z) d = Identity(c)"
    node = last(f"{codes} e = Transpose<perm = [1, 0]>(d) y = Relu(e)")
    dequantizer = dequantizer_of(node.inputs[0])
    assert dequantizer is not None
    assert name_of(dequantizer) == "c"
    quantizer = quantizer_of(dequantizer)
    assert quantizer is not None
    assert name_of(quantizer) == "a"
    assert dequantizer_of(last("a = DequantizeLinear(z, s) b = Neg(a) y = Relu(b)").inputs[0]) is None


def test_the_type_is_shown_by_the_constant_itself() -> None:
    node = last("a = Constant<value = float16[1] {3}>() b = Identity(a) y = Relu(b)")
    assert type_of(node.inputs[0]) is ir.DataType.FLOAT16
    assert type_of(last("a = Sqrt(x) y = Relu(a)").inputs[0]) is None
