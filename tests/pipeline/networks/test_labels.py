"""Names of classes from text and JSON, and what is said about files that give none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wrn_deploy.errors import DeployError
from wrn_deploy.pipeline.networks.labels import read_labels


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "cat\ndog\ngreat white shark\n"),
        ("labels.txt", "\ufeffcat\r\n dog \r\ngreat white shark\r\n\r\n"),
        ("labels.json", '["cat", "dog", "great white shark"]'),
        ("labels.json", '{"1": "dog", "0": "cat", "2": "great white shark"}'),
        ("labels.json", '{"0": ["n1", "cat"], "1": ["n2", "dog"], "2": ["n3", "great white shark"]}'),
    ],
)
def test_names_in_the_order_of_their_indices(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / name) == ("cat", "dog", "great white shark")


def test_imagenets_own_index(shared_data: Path) -> None:
    labels = read_labels(shared_data / "imagenet" / "imagenet_class_index.json")
    assert len(labels) == 1000
    assert (labels[0], labels[999]) == ("tench", "toilet_tissue")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.txt", b"", "contains no names"),
        ("gap.txt", b"cat\n\ndog\n", "has '' for class 1"),
        ("image.txt", b"\x89PNG\r\n", "is not text in UTF-8"),
        ("broken.json", b"[1, ", "expected JSON; expected"),
        ("empty.json", b"[]", "contains no names"),
        ("text.json", b'"abcdefghij"', "contains no names"),
        ("number.json", b"5", "contains no names"),
        ("gap.json", b'{"0": "cat", "2": "dog"}', "has 2 entries and none for index 1"),
        ("from_one.json", b'{"1": "cat", "2": "dog"}', "none for index 0"),
        ("numbers.json", b"[0, 1]", "has 0 for class 0"),
        ("pairs.json", b"[[], []]", "has [] for class 0"),
    ],
)
def test_a_file_that_gives_no_names(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DeployError) as refused:
        read_labels(tmp_path / name)
    assert words in str(refused.value)
    assert str(tmp_path / name) in str(refused.value)
    assert "expected one name per line, or JSON" in str(refused.value)
    assert len(str(refused.value)) < 400  # whatever the file holds


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"none\.txt cannot be read \(No such file or directory\)"):
        read_labels(tmp_path / "none.txt")


def test_what_json_writes_is_read(tmp_path: Path) -> None:
    names = ("ä", "é", "日本")
    (tmp_path / "names.json").write_text(json.dumps(dict(enumerate(names))), encoding="utf-8")
    assert read_labels(tmp_path / "names.json") == names
