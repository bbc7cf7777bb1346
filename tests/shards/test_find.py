"""The shards of a data set: files in sorted order, or N images of anything else; each can be opened alone."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from tests.shards.made import encoded_digits, pack_shards
from wrn_deploy.data import Item, Role, open_data
from wrn_deploy.errors import DamagedFile, DeployError, UsageError
from wrn_deploy.shards.find import find_shards
from wrn_deploy.shards.found import ShardSet
from wrn_deploy.shards.reader import open_reader


def read_all(found: ShardSet, scratch: Path) -> list[list[Item]]:
    """The items of each shard, opened in reverse order."""
    with open_reader(found, scratch) as reader:
        shards = []
        for shard in reversed(found.shards):
            with reader.open(shard) as source:
                shards.append(list(source.items()))
                assert len(shards[-1]) == len(source)
    return shards[::-1]


def names(found: ShardSet) -> list[str]:
    return [shard.name for shard in found.shards]


def test_tar_files_are_shards_and_only_their_names_are_needed(tmp_path: Path) -> None:
    folder = pack_shards(tmp_path / "data", 3, 5)
    found = find_shards(str(folder), 2)
    assert names(found) == ["digits-000.tar", "digits-001.tar", "digits-002.tar"]
    shards = read_all(found, tmp_path)
    assert [len(shard) for shard in shards] == [5, 5, 5]
    assert [item.name for shard in shards for item in shard] == [
        item.name for item in open_data(str(folder), Role.TEST).items()
    ]
    (folder / "digits-001.tar").write_bytes(b"damaged")  # the others are opened all the same
    found = find_shards(str(folder), 2)
    with open_reader(found, tmp_path) as reader, reader.open(found.shards[2]) as source:
        assert len(source) == 5


def test_a_pattern_and_one_file_are_shards_too(tmp_path: Path) -> None:
    folder = pack_shards(tmp_path / "data", 3, 2)
    assert names(find_shards(f"{folder}/digits-{{001..002}}.tar", 1)) == ["digits-001.tar", "digits-002.tar"]
    assert names(find_shards(f"{folder}/digits-001.tar", 1)) == ["digits-001.tar"]
    with pytest.raises(DeployError, match="names 5 shards, and 2 are missing"):
        find_shards(f"{folder}/digits-{{000..004}}.tar", 1)


def test_a_name_is_the_same_wherever_the_folder_is(tmp_path: Path) -> None:
    digests = {find_shards(str(pack_shards(tmp_path / place, 2, 2)), 1).digest for place in ("a", "b/c")}
    assert len(digests) == 1
    assert find_shards(str(pack_shards(tmp_path / "d", 3, 2)), 1).digest not in digests


def test_images_of_a_folder_are_cut_into_blocks(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, (content, _) in enumerate(encoded_digits(7)):
        (folder / f"{index}.png").write_bytes(content)
    found = find_shards(str(folder), 3)
    assert names(found) == ["photos images 0 to 2", "photos images 3 to 5", "photos images 6 to 6"]
    assert [[item.name for item in shard] for shard in read_all(found, tmp_path)] == [
        ["0.png", "1.png", "2.png"], ["3.png", "4.png", "5.png"], ["6.png"],
    ]  # fmt: skip
    (folder / "3.png").rename(folder / "3b.png")
    assert find_shards(str(folder), 3).digest != found.digest
    with pytest.raises(DeployError, match="does not have the images here that it had"), open_reader(found, tmp_path):
        pass


@pytest.mark.parametrize("size", [1, 100, 1000])
def test_any_other_data_is_cut_into_blocks(tmp_path: Path, size: int) -> None:
    images, labels = np.zeros((250, 32, 32, 3), np.uint8), np.arange(250) % 10
    images[:, 0, 0, 0] = np.arange(250)
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    shards = read_all(find_shards(str(tmp_path / "set.npz"), size), tmp_path)
    assert [len(shard) for shard in shards] == [min(size, 250 - start) for start in range(0, 250, size)]
    assert [item.load()[0, 0, 0] for shard in shards for item in shard] == list(range(250))
    assert [item.label for shard in shards for item in shard] == labels.tolist()


def test_a_list_has_paths_relative_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    (folder / "a").mkdir(parents=True)
    contents = [content for content, _ in encoded_digits(3)]
    for name, content in zip(("a/1.png", "a/2.png", "3.png"), contents, strict=True):
        (folder / name).write_bytes(content)
    lines = ["a/2.png", "", f"{folder}/3.png", "  a/1.png  "]
    (folder / "images.txt").write_text("\n".join(lines))
    found = find_shards(str(folder / "images.txt"), 2)
    shards = read_all(found, tmp_path)
    assert [[item.name for item in shard] for shard in shards] == [["a/2.png", f"{folder}/3.png"], ["a/1.png"]]
    assert (shards[1][0].load() == next(open_data("digits", Role.TEST).items()).load()).all()


def test_a_list_with_a_secret_is_refused_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "images.txt").write_text("a.png\ns3://key:SeCrEt@bucket/b.png\n")
    with pytest.raises(UsageError, match=r"^line 2 of .*images\.txt: s3://\*\*\*@bucket/b\.png has a user") as caught:
        find_shards(str(tmp_path / "images.txt"), 2)
    assert "SeCrEt" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_list_without_images_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "images.txt").write_text(content)
    with pytest.raises(DeployError, match="lists no images: expected a path or an address per line"):
        find_shards(str(tmp_path / "images.txt"), 2)


def test_a_file_that_changes_after_the_shards_were_found_is_refused(tmp_path: Path) -> None:
    folder = pack_shards(tmp_path / "data", 2, 2)
    found = find_shards(str(folder), 1)
    with (folder / "digits-001.tar").open("ab") as stream:
        stream.write(bytes(512))
    (folder / "digits-000.tar").unlink()
    with open_reader(found, tmp_path) as reader:
        with (
            pytest.raises(DeployError, match=r"digits-001\.tar has \d+ bytes, and \d+ when"),
            reader.open(found.shards[1]),
        ):
            pass
        with pytest.raises(DeployError, match=r"digits-000\.tar is not there any more"), reader.open(found.shards[0]):
            pass


def test_names_that_are_not_utf8_have_an_escape(tmp_path: Path) -> None:
    folder = pack_shards(tmp_path / "data", 1, 2)
    (folder / "digits-000.tar").rename(folder / os.fsdecode(b"caf\xe9.tar"))
    assert names(find_shards(str(folder), 1)) == [r"caf\udce9.tar"]


def test_less_than_one_image_per_shard_is_refused() -> None:
    with pytest.raises(UsageError, match="0 images per shard: expected at least 1"):
        find_shards("digits", 0)


def test_a_shard_is_read_as_what_the_others_are(tmp_path: Path) -> None:
    folder = pack_shards(tmp_path / "data", 2, 2)
    (folder / "digits-000.tar").write_bytes(b"damaged")
    (folder / "digits-001.tar").write_bytes(bytes(10240))  # an archive without files
    found = find_shards(str(folder), 1)
    with open_reader(found, tmp_path) as reader:
        with pytest.raises(DamagedFile, match=r"digits-000\.tar is damaged"), reader.open(found.shards[0]):
            pass
        with reader.open(found.shards[1]) as source:
            assert len(source) == 0


def test_parquet_files_are_shards_with_names_of_their_place(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": content}, "label": label} for content, label in encoded_digits(9)]
    for index, place in enumerate(("a/0.parquet", "b/0.parquet", "b/1.parquet")):
        (tmp_path / "set" / place).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows[3 * index : 3 * index + 3]), tmp_path / "set" / place)
    found = find_shards(str(tmp_path / "set"), 1)
    assert names(found) == ["a/0.parquet", "b/0.parquet", "b/1.parquet"]
    shards = read_all(found, tmp_path)
    assert [[item.name for item in shard] for shard in shards][1:] == [
        ["0.parquet row 0", "0.parquet row 1", "0.parquet row 2"],
        ["1.parquet row 0", "1.parquet row 1", "1.parquet row 2"],
    ]
    assert [item.label for shard in shards for item in shard] == [row["label"] for row in rows]


def test_the_split_of_a_folder_is_chosen_as_for_an_evaluation(tmp_path: Path) -> None:
    folder = pack_shards(tmp_path / "data", 2, 2)
    (folder / "digits-000.tar").rename(folder / "train-0.tar")
    (folder / "digits-001.tar").rename(folder / "val-0.tar")
    assert names(find_shards(str(folder), 1)) == ["val-0.tar"]
    assert names(find_shards(f"{folder}:train", 1)) == ["train-0.tar"]
