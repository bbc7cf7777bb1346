"""`tune --engine`: which builds are tried, which one is kept, and that the bundle is as it was otherwise.

No GPU is here: a builder that writes its options into the plan, and workers whose times follow from them, stand in.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import contents
from tests.pipeline.quantization.test_calibrate import Noted
from wrn_deploy.bench.measuring.latency import Times
from wrn_deploy.bench.report.report import WarmUp
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.build import BuiltPlan
from wrn_deploy.engines.flavor import Flavor, TensorRT
from wrn_deploy.engines.options import EngineOptions, Profile, Tiling
from wrn_deploy.errors import DeployError, MachineError, MissingArtifact, UsageError
from wrn_deploy.machine import Gpu
from wrn_deploy.manifest import Artifact
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.measuring.rounds import RowBuilder
from wrn_deploy.pipeline.tuning import engine
from wrn_deploy.pipeline.tuning.engine import EngineTuneOptions, tune_engine
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.backend import Candidate, find_runtime
from wrn_deploy.spec import Precision

H200 = Gpu("NVIDIA H200", "9.0", 143771, "580.65.06")
OPTIONS = EngineTuneOptions(precision=Precision.FP16, data="digits", rounds=8, duration_s=0.01)
Way = tuple[int | None, int | None, str | None]  # level, auxiliary streams, tiling


class Machine:
    """An H200 with TensorRT: `ms` has the time of a run by way, 1.0 for all others."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ms: dict[Way, float] = {}
        self.built: list[Way] = []
        self.fails: dict[Way, str] = {}
        self.crashes: set[Way] = set()
        self.batches: set[int] = set()
        patch.setattr("wrn_deploy.engines.flavor.find_flavor", lambda _wanted: TensorRT(Flavor.TENSORRT, "11.4", None))
        patch.setattr("wrn_deploy.engines.build.build_plan", self._build)
        patch.setattr("wrn_deploy.pipeline.engines.build.find_gpu", lambda: H200)
        patch.setattr("wrn_deploy.pipeline.measuring.rounds.PAUSE_S", 0.0)
        patch.setattr(engine, "find_gpu", lambda: H200)
        patch.setattr(engine, "examine", self._examine)
        patch.setattr(engine, "start", self._start)

    def _build(
        self, _trt: object, _onnx: Path, _source: object, options: EngineOptions, _progress: object
    ) -> BuiltPlan:
        way = (options.level, options.aux_streams, options.tiling)
        if way in self.fails:
            raise DeployError(self.fails[way])
        self.built.append(way)
        return BuiltPlan(plan=json.dumps(options.describe()).encode(), seconds=1.0, memory={}, warnings=())

    def _examine(self, bundle: Bundle, backend: str, precision: Precision) -> Candidate:
        artifact = bundle.find(f"plan-{precision}-{backend}")
        return Candidate(runtime=find_runtime(backend), artifact=artifact, obstacle=None)

    def _start(self, entry: RowBuilder, _stack: object, config: Any) -> None:
        plan: Artifact | None = entry.found.artifact
        assert plan is not None
        options = json.loads((Path(config.folder) / plan.path).read_bytes())
        way = (options["level"], options["aux_streams"], options["tiling"])
        entry.worker = Worker(self, way)  # type: ignore[assignment]
        assert (config.backend, config.precision) == ("tensorrt", Precision.FP16)


class Worker:
    """One build, whose times have a noise of 2 %."""

    def __init__(self, machine: Machine, way: Way) -> None:
        self._machine, self._way, self._chance = machine, way, np.random.default_rng(zlib.crc32(str(way).encode()))

    def warm_up(self, batch: int, _min_s: float, _max_s: float) -> tuple[WarmUp, float]:
        self._machine.batches.add(batch)
        return WarmUp(seconds=0.0, runs=1, steady=True), self._machine.ms.get(self._way, 1.0)

    def time(self, _batch: int, iterations: int) -> Times:
        if self._way in self._machine.crashes:
            raise DeployError("its process died (SIGSEGV)")
        factor = self._machine.ms.get(self._way, 1.0)
        return Times(tuple(float(t) for t in factor * (1 + 0.02 * self._chance.normal(size=iterations))))

    def close(self) -> None:
        """Nothing to end."""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.fixture
def tunable(bundle: Bundle, machine: Machine) -> Bundle:
    """A bundle with an fp16 plan of TensorRT as `build-engine` makes it by default, for its own batches."""
    given = EngineOptions(profiles=(Profile(1, 4, 8), Profile(16, 16, 16)), workspace_mib=64)
    build_engine(bundle, BuildOptions(precision=Precision.FP16, engine=given, flavor=Flavor.TENSORRT), Silent())
    machine.built.clear()
    return bundle


