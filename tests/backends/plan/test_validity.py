"""Which plans fit a machine, which field differs where one does not, and what is said to do."""

from __future__ import annotations

from typing import Any

import pytest

from wrn_deploy.backends.plan.validity import batches_of, plan_mismatch, plan_warnings, profiles_of
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import Gpu
from wrn_deploy.runtime.plan_profile import PlanProfile

H200 = Gpu("NVIDIA H200", "9.0", 143771, "570.86.15")
L4 = Gpu("NVIDIA L4", "8.9", 23034, "570.86.15")
T4 = Gpu("Tesla T4", "7.5", 15360, "570.86.15")
TENSORRT: dict[str, Any] = {
    "flavor": "tensorrt", "version": "11.4.0.106", "compute_capability": "9.0", "gpu": "NVIDIA H200",
    "driver": "570.86.15", "version_compatible": False, "hardware": None, "compute_capabilities": [], "strip": False,
}  # fmt: skip
RTX = {**TENSORRT, "flavor": "tensorrt_rtx", "version": "1.7.1.116", "compute_capability": None, "gpu": None}
REMEDY = "wrn-deploy build-engine BUNDLE --fp16 --flavor tensorrt --rebuild"


def mismatch(facts: dict[str, Any], here: str = "11.4.0.106", on: Gpu | None = H200, **changed: object) -> str:
    return plan_mismatch({**facts, **changed}, here, on) or ""


def test_a_plan_fits_the_machine_it_was_built_on() -> None:
    assert plan_mismatch(TENSORRT, "11.4.0.106", H200, remedy=REMEDY, flavor="tensorrt") is None


@pytest.mark.parametrize(
    ("changed", "version", "said"),
    [
        ({}, "10.16.1.11", "tensorrt 11.4.0.106, here 10.16.1.11"),
        ({"version": "11.4.0.107"}, "11.4.0.106", "tensorrt 11.4.0.107, here 11.4.0.106"),
        ({"version": None}, "11.4.0.106", "tensorrt None, here 11.4.0.106"),
        (
            {"compute_capability": "8.9", "gpu": "NVIDIA L4"},
            "11.4.0.106",
            "compute capability 8.9 (NVIDIA L4), here 9.0 (NVIDIA H200)",
        ),
    ],
)
def test_the_field_that_differs_is_named_with_the_remedy(changed: dict[str, object], version: str, said: str) -> None:
    reason = plan_mismatch({**TENSORRT, **changed}, version, H200, remedy=REMEDY)
    assert reason == f"the plan was built elsewhere: {said}; rebuild it here: `{REMEDY}`"


def test_all_fields_that_differ_are_named() -> None:
    reason = plan_mismatch({**TENSORRT, "compute_capability": "8.0"}, "10.16.1.11", H200, flavor="tensorrt_rtx")
    assert reason is not None
    assert "for tensorrt, here tensorrt_rtx; tensorrt 11.4.0.106, here 10.16.1.11; compute capability 8.0" in reason


def test_a_manifest_that_says_nothing_of_the_plan_does_not_fit() -> None:
    assert plan_mismatch({}, "11.4.0.106", H200) is not None


def test_without_a_gpu_the_software_alone_is_compared() -> None:
    assert not mismatch(TENSORRT, on=None)
    assert not mismatch(TENSORRT, compute_capability=None, gpu=None)
    assert mismatch(TENSORRT, "11.4.0.107", on=None)


@pytest.mark.parametrize(
    ("built", "here", "fits"),
    [
        ("10.12.0.36", "10.12.0.36", True),
        ("10.12.0.36", "10.13.0.1", True),
        ("10.9.0.1", "10.12.0.36", True),  # numbers, not texts
        ("10.16.1.11", "11.4.0.106", True),
        ("11.4.0.106", "10.16.1.11", False),
        ("11.4.0.106", "11.4.0.105", False),
    ],
)
def test_a_version_compatible_plan_runs_on_later_versions(built: str, here: str, fits: bool) -> None:
    assert (mismatch(TENSORRT, here, version=built, version_compatible=True) == "") is fits
    assert (mismatch(TENSORRT, here, version=built) == "") is (built == here)


def test_a_plan_without_its_runtime_runs_on_its_own_version_alone() -> None:
    compatible: dict[str, Any] = {"version_compatible": True, "exclude_lean_runtime": True}
    assert not mismatch(TENSORRT, **compatible)
    assert "tensorrt 11.4.0.106, here 11.5.0.1" in mismatch(TENSORRT, "11.5.0.1", **compatible)


def test_the_lean_runtime_runs_version_compatible_plans_alone() -> None:
    assert "--version-compatible" in (plan_mismatch(TENSORRT, "11.4.0.106", H200, lean=True) or "")
    compatible = {**TENSORRT, "version_compatible": True}
    assert plan_mismatch(compatible, "11.4.0.106", H200, lean=True) is None
    assert plan_mismatch(compatible, "11.5.0.1", H200, lean=True) is None


