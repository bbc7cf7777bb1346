"""Sizes computed before a graph runs: those of the operators' definitions, and a limit on what small files ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.files.onnx.made import constant, network, write
from wrn_deploy.errors import DamagedFile, OverLimit
from wrn_deploy.files.onnx import sizes
from wrn_deploy.files.onnx.check import check_bundle_graph

node = helper.make_node
W = constant("w", np.zeros((4, 3, 3, 3)))

# One node from images (1, 3, 8, 8), its constants, and the shape that ONNX Runtime gives.
CASES: list[tuple[onnx.NodeProto, list[onnx.TensorProto]]] = [
    (node("Conv", ["images", "w"], ["y"]), [W]),
    (node("Conv", ["images", "w"], ["y"], pads=[1, 1, 2, 0], strides=[2, 3], dilations=[2, 1]), [W]),
    (node("Conv", ["images", "w"], ["y"], auto_pad="SAME_UPPER", strides=[3, 3]), [W]),
    (node("MaxPool", ["images"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]), []),
    (node("MaxPool", ["images"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], ceil_mode=1), []),
    (node("AveragePool", ["images"], ["y"], kernel_shape=[2, 2], strides=[2, 2]), []),
    (node("GlobalAveragePool", ["images"], ["y"]), []),
    (node("ReduceMean", ["images", "axes"], ["y"], keepdims=0), [constant("axes", [-1, 2])]),
    (node("ReduceMean", ["images", "axes"], ["y"]), [constant("axes", [2, 3])]),
    (node("ReduceMean", ["images"], ["y"]), []),
    (node("Flatten", ["images"], ["y"]), []),
    (node("Flatten", ["images"], ["y"], axis=2), []),
    (node("Reshape", ["images", "shape"], ["y"]), [constant("shape", [0, -1, 4])]),
    (node("Transpose", ["images"], ["y"], perm=[0, 2, 3, 1]), []),
    (node("Transpose", ["images"], ["y"]), []),
    (node("Squeeze", ["images", "axes"], ["y"]), [constant("axes", [0])]),
    (node("Unsqueeze", ["images", "axes"], ["y"]), [constant("axes", [0, -1])]),
    (node("Add", ["images", "c"], ["y"]), [constant("c", np.zeros((3, 1, 1)))]),
    (node("Mul", ["images", "c"], ["y"]), [constant("c", np.zeros((5, 1, 1, 1, 1)))]),
    (node("Max", ["images", "c", "images"], ["y"]), [constant("c", 0.5)]),
    (node("MatMul", ["images", "c"], ["y"]), [constant("c", np.zeros((8, 5)))]),
    (node("Gemm", ["a", "b"], ["y"], transB=1), [constant("a", np.zeros((2, 6))), constant("b", np.zeros((5, 6)))]),
    (node("Gemm", ["a", "b"], ["y"], transA=1), [constant("a", np.zeros((6, 2))), constant("b", np.zeros((6, 5)))]),
    (node("Concat", ["images", "images"], ["y"], axis=1), []),
    (node("Pad", ["images", "pads"], ["y"]), [constant("pads", [0, 1, 2, 3, 0, 0, 1, 0])]),
    (node("SpaceToDepth", ["images"], ["y"], blocksize=2), []),
    (node("TopK", ["images", "k"], ["y", "z"], axis=1), [constant("k", [2])]),
    (node("Constant", [], ["y"], value=constant("", np.zeros((2, 3)))), []),
    (node("Softmax", ["images"], ["y"]), []),
    (node("Cast", ["images"], ["y"], to=onnx.TensorProto.FLOAT16), []),
]


@pytest.mark.parametrize(("made", "constants"), CASES, ids=lambda value: getattr(value, "op_type", ""))
def test_each_operator_s_size_is_what_onnx_runtime_gives(
    made: onnx.NodeProto, constants: list[onnx.TensorProto], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    rule, computed = sizes.OPERATORS[made.op_type], list[list[int]]()

    def noting(*arguments: Any) -> Any:
        shapes = rule(*arguments)
        computed.extend([*shape] for shape in shapes)
        return shapes

    monkeypatch.setitem(sizes.OPERATORS, made.op_type, noting)
    model = network([made, node("Relu", ["images"], ["logits"])], constants)
    for name in made.output:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    check_bundle_graph(write(model, tmp_path))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    results = session.run(list(made.output), {"images": np.zeros((1, 3, 8, 8), np.float32)})
    assert computed == [list(result.shape) for result in results]


BOMBS: dict[str, tuple[list[onnx.NodeProto], list[onnx.TensorProto]]] = {
    "padded Conv": ([node("Conv", ["images", "w"], ["y"], pads=[10**5] * 4)], [W]),
    "padded pool": ([node("MaxPool", ["images"], ["y"], kernel_shape=[1, 1], pads=[10**5] * 4)], []),
    "Pad": ([node("Pad", ["images", "p"], ["y"])], [constant("p", [0, 0, 10**5, 10**5, 0, 0, 0, 0])]),
    "outer product": (
        [node("MatMul", ["a", "b"], ["y"])], [constant("a", np.zeros((2**14, 1))), constant("b", np.zeros((1, 2**14)))],
    ),
    "outer product by Gemm": (
        [node("Gemm", ["a", "b"], ["y"])], [constant("a", np.zeros((2**14, 1))), constant("b", np.zeros((1, 2**14)))],
    ),
    "broadcast": (
        [node("Add", ["a", "b"], ["y"])], [constant("a", np.zeros((2**14, 1))), constant("b", np.zeros(2**14))],
    ),
    "squares": (
        [node("Flatten", ["images"], ["f"]), node("Flatten", ["f"], ["g"], axis=0), node("Transpose", ["g"], ["t"]),
         node("MatMul", ["t", "g"], ["s"]), node("Flatten", ["s"], ["h"], axis=0), node("Transpose", ["h"], ["u"]),
         node("MatMul", ["u", "h"], ["y"])], [],
    ),
    "doubling": (
        [node("Concat", ["images"] * 2, ["c0"], axis=1)]
        + [node("Concat", [f"c{index}"] * 2, [f"c{index + 1}"], axis=1) for index in range(30)], [],
    ),
    "columns of a Conv": (
        [node("Conv", ["images", "k"], ["y"], pads=[600] * 4)], [constant("k", np.zeros((1, 3, 200, 200)))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_small_graphs_that_ask_for_much_memory_are_refused(name: str, tmp_path: Path) -> None:
    nodes, constants = BOMBS[name]
    file = write(network([*nodes, node("Relu", ["images"], ["logits"])], constants), tmp_path)
    with pytest.raises(OverLimit, match=r"times the size of the file, inflated|bytes in memory"):
        check_bundle_graph(file)


@pytest.mark.parametrize(
    "made",
    [
        node("ConstantOfShape", ["s"], ["y"]), node("Expand", ["images", "s"], ["y"]),
        node("Tile", ["images", "s"], ["y"]), node("Resize", ["images", "", "", "s"], ["y"]),
        node("Range", ["s", "s", "s"], ["y"]), node("Loop", ["s"], ["y"]),
        node("OneHot", ["images", "s", "s"], ["y"]), node("Conv", ["images", "w"], ["y"], domain="com.microsoft"),
    ],
    ids=lambda made: str(made.op_type),
)  # fmt: skip
def test_operators_that_no_exported_graph_has_are_refused_by_name(made: onnx.NodeProto, tmp_path: Path) -> None:
    with pytest.raises(
        DamagedFile, match=rf"has the operator (ai\.onnx|com\.microsoft)\.{made.op_type}, which no graph"
    ):
        check_bundle_graph(write(network([made], [constant("s", [2**40])]), tmp_path))


@pytest.mark.parametrize(
    "made",
    [
        node("Relu", ["absent"], ["y"]), node("Relu", [], ["y"]), node("Conv", ["images"], ["y"]),
        node("Conv", ["images", "w"], ["y"], strides=[0, 1]), node("Conv", ["images", "w"], ["y"], pads=[-9, 0, 0, 0]),
        node("Reshape", ["images", "images"], ["y"]), node("Reshape", ["images", "s"], ["y"]),
        node("Transpose", ["images"], ["y"], perm=[0, 0, 0, 0]), node("TopK", ["images", "s"], ["y", "z"]),
        node("Pad", ["images", "images"], ["y"]), node("Constant", [], ["y"]),
        node("ReduceMean", ["images", "s"], ["y"]), node("SpaceToDepth", ["images"], ["y"], blocksize=0),
    ],
    ids=lambda made: f"{made.op_type} {list(made.input)}",
)  # fmt: skip
def test_nodes_whose_inputs_do_not_fit_are_refused(made: onnx.NodeProto, tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match=rf"has a {made.op_type} whose inputs do not fit"):
        check_bundle_graph(write(network([made], [W, constant("s", [2**40])]), tmp_path))


@pytest.mark.parametrize("images", [("N", 3, "H", "W"), (), (1, 3, -8, 8)])
def test_an_input_of_open_size_is_refused(images: tuple[int | str, ...], tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match="expected fixed sizes after the batch"):
        check_bundle_graph(write(network([node("Relu", ["images"], ["logits"])], images=images), tmp_path))
