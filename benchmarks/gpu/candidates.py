"""The candidates of inference.py: each opens a bundle, takes a batch, and starts inferences on its own stream.

    python -m benchmarks.gpu.candidates BUNDLE TARGET

builds a TensorRT-RTX plan for TARGET ("none", "SM80", "CURRENT"), tries to run it on this GPU, and prints one line of
JSON with the outcome of each step. This has its own process because a library may end it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.build import build_plan
from wrn_deploy.engines.flavor import Flavor, find_flavor
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.machine import find_gpu
from wrn_deploy.plugins import load_plugin
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.backend import Backend, open_backend
from wrn_deploy.spec import Precision

__all__ = ["CANDIDATES", "Candidate", "Opened", "device_ms", "probe_images"]

Images = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Opened:
    """A candidate with a batch on the device.

    Args:
        start: starts one inference; may return before it is done.
        wait: waits for all inferences that were started.
        answer: returns the logits of the last one.
        stream: CUDA's handle of its stream; None if it has none or `start` waits itself.
        note: how it runs, if that was not known beforehand.
    """

    start: Callable[[], object]
    wait: Callable[[], object]
    answer: Callable[[], npt.NDArray[Any]]
    stream: int | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to run a network; `open_on` is a context manager for a bundle and a batch of normalised images."""

    name: str
    precision: Precision
    open_on: Callable[[Bundle, Images], contextlib.AbstractContextManager[Opened]]


def probe_images(bundle: Bundle, count: int) -> Images:
    """Seeded random images, normalised: normal numbers."""
    return np.random.default_rng(0).normal(size=(count, *bundle.spec.input.shape)).astype(np.float32)


def _torch(precision: Precision, *, compiled: bool) -> Candidate:
    """The network in PyTorch, BN not folded, channels last, all in one precision."""

    @contextlib.contextmanager
    def open_on(bundle: Bundle, images: Images) -> Iterator[Opened]:
        import torch
        from safetensors.torch import load_file

        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu" and find_gpu() is not None:
            raise MachineError("this PyTorch has no CUDA")
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
        network = load_plugin("wrn_deploy.models.families", bundle.spec.family).build(bundle.spec)
        network.load_state_dict(load_file(bundle.file(bundle.artifacts["weights"])))
        network = network.eval().to(device, dtype, memory_format=torch.channels_last)
        if compiled:
            torch.compiler.reset()
            network = torch.compile(network, mode="reduce-overhead", dynamic=False)
        batch = torch.from_numpy(images).to(device, dtype, memory_format=torch.channels_last)
        last: list[torch.Tensor] = []

        def start() -> None:
            with torch.inference_mode():
                last[:] = [network(batch)]

        stream = torch.cuda.current_stream().cuda_stream if device == "cuda" else None
        wait = torch.cuda.synchronize if device == "cuda" else lambda: None
        yield Opened(start, wait, lambda: last[0].float().cpu().numpy(), stream, f"on the {device}")

    return Candidate(f"PyTorch {'compiled' if compiled else 'eager'}", precision, open_on)


def _session(precision: Precision) -> Candidate:
    """ONNX Runtime's CUDA provider, which waits for the GPU before a run returns."""

    @contextlib.contextmanager
    def open_on(bundle: Bundle, images: Images) -> Iterator[Opened]:
        with open_backend(bundle, backend="onnxruntime_cuda", precision=precision) as backend:
            yield _of_backend(backend, images, None)

    return Candidate("ONNX Runtime CUDA", precision, open_on)


def _plan(flavor: Flavor, precision: Precision, *, graphs: bool) -> Candidate:
    title = "TensorRT-RTX" if flavor is Flavor.RTX else "TensorRT"

    @contextlib.contextmanager
    def open_on(bundle: Bundle, images: Images) -> Iterator[Opened]:
        from wrn_deploy.backends.plan.backend import PlanRuntime

        runtime = PlanRuntime(flavor=flavor, title=title, extra="rtx" if flavor is Flavor.RTX else "gpu", graphs=graphs)
        reason = runtime.unfit(bundle.artifacts.get(f"plan-{precision}-{flavor}"))
        if reason is not None:
            raise MachineError(reason)
        artifact = runtime.find_artifact(bundle, precision)
        with runtime.open_backend(bundle, artifact, precision=precision, threads=None) as backend:
            opened = _of_backend(backend, images, backend.stream)
            for _ in range(3):  # the second captures, the third is the first graph
                opened.start()
            opened.wait()
            if graphs and not backend.uses_graphs:
                raise MachineError(f"no CUDA graphs: {backend.graphs_obstacle}")
            yield opened

    return Candidate(f"{title} {'with' if graphs else 'without'} graphs", precision, open_on)


