"""The command score: what it prints, exit codes, --merge, --print-job."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import parquet as pq

from tests.cli.conftest import PROGRAM, Cli, contents
from tests.shards.made import digests_of, example_bundle, pack_shards, part_files


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example_bundle(tmp_path_factory.mktemp("scoring") / "bundle").folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_shards(tmp_path_factory.mktemp("scoring") / "shards", 4, 10)


def options(example: Path, shards: Path, out: Path, *more: object) -> list[object]:
    return ["score", example, "--data", shards, "--out", out, "--backend", "onnxruntime", *more]


def test_a_run_says_what_it_did_and_what_is_next(cli: Cli, example: Path, shards: Path, tmp_path: Path) -> None:
    first = cli(*options(example, shards, tmp_path / "out", "--shard", "1/2"))
    assert first.code == 0, first.err
    lines = first.out.splitlines()
    assert lines[0] == f"{tmp_path}/out: 2 shards of 4 scored on onnxruntime fp32"
    assert lines[1].startswith("  20 images in ")
    assert lines[1].endswith(" images/s")
    assert "the same command with --merge checks and summarises them" in lines[2]
    second = cli(*options(example, shards, tmp_path / "out"))
    assert f"{tmp_path}/out: 2 shards of 4 scored on onnxruntime fp32, 2 done before" in second.out
    record = cli(*options(example, shards, tmp_path / "out", "--json")).json()
    assert (record["share"], record["before"], record["images"]) == (4, 4, 0)


def test_a_merge_prints_the_summary(cli: Cli, example: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli(*options(example, shards, out)).code == 0
    merged = cli(*options(example, shards, out, "--merge", "--into", tmp_path / "all.parquet"))
    assert merged.code == 0, merged.err
    assert f"wrn-10-1 in {example} on onnxruntime fp32: 40 images" in merged.out
    assert f"{out}: 4 of 4 shards intact, " in merged.out
    assert " % top-1: " in merged.out
    assert f"{tmp_path}/all.parquet: all scores, " in merged.out
    assert len(pq.read_table(tmp_path / "all.parquet")) == 40
    record = cli(*options(example, shards, out, "--merge", "--json")).json()
    assert record == {**json.loads((out / "summary.json").read_text()), "merged": None}


def test_an_unfinished_job_does_not_pass_the_merge(cli: Cli, example: Path, shards: Path, tmp_path: Path) -> None:
    assert cli(*options(example, shards, tmp_path / "out", "--merge")).code == 3
    assert cli(*options(example, shards, tmp_path / "out", "--shard", "0/4")).code == 0
    outcome = cli(*options(example, shards, tmp_path / "out", "--merge"))
    assert outcome.code == 3
    assert "lacks 3 of 4 shards: shard 1 (digits-001.tar); shard 2" in outcome.err


def test_other_options_are_refused_and_change_nothing(cli: Cli, example: Path, shards: Path, tmp_path: Path) -> None:
    assert cli(*options(example, shards, tmp_path / "out")).code == 0
    before = contents(tmp_path / "out")
    outcome = cli(*options(example, shards, tmp_path / "out", "--precision", "int8"))
    assert outcome.code == 2
    assert "has the parts of another job (" in outcome.err
    assert "precision fp32, now int8" in outcome.err
    assert contents(tmp_path / "out") == before


def test_columns_on_request(cli: Cli, example: Path, shards: Path, tmp_path: Path) -> None:
    assert cli(*options(example, shards, tmp_path / "out", "--logits", "--top-k", 2, "--batch", 3)).code == 0
    table = pq.read_table(part_files(tmp_path / "out"))
    assert table.column_names == ["id", "source", "label", "classes", "scores", "logits"]
    assert all(len(classes) == 2 for classes in table["classes"].to_pylist())


@pytest.mark.parametrize("share", ["", "1", "4/4", "-1/4", "1/0", "a/b", "1/2/3", "0x1/4"])
def test_a_share_that_is_none_is_refused(cli: Cli, example: Path, shards: Path, tmp_path: Path, share: str) -> None:
    outcome = cli(*options(example, shards, tmp_path / "out", f"--shard={share}"))
    assert outcome.code == 2
    assert "expected I/N with I from 0 to N-1" in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_printed_job_does_what_the_command_does(cli: Cli, example: Path, shards: Path, tmp_path: Path) -> None:
    more = ("--logits", "--top-k", 2, "--batch", 3, "--precision", "fp32", "--threads", 1, "--max-corrupt", "1%")
    assert cli(*options(example, shards, tmp_path / "whole", *more)).code == 0
    script = cli(*options(example, shards, tmp_path / "tasks", *more, "--print-job", "slurm", "--tasks", 3))
    assert script.code == 0
    assert not (tmp_path / "tasks").exists()
    line = script.out.splitlines()[-1]
    for index in range(3):
        command = shlex.split(line.replace("${SLURM_ARRAY_TASK_ID}", str(index)))
        assert command[0] == "wrn-deploy"
        assert cli(*command[1:]).code == 0
    assert digests_of(tmp_path / "tasks") == digests_of(tmp_path / "whole")


def test_a_place_that_cannot_be_written_to_is_named_before_anything_runs(
    cli: Cli, example: Path, shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    outcome = cli(*options(example, shards, tmp_path / "file"))
    assert outcome.code == 1
    assert "is a file: expected a folder for the parts; choose another --out" in outcome.err
    outcome = cli(*options(example, shards, tmp_path / "out", "--merge", "--into", tmp_path))
    assert "is a folder: expected a path for a file" in outcome.err


@pytest.mark.skipif(shutil.which("parallel") is None, reason="GNU parallel is not installed")
def test_the_script_for_parallel_scores_and_merges(cli: Cli, example: Path, shards: Path, tmp_path: Path) -> None:
    assert cli(*options(example, shards, tmp_path / "whole", "--threads", 1)).code == 0
    arguments = options(example, shards, tmp_path / "tasks", "--threads", 1)
    script = cli(*arguments, "--print-job", "parallel", "--tasks", 3).out
    program = tmp_path / "bin" / "wrn-deploy"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{PROGRAM}" "$@"\n')
    program.chmod(0o755)
    paths = {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "JOBS": "2", "HOME": str(tmp_path)}
    paths["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={**os.environ, **paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert digests_of(tmp_path / "tasks") == digests_of(tmp_path / "whole")
    assert "4 of 4 shards intact" in done.stdout
