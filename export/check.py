"""Checks an exported graph: its structure, and numerically that it computes what the network computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from wrn_deploy.errors import GateError
from wrn_deploy.spec import ModelSpec, Precision, TensorSpec

__all__ = [
    "TOLERANCES", "Computed", "OutputParity", "Parity", "check_outputs", "check_parity", "check_structure", "compare",
]  # fmt: skip

Logits = npt.NDArray[np.float32]
Array = npt.NDArray[Any]
Infer = Callable[[npt.NDArray[np.float32]], Logits]

REMEDY = "Nothing was written; try another torch or onnxscript version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """`relative`: largest error over the largest logit; `cosine`: smallest cosine of a row of logits."""

    relative: float
    cosine: float


# fp32: folding BN reorders sums, which costs about 1e-6 a layer. fp16: 11 bits of mantissa through some 50 layers.
# bf16: 8 bits; the worst seen was wrn-101-2 with random weights, 0.11 and 0.9908.
TOLERANCES = {
    Precision.FP32: Tolerance(relative=1e-3, cosine=0.99999),
    Precision.FP16: Tolerance(relative=5e-2, cosine=0.999),
    Precision.BF16: Tolerance(relative=0.25, cosine=0.97),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far a graph is from the network on one batch.

    `max_abs` is in logits; `cosine` is the smallest over the rows; `argmax_equal` counts rows with the same argmax;
    `argmax_wrong` counts those that differ although the network's two best logits are further apart than the
    tolerance allows the errors to be: nearer ones may fall either way.
    """

    batch: int
    max_abs: float
    largest_logit: float
    cosine: float
    argmax_equal: int
    argmax_wrong: int

    def within(self, tolerance: Tolerance) -> bool:
        """Whether the graph passes."""
        near = self.max_abs <= tolerance.relative * max(self.largest_logit, 1e-6)
        return near and self.cosine >= tolerance.cosine and self.argmax_wrong == 0


@dataclass(frozen=True, slots=True)
class Computed:
    """What PyTorch computes from a batch.

    `logits` (N, classes); `features` (N, F), the classifier's input; `maps`, (N, C, h, w), each of another resolution.
    """

    logits: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    maps: tuple[npt.NDArray[np.float32], ...] = ()


@dataclass(frozen=True, slots=True)
class OutputParity:
    """How far an output is from the network on one batch: `max_abs` in its units, and the largest magnitude."""

    output: str
    batch: int
    max_abs: float
    largest: float


