"""compare on the command line: its tables, its JSON and its exit codes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.bench.sample_reports import FP32, FULL, HOSTILE, INT8, SKIPPED, make_report, measured
from tests.cli.conftest import Cli
from wrn_deploy.spec import Precision

SLOWER = make_report(FP32, measured("ONNX Runtime", Precision.INT8, 1.8, 340), SKIPPED)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    pair = tmp_path / "a.json", tmp_path / "b.json"
    for file, report in zip(pair, (FULL, SLOWER), strict=True):
        file.write_text(report.to_json(), encoding="utf-8")
    return pair


def test_it_prints_times_and_answers(cli: Cli, files: tuple[Path, Path]) -> None:
    outcome = cli("compare", *files)
    assert (outcome.code, outcome.err) == (0, "")
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert "ONNX Runtime int8 1 1.20 1.80 1.500 1.500 to 1.500 1.50x the time" in lines
    assert "PyTorch fp32 8 10.1 10.1 1.000 1.000 to 1.000 no difference shown" in lines
    assert "ONNX Runtime int8 97.50 % 94.44 % -3.06 -6.16 to -0.14 worse" in lines


@pytest.mark.parametrize("limit", ["5%", "5", " 49.9 %"])
def test_a_regression_ends_with_3_after_the_table(cli: Cli, files: tuple[Path, Path], limit: str) -> None:
    outcome = cli("compare", *files, "--max-regress", limit)
    assert outcome.code == 3
    assert "1.50x the time" in outcome.out
    assert "ONNX Runtime int8 at batch 1 takes more than" in outcome.err


def test_within_the_limits_it_ends_with_0(cli: Cli, files: tuple[Path, Path]) -> None:
    assert cli("compare", *files, "--max-regress", "51%", "--max-drop", "3.1", "--strict").code == 0
    assert cli("compare", *files, "--max-drop", 3).code == 3


@pytest.mark.parametrize("limit", ["-1", "five", "nan", "inf", ""])
def test_a_limit_that_is_no_share_is_wrong_usage(cli: Cli, files: tuple[Path, Path], limit: str) -> None:
    outcome = cli("compare", *files, f"--max-regress={limit}")
    assert outcome.code == 2
    assert "expected a percentage of at least 0, such as 5% or 5" in outcome.err


def test_its_json_has_everything_also_where_the_gate_fails(cli: Cli, files: tuple[Path, Path]) -> None:
    outcome = cli("compare", *files, "--json", "--max-regress", 5)
    assert outcome.code == 3
    found = dataclasses.replace(outcome, code=0).json()
    verdicts = [row["verdict"] for row in found["timed"]]
    assert [one["words"] for one in verdicts] == [*["no difference shown"] * 2, *["1.50x the time"] * 2]
    assert [verdicts[2][name] for name in ("ratio", "low", "high")] == pytest.approx([1.5, 1.5, 1.5])
    assert [row["verdict"] for row in found["scored"]] == ["no difference shown", "worse"]


def test_a_reference_is_divided_by_and_not_compared(cli: Cli, files: tuple[Path, Path]) -> None:
    outcome = cli("compare", *files, "--baseline", "pytorch-fp32")
    assert "divided by those of PyTorch fp32 in the same round" in outcome.out
    assert cli("compare", *files, "--baseline", "tensorrt-fp16").code == 1
    assert cli("compare", *files, "--baseline", "pytorch").code == 2


def test_what_may_not_be_compared_ends_with_1_and_says_why(cli: Cli, files: tuple[Path, Path]) -> None:
    files[1].write_text(dataclasses.replace(SLOWER, model="wrn-28-10").to_json(), encoding="utf-8")
    outcome = cli("compare", *files, "--json")
    assert (outcome.code, outcome.out) == (1, "")
    assert "other model: wrn-16-4 and wrn-28-10" in outcome.err


def test_what_is_no_report_ends_with_1(cli: Cli, files: tuple[Path, Path]) -> None:
    files[1].write_text("{}", encoding="utf-8")
    assert cli("compare", *files).code == 1
    assert cli("compare", files[0], files[0].parent / "none.json").code == 1


def test_texts_from_reports_cannot_move_the_cursor(cli: Cli, files: tuple[Path, Path]) -> None:
    for file in files:
        rows = dataclasses.replace(FP32, title=HOSTILE), INT8
        report = make_report(*rows, model=HOSTILE)
        file.write_text(dataclasses.replace(report, data=HOSTILE).to_json(), encoding="utf-8")
    assert "\x1b" not in cli("compare", *files).out


def test_several_reports_have_a_history(cli: Cli, files: tuple[Path, Path], tmp_path: Path) -> None:
    first, last = files
    bundle, folder = tmp_path / "bundle", tmp_path / "folder"
    for place, report in ((bundle / "reports", FULL), (folder, FULL)):
        place.mkdir(parents=True)
        (place / "bench.json").write_text(report.to_json(), encoding="utf-8")
    outcome = cli("compare", first, bundle, folder, last, "-o", tmp_path / "history.html")
    assert outcome.code == 0, outcome.err
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert "ONNX Runtime int8 1.20 1.20 1.20 1.80" in lines
    assert "ONNX Runtime int8 1 1.20 1.80 1.500 1.500 to 1.500 1.50x the time" in lines
    assert (tmp_path / "history.html").read_text(encoding="utf-8").count('class="curve int8"') == 4  # two sizes, twice
    assert cli("compare", bundle, last, "--max-regress", 5).code == 3


def test_what_is_no_report_is_named(cli: Cli, files: tuple[Path, Path], tmp_path: Path) -> None:
    outcome = cli("compare", files[0])
    assert (outcome.code, "expected two or more" in outcome.err) == (2, True)
    (tmp_path / "empty").mkdir()
    outcome = cli("compare", files[0], tmp_path / "empty")
    assert outcome.code == 1
    assert "has no report: expected" in outcome.err
