"""Which options do something only beside others, as data; one that was given and would do nothing is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import typer

from wrn_deploy.errors import UsageError
from wrn_deploy.training.recipe import RECIPES, LearningRateSchedule

__all__ = ["EFFECTS", "refuse_several_processes", "refuse_without_effect"]

# Commands that do all of their work, and write its result, in one process.
ONE_PROCESS = frozenset({
    "bench", "build-engine", "calibrate", "deploy", "eval", "export", "import", "tune",
})  # fmt: skip

Given = Mapping[str, Any]  # a command's values by the names of its parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class _Effect:
    """The parameters `names` do something only if `when` holds, which `expected` says in words."""

    names: tuple[str, ...]
    when: Callable[[Given], bool]
    expected: str


PERCENTILE = _Effect(
    names=("percentile",), when=lambda given: given["method"] == "percentile", expected="--calib-method percentile"
)
CALIBRATION = _Effect(
    names=("size", "method", "percentile"),
    when=lambda given: given["calib_data"] is not None,
    expected="--calib-data, since nothing is calibrated otherwise",
)
EVERYTHING = _Effect(
    names=("everything",),
    when=lambda given: given["backends"] is None or given["precision"] is None,
    expected="--backend or --precision, not both, since they name the candidate",
)
CLUSTER = _Effect(
    names=("ray_workers", "cpus_per_worker", "gpus_per_worker", "shard_timeout_s", "retries"),
    when=lambda given: given["ray"] is not None,
    expected="--ray ADDRESS",
)
THREADS = _Effect(
    names=("threads",),
    when=lambda given: given["ray"] is None,
    expected="no --ray, where --cpus-per-worker are a worker's threads",
)
SPREAD = (
    _Effect(names=(*CLUSTER.names, "ray_shards"), when=CLUSTER.when, expected=CLUSTER.expected),
    _Effect(
        names=("ray",),
        when=lambda given: given["shard"] is None and not given["merge"],
        expected="neither --shard nor --merge, which do a part of it",
    ),
    THREADS,
)
OUT_OF_SHARD = _Effect(names=("out",), when=lambda given: given["shard"] is not None, expected="--shard I/N")
# The options that say how a bundle becomes a model of Triton.
MODEL = ("backend", "precision", "runner", "normalised", "name", "instances", "gpus", "max_batch", "threads")
EFFECTS: Mapping[str, tuple[_Effect, ...]] = {
    "train": (
        _Effect(
            names=("warm_up",),
            when=lambda given: RECIPES[given["recipe"]].recipe.schedule is LearningRateSchedule.ONE_CYCLE,
            expected="a recipe with a warm-up, such as --recipe one-cycle",
        ),
        _Effect(
            names=("sync_norms",),
            when=lambda _given: "WORLD_SIZE" in os.environ,
            expected="several processes, started by torchrun",
        ),
        _Effect(
            names=("deterministic",),
            when=lambda given: given["device"] != "cpu",
            expected="a GPU; CPU kernels are reproducible",
        ),
    ),
    "export": (
        _Effect(names=("seed",), when=lambda given: given["random_weights"], expected="--random-weights"),
        _Effect(names=("weights_key",), when=lambda given: given["weights"] is not None, expected="--weights FILE"),
    ),
    "deploy": (
        PERCENTILE,
        _Effect(
            names=("max_drop", "limit"),
            when=lambda given: given["data"] is not None,
            expected="--data, since accuracy is not measured otherwise",
        ),
    ),
    "calibrate": (
        *SPREAD,
        PERCENTILE,
        OUT_OF_SHARD,
        _Effect(
            names=(
                "calib_data",
                "size",
                "method",
                "percentile",
                "exact_input",
                "full_range",
                "weights",
                "rounding",
                "equalize",
                "fp8",
                "max_corrupt",
                "workers",
                "shard",
                "dry_run",
            ),
            when=lambda given: not given["merge"],
            expected="no --merge, which takes all that from the shards",
        ),
        _Effect(
            names=("fp8", "dry_run"),
            when=lambda given: given["shard"] is None,
            expected="no --shard, which leaves the bundle as it is",
        ),
    ),
    "tune": (
        CLUSTER,
        _Effect(
            names=(
                "max_drop",
                "min_agreement",
                "threads",
                "limit",
                "calib_data",
                "size",
                "method",
                "percentile",
                "max_corrupt",
                "workers",
                "out",
                "dry_run",
            ),
            when=lambda given: given["engine"] is None,
            expected="no --engine, which builds and times plans",
        ),
        _Effect(
            names=("batch", "rounds", "duration_s"),
            when=lambda given: given["engine"] is not None,
            expected="--engine PRECISION, which times plans",
        ),
        CALIBRATION,
        PERCENTILE,
    ),
    "build-engine": (CALIBRATION, PERCENTILE),
    "finetune": (
        _Effect(
            names=("steps",), when=lambda given: given["epochs"] is None, expected="no --epochs, which it replaces"
        ),
    ),
    "bench": (
        EVERYTHING,
        CLUSTER,
        _Effect(
            names=("seconds", "target_ms", "qps"),
            when=lambda given: bool(given["scenario"]),
            expected="--scenario, for example --scenario Server",
        ),
        _Effect(
            names=("target_ms", "qps"), when=lambda given: "Server" in given["scenario"], expected="--scenario Server"
        ),
    ),
    "eval": (
        *SPREAD,
        EVERYTHING,
        OUT_OF_SHARD,
        _Effect(
            names=("backends", "everything", "precision", "threads", "limit", "max_corrupt", "workers", "shard"),
            when=lambda given: not given["merge"],
            expected="no --merge, which takes all that from the shards",
        ),
        _Effect(
            names=("max_drop",),
            when=lambda given: given["shard"] is None,
            expected="no --shard, which has only some of the images; give it with --merge",
        ),
    ),
    "repository": (
        _Effect(names=("storage_uri",), when=lambda given: given["kserve"] is not None, expected="--kserve FILE"),
        _Effect(
            names=(*MODEL, "kserve"), when=lambda given: not given["check"], expected="no --check, which writes nothing"
        ),
    ),
    "score": (
        CLUSTER,
        _Effect(
            names=("ray",),
            when=lambda given: not given["merge"] and given["print_job"] is None,
            expected="neither --merge nor --print-job, which run no shards",
        ),
        THREADS,
        _Effect(names=("into",), when=lambda given: given["merge"], expected="--merge"),
        _Effect(names=("tasks",), when=lambda given: given["print_job"] is not None, expected="--print-job SCHEDULER"),
        _Effect(
            names=("shard", "merge"),
            when=lambda given: given["print_job"] is None,
            expected="no --print-job, which runs nothing",
        ),
        _Effect(
            names=("shard",), when=lambda given: not given["merge"], expected="no --merge, which checks all shards"
        ),
    ),
    "serve": (
        _Effect(
            names=("server", "ready_s", "drain_s", "more"),
            when=lambda given: not given["container"],
            expected="no --container, which starts no server",
        ),
    ),
}


def refuse_several_processes(command: str) -> None:
    """Raises UsageError if torchrun started several processes of a command that would do its work in each of them."""
    processes = os.environ.get("WORLD_SIZE", "1")
    if command in ONE_PROCESS and processes != "1" and "TORCHELASTIC_RUN_ID" in os.environ:
        raise UsageError(
            f"{command} was started in {processes} processes by torchrun: expected one; train and finetune share work "
            "in this way, calibrate and eval with --shard"
        )


def refuse_without_effect(context: typer.Context) -> None:
    """Raises UsageError if an option of the command was given that its other options make useless."""
    refuse_several_processes(context.command.name or "")
    declared = {parameter.name: parameter for parameter in context.command.params}
    for effect in EFFECTS.get(context.command.name or "", ()):
        given = [name for name in effect.names if _was_given(context, name)]
        if given and not effect.when(context.params):
            spelled = " and ".join(declared[name].opts[0] for name in given)
            raise UsageError(f"{spelled} would have no effect: expected {effect.expected}; leave it out")


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP")
