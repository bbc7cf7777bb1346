"""Warnings about the environment: each with its figure beyond its limit, and not before."""

from __future__ import annotations

from typing import Any

import pytest

from wrn_deploy.bench.report.environment import Environment, Severity, Snapshot, find_warnings

CALM = Snapshot()


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({"others_before": 0.5}, None),
        (
            {"others_before": 0.61},
            "The machine was busy before measuring (load 0.61 on 2 cores): expect noisier times.",
        ),
        ({"others_cores": 0.2}, None),
        ({"others_cores": 0.24}, "Other programs used 0.24 of 2 cores while measuring."),
        ({"steal": 0.02}, None),
        ({"steal": 0.034}, "The hypervisor gave 3.4 % of the CPU's time to other machines while measuring."),
        ({"cpu_limit": 2.0}, None),
        (
            {"cpu_limit": 1.5},
            "The control group allows 1.5 cores of CPU time, on 2 cores: with more threads than that, it "
            "stops all of them from time to time.",
        ),
        ({"held_s": 0.0}, None),
        ({"held_s": 0.25}, "The control group's limit stopped this program for 0.25 s."),
        ({"before": Snapshot(governor="performance")}, None),
        (
            {"before": Snapshot(governor="powersave")},
            "The CPU's frequency governor is powersave, which may keep its clock low.",
        ),
        ({"before": Snapshot(cpu_mhz=800), "during": (Snapshot(cpu_mhz=3000), Snapshot(cpu_mhz=3300))}, None),
        (
            {"during": (Snapshot(cpu_mhz=3000), Snapshot(cpu_mhz=3301), Snapshot())},
            "The CPU's clock was between 3000 and 3301 MHz while measuring.",
        ),
        (
            {"during": (Snapshot(gpu_mhz=1980), Snapshot(gpu_mhz=1755))},
            "The GPU's clock was between 1755 and 1980 MHz while measuring.",
        ),
        ({"during": (Snapshot(gpu_mhz=1980), Snapshot(gpu_mhz=345, throttle_reasons=("GpuIdle",)))}, None),
        ({"after": Snapshot(throttle_reasons=("GpuIdle", "ApplicationsClocksSetting"))}, None),
        (
            {"during": (CALM, Snapshot(throttle_reasons=("SwPowerCap", "HwThermalSlowdown")))},
            "The GPU's clock was lowered in 1 of 3 snapshots: SwPowerCap, HwThermalSlowdown.",
        ),
        ({"cpu_throttles": 0}, None),
        ({"cpu_throttles": 1}, "The CPU was throttled once while measuring, because it was too hot."),
        ({"cpu_throttles": 9}, "The CPU was throttled 9 times while measuring, because it was too hot."),
    ],
)  # fmt: skip
def test_a_value_beyond_its_limit_gives_a_warning_with_the_figure(values: dict[str, Any], warning: str | None) -> None:
    environment = Environment(**{"before": CALM, "after": CALM, **values})
    assert [remark.text for remark in find_warnings(environment, 2)] == ([] if warning is None else [warning])


@pytest.mark.parametrize(
    ("values", "severity"),
    [
        ({"others_before": 0.97}, Severity.NOTE),
        ({"others_before": 12.0}, Severity.CAUTION),
        ({"steal": 0.03}, Severity.NOTE),
        ({"steal": 0.2}, Severity.CAUTION),
        ({"before": Snapshot(governor="powersave")}, Severity.NOTE),
        ({"cpu_throttles": 1}, Severity.CAUTION),
    ],
)
def test_what_hardly_matters_is_a_note(values: dict[str, Any], severity: Severity) -> None:
    environment = Environment(**{"before": CALM, "after": CALM, **values})
    assert [remark.severity for remark in find_warnings(environment, 2)] == [severity]


def test_all_warnings_are_given() -> None:
    environment = Environment(before=CALM, after=CALM, others_cores=3.0, steal=0.5, cpu_throttles=2)
    assert len(find_warnings(environment, 4)) == 3
