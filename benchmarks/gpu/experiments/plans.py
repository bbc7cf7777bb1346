"""Full TensorRT on the most important network: built, compared with the CPU's answers, timed at two batch sizes."""

from __future__ import annotations

from benchmarks.gpu.experiments.bundles import BOTH, build_all, open_bundle
from benchmarks.gpu.experiments.images import answer_of, cosine, cpu_answer, random_pixels
from benchmarks.gpu.experiments.timing import Pair, time_candidates
from benchmarks.gpu.task import OutOfTime, Skip, Task
from wrn_deploy.bench.report.report import Boundary
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import open_backend
from wrn_deploy.spec import Precision

__all__ = ["measure_tensorrt"]

# A plan and the graph it is compared with: the same numbers but for rounding.
REFERENCES = {Precision.FP16: "onnx-fp32", Precision.INT8: "onnx-int8-tensorrt"}
ALIKE = 0.99  # cosine of the logits; below, something is computed wrongly
LEAST_S = 15.0  # of timing


def measure_tensorrt(task: Task) -> None:
    """fp16 and int8 plans of the first network, with and without CUDA graphs, at the smallest and the largest batch."""
    if Flavor.TENSORRT not in installed_flavors():
        raise Skip("full TensorRT is not installed")
    bundle = open_bundle(task, task.networks[0])
    failures = build_all(task, bundle, Flavor.TENSORRT)
    if len(failures) == len(BOTH):
        raise DeployError("no plan was built")
    for precision in BOTH:
        if precision not in failures:
            _compare(task, bundle, precision)
    if task.left_s < LEAST_S * 0.5:
        raise OutOfTime("no time was left to time the plans")
    backends = ("tensorrt", "tensorrt_nographs")
    pairs: list[Pair] = [(name, precision) for precision in BOTH if precision not in failures for name in backends]
    ends = sorted({task.batches[0], task.batches[-1]})
    time_candidates(task, bundle, pairs, batches=ends, boundary=Boundary.COMPUTE, seconds=task.left_s)


def _compare(task: Task, bundle: Bundle, precision: Precision) -> None:
    """A plan's logits against ONNX Runtime's on the CPU, from the graph that the plan was built from or fp32."""
    pixels = random_pixels(bundle, task.batches[0])
    with open_backend(bundle, backend="tensorrt", precision=precision) as backend:
        answer = answer_of(backend, bundle, pixels)
    key = REFERENCES[precision]
    found = cosine(answer, cpu_answer(bundle, key, pixels))
    task.keep(f"cosine_{precision}", found)
    task.found(f"{precision} logits, cosine to those of {key} on the CPU: {found:.6f}", right=found > ALIKE)