def check_structure(model: ir.Model, spec: ModelSpec) -> None:
    """Checks what can be seen without running the graph: against `spec`, or `spec.core` for a core graph.

    Raises:
        GateError: it is not valid ONNX, has another input or output than described, a fixed batch, or a BN left that
            directly follows a Conv.
    """
    try:
        onnx.checker.check_model(ir.to_proto(model), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        text = f"the exported graph is not valid ONNX ({error}): expected one that onnx.checker passes"
        raise GateError(text) from error
    for values, described in ((model.graph.inputs, (spec.input,)), (model.graph.outputs, spec.outputs)):
        if len(values) != len(described) or not all(map(_fits, values, described)):
            found = ", ".join(f"{value.name} {value.dtype} {value.shape}" for value in values) or "none"
            texts = (f"{each.name} {each.dtype} [{','.join(map(str, ('batch', *each.shape)))}]" for each in described)
            expected = ("one " if len(described) == 1 else "") + ", ".join(texts)
            raise GateError(f"the exported graph has {found}: expected {expected}")
    for node in model.graph:
        source = node.inputs[0].producer() if node.op_type == "BatchNormalization" and node.inputs[0] else None
        if source is not None and source.op_type == "Conv" and len(source.outputs[0].uses()) == 1:
            raise GateError(f"{node.name} directly follows {source.name}: expected this BN to be folded into the Conv")


def _fits(value: ir.Value, wanted: TensorSpec) -> bool:
    dtype = ir.DataType.from_numpy(np.dtype(wanted.dtype))
    batch, *rest = value.shape or (0,)  # a fixed batch is an int, a dynamic one is not
    return (value.name, value.dtype, tuple(rest)) == (wanted.name, dtype, wanted.shape) and not isinstance(batch, int)


def compare(reference: Logits, found: Logits, tolerance: Tolerance) -> Parity:
    """Compares two arrays of logits, (N, classes) each."""
    wanted, got = reference.astype(np.float64), found.astype(np.float64)
    norms = np.linalg.norm(wanted, axis=1) * np.linalg.norm(got, axis=1)
    cosines = (wanted * got).sum(axis=1) / np.maximum(norms, 1e-30)
    best = np.sort(wanted, axis=1)
    largest = float(np.abs(wanted).max())
    clear = best[:, -1] - best[:, -2] > 2 * tolerance.relative * largest
    differs = wanted.argmax(axis=1) != got.argmax(axis=1)
    return Parity(
        batch=len(wanted),
        max_abs=float(np.abs(wanted - got).max()),
        largest_logit=largest,
        cosine=float(cosines.min()),
        argmax_equal=int((~differs).sum()),
        argmax_wrong=int((differs & clear).sum()),
    )


def check_parity(
    reference: Infer,
    graph: Infer,
    batches: Sequence[npt.NDArray[np.float32]],
    precision: Precision,
    *,
    of: str = "PyTorch",
) -> list[Parity]:
    """Runs both on each batch and compares.

    Args:
        reference: the network in PyTorch, or what else `of` names.
        graph: the exported graph in ONNX Runtime.
        batches: normalised images, (N, 3, H, W) each.
        precision: selects the tolerance.
        of: the reference's name.

    Raises:
        GateError: not within the tolerance (the text has the figures), or the graph does not run at a batch size.
    """
    tolerance = TOLERANCES[precision]
    found = []
    for images in batches:
        wanted = reference(images)
        logits = _run(graph, images, wanted.shape, precision)
        parity = compare(wanted, logits, tolerance)
        if not np.isfinite(logits).all() or not parity.within(tolerance):
            raise GateError(
                f"the {precision} graph does not compute what {of} computes at batch {parity.batch}: largest error "
                f"{parity.max_abs:.3g} on logits up to {parity.largest_logit:.3g} (expected at most "
                f"{tolerance.relative:g} of that), cosine {parity.cosine:.6f} (expected {tolerance.cosine:g}), "
                f"{parity.argmax_wrong} wrong argmax. {REMEDY}"
            )
        found.append(parity)
    return found


def _run(graph: Infer, images: npt.NDArray[np.float32], shape: tuple[int, ...], precision: Precision) -> Logits:
    """The graph's logits; a graph with a frozen batch fails, or returns the number of rows it was exported with."""
    try:
        logits = graph(images)
    except Exception as error:  # ONNX Runtime's exceptions have no common class below Exception
        raise GateError(
            f"the {precision} graph does not run at batch {len(images)} ({error}): expected a dynamic batch. {REMEDY}"
        ) from error
    if logits.shape != shape:
        raise GateError(
            f"the {precision} graph gives {logits.shape} at batch {len(images)}: expected {shape}. {REMEDY}"
        )
    return logits


def check_outputs(
    graph: Callable[[Array], Mapping[str, Array]], batches: Sequence[tuple[Array, Computed]], precision: Precision
) -> list[OutputParity]:
    """Runs a graph with an interface on each batch and compares every output.

    The top logits are compared with the network's best ones, and with the network's logits of the named classes, all
    different: of two nearly equal logits, either order is right.

    Args:
        graph: its input -> its outputs by name, in ONNX Runtime.
        batches: the graph's input, and what PyTorch computes from the same images.
        precision: selects the tolerance of the largest error.

    Raises:
        GateError: not within the tolerance; the text has the figures.
    """
    found = []
    for images, computed in batches:
        for name, wanted, got in _pairs(computed, graph(images)):
            error = float(np.abs(wanted.astype(np.float64) - got).max())
            parity = OutputParity(name, len(images), error, float(np.abs(wanted).max()))
            limit = TOLERANCES[precision].relative
            if not error <= limit * max(parity.largest, 1e-6):
                raise GateError(
                    f"the {precision} graph does not give PyTorch's {name} at batch {parity.batch}: largest error "
                    f"{error:.3g} on values up to {parity.largest:.3g} (expected at most {limit:g} of that). {REMEDY}"
                )
            found.append(parity)
    return found


def _pairs(computed: Computed, given: Mapping[str, Array]) -> list[tuple[str, Array, Array]]:
    """Name, wanted and found values of each output; the classes are looked up in the network's logits."""
    pairs: list[tuple[str, Array, Array]] = []
    if "logits" in given:
        pairs.append(("logits", computed.logits, given["logits"]))
    if "top_classes" in given:
        top, classes = given["top_logits"], given["top_classes"]
        best = -np.sort(-computed.logits, axis=1)[:, : classes.shape[1]]
        pairs.append(("top_logits", best, top))
        ordered = np.sort(classes, axis=1)
        if (ordered[:, 1:] == ordered[:, :-1]).any() or classes.min() < 0 or classes.max() >= computed.logits.shape[1]:
            raise GateError(f"the graph's top classes are {classes.tolist()}: expected different ones. {REMEDY}")
        pairs.append(("top_classes", np.take_along_axis(computed.logits, classes, axis=1), top))
    if "features" in given:
        pairs.append(("features", computed.features, given["features"]))
    of_size = {values.shape[2:]: values for values in computed.maps}
    pairs += [(name, of_size[got.shape[2:]], got) for name, got in given.items() if name.startswith("feature_map_")]
    return pairs
