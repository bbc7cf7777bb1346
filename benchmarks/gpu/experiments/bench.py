"""The benchmark of each network at every batch size and boundary; and what PyTorch and ONNX Runtime reach."""

from __future__ import annotations

from benchmarks.gpu.experiments.bundles import BOTH, build_all, open_bundle
from benchmarks.gpu.experiments.rtx import RUNS
from benchmarks.gpu.experiments.timing import DURATION_S, OPEN_S, WARM_S, Pair, time_candidates
from benchmarks.gpu.outcome import file_of, read_outcome
from benchmarks.gpu.task import OutOfTime, Skip, Task
from wrn_deploy.bench.report.report import Boundary
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import known_pairs
from wrn_deploy.spec import Precision

__all__ = ["bench_network", "bench_peers"]

BOUNDARIES = (Boundary.COMPUTE, Boundary.TRANSFER, Boundary.E2E)
SHARE = 0.7  # of what timing at one boundary takes; with less time left, the next is not begun
PEERS = ("torch_cuda", "onnxruntime_cuda")  # how the names of the others' backends begin


def bench_network(task: Task, network: str) -> None:
    """Every plan that runs here, at each batch size: inference alone, with copies, and from encoded images."""
    flavors = _flavors(task)
    bundle = open_bundle(task, network)
    pairs: list[Pair] = []
    for flavor in flavors:
        failures = build_all(task, bundle, flavor)
        pairs += [(flavor.value, precision) for precision in BOTH if precision not in failures]
    if not pairs:
        raise DeployError("no plan was built")
    needed_s = SHARE * len(pairs) * (OPEN_S + len(task.batches) * (WARM_S + DURATION_S[0]))
    for index, boundary in enumerate(BOUNDARIES):
        start_s = task.left_s
        if start_s < needed_s:
            raise OutOfTime(f"no time was left for {', '.join(BOUNDARIES[index:])}")
        seconds = start_s / (len(BOUNDARIES) - index)
        time_candidates(task, bundle, pairs, batches=task.batches, boundary=boundary, seconds=seconds)
        needed_s = max(needed_s, SHARE * (start_s - task.left_s))


def bench_peers(task: Task) -> None:
    """The first network in fp16 in all ways of PyTorch and ONNX Runtime, at the smallest and the largest batch.

    Compiled ways come last: compiling takes up to a minute for each batch size.
    """
    bundle = open_bundle(task, task.networks[0])
    ends = sorted({task.batches[0], task.batches[-1]})
    timed = False
    eager, compiled = _peers(compiled=False), _peers(compiled=True)
    turns = ((eager, Boundary.COMPUTE), (eager, Boundary.TRANSFER), (compiled, Boundary.COMPUTE))
    for index, (pairs, boundary) in enumerate(turns):
        if task.left_s < OPEN_S:
            raise OutOfTime(f"no time was left for {', '.join(name for name, _ in pairs)} at {boundary}")
        seconds = task.left_s / (len(turns) - index)
        report = time_candidates(task, bundle, pairs, batches=ends, boundary=boundary, seconds=seconds)
        timed = timed or report.timed
    if not timed:
        raise Skip("none of them can run here")


def _peers(*, compiled: bool) -> list[Pair]:
    known = [(name, precision) for name, precision in known_pairs() if precision is Precision.FP16]
    return [
        (name, precision) for name, precision in known if name.startswith(PEERS) and ("compile" in name) is compiled
    ]


def _flavors(task: Task) -> list[Flavor]:
    """Full TensorRT, if it is installed; TensorRT-RTX only if its part showed that it runs here."""
    found = [Flavor.TENSORRT] if Flavor.TENSORRT in installed_flavors() else []
    rtx = read_outcome(file_of(task.out, "rtx"))
    if rtx is not None and rtx.raw.get(RUNS):
        found.append(Flavor.RTX)
    if not found:
        raise Skip("full TensorRT is not installed, and TensorRT-RTX does not run here")
    return found
