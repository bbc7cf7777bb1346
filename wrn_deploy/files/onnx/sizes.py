"""Computes how large each tensor of an exported graph gets for one image, before it runs; the standard library only.

It knows the operators that this project exports, and no others: for these a small file cannot ask for much memory
unseen. Shapes follow the operators' definitions in ONNX; a batch counts as one image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.budget import budget
from wrn_deploy.files.onnx.wire import Graph, Node

__all__ = ["OPERATORS", "check_sizes"]

ELEMENT_BYTES = 4  # of float32, the widest type that tensors of images have

Shape = Sequence[int]
Shapes = list[Shape]
Numbers = Mapping[str, Sequence[int]]
Rule = Callable[[Node, Shapes, list[Sequence[int] | None]], Shapes]


def check_sizes(graph: Graph, size_bytes: int, name: object) -> None:
    """Checks that no tensor of the graph, and no buffer of a Conv, is out of proportion to its file of `size_bytes`.

    Raises:
        DamagedFile: an operator that no exported graph has, or shapes that do not fit.
        OverLimit: a tensor is too large.
    """
    shapes: dict[str, Shape] = {tensor.name: tensor.dims for tensor in graph.tensors}
    numbers: dict[str, Sequence[int]] = {
        tensor.name: tensor.numbers for tensor in graph.tensors if tensor.numbers is not None
    }
    for source, sizes in graph.inputs.items():
        if source not in shapes:
            shapes[source] = _image(source, sizes, name)
    proportion = size_bytes + sum(ELEMENT_BYTES * math.prod(shapes[source]) for source in graph.inputs)
    total = 0
    for node in graph.nodes:
        rule = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None:
            raise DamagedFile(
                f"{name} has the operator {node.domain or 'ai.onnx'}.{node.op_type}, which no graph of a bundle has: "
                "expected a graph that wrn-deploy exported; export the model again, and do not trust this one"
            )
        if node.op_type == "Constant":
            numbers |= {out: tensor.numbers or () for out, tensor in zip(node.outputs, node.tensors, strict=False)}
        try:
            made = rule(
                node, [shapes[each] for each in node.inputs if each], [numbers.get(each) for each in node.inputs]
            )
            largest = max(map(math.prod, [*made, _columns(node, shapes, made)]))
        except (LookupError, ValueError, TypeError, ZeroDivisionError) as error:
            raise DamagedFile(
                f"{name} has a {node.op_type} whose inputs do not fit ({error!r}): expected a graph that wrn-deploy "
                "exported; export the model again"
            ) from error
        total += ELEMENT_BYTES * sum(map(math.prod, made))
        budget().check_inflated(ELEMENT_BYTES * largest, proportion, f"a {node.op_type} of {name}")
        budget().check("memory_bytes", total, name)
        shapes |= dict(zip(node.outputs, made, strict=False))


def _image(source: str, sizes: Sequence[int | None] | None, name: object) -> Shape:
    """The shape of an input for one image; only the batch may be open."""
    if not sizes or None in sizes[1:] or any(size is not None and size < 0 for size in sizes):
        raise DamagedFile(f"{name} has the input {source!r} of shape {sizes}: expected fixed sizes after the batch")
    return [1, *(size for size in sizes[1:] if size is not None)]


def _columns(node: Node, shapes: Mapping[str, Shape], made: Shapes) -> Shape:
    """The matrix that a Conv multiplies its weights with: each position's window, side by side."""
    return [*shapes[node.inputs[1]][1:], *made[0][2:]] if node.op_type == "Conv" else [0]


def _same(_node: Node, inputs: Shapes, _numbers: object) -> Shapes:
    return [inputs[0]]


def _broadcast(_node: Node, inputs: Shapes, _numbers: object) -> Shapes:
    sizes = itertools.zip_longest(*(reversed(shape) for shape in inputs), fillvalue=1)
    return [[0 if 0 in together else max(together) for together in sizes][::-1]]


