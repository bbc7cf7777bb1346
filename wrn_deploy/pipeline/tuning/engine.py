"""The step of `tune --engine`: builds a plan in several ways, measures each on this GPU, and keeps the fastest."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.bench.measuring.worker import WorkerConfig
from wrn_deploy.bench.report.ratios import MIN_ROUNDS
from wrn_deploy.bench.report.report import Boundary, Settings
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.files.trust import Trust, trusting
from wrn_deploy.machine import Gpu, find_gpu, usable_cores
from wrn_deploy.manifest import Artifact, Kind, Recipe
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.measuring.rounds import RowBuilder, start, time_rounds
from wrn_deploy.pipeline.tuning.engine_trials import EngineTrial, EngineTuning, choose_fastest, read_engine_tuning
from wrn_deploy.pipeline.tuning.scratch_copy import WithoutNotes, copy_new, scratch_copy
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.backend import examine
from wrn_deploy.spec import Precision
from wrn_deploy.version import __version__

if TYPE_CHECKING:
    from wrn_deploy.engines.flavor import TensorRT
    from wrn_deploy.engines.options import EngineOptions

__all__ = ["EngineTuneOptions", "tune_engine"]

ITERATIONS = 200  # runs in a turn, at most
# What is tried besides the plan as it is, the cheapest build first; each field is one of EngineOptions.
TRIALS: tuple[dict[str, Any], ...] = (
    {"level": 3, "aux_streams": None, "tiling": None},
    {"level": 3, "aux_streams": 0, "tiling": None},
    {"level": 4, "aux_streams": None, "tiling": None},
    {"level": 5, "aux_streams": None, "tiling": None},
    {"level": 5, "aux_streams": None, "tiling": "full"},
)
TRIED = tuple(TRIALS[0])
DEFAULTS = {"level": 3, "aux_streams": None, "tiling": "none"}  # what None is, where TensorRT documents it


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTuneOptions:
    """The plan to tune, and how to measure.

    Attributes:
        precision: the plan's.
        data: the images that are timed, labelled or not.
        batch: the batch size (None: the one that the plan's first profile is tuned for).
        rounds: turns of each build.
        duration_s: seconds that a build's turns take together; a turn has at least one run.
    """

    precision: Precision
    data: str
    batch: int | None = None
    rounds: int = 30
    duration_s: float = 3.0

    def __post_init__(self) -> None:
        if self.rounds < MIN_ROUNDS:
            raise UsageError(f"--rounds {self.rounds}: expected at least {MIN_ROUNDS}, for an interval of the ratio")
        if not 0 < self.duration_s < math.inf:
            raise UsageError(f"--duration {self.duration_s}: expected more than 0 seconds")
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"--batch-size {self.batch}: expected at least 1")


def tune_engine(bundle: Bundle, options: EngineTuneOptions, progress: Progress) -> EngineTuning:
    """Builds the bundle's plan of TensorRT in the ways of TRIALS, and keeps the fastest in its place.

    All builds take turns in interleaved rounds. If none is faster than the plan as it was, that stays. Nothing changes
    if the step fails.

    Raises:
        MachineError: no GPU, TensorRT or PyCUDA here.
        UsageError: no profile of the plan takes the batch.
        DeployError: the bundle has no such plan, or it cannot be run.
    """
    from wrn_deploy.engines.flavor import Flavor, find_flavor
    from wrn_deploy.engines.options import read_options

    gpu = find_gpu()
    if gpu is None:
        raise MachineError(
            "tune --engine measures plans on a CUDA GPU, and there is none here: run it on the machine that will serve"
        )
    trt = find_flavor(Flavor.TENSORRT)
    plan = bundle.find(f"plan-{options.precision}-{trt.flavor}")
    was = read_options(plan.recipe.options)
    batch = _batch(options, was)
    recipe = _recipe(plan, was, batch, options, trt=trt, gpu=gpu)
    key = f"engine-tuning-{options.precision}"
    if (done := bundle.current(key, recipe)) is not None:
        tuning = read_engine_tuning(bundle.file(done))
        if tuning.sha256 == plan.sha256:
            progress.note(f"{bundle.folder}: {plan.path} is already tuned")
            return tuning
    with contextlib.ExitStack() as stack:
        copies = _build_all(bundle, plan, was, progress, stack)
        trials = _measure(copies, batch, options, bundle.trust, progress)
        if trials[0].skipped is not None:
            raise DeployError(f"{plan.path} cannot be measured: {trials[0].skipped}")
        chosen = choose_fastest(trials)
        kept = copies[chosen]
        tuning = EngineTuning(
            model=bundle.spec.name,
            random_weights=bundle.random_weights,
            precision=options.precision,
            gpu=gpu.name,
            batch=batch,
            data=Path(options.data).name,
            trials=tuple(trials),
            chosen=chosen,
            sha256=kept.artifacts[plan.key].sha256,
        )
        path = f"{key}.json"
        with bundle.transaction() as step:
            copy_new(kept, bundle, step, but=())
            step.file(path).write_text(tuning.to_json(), encoding="utf-8")
            step.add(key, kind=Kind.REPORT, precision=options.precision, path=path, recipe=recipe)
    return tuning


def _batch(options: EngineTuneOptions, was: EngineOptions) -> int:
    batch = was.profiles[0].optimum if options.batch is None else options.batch
    if not any(profile.minimum <= batch <= profile.maximum for profile in was.profiles):
        ranges = " and ".join(f"{profile.minimum} to {profile.maximum}" for profile in was.profiles)
        raise UsageError(f"--batch-size {batch}: expected one that the plan supports, {ranges}")
    return batch


def _recipe(
    plan: Artifact, was: EngineOptions, batch: int, options: EngineTuneOptions, *, trt: TensorRT, gpu: Gpu
) -> Recipe:
    """What the result depends on, without what tuning itself changes in the plan."""
    fixed = {name: value for name, value in was.describe().items() if name not in TRIED}
    asked = {"batch": batch, "rounds": options.rounds, "duration_s": options.duration_s, "trials": TRIALS}
    return Recipe(
        parents=plan.recipe.parents,
        options={"plan": fixed, "pixels": plan.recipe.options["pixels"], "gpu": dataclasses.asdict(gpu), **asked},
        tools={"wrn-deploy": __version__, trt.flavor.value: trt.version},
    )


def _build_all(
    bundle: Bundle, plan: Artifact, was: EngineOptions, progress: Progress, stack: contextlib.ExitStack
) -> list[Bundle]:
    """A scratch copy of the bundle for each build, the plan as it is first; a build that fails is left out."""
    from wrn_deploy.engines.flavor import Flavor
    from wrn_deploy.engines.options import Tiling

    ways = [was]
    for changes in TRIALS:
        tiling = None if changes["tiling"] is None else Tiling(changes["tiling"])
        way = dataclasses.replace(was, **{**changes, "tiling": tiling})
        if _tried(way) not in map(_tried, ways):
            ways.append(way)
    copies = []
    for number, way in enumerate(ways):
        copy = stack.enter_context(scratch_copy(bundle))
        build = BuildOptions(
            precision=plan.precision, engine=way, flavor=Flavor.TENSORRT, pixels=plan.recipe.options["pixels"]
        )
        try:
            build_engine(copy, build, WithoutNotes(progress))
        except DeployError as error:
            if number == 0:
                raise
            progress.warn(f"not built with {_tried(way)}: {error}")
            continue
        copies.append(copy)
    return copies


def _tried(way: EngineOptions) -> dict[str, Any]:
    """What differs between builds, with TensorRT's defaults in the place of None."""
    described = way.describe()
    return {name: DEFAULTS[name] if described[name] is None else described[name] for name in TRIED}


def _measure(
    copies: list[Bundle], batch: int, options: EngineTuneOptions, trust: Trust, progress: Progress
) -> list[EngineTrial]:
    """Times all builds in interleaved rounds, each in its own process."""
    settings = Settings(
        batches=(batch,),
        rounds=options.rounds,
        duration_s=options.duration_s,
        iterations=ITERATIONS,
        threads=usable_cores(),
        streams=1,
        boundary=Boundary.COMPUTE,
    )
    entries = []
    # The copies have no signature; that of the bundle was checked when it was opened.
    with contextlib.ExitStack() as stack, trusting(Trust(host_code=trust.host_code)):
        for copy in copies:
            found = examine(copy, "tensorrt", options.precision)
            entry = RowBuilder(backend="tensorrt", precision=options.precision, found=found, skipped=found.skipped)
            entries.append(entry)
            if entry.skipped is None:
                start(entry, stack, _worker_config(copy, options))
        time_rounds(entries, settings, progress)
    return [_trial(copy, entry, batch) for copy, entry in zip(copies, entries, strict=True)]


def _worker_config(copy: Bundle, options: EngineTuneOptions) -> WorkerConfig:
    return WorkerConfig(
        folder=str(copy.folder),
        backend="tensorrt",
        precision=options.precision,
        threads=None,
        data=options.data,
        limit=None,
        max_corrupt=0,
        accuracy_batch=1,
        boundary=Boundary.COMPUTE,
    )


def _trial(copy: Bundle, entry: RowBuilder, batch: int) -> EngineTrial:
    plan = copy.artifacts[f"plan-{entry.precision}-tensorrt"]
    return EngineTrial(
        **{name: plan.recipe.options[name] for name in TRIED},
        build_s=plan.facts["seconds"],
        size_bytes=plan.size_bytes,
        rounds_ms=None if entry.skipped else entry.latency(batch).rounds_ms,
        skipped=entry.skipped,
    )
