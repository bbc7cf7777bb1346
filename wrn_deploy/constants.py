"""Computes constants that nodes of an ONNX graph make from others, by a few operators that cannot make them huge."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx_ir as ir

__all__ = ["KNOWN", "compute", "evaluate"]

MAX_RANK = 32
SMALL = 2**20  # elements that any constant may have; others have no more than what they are made from
KEEPING = (
    "Abs", "Cast", "Concat", "Dropout", "Flatten", "Identity", "Neg", "Reciprocal", "ReduceMax", "ReduceMin", "Reshape",
    "Slice", "Sqrt", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
BROADCASTING = ("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub")
KNOWN = frozenset({*KEEPING, *BROADCASTING, "ConstantOfShape", "Expand", "Gather"})


def evaluate(value: ir.Value) -> npt.NDArray[Any] | None:
    """The array of a value that depends on constants alone; None if an operator is not one of the few known here."""
    import onnx_ir as ir

    known: dict[ir.Value, npt.NDArray[Any]] = {}
    waiting = [value]
    while waiting:
        wanted = waiting[-1]
        if wanted in known:
            waiting.pop()
            continue
        node, tensor = wanted.producer(), ir.convenience.get_const_tensor(wanted)
        if tensor is not None:
            known[wanted] = tensor.numpy()
            continue
        if node is None or node.domain or wanted is not node.outputs[0]:
            return None
        inputs = [before for before in node.inputs if before is not None]
        missing = [before for before in inputs if before not in known]
        if missing:
            waiting += missing
            continue
        made = compute(node, {before.name or "": known[before] for before in inputs})
        if made is None:
            return None
        known[wanted] = made
    return known[value]


def compute(node: ir.Node, given: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any] | None:
    """The array that a node makes from these inputs, by name; None if its operator is not known here."""
    import numpy as np
    import onnx
    import onnx_ir as ir
    from onnx.reference import ReferenceEvaluator

    if not _is_modest(node.op_type, [*given.values()]):
        return None
    opset = (node.graph.opset_imports.get("") if node.graph is not None else None) or onnx.defs.onnx_opset_version()
    helper = onnx.helper
    try:
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in given.items()
        ]
        output = helper.make_empty_tensor_value_info(node.outputs[0].name or "")
        graph = helper.make_graph([ir.to_proto(node)], "constant", inputs, [output])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        with np.errstate(all="ignore"):
            outputs: Any = ReferenceEvaluator(model).run(None, given)
        return np.asarray(outputs[0])
    except Exception:  # noqa: BLE001 (whatever the inputs of a damaged graph lead to: the value is not known)
        return None


def _is_modest(op_type: str, given: list[npt.NDArray[Any]]) -> bool:
    """Whether the operator is known, and its output no larger than all of its inputs together, or small."""
    import numpy as np

    limit = max(SMALL, sum(array.size for array in given))
    shapes: list[tuple[int, ...]] = [array.shape for array in given]
    match op_type:
        case "Gather":
            return math.prod(array.size for array in given) <= limit
        case "ConstantOfShape" | "Expand":
            shapes[-1] = tuple(map(int, given[-1].ravel()[:MAX_RANK]))
        case _ if op_type not in BROADCASTING:
            return op_type in KEEPING
    try:
        return math.prod(np.broadcast_shapes(*shapes)) <= limit
    except ValueError:  # they do not fit, or are negative
        return False
