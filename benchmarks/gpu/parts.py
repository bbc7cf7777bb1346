"""The parts of the GPU report, in their order: each with the function that does it and the most time it may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["TOTAL_S", "Part", "list_parts"]

EXPERIMENTS = "benchmarks.gpu.experiments"
TOTAL_S = 720.0  # the whole report's, for which the parts' limits are meant; other totals scale them


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part.

    Args:
        name: its name, also its file's.
        title: its heading.
        limit_s: the most seconds it may take of a report of TOTAL_S.
        run: its function, as "module:function".
        network: the network that the function is given beside the task; None: it is given none.
    """

    name: str
    title: str
    limit_s: float
    run: str
    network: str | None = None


def list_parts(networks: Sequence[str]) -> tuple[Part, ...]:
    """The parts for these networks, the most important first; what a part does not use of its time, later ones have."""
    first = networks[0]
    experiments = (
        Part(name="doctor", title="What this machine has", limit_s=40, run=f"{EXPERIMENTS}.host:examine_host"),
        Part(name="gpu-tests", title="make test-gpu", limit_s=150, run=f"{EXPERIMENTS}.tests:run_gpu_tests"),
        Part(name="driver", title="Driver and imports", limit_s=40, run=f"{EXPERIMENTS}.host:try_imports"),
        Part(
            name="plan-tests",
            title="Tests of full TensorRT's plans",
            limit_s=60,
            run=f"{EXPERIMENTS}.tests:run_plan_tests",
        ),
        _bundle(first),
        Part(
            name="graphs",
            title="CUDA graphs of several batch sizes",
            limit_s=110,
            run=f"{EXPERIMENTS}.graphs:compare_graphs",
        ),
        Part(
            name="tensorrt",
            title=f"{first} with full TensorRT",
            limit_s=200,
            run=f"{EXPERIMENTS}.plans:measure_tensorrt",
        ),
        Part(name="rtx", title="TensorRT-RTX: validity and capture", limit_s=60, run=f"{EXPERIMENTS}.rtx:try_rtx"),
        Part(
            name="onnxruntime", title="ONNX Runtime CUDA", limit_s=50, run=f"{EXPERIMENTS}.sessions:try_cuda_provider"
        ),
        Part(name="exit", title="At the end of a process", limit_s=50, run=f"{EXPERIMENTS}.leaving:leave"),
    )
    measured = [
        part for network in networks for part in ([] if network == first else [_bundle(network)]) + [_bench(network)]
    ]
    peers = Part(
        name="peers",
        title=f"{first} with PyTorch and ONNX Runtime",
        limit_s=120,
        run=f"{EXPERIMENTS}.bench:bench_peers",
    )
    return (*experiments, *measured, peers)


def _bundle(network: str) -> Part:
    title = f"The bundle of {network}"
    return Part(
        name=f"bundle-{network}", title=title, limit_s=120, run=f"{EXPERIMENTS}.bundles:make_bundle", network=network
    )


def _bench(network: str) -> Part:
    title = f"Benchmark of {network}"
    return Part(
        name=f"bench-{network}", title=title, limit_s=150, run=f"{EXPERIMENTS}.bench:bench_network", network=network
    )
