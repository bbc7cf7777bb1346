"""Every known file of each fuzzing target, and mutants of it, are read or refused in words, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzzing.targets import FINDS, LIMITS, target_names
from wrn_deploy.files.budget import VARIABLE
from wrn_deploy.plugins import load_plugin

MUTANTS = 150
MOST_MB = 1024
KINDS = {"read", "DeployError", "DamagedFile", "CorruptImage", "OverLimit", "MachineError", "UsageError"}


@pytest.mark.parametrize("target", target_names())
def test_each_file_is_read_or_refused(target: str) -> None:
    mutants = getattr(load_plugin("tests.fuzzing.targets", target), "MUTANTS", MUTANTS)
    command = [sys.executable, "-m", "tests.fuzzing.replay", target, str(mutants)]
    environment = {**os.environ, VARIABLE: LIMITS, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    environment["PYTHONPATH"] = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, check=False)
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, f"{records[-1:]} {done.stderr[-3000:]}"
    ends = [record for record in records if "outcome" in record]
    assert [record for record in ends if record["outcome"] not in KINDS] == []
    assert max(record["peak_mb"] for record in ends) < MOST_MB
    outcomes = Counter(record["outcome"] for record in ends)
    assert outcomes["read"] > 0, "no seed is whole"
    assert outcomes.total() - outcomes["read"] > mutants // 20, "no mutant is refused: does it read the file?"


def test_every_find_belongs_to_a_target() -> None:
    names = {path.stem for path in (FINDS.parent / "targets").glob("*.py")}
    assert {path.name for path in FINDS.iterdir()} <= names
