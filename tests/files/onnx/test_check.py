"""Graphs that name other files, or ask for more than they have, are refused before a library reads them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.files.onnx.made import constant, network, write
from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.budget import raised
from wrn_deploy.files.onnx.check import check_bundle_graph, check_foreign_graph
from wrn_deploy.pipeline.read_graph import read_graph

node = helper.make_node
CHECKS = (check_bundle_graph, check_foreign_graph)


def relu(**extra: object) -> onnx.ModelProto:
    return network([node("Relu", ["images"], ["logits"])], **extra)  # type: ignore[arg-type]


def external(location: str, length: int = 40, dims: tuple[int, ...] = (10,)) -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": str(length)}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def hide_in_attribute(tensor: onnx.TensorProto) -> onnx.ModelProto:
    return network([node("Constant", [], ["w"], value=tensor), node("Add", ["images", "w"], ["logits"])])


def hide_in_branch(tensor: onnx.TensorProto) -> onnx.ModelProto:
    branch = helper.make_graph([], "b", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [10])], [tensor])
    return network(
        [node("If", ["c"], ["logits"], then_branch=branch, else_branch=branch)], [constant("c", np.array(1, bool))]
    )


def hide_in_function(tensor: onnx.TensorProto) -> onnx.ModelProto:
    body = [node("Constant", [], ["b"], value=tensor)]
    function = helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("", 20)])
    return network([node("F", ["images"], ["logits"], domain="own")], functions=[function])


def hide_in_sparse(tensor: onnx.TensorProto) -> onnx.ModelProto:
    model = relu()
    indices = constant("i", np.arange(10))
    model.graph.sparse_initializer.add(values=tensor, indices=indices, dims=[1000])
    return model


def hide_in_initializer(tensor: onnx.TensorProto) -> onnx.ModelProto:
    return network([node("Add", ["images", "w"], ["logits"])], [tensor])


HIDINGS = (hide_in_initializer, hide_in_attribute, hide_in_branch, hide_in_function, hide_in_sparse)


@pytest.mark.parametrize("hide", HIDINGS)
def test_external_data_is_found_wherever_it_is(
    hide: Callable[[onnx.TensorProto], onnx.ModelProto], tmp_path: Path
) -> None:
    (tmp_path / "w.data").write_bytes(bytes(40))
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("w.data")
    file = write(hide(external("w.data")), tmp_path)
    check_foreign_graph(file)
    with pytest.raises(DamagedFile, match=r"external data.*, which no graph of a bundle has"):
        check_bundle_graph(file)
    for location in ("../w.data", "/etc/passwd", "/dev/zero", "fifo", "link", "absent", "", "."):
        file = write(hide(external(location)), tmp_path)
        with pytest.raises(DamagedFile):
            check_foreign_graph(file)
        with pytest.raises(DamagedFile, match="external data"):
            check_bundle_graph(file)


def test_external_data_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.data").write_bytes(bytes(40))
    for tensor in (external("w.data", length=44), external("w.data", length=36), external("w.data", 40, (2**40,))):
        with pytest.raises(DamagedFile, match=r"expected the graph's own file"):
            check_foreign_graph(write(hide_in_initializer(tensor), tmp_path))


def test_an_enum_that_only_its_low_bits_make_external_is_found(tmp_path: Path) -> None:
    """protobuf keeps 32 bits of an enum: 2**32 + 1 is EXTERNAL."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], raw_data=bytes(4))
    odd = tensor.SerializeToString() + b"\x70\x81\x80\x80\x80\x10"
    graph = network([node("Add", ["images", "w"], ["logits"])])
    content = graph.SerializeToString()
    part = b"\x2a" + bytes([len(odd)]) + odd
    file = tmp_path / "g.onnx"
    file.write_bytes(content + b"\x3a" + bytes([len(part)]) + part)  # a second graph, which protobuf merges
    with pytest.raises(DamagedFile, match="external data"):
        check_bundle_graph(file)


@pytest.mark.parametrize("hide", [hide_in_branch, hide_in_function, hide_in_sparse])
def test_what_no_exported_graph_has_is_refused_in_a_bundle(
    hide: Callable[[onnx.TensorProto], onnx.ModelProto], tmp_path: Path
) -> None:
    file = write(hide(constant("w", np.zeros(10))), tmp_path)
    check_foreign_graph(file)
    with pytest.raises(DamagedFile, match=r"has (functions|loops or branches|sparse tensors), which no graph of a bun"):
        check_bundle_graph(file)


def test_training_data_is_refused_in_a_bundle(tmp_path: Path) -> None:
    model = relu()
    model.training_info.add()
    with pytest.raises(DamagedFile, match="training data"):
        check_bundle_graph(write(model, tmp_path))


@pytest.mark.parametrize(
    ("dims", "count"), [((2**40,), 10), ((2**33, 2**33, 2), 10), ((-10,), 10), ((11,), 10), ((9,), 10), ((10, 0), 10)]
)
def test_a_constant_whose_bytes_are_not_there_is_refused(dims: tuple[int, ...], count: int, tmp_path: Path) -> None:
    raw = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=bytes(4 * count))
    typed = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, float_data=[0.0] * count)
    tensors = [raw] if 0 < np.prod([max(0, size) for size in dims]) < 2 * count or 0 in dims else [raw, typed]
    for tensor in tensors:
        for check in CHECKS:
            with pytest.raises(DamagedFile, match=r"is damaged: the constant 'w'"):
                check(write(hide_in_initializer(tensor), tmp_path))


