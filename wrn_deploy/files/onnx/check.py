"""Judges an ONNX file before a library reads it: data elsewhere, functions, loops, sizes; the standard library only.

ONNX Runtime and onnx trust a graph: they open the files that it names for its weights, write its functions out, run
its loops, and allocate what it asks for. A graph of a bundle has none of these; another's may, within limits.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.budget import budget
from wrn_deploy.files.onnx.sizes import check_sizes
from wrn_deploy.files.onnx.wire import Graph, Model, Node, Tensor, read_model
from wrn_deploy.files.regular import open_regular

__all__ = ["check_bundle_graph", "check_foreign_graph"]

# ONNX's data types by their number in onnx.proto3, as bits of an element.
BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
EXPORTED = "expected a graph that wrn-deploy exported; export the model again, and do not trust this one"
COPY = "expected an intact ONNX file; copy or export it again"


def check_bundle_graph(file: Path, expected: str = COPY) -> None:
    """Checks a graph of a bundle: everything it needs is in the file, and it asks for no more than its size suggests.

    `expected` ends the text of the error for a file that is no ONNX.

    Raises:
        DamagedFile: it has external data, functions, loops or branches, sparse or training data, or an operator that
            no exported graph has; or it is damaged.
        OverLimit: a tensor or the number of its nodes is too large.
    """
    model, size = _read(file, expected)
    nodes = [node for graph in model.graphs for node in graph.nodes]
    odd = {
        "functions": len(model.functions),
        "training data": model.training,
        "loops or branches": sum(len(node.graphs) for node in nodes),
        "sparse tensors": sum(graph.sparse for graph in model.graphs) + sum(node.sparse for node in nodes),
        "external data": sum(tensor.external is not None for tensor in _tensors(model)),
    }
    found = [what for what, count in odd.items() if count]
    if found:
        raise DamagedFile(f"{file} has {' and '.join(found)}, which no graph of a bundle has: {EXPORTED}")
    for tensor in _tensors(model):
        _check_tensor(tensor, size, file)
    check_sizes(model.graph, size, file)


def check_foreign_graph(file: Path, expected: str = COPY) -> None:
    """Checks a graph given by its path; external data must lie beside it, in regular files that are large enough.

    `expected` ends the text of the error for a file that is no ONNX.

    Raises:
        DamagedFile: it is damaged, calls a function of its own in a circle, or has external data elsewhere.
        OverLimit: a tensor, its nesting, or the number of its nodes with all functions written out is too large.
    """
    model, size = _read(file, expected)
    for tensor in _tensors(model):
        if tensor.external is None:
            _check_tensor(tensor, size, file)
        else:
            _check_external(tensor, tensor.external, file)
    _check_functions(model, file)


def _read(file: Path, expected: str) -> tuple[Model, int]:
    with open_regular(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        if not size:
            raise DamagedFile(f"{file} is empty: {expected}")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            return read_model(data, file, expected), size


def _tensors(model: Model) -> Iterator[Tensor]:
    for graph in model.graphs:
        yield from _tensors_of_graph(graph)
    for function in model.functions:
        yield from _tensors_of_nodes(function.nodes)


def _tensors_of_graph(graph: Graph) -> Iterator[Tensor]:
    yield from graph.tensors
    yield from _tensors_of_nodes(graph.nodes)


def _tensors_of_nodes(nodes: Sequence[Node]) -> Iterator[Tensor]:
    for node in nodes:
        yield from node.tensors
        for graph in node.graphs:
            yield from _tensors_of_graph(graph)


def _check_tensor(tensor: Tensor, file_bytes: int, file: Path) -> None:
    """Checks that the bytes for all elements are in the file."""
    elements = _elements(tensor, file)
    if tensor.sparse:
        budget().check_inflated(8 * elements, file_bytes, f"a sparse tensor of {file}")
        return
    bits = BITS.get(tensor.type)
    wrong = elements > 4 * tensor.payload  # the smallest type has 2 bits
    if tensor.raw is not None and bits is not None:
        wrong = tensor.raw != -(-elements * bits // 8)
    if wrong:
        raise DamagedFile(
            f"{file} is damaged: the constant {tensor.name!r} of shape {tensor.dims} has {tensor.payload:,} bytes: "
            f"{COPY}"
        )


def _elements(tensor: Tensor, file: Path) -> int:
    if min(tensor.dims, default=0) < 0:
        raise DamagedFile(f"{file} is damaged: the constant {tensor.name!r} has the shape {tensor.dims}: {COPY}")
    return math.prod(tensor.dims)


def _check_external(tensor: Tensor, entries: Mapping[str, str], file: Path) -> None:
    needed = -(-_elements(tensor, file) * BITS.get(tensor.type, 8) // 8)
    location = entries.get("location", "")
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or needed)
        with open_regular(location, inside=file.parent) as stream:
            there = os.fstat(stream.fileno()).st_size
    except (OSError, ValueError) as error:
        raise DamagedFile(
            f"{file} needs the external data {location!r} ({error}): expected it next to the graph"
        ) from error
    if offset < 0 or length < needed or offset + length > there:
        raise DamagedFile(
            f"{file} needs {needed:,} bytes at byte {offset:,} of {location!r} for {tensor.name!r}, which has "
            f"{there:,}: expected the graph's own file; copy both again"
        )


def _check_functions(model: Model, file: Path) -> None:
    """Checks the number of nodes with all functions written out, as libraries do when they read the file."""
    known = {(function.domain, function.name): function.nodes for function in model.functions}
    counts = dict[tuple[str, str], int]()

    def count(nodes: Sequence[Node], depth: int) -> int:
        budget().check("nesting", depth, file)
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in known and key not in counts:
                counts[key] = -1
                counts[key] = count(known[key], depth + 1)
            if counts.get(key) == -1:
                raise DamagedFile(f"{file} has a function that calls itself ({node.op_type!r}): {COPY}")
            total += counts.get(key, 1) + sum(count(graph.nodes, depth + 1) for graph in node.graphs)
        budget().check("parts", total, f"{file}, with its functions written out,")
        return total

    for nodes in (*known.values(), *(graph.nodes for graph in model.graphs)):
        count(nodes, 1)
