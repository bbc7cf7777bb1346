"""Options that were given and would do nothing: exit code 2 with what they need, before anything is opened."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli
from wrn_deploy.cli.app import load_command
from wrn_deploy.cli.options.effects import EFFECTS

CALIBRATE = ("calibrate", "none", "--calib-data", "digits")
DEPLOY = ("deploy", "--weights", "x", "--calib-data", "digits", "--out", "new")
BENCH = ("bench", "none", "--data", "digits")
REPOSITORY = ("repository", "--out", "new")
SCORE = ("score", "none", "--data", "x", "--out", "new")
CASES = [
    (("train", "wrn-10-1", "--out", "new", "--warm-up", "0.1"), "--warm-up", "--recipe one-cycle"),
    (("train", "wrn-10-1", "--out", "new", "--local-bn"), "--sync-bn", "torchrun"),
    (("train", "wrn-10-1", "--out", "new", "--device", "cpu", "--fastest"), "--deterministic", "a GPU"),
    (("export", "wrn-10-1", "--weights", "x", "--out", "new", "--seed", "0"), "--seed", "--random-weights"),
    (("export", "wrn-10-1", "--random-weights", "--out", "new", "--weights-key", "x"), "--weights-key", "--weights F"),
    ((*DEPLOY, "--percentile", "99.99"), "--percentile", "--calib-method percentile"),
    ((*DEPLOY, "--max-drop", "0.5"), "--max-drop", "--data"),
    ((*DEPLOY, "--limit", "5"), "--limit", "--data"),
    ((*CALIBRATE, "--percentile", "99.99"), "--percentile", "--calib-method percentile"),
    ((*CALIBRATE, "--out", "x"), "--out", "--shard I/N"),
    ((*CALIBRATE, "--shard", "0/2", "--out", "x", "--fp8"), "--fp8", "no --shard"),
    (("calibrate", "none", "--merge", "x", "--calib-size", "256"), "--calib-size", "no --merge"),
    (("eval", "none", "--data", "x", "--out", "x"), "--out", "--shard I/N"),
    (("eval", "none", "--data", "x", "--merge", "x", "--limit", "9"), "--limit", "no --merge"),
    (("eval", "none", "--data", "x", "--shard", "0/2", "--out", "x", "--max-drop", "1"), "--max-drop", "no --shard"),
    (("build-engine", "none", "--int8", "--calib-size", "256"), "--calib-size", "--calib-data"),
    (("build-engine", "none", "--fp16", "--calib-method", "max"), "--calib-method", "--calib-data"),
    (("build-engine", "none", "--int8", "--calib-data", "x", "--percentile", "99"), "--percentile", "--calib-method p"),
    (("tune", "none", "--data", "x", "--max-drop", "1", "--percentile", "99"), "--percentile", "--calib-data"),
    (("tune", "none", "--data", "x", "--calib-data", "x", "--percentile", "99"), "--percentile", "--calib-method per"),
    (("tune", "none", "--data", "x", "--engine", "fp16", "--max-drop", "1"), "--max-drop", "no --engine"),
    (("tune", "none", "--data", "x", "--engine", "fp16", "--limit", "9"), "--limit", "no --engine"),
    (("tune", "none", "--data", "x", "--max-drop", "1", "--rounds", "30"), "--rounds", "--engine PRECISION"),
    (("finetune", "none", "--data", "x", "--epochs", "2", "--steps", "200"), "--steps", "no --epochs"),
    ((*BENCH, "--backend", "torch", "--precision", "fp32", "--all"), "--all", "not both"),
    (("eval", "none", "--data", "x", "--backend", "torch", "--precision", "fp32", "--all"), "--all", "not both"),
    ((*CALIBRATE, "--ray", "local", "--threads", "2"), "--threads", "no --ray"),
    ((*CALIBRATE, "--ray-shards", "8"), "--ray-shards", "--ray ADDRESS"),
    ((*CALIBRATE, "--ray", "local", "--shard", "0/2", "--out", "new"), "--ray", "neither --shard nor --merge"),
    (("eval", "none", "--data", "x", "--ray", "local", "--threads", "2"), "--threads", "no --ray"),
    (("eval", "none", "--data", "x", "--retries", "1"), "--retries", "--ray ADDRESS"),
    (("eval", "none", "--data", "x", "--ray", "local", "--merge", "y"), "--ray", "neither --shard nor --merge"),
    (("tune", "none", "--data", "x", "--max-drop", "1", "--ray-workers", "2"), "--ray-workers", "--ray ADDRESS"),
    ((*BENCH, "--ray-workers", "2"), "--ray-workers", "--ray ADDRESS"),
    ((*SCORE, "--shard-timeout", "60"), "--shard-timeout", "--ray ADDRESS"),
    ((*SCORE, "--merge", "--ray", "local"), "--ray", "neither --merge nor --print-job"),
    ((*SCORE, "--ray", "local", "--threads", "2"), "--threads", "no --ray"),
    ((*BENCH, "--scenario-seconds", "10"), "--scenario-seconds", "--scenario"),
    ((*BENCH, "--target-qps", "10"), "--target-qps", "--scenario"),
    ((*BENCH, "--scenario", "Offline", "--target-latency", "100"), "--target-latency", "--scenario Server"),
    ((*REPOSITORY, "none", "--storage-uri", "s3://a/b"), "--storage-uri", "--kserve FILE"),
    ((*REPOSITORY, "--check", "--max-batch", "8"), "--max-batch", "no --check"),
    ((*SCORE, "--into", "x.parquet"), "--into", "--merge"),
    ((*SCORE, "--tasks", "4"), "--tasks", "--print-job SCHEDULER"),
    ((*SCORE, "--merge", "--shard", "0/1"), "--shard", "no --merge"),
    ((*SCORE, "--print-job", "slurm", "--shard", "0/1"), "--shard", "no --print-job"),
    ((*SCORE, "--print-job", "slurm", "--merge"), "--merge", "no --print-job"),
    (("serve", "none", "--container", "--repository", "new", "--drain-timeout", "30"), "--drain-timeout", "no --cont"),
]  # also with their default values, which a user may write out


@pytest.mark.parametrize(("given", "option", "expected"), CASES, ids=[" ".join(given) for given, _, _ in CASES])
def test_it_is_refused_with_what_it_needs(cli: Cli, given: tuple[str, ...], option: str, expected: str) -> None:
    outcome = cli(*given)
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {option} would have no effect: expected ")
    assert expected in outcome.err


@pytest.mark.parametrize("command", EFFECTS)
def test_the_table_names_options_that_the_command_has(command: str) -> None:
    declared = {parameter.name for parameter in load_command(command).params}
    for effect in EFFECTS[command]:
        assert declared >= {*effect.names}


@pytest.mark.parametrize("command", EFFECTS)
def test_every_rule_is_tried(command: str) -> None:
    tried = {option for given, option, _ in CASES if given[0] == command}
    spelled = {parameter.name: parameter.opts[0] for parameter in load_command(command).params}
    for effect in EFFECTS[command]:
        assert tried & {spelled[name] for name in effect.names}
