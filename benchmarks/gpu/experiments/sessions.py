"""ONNX Runtime's CUDA provider: with and without its libraries preloaded, as the project opens it, and TF32 in fp32.

    python -m benchmarks.gpu.experiments.sessions BUNDLE plain|preload|ours

prints a line of JSON; each way has a process of its own, since a loaded library stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any

import numpy as np

from benchmarks.gpu.experiments.bundles import open_bundle
from benchmarks.gpu.experiments.images import answer_of, cosine, cpu_answer, random_pixels
from benchmarks.gpu.experiments.steps import run_python
from benchmarks.gpu.task import Skip, Task
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import find_runtime, open_backend
from wrn_deploy.spec import Precision

__all__ = ["try_cuda_provider"]

BACKEND, PROVIDER = "onnxruntime_cuda", "CUDAExecutionProvider"
TITLES = {"plain": "without preload_dlls", "preload": "with preload_dlls", "ours": "as wrn-deploy opens it"}
ALIKE = 0.99
# The largest error over the largest logit: TF32 has 10 bits of mantissa, fp32 has 23.
EXACT = 1e-4


def try_cuda_provider(task: Task) -> None:
    """All three ways; fails if the project's own does not run."""
    reason = find_runtime(BACKEND).unfit(None)
    if reason is not None:
        raise Skip(reason)
    bundle, runs = open_bundle(task, task.networks[0]), False
    for number, (way, title) in enumerate(TITLES.items()):
        arguments = ("-m", "benchmarks.gpu.experiments.sessions", str(bundle.folder), way)
        step = run_python(*arguments, seconds=task.left_s / (len(TITLES) - number))
        lines = [line for line in step.out.splitlines() if line.startswith("{")]
        told: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        task.keep(way, {**told, "ending": step.ending, "err": step.err})
        if way == "ours":
            runs = bool(told)
            _judge(task, told)
        shown = f"providers {', '.join(told['providers'])}" if "providers" in told else "ran" if told else step.why
        bad = runs if way == "ours" else PROVIDER in told.get("providers", []) if way == "preload" else None
        cause = f" ({step.last})" if told and step.last else ""
        task.found(f"{title}: {shown}{cause}", right=bad)
    if not runs:
        raise DeployError("the CUDA provider does not run as wrn-deploy opens it")


def _judge(task: Task, told: dict[str, Any]) -> None:
    if "cosine" in told:
        good = told["cosine"] > ALIKE
        task.found(f"fp16 logits, cosine to those of fp32 on the CPU: {told['cosine']:.6f}", right=good)
    if "error" in told:
        exact = told["error"] < EXACT
        kind = "computed in fp32" if exact else "as of TF32"
        task.found(f"fp32 logits, largest error over the largest logit: {told['error']:.1e}, {kind}", right=exact)


def main() -> None:
    """One way, in this process."""
    bundle, way = Bundle.open(sys.argv[1]), sys.argv[2]
    told: dict[str, Any] = {}
    if way == "ours":
        pixels = random_pixels(bundle, 1)
        wanted = cpu_answer(bundle, "onnx-fp32", pixels)
        answers = {}
        for precision in (Precision.FP16, Precision.FP32):
            with open_backend(bundle, backend=BACKEND, precision=precision) as backend:
                answers[precision] = answer_of(backend, bundle, pixels)
        told["cosine"] = cosine(answers[Precision.FP16], wanted)
        told["error"] = float(np.abs(answers[Precision.FP32] - wanted).max() / np.abs(wanted).max())
    else:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        if way == "preload":
            with contextlib.redirect_stdout(sys.stderr):  # it prints
                onnxruntime.preload_dlls()
        graph = bundle.file(bundle.find("onnx-fp16"))
        session = onnxruntime.InferenceSession(str(graph), providers=[PROVIDER])
        told["providers"] = session.get_providers()
    print(json.dumps(told), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
