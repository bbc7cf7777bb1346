"""The bundles that are measured: taken as `prepare.py` made them, or made here; and plans in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.gpu import prepare
from benchmarks.gpu.outcome import file_of, read_outcome
from benchmarks.gpu.task import OutOfTime, Skip, Task
from wrn_deploy.backends.plan.validity import profiles_of
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, find_flavor
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import find_gpu
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.tuning.scratch_copy import scratch_copy
from wrn_deploy.runtime.backend import examine
from wrn_deploy.spec import Precision

__all__ = ["BOTH", "build", "build_all", "copy_of", "make_bundle", "open_bundle", "timing_cache"]

BOTH = (Precision.FP16, Precision.INT8)
PROFILE_S = "profile_s"  # the raw result with the seconds that a build took for each of its profiles
GUESS_S = 15.0
GRAPHS = ("onnx-fp32", "onnx-fp16", "onnx-int8-tensorrt")
SHARE = 0.6  # of the time that is left, for building


def make_bundle(task: Task, network: str) -> None:
    """Exports and calibrates a network, unless that was prepared."""
    prepared = (task.out / "bundles" / network / "manifest.json").exists()
    start_s = task.left_s
    bundle = prepare.make_bundle(network, task.out, task)
    prepare.make_images(bundle, task.out)
    how = "was prepared" if prepared else "was made here, which make gpu-prepare does beforehand"
    task.found(f"the bundle of {network} {how}; {start_s - task.left_s:.0f} s")
    sizes = {key: artifact.size_bytes for key, artifact in bundle.artifacts.items()}
    task.keep("size_bytes", sizes)


def open_bundle(task: Task, network: str) -> Bundle:
    """The network's bundle; raises Skip if its part did not make it, or not all of it."""
    try:
        bundle = Bundle.open(task.out / "bundles" / network)
        for key in GRAPHS:
            bundle.find(key)
    except DeployError as error:
        raise Skip(f"there is no whole bundle of {network}, see its part: {error}") from error
    return bundle


@contextmanager
def copy_of(task: Task, network: str) -> Iterator[Bundle]:
    """A copy of the network's bundle, for plans that nothing else should find."""
    with scratch_copy(open_bundle(task, network)) as copy:
        yield copy


def timing_cache(task: Task, flavor: Flavor) -> Path | None:
    """The file of measured times that all builds of the report share; TensorRT-RTX measures none."""
    gpu = find_gpu()
    if flavor is not Flavor.TENSORRT or gpu is None:
        return None
    name = re.sub(r"[^a-z0-9.]+", "-", f"{gpu.name} {gpu.driver} {find_flavor(flavor).version}".lower())
    return task.out / f"timing-{name}.cache"


def build_all(task: Task, bundle: Bundle, flavor: Flavor) -> dict[Precision, str]:
    """Makes sure that there is a plan for each precision and batch size; returns why one could not be built.

    A plan has a profile for each batch size, or one for all of them if building that many would take too long: as far
    as is known from earlier builds, a build takes a time for each profile.
    """
    each = tuple(Profile(batch, batch, batch) for batch in task.batches)
    few = (Profile(task.batches[0], task.batches[len(task.batches) // 2], task.batches[-1]),)
    failures: dict[Precision, str] = {}
    profile_s = _profile_s(task)
    for index, precision in enumerate(BOTH):
        if _has_plan(task, bundle, flavor, precision):
            task.found(f"the {precision} plan of {flavor} is there already")
            continue
        if task.left_s <= 0:
            raise OutOfTime(f"no time was left to build the {precision} plan of {flavor}")
        expected_s = profile_s * len(each) * (len(BOTH) - index)
        profiles = each if expected_s < SHARE * task.left_s else few
        options = EngineOptions(profiles=profiles, timing_cache=timing_cache(task, flavor))
        try:
            took_s = build(task, bundle, BuildOptions(precision=precision, engine=options, flavor=flavor))
        except DeployError as error:
            failures[precision] = str(error)
            task.found(f"{flavor} built no {precision} plan of {bundle.spec.name}: {error}", right=False)
            continue
        profile_s = took_s / len(profiles)
    return failures


def build(task: Task, bundle: Bundle, options: BuildOptions) -> float:
    """Builds a plan; records and returns the seconds."""
    start_s = task.left_s
    build_engine(bundle, options, task)
    took_s = start_s - task.left_s
    profiles = options.engine.profiles
    task.keep(PROFILE_S, round(took_s / len(profiles), 2))
    shown = ", ".join(f"{each.minimum}:{each.optimum}:{each.maximum}" for each in profiles)
    task.found(
        f"{options.flavor} built the {options.precision} plan of {bundle.spec.name} for {shown} in {took_s:.1f} s"
    )
    return took_s


def _profile_s(task: Task) -> float:
    """Seconds that a profile took in the report's latest build, or a guess."""
    for part in (task.outcome.part, "tensorrt", "graphs"):
        earlier = read_outcome(file_of(task.out, part))
        if earlier is not None and PROFILE_S in earlier.raw:
            return float(earlier.raw[PROFILE_S])
    return GUESS_S


def _has_plan(task: Task, bundle: Bundle, flavor: Flavor, precision: Precision) -> bool:
    """Whether the bundle has a plan that runs here and takes every batch size."""
    found = examine(bundle, flavor, precision)
    if found.obstacle is not None or found.artifact is None:
        return False
    ranges = [(each.minimum, each.maximum) for each in profiles_of(found.artifact.facts)]
    return all(any(low <= batch <= high for low, high in ranges) for batch in task.batches)
