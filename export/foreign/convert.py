"""Translates a classifier that was exported elsewhere into a graph like our own, or names what cannot be taken."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, RemoveUnusedNodesPass

from wrn_deploy.constants import KNOWN, compute
from wrn_deploy.errors import UsageError
from wrn_deploy.export.foreign.build import Builder
from wrn_deploy.export.foreign.operators import OPERATORS
from wrn_deploy.export.foreign.reading import Inputs
from wrn_deploy.export.foreign.tensors import BATCH, Array, Known, Refused, Tensor
from wrn_deploy.graph import DEQUANTIZE, QUANTIZE, producer, users, value_name

__all__ = ["Converted", "convert_foreign"]

OLDEST = 9  # of ONNX's opsets: before it, BN and others had another meaning
LAST = ("Softmax", "LogSoftmax")  # these turn logits into probabilities
OURS = ("", "ai.onnx")
SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A foreign graph as one of ours.

    Attributes:
        model: images (batch, 3, H, W) float32 -> logits (batch, classes) float32.
        size: height and width of the images.
        classes: number of logits.
        last: whether the foreign graph takes its channels last (NHWC).
        batch: its fixed batch size; None: any.
        probabilities: "Softmax" or "LogSoftmax" if the foreign graph ends in it, which is left out here; else "".
    """

    model: ir.Model
    size: tuple[int, int]
    classes: int
    last: bool
    batch: int | None
    probabilities: str


def convert_foreign(model: ir.Model, crop: int | None = None) -> Converted:
    """Translates the graph; changes `model` only in functions that are written out, and nodes without effect.

    Channels come first and the batch is dynamic whatever they were. BN and constants behind a Conv are folded into it,
    zeros around an image become the Conv's own padding, and nodes are named after their weights.

    Args:
        model: a graph of one image input and one output, its nodes sorted.
        crop: height and width, if the graph leaves them open.

    Raises:
        UsageError: the graph leaves the size open and `crop` does not give it, or it contradicts the graph's.
        DeployError: an operator or a use of one that cannot be taken, by its name; or it is no classifier.
    """
    InlinePass()(model)
    graph = model.graph
    _check_operators(graph)
    source, image, batch = _image(graph, crop)
    output, behind = _output(graph)
    RemoveUnusedNodesPass()(model)
    opset = graph.opset_imports.get("", 0)
    if opset < OLDEST:
        raise Refused(f"the graph has opset {opset}: expected {OLDEST} or later; export it again")
    builder = Builder(image.shape, batch)  # type: ignore[arg-type]
    values: dict[ir.Value, Known] = {
        value: tensor.numpy() for value in graph.initializers.values() if (tensor := value.const_value) is not None
    }
    values[source] = dataclasses.replace(image, value=builder.image)
    probabilities = ""
    for node in graph:
        if node in behind:
            continue
        if node.op_type in LAST and node.outputs[0] is output and not probabilities:
            probabilities = _check_last(node, values)
            assert node.inputs[0] is not None
            output = node.inputs[0]
            continue
        inputs = [None if value is None else values.get(value) for value in node.inputs]
        made = _translate(builder, node, inputs)
        if isinstance(made, Tensor):
            kept = made.value in [known.value for known in inputs if isinstance(known, Tensor)]
            once = len(users(node.outputs[0])) == 1 and node.outputs[0] not in graph.outputs
            made = dataclasses.replace(made, sole=once and (made.sole or not kept))
        values[node.outputs[0]] = made
    logits = values.get(output)
    if not isinstance(logits, Tensor) or len(logits.shape) != 1 or logits.shape[0] < 2:
        shape = list(logits.foreign_shape) if isinstance(logits, Tensor) else "no image's"
        raise Refused(
            f"the output {value_name(output)!r} has the shape {shape} for one image: expected logits or probabilities "
            "of 2 or more classes"
        )
    if producer(logits.value, "Sigmoid", "HardSigmoid") is not None:
        raise Refused(
            "the output is a Sigmoid, of labels that do not exclude one another: expected logits or a Softmax"
        )
    made_model = builder.finish(logits)
    if not any(node.op_type == "Conv" for node in made_model.graph):
        raise Refused("the graph has no Conv: expected a convolutional classifier")
    return Converted(
        model=made_model,
        size=(image.shape[1], image.shape[2]),
        classes=logits.shape[0],
        last=image.last,
        batch=batch,
        probabilities=probabilities,
    )


def _translate(builder: Builder, node: ir.Node, inputs: Inputs) -> Known:
    if node.op_type == "Shape" and isinstance(inputs[0], Tensor):
        return _sizes(node, inputs[0])
    if not any(isinstance(known, Tensor) for known in inputs):
        return _computed(node, inputs)
    operator = OPERATORS.get(node.op_type)
    if operator is None:
        raise Refused(
            f"the operator {node.op_type} ({value_name(node.outputs[0])!r}) computes on images: {_supported()}"
        )
    return operator(builder, node, inputs)


