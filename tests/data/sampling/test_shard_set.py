"""Shards of a job: which they are, and that only all shards of one job, each once, are taken for the whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from wrn_deploy.data.sampling.block import Block, parse_block
from wrn_deploy.data.sampling.shard_set import ShardHeader, check_shards, find_shard_files, shard_file
from wrn_deploy.errors import DeployError, UsageError

RECIPE = {"options": {"method": "mse"}, "tools": {"numpy": "2.0"}, "processor": {"cpu": "one"}, "settings": 1}


def header(index: int, count: int = 3, **changes: Any) -> ShardHeader:
    plain = ShardHeader(
        kind="calibration", format=1, block=Block(index=index, count=count), recipe=RECIPE, allowed=2, corrupt=()
    )
    return dataclasses.replace(plain, **changes)


def named(*headers: ShardHeader) -> dict[str, ShardHeader]:
    return {f"file {place}": each for place, each in enumerate(headers)}


def test_all_shards_in_any_order_are_the_whole() -> None:
    assert check_shards(named(header(2), header(0), header(1)), "calibration") == ["file 1", "file 2", "file 0"]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ((header(0), header(2)), r"1 of 3 shards are missing \(1/3\): run them with --shard"),
        ((header(1, 20),), r"19 of 20 shards are missing \(0/20, 2/20, 3/20, 4/20, 5/20, ...\)"),
        ((header(0), header(1), header(2), header(1)), "file 3 and file 1 are both shard 1/3: expected one"),
        ((header(0), header(1, 4)), "file 1 is shard 1/4, and file 0 is shard 0/3: expected the shards of one job"),
        ((header(0), header(1, kind="evaluation")), "file 1 is a shard of evaluation: expected calibration"),
        (
            (header(0), header(1, recipe={**RECIPE, "options": {"method": "max"}})),
            r"file 1 was made with another recipe than file 0 \(options.method: 'max', not 'mse'\): expected the same; "
            "leave it out",
        ),
        ((header(0), header(1, recipe={**RECIPE, "tools": {"numpy": "2.1"}})), r"'2.1', not '2.0'.* on the versions"),
        ((header(0), header(1, recipe={**RECIPE, "processor": {"cpu": "two"}})), "depend on the type of the CPU"),
        ((header(0), header(1, recipe={**RECIPE, "settings": 2})), "give --threads N for all shards"),
        ((header(0), header(1, recipe={**RECIPE, "more": 1})), r"\(more: 1, not None\)"),
        ((header(0), header(1, format=2)), r"\(format: 2, not 1\)"),
        (
            (header(0, corrupt=("a", "b")), header(1), header(2, corrupt=("c",))),
            r"3 corrupt images in all shards \(a, b, c\), 2 allowed: fix or remove them",
        ),
    ],
)  # fmt: skip
def test_anything_else_is_refused(headers: tuple[ShardHeader, ...], said: str) -> None:
    with pytest.raises(DeployError, match=said):
        check_shards(named(*headers), "calibration")


def test_corrupt_images_up_to_the_limit_are_allowed() -> None:
    assert check_shards(named(header(0, corrupt=("a",)), header(1), header(2, corrupt=("b",))), "calibration")


def test_the_files_of_shards_sort_by_their_numbers_and_are_found_again(tmp_path: Path) -> None:
    blocks = [Block(index=index, count=12) for index in range(12)]
    files = [shard_file(tmp_path, "calibration", block) for block in blocks]
    assert files[3].name == "calibration-03-of-12.npz"
    for file in reversed(files):
        file.touch()
    shard_file(tmp_path, "evaluation", blocks[0]).touch()
    assert find_shard_files([tmp_path], "calibration") == files
    assert find_shard_files([files[5], files[2]], "calibration") == [files[5], files[2]]
    with pytest.raises(
        UsageError, match=r"--merge: no files scores-\*\.npz in .*: expected the files that --shard wrote"
    ):
        find_shard_files([tmp_path], "scores")


@pytest.mark.parametrize("text", ["0/1", "3/8", " 7/8 "])
def test_a_shard_is_parsed(text: str) -> None:
    assert str(parse_block(text)) == text.strip()


@pytest.mark.parametrize("text", ["", "3", "8/8", "-1/8", "1/0", "a/b", "1/2/3", "1.0/2", "0x1/2", "9" * 5000 + "/1"])
def test_what_is_not_a_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected I/N with I from 0 to N-1, such as 0/8"):
        parse_block(text)
