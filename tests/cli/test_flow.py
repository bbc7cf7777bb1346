"""The commands on good input: the files they make, what they print as tables and as JSON."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, contents
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.rendering.html import files_of

pytestmark = pytest.mark.usefixtures("short_turns")

QUICK = ("--rounds", 1, "--iterations", 2, "--batches", "1,2", "--threads", 1)
needs_rtx = pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")


@needs_rtx
def test_the_tour_from_training_to_a_plan(cli: Cli, tmp_path: Path) -> None:
    run, made = tmp_path / "run", tmp_path / "bundle"
    trained = cli("train", "wrn-10-1", "--epochs", 1, "--batch-size", 64, "--out", run, "--json").json()
    assert trained["weights"] == str(run / "weights.safetensors")
    assert trained["test_images"] == 359
    exported = cli("export", "wrn-10-1", "--weights", run / "weights.safetensors", "--out", made, "--json").json()
    assert (exported["model"], exported["random_weights"]) == ("wrn-10-1", False)
    assert [artifact["key"] for artifact in exported["artifacts"]] == ["weights", "onnx-fp32", "onnx-fp16"]
    calibrated = cli("calibrate", made, "--calib-data", "digits", "--calib-size", 64, "--json").json()
    assert len(calibrated["artifacts"]) == 3
    for precision in ("fp16", "int8"):
        built = cli("build-engine", made, f"--{precision}", "--flavor", "tensorrt_rtx", "--json").json()
        assert [artifact["path"] for artifact in built["artifacts"]] == [f"{precision}-tensorrt_rtx.plan"]
    assert {file.name for file in made.glob("*.plan")} == {"fp16-tensorrt_rtx.plan", "int8-tensorrt_rtx.plan"}


def test_steps_are_up_to_date_the_second_time(cli: Cli, made_bundle: Path, weights: Path) -> None:
    before = contents(made_bundle)
    exported = cli("export", "wrn-10-1", "--weights", weights, "--out", made_bundle)
    assert (exported.code, exported.err) == (0, f"{made_bundle}: weights, fp32 and fp16 graphs are up to date\n")
    assert "are up to date" in cli("calibrate", made_bundle, "--calib-data", "digits", "--calib-size", 128).err
    assert contents(made_bundle) == before


def test_sizes_are_in_units_of_1000(cli: Cli, made_bundle: Path, weights: Path) -> None:
    text = cli("export", "wrn-10-1", "--weights", weights, "--out", made_bundle).out
    size = (made_bundle / "weights.safetensors").stat().st_size
    assert f"{size / 1000:.0f} kB" in text
    assert "iB" not in text


def test_export_lists_what_it_made_and_no_older_file(cli: Cli, bundle: Bundle, weights: Path) -> None:
    text = cli("export", "wrn-10-1", "--weights", weights, "--mean", "0.3,0.3,0.3", "--out", bundle.folder).out
    assert "onnx-fp16" in text
    assert "calibration" not in text


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize(("columns", "tables"), [(80, 4), (140, 3)])
def test_bench_prints_a_table_and_writes_reports(
    cli: Cli, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, columns: int, tables: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    outcome = cli("bench", bundle.folder, "--data", "digits", *QUICK)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert max(map(len, lines)) <= columns
    assert sum(line.startswith("Candidate") for line in lines) == tables, "times, verdicts, and accuracy with sizes"
    assert "wrn-10-1 on digits, 359 images" in lines[0]
    written = {path.name for path in (bundle.folder / "reports").iterdir()}
    assert written == set(files_of("bench").values())
    assert "reports/bench.html" in outcome.err


@pytest.mark.usefixtures("no_torch")
def test_bench_prints_the_report_that_it_writes_as_json(cli: Cli, made_bundle: Path, tmp_path: Path) -> None:
    options = ("--data", "digits", "--limit", 40, "--backend", "onnxruntime", "--out", tmp_path / "new" / "reports")
    outcome = cli("bench", made_bundle, *options, *QUICK, "--json")
    assert outcome.code == 0
    assert outcome.out == (tmp_path / "new/reports/bench.json").read_text(encoding="utf-8")
    measured = [row for row in outcome.json()["rows"] if row["accuracy"] is not None]
    assert {row["accuracy"]["images"] for row in measured} == {40}


def test_eval_shows_accuracy_and_no_times(cli: Cli, made_bundle: Path) -> None:
    outcome = cli("eval", made_bundle, "--data", "digits", "--max-drop", 2, "--threads", 1)
    assert outcome.code == 0
    assert "top-1" in outcome.out
    assert "median" not in outcome.out
    assert all(word in outcome.out for word in ("95 % interval", "top-5", "max error", "mean error"))
    record = cli("eval", made_bundle, "--data", "digits", "--threads", 1, "--json").json()
    assert record["reference"] == "PyTorch CPU fp32"
    int8 = next(row["accuracy"] for row in record["rows"] if row["precision"] == "int8" and row["accuracy"])
    assert int8["max_error"] > int8["mean_error"] > 0
    assert sum(score["correct"] for score in int8["classes"]) == int8["correct"] <= int8["correct5"]
    assert record["environment"]["after"]["at_s"] > 0


def test_predict_knows_its_digits(cli: Cli, made_bundle: Path, pngs: Path) -> None:
    files = sorted(pngs.iterdir())
    found = cli("predict", made_bundle, *files, "--backend", "onnxruntime", "--json").json()
    assert (found["model"], found["backend"], found["precision"]) == ("wrn-10-1", "onnxruntime", "fp32")
    assert [image["image"] for image in found["images"]] == [str(file) for file in files]
    right = [image["best"][0]["label"] == file.stem[-1] for image, file in zip(found["images"], files, strict=True)]
    assert sum(right) >= 4
    for image in found["images"]:
        scores = [scored["score"] for scored in image["best"]]
        assert scores == sorted(scores, reverse=True)


def test_predict_prints_an_image_then_its_classes(
    cli: Cli, made_bundle: Path, pngs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    lines = cli("predict", made_bundle, *sorted(pngs.iterdir()), "--top-k", 2).out.splitlines()
    assert lines[1] == str(min(pngs.iterdir()))  # whole, however narrow the terminal is
    assert len(lines) == 1 + 5 * 3


def test_predict_resizes_images_where_the_bundle_says_so(
    cli: Cli, weights: Path, tmp_path: Path, shared_data: Path
) -> None:
    made = tmp_path / "resizing"
    assert cli("export", "wrn-10-1", "--weights", weights, "--resize", 36, "--out", made).code == 0
    images = sorted((shared_data / "imagenet" / "images").glob("*.JPEG"))[:3]
    assert len(cli("predict", made, *images, "--json").json()["images"]) == 3


def test_json_is_all_that_stdout_gets(cli: Cli) -> None:
    json.loads(cli("doctor", "--json").out)


def test_a_closed_reader_ends_it_quietly(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("doctor")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() in (0, 1)


def test_a_closed_stdout_is_no_reason_to_crash(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("doctor", "--json", stdout=None, preexec_fn=functools.partial(os.close, 1))
    assert process.communicate()[1] == ""
    assert process.returncode == 0


def test_a_full_disk_below_stdout_is_named(start: Callable[..., subprocess.Popen[str]]) -> None:
    with Path("/dev/full").open("w") as full:
        process = start("doctor", stdout=full)
        assert "No space left on device" in process.communicate()[1]
    assert process.returncode == 1


def test_a_bundle_may_be_moved(cli: Cli, made_bundle: Path, tmp_path: Path, pngs: Path) -> None:
    shutil.copytree(made_bundle, tmp_path / "elsewhere")
    assert cli("predict", tmp_path / "elsewhere", min(pngs.iterdir())).code == 0
