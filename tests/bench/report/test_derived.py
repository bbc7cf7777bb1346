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
from wrn_deploy.bench.report.derived import Front, LatencySummary, derive, summarize
from wrn_deploy.bench.report.environment import Environment, Snapshot
from wrn_deploy.bench.report.ratios import Ratio, paired_ratio
from wrn_deploy.bench.report.report import Latency, Report, Row, WarmUp, read_report
from wrn_deploy.bench.report.scores import Accuracy
from wrn_deploy.bench.report.verdicts import Conclusion, Doubts, decide
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
    expected = paired_ratio(INT8.latencies[1].rounds_ms, FP32.latencies[1].rounds_ms)
    assert expected is not None
    assert other.ratios[8] == decide(expected, 1.2 / 2.52, Doubts())
    assert other.ratios[8].ratio == pytest.approx(1.2 / 2.52)
    assert baseline.ratios == {1: None, 8: None}, "the baseline is not compared with itself"
    alone = dataclasses.replace(report, baseline="another").derived
    assert [row.ratios[8] for row in alone.rows] == [None, None]
    record = json.loads(report.to_json())["derived"]
    assert record[1]["ratios"]["8"]["ratio"] == pytest.approx(1.2 / 2.52)
    assert record[1]["ratios"]["8"]["words"] == record[0]["lead"]["words"] == "2.1x as fast"
    assert record[0]["ratios"]["8"] is None


def test_the_ranking_is_by_the_median_at_the_smallest_batch_size() -> None:
    later = dataclasses.replace(measured("Later", Precision.FP32, 0.1), latencies=(FP32.latencies[1],))
    ranking = make_report(FP32, later, INT8, SKIPPED).derived.ranking
    assert [one.row.name for one in ranking] == ["ONNX Runtime int8", "PyTorch fp32"]
    assert [one.latency.batch for one in ranking] == [1, 1]
    assert ranking[0].lead is None
    assert ranking[1].lead is not None
    assert ranking[1].lead.ratio == pytest.approx(1.2 / 2.52)
    assert make_report(SKIPPED).derived.ranking == ()


def scored(title: str, median_ms: float, correct: int, spread: float = 1.0) -> Row:
    """10,000 images; the rounds differ by up to `spread`."""
    rounds = tuple((median_ms * spread ** (index / 8), median_ms * spread ** (index / 8)) for index in range(8))
    row = measured(title, Precision.FP32, median_ms)
    return dataclasses.replace(
        row,
        latencies=(Latency(1, rounds, STEADY),),
        accuracy=Accuracy(images=10_000, correct=correct, agreement=None),
    )


def fronts(*rows: Row, **changed: object) -> dict[str, Front | None]:
    report = dataclasses.replace(make_report(*rows), **changed)  # type: ignore[arg-type]  # fields by name
    return {one.row.title: one.front for one in report.derived.ranking}


def test_the_front_is_what_the_intervals_say() -> None:
    fast, right = scored("Fast", 1.0, 9000), scored("Right", 2.0, 9400)
    dominated = scored("Dominated", 3.0, 9300)
    assert fronts(fast, right, dominated) == {"Fast": Front.ON, "Right": Front.ON, "Dominated": Front.OFF}
    one_image = scored("One image", 2.5, 9401)
    assert fronts(fast, right, one_image)["One image"] is Front.OPEN, "one image in 10,000 decides nothing"
    as_fast = scored("As fast", 1.0, 9000)
    assert set(fronts(fast, as_fast).values()) == {Front.OPEN}, "neither is shown to be slower"
    assert set(fronts(fast, dataclasses.replace(right, accuracy=None)).values()) == {None}
    assert set(fronts(fast, right, random_weights=True).values()) == {None}


def test_noise_leaves_the_front_open() -> None:
    rows = scored("Fast", 1.0, 9000), scored("Slow", 4.0, 9000)
    assert fronts(*rows) == {"Fast": Front.ON, "Slow": Front.OFF}
    busy = Environment(before=Snapshot(), after=Snapshot(), taken={1: 0.9})
    assert set(fronts(*rows, environment=busy).values()) == {Front.OPEN}
    noisy = scored("Fast", 1.0, 9000, spread=400.0)
    assert set(fronts(noisy, rows[1]).values()) == {Front.OPEN}


def test_others_on_the_machine_count_by_batch_size_or_else_in_all() -> None:
    report = make_report(FP32, INT8)
    around = Environment(before=Snapshot(), after=Snapshot(), others_cores=2.0, steal=0.1, taken={8: 0.0})
    busy = dataclasses.replace(report, environment=around)
    assert busy.taken(1) == pytest.approx(0.6)
    assert report.taken(1) == busy.taken(8) == 0.0
    ratios = busy.derived.rows[1].ratios
    assert [one.conclusion for one in ratios.values() if one] == [Conclusion.TOO_NOISY, Conclusion.RATIO]


def test_a_candidate_that_had_not_settled_has_a_bound() -> None:
    restless = tuple(dataclasses.replace(one, warm_up=WarmUp(10, 9, steady=False)) for one in INT8.latencies[:1])
    report = make_report(FP32, dataclasses.replace(INT8, latencies=restless + INT8.latencies[1:]))
    first, second = report.derived.rows[1].ratios.values()
    assert first is not None
    assert second is not None
    assert (first.words, second.words) == ("at least 2.1x as fast", "2.1x as fast")
    assert first.because == "the times of ONNX Runtime int8 had not settled after warming up"


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
    rows = len(report.derived.ranking)
    assert against_baseline + against_fastest <= len(ratios) <= against_baseline + rows * (rows - 1)
    assert derive(report) == fresh.derived