def _windows(node: Node, shape: Shape, kernel: Shape) -> list[int]:
    """The spatial sizes after a Conv or a pool."""
    count = len(shape) - 2
    strides, dilations = (node.ints.get(key) or [1] * count for key in ("strides", "dilations"))
    pads = node.ints.get("pads") or [0] * 2 * count
    if len(kernel) != count or len(strides) != count or len(dilations) != count or len(pads) != 2 * count:
        raise ValueError(f"kernel {kernel}, strides {strides}, pads {pads}")
    if min((*strides, *dilations, *kernel), default=1) < 1 or min(pads, default=0) < 0:
        raise ValueError(f"kernel {kernel}, strides {strides}, dilations {dilations}, pads {pads}")
    if node.strings.get("auto_pad", "NOTSET") not in ("NOTSET", ""):
        return [-(-size // stride) for size, stride in zip(shape[2:], strides, strict=True)]
    up = node.ints.get("ceil_mode", [0])[0]
    sizes = []
    for axis, size in enumerate(shape[2:]):
        rest = size + pads[axis] + pads[axis + count] - dilations[axis] * (kernel[axis] - 1) - 1
        sizes.append(max(0, (-(-rest // strides[axis]) if up else rest // strides[axis]) + 1))
    return sizes


def _conv(node: Node, inputs: Shapes, _numbers: object) -> Shapes:
    images, weights = inputs[0], inputs[1]
    return [[images[0], weights[0], *_windows(node, images, weights[2:])]]


def _pool(node: Node, inputs: Shapes, _numbers: object) -> Shapes:
    shape = inputs[0]
    return [[*shape[:2], *_windows(node, shape, node.ints["kernel_shape"])]] * len(node.outputs)


def _global_pool(_node: Node, inputs: Shapes, _numbers: object) -> Shapes:
    return [[*inputs[0][:2], *[1] * (len(inputs[0]) - 2)]]


def _axes(node: Node, rank: int, numbers: list[Sequence[int] | None]) -> list[int] | None:
    """The axes, of the second input or, before opset 13 or 18, of the attribute; not negative."""
    given = numbers[1] if len(numbers) > 1 and node.inputs[1] else node.ints.get("axes")
    if given is None and len(numbers) > 1 and node.inputs[1]:
        raise ValueError("axes that are not a constant")
    if given is not None and not all(-rank <= axis < rank for axis in given):
        raise ValueError(f"axes {given} of {rank}")
    return None if given is None else [axis % rank for axis in given]


def _reduce(node: Node, inputs: Shapes, numbers: list[Sequence[int] | None]) -> Shapes:
    shape = inputs[0]
    axes = _axes(node, len(shape), numbers)
    gone = set(axes or range(len(shape)))
    if node.ints.get("keepdims", [1])[0]:
        return [[1 if axis in gone else size for axis, size in enumerate(shape)]]
    return [[size for axis, size in enumerate(shape) if axis not in gone]]


def _squeeze(node: Node, inputs: Shapes, numbers: list[Sequence[int] | None]) -> Shapes:
    shape = inputs[0]
    axes = _axes(node, len(shape), numbers)
    return [[size for axis, size in enumerate(shape) if size != 1 or (axes is not None and axis not in axes)]]


def _unsqueeze(node: Node, inputs: Shapes, numbers: list[Sequence[int] | None]) -> Shapes:
    given = numbers[1] if len(numbers) > 1 else node.ints["axes"]
    if given is None:
        raise ValueError("axes that are not a constant")
    axes, rest = _axes(node, len(inputs[0]) + len(given), numbers) or [], iter(inputs[0])
    return [[1 if axis in axes else next(rest) for axis in range(len(inputs[0]) + len(given))]]


def _flatten(node: Node, inputs: Shapes, _numbers: object) -> Shapes:
    axis = node.ints.get("axis", [1])[0]
    return [[math.prod(inputs[0][:axis]), math.prod(inputs[0][axis:])]]


def _reshape(node: Node, inputs: Shapes, numbers: list[Sequence[int] | None]) -> Shapes:
    shape, wanted = inputs[0], numbers[1]
    if wanted is None or not inputs[1]:
        raise ValueError("a shape that is not a constant")
    copied = not node.ints.get("allowzero", [0])[0]
    sizes = [shape[axis] if size == 0 and copied else size for axis, size in enumerate(wanted)]
    known = math.prod(size for size in sizes if size != -1)
    filled = [math.prod(shape) // known if size == -1 and known else max(0, size) for size in sizes]
    if math.prod(filled) != math.prod(shape) or sizes.count(-1) > 1:
        raise ValueError(f"{list(shape)} to {list(wanted)}")
    return [filled]


def _transpose(node: Node, inputs: Shapes, _numbers: object) -> Shapes:
    order = node.ints.get("perm") or range(len(inputs[0]))[::-1]
    if sorted(order) != [*range(len(inputs[0]))]:
        raise ValueError(f"order {order}")
    return [[inputs[0][axis] for axis in order]]


def _matmul(_node: Node, inputs: Shapes, _numbers: object) -> Shapes:
    first, second = inputs
    if len(first) < 2 or len(second) < 2:
        raise ValueError(f"{list(first)} by {list(second)}")
    (outer,) = _broadcast(_node, [first[:-2], second[:-2]], None)
    return [[*outer, first[-2], second[-1]]]


def _gemm(node: Node, inputs: Shapes, _numbers: object) -> Shapes:
    rows, columns = (bool(node.ints.get(key, [0])[0]) for key in ("transA", "transB"))
    (a, b), (c, d) = inputs[0], inputs[1]
    return [[b if rows else a, c if columns else d]]


def _concat(node: Node, inputs: Shapes, _numbers: object) -> Shapes:
    axis = node.ints["axis"][0] % len(inputs[0])
    return [[sum(shape[axis] for shape in inputs) if at == axis else size for at, size in enumerate(inputs[0])]]


def _pad(node: Node, inputs: Shapes, numbers: list[Sequence[int] | None]) -> Shapes:
    shape = inputs[0]
    pads = numbers[1] if len(numbers) > 1 else node.ints.get("pads")
    if pads is None or len(node.inputs) > 3 or len(pads) != 2 * len(shape):
        raise ValueError(f"pads {pads}")
    return [[max(0, size + pads[axis] + pads[axis + len(shape)]) for axis, size in enumerate(shape)]]


def _space_to_depth(node: Node, inputs: Shapes, _numbers: object) -> Shapes:
    block, (images, channels, height, width) = node.ints["blocksize"][0], inputs[0]
    return [[images, channels * block * block, height // block, width // block]]


def _top_k(node: Node, inputs: Shapes, numbers: list[Sequence[int] | None]) -> Shapes:
    count, axis = numbers[1], node.ints.get("axis", [-1])[0] % len(inputs[0])
    if not count or not 0 <= count[0] <= inputs[0][axis]:
        raise ValueError(f"k {count} of {list(inputs[0])}")
    return [[count[0] if at == axis else size for at, size in enumerate(inputs[0])]] * 2


def _constant(node: Node, _inputs: Shapes, _numbers: object) -> Shapes:
    return [node.tensors[0].dims]


OPERATORS: dict[str, Rule] = {
    **dict.fromkeys(("BatchNormalization", "Cast", "Clip", "DequantizeLinear", "Identity", "QuantizeLinear"), _same),
    **dict.fromkeys(("Abs", "Elu", "Exp", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "LogSoftmax", "Neg"), _same),
    **dict.fromkeys(("Reciprocal", "Relu", "Sigmoid", "Softmax", "Sqrt", "Tanh"), _same),
    **dict.fromkeys(("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"), _broadcast),
    **dict.fromkeys(("AveragePool", "MaxPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceSum"), _reduce),
    "Concat": _concat, "Constant": _constant, "Conv": _conv, "Flatten": _flatten, "Gemm": _gemm, "MatMul": _matmul,
    "Pad": _pad, "Reshape": _reshape, "SpaceToDepth": _space_to_depth, "Squeeze": _squeeze, "TopK": _top_k,
    "Transpose": _transpose, "Unsqueeze": _unsqueeze,
}  # fmt: skip
