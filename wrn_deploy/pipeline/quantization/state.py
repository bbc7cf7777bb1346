"""The state of a bundle's int8 graphs: whether they were tuned or fine-tuned, and the graphs from before that."""

from __future__ import annotations

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.manifest import Artifact, Recipe

__all__ = [
    "BEFORE", "FINETUNE", "GRAPH", "GRAPHS", "RECORD", "TUNE", "UNTUNED", "before_finetuning", "find_all_int8",
    "find_calibrated", "is_finetuned", "is_tuned", "made_by",
]  # fmt: skip

TUNE, FINETUNE = "tune", "finetune"  # the options of these steps, in the recipe of a graph that they made
GRAPH = "onnx-int8-tensorrt"  # the graph that tuning changes
GRAPHS = {
    GRAPH: "int8-tensorrt.onnx",
    "onnx-int8-onnxruntime": "int8-onnxruntime.onnx",
}  # the files that calibration writes
UNTUNED = "onnx-int8-untuned"  # the graph from before tuning, with every Conv in int8
RECORD = "finetuning"  # the key of fine-tuning's report
# The graphs from before fine-tuning, which calibration and tuning made (PTQ is quantization after training).
BEFORE = {"onnx-int8-tensorrt": "onnx-int8-tensorrt-ptq", "onnx-int8-onnxruntime": "onnx-int8-onnxruntime-ptq"}
OR_DATA = ", or pass --calib-data DATA: int8 is calibrated on real images, never on random ones"


def is_tuned(graph: Artifact | None) -> bool:
    """Whether tuning made this int8 graph; None: the bundle has none."""
    return graph is not None and TUNE in graph.recipe.options


def is_finetuned(graph: Artifact | None) -> bool:
    """Whether fine-tuning made this int8 graph; None: the bundle has none."""
    return graph is not None and FINETUNE in graph.recipe.options


def before_finetuning(bundle: Bundle, key: str) -> str:
    """The key of the int8 graph from before fine-tuning: `key` itself if the graph was not fine-tuned."""
    return BEFORE[key] if is_finetuned(bundle.artifacts.get(key)) else key


def find_calibrated(bundle: Bundle, *keys: str, advice: str = OR_DATA) -> Artifact:
    """The last of these artifacts of a calibrated bundle.

    Raises:
        UsageError: the calibration table or one of the artifacts is missing, stale or damaged; ends with `advice`.
    """
    try:
        remedy = bundle.command_for("calibration")
        return [bundle.find(key, remedy) for key in ("calibration", *keys)][-1]
    except DeployError as error:
        raise UsageError(f"{error}{advice}") from error


def find_all_int8(bundle: Bundle) -> Artifact:
    """The graph for TensorRT with every Conv in int8, which tuning keeps beside the tuned graph; raises UsageError."""
    made = find_calibrated(bundle, GRAPH, before_finetuning(bundle, GRAPH))
    return find_calibrated(bundle, UNTUNED) if is_tuned(made) else made


def made_by(bundle: Bundle, key: str, recipe: Recipe) -> bool:
    """Whether this recipe made the int8 graph, even if it was tuned or fine-tuned since."""
    graph = bundle.artifacts.get(key)
    keys = {key, before_finetuning(bundle, key), UNTUNED if is_tuned(graph) else key}
    return any(bundle.current(candidate, recipe) is not None for candidate in keys)