def _sizes(node: ir.Node, tensor: Tensor) -> Array:
    """What a Shape gives; the batch is BATCH, which only nodes that move numbers around may read."""
    sizes = np.array([BATCH, *tensor.foreign_shape], dtype=np.int64)
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(sizes))
    return sizes[start:end]


def _computed(node: ir.Node, inputs: Inputs) -> Array:
    """The array of a node that reads constants alone."""
    if node.op_type == "Constant":
        tensor = ir.convenience.get_const_tensor(node.outputs[0])
        if tensor is not None:
            return tensor.numpy()
    pairs = zip(node.inputs, inputs, strict=True)
    given = {value_name(value): np.asarray(known) for value, known in pairs if value is not None and known is not None}
    made = compute(node, given)
    if made is None:
        raise Refused(
            f"the operator {node.op_type} ({value_name(node.outputs[0])!r}) computes a constant: {_supported()}"
        )
    return made


def _check_operators(graph: ir.Graph) -> None:
    """Refuses a graph by the names of all operators that are not known, before anything is translated."""
    known = {*OPERATORS, *KNOWN, *LAST, "Constant", "Shape"}
    found = Counter(
        node.op_type if node.domain in OURS else f"{node.domain}.{node.op_type}"
        for node in graph.all_nodes()
        if node.domain not in OURS or node.op_type not in known
    )
    if not found:
        return
    names = [f"{name} ({count})" if count > 1 else name for name, count in found.most_common(SHOWN)]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    if found.keys() & {QUANTIZE, DEQUANTIZE}:
        raise Refused(
            f"the graph has {', '.join(names)}{more}: it is already quantized; expected the float graph, for "
            "`wrn-deploy calibrate` to quantize"
        )
    raise Refused(f"the graph has the operator{'s' * (len(found) > 1)} {', '.join(names)}{more}: {_supported()}")


def _supported() -> str:
    return f"expected a convolutional classifier of {', '.join(sorted({*OPERATORS, *LAST}))}"


def _image(graph: ir.Graph, crop: int | None) -> tuple[ir.Value, Tensor, int | None]:
    """The one input, as a tensor, and its fixed batch size or None."""
    inputs = [value for value in graph.inputs if value_name(value) not in graph.initializers]
    shown = ", ".join(f"{value_name(value)} {value.dtype} {value.shape}" for value in inputs) or "none"
    if len(inputs) != 1:
        raise Refused(f"the graph has {len(inputs)} inputs ({shown}): expected one, the image")
    sizes = [size if isinstance(size, int) else None for size in inputs[0].shape or ()]
    if inputs[0].dtype != ir.DataType.FLOAT or len(sizes) != 4 or 3 not in (sizes[1], sizes[3]):
        raise Refused(
            f"the input is {shown}: expected float32 RGB images, [batch, 3, height, width] or [batch, height, width, 3]"
        )
    last = sizes[1] != 3
    height, width = sizes[1:3] if last else sizes[2:4]
    if None in (height, width) and crop is None:
        raise UsageError(f"the input is {shown}, of any size: expected --crop N, the height and width to run at")
    if crop is not None and {height, width} - {None, crop}:
        raise UsageError(f"--crop {crop} for the input {shown}: expected the graph's own size; leave --crop out")
    shape = (3, height or crop or 0, width or crop or 0)
    return inputs[0], Tensor(inputs[0], shape, last=last), sizes[0]


def _output(graph: ir.Graph) -> tuple[ir.Value, set[ir.Node]]:
    """The one output, before the Identity nodes that tf2onnx may write behind it; and these."""
    if len(graph.outputs) != 1:
        names = ", ".join(f"{value_name(value)} {value.shape}" for value in graph.outputs)
        raise Refused(f"the graph has {len(graph.outputs)} outputs ({names}): expected one, the logits")
    output, behind = graph.outputs[0], set[ir.Node]()
    while (node := producer(output, "Identity")) is not None and node.inputs[0] is not None:
        behind.add(node)
        output = node.inputs[0]
    return output, behind


def _check_last(node: ir.Node, values: dict[ir.Value, Known]) -> str:
    read = None if node.inputs[0] is None else values.get(node.inputs[0])
    if not isinstance(read, Tensor) or len(read.shape) != 1 or node.attributes.get_int("axis", -1) not in (-1, 1):
        raise Refused(
            f"{node.op_type} ({value_name(node.outputs[0])!r}) is not over classes: expected (batch, classes)"
        )
    return node.op_type
