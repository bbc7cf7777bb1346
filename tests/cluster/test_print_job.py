"""Scripts for schedulers: bash takes them, Kubernetes' schema does, and what they run are all shards once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from wrn_deploy.cluster.print_job import Scheduler, write_job
from wrn_deploy.errors import UsageError

EVIL = "a b'c$(touch x);\"`"
COMMAND = ("wrn-deploy", "score", "my bundle", "--data", EVIL, "--out", "scores")


def stand_in(folder: Path) -> Path:
    """A program called wrn-deploy that writes its arguments to a file of its own."""
    folder.mkdir(exist_ok=True)
    program = folder / "wrn-deploy"
    program.write_text(
        f"#!{sys.executable}\nimport json, pathlib, sys, tempfile\n"
        f"file = tempfile.mktemp(dir={str(folder)!r}, suffix='.called')\n"
        "pathlib.Path(file).write_text(json.dumps(sys.argv[1:]))\n"
    )
    program.chmod(0o755)
    return program


def calls(folder: Path) -> list[list[str]]:
    return sorted(json.loads(file.read_text()) for file in folder.glob("*.called"))


def run(script: str, folder: Path, **more: str) -> None:
    path = f"{stand_in(folder / 'bin').parent}{os.pathsep}{os.environ['PATH']}"
    (folder / "job.sh").write_text(script)
    done = subprocess.run(
        ["bash", "job.sh"],
        cwd=folder,
        env={**os.environ, "PATH": path, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_slurm_array_runs_every_share(tmp_path: Path) -> None:
    script = write_job(Scheduler.SLURM, COMMAND, 3, threads=4)
    assert script.startswith("#!/bin/bash\n#SBATCH")
    assert "#SBATCH --array=0-2\n" in script
    assert "#SBATCH --cpus-per-task=4\n" in script
    for index in range(3):
        run(script, tmp_path, SLURM_ARRAY_TASK_ID=str(index))
    assert calls(tmp_path / "bin") == [[*COMMAND[1:], "--shard", f"{index}/3"] for index in range(3)]
    assert not (tmp_path / "x").exists()


def manifest(tasks: int = 3, threads: int | None = None) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(write_job(Scheduler.K8S, COMMAND, tasks, threads))
    return loaded


def test_an_indexed_job_runs_every_share(tmp_path: Path) -> None:
    spec = manifest(3)["spec"]
    assert (spec["completions"], spec["completionMode"]) == (3, "Indexed")
    container = spec["template"]["spec"]["containers"][0]
    assert container["command"] == ["/bin/sh", "-c"]
    for index in range(3):
        run(container["args"][0], tmp_path, JOB_COMPLETION_INDEX=str(index))
    assert calls(tmp_path / "bin") == [[*COMMAND[1:], "--shard", f"{index}/3"] for index in range(3)]


def test_the_schema_of_kubernetes_takes_the_job() -> None:
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate, which has the schema, is not installed"
    )
    version = "1.33"
    validate.validate(manifest(3, threads=2), version, strict=True)
    wrong = manifest(3)
    wrong["spec"]["completionsMode"] = "Indexed"
    with pytest.raises(validate.ValidationError):
        validate.validate(wrong, version, strict=True)


@pytest.mark.skipif(shutil.which("parallel") is None, reason="GNU parallel is not installed")
def test_parallel_runs_every_share_and_then_merges(tmp_path: Path) -> None:
    run(write_job(Scheduler.PARALLEL, COMMAND, 5), tmp_path, JOBS="2")
    shares = [[*COMMAND[1:], "--shard", f"{index}/5"] for index in range(5)]
    assert calls(tmp_path / "bin") == sorted([*shares, [*COMMAND[1:], "--merge"]])
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("scheduler", [Scheduler.SLURM, Scheduler.PARALLEL])
def test_bash_takes_the_script(scheduler: Scheduler) -> None:
    done = subprocess.run(["bash", "-n"], input=write_job(scheduler, COMMAND, 7), text=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("scheduler", Scheduler)
def test_the_line_that_merges_is_there(scheduler: Scheduler) -> None:
    text = write_job(scheduler, ("wrn-deploy", "score", "b"), 2)
    assert "wrn-deploy score b --merge" in text


@pytest.mark.parametrize("tasks", [0, 100_001])
def test_too_few_and_too_many_tasks_are_refused(tasks: int) -> None:
    with pytest.raises(UsageError, match=f"--tasks {tasks}: expected 1 to 100000"):
        write_job(Scheduler.SLURM, COMMAND, tasks)
