"""Each operator of our graphs and of imported ones computes in PyTorch what ONNX Runtime does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from wrn_deploy.calib.qat.execute import TorchGraph
from wrn_deploy.calib.qat.operators import OPERATORS
from wrn_deploy.errors import DeployError
from wrn_deploy.export.foreign.operators import OPERATORS as FOREIGN
from wrn_deploy.runtime.sessions import infer_with, open_session

CHANCE = np.random.default_rng(0)
X = "x"  # where the image goes among a node's inputs; other inputs are constants
SHAPE = (2, 8, 7, 9)
HANDED_ON = {"Dropout", "Identity", "Squeeze", "Unsqueeze"}  # an imported graph has them no more


def numbers(*shape: int) -> npt.NDArray[np.float32]:
    return CHANCE.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> npt.NDArray[np.float32]:
    return (np.abs(numbers(*shape)) + 0.5).astype(np.float32)


def whole(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)


WINDOW = {"kernel_shape": [3, 3], "strides": [2, 2]}
ONE_SIDE = {**WINDOW, "pads": [0, 0, 1, 1]}  # what SAME_UPPER becomes
AROUND = {**WINDOW, "pads": [1, 1, 1, 1]}
CASES: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "Add": ("Add", [X, numbers(8, 1, 1)], {}),
    "AveragePool": ("AveragePool", [X], AROUND),
    "AveragePool, pads counted": ("AveragePool", [X], {**AROUND, "count_include_pad": 1}),
    "AveragePool, one side": ("AveragePool", [X], ONE_SIDE),
    "AveragePool, one side counted": ("AveragePool", [X], {**ONE_SIDE, "count_include_pad": 1}),
    "BatchNormalization": ("BatchNormalization", [X, *(numbers(8) for _ in range(3)), positive(8)], {}),
    "Cast": ("Cast", [X], {"to": TensorProto.FLOAT}),
    "Clip": ("Clip", [X, np.float32(-0.5), np.float32(1.0)], {}),
    "Concat": ("Concat", [X, X], {"axis": 1}),
    "Conv": ("Conv", [X, numbers(4, 8, 3, 3), numbers(4)], {"pads": [1, 1, 1, 1]}),
    "Conv, one side": ("Conv", [X, numbers(4, 8, 3, 3)], ONE_SIDE),
    "Conv, dilated": ("Conv", [X, numbers(4, 8, 3, 3)], {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    "Conv, groups": ("Conv", [X, numbers(4, 2, 3, 3)], {"group": 4}),
    "Div": ("Div", [X, positive(8, 1, 1)], {}),
    "Div, constant first": ("Div", [np.float32(2.0), X], {}),
    "Elu": ("Elu", [X], {"alpha": 0.7}),
    "Flatten": ("Flatten", [X], {"axis": 1}),
    "GlobalAveragePool": ("GlobalAveragePool", [X], {}),
    "GlobalMaxPool": ("GlobalMaxPool", [X], {}),
    "HardSigmoid": ("HardSigmoid", [X], {"alpha": 1 / 6}),
    "HardSigmoid, defaults": ("HardSigmoid", [X], {}),
    "HardSwish": ("HardSwish", [X], {}),
    "LeakyRelu": ("LeakyRelu", [X], {"alpha": 0.2}),
    "LeakyRelu, defaults": ("LeakyRelu", [X], {}),
    "MatMul": ("MatMul", [X, numbers(9, 5)], {}),
    "Max": ("Max", [X, np.float32(0.3)], {}),
    "MaxPool": ("MaxPool", [X], AROUND),
    "MaxPool, one side": ("MaxPool", [X], ONE_SIDE),
    "MaxPool, dilated": ("MaxPool", [X], {"kernel_shape": [3, 3], "dilations": [2, 2]}),
    "MaxPool, rounded up": ("MaxPool", [X], {**WINDOW, "ceil_mode": 1}),
    "Min": ("Min", [X, np.float32(0.3)], {}),
    "Mul": ("Mul", [X, numbers(8, 1, 1)], {}),
    "Pad": ("Pad", [X, whole(0, 0, 1, 2, 0, 0, 3, 4)], {"mode": "constant"}),
    "Reciprocal": ("Reciprocal", [X], {}),
    "ReduceMean": ("ReduceMean", [X, whole(2, 3)], {"keepdims": 0}),
    "ReduceSum": ("ReduceSum", [X, whole(1)], {}),
    "Relu": ("Relu", [X], {}),
    "Reshape": ("Reshape", [X, whole(0, 504)], {}),
    "Reshape, one open": ("Reshape", [X, whole(0, 8, -1)], {}),
    "Sigmoid": ("Sigmoid", [X], {}),
    "SpaceToDepth": ("SpaceToDepth", [X], {"blocksize": 2}),
    "Sqrt": ("Sqrt", [X], {}),
    "Sub": ("Sub", [X, numbers(8, 1, 1)], {}),
    "Sub, constant first": ("Sub", [numbers(8, 1, 1), X], {}),
    "Tanh": ("Tanh", [X], {}),
    "Transpose": ("Transpose", [X], {"perm": [0, 2, 3, 1]}),
}
SPECIAL = {"DequantizeLinear", "Gemm", "QuantizeLinear"}  # by the tests of whole graphs


def graph_of(op_type: str, inputs: list[Any], attributes: dict[str, Any], shape: tuple[int, ...]) -> Any:
    constants = {f"c{at}": value for at, value in enumerate(inputs) if not isinstance(value, str)}
    names = [value if isinstance(value, str) else f"c{at}" for at, value in enumerate(inputs)]
    graph = helper.make_graph(
        [helper.make_node(op_type, names, ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info(X, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(("op_type", "inputs", "attributes"), CASES.values(), ids=CASES)
def test_it_computes_what_onnx_runtime_does(op_type: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    images = positive(*SHAPE) if op_type in ("Sqrt", "Reciprocal") else numbers(*SHAPE)
    images = images[:, :, :6, :8].copy() if op_type == "SpaceToDepth" else images
    model = graph_of(op_type, inputs, attributes, images.shape)
    expected = infer_with(open_session(model.SerializeToString(), threads=1))(images)
    given = torch.from_numpy(images).requires_grad_()
    found = TorchGraph(ir.from_proto(model)).run(given)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert given.grad is not None
    assert torch.isfinite(given.grad).all()


def test_every_operator_has_a_case_and_imported_graphs_have_no_other() -> None:
    assert {op_type for op_type, *_ in CASES.values()} | SPECIAL == set(OPERATORS)
    assert set(FOREIGN) - HANDED_ON <= set(OPERATORS)


def test_an_average_of_spread_values_is_refused() -> None:
    model = graph_of("AveragePool", [X], {"kernel_shape": [2, 2], "dilations": [2, 2]}, SHAPE)
    with pytest.raises(DeployError, match="AveragePool has dilations"):
        TorchGraph(ir.from_proto(model)).run(torch.from_numpy(numbers(*SHAPE)))
