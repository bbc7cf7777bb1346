"""Numbers that nobody can have measured are refused with the file, the field and the value."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bench.full_report import make_full_report
from tests.bench.sample_tuning import TUNING
from wrn_deploy.bench.report.possible import check_possible
from wrn_deploy.bench.report.report import read_report
from wrn_deploy.bench.report.tuning import read_tuning
from wrn_deploy.errors import DamagedFile

RECORD = json.loads(make_full_report().to_json())
Change = Callable[[dict[str, Any]], object]


def times(value: object) -> Change:
    return lambda record: record["rows"][0]["latencies"][0].update(rounds_ms=value)


def first(name: str, value: object, *path: str | int) -> Change:
    def change(record: Any) -> None:
        for step in path:
            record = record[step]
        record[name] = value

    return change


TIMES = "rows.0.latencies.0.rounds_ms"
IMPOSSIBLE: dict[str, tuple[Change, str]] = {
    "zero": (times([[1.0], [0.0]]), f"{TIMES}.1.0 is 0.0: expected 1e-06 to 1e\\+10"),
    "negative": (times([[-1.0]]), f"{TIMES}.0.0 is -1.0"),
    "NaN": (times([[float("nan")]]), f"{TIMES}.0.0 is nan"),
    "infinite": (times([[float("inf")]]), f"{TIMES}.0.0 is inf"),
    "1e999": (times([["1e999"]]), f"{TIMES}.0.0 is inf"),
    "huge": (times([[1e308, 1e308]]), f"{TIMES}.0.0 is 1e\\+308"),
    "tiny": (times([[5e-324]]), f"{TIMES}.0.0 is 5e-324"),
    "no rounds": (times([]), f"{TIMES} is empty"),
    "an empty round": (times([[1.0], []]), f"{TIMES}.1 is empty"),
    "a device's empty round": (first("device_ms", [[]], "rows", 0, "latencies", 0), r"device_ms\.0 is empty"),
    "batch 0": (
        first("batch", 0, "rows", 1, "latencies", 2),
        r"rows\.1\.latencies\.2\.batch is 0: expected 1 to 1e\+15",
    ),
    "a batch of 10^400": (first("batch", 10**400, "rows", 1, "latencies", 2), r"batch is 10000"),
    "batches": (first("batches", [1, -8], "settings"), r"settings\.batches\.1 is -8"),
    "10^400 iterations": (first("iterations", 10**400, "settings"), r"settings\.iterations is 1000"),
    "no time": (first("duration_s", 0.0, "settings"), r"settings\.duration_s is 0\.0"),
    "a negative size": (first("size_bytes", -1, "rows", 0), r"rows\.0\.size_bytes is -1: expected 0"),
    "no cores": (first("cores", 0, "machine"), r"machine\.cores is 0"),
    "NaN load": (first("load_1min", float("nan"), "machine"), r"machine\.load_1min is nan"),
    "no images": (first("images", 0, "rows", 0, "accuracy"), r"rows\.0\.accuracy\.images is 0"),
    "more right than asked": (first("correct", 1001, "rows", 0, "accuracy"), "correct is 1001: expected at most 1000"),
    "top-5 below top-1": (
        first("correct5", 1, "rows", 0, "accuracy"),
        r"correct5 is 1: expected at least correct, 812",
    ),
    "agreement": (first("agreement", 1.5, "rows", 0, "accuracy"), r"agreement is 1\.5: expected 0 to 1"),
    "an infinite error": (
        first("max_error", float("inf"), "rows", 1, "accuracy"),
        r"rows\.1\.accuracy\.max_error is inf",
    ),
    "a class": (
        first("correct", 51, "rows", 0, "accuracy", "classes", 3),
        r"classes\.3\.correct is 51: expected at most 50",
    ),
    "a layer": (first("ms", -0.1, "rows", 9, "layers", 0), r"rows\.9\.layers\.0\.ms is -0\.1"),
    "a load": (first("p99_ms", float("nan"), "rows", 9, "loads", 0), r"rows\.9\.loads\.0\.p99_ms is nan"),
    "what other programs used": (
        first("taken", {"1": 1.5}, "environment"),
        r"environment\.taken\.1 is 1\.5: expected 0 to 1",
    ),
    "temperature": (first("temperature_c", -300.0, "environment", "after"), r"temperature_c is -300\.0"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_an_impossible_number_is_named_with_its_file(tmp_path: Path, name: str) -> None:
    change, text = IMPOSSIBLE[name]
    record, file = copy.deepcopy(RECORD), tmp_path / "b.json"
    change(record)
    file.write_text(json.dumps(record).replace('"1e999"', "1e999"), encoding="utf-8")
    with pytest.raises(DamagedFile, match=rf"b\.json is not a benchmark report \(.*{text}"):
        read_report(file)


def test_a_whole_report_is_possible(tmp_path: Path) -> None:
    check_possible(RECORD)
    file = tmp_path / "a.json"
    file.write_text(json.dumps(RECORD), encoding="utf-8")
    assert read_report(file) == make_full_report()


DOUBLE: dict[str, tuple[Change, str]] = {
    "a row": (lambda record: record["rows"].append(record["rows"][0]), "two rows of PyTorch fp32"),
    "a batch size": (
        lambda record: record["rows"][0]["latencies"].append(record["rows"][0]["latencies"][0]),
        "two times of PyTorch fp32 at batch 1",
    ),
}


@pytest.mark.parametrize("name", DOUBLE)
def test_what_is_there_twice_is_refused(tmp_path: Path, name: str) -> None:
    change, text = DOUBLE[name]
    record, file = copy.deepcopy(RECORD), tmp_path / "b.json"
    change(record)
    file.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DamagedFile, match=text):
        read_report(file)


@pytest.mark.parametrize(("name", "value"), [("error", float("nan")), ("same", 10**9), ("images", 0), ("correct", -1)])
def test_other_records_are_checked_too(tmp_path: Path, name: str, value: float) -> None:
    record, file = json.loads(TUNING.to_json()), tmp_path / "tuning.json"
    file.write_text(json.dumps(record), encoding="utf-8")
    assert read_tuning(file) == TUNING
    record["trials"][0]["score"][name] = value
    file.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DamagedFile, match=rf"tuning\.json is not a record of tuning \(trials\.0\.score\.{name} is"):
        read_tuning(file)
