"""The renderings of a report as text: cells, summary, terminal and Markdown."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from tests.bench.full_report import make_full_report
from tests.bench.sample_reports import (
    FP32,
    FULL,
    HOSTILE,
    INT8,
    MACHINE,
    NO_ACCURACY,
    REASON,
    SKIPPED,
    make_report,
    measured,
)
from wrn_deploy.bench.report.environment import Environment, Severity, Snapshot
from wrn_deploy.bench.report.report import Report, Row, WarmUp
from wrn_deploy.bench.report.scores import ClassScore
from wrn_deploy.machine import Gpu
from wrn_deploy.rendering.csv_file import to_csv
from wrn_deploy.rendering.html import to_html
from wrn_deploy.rendering.markdown import to_markdown
from wrn_deploy.rendering.notes import environment, machine_state, notes, skips, summary
from wrn_deploy.rendering.remarks import doubts, headline, warnings
from wrn_deploy.rendering.table import RANDOM_WEIGHTS, Table, class_losses, tables
from wrn_deploy.rendering.text import print_report
from wrn_deploy.spec import Precision


def to_text(report: Report, width: int = 100) -> str:
    file = io.StringIO()
    print_report(report, Console(file=file, width=width))
    return file.getvalue()


RENDERINGS: dict[str, Callable[[Report], str]] = {"text": to_text, "markdown": to_markdown, "html": to_html}


def named(report: Report, name: str) -> Table:
    return next(table for table in tables(report) if table.name == name)


def test_latency_is_one_line_a_row_and_batch() -> None:
    table = named(FULL, "times")
    assert table.headers == ("Candidate", "Batch", "min", "median", "p90", "p95", "p99", "images/s")
    assert table.lines[0].cells == ("PyTorch fp32", "1", "2.27", "2.52", "2.77", "2.77", "2.77", "397")
    assert [line.cells[:2] for line in table.lines[1:3]] == [("PyTorch fp32", "8"), ("ONNX Runtime int8", "1")]
    assert [line.first for line in table.lines] == [True, False, True, False]
    assert [line.strong for line in table.lines] == [None, None, 3, 3]


def test_ratios_are_a_table_of_their_own_in_words() -> None:
    table = named(FULL, "ratios")
    assert table.title == "Against PyTorch fp32"
    assert table.lines[0].cells == ("ONNX Runtime int8", "1", "0.476", "0.476 to 0.476", "2.1x as fast")
    assert [line.cells[1] for line in table.lines] == ["1", "8"]
    alone = dataclasses.replace(FULL, baseline=None)
    assert "ratios" not in {table.name for table in tables(alone)}


def test_accuracy_has_its_interval_and_only_columns_that_hold_something() -> None:
    table = named(FULL, "answers")
    assert table.headers == ("Candidate", "top-1", "95 % interval", "agreement", "file size", "peak memory")
    first, second = (line.cells for line in table.lines)
    assert first == ("PyTorch fp32", "98.33 %", "96.41 to 99.23 %", "reference", "10.9 MB", "210 MB")
    assert second[1:4] == ("97.50 %", "95.32 to 98.68 %", "99.75 %")
    assert "top-5" in named(make_full_report(), "answers").headers


def with_classes(row: Row, *scores: tuple[str, int, int]) -> Row:
    assert row.accuracy is not None
    classes = tuple(ClassScore(*score) for score in scores)
    return dataclasses.replace(row, accuracy=dataclasses.replace(row.accuracy, classes=classes))


def test_a_loss_of_few_images_of_many_is_not_0_points() -> None:
    before, after = with_classes(FP32, ("cat", 5000, 4001)), with_classes(INT8, ("cat", 5000, 4000))
    assert class_losses(make_report(before, after)).lines[0].cells[-1] == "< 0.1"


def test_the_worst_classes_are_those_that_lose_the_largest_share() -> None:
    before = with_classes(FP32, ("cat", 10, 9), ("dog", 100, 90), ("hen", 10, 5), ("cow", 10, 8), ("none", 0, 0))
    after = with_classes(INT8, ("cat", 10, 7), ("dog", 100, 85), ("hen", 10, 6), ("cow", 10, 8), ("none", 0, 0))
    report = make_report(before, after)
    assert [line.cells for line in class_losses(report).lines] == [
        ("ONNX Runtime int8", "cat", "10", "9", "7", "20.0"),
        ("ONNX Runtime int8", "dog", "100", "90", "85", "5.0"),
    ]
    assert [line.first for line in class_losses(report).lines] == [True, False]
    assert class_losses(dataclasses.replace(report, reference=None)).lines == ()
    assert class_losses(make_report(FP32, after)).lines == ()
    many = [(f"class {index}", 10, 9 - index % 2) for index in range(8)]
    lost = with_classes(INT8, *((label, images, 1) for label, images, _ in many))
    assert len(class_losses(make_report(with_classes(FP32, *many), lost)).lines) == 5


def test_skipped_rows_share_their_reason() -> None:
    other = dataclasses.replace(SKIPPED, precision=Precision.INT8, size_bytes=None)
    another = dataclasses.replace(SKIPPED, title="Other", skipped="no licence")
    found = skips(make_report(FP32, SKIPPED, another, other))
    assert [skip.names for skip in found] == [("TensorRT fp16 (built, 5.50 MB)", "TensorRT int8"), (found[1].names[0],)]
    assert found[0].sentence == f"TensorRT fp16 (built, 5.50 MB), TensorRT int8 skipped: {REASON}"
    assert found[1].reason == "no licence"


def test_notes_say_what_the_numbers_mean() -> None:
    text = "\n".join(notes(FULL))
    assert "Timed section: inference only" in text
    assert "same top class as PyTorch fp32" in text
    assert "the time over PyTorch fp32's in the same round, with its bootstrap 95 % interval" in text
    assert "corrupt" not in text
    names = tuple(f"{number}.png" for number in range(7))
    corrupt = dataclasses.replace(FULL, corrupt=names)
    assert "7 corrupt images skipped: 0.png, 1.png, 2.png, 3.png, 4.png and 2 more." in notes(corrupt)
    few = dataclasses.replace(FULL, settings=dataclasses.replace(FULL.settings, rounds=5))
    assert "Ratios to PyTorch fp32 need at least 6 rounds; there were 5." in notes(few)


def texts(report: Report) -> tuple[str, ...]:
    return tuple(remark.text for remark in warnings(report))


def test_warnings_say_what_to_beware_of() -> None:
    assert warnings(FULL) == ()
    busy = dataclasses.replace(FULL, machine=dataclasses.replace(MACHINE, load_1min=4.5))
    assert texts(busy) == ("Busy machine: load 4.5 on 4 cores before measuring; the times may be too long.",)
    warned = dataclasses.replace(
        busy, environment=Environment(before=Snapshot(), after=Snapshot(), warnings=("The GPU was hot.",))
    )
    assert texts(warned) == ("The GPU was hot.",)
    restless = dataclasses.replace(
        FP32, latencies=tuple(dataclasses.replace(one, warm_up=WarmUp(10, 9, steady=False)) for one in FP32.latencies)
    )
    bound = "Only a bound of the ratio is quoted at batch {}, since the times of PyTorch fp32 had not settled after "
    bound += "warming up"
    assert texts(make_report(restless, INT8)) == tuple(f"{bound.format(n)}: ONNX Runtime int8." for n in (1, 8))
    assert texts(make_report(restless)) == ("Times had not settled after warming up: PyTorch fp32.",)
    assert "No ratio is quoted at batch 1, since that needs at least 6 rounds: A fp32 against B fp16." in texts(
        FEW_ROUNDS
    )
    assert tuple(remark.text for remark in doubts(disturbed(make_report(FP32), 0.2))) == tuple(
        f"Other programs used 20 % of the CPU time at batch {n}." for n in (1, 8)
    )
    invalid = "LoadGen calls Server of TensorRT CUDA graph int8 invalid: Reduce target QPS to improve latency."
    assert invalid in texts(make_full_report())


@pytest.mark.parametrize("name", RENDERINGS)
def test_every_rendering_has_warnings_states_and_scenarios(name: str) -> None:
    report = make_full_report()
    words = " ".join(RENDERINGS[name](report).replace("&gt;", ">").split())
    shown = ["Warning:", "1980 MHz", "HwThermalSlowdown", "MultiStream", "INVALID", "993c8b4+", "no difference shown"]
    assert [text for text in shown if text not in words] == []


def test_the_state_of_the_machine_is_shown_where_it_is_known() -> None:
    assert machine_state(FULL) is None
    assert (
        machine_state(dataclasses.replace(FULL, environment=Environment(before=Snapshot(), after=Snapshot()))) is None
    )
    some = Environment(before=Snapshot(load_1min=0.5, throttle_reasons=()), after=Snapshot(load_1min=1.25))
    table = machine_state(dataclasses.replace(FULL, environment=some))
    assert table is not None
    assert [line.cells for line in table.lines] == [("Load (1 minute)", "0.50", "1.25"), ("GPU throttled", "no", "")]


def test_conditions_name_the_gpu() -> None:
    assert ("GPU", "none") in environment(FULL)
    gpu = Gpu("A GPU", "9.0", 81920, "580.1")
    pairs = dict(environment(dataclasses.replace(FULL, machine=dataclasses.replace(MACHINE, gpu=gpu))))
    assert pairs["GPU"] == "A GPU, 80.0 GiB"
    assert pairs["GPU details"] == "compute capability 9.0, driver 580.1"


FEW_ROUNDS = make_report(*(
    dataclasses.replace(row, latencies=tuple(
        dataclasses.replace(latency, rounds_ms=latency.rounds_ms[:5]) for latency in row.latencies
    )) for row in NO_ACCURACY.rows
))  # fmt: skip


def disturbed(report: Report, taken: float) -> Report:
    """The report of a machine on which other programs used a fraction of the cores' time."""
    around = Environment(before=Snapshot(), after=Snapshot(), taken={1: taken, 8: taken})
    return dataclasses.replace(report, environment=around)


