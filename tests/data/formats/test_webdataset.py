"""Tar shards, beside the library's own tarfile, and errors that say why one cannot be read."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.conftest import add_file
from tests.data.damage import errors_of_damage, peak_of_reading
from tests.data.made import encode
from tests.data.properties import quickly
from wrn_deploy.data import CorruptImage, Role, open_data
from wrn_deploy.data.containers.shards import expand_pattern
from wrn_deploy.errors import DeployError

Files = list[tuple[str, bytes]]


def _pack(path: Path, files: Files, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w", format=form) as archive:
        for name, content in files:
            add_file(archive, name, content)
    return path


@pytest.fixture
def png() -> bytes:
    return encode(np.zeros((4, 5, 3), dtype=np.uint8))


def test_a_pattern_names_shards(shards: Path, digit_labels: list[int]) -> None:
    (shards / "digits-000.tar.gz").rename(shards / "digits-000.tar")  # recognised by its content
    source = open_data(f"{shards}/digits-{{000..002}}.tar", Role.TEST)
    items = list(source.items())
    assert [item.label for item in items] == digit_labels
    assert [item.name for item in items][15:17] == ["digits-000.tar/00015.png", "digits-001.tar/00016.png"]
    assert len(open_data(f"{shards}/digits-00{{1,2}}.tar", Role.TEST)) == 32
    assert len(open_data(f"{shards}/digits-{{001..1}}.tar", Role.TEST)) == 16


def test_missing_shards_are_counted_and_the_first_is_named(shards: Path) -> None:
    with pytest.raises(DeployError, match=r"names 4 shards, and 2 are missing, the first .*digits-000\.tar: expected"):
        open_data(f"{shards}/digits-{{000..003}}.tar", Role.TEST)
    with pytest.raises(DeployError, match=re.escape("has {5..1}: expected ascending numbers, such as {000..099}")):
        open_data(f"{shards}/digits-{{5..1}}.tar", Role.TEST)


@quickly
@given(st.integers(0, 2000), st.integers(0, 30), st.integers(1, 6))
def test_a_range_of_shards_counts_up_and_keeps_its_width(first: int, more: int, width: int) -> None:
    start, end = f"{first:0{width}}", f"{first + more:0{width}}"
    wide = len(start) if len(start) == len(end) or start.startswith("0") else 0
    found = [path.name for path in expand_pattern(f"a-{{{start}..{end}}}.tar")]
    assert found == [f"a-{number:0{wide}}.tar" for number in range(first, first + more + 1)]


@pytest.mark.parametrize("other", ["val", "test", "validation"])
def test_the_role_chooses_among_the_shards_of_a_folder(tmp_path: Path, png: bytes, other: str) -> None:
    for name, label in (("imagenet-train-000.tar", b"1"), ("imagenet-train-001.tar", b"2"), (f"x-{other}-0.tgz", b"9")):
        _pack(tmp_path / name, [("a.png", png), ("a.cls", label)])
    assert [item.label for item in open_data(str(tmp_path), Role.TRAIN).items()] == [1, 2]
    assert [item.label for item in open_data(str(tmp_path), Role.TEST).items()] == [9]
    (tmp_path / f"x-{other}-0.tgz").unlink()
    with pytest.raises(DeployError, match="has only the split train: expected one of test, val"):
        open_data(str(tmp_path), Role.TEST)


@pytest.mark.parametrize("absent", [None, b"-1"])
def test_a_test_split_without_labels_is_passed_over_for_validation(
    tmp_path: Path, png: bytes, absent: bytes | None
) -> None:
    for split, label in (("train", b"1"), ("val", b"2"), ("test", absent)):
        _pack(tmp_path / f"x-{split}-0.tar", [("a.png", png)] + ([("a.cls", label)] if label else []))
    source = open_data(str(tmp_path), Role.TEST)
    assert [item.label for item in source.items()] == [2]
    assert source.notes == (f"{tmp_path}: test has no labels, so val is read",)
    assert [item.label for item in open_data(f"{tmp_path}:train", Role.TEST).items()] == [1]
    assert len(open_data(f"{tmp_path}:test", Role.TEST)) == 1


def test_a_pattern_that_names_too_many_shards_is_an_error() -> None:
    for pattern in ("{0..9999}{0..9999}", "{0..999999}" * 50, "{0..99999999999999}", f"{{1..{'9' * 200}}}"):
        with pytest.raises(DeployError, match=r"names \d+.* shards: expected at most|expected ascending numbers"):
            open_data(f"/nowhere/{pattern}.tar", Role.TEST)


@pytest.mark.parametrize(
    ("extra", "label"),
    [
        ([("cls", b"7\n")], 7),
        ([("json", b'{"label": 8}')], 8),
        ([("json", b'{"cls": "9", "caption": "x"}')], 9),
        ([("json", b'{"label": 8.0}')], 8),
        ([("cls", b"10.0")], 10),
        ([("cls", b"1"), ("json", b'{"label": 2}'), ("txt", b"a cat")], 1),
        ([("json", b'{"caption": "x"}')], None),
        ([("json", b"[1]")], None),
        ([], None),
    ],
)
def test_a_label_is_in_one_of_the_files_of_a_sample(
    tmp_path: Path, png: bytes, extra: Files, label: int | None
) -> None:
    files = [("d/1.5/a.PNG", png), *((f"d/1.5/a.{end}", content) for end, content in extra), ("d/1.5/b.json", b"{}")]
    (item,) = open_data(str(_pack(tmp_path / "a.tar", files)), Role.TEST).items()
    assert item.label == label
    assert item.load().shape == (4, 5, 3)


@pytest.mark.parametrize(
    "content",
    [
        b"cat",
        b"1.5",
        b'{"label": 1.5}',
        b'{"label": "cat"}',
        b"9" * 5000,
        b"-1",
        b"99999999999",
        b'{"label": []}',
        b'{"label": true}',
    ],
)
def test_a_label_that_can_be_no_class_is_named(tmp_path: Path, png: bytes, content: bytes) -> None:
    end = "json" if content.startswith(b"{") else "cls"
    path = _pack(tmp_path / "a.tar", [("a.png", png), (f"a.{end}", content)])
    with pytest.raises(DeployError, match=r"a\.tar/a\.png has (the |a )?label .*: expected a class index"):
        list(open_data(str(path), Role.TEST).items())


def test_a_label_that_is_no_json_is_named(tmp_path: Path, png: bytes) -> None:
    path = _pack(tmp_path / "a.tar", [("a.png", png), ("a.json", b"{")])
    with pytest.raises(DeployError, match=r"the \.json of a\.tar/a\.png is damaged"):
        list(open_data(str(path), Role.TEST).items())


def test_the_names_of_the_classes_are_beside_the_shards(shards: Path) -> None:
    (shards / "classnames.txt").write_text("zero\none\n\ntwo\n", encoding="utf-8")
    assert open_data(str(shards), Role.TEST).labels == ("zero", "one", "two")


def test_files_of_a_sample_that_are_not_side_by_side_are_an_error(tmp_path: Path, png: bytes) -> None:
    path = _pack(tmp_path / "a.tar", [("a.png", png), ("b.png", png), ("a.cls", b"1"), ("b.cls", b"2")])
    with pytest.raises(DeployError, match=r"has a label for a apart from its image: expected the files of a"):
        open_data(str(path), Role.TEST)


def test_samples_whose_image_is_not_named_like_one_are_counted_and_named(tmp_path: Path, png: bytes) -> None:
    files = [("a.png", png), ("b.heic", b""), ("b.json", b"{}"), ("c.jp2", b""), ("d.txt", b""), ("._e.heic", b"")]
    source = open_data(str(_pack(tmp_path / "a.tar", files)), Role.TEST)
    assert len(source) == len(list(source.items())) == 1
    (note,) = source.notes
    assert "skipped 2 files ('a.tar/b.heic', 'a.tar/c.jp2') without an image suffix" in note


def test_two_images_in_a_sample_are_an_error(tmp_path: Path, png: bytes) -> None:
    path = _pack(tmp_path / "a.tar", [("a.left.png", png), ("a.right.png", png)])
    with pytest.raises(DeployError, match=r"has a\.left\.png and a\.right\.png in one sample: expected one image"):
        open_data(str(path), Role.TEST)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_every_kind_of_tar_gives_what_the_library_reads(tmp_path: Path, png: bytes, form: int, name: str) -> None:
    long = f"{'folder/' * 20}{'x' * 90}"
    names = ["short.png", f"{long}.png"] + ([f"{'y' * 200}.png", "\u00e4\u4e00.png"] if form else [])
    path = tmp_path / name
    with tarfile.open(path, "w:gz" if name.endswith("gz") else "w", format=form) as archive:
        archive.addfile(tarfile.TarInfo("folder"))
        for each in names:
            add_file(archive, each, png)
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, f"{'z' * 150 if form else 'z'}.png"
        archive.addfile(link)
        add_file(archive, "last.png", png)
    with tarfile.open(path) as archive:
        expected = [member.name for member in archive if member.isfile() and member.size]
    items = list(open_data(str(path), Role.TEST).items())
    assert [item.name.removeprefix(f"{name}/") for item in items] == expected == [*names, "last.png"]
    assert all(item.load().shape == (4, 5, 3) for item in items)


def test_a_corrupt_image_in_a_shard_is_named(tmp_path: Path, png: bytes) -> None:
    path = _pack(tmp_path / "a.tar", [("a.png", png[:-30]), ("b.jpg", png), (".hidden.png", b""), ("__MACOSX", b"")])
    first, second = open_data(str(path), Role.TEST).items()
    with pytest.raises(CorruptImage, match=rf"{re.escape(str(path))}/a\.png cannot be decoded"):
        first.load()
    assert second.load().shape == (4, 5, 3)  # recognised by its content


def test_a_damaged_header_does_not_end_the_archive_without_a_word(shards: Path) -> None:
    path = shards / "digits-001.tar"
    content = bytearray(path.read_bytes())
    content[content.find(b"00020.cls") + 150] ^= 1
    path.write_bytes(content)
    with tarfile.open(path) as archive:
        assert len(archive.getnames()) < 32  # the library says nothing
    with pytest.raises(DeployError, match=r"digits-001\.tar is damaged"):
        open_data(str(path), Role.TEST)


@pytest.mark.parametrize("name", ["digits-000.tar.gz", "digits-001.tar"])
def test_a_truncated_shard_is_damaged(shards: Path, name: str) -> None:
    path = shards / name
    errors = errors_of_damage(path, shards, truncate=True)
    assert len(errors) >= (45 if name.endswith("tar") else 60)  # a tar ends in more zeros than it must
    assert all("expected an intact tar file" in error or "data set" in error for error in errors)


@pytest.mark.parametrize("name", ["digits-000.tar.gz", "digits-001.tar"])
def test_a_shard_damaged_anywhere_is_read_or_called_so(shards: Path, name: str) -> None:
    errors = errors_of_damage(shards / name, shards, truncate=False, tries=120)
    assert len(errors) > (100 if name.endswith("gz") else 20)
    assert all(name in error for error in errors)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
@pytest.mark.parametrize("seed", [None, 0])
def test_a_large_shard_is_never_in_memory(
    tmp_path: Path, png: bytes, monkeypatch: pytest.MonkeyPatch, name: str, seed: int | None
) -> None:
    padding = bytes(2**18)
    files = [entry for n in range(250) for entry in ((f"{n:05}.png", png + padding), (f"{n:05}.json", b"{}"))]
    path = _pack(tmp_path / name, files)
    assert peak_of_reading(path, seed, monkeypatch.setattr) < 8e6