def plan_of(bundle: Bundle) -> Artifact:
    return Bundle.open(bundle.folder).find("plan-fp16-tensorrt")


def test_the_fastest_build_takes_the_plans_place(tunable: Bundle, machine: Machine) -> None:
    before = plan_of(tunable)
    machine.ms = {(4, None, None): 0.9, (5, None, None): 0.8, (5, None, Tiling.FULL): 0.8}
    tuning = tune_engine(tunable, OPTIONS, Silent())
    ways = [(trial.level, trial.aux_streams, trial.tiling) for trial in tuning.trials]
    assert ways == [(None, None, None), (3, 0, None), (4, None, None), (5, None, None), (5, None, "full")]
    assert machine.built == ways[1:], "the plan as it is need not be built, and level 3 is TensorRT's default"
    assert tuning.chosen in (3, 4)
    after = plan_of(tunable)
    assert after.sha256 == tuning.sha256 != before.sha256
    changed = {name: value for name, value in after.recipe.options.items() if before.recipe.options[name] != value}
    assert changed["level"] == 5
    assert set(changed) <= {"level", "tiling"}
    assert (after.facts["profiles"], after.path) == (before.facts["profiles"], before.path)
    assert machine.batches == {4}
    ratio = tuning.ratio(3)
    assert ratio is not None
    assert ratio.low < 0.8 < ratio.high


def test_ties_keep_the_plan_as_it_was(tunable: Bundle, machine: Machine) -> None:
    before = plan_of(tunable)
    machine.ms = {(5, None, None): 1.01}
    tuning = tune_engine(tunable, OPTIONS, Silent())
    assert tuning.chosen == 0
    assert plan_of(tunable) == before
    assert Bundle.open(tunable.folder).find("engine-tuning-fp16").kind == "report"


def test_again_it_is_up_to_date(tunable: Bundle, machine: Machine) -> None:
    machine.ms = {(5, None, None): 0.5}
    first = tune_engine(tunable, OPTIONS, Silent())
    machine.built.clear()
    progress = Noted()
    again = tune_engine(Bundle.open(tunable.folder), OPTIONS, progress)
    assert again == first
    assert machine.built == []
    assert progress.notes == [f"{tunable.folder}: fp16-tensorrt.plan is already tuned"]
    tune_engine(Bundle.open(tunable.folder), dataclasses.replace(OPTIONS, batch=16), Silent())
    assert (3, None, None) in machine.built, "another batch is another question, and now level 5 is the plan as it is"
    assert machine.batches == {4, 16}


def test_a_build_that_fails_or_dies_is_left_out(tunable: Bundle, machine: Machine) -> None:
    machine.fails = {(4, None, None): "the GPU's memory is full"}
    machine.crashes = {(5, None, None)}
    machine.ms = {(5, None, Tiling.FULL): 0.7, (4, None, None): 0.1, (5, None, None): 0.1}
    progress = Noted()
    tuning = tune_engine(tunable, OPTIONS, progress)
    assert [warning for warning in progress.warnings if "'level': 4" in warning and "memory is full" in warning]
    assert [trial.skipped for trial in tuning.trials] == [None, None, "its process died (SIGSEGV)", None]
    assert tuning.chosen == 3


def test_a_plan_that_cannot_be_measured_leaves_the_bundle_as_it_was(tunable: Bundle, machine: Machine) -> None:
    before = contents(tunable.folder)
    machine.crashes = {(None, None, None)}
    with pytest.raises(DeployError, match=r"fp16-tensorrt\.plan cannot be measured: its process died"):
        tune_engine(tunable, OPTIONS, Silent())
    assert contents(tunable.folder) == before


def test_without_a_gpu_the_machine_cannot_do_it(tunable: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(tunable.folder)
    monkeypatch.setattr(engine, "find_gpu", lambda: None)
    with pytest.raises(MachineError, match="measures plans on a CUDA GPU, and there is none here") as error:
        tune_engine(tunable, OPTIONS, Silent())
    assert error.value.exit_code == 4
    assert contents(tunable.folder) == before


def test_what_makes_no_sense_is_refused(tunable: Bundle, machine: Machine) -> None:
    with pytest.raises(UsageError, match="--batch-size 9: expected one that the plan supports, 1 to 8 and 16 to 16"):
        tune_engine(tunable, dataclasses.replace(OPTIONS, batch=9), Silent())
    with pytest.raises(MissingArtifact, match=r"build-engine .* --int8 --flavor tensorrt"):
        tune_engine(tunable, dataclasses.replace(OPTIONS, precision=Precision.INT8), Silent())
    for wrong in ({"rounds": 5}, {"duration_s": 0.0}, {"batch": 0}):
        with pytest.raises(UsageError, match="expected"):
            dataclasses.replace(OPTIONS, **wrong)
    assert machine.built == []
