"""The meaning of TensorRT's error messages, and what to do; their wording is that of TensorRT-RTX 1.7.1."""

from __future__ import annotations

from collections.abc import Sequence

from wrn_deploy.errors import DeployError, MachineError

__all__ = ["EXPLANATIONS", "explain"]

MIXED = "the graph mixes precisions without a Cast: export and calibrate again"
GPU_NEEDED = "needs a GPU and a driver that work"
FULL = "the GPU's memory is full: free some, or pass a smaller --workspace or smaller batches"
DRIVER = "CUDA cannot be used: look at the GPU and its driver with nvidia-smi"

# Part of TensorRT's message -> the kind of error and its meaning. The first match counts.
EXPLANATIONS: dict[str, tuple[type[DeployError], str]] = {
    "MODEL_DESERIALIZE_FAILED": (
        DeployError,
        "the file is no ONNX graph, or it is truncated: export it again",
    ),
    "Plugin not found": (
        DeployError,
        "the graph has an operator that this TensorRT does not know: expected one that `wrn-deploy export` wrote",
    ),
    "must be of same type": (DeployError, MIXED),
    "must have same input types": (DeployError, MIXED),
    "Non-zero zero point": (
        DeployError,
        "the graph has asymmetric Q/DQ, as ONNX Runtime wants it: calibrate again",
    ),
    "input has type Int32": (
        DeployError,
        "the graph has biases in integers, as ONNX Runtime wants it: calibrate again",
    ),
    "Dimension mismatch": (
        DeployError,
        "the graph takes images of another size than the bundle says: export it again",
    ),
    "check_turing_op_compatibility": (
        DeployError,
        "GPUs of SM75 lack an operation at this precision: build the fp16 graph, or leave SM75 out",
    ),
    "HW-specific datatypes": (
        DeployError,
        "a GPU that the plan is for lacks a type: fp8 needs SM89 or later, bf16 SM80; expected only such targets",
    ),
    "workspace limit": (DeployError, "expected more scratch memory: pass a larger --workspace, or none"),
    "no optimization profile": (DeployError, "no batch range was given: pass --profile"),
    "MIN<=OPT<=MAX": (DeployError, "expected min <= opt <= max batch"),
    "missing dimensions in profile": (
        DeployError,
        "the profile names another input than the graph has: export the model again",
    ),
    "no graph outputs": (DeployError, "expected a whole ONNX graph: export it again"),
    "generateForCurrent": (
        MachineError,
        f"--compute-capability CURRENT {GPU_NEEDED}: name the GPU's compute capability, or leave it out",
    ),
    "graph_jit.cpp": (
        MachineError,
        f"--refit, as --strip, {GPU_NEEDED}: build where they are, or without it",
    ),
    "libnvinfer_lean": (
        MachineError,
        "--version-compatible puts TensorRT's lean runtime into the plan, and it is not installed: "
        "install it, or build without --version-compatible",
    ),
    "out of memory": (MachineError, FULL),
    "OutOfMemory": (MachineError, FULL),
    "cudaError": (MachineError, DRIVER),
    "CUDA initialization failure": (MachineError, DRIVER),
    "factory function returned nullptr": (MachineError, DRIVER),  # pybind11, where the builder cannot be made
}


def explain(title: str, messages: Sequence[str]) -> DeployError:
    """The error for a failed build.

    Args:
        title: what failed, as in "tensorrt_rtx built no plan from fp16.onnx".
        messages: those of TensorRT, in their order.
    """
    text = " | ".join(dict.fromkeys(message.strip() for message in messages if message.strip())) or "it gave no reason"
    for words, (kind, meaning) in EXPLANATIONS.items():
        if words in text:
            return kind(f"{title}: {meaning} ({text[:600]})")
    return DeployError(f"{title}: {text[:600]}; expected a graph that `wrn-deploy export` wrote")
