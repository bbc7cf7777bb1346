"""What is computed from a report: statistics, ratios and the ranking, each of them once for all renderings."""

from __future__ import annotations

import collections
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.full_report import make_full_report
from tests.bench.sample_reports import FP32, INT8, SKIPPED, STEADY, make_report, measured
from wrn_deploy.bench.report import derived
from wrn_deploy.bench.report.derived import LatencySummary, derive, summarize
from wrn_deploy.bench.report.ratios import Ratio, paired_ratio
from wrn_deploy.bench.report.report import Latency, Report, read_report
from wrn_deploy.rendering.csv_file import to_csv
from wrn_deploy.rendering.html import to_html
from wrn_deploy.rendering.markdown import to_markdown
from wrn_deploy.rendering.text import print_report
from wrn_deploy.spec import Precision

ROOT = Path(__file__).resolve().parents[3]
COMMITTED = read_report(ROOT / "benchmarks" / "results" / "bench-wrn-50-2-2core-epyc.json")


def test_ratios_are_of_the_rounds_that_both_were_in() -> None:
    report = make_report(FP32, INT8)
    baseline, other = report.derived.rows
    assert other.ratios[8] == paired_ratio(INT8.latencies[1].rounds_ms, FP32.latencies[1].rounds_ms)
    assert other.ratios[8] is not None
    assert other.ratios[8].value == pytest.approx(1.2 / 2.52)
    assert baseline.ratios == {1: None, 8: None}, "the baseline is not compared with itself"
    alone = dataclasses.replace(report, baseline="another").derived
    assert [row.ratios[8] for row in alone.rows] == [None, None]
    record = json.loads(report.to_json())["derived"]
    assert record[1]["ratios"]["8"]["value"] == pytest.approx(1.2 / 2.52)
    assert record[0]["ratios"]["8"] is None


def test_the_ranking_is_by_the_median_at_the_smallest_batch_size() -> None:
    later = dataclasses.replace(measured("Later", Precision.FP32, 0.1), latencies=(FP32.latencies[1],))
    ranking = make_report(FP32, later, INT8, SKIPPED).derived.ranking
    assert [one.row.name for one in ranking] == ["ONNX Runtime int8", "PyTorch fp32"]
    assert [one.latency.batch for one in ranking] == [1, 1]
    assert ranking[0].lead is None
    assert ranking[1].lead is not None
    assert ranking[1].lead.value == pytest.approx(1.2 / 2.52)
    assert make_report(SKIPPED).derived.ranking == ()


def test_statistics_are_those_computed_by_hand() -> None:
    summary = summarize(Latency(8, ((5.0, 1.0), (4.0, 2.0, 3.0)), STEADY))
    assert (summary.batch, summary.count, summary.min_ms, summary.median_ms) == (8, 5, 1.0, 3.0)
    assert summary.p90_ms == pytest.approx(4.6)  # 0.9 x 4 steps from 1: between 4 and 5
    assert summary.p95_ms == pytest.approx(4.8)
    assert summary.p99_ms == pytest.approx(4.96)
    assert summary.images_per_s == pytest.approx(8000 / 3)


def test_several_streams_make_more_images_a_run() -> None:
    assert summarize(Latency(8, ((2.0,),), STEADY), streams=3).images_per_s == pytest.approx(12000)
    report = make_report(FP32)
    settings = dataclasses.replace(report.settings, streams=3)
    assert dataclasses.replace(report, settings=settings).derived.rows[0].latencies[0].images_per_s == (
        pytest.approx(3 * report.derived.rows[0].latencies[0].images_per_s)
    )


def test_one_sample_is_its_own_statistics() -> None:
    summary = summarize(Latency(1, ((2.0,),), STEADY))
    assert (summary.min_ms, summary.median_ms, summary.p90_ms, summary.p99_ms) == (2.0, 2.0, 2.0, 2.0)
    assert summary.images_per_s == 500.0


@pytest.mark.parametrize("report", [COMMITTED, make_full_report()], ids=["committed", "full"])
def test_all_renderings_together_compute_each_number_once(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    ratios, summaries = collections.Counter[tuple[int, int]](), collections.Counter[int]()

    def count_ratio(times: Sequence[Sequence[float]], baseline: Sequence[Sequence[float]]) -> Ratio | None:
        ratios[id(times), id(baseline)] += 1
        return paired_ratio(times, baseline)

    def count_summary(latency: Latency, streams: int) -> LatencySummary:
        summaries[id(latency)] += 1
        return summarize(latency, streams)

    monkeypatch.setattr(derived, "paired_ratio", count_ratio)
    monkeypatch.setattr(derived, "summarize", count_summary)
    fresh = dataclasses.replace(report)  # nothing of it is derived yet
    for text in (fresh.to_json(), to_csv(fresh), to_markdown(fresh), to_html(fresh)):
        assert text
    print_report(fresh, Console(file=io.StringIO()))
    latencies = [latency for row in report.rows for latency in row.latencies]
    assert set(summaries.values()) == set(ratios.values()) == {1}
    assert len(summaries) == len(latencies)
    baseline = [row for row in report.rows if row.name == report.baseline]
    against_baseline = len(latencies) - len(baseline[0].latencies)
    against_fastest = len(report.derived.ranking) - 2  # neither itself, nor the baseline, which is there already
    assert len(ratios) == against_baseline + against_fastest
    assert derive(report) == fresh.derived