EQUAL = tuple(measured(name, Precision.FP32, 1.0) for name in "ABC")
SENTENCES = {
    "ONNX Runtime int8 is the fastest of 2 measured candidates at batch 1: 1.20 ms median, 2.1x as fast as "
    "PyTorch fp32 (2.52 ms; 95 % interval 2.1x to 2.1x), with top-1 97.50 % (PyTorch fp32: 98.33 %).": FULL,
    "PyTorch fp32 is the only candidate measured at batch 1: 2.52 ms median, with top-1 98.33 %.": make_report(FP32),
    "A fp32 is the fastest of 2 measured candidates at batch 1: 1.00 ms median, 1.01x as fast as "
    "B fp16 (1.01 ms; 95 % interval 1.01x to 1.01x).": NO_ACCURACY,
    "A fp32 has the lowest median of 2 measured candidates at batch 1: 1.00 ms, too few rounds to compare with "
    "B fp16 (1.01 ms).": FEW_ROUNDS,
    "A fp32 has the lowest median of 3 measured candidates at batch 1: 1.00 ms, no difference shown to "
    "B fp32 (1.00 ms) (no difference shown to C fp32).": make_report(*EQUAL),
    "Too noisy to conclude: A fp32 has the lowest median of 3 measured candidates at batch 1: 1.00 ms "
    "(B fp32: 1.00 ms).": disturbed(make_report(*EQUAL), 0.3),
    "Too noisy to conclude: ONNX Runtime int8 has the lowest median of 2 measured candidates at batch 1: 1.20 ms "
    "(PyTorch fp32: 2.52 ms), with top-1 97.50 % (PyTorch fp32: 98.33 %).": disturbed(FULL, 0.3),
    "ONNX Runtime int8 is the fastest of 2 measured candidates at batch 1: 1.20 ms median, at least 2.1x as fast as "
    "PyTorch fp32 (2.52 ms), with top-1 97.50 % (PyTorch fp32: 98.33 %).": disturbed(FULL, 0.2),
    "PyTorch fp32 is the only candidate measured at batch 1: 2.52 ms median; the weights are random, so accuracy "
    "means nothing.": make_report(FP32, random_weights=True),
    "Nothing was measured: 1 of 1 candidates skipped.": make_report(SKIPPED),
    "Nothing was measured.": make_report(),
}


