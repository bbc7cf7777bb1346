"""Reads an ONNX file from anywhere, within limits; its errors name what is wrong with a damaged one."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.errors import DamagedFile, DeployError, missing_package
from wrn_deploy.files.onnx.check import check_bundle_graph, check_foreign_graph
from wrn_deploy.graph import DEQUANTIZE, QUANTIZE, REARRANGING
from wrn_deploy.manifest import MANIFEST

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["EXPECTED", "read_graph"]

SHAPED = ("Conv", *REARRANGING)  # nodes whose shapes are asked for
EXPECTED = "expected an ONNX graph, such as BUNDLE/int8-tensorrt.onnx"


def read_graph(file: Path, purpose: str = "reading a graph", expected: str = EXPECTED) -> ir.Model:
    """Reads the graph in `file`, sorts its nodes topologically, and infers shapes if Convs lack theirs.

    A graph in a bundle's folder must be one that this project exported. One from elsewhere may have functions, loops
    and external data beside it.

    Raises:
        DamagedFile: the file is not an ONNX graph, or holds none that can be used.
        OverLimit: it needs more than the budget allows.
        MachineError: onnx is not installed; the text names `purpose`.
    """
    for package in ("onnx", "onnx_ir"):
        if importlib.util.find_spec(package) is None:
            raise missing_package(package.replace("_", "-"), "export", purpose)
    import onnx_ir as ir

    logging.getLogger("onnx_ir").addHandler(logging.NullHandler())  # it logs damage, with tracebacks, on stderr
    try:
        in_bundle = (file.parent / MANIFEST).exists()
        (check_bundle_graph if in_bundle else check_foreign_graph)(file, expected)
        model = ir.load(file, format="protobuf")
        model.graph.sort()  # refuses cycles
    except DeployError:
        raise
    except OSError as error:
        raise DamagedFile(f"{file} cannot be read ({error.strerror or error}): {expected}") from error
    except Exception as error:  # protobuf's and onnx_ir's exceptions have no common class below Exception
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DamagedFile(f"{file} is not an ONNX file ({reason}): {expected}") from error
    if not len(model.graph):
        raise DamagedFile(f"{file} contains a graph without nodes, or is empty: {expected}")
    if not all(node.outputs for node in model.graph.all_nodes()):
        raise DamagedFile(f"{file} has a node without an output: {expected}")
    if not all(isinstance(name, str) for name in _names(model)):
        raise DamagedFile(f"{file} has names that are not text: {expected}")
    if any(node.op_type in SHAPED and node.outputs[0].shape is None for node in model.graph):
        _infer_shapes(model)
    return model


def _infer_shapes(model: ir.Model) -> None:
    """Adds the shapes that can be inferred. Q/DQ of ONNX Runtime's domain have those of ONNX's, which onnx knows."""
    from onnx_ir.passes.common import ShapeInferencePass

    foreign = [node for node in model.graph if node.op_type in (QUANTIZE, DEQUANTIZE) and node.domain]
    domains = [node.domain for node in foreign]
    for node in foreign:
        node.domain = ""
    try:
        ShapeInferencePass(check_type=False, strict_mode=False)(model)  # leaves the model as it is where it cannot
    finally:
        for node, domain in zip(foreign, domains, strict=True):
            node.domain = domain


def _names(model: ir.Model) -> Iterator[object]:
    """Every name; in a damaged file they are bytes that are not UTF-8, or missing."""
    yield from (value.name for value in (*model.graph.inputs, *model.graph.initializers.values()))
    for node in model.graph.all_nodes():
        yield from (
            node.name or "",
            node.op_type,
            *(value.name or "" for value in (*node.inputs, *node.outputs) if value),
        )
