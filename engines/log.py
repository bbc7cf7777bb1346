"""TensorRT's messages: collects them during a build, and explains errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from wrn_deploy.engines.layers import LAYERS_IN_LOG
from wrn_deploy.errors import DeployError, MachineError

__all__ = ["EXPLANATIONS", "MACHINE_EXPLANATIONS", "BuildLog", "explain", "make_logger"]

# Messages about the driver on a machine without a GPU; they do not concern the build itself.
NO_GPU = re.compile(
    r"CUDA (initialization failure|driver).*(35|insufficient)|cudaError(InsufficientDriver)?.*35|error code 35",
    re.IGNORECASE,
)
MEMORY = re.compile(r"Total (Weights|Activation|Scratch) Memory: (\d+) bytes", re.IGNORECASE)

MIXED = "the graph mixes precisions without a Cast: export and calibrate again"
FULL = "the GPU's memory is full: free some, or pass a smaller --workspace or smaller batches"
DRIVER = "CUDA cannot be used: look at the GPU and its driver with nvidia-smi"
# Part of TensorRT's message -> what it means for the graph or the options. The wording is that of TensorRT-RTX 1.7.1.
EXPLANATIONS = {
    "MODEL_DESERIALIZE_FAILED": "the file is not an ONNX graph, or it is truncated: export it again",
    "Plugin not found": "the graph has an operator that this TensorRT does not know: expected one that "
    "`wrn-deploy export` wrote",
    "must be of same type": MIXED,
    "must have same input types": MIXED,
    "Non-zero zero point": "the graph has asymmetric Q/DQ, as ONNX Runtime needs it: calibrate again",
    "input has type Int32": "the graph has biases in integers, as ONNX Runtime needs it: calibrate again",
    "Dimension mismatch": "the graph takes images of another size than the bundle's: export it again",
    "check_turing_op_compatibility": "GPUs of SM75 lack an operation at this precision: build the fp16 graph, or leave "
    "SM75 out",
    "HW-specific datatypes": "a target GPU lacks a type: fp8 needs SM89 or later, bf16 SM80; expected "
    "only such targets",
    "workspace limit": "expected more scratch memory: pass a larger --workspace, or none",
    "no optimization profile": "no batch range was given: pass --profile",
    "MIN<=OPT<=MAX": "expected min <= opt <= max batch",
    "missing dimensions in profile": "the profile names an input that the graph does not have: export the model again",
    "no graph outputs": "expected an intact ONNX graph: export it again",
}
# The same for what this machine lacks; looked at after those above.
MACHINE_EXPLANATIONS = {
    "generateForCurrent": "--compute-capability CURRENT needs a GPU and a driver that work: name the GPU's compute "
    "capability, or leave it out",
    "graph_jit.cpp": "--refit, like --strip, needs a GPU and a driver that work: build where they are, or without it",
    "libnvinfer_lean": "--version-compatible puts TensorRT's lean runtime into the plan, and it is not installed: "
    "install it, or build without --version-compatible",
    "out of memory": FULL,
    "OutOfMemory": FULL,
    "cudaError": DRIVER,
    "CUDA initialization failure": DRIVER,
    "factory function returned nullptr": DRIVER,  # pybind11, if the builder cannot be made
}


@dataclass(slots=True, kw_only=True)
class BuildLog:
    """The builder's messages by severity, the memory figures it prints, in bytes, and its lists of layers.

    `no_gpu` has messages about a missing driver: harmless if the build needs none, else the reason why it failed.
    """

    errors: list[str] = field(default_factory=list)
    no_gpu: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    layer_lists: list[str] = field(default_factory=list)

    def take(self, severity: str, message: str) -> None:
        """Adds one message; `severity` is the name of a member of the logger's Severity."""
        for kind, size in MEMORY.findall(message):
            self.memory[f"{kind.lower()}_bytes"] = int(size)
        if LAYERS_IN_LOG in message:
            self.layer_lists.append(message)
        if NO_GPU.search(message):
            self.no_gpu.append(message.strip())
        elif severity in ("ERROR", "INTERNAL_ERROR"):
            self.errors.append(message.strip())
        elif severity == "WARNING" and message.strip() not in self.warnings:
            self.warnings.append(message.strip())


def make_logger(module: Any, log: BuildLog) -> Any:
    """A logger of TensorRT's `module` that writes to `log` only."""

    class Logger(module.ILogger):  # type: ignore[misc]  # the base class is known only at run time
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            log.take(str(severity.name), message)

    return Logger()


def explain(title: str, messages: Sequence[str]) -> DeployError:
    """The error for a failed build.

    Args:
        title: what failed, as in "tensorrt_rtx built no plan from fp16.onnx".
        messages: those of TensorRT, in their order.
    """
    text = " | ".join(dict.fromkeys(message.strip() for message in messages if message.strip())) or "it gave no reason"
    for kind, explanations in ((DeployError, EXPLANATIONS), (MachineError, MACHINE_EXPLANATIONS)):
        for words, meaning in explanations.items():
            if words in text:
                return kind(f"{title}: {meaning} ({text[:600]})")
    return DeployError(f"{title}: {text[:600]}; expected a graph that `wrn-deploy export` wrote")
