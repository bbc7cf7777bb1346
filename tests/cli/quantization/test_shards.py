"""`--shard` and `--merge` of calibrate and eval: what they print and write, and what they refuse."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, contents
from wrn_deploy.bundle import Bundle

CALIBRATE = ("--calib-data", "digits", "--calib-size", 24, "--rounding", "nearest", "--threads", 1)
EVAL = ("--data", "digits", "--backend", "onnxruntime", "--precision", "int8", "--limit", 192, "--threads", 1)


@pytest.mark.usefixtures("no_torch")
def test_calibration_in_shards(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bundle.folder, tmp_path / "other"))
    shards = tmp_path / "shards"
    for index in (1, 0):
        outcome = cli("calibrate", bundle.folder, *CALIBRATE, "--shard", f"{index}/2", "--out", shards)
        assert outcome.code == 0, outcome.err
        assert outcome.out.startswith(f"{shards / f'calibration-{index}-of-2.npz'}: shard {index}/2, 12 images, ")
    merged = cli("calibrate", bundle.folder, "--merge", shards, "--json").json()
    one = cli("calibrate", other, *CALIBRATE, "--json").json()
    assert [artifact["sha256"] for artifact in merged["artifacts"]] == [each["sha256"] for each in one["artifacts"]]
    (shards / "calibration-0-of-2.npz").unlink()
    outcome = cli("calibrate", bundle.folder, "--merge", shards)
    assert outcome.code == 1
    assert "1 of 2 shards are missing (0/2)" in outcome.err


@pytest.mark.usefixtures("no_torch")
def test_evaluation_in_shards(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    for index in (0, 1, 2):
        record = cli("eval", bundle.folder, *EVAL, "--shard", f"{index}/3", "-o", shards, "--json").json()
        assert record == {
            "file": str(shards / f"evaluation-{index}-of-3.npz"), "shard": index, "shards": 3, "images": 64,
            "corrupt": [],
        }  # fmt: skip
    files = [option for file in sorted(shards.iterdir()) for option in ("--merge", file)]
    merged = cli("eval", bundle.folder, "--data", "digits", *files, "--max-drop", 50, "--json").json()
    one = cli("eval", bundle.folder, *EVAL, "--json").json()
    assert [row["accuracy"] for row in merged["rows"]] == [row["accuracy"] for row in one["rows"]]
    assert cli("eval", bundle.folder, "--data", "digits", *files, "--max-drop", 0).code in (0, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("calibrate",), "no images: expected --calib-data DATA, or --merge PATH"),
        (("calibrate", *CALIBRATE, "--shard", "2/2", "--out", "x"), "shard 2/2: expected I/N with I from 0 to N-1"),
        (("calibrate", *CALIBRATE, "--shard", "one", "--out", "x"), "--shard 'one': expected I/N"),
        (("calibrate", *CALIBRATE, "--shard", "0/2"), "--shard 0/2: expected --out FOLDER too"),
        (("calibrate", "--merge", "."), "--merge: no files calibration-*.npz in ."),
        (("eval", "--data", "digits", "--merge", "."), "--merge: no files evaluation-*.npz in ."),
        (("eval", *EVAL, "--max-corrupt", "1", "--shard", "0/2", "--out", "x"), "--limit with --max-corrupt"),
        (("eval", *EVAL, "--shard", "0/9", "--out", "x"), "shard 0/9: expected at most 3 shards of 192 images"),
    ],
)
def test_what_makes_no_sense_ends_with_2_and_changes_nothing(
    cli: Cli, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    outcome = cli(arguments[0], bundle.folder, *arguments[1:])
    assert outcome.code == 2
    assert said in outcome.err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("option", [("--shard", "0/2", "--out", "x"), ("--merge", ".")])
def test_weights_alone_have_no_shards(cli: Cli, trained: Path, option: tuple[str, ...]) -> None:
    outcome = cli("eval", trained / "weights.safetensors", "--data", "digits", *option)
    assert outcome.code == 2
    assert f"{option[0]} with " in outcome.err
    assert "expected the folder of a bundle" in outcome.err
