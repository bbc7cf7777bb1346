"""The bundles that are measured: taken as `prepare.py` made them, or made here; and plans in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.gpu import prepare
from benchmarks.gpu.task import OutOfTime, Skip, Task
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.errors import DeployError
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.tuning.scratch_copy import scratch_copy
from wrn_deploy.spec import Precision

__all__ = ["build_all", "copy_of", "make_bundle", "open_bundle", "timing_cache"]

BOTH = (Precision.FP16, Precision.INT8)


def make_bundle(task: Task, network: str) -> None:
    """Exports and calibrates a network, unless that was prepared."""
    prepared = (task.out / "bundles" / network / "manifest.json").exists()
    start_s = task.left_s
    bundle = prepare.make_bundle(network, task.out, task)
    prepare.make_images(bundle, task.out)
    how = "was prepared" if prepared else "was made here: `make gpu-prepare` does that beforehand"
    task.found(f"the bundle of {network} {how}; {start_s - task.left_s:.0f} s")
    sizes = {key: artifact.size_bytes for key, artifact in bundle.artifacts.items()}
    task.keep("size_bytes", sizes)


def open_bundle(task: Task, network: str) -> Bundle:
    """The network's bundle; raises Skip if making it failed."""
    folder = task.out / "bundles" / network
    try:
        return Bundle.open(folder)
    except DeployError as error:
        raise Skip(f"there is no bundle of {network} ({error}): see its part") from error


@contextmanager
def copy_of(task: Task, network: str) -> Iterator[Bundle]:
    """A copy of the network's bundle, for plans that nothing else should find."""
    with scratch_copy(open_bundle(task, network)) as copy:
        yield copy


def timing_cache(task: Task, flavor: Flavor) -> Path | None:
    """The file of measured times that all builds of the report share; TensorRT-RTX measures none."""
    return task.out / "timing.cache" if flavor is Flavor.TENSORRT else None


def build_all(task: Task, bundle: Bundle, flavor: Flavor) -> dict[Precision, str]:
    """Builds a plan for each precision with a profile for each batch size; returns why one could not be built.

    A build takes as long as the last one, or longer: one that would not fit in the time that is left gets one profile
    for all batch sizes, and says so.
    """
    each = tuple(Profile(batch, batch, batch) for batch in task.batches)
    few = (Profile(min(task.batches), task.batches[len(task.batches) // 2], max(task.batches)),)
    failures, seconds = {}, task.outcome.raw.setdefault("build_s", {})
    longest_s = 0.0
    for precision in BOTH:
        if task.left_s <= 0:
            raise OutOfTime(f"no time was left to build {precision} plans")
        profiles = each if longest_s < 0.5 * task.left_s else few
        options = EngineOptions(profiles=profiles, timing_cache=timing_cache(task, flavor))
        start_s = task.left_s
        try:
            build_engine(bundle, BuildOptions(precision=precision, engine=options, flavor=flavor), task)
        except DeployError as error:
            failures[precision] = str(error)
            task.found(f"{flavor} built no {precision} plan of {bundle.spec.name}: {error}", right=False)
            continue
        took_s = round(start_s - task.left_s, 1)
        seconds[f"{flavor} {precision}"] = took_s
        longest_s = max(longest_s, took_s)
        with_few = (
            " with one profile for all batch sizes, for want of time" if profiles is few and len(each) > 1 else ""
        )
        task.found(f"{flavor} built the {precision} plan of {bundle.spec.name}{with_few} in {took_s:.1f} s")
    return failures
