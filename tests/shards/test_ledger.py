"""The ledger: what counts as done, and every way in which a record or a part does not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wrn_deploy.errors import DamagedFile, UsageError
from wrn_deploy.shards.found import Shard
from wrn_deploy.shards.ledger import RECIPE, Entry, Ledger, entry_name, part_name
from wrn_deploy.shards.recipe import Recipe, read_recipe
from wrn_deploy.shards.store import open_store

MADE = Recipe(
    model="wrn-10-1", spec="a" * 64, artifact="b" * 64, backend="onnxruntime", precision="fp32", scores="softmax",
    top_k=2, logits=False, features=False, batch=8, images_per_shard=0, data="c" * 64, shards=3,
    versions={"numpy": "2.0"},
)  # fmt: skip
SHARDS = [Shard(number=number, name=f"{number}.tar", file=f"/data/{number}.tar", size_bytes=100) for number in range(3)]


def entry(shard: Shard, content: bytes, **more: Any) -> Entry:
    record: dict[str, Any] = {
        "recipe": MADE.digest, "shard": shard.number, "name": shard.name, "source_bytes": shard.size_bytes, "images": 5,
        "corrupt": ("a.png",), "data": "d" * 64, "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content), "damaged": "", "machine": "a CPU", "seconds": 1.5,
    }  # fmt: skip
    return Entry(**{**record, **more})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """The ledger of a folder with three parts."""
    made = Ledger(store=open_store(str(tmp_path / "out")), recipe=MADE)
    with made.store.scratch() as scratch:
        made.start(scratch)
        for shard in SHARDS:
            content = f"part {shard.number}".encode()
            (scratch / "part").write_bytes(content)
            made.add(entry(shard, content), scratch / "part", scratch)
    return made


def reasons(ledger: Ledger) -> list[str]:
    """Why each shard is not done; "done" if it is, "" if it never was."""
    return ["done" if found is not None else reason for found, reason in ledger.finished(SHARDS)]


def test_what_is_recorded_is_done(ledger: Ledger, tmp_path: Path) -> None:
    assert reasons(ledger) == ["done"] * 3
    files = [RECIPE, *(name(number) for name in (entry_name, part_name) for number in range(3))]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(files)


def test_a_part_without_its_record_does_not_count(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "out" / entry_name(1)).unlink()
    assert reasons(ledger) == ["done", "", "done"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"recipe": "e" * 64}, "is of another job (recipe eeeeeeeeeeee, not "),
        ({"shard": 2}, "is a copy of the record of shard 2"),
        ({"name": "other.tar"}, "is of the shard other.tar, which is now 1.tar"),
        ({"source_bytes": 99}, "1.tar has changed since it was read (99 bytes, now 100)"),
        ({"size_bytes": 5}, "part-000001.parquet has 6 bytes: expected 5 bytes"),
        ({"sha256": "f" * 64}, "is not the file that its record describes (another sha256)"),
        ({"damaged": "it ends in the middle"}, "1.tar was damaged"),
    ],
)
def test_a_record_that_does_not_fit_does_not_count(
    ledger: Ledger, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    changed = dataclasses.replace(entry(SHARDS[1], b"part 1"), **change)
    (tmp_path / "out" / entry_name(1)).write_text(changed.to_text())
    found = reasons(ledger)
    assert found[::2] == ["done", "done"]
    assert reason in found[1]


def test_a_missing_or_changed_part_does_not_count(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "out" / part_name(0)).unlink()
    (tmp_path / "out" / part_name(1)).write_bytes(b"part X")
    shutil.copy(tmp_path / "out" / entry_name(1), tmp_path / "out" / entry_name(2))
    first, second, third = reasons(ledger)
    assert "part-000000.parquet is missing: expected 6 bytes" in first
    assert "another sha256" in second
    assert "part-000002.json is a copy of the record of shard 1" in third


@given(st.data())
def test_any_changed_byte_of_a_record_is_noticed(data: st.DataObject) -> None:
    content = bytearray(entry(SHARDS[0], b"part").to_text().encode())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = Entry.from_content(bytes(content), "x")
    except DamagedFile:
        return
    assert found == entry(SHARDS[0], b"part"), "white space, and escapes of the same text, say the same"


def test_another_recipe_is_refused_with_what_differs(ledger: Ledger, tmp_path: Path) -> None:
    other = dataclasses.replace(MADE, precision="int8", versions={"numpy": "2.1", "pillow": "11"})
    with pytest.raises(
        UsageError, match=r"has the parts of another job \(precision fp32, now int8; version of numpy 2\.0"
    ):
        dataclasses.replace(ledger, recipe=other).start(tmp_path)
    assert dataclasses.replace(ledger, recipe=dataclasses.replace(MADE)).check_recipe()


@pytest.mark.parametrize("content", [b"", b"{", b"{}", MADE.to_text().replace("fp32", "int8x").encode()[:-1], b"\xff"])
def test_a_damaged_recipe_is_named(ledger: Ledger, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "out" / RECIPE).write_bytes(content)
    with pytest.raises(DamagedFile, match=r"; remove .*/recipe\.json"):
        ledger.check_recipe()


def test_a_recipe_is_read_as_it_was_written() -> None:
    assert read_recipe(MADE.to_text().encode(), "x") == MADE
    assert json.loads(MADE.to_text())["top_k"] == 2


def test_names_that_are_no_records_have_no_number(ledger: Ledger) -> None:
    names = [
        entry_name(7),
        entry_name(1_234_567),
        "part-7.json",
        "part-0000007.json",
        "part-000007.parquet",
        "recipe.json",
    ]
    assert ledger.numbers(names) == [7, 1_234_567]
