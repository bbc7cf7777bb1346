"""Damaged plans are refused, with TensorRT-RTX itself where it is installed: never a crash, never an engine."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wrn_deploy.backends.plan.engine import check_rtx_plan, deserialize_plan
from wrn_deploy.errors import DamagedFile, DeployError, MachineError, StaleArtifact
from wrn_deploy.machine import Gpu, find_gpu

needs_rtx = pytest.mark.skipif(
    not (find_gpu() is None and importlib.util.find_spec("tensorrt_rtx")),
    reason="TensorRT-RTX is not installed, or could open the plan on a GPU",
)


@pytest.fixture
def plan(made_bundle: Path) -> bytes:
    return (made_bundle / "fp16-tensorrt_rtx.plan").read_bytes()


@needs_rtx
def test_a_whole_plan_passes_the_check_and_parts_do_not(plan: bytes) -> None:
    check_rtx_plan(plan)
    for part in (b"", plan[:3], plan[:20], plan[:-1], plan + b"\0", b"ftrt" + plan[4:]):
        with pytest.raises(DamagedFile, match="rebuild it"):
            check_rtx_plan(part)


MUTATIONS = """
import random, sys
import tensorrt_rtx as trt
from wrn_deploy.backends.plan.engine import deserialize_plan
from wrn_deploy.errors import DeployError

whole, chance, outcomes = open(sys.argv[1], "rb").read(), random.Random(0), []
logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
runtime = trt.Runtime(logger)
for number in range(200):
    plan = bytearray(whole)
    for _ in range(chance.randint(1, 8)):
        plan[chance.randrange(64 if number % 2 else len(plan))] = chance.randrange(256)
    if number % 5 == 0:
        plan = plan[: chance.randrange(len(plan))]
    try:
        outcomes.append(str(deserialize_plan(trt, runtime, bytes(plan), {})))
    except DeployError as error:
        outcomes.append(type(error).__name__)
    runtime.deserialize_cuda_engine(bytes(plan))  # and TensorRT-RTX itself survives it
print(*outcomes)
"""


@needs_rtx
def test_no_damage_crashes_the_process(made_bundle: Path) -> None:
    """In a process of its own, whose end would show a crash."""
    command = [sys.executable, "-c", MUTATIONS, str(made_bundle / "fp16-tensorrt_rtx.plan")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, errors="replace")
    outcomes = done.stdout.splitlines()[-1].split()
    assert len(outcomes) == 200
    assert set(outcomes) == {"DamagedFile", "MachineError"}


@needs_rtx
def test_without_a_gpu_the_machine_cannot_do_it(plan: bytes) -> None:
    import tensorrt_rtx

    logger = tensorrt_rtx.Logger(tensorrt_rtx.Logger.INTERNAL_ERROR)
    runtime = tensorrt_rtx.Runtime(logger)
    with pytest.raises(MachineError, match="TensorRT-RTX cannot run the plan here: no usable GPU and driver"):
        deserialize_plan(tensorrt_rtx, runtime, plan, {})


class Runtime:
    """Full TensorRT's, as far as it matters here: it gives an engine, nothing, or throws."""

    def __init__(self, outcome: object) -> None:
        self._outcome = outcome
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        assert plan
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def test_an_engine_is_passed_on() -> None:
    engine = object()
    assert deserialize_plan(None, Runtime(engine), random.Random(0).randbytes(99), {}) is engine


