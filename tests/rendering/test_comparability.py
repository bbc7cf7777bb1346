"""Which reports may not be compared, and what a comparison is warned of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tests.bench.sample_reports import FP32, INT8, MACHINE, SKIPPED, make_report
from wrn_deploy.bench.report.report import Boundary, Report
from wrn_deploy.machine import Gpu
from wrn_deploy.rendering.comparability import SEPARATE, comparison_warnings, obstacles
from wrn_deploy.spec import Precision

A = make_report(FP32, INT8, SKIPPED)


def with_settings(**changed: object) -> Report:
    return dataclasses.replace(A, settings=dataclasses.replace(A.settings, **changed))  # type: ignore[arg-type]


def with_machine(**changed: object) -> Report:
    return dataclasses.replace(A, machine=dataclasses.replace(MACHINE, **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: dataclasses.replace(A, model="wrn-28-10"), "other model: wrn-16-4 and wrn-28-10"),
        (lambda: dataclasses.replace(A, random_weights=True), "other weights: trained and random"),
        (lambda: with_machine(cpu="Another CPU"), "other CPU: A CPU and Another CPU"),
        (lambda: with_machine(cores=8), "other cores: 4 and 8"),
        (lambda: with_machine(gpu=Gpu("A GPU", "9.0", 1, "1.0")), "other GPU: none and A GPU"),
        (lambda: with_settings(boundary=Boundary.TRANSFER), "other timed section: compute and transfer"),
        (lambda: with_settings(threads=1), "other threads: 2 and 1"),
        (lambda: with_settings(streams=4), "other streams: 1 and 4"),
    ],
)
def test_other_conditions_may_not_be_compared(make: Callable[[], Report], reason: str) -> None:
    assert obstacles(A, A) == ()
    assert obstacles(A, make()) == (reason,)


def test_other_images_matter_where_the_timed_section_decodes_them() -> None:
    decoding = with_settings(boundary=Boundary.E2E)
    (reason,) = obstacles(decoding, dataclasses.replace(decoding, data_digest="f" * 64))
    assert (
        reason == "different images, which the timed section decodes: digits (0123456789ab) and digits (ffffffffffff)"
    )
    assert obstacles(A, dataclasses.replace(A, data_digest="f" * 64)) == ()


def test_a_reference_needs_times_in_both() -> None:
    assert obstacles(A, A, ("pytorch", Precision.FP32)) == ()
    reason = ("the baseline tensorrt-fp16 has no times in one of them",)
    assert obstacles(A, A, ("tensorrt", Precision.FP16)) == reason


def test_warnings_name_versions_files_and_what_each_report_warns_of() -> None:
    remade = dataclasses.replace(INT8, sha256="f" * 64)
    after = dataclasses.replace(make_report(FP32, remade), versions={"numpy": "2.5.0", "torch": "2.13.0"})
    busy = dataclasses.replace(after, machine=dataclasses.replace(MACHINE, load_1min=9.0))
    assert comparison_warnings(A, busy) == (
        "Also different: numpy 2.4.6 and 2.5.0; torch none and 2.13.0.",
        "Measured from other files: ONNX Runtime int8.",
        SEPARATE,
        "B: Busy machine: load 9 on 4 cores before measuring; the times may be too long.",
    )
    assert comparison_warnings(A, A) == ("A and B are the same report.",)