def test_a_sparse_tensor_of_any_size_is_bounded(tmp_path: Path) -> None:
    model = relu()
    model.graph.sparse_initializer.add(values=constant("w", [1.0]), indices=constant("i", [0]), dims=[10**9])
    with pytest.raises(OverLimit, match="a sparse tensor of"):
        check_foreign_graph(write(model, tmp_path))


def doubling(depth: int) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    body = [node("Relu", ["a"], ["b"])]
    functions = [helper.make_function("own", "F0", ["a"], ["b"], body, opsets)]
    for level in range(1, depth):
        before = f"F{level - 1}"
        body = [node(before, ["a"], ["c"], domain="own"), node(before, ["c"], ["b"], domain="own")]
        functions.append(helper.make_function("own", f"F{level}", ["a"], ["b"], body, opsets))
    return network([node(f"F{depth - 1}", ["images"], ["logits"], domain="own")], functions=functions)


def test_functions_that_double_are_counted_as_written_out(tmp_path: Path) -> None:
    check_foreign_graph(write(doubling(10), tmp_path))
    for depth in (28, 60):
        with pytest.raises(OverLimit, match="with its functions written out"):
            check_foreign_graph(write(doubling(depth), tmp_path))


def test_a_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "F", ["a"], ["b"], [node("F", ["a"], ["b"], domain="own")], opsets)
    with pytest.raises(DamagedFile, match="a function that calls itself"):
        check_foreign_graph(write(network([node("Relu", ["images"], ["logits"])], functions=[function]), tmp_path))


def test_nested_branches_are_limited(tmp_path: Path) -> None:
    inner = helper.make_graph([node("Relu", ["images"], ["x"])], "b", [], [])
    for _ in range(20):
        inner = helper.make_graph([node("If", ["c"], ["x"], then_branch=inner)], "b", [], [])
    file = write(network(list(inner.node), [constant("c", np.array(1, bool))]), tmp_path)
    check_foreign_graph(file)
    with raised("nesting=10"), pytest.raises(OverLimit, match="levels of nesting"):
        check_foreign_graph(file)


def test_the_number_of_nodes_and_fields_is_limited(tmp_path: Path) -> None:
    file = write(network([node("Relu", ["images"], [f"r{index}"]) for index in range(200)]), tmp_path)
    for check in CHECKS:
        check(file)
        with raised("parts=100"), pytest.raises(OverLimit, match="needs 101 parts to keep in memory"):
            check(file)
    file.write_bytes(b"\x08\x01" * 2000)  # an endless model of unknown fields
    with raised("parts=100"), pytest.raises(OverLimit, match="parts to keep in memory"):
        check_foreign_graph(file)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x3a\xff\xff\xff\xff\x0f", b"\x3a\x7f\0", b"\x3b", b"\x07", b"\x80" * 20, b"\xba\x80\x80\x80\x80\x01\0",
     b"\x3a\x05\x0a\x03\x0a\x01\xff"],
    ids=["empty", "long", "short", "group", "field 0", "endless", "tag of 6 bytes", "not UTF-8"],
)  # fmt: skip
def test_what_is_not_protobuf_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(content)
    for check in CHECKS:
        with pytest.raises(DamagedFile, match=r"expected an( intact)? ONNX file; copy"):
            check(tmp_path / "g.onnx")


def test_devices_and_fifos_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "g.onnx")
    for file in (tmp_path / "g.onnx", Path("/dev/zero"), tmp_path):
        with pytest.raises(DeployError, match=r"expected a regular file|is a folder"):
            read_graph(file)


def test_a_graph_in_a_bundle_s_folder_is_held_to_a_bundle_s_rules(tmp_path: Path) -> None:
    (tmp_path / "w.data").write_bytes(bytes(40))
    file = write(network([node("Add", ["images", "w"], ["logits"])], [external("w.data", 4, (1,))]), tmp_path)
    assert len(read_graph(file).graph) == 1
    (tmp_path / "manifest.json").touch()
    with pytest.raises(DamagedFile, match="external data"):
        read_graph(file)


def test_numpy_s_own_types_have_the_sizes_that_are_assumed(tmp_path: Path) -> None:
    for dtype in ("float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "int64", "bool"):
        for dims in ((), (3,), (2, 0), (2, 3)):
            tensor = numpy_helper.from_array(np.zeros(dims, dtype), "w")
            check_foreign_graph(write(hide_in_initializer(tensor), tmp_path))
    for kind, bits in ((TensorProto.INT4, 4), (TensorProto.BFLOAT16, 16), (TensorProto.FLOAT8E4M3FN, 8)):
        tensor = TensorProto(name="w", data_type=kind, dims=[5], raw_data=bytes(-(-5 * bits // 8)))
        check_foreign_graph(write(hide_in_initializer(tensor), tmp_path))