def _of_backend(backend: Backend, images: Images, stream: int | None) -> Opened:
    backend.upload(images)
    return Opened(backend.execute, backend.synchronize, lambda: backend.download()[0], stream)


def device_ms(opened: Opened, count: int) -> float:
    """Milliseconds of one of `count` runs that do not wait for each other, on the device's clock."""
    from wrn_deploy.backends.plan.cuda import call
    from wrn_deploy.runtime.gpu import on_gpu

    with on_gpu():
        events = [call("cudaEventCreate") for _ in range(2)]
        call("cudaEventRecord", events[0], opened.stream)
        for _ in range(count):
            opened.start()
        call("cudaEventRecord", events[1], opened.stream)
        call("cudaEventSynchronize", events[1])
        elapsed = float(call("cudaEventElapsedTime", *events))
        for event in events:
            call("cudaEventDestroy", event)
    return elapsed / count


CANDIDATES = (
    _torch(Precision.FP16, compiled=False),
    _torch(Precision.BF16, compiled=False),
    _torch(Precision.FP16, compiled=True),
    _torch(Precision.BF16, compiled=True),
    _session(Precision.FP16),
    *(
        _plan(flavor, precision, graphs=graphs)
        for flavor in (Flavor.RTX, Flavor.TENSORRT)
        for precision in (Precision.FP16, Precision.INT8)
        for graphs in (False, True)
    ),
)


def _probe(bundle: Bundle, target: str) -> dict[str, Any]:
    """Builds, opens and runs a TensorRT-RTX plan for a target, without our own checks; returns the outcome of each."""
    from wrn_deploy.backends.plan.backend import PlanBackend
    from wrn_deploy.backends.plan.engine import Expected, SharedEngine
    from wrn_deploy.runtime.gpu import on_gpu

    tried: dict[str, Any] = {"target": target, "built": False, "opened": False, "ran": False}
    try:
        trt = find_flavor(Flavor.RTX)
        capabilities = () if target == "none" else (target,)
        options = EngineOptions(profiles=(Profile(1, 4, 4),), compute_capabilities=capabilities)
        graph = bundle.file(bundle.artifacts["onnx-fp16"])
        plan = build_plan(trt, graph, bundle.spec.input, options, Silent()).plan
        tried |= {"built": True, "bytes": len(plan), "version": trt.version}
        gpu = find_gpu()
        if gpu is None:
            raise MachineError("not opened: no CUDA GPU on this machine")
        facts = {"flavor": "tensorrt_rtx", "profiles": [{"minimum": 1, "optimum": 4, "maximum": 4}]}
        images = probe_images(bundle, 4)
        with on_gpu():
            expected = Expected(source=bundle.spec.input, results=bundle.spec.outputs, facts=facts)
            engine = SharedEngine(importlib.import_module("tensorrt_rtx"), plan, expected)
        with (
            PlanBackend(engine, graphs=False) as backend,
            open_backend(bundle, backend="onnxruntime", precision=Precision.FP32) as cpu,
        ):
            tried["opened"] = True
            answers = []
            for each in (backend, cpu):
                each.upload(images)
                each.execute()
                each.synchronize()
                answers.append(each.download()[0].ravel())
            tried["ran"] = True
            tried["cosine"] = float(answers[0] @ answers[1] / np.linalg.norm(answers[0]) / np.linalg.norm(answers[1]))
    except DeployError as error:
        tried["error"] = f"{type(error).__name__}: {error}"
    return tried


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_probe(Bundle.open(Path(sys.argv[1])), sys.argv[2])) + "\n")
