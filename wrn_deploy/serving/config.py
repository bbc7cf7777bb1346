"""The configuration that Triton needs for a model, made from what a bundle says about it; the standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from wrn_deploy.runtime.plan_profile import PlanProfile
from wrn_deploy.serving.text_format import Config
from wrn_deploy.spec import TensorSpec

__all__ = [
    "DATA_TYPES", "LABELS", "MODEL_FILE", "PREFIX", "ServedModel", "TritonBackend", "make_config", "output_entries",
    "parameter_of", "parameters_of", "tensor_entry",
]  # fmt: skip

LABELS = "labels.txt"
MODEL_FILE = "model.py"  # what the python backend loads
PREFIX = "wrn_deploy_"  # of our parameters in a configuration

# numpy's name of a type -> Triton's
DATA_TYPES: Mapping[str, str] = {
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
}


class TritonBackend(StrEnum):
    """Which of Triton's backends runs the model."""

    TENSORRT = "tensorrt"
    ONNXRUNTIME = "onnxruntime"
    PYTHON = "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """What Triton must know about a model.

    Args:
        name: the model's name in the repository.
        backend: what runs it.
        file: the file in a version's folder that Triton opens.
        inputs: its one input, without the batch.
        outputs: its outputs, without the batch.
        max_batch: the largest batch that Triton may send it.
        labels: whether the classes of `logits` have names, in the file LABELS.
        profiles: the plan's profiles; empty: it is not a plan.
        instances: instances on each GPU, or on the CPU.
        gpus: the GPUs that have instances; empty: all of them, if `on_gpu`.
        on_gpu: whether instances are on GPUs.
        threads: CPU threads of ONNX Runtime; None: the library's default.
        facts: where it comes from, for the parameters.
    """

    name: str
    backend: TritonBackend
    file: str
    inputs: TensorSpec
    outputs: tuple[TensorSpec, ...]
    max_batch: int
    labels: bool
    profiles: tuple[PlanProfile, ...] = ()
    instances: int = 1
    gpus: tuple[int, ...] = ()
    on_gpu: bool = False
    threads: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def make_config(model: ServedModel) -> Config:
    """The ModelConfig of a model.

    Batches are formed with `dynamic_batching { }`: a batch runs as soon as an instance is free, with all requests that
    wait. No queue policy is written: with `default_queue_policy`, Triton 2.51.0 stalled requests for 500 ms.
    """
    parameters = parameters_of(model.facts)
    if model.backend is TritonBackend.ONNXRUNTIME and model.threads is not None:
        parameters["intra_op_thread_count"] = {"string_value": str(model.threads)}
    return {
        "name": model.name,
        "backend": str(model.backend),
        "default_model_filename": model.file,
        "max_batch_size": model.max_batch,
        "input": [tensor_entry(model.inputs)],
        "output": output_entries(model),
        "instance_group": [_instances(model)],
        "dynamic_batching": {},
        "version_policy": {"latest": {"num_versions": 1}},
        "model_warmup": [_warm_up(model.inputs, batch) for batch in sorted({1, model.max_batch})],
        "parameters": parameters,
    }


def parameters_of(facts: Mapping[str, str]) -> Config:
    """The parameters of a configuration, with our prefix."""
    return {f"{PREFIX}{name}": {"string_value": value} for name, value in facts.items()}


def parameter_of(config: Config, name: str) -> str | None:
    """One of our parameters in a configuration; None: it is not there."""
    entry = config.get("parameters", {}).get(f"{PREFIX}{name}", {})
    value: str | None = entry.get("string_value")
    return value


def tensor_entry(tensor: TensorSpec) -> Config:
    """An input or output in a configuration."""
    return {"name": tensor.name, "data_type": DATA_TYPES[tensor.dtype], "dims": list(tensor.shape)}


def output_entries(model: ServedModel) -> list[Config]:
    """The outputs of a configuration; only `logits` has names of classes: `top_classes` contains numbers."""
    named = {"logits": {"label_filename": LABELS}} if model.labels else {}
    return [{**tensor_entry(output), **named.get(output.name, {})} for output in model.outputs]


def _instances(model: ServedModel) -> Config:
    """One group. Groups share a queue, so a group with one of several profiles could get a batch outside of it."""
    group: Config = {"count": model.instances, "kind": "KIND_GPU" if model.on_gpu else "KIND_CPU"}
    if model.gpus:
        group["gpus"] = list(model.gpus)
    if model.profiles:
        group["profile"] = [str(number) for number in range(len(model.profiles))]
    return group


def _warm_up(tensor: TensorSpec, batch: int) -> Config:
    blank = {"data_type": DATA_TYPES[tensor.dtype], "dims": list(tensor.shape), "zero_data": True}
    return {"name": f"batch-{batch}", "batch_size": batch, "inputs": {tensor.name: blank}}