@pytest.mark.parametrize("name", RENDERINGS)
def test_times_that_mean_nothing_have_no_headline(name: str) -> None:
    noisy, calm = disturbed(FULL, 0.3), disturbed(FULL, 0.2)
    assert headline(noisy).severity is Severity.DISTRUST
    assert "other programs used 30 % of the CPU time" in headline(noisy).text
    assert headline(calm).severity is Severity.NOTE
    words = " ".join(RENDERINGS[name](noisy).split())
    assert "Do not trust these times" in words
    assert "lowest median of 2" not in words
    assert "Do not trust" not in RENDERINGS[name](calm)


@pytest.mark.parametrize("text", SENTENCES)
def test_the_sentence_says_what_was_found(text: str) -> None:
    assert summary(SENTENCES[text]) == text


ALL = {**RENDERINGS, "csv": to_csv, "json": Report.to_json}
RATIO = re.compile(r"[0-9]x (as fast|the time)")


@pytest.mark.parametrize("name", ALL)
def test_every_rendering_has_the_same_verdicts(name: str) -> None:
    render = ALL[name]
    assert "2.1x as fast" in render(FULL)
    assert "at least 2.1x as fast" in render(disturbed(FULL, 0.2))
    assert "at least 2.1x" not in render(FULL)
    busy = render(disturbed(FULL, 0.3))
    assert "too noisy to conclude" in busy
    assert RATIO.search(busy) is None
    assert "0.476" not in busy, "the ratio, and the ends of its interval"


