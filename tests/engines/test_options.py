"""Options that make no sense are refused with what was expected; those that change the plan are in the recipe."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from wrn_deploy.engines.flavor import Flavor
from wrn_deploy.engines.options import (
    EngineOptions,
    Hardware,
    Profile,
    Tiling,
    check_flavor,
    parse_profile,
    read_options,
)
from wrn_deploy.errors import DamagedFile, UsageError


@pytest.mark.parametrize("batches", [(0, 1, 2), (2, 1, 4), (1, 5, 4), (8, 8, 4), (-1, 1, 1)])
def test_a_profile_out_of_order_is_a_usage_error(batches: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="expected 1 <= min <= opt <= max"):
        Profile(*batches)


def test_a_profile_is_read() -> None:
    assert parse_profile("1:8:32") == Profile(1, 8, 32) == Profile()


@pytest.mark.parametrize("text", ["", "8", "1:8", "1:8:32:64", "a:b:c", "1:8:", "1,8,32", "1.5:2:3"])
def test_another_text_is_a_usage_error(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"--profile .*: expected three batch sizes separated by colons, such as 1:8:32"
    ):
        parse_profile(text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"profiles": ()}, "no profile: expected at least one"),
        ({"profiles": (Profile(), Profile(1, 1, 1), Profile())}, "--profile 1:8:32 twice"),
        ({"level": 6}, "--optimization-level 6: expected 0 to 5"),
        ({"level": -1}, "--optimization-level -1: expected 0 to 5"),
        ({"compute_capabilities": ("SM86", "SM86")}, "--compute-capability SM86 SM86: expected each only once"),
        ({"compute_capabilities": ("CURRENT", "SM86")}, "expected CURRENT alone, or names without it"),
        ({"aux_streams": -1}, "--aux-streams -1: expected 0"),
        ({"timing_iterations": 0}, "--timing-iterations 0: expected at least 1"),
        ({"exclude_lean_runtime": True}, "--exclude-lean-runtime: expected --version-compatible with it"),
        ({"timing_cache": Path("a"), "no_timing_cache": True}, "--timing-cache a and --no-timing-cache: expected one"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        EngineOptions(**options)


def test_every_option_that_changes_the_plan_is_described_as_json() -> None:
    usual = EngineOptions()
    changed: dict[str, Any] = {
        "profiles": (Profile(1, 1, 1), Profile()), "workspace_mib": 64, "level": 5, "tf32": False, "refit": True,
        "version_compatible": True, "hardware": Hardware.AMPERE_PLUS, "compute_capabilities": ("SM86",), "strip": True,
        "aux_streams": 0, "tiling": Tiling.FULL, "timing_iterations": 8, "exclude_lean_runtime": True,
    }  # fmt: skip
    assert set(changed) == {field.name for field in dataclasses.fields(EngineOptions)} - {
        "timing_cache", "no_timing_cache",
    }  # fmt: skip
    for name, value in changed.items():
        needed = {"version_compatible": True} if name == "exclude_lean_runtime" else {}
        described = EngineOptions(**{name: value, **needed}).describe()
        assert described != usual.describe()
        assert json.loads(json.dumps(described)) == described
    assert EngineOptions(timing_cache=Path("times")).describe() == usual.describe()
    assert EngineOptions(no_timing_cache=True).describe() == usual.describe()


def test_options_are_read_back_from_a_recipe() -> None:
    """As the manifest has them: after JSON, among other options, and without what is not described."""
    given = EngineOptions(
        profiles=(Profile(1, 1, 1), Profile()), workspace_mib=64, level=5, tf32=False, tiling=Tiling.FAST,
        hardware=Hardware.AMPERE_PLUS, timing_cache=Path("times"),
    )  # fmt: skip
    recorded = json.loads(json.dumps({**given.describe(), "pixels": True, "gpu": None}))
    assert read_options(recorded) == dataclasses.replace(given, timing_cache=None)
    with pytest.raises(DamagedFile, match="the plan's options"):
        read_options({**recorded, "level": "5"})


def test_the_order_of_targets_is_not_described() -> None:
    first, second = (EngineOptions(compute_capabilities=order) for order in (("SM86", "SM89"), ("SM89", "SM86")))
    assert first.describe() == second.describe()


def test_the_usual_options_suit_every_flavor() -> None:
    for flavor in Flavor:
        check_flavor(EngineOptions(), flavor)


def test_targets_are_for_rtx_alone() -> None:
    with pytest.raises(UsageError, match=r"--compute-capability with tensorrt: .* --hardware-compatible") as error:
        check_flavor(EngineOptions(compute_capabilities=("SM86",)), Flavor.TENSORRT)
    assert error.value.exit_code == 2
    check_flavor(EngineOptions(compute_capabilities=("SM86",)), Flavor.RTX)
    full = EngineOptions(
        version_compatible=True, exclude_lean_runtime=True, hardware=Hardware.AMPERE_PLUS, timing_cache=Path("times"),
        tiling=Tiling.FAST, timing_iterations=4, aux_streams=2,
    )  # fmt: skip
    check_flavor(full, Flavor.TENSORRT)
