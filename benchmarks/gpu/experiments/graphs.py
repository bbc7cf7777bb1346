"""Whether CUDA graphs of several batch sizes compute what plain starts do, bit for bit, while the sizes alternate."""

from __future__ import annotations

from collections import Counter

import numpy as np

from benchmarks.gpu.experiments.bundles import build, copy_of, timing_cache
from benchmarks.gpu.experiments.images import answer_of, random_pixels
from benchmarks.gpu.task import OutOfTime, Skip, Task
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.pipeline.engines.build import BuildOptions
from wrn_deploy.runtime.backend import open_backend
from wrn_deploy.spec import Precision

__all__ = ["compare_graphs"]

SIZES, TURNS = (1, 8, 32), 200
BATCHES = 4  # different batches of each size
STOP_S = 3.0  # kept to close


def compare_graphs(task: Task) -> None:
    """Runs the first network's int8 plan, profile 1:8:32, 200 times at each of sizes 1, 8 and 32, in turns."""
    if Flavor.TENSORRT not in installed_flavors():
        raise Skip("full TensorRT is not installed")
    with copy_of(task, task.networks[0]) as bundle:
        options = EngineOptions(profiles=(Profile(*SIZES),), timing_cache=timing_cache(task, Flavor.TENSORRT))
        build(task, bundle, BuildOptions(precision=Precision.INT8, engine=options, flavor=Flavor.TENSORRT))
        _compare(task, bundle)


def _compare(task: Task, bundle: Bundle) -> None:
    batches = {size: [random_pixels(bundle, size, seed) for seed in range(BATCHES)] for size in SIZES}
    differing, worst, done = Counter[int](), 0.0, 0
    unsteady = 0
    with (
        open_backend(bundle, backend="tensorrt_nographs", precision=Precision.INT8) as plain,
        open_backend(bundle, backend="tensorrt", precision=Precision.INT8) as graphs,
    ):
        wanted = {size: [answer_of(plain, bundle, batch) for batch in given] for size, given in batches.items()}
        for turn in range(TURNS):
            if task.left_s < STOP_S:
                break
            for size in SIZES:
                batch, expected = batches[size][turn % BATCHES], wanted[size][turn % BATCHES]
                unsteady += not np.array_equal(answer_of(plain, bundle, batch), expected)
                answer = answer_of(graphs, bundle, batch)
                if not np.array_equal(answer, expected):
                    differing[size] += 1
                    worst = max(worst, float(np.abs(answer - expected).max()))
            done = turn + 1
            if done % 20 == 0:
                task.note(f"turn {done} of {TURNS}")
        uses, obstacle = bool(getattr(graphs, "uses_graphs", False)), getattr(graphs, "graphs_obstacle", None)
    task.keep("turns", done)
    task.keep("differing", {str(size): differing[size] for size in SIZES})
    task.keep("largest_difference", worst)
    task.keep("plain_differs_from_itself", unsteady)
    task.found(f"CUDA graphs ran: {'yes' if uses else f'no, {obstacle}'}", right=uses)
    task.found(f"plain starts differ from themselves in {unsteady} of {done * len(SIZES)} runs", right=unsteady == 0)
    found = ", ".join(f"{differing[size]} of {done} at size {size}" for size in SIZES)
    most = f"; by {worst:.3g} at most" if worst else ""
    task.found(f"runs with graphs whose bits differ from plain ones: {found}{most}", right=not differing)
    if done < TURNS:
        raise OutOfTime(f"{done} of {TURNS} turns")
