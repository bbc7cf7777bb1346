"""A thousand mutated manifests, graphs and plans: each is refused in words or answered; no crash, hang or lost file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from wrn_deploy.bundle import Bundle, sha256_of

MUTANTS, WORKERS = 1000, 2

REFUSED = {"DeployError", "DamagedFile", "MissingArtifact", "OverLimit", "StaleArtifact"}


def run_mutants(bundle: Path, folder: Path, numbers: range) -> list[dict[str, Any]]:
    """What the worker says of each; one that kills its process has the process's end as its problem."""
    results: list[dict[str, Any]] = []
    first = numbers.start
    while first < numbers.stop:
        files, ends = (str(bundle), str(folder / str(first))), (str(first), str(numbers.stop))
        command = [sys.executable, "-m", "tests.fuzz_worker", *files, *ends]
        root = Path(__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
        done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, check=False)
        records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        results += [record for record in records if "outcome" in record]
        if done.returncode == 0:
            break
        assert records, done.stderr
        end = f"exit {done.returncode}: {done.stderr[-1500:]}"
        results.append({**records[-1], "outcome": "died", "problems": [end]})
        first = records[-1]["number"] + 1
    return results


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def results(made_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    size, folder = MUTANTS // WORKERS, tmp_path_factory.mktemp("fuzz")
    before = digests(made_bundle)
    with ThreadPoolExecutor(WORKERS) as pool:
        parts = pool.map(
            lambda start: run_mutants(made_bundle, folder, range(start, start + size)), range(0, MUTANTS, size)
        )
        found = [record for part in parts for record in part]
    assert digests(made_bundle) == before
    return found


def test_every_mutant_is_refused_in_words_or_answered(results: list[dict[str, Any]]) -> None:
    assert sorted(record["number"] for record in results) == [*range(MUTANTS)]
    assert [record for record in results if record["problems"]] == []
    assert {record["outcome"] for record in results} <= {*REFUSED, "MachineError", "UsageError", "answered"}


def test_the_mutants_reach_what_they_are_for(results: list[dict[str, Any]], made_bundle: Path) -> None:
    """Some of each kind are refused and some harmless; were all refused, the checksum would be all that was tested."""
    outcomes = [(record["what"].split(",")[0], record["outcome"]) for record in results]
    counts = Counter((what, "refused" if outcome in REFUSED else outcome) for what, outcome in outcomes)
    for kind in ("manifest", "graph"):
        assert counts[kind, "refused"] >= 100
        assert counts[kind, "answered"] >= 25
    if any(artifact.kind == "plan" for artifact in Bundle.open(made_bundle).artifacts.values()):
        assert counts["plan", "MachineError"] + counts["plan", "refused"] == MUTANTS // 10
    unknown = "file that the manifest does not know"
    assert counts[unknown, "refused"] >= 90
    assert "DamagedFile" in {outcome for _, outcome in outcomes}  # test_errors.py has the rarer kinds