@pytest.mark.parametrize(
    ("outcome", "plan", "kind", "said"),
    [
        (None, b"ftrt", MachineError, r"on this GPU \(tuned on A, here B: .*\): rebuild it here"),
        (RuntimeError("bad"), b"ftrt", DamagedFile, r"deserialized \(tuned on A, here B: .*\) \(bad\): rebuild it"),
        (None, b"", DamagedFile, "the plan is empty: expected one for TensorRT"),
        (None, b"vtrt...", DamagedFile, "the plan is for TensorRT-RTX: expected one for TensorRT"),
    ],
)
def test_every_failure_is_an_error_of_ours(
    outcome: object, plan: bytes, kind: type[DeployError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wrn_deploy.backends.plan.engine.find_gpu", lambda: Gpu("B", "9.0", 0, "570"))
    with pytest.raises(kind, match=said):
        deserialize_plan(None, Runtime(outcome), plan, {"flavor": "tensorrt", "gpu": "A"})


@pytest.mark.parametrize(("compatible", "allowed"), [(False, False), (False, True), (True, True)])
def test_code_in_a_plan_is_run_only_if_the_caller_allows_it(compatible: bool, allowed: bool) -> None:
    runtime = Runtime(object())
    deserialize_plan(None, runtime, b"ftrt", {"version_compatible": compatible}, host_code=allowed)
    assert runtime.engine_host_code_allowed is compatible


@pytest.mark.parametrize("said", [True, 1, "yes", "false", [0]])
def test_a_manifest_does_not_allow_code(said: object) -> None:
    runtime = Runtime(object())
    with pytest.raises(DeployError, match=r"is not run unless you allow it: .*--allow-host-code"):
        deserialize_plan(None, runtime, b"ftrt", {"version_compatible": said})
    assert not runtime.engine_host_code_allowed


class Rtx(Runtime):
    """TensorRT-RTX's, with what it would say of a plan on a GPU; tests on a GPU ask the real one."""

    def __init__(self, validity: str, reasons: int) -> None:
        super().__init__(object())
        self._answer = (validity, reasons)

    def get_engine_validity(self, plan: bytes) -> tuple[str, int]:
        del plan
        return self._answer


@needs_rtx
@pytest.mark.parametrize(
    ("names", "kind", "said"),
    [
        (["VERSION_MISMATCH"], MachineError, "another version of TensorRT-RTX; or rebuild it"),
        (["UNSUPPORTED_CC", "OLD_CUDA_DRIVER"], MachineError, r"not one of those .*; the CUDA driver is too old"),
        (["MALFORMED_ENGINE"], DamagedFile, "reports a damaged plan: rebuild it"),
    ],
)
def test_what_rtx_finds_wrong_is_told(plan: bytes, names: list[str], kind: type[DeployError], said: str) -> None:
    import tensorrt_rtx

    reasons = sum(int(getattr(tensorrt_rtx.EngineInvalidityDiagnostics, name)) for name in names)
    invalid, valid = tensorrt_rtx.EngineValidity.INVALID, tensorrt_rtx.EngineValidity.SUBOPTIMAL
    with pytest.raises(kind, match=said):
        deserialize_plan(tensorrt_rtx, Rtx(invalid, reasons), plan, {})
    assert deserialize_plan(tensorrt_rtx, Rtx(valid, reasons), plan, {}) is not None


class Engine:
    """An engine with the profiles 1:1:1 and 2:8:16 for `images`."""

    num_optimization_profiles = 2

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        batches = ((1, 1, 1), (2, 8, 16))[index]
        return [(batch, 3, 32, 32) if name == "images" else () for batch in batches]


BATCHES = [{"minimum": 1, "optimum": 1, "maximum": 1}, {"minimum": 2, "optimum": 8, "maximum": 16}]


def test_the_engines_profiles_are_those_of_the_manifest() -> None:
    facts = {"inputs": [{"name": "images"}], "profiles": BATCHES}
    engine = Engine()
    assert deserialize_plan(None, Runtime(engine), b"ftrt", facts) is engine
    with pytest.raises(StaleArtifact, match=r"batches are .*\(2, 8, 16\)\], and the manifest says \[\(1, 1, 1\)\]"):
        deserialize_plan(None, Runtime(engine), b"ftrt", {**facts, "profiles": BATCHES[:1]})
    with pytest.raises(StaleArtifact, match="the plan has no input pictures"):
        deserialize_plan(None, Runtime(engine), b"ftrt", {**facts, "inputs": [{"name": "pictures"}]})


def test_a_plan_without_a_runtime_in_it_holds_no_host_code() -> None:
    runtime = Runtime(object())
    deserialize_plan(None, runtime, b"ftrt", {"version_compatible": True, "exclude_lean_runtime": True})
    assert not runtime.engine_host_code_allowed
