"""`wrn-deploy tune`: its tables, its JSON, its picture and its exit codes."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.conftest import Cli, contents
from tests.pipeline.tuning.test_tune import spoil_fp16
from wrn_deploy.bundle import Bundle
from wrn_deploy.cli.show.engine_tuning import show_engine_tuning
from wrn_deploy.machine import find_gpu
from wrn_deploy.pipeline.tuning.engine_trials import EngineTrial, EngineTuning

DATA = ("--data", "digits", "--limit", 128, "--threads", 1)


def test_the_frontier_and_the_layers_are_printed(cli: Cli, bundle: Bundle) -> None:
    outcome = cli("tune", bundle.folder, *DATA, "--max-drop", 5)
    assert outcome.code == 0, outcome.err
    assert "wrn-10-1 on digits, 128 images: fp32 " in outcome.out
    assert "<- chosen" in outcome.out
    assert "kept in fp16: none; 100.0 % of MACs in int8" in outcome.out
    assert "Costs of 9 Convs in int8" in outcome.err
    picture = bundle.folder / "reports" / "frontier.svg"
    assert f"picture: {picture}" in outcome.err
    assert ET.parse(picture).getroot().tag.endswith("svg")


def test_json_has_every_layer_and_every_set(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    record = cli("tune", bundle.folder, *DATA, "--max-drop", 5, "--json", "--out", tmp_path / "new" / "p.svg").json()
    assert len(record["layers"]) == 9
    assert record["chosen"]["float_convs"] == []
    shares = [trial["int8_share"] for trial in record["trials"]]
    assert (shares[0], shares[-1]) == (1.0, 0.0)
    assert shares == sorted(shares, reverse=True)
    assert {"top1", "drop", "drop_error", "agreement", "error"} <= set(record["trials"][0]["score"])
    assert (tmp_path / "new" / "p.svg").is_file()
    assert not (bundle.folder / "reports").exists()


def test_again_it_is_up_to_date_and_prints_the_same(cli: Cli, bundle: Bundle) -> None:
    first = cli("tune", bundle.folder, *DATA, "--max-drop", 5)
    again = cli("tune", bundle.folder, *DATA, "--max-drop", 5)
    assert again.out == first.out
    assert "the tuned int8 graph is up to date" in again.err


def test_a_budget_that_cannot_be_met_ends_with_3_after_the_frontier(
    cli: Cli, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_fp16(monkeypatch)
    before = contents(bundle.folder)
    clipped = ("--calib-data", "digits", "--calib-method", "percentile", "--percentile", 50, "--calib-size", 16)
    outcome = cli("tune", bundle.folder, *DATA, *clipped, "--max-drop", 0.1, "--out", tmp_path / "p.svg")
    assert outcome.code == 3
    assert "MACs in int8" in outcome.out
    assert "no set met --max-drop 0.1" in outcome.out
    assert "no set of Convs meets --max-drop 0.1" in outcome.err
    assert "expected less; raise the budget" in outcome.err
    assert contents(bundle.folder) == before
    assert (tmp_path / "p.svg").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no budget: expected --max-drop X"),
        (("--max-drop", -100), "--max-drop"),
        (("--max-drop", "nan"), "--max-drop"),
        (("--min-agreement", 101), "expected 0 to 100 percent"),
    ],
)
def test_a_budget_that_makes_no_sense_ends_with_2(
    cli: Cli, made_bundle: Path, arguments: tuple[object, ...], said: str
) -> None:
    outcome = cli("tune", made_bundle, *DATA, *arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.out == ""


def test_a_picture_that_cannot_be_written_is_an_error_before_any_work(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    outcome = cli("tune", bundle.folder, *DATA, "--max-drop", 1, "--out", tmp_path / "file" / "p.svg")
    assert outcome.code == 1
    assert "choose another --out" in outcome.err
    assert "Costs of" not in outcome.err


def test_without_a_table_it_asks_for_data(cli: Cli, bundle: Bundle) -> None:
    (bundle.folder / "calibration.json").unlink()
    outcome = cli("tune", bundle.folder, *DATA, "--max-drop", 1)
    assert outcome.code == 2
    assert "or pass --calib-data DATA" in outcome.err


@pytest.mark.skipif(find_gpu() is not None, reason="a GPU is here")
def test_a_plan_is_tuned_only_where_it_can_be_measured(cli: Cli, made_bundle: Path) -> None:
    outcome = cli("tune", made_bundle, "--data", "digits", "--engine", "fp16")
    assert outcome.code == 4
    assert "tune --engine measures plans on a CUDA GPU, and there is none here" in outcome.err
    assert outcome.out == ""


def test_too_few_rounds_for_an_interval_end_with_2(cli: Cli, made_bundle: Path) -> None:
    outcome = cli("tune", made_bundle, "--data", "digits", "--engine", "fp16", "--rounds", 5)
    assert outcome.code == 2
    assert "--rounds 5: expected at least 6" in outcome.err


def test_the_table_of_builds_names_the_one_that_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    trial = functools.partial(EngineTrial, aux_streams=None, build_s=2.0, size_bytes=10)
    trials = (
        trial(level=None, tiling=None, rounds_ms=((2.0, 2.0),) * 6),
        trial(level=5, tiling=None, rounds_ms=((1.0, 1.0),) * 6),
        trial(level=5, tiling="full", skipped="its process died (SIGSEGV)"),
    )
    tuning = EngineTuning(
        model="wrn-16-2", random_weights=False, precision="fp16", gpu="NVIDIA H200", batch=8, data="digits",
        trials=trials, chosen=1, sha256="0" * 64,
    )  # fmt: skip
    show_engine_tuning(tuning, as_json=False)
    shown = capsys.readouterr().out
    assert "wrn-16-2 fp16 on NVIDIA H200, batch 8 of digits" in shown
    lines = {line.split("  ")[0]: line for line in shown.splitlines()}
    assert {"2.000", "2.0"} <= {*lines["TensorRT's defaults (existing plan)"].split()}
    assert {"1.000", "0.500", "kept"} <= {*lines["level 5"].split()}
    assert "SIGSEGV" in lines["level 5, tiling full"]
    assert shown.splitlines()[-1] == "kept: level 5"
    show_engine_tuning(dataclasses.replace(tuning, chosen=0), as_json=False)
    assert "no build is faster than the existing plan, which is kept" in capsys.readouterr().out
    show_engine_tuning(tuning, as_json=True)
    assert json.loads(capsys.readouterr().out)["trials"][1]["level"] == 5
