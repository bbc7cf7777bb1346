"""A report with one text from outside in all of its places, for the tests of the renderings."""

from __future__ import annotations

import dataclasses

from tests.bench.sample_reports import FP32, INT8, MACHINE, SKIPPED, make_report
from wrn_deploy.bench.report.environment import Environment, Snapshot
from wrn_deploy.bench.report.report import LayerTime, LoadResult, Report
from wrn_deploy.bench.report.scores import ChangedImage, ClassScore
from wrn_deploy.machine import Gpu


def make_hostile_report(text: str) -> Report:
    """`text` is the name of everything that has one, and each reason, note and version."""
    assert INT8.accuracy is not None
    accuracy = dataclasses.replace(
        INT8.accuracy,
        classes=(ClassScore(text, 5, 1),),
        changed=(ChangedImage(name=text, label=text, before=text, after=text, png=text),),
        changed_count=1,
    )
    assert FP32.accuracy is not None
    before = dataclasses.replace(FP32.accuracy, classes=(ClassScore(text, 5, 4),))
    row = dataclasses.replace(
        INT8,
        title=text,
        artifact=text,
        sha256=text,
        accuracy=accuracy,
        layers=(LayerTime(text, 1.0, text),),
        loads=(
            LoadResult(
                scenario=text,
                valid=False,
                target_ms=1.0,
                samples_per_s=1.0,
                p50_ms=1.0,
                p90_ms=1.0,
                p99_ms=1.0,
                queries=1,
                log=text,
                reason=text,
            ),
        ),
    )
    skipped = dataclasses.replace(SKIPPED, skipped=text)
    machine = dataclasses.replace(MACHINE, cpu=text, system=text, gpu=Gpu(text, text, 1, text))
    state = Snapshot(governor=text, throttle_reasons=(text,))
    return dataclasses.replace(
        make_report(dataclasses.replace(FP32, accuracy=before), row, skipped, model=text),
        machine=machine,
        data=text,
        data_digest=text,
        created=text,
        corrupt=(text,),
        versions={text: text},
        environment=Environment(before=state, after=state, energy_j=None, git_revision=text, warnings=(text,)),
    )
