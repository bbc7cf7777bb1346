"""`wrn-deploy tune`: its tables, its JSON, its picture and its exit codes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.conftest import Cli, contents
from tests.pipeline.tuning.test_tune import spoil_fp16
from wrn_deploy.bundle import Bundle

DATA = ("--data", "digits", "--limit", 128, "--threads", 1)


def test_the_frontier_and_the_layers_are_printed(cli: Cli, bundle: Bundle) -> None:
    outcome = cli("tune", bundle.folder, *DATA, "--max-drop", 5)
    assert outcome.code == 0, outcome.err
    assert "wrn-10-1 on digits, 128 images: fp32 " in outcome.out
    assert "<- chosen" in outcome.out
    assert "kept in fp16: none; 100.0 % of MACs in INT8" in outcome.out
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
    assert "MACs in INT8" in outcome.out
    assert "no set met --max-drop 0.1" in outcome.out
    assert "no set of Convs meets --max-drop 0.1" in outcome.err
    assert "expected less; allow for more" in outcome.err
    assert contents(bundle.folder) == before
    assert (tmp_path / "p.svg").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no budget: expected --max-drop X"),
        (("--max-drop", -100), "--max-drop"),
        (("--max-drop", "nan"), "--max-drop"),
        (("--min-agreement", 101), "expected 0 to 100 per cent"),
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
