"""The one command: its summary, its JSON, and its exit codes."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Cli


def test_the_summary_has_a_dozen_lines_and_the_next_step(cli: Cli, weights: Path, tmp_path: Path) -> None:
    given = ("deploy", "--weights", weights, "--calib-data", "digits", "--calib-size", 64, "--out", tmp_path / "made")
    first = cli(*given)
    assert first.code == 0, first.err
    lines = first.out.splitlines()
    assert len(lines) <= 12
    assert lines[0].startswith(f"wrn-10-1 in {tmp_path / 'made'}, ")
    assert "64 images of digits" in first.out
    assert lines[-1].split(maxsplit=1) == [
        "next", f"wrn-deploy eval {tmp_path / 'made'} --data DATA --max-drop 0.5, with labelled images"
    ]  # fmt: skip
    judged = cli(*given, "--data", "digits", "--max-drop", 5, "--threads", 1)
    assert judged.code == 0, judged.err
    lines = judged.out.splitlines()
    assert len(lines) <= 12
    assert any(line.split(maxsplit=1) == ["gate", "passed: at most 5 points of top-1 may be lost"] for line in lines)
    assert "top-1 on 359 images of digits" in judged.out
    assert lines[-1].endswith(f"wrn-deploy bench {tmp_path / 'made'} --data digits")


def test_a_failed_gate_comes_after_the_summary(cli: Cli, weights: Path, tmp_path: Path) -> None:
    clipped = ("--calib-size", 64, "--calib-method", "percentile", "--percentile", 50)
    given = ("--calib-data", "digits", *clipped, "--data", "digits", "--threads", 1, "--int8", "--max-drop", 0)
    outcome = cli("deploy", "--weights", weights, *given, "--out", tmp_path / "made")
    assert outcome.code == 3
    assert "FAILED: at most 0 points of top-1 may be lost" in outcome.out
    assert "points of top-1 lost against" in outcome.err
    assert "wrn-deploy tune" in outcome.err
    assert outcome.out.splitlines()[-1].endswith(f"wrn-deploy tune {tmp_path / 'made'} --data digits --max-drop 0")


def test_json_has_artifacts_seconds_and_the_report(cli: Cli, weights: Path, tmp_path: Path) -> None:
    given = ("deploy", "wrn-10-1", "--weights", weights, "--calib-data", "digits", "--calib-size", 64)
    found = cli(*given, "--data", "digits", "--limit", 40, "--int8", "--out", tmp_path / "made", "--json").json()
    assert found["model"] == "wrn-10-1"
    assert {"weights", "calibration"} <= {artifact["key"] for artifact in found["artifacts"]}
    assert list(found["seconds"]) == ["export", "calibrate", "build", "evaluate"]
    assert found["report"]["reference"] == "PyTorch CPU fp32"


def test_weights_are_required(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("deploy", "wrn-10-1", "--calib-data", "digits", "--out", tmp_path / "made")
    assert outcome.code == 2
    assert "Missing option '--weights'" in outcome.err
