"""What commands write: reports and pictures, all or none, and no writer follows a link that somebody has put there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.output import write_record
from tests.bench.sample_reports import FULL
from wrn_deploy.engines.timing_cache import TimingCache
from wrn_deploy.errors import DeployError
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.models.checkpoints.weights import write_weights
from wrn_deploy.pipeline.output_files import check_picture, reports_of, write_reports, write_svg
from wrn_deploy.pipeline.training.record import EXACT, LOG, RUN, write_log, write_run
from wrn_deploy.progress import Silent
from wrn_deploy.training.checkpoint import ResumePoint
from wrn_deploy.training.recipe import TrainRecipe

SPEC = describe_model("wrn-10-1")
POINT = ResumePoint(spec=SPEC, recipe=TrainRecipe(epochs=1, batch_size=8), train="a", test="b")


SESSION = {"first_epoch": 0, **dict.fromkeys(EXACT)}


def _save_times(file: Path) -> None:
    class Config:
        def create_timing_cache(self, _times: bytes) -> Config:
            return self

        def set_timing_cache(self, _cache: Config, ignore_mismatch: bool) -> bool:
            return not ignore_mismatch

        def serialize(self) -> bytes:
            return b"times"

    times = TimingCache(file=file, ours=True)
    times.attach(Config())
    times.save()
    assert times.warnings == []


# Writer -> the names of the files that it writes into the folder.
WRITERS: dict[str, tuple[tuple[str, ...], Callable[[Path], object]]] = {
    "picture": (("a.svg",), lambda folder: write_svg("<svg/>", folder / "a.svg", Silent())),
    "reports": (
        ("a.json", "a.csv", "a.md", "a.html", "a-summary.png", "a-badge.svg"),
        lambda folder: write_reports(FULL, folder, "a", Silent()),
    ),
    "log": ((LOG,), lambda folder: write_log(folder, ())),
    "run": ((RUN,), lambda folder: write_run(folder, POINT, {}, SESSION)),
    "weights": (("a.safetensors",), lambda folder: write_weights(build_model(SPEC), SPEC, folder / "a.safetensors")),
    "timing cache": (("a.cache",), lambda folder: _save_times(folder / "a.cache")),
    "benchmark": (("a.json",), lambda folder: write_record(folder / "a.json", {"a": 1})),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_links_in_the_folder_are_not_followed(tmp_path: Path, writer: str) -> None:
    names, write = WRITERS[writer]
    victim, folder = tmp_path / "victim", tmp_path / "shared"
    victim.write_text("precious")
    folder.mkdir()
    for name in names:
        guesses = {name, f"{name}.tmp", f"{name}.new", f".{name}.tmp", str(Path(name).with_suffix(".tmp"))}
        for guess in guesses:
            link = folder / guess
            if not link.is_symlink():
                link.symlink_to(victim)
    write(folder)
    assert victim.read_text() == "precious"
    assert not any((folder / name).is_symlink() for name in names)
    assert not list(folder.glob(".new-*"))


def test_reports_are_written_all_or_none(tmp_path: Path) -> None:
    write_reports(FULL, tmp_path, "a", Silent())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == ["a-badge.svg", "a-summary.png", "a.csv", "a.html", "a.json", "a.md"]
    assert json.loads(before["a.json"])["model"] == FULL.model
    (tmp_path / "a.html").unlink()
    (tmp_path / "a.html").mkdir()
    assert before["a-summary.png"].startswith(b"\x89PNG")
    others = ("a-badge.svg", "a-summary.png", "a.csv", "a.json", "a.md")
    for name in others:
        (tmp_path / name).write_text("old")
    with pytest.raises(DeployError, match=r"a\.html is a folder: expected a path for a file"):
        write_reports(FULL, tmp_path, "a", Silent())
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == dict.fromkeys(
        others, "old"
    )


@pytest.mark.parametrize("target", ["/dev/null", "/dev/stdout", "."])
def test_a_picture_needs_a_path_for_a_file(target: str) -> None:
    with pytest.raises(DeployError, match="expected a path for a file"):
        check_picture(Path(target))


def test_reports_of_a_bundle_stay_in_it(tmp_path: Path) -> None:
    bundle, elsewhere = tmp_path / "bundle", tmp_path / "elsewhere"
    bundle.mkdir()
    elsewhere.mkdir()
    assert reports_of(bundle) == bundle / "reports"
    (bundle / "reports").symlink_to(elsewhere)
    with pytest.raises(DeployError, match=r"reports is a link, and links in a bundle are not followed"):
        reports_of(bundle)