def test_a_plan_of_rtx_runs_on_its_own_version_alone() -> None:
    for compatible in (False, True):
        assert not mismatch(RTX, "1.7.1.116", L4, version_compatible=compatible)
        assert "1.7.1.116, here 1.8.0.1" in mismatch(RTX, "1.8.0.1", L4, version_compatible=compatible)


@pytest.mark.parametrize(
    ("hardware", "gpu", "fits"),
    [
        (None, H200, True), (None, L4, False),
        ("same-compute-capability", H200, True), ("same-compute-capability", L4, False),
        ("ampere-plus", H200, True), ("ampere-plus", L4, True), ("ampere-plus", T4, False),
    ],
)  # fmt: skip
def test_which_gpus_a_plan_of_full_tensorrt_is_for(hardware: str | None, gpu: Gpu, fits: bool) -> None:
    reason = mismatch(TENSORRT, on=gpu, hardware=hardware)
    assert (reason == "") is fits
    assert fits or f"here {gpu.compute_capability} ({gpu.name})" in reason


@pytest.mark.parametrize(
    ("targets", "gpu", "fits"),
    [
        ([], L4, True), ([], H200, True), ([], T4, False),
        (["SM89"], L4, True), (["SM86", "SM89"], L4, True), (["SM86", "SM120"], L4, False), (["SM80"], H200, False),
        (["SM75"], T4, True), (["SM120"], Gpu("RTX 5090", "12.0", 32607, "570"), True),
    ],
)  # fmt: skip
def test_which_gpus_a_plan_of_rtx_is_for(targets: list[str], gpu: Gpu, fits: bool) -> None:
    assert (mismatch(RTX, "1.7.1.116", gpu, compute_capabilities=targets) == "") is fits
    built_elsewhere = mismatch(RTX, "1.7.1.116", gpu, compute_capabilities=targets, compute_capability="8.6")
    assert (built_elsewhere == "") is fits, "where it was built does not matter"


def test_a_plan_of_rtx_for_the_current_gpu_is_for_that_kind_alone() -> None:
    current = {"compute_capabilities": ["CURRENT"], "compute_capability": "8.9", "gpu": "NVIDIA L4"}
    assert not mismatch(RTX, "1.7.1.116", L4, **current)
    assert "compute capability 8.9 (NVIDIA L4), here 9.0" in mismatch(RTX, "1.7.1.116", H200, **current)


def test_a_plan_without_weights_does_not_run() -> None:
    assert "the plan has no weights (it was built with --strip)" in mismatch(TENSORRT, strip=True)


def test_what_may_matter_is_told_and_not_forbidden() -> None:
    assert plan_warnings(TENSORRT, H200) == ()
    other = Gpu("NVIDIA H100", "9.0", 81559, "565.10")
    assert not mismatch(TENSORRT, on=other)
    slow, driver = plan_warnings(TENSORRT, other)
    assert "tuned on NVIDIA H200, here NVIDIA H100" in slow
    assert driver == "built with driver 570.86.15, here the older 565.10"
    assert plan_warnings({**TENSORRT, "hardware": "same-compute-capability"}, other) == (driver,)
    (unknown,) = plan_warnings(RTX, H200)
    assert unknown.startswith("not known to run on compute capability 9.0 (NVIDIA H200)")
    assert plan_warnings(RTX, L4) == ()


def test_batches_go_from_the_least_to_the_largest_of_all_profiles() -> None:
    facts = {
        "profiles": [{"minimum": 4, "optimum": 8, "maximum": 32}, {"minimum": 1, "optimum": 1, "maximum": 2}],
    }
    assert profiles_of(facts) == (
        PlanProfile(minimum=4, optimum=8, maximum=32),
        PlanProfile(minimum=1, optimum=1, maximum=2),
    )
    assert batches_of(facts) == range(1, 33)


@pytest.mark.parametrize(
    "profiles",
    [
        None, [], {}, 3, "text", [3], [{"minimum": 1}], [{"minimum": "1", "optimum": 2, "maximum": 4}],
        [{"minimum": True, "optimum": 2, "maximum": 4}], [{"minimum": 0, "optimum": 2, "maximum": 4}],
        [{"minimum": 1, "optimum": 5, "maximum": 4}], [{"minimum": 1.0, "optimum": 2, "maximum": 4}],
    ],
)  # fmt: skip
def test_a_manifest_without_batches_says_so(profiles: object) -> None:
    with pytest.raises(DeployError, match=r"the manifest .* the plan's batches .*: rebuild it"):
        profiles_of({"profiles": profiles})
    with pytest.raises(DeployError, match="the manifest lacks the plan's batches"):
        profiles_of({})
