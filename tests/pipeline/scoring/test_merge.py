"""The merge: what it sums up, and every way in which parts are not one whole job."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet as pq

from tests.shards.made import Notes, break_image, encoded_digits, options_for, pack_shard, pack_shards, part_files
from wrn_deploy.bundle import Bundle
from wrn_deploy.data.corrupt import Percent
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.errors import GateError, UsageError
from wrn_deploy.pipeline.scoring.merge import merge_scores
from wrn_deploy.pipeline.scoring.score import score_data
from wrn_deploy.progress import Silent
from wrn_deploy.shards.ledger import Entry


@pytest.fixture
def out(scored: Path, tmp_path: Path) -> Path:
    """A copy of the parts that a test may change."""
    shutil.copytree(scored, tmp_path / "out")
    return tmp_path / "out"


def test_the_summary_has_what_the_parts_have(bundle: Bundle, shards: Path, out: Path) -> None:
    summary = merge_scores(bundle, options_for(shards, out), Silent())
    table = pq.read_table(part_files(out))
    best = [classes[0] for classes in table["classes"].to_pylist()]
    assert {one.label: one.images for one in summary.classes} == {
        str(index): best.count(index) for index in sorted(set(best))
    }
    assert (summary.shards, summary.images, summary.labelled, summary.corrupt) == (4, 80, 80, 0)
    assert summary.correct == sum(one == other for one, other in zip(best, table["label"].to_pylist(), strict=True))
    assert summary.size_bytes == sum(file.stat().st_size for file in part_files(out))
    assert sum(summary.machines.values()) == 4
    record = json.loads((out / "summary.json").read_text())
    assert record == json.loads(json.dumps(dataclasses.asdict(summary)))


def test_digests_depend_on_images_and_parts_alone(bundle: Bundle, shards: Path, out: Path, tmp_path: Path) -> None:
    first = merge_scores(bundle, options_for(shards, out), Silent())
    score_data(bundle, options_for(shards, tmp_path / "again"), Silent())
    again = merge_scores(bundle, options_for(shards, tmp_path / "again"), Silent())
    assert (first.data, first.parts) == (again.data, again.parts)
    score_data(bundle, options_for(shards, tmp_path / "other", top_k=1), Silent())
    other = merge_scores(bundle, options_for(shards, tmp_path / "other", top_k=1), Silent())
    assert first.data == other.data
    assert first.parts != other.parts


def test_all_scores_go_into_one_file(bundle: Bundle, shards: Path, out: Path, tmp_path: Path) -> None:
    summary = merge_scores(bundle, options_for(shards, out), Silent(), tmp_path / "all.parquet")
    joined = pq.read_table(tmp_path / "all.parquet")
    assert joined.equals(pq.read_table(part_files(out)))
    assert summary.merged is not None
    assert summary.merged.size_bytes == (tmp_path / "all.parquet").stat().st_size
    again = merge_scores(bundle, options_for(shards, out), Silent(), tmp_path / "again.parquet")
    assert again.merged is not None
    assert again.merged.sha256 == summary.merged.sha256


def forge(out: Path, shard: int, **change: Any) -> None:
    """Writes a record that is intact and wrong."""
    file = out / f"part-{shard:06d}.json"
    entry = Entry.from_content(file.read_bytes(), "x")
    file.write_text(dataclasses.replace(entry, **change).to_text())


def copy_shard(out: Path, source: int, target: int) -> None:
    for end in ("json", "parquet"):
        shutil.copy(out / f"part-{source:06d}.{end}", out / f"part-{target:06d}.{end}")


def swap_parts(out: Path) -> None:
    """Two parts with records that describe them, each under the number of the other."""
    first, second = (Entry.from_content((out / f"part-00000{n}.json").read_bytes(), "x") for n in (1, 2))
    files = [out / f"part-00000{n}.parquet" for n in (1, 2)]
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, contents[::-1], strict=True):
        file.write_bytes(content)
    forge(out, 1, sha256=second.sha256, size_bytes=second.size_bytes)
    forge(out, 2, sha256=first.sha256, size_bytes=first.size_bytes)


def flip_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (
        lambda out: (out / "part-000002.json").unlink(),
        r"lacks 1 of 4 shards: shard 2 \(digits-002\.tar\); run",
    ),
    "no part": (lambda out: (out / "part-000002.parquet").unlink(), r"part-000002\.parquet is missing: expected"),
    "doubled": (lambda out: copy_shard(out, 1, 3), r"part-000003\.json is a copy of the record of shard 1"),
    "one too many": (lambda out: copy_shard(out, 1, 4), r"has part-000004\.json, and the data has only 4 shards"),
    "another job": (lambda out: forge(out, 1, recipe="0" * 64), r"part-000001\.json is of another job"),
    "other data": (lambda out: forge(out, 1, name="x.tar"), r"part-000001\.json is of the shard x\.tar"),
    "swapped": (swap_parts, r"2 shards cannot be used: part-000001\.parquet is the part of another shard or job"),
    "rows": (lambda out: forge(out, 1, images=21), r"part-000001\.parquet has 20 rows: expected 21"),
    "a bit": (
        lambda out: flip_bit(out / "part-000001.parquet"),
        r"part-000001\.parquet is not the file that its record",
    ),
    "a bit of a record": (lambda out: flip_bit(out / "part-000001.json"), r"1 shard cannot be used: part-000001\.json"),
    "a link": (lambda out: link(out / "part-000001.parquet"), "1 shard cannot be used: "),
    "nothing": (lambda out: (out / "recipe.json").unlink(), "has no scores: expected a folder that"),
}


def link(file: Path) -> None:
    file.rename(file.with_suffix(".moved"))
    file.symlink_to(file.with_suffix(".moved"))


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_one_whole_job_is_refused(
    bundle: Bundle, shards: Path, out: Path, tmp_path: Path, name: str
) -> None:
    change, words = CASES[name]
    change(out)
    with pytest.raises(GateError, match=words):
        merge_scores(bundle, options_for(shards, out), Silent(), tmp_path / "all.parquet")
    assert not (out / "summary.json").exists()
    assert not (tmp_path / "all.parquet").exists()


def test_what_is_repaired_merges(bundle: Bundle, shards: Path, out: Path) -> None:
    copy_shard(out, 1, 3)
    (out / "part-000002.parquet").unlink()
    score_data(bundle, options_for(shards, out), Silent())
    assert merge_scores(bundle, options_for(shards, out), Silent()).images == 80


def test_another_bundle_or_other_options_are_refused(bundle: Bundle, shards: Path, out: Path) -> None:
    with pytest.raises(UsageError, match="precision fp32, now int8"):
        merge_scores(bundle, options_for(shards, out, precision="int8"), Silent())


def test_the_first_problems_of_many_are_shown(bundle: Bundle, tmp_path: Path) -> None:
    data = pack_shards(tmp_path / "data", 12, 1)
    score_data(bundle, options_for(data, tmp_path / "out", block=Block(index=0, count=12)), Silent())
    with pytest.raises(GateError, match=r"lacks 11 of 12 shards: shard 1 .*shard 5 \(digits-005\.tar\); \.\.\.; run"):
        merge_scores(bundle, options_for(data, tmp_path / "out"), Silent())


def test_corrupt_images_are_limited_in_total(bundle: Bundle, shards: Path, tmp_path: Path) -> None:
    data = break_image(shards, tmp_path / "data", 2)
    score_data(bundle, options_for(data, tmp_path / "out", max_corrupt=Percent(10)), Silent())
    assert merge_scores(bundle, options_for(data, tmp_path / "out", max_corrupt=2), Silent()).corrupt == 2
    summary = merge_scores(bundle, options_for(data, tmp_path / "out", max_corrupt=Percent(2.5)), Silent())
    assert summary.corrupt_names == ("digits-001.tar/00000.png", "digits-001.tar/00001.png")
    for limit in (1, Percent(2)):
        with pytest.raises(GateError, match="2 corrupt images, 1 allowed in total"):
            merge_scores(bundle, options_for(data, tmp_path / "out", max_corrupt=limit), Silent())


def test_damaged_shards_are_limited_and_named(bundle: Bundle, shards: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(shards, data)
    (data / "digits-003.tar").write_bytes(b"damaged")
    score_data(bundle, options_for(data, tmp_path / "out", max_damaged=1), Silent())
    summary = merge_scores(bundle, options_for(data, tmp_path / "out", max_damaged=1), Silent())
    assert (summary.damaged, summary.shards, summary.images) == (("digits-003.tar",), 3, 60)
    with pytest.raises(GateError, match=r"1 damaged shard, 0 allowed \(digits-003\.tar\)"):
        merge_scores(bundle, options_for(data, tmp_path / "out"), Silent())


def test_shards_with_the_same_images_and_other_machines_are_warned_about(bundle: Bundle, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("a.tar", "b.tar"):
        pack_shard(data / name, list(encoded_digits(3)))
    score_data(bundle, options_for(data, tmp_path / "out"), Silent())
    forge(tmp_path / "out", 1, machine="another CPU")
    progress = Notes()
    merge_scores(bundle, options_for(data, tmp_path / "out"), progress)
    assert progress.warnings[0] == "a.tar and b.tar have the same images: these are counted twice"
    assert "the shards ran on 2 kinds of machine" in progress.warnings[1]


def test_an_address_for_the_file_with_all_scores_is_refused(bundle: Bundle, shards: Path, out: Path) -> None:
    with pytest.raises(UsageError, match="expected a file on this machine"):
        merge_scores(bundle, options_for(shards, out), Silent(), Path("s3://bucket/all.parquet"))
