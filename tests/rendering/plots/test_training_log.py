"""Reading training logs: names, holes, and files that are not logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wrn_deploy.errors import DeployError
from wrn_deploy.rendering.plots.training_log import read_runs


def write_log(folder: Path, top1: list[float | None], **more: Any) -> Path:
    """A run as `wrn-deploy train` logs it, with these test accuracies."""
    folder.mkdir(parents=True)
    lines = [
        {"epoch": epoch, "learning_rate": 0.1 * 0.2**epoch, "loss": 2.0 / (epoch + 1), "train_top1": 0.5, **more}
        | {"test_top1": value}
        for epoch, value in enumerate(top1)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def test_errors_are_per_cent_and_epochs_count_from_one(tmp_path: Path) -> None:
    (run,) = read_runs([write_log(tmp_path / "run", [0.25, 0.9, 0.9, 0.875])])
    assert [point.test_error for point in run.epochs] == [75.0, 10.0, 10.0, 12.5]
    assert (run.epochs[0].epoch, run.epochs[0].train_error, run.epochs[1].loss) == (1, 50.0, 1.0)
    assert run.best is not None
    assert (run.best.epoch, run.last.epoch) == (2, 4)


def test_the_log_itself_may_be_named_and_more_in_it_is_passed_over(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "run", [0.5], seconds=3.2, images_per_s=100)
    assert read_runs([folder / "log.jsonl"]) == read_runs([folder])


def test_epochs_without_a_test_have_no_error(tmp_path: Path) -> None:
    (run,) = read_runs([write_log(tmp_path / "run", [None, 0.5, float("nan")])])
    assert [point.test_error for point in run.epochs] == [None, 50.0, None]
    (untested,) = read_runs([write_log(tmp_path / "untested", [None])])
    assert untested.best is None


def test_runs_are_named_by_what_tells_them_apart(tmp_path: Path) -> None:
    paths = [write_log(tmp_path / name, [0.5]) for name in ("a/run", "b/run", "c")]
    assert [run.name for run in read_runs(paths)][:2] == ["a/run", "b/run"]
    assert [run.name for run in read_runs(paths[1:])] == ["run", "c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no training log can be read at"),
        ("", "has no epochs"),
        ('{"epoch": 0}\n{"ep', "line 2 is not an epoch of a training log"),
        ('{"loss": 1.0}\n', "line 1 is not an epoch"),
        ('{"epoch": 0, "loss": "low"}\n', "line 1 is not an epoch"),
        ("[1]\n", "line 1 is not an epoch"),
        ("\xff\xfe", "it is not text in UTF-8"),
    ],
)
def test_other_files_are_refused_with_the_line(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "log.jsonl").write_bytes(content.encode("latin-1"))
    with pytest.raises(DeployError, match=message):
        read_runs([tmp_path])