@pytest.mark.parametrize("name", RENDERINGS)
def test_random_weights_are_marked_in_every_rendering(name: str) -> None:
    assert RANDOM_WEIGHTS in RENDERINGS[name](dataclasses.replace(FULL, random_weights=True))
    assert "RANDOM" not in RENDERINGS[name](FULL)


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("report", [FULL, make_full_report()], ids=["small", "full"])
def test_text_cuts_nothing(report: Report, width: int) -> None:
    text = to_text(report, width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    assert all(skip.sentence in words for skip in skips(report))
    assert "…" not in text
    numbers = [cell for table in tables(report) for line in table.lines for cell in line.cells[1:]]
    assert [number for number in numbers if number not in text] == []


def test_the_usual_table_of_times_needs_80_columns() -> None:
    lines = to_text(FULL, 80).splitlines()
    assert sum(line.startswith("Candidate") for line in lines) == len(tables(FULL)) == 3


def test_text_takes_no_markup_from_outside() -> None:
    text = to_text(make_report(FP32, model="[bold]m[/bold]\x1b[31m"))
    assert r"[bold]m[/bold]\x1b[31m" in text
    assert "\x1b" not in text


def test_markdown_is_a_table_with_as_many_cells_everywhere() -> None:
    text = to_markdown(make_report(FP32, dataclasses.replace(INT8, title=HOSTILE), SKIPPED))
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [len(block) for block in blocks] == [2 + 4, 2 + 2, 2 + 2]
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block}) == 1
    assert r"\<script>" in text
    assert r"\`c\` \*b\* \[link](x)" in text
    assert "\x1b" not in text
    reason = REASON.replace("[", r"\[")
    assert f"- TensorRT fp16 (built, 5.50 MB) skipped: {reason}" in text


def test_markdown_leaves_names_readable() -> None:
    assert "# Benchmark of wrn_16_4 on digits, 360 images" in to_markdown(make_report(FP32, model="wrn_16_4"))


def test_who_used_the_cpu_is_told() -> None:
    around = Environment(
        before=Snapshot(), after=Snapshot(throttle_reasons=("GpuIdle",)), cpu_limit=1.5, others_cores=0.25, steal=0.013
    )
    report = dataclasses.replace(FULL, environment=around)
    pairs = dict(environment(report))
    assert pairs["CPU limit"] == "1.5 cores of CPU time"
    assert pairs["Other programs"] == ("0.25 cores used while measuring; 1.30 % of the time went to other machines")
    table = machine_state(report)
    assert table is not None
    assert [line.cells for line in table.lines] == [("GPU throttled", "", "no")], "an idle GPU is not throttled"
    unknown = dataclasses.replace(FULL, environment=Environment(before=Snapshot(), after=Snapshot()))
    assert not {"CPU limit", "Other programs"} & dict(environment(unknown)).keys()
