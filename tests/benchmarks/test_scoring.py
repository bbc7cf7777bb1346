"""The benchmarks of `score` measure what they say, on a few images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from benchmarks.scale.packed import pack_parquet
from tests.shards.made import encoded_digits, example_bundle
from wrn_deploy.data import Role, open_data

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A parquet file of 24 digits."""
    rows = [{"img": {"bytes": content}, "label": label} for content, label in encoded_digits(24)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "digits.parquet")
    return tmp_path / "digits.parquet"


def run(module: str, *arguments: object) -> Any:
    out = Path(str(arguments[0])).parent / "record.json"
    command = [sys.executable, "-m", f"benchmarks.scale.{module}", *map(str, arguments), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_packed_images_are_those_of_the_parquet_file(digits: Path, tmp_path: Path) -> None:
    assert pack_parquet(digits, tmp_path / "shards", 5) == 24
    packed, original = (list(open_data(str(path), Role.TEST).items()) for path in (tmp_path / "shards", digits))
    assert len(list((tmp_path / "shards").iterdir())) == 5
    for one, other in zip(packed, original, strict=True):
        assert one.label == other.label
        assert np.array_equal(one.load(), other.load())


def test_the_loops_are_compared_and_so_are_the_parts(digits: Path, tmp_path: Path) -> None:
    bundle = example_bundle(tmp_path / "bundle").folder
    record = run("scoring", bundle, "--parquet", digits, "--shards", 4, "--rounds", 2, "--threads", 1)
    assert record["identical_parts"] is True
    assert record["images"] == 24
    assert {name: len(times) for name, times in record["seconds"].items()} == {"bare loop": 2, "score": 2}


def test_kills_are_counted_and_compared(digits: Path, tmp_path: Path) -> None:
    bundle = example_bundle(tmp_path / "bundle").folder
    record = run("kills", bundle, "--parquet", digits, "--shards", 4, "--kills", 2)
    assert (record["kills"], record["wrong"]) == (2, [])


def test_a_million_is_written_looked_at_and_merged(tmp_path: Path) -> None:
    bundle = example_bundle(tmp_path / "bundle").folder
    record = run("million", bundle, "--shards", 2, 3, "--images", 10)
    assert [(row["shards"], row["step"]) for row in record["rows"]] == [
        (shards, step) for shards in (2, 3) for step in ("write", "look", "merge")
    ]
    assert all(row["peak_bytes"] > 0 for row in record["rows"])
