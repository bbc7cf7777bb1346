"""Streams out of parquet files, and errors that say why one cannot be read."""

from __future__ import annotations

import json
import re
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.made import PLAIN, Pixels, encode
from wrn_deploy.data import CorruptImage, Role, open_data
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.errors import DeployError, MachineError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def _write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_images_and_labels_come_in_the_order_of_the_file(
    parquet_file: Path, digit_images: Pixels, digit_labels: list[int]
) -> None:
    items = list(open_data(str(parquet_file), Role.TEST).items())
    np.testing.assert_array_equal(np.stack([item.load() for item in items]), digit_images)
    assert [item.label for item in items] == digit_labels
    assert [item.name for item in items] == [f"digits.parquet row {row}" for row in range(48)]


@pytest.mark.parametrize("label", ["label", "labels", "fine_label"])
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_plain_binary_columns_and_other_names_are_read(
    tmp_path: Path, digit_images: Pixels, label: str, kind: Any
) -> None:
    encoded = pa.array([encode(digit_images[0])], type=kind)
    path = _write(tmp_path / "a.parquet", **{"id": ["x"], label: pa.array([7], type=pa.uint8()), "image": encoded})
    (item,) = open_data(str(path), Role.TEST).items()
    assert item.label == 7
    np.testing.assert_array_equal(item.load(), digit_images[0])


def test_images_without_labels_have_none(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", image=[encode(np.zeros((4, 4), dtype=np.uint8))])
    (item,) = open_data(str(path), Role.TEST).items()
    assert item.label is None
    assert item.load().shape == (4, 4, 3)


def test_class_names_come_from_the_hugging_face_description(parquet_file: Path) -> None:
    table = pq.read_table(parquet_file)
    features = {"label": {"names": [f"digit {n}" for n in range(10)], "_type": "ClassLabel"}, "img": {}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), parquet_file)
    assert open_data(str(parquet_file), Role.TEST).labels == tuple(f"digit {n}" for n in range(10))


@pytest.mark.parametrize("text", ["{", "[]", '{"info": null}', '{"info": {"features": {"label": {}}}}'])
def test_a_description_of_another_kind_gives_no_names(parquet_file: Path, text: str) -> None:
    table = pq.read_table(parquet_file).replace_schema_metadata({"huggingface": text})
    pq.write_table(table, parquet_file)
    assert open_data(str(parquet_file), Role.TEST).labels == ()


@pytest.mark.parametrize("below", [".", "data"])
@pytest.mark.parametrize("other", ["test", "validation", "val"])
def test_the_role_chooses_among_the_files_of_a_folder(tmp_path: Path, below: str, other: str) -> None:
    encoded = encode(np.zeros((4, 4), dtype=np.uint8))
    folder = tmp_path / "set" / below
    folder.mkdir(parents=True)
    for part in range(2):
        _write(folder / f"train-0000{part}-of-00002.parquet", img=[encoded] * 3, label=[0, 1, 2])
    _write(folder / f"{other}-00000-of-00001.parquet", img=[encoded], label=[9])
    source = open_data(str(tmp_path / "set"), Role.TRAIN)
    assert [item.label for item in source.items()] == [0, 1, 2, 0, 1, 2]
    assert [item.label for item in open_data(str(tmp_path / "set"), Role.TEST).items()] == [9]


def test_files_that_are_no_splits_are_all_read(parquet_file: Path) -> None:
    (parquet_file.parent / "more.parquet").write_bytes(parquet_file.read_bytes())
    assert len(open_data(str(parquet_file.parent), Role.TEST)) == 96


def test_a_missing_split_is_an_error(parquet_file: Path) -> None:
    parquet_file.rename(parquet_file.with_name("train.parquet"))
    with pytest.raises(DeployError, match=r"has only the split train: expected one of test, val.*; give .*:train"):
        open_data(str(parquet_file.parent), Role.TEST)


def test_a_corrupt_image_is_named_by_file_and_row_and_passed_over_if_allowed(
    tmp_path: Path, digit_images: Pixels
) -> None:
    good = encode(digit_images[0])
    path = _write(tmp_path / "a.parquet", img=[good, good[:100], None, good], label=[0, 1, 2, 3])
    source = open_data(str(path), Role.TEST)
    items = list(source.items())
    with pytest.raises(CorruptImage, match=r"a\.parquet row 1 cannot be decoded .*: expected an intact image file"):
        items[1].load()
    with pytest.raises(CorruptImage, match=r"a\.parquet row 2 cannot be decoded \(an empty file\)"):
        items[2].load()
    with pytest.raises(DeployError, match=r"row 1 cannot be decoded.*1 corrupt, none allowed"):
        list(Batches(source, PLAIN, 4))
    batches = Batches(source, PLAIN, 4, max_corrupt=2)
    (batch,) = batches
    assert batch.labels.tolist() == [0, 3]
    assert batches.corrupt == ["a.parquet row 1", "a.parquet row 2"]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"picture": [b""], "label": [1]}, "has the columns picture, label: expected the images in img or image"),
        ({"img": ["a.png"]}, "has img of type string: expected encoded images"),
        ({"img": [{"path": "a.png"}]}, "expected encoded images, binary or a struct with bytes"),
        ({"img": [[1, 2]]}, "expected encoded images"),
        ({"img": [b""], "label": ["cat"]}, "has label of type string: expected integers"),
    ],
)
def test_columns_that_are_not_as_expected_are_named(tmp_path: Path, columns: dict[str, Any], text: str) -> None:
    path = _write(tmp_path / "a.parquet", **columns)
    with pytest.raises(DeployError, match=text):
        open_data(str(path), Role.TEST)


STRINGS = pa.array(["cat", "dog"])
NO_CLASSES = {
    "list": pa.array([[1], [2]]),
    "struct": pa.array([{"int": 1}, {"int": 2}]),
    "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    "float": pa.array([1.0, 2.0]),
    "half": pa.array(np.array([1, 2], np.float16)),
    "decimal": pa.array([1, 2]).cast(pa.decimal128(21)),
    "bool": pa.array([True, False]),
    "string": STRINGS,
    "large_string": STRINGS.cast(pa.large_string()),
    "string_view": STRINGS.cast(pa.string_view()),
    "binary": STRINGS.cast(pa.binary()),
    "dictionary of strings": STRINGS.dictionary_encode(),
    "dictionary of floats": pa.array([1.0, 2.0]).dictionary_encode(),
    "timestamp": pa.array([1, 2], pa.timestamp("s")),
    "date": pa.array([1, 2], pa.date32()),
    "duration": pa.array([1, 2], pa.duration("s")),
    "interval in its name": pa.array([{"uint8": 3}, {"uint8": 4}]),
}


@pytest.mark.parametrize("kind", NO_CLASSES)
def test_labels_that_are_no_whole_numbers_are_named_with_their_type(tmp_path: Path, kind: str) -> None:
    path = _write(tmp_path / "a.parquet", img=[b"", b""], label=NO_CLASSES[kind])
    found = pq.read_schema(path).field("label").type
    with pytest.raises(DeployError, match=re.escape(f"has label of type {found}: expected integers")):
        list(open_data(str(path), Role.TEST).items())


@pytest.mark.parametrize(
    "labels",
    [
        *(pa.array([9, 7, 9], kind) for kind in (pa.int8(), pa.uint8(), pa.int16(), pa.uint32(), pa.uint64())),
        pa.array([9, 7, 9]).dictionary_encode(),
        pa.array([9, 7, 9], pa.uint8()).dictionary_encode(),
    ],
)
def test_whole_numbers_of_every_type_are_read_by_their_values(tmp_path: Path, labels: Any) -> None:
    path = _write(tmp_path / "a.parquet", img=[b"", b"", b""], label=labels)
    assert [item.label for item in open_data(str(path), Role.TEST).items()] == [9, 7, 9]


def test_a_column_of_nothing_is_no_label(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", img=[b"", b""], label=pa.nulls(2))
    assert [item.label for item in open_data(str(path), Role.TEST).items()] == [None, None]


@pytest.mark.parametrize("kind", [pa.binary_view(), pa.large_binary(), "fixed"])
def test_every_binary_type_is_read(tmp_path: Path, digit_images: Pixels, kind: Any) -> None:
    content = encode(digit_images[0])
    images = pa.array([content], pa.binary(len(content)) if kind == "fixed" else kind)
    for column in (images, pa.StructArray.from_arrays([images], ["bytes"])):
        path = _write(tmp_path / "a.parquet", image=column)
        (item,) = open_data(str(path), Role.TEST).items()
        np.testing.assert_array_equal(item.load(), digit_images[0])


def test_a_row_with_a_path_and_no_bytes_is_not_called_corrupt(tmp_path: Path) -> None:
    rows = pa.array([{"bytes": None, "path": "a.png"}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    path = _write(tmp_path / "a.parquet", image=rows, label=[1])
    with pytest.raises(DeployError, match=r"row 0 has a path \('a\.png'\) and no bytes") as caught:
        list(Batches(open_data(str(path), Role.TEST), PLAIN, 4, max_corrupt=9))
    assert not isinstance(caught.value, CorruptImage)


def _hugging_face(folder: Path, layout: str, **splits: Any) -> Path:
    for split, labels in splits.items():
        file = folder / layout.format(split)
        file.parent.mkdir(parents=True, exist_ok=True)
        columns = {} if labels is None else {"label": labels}
        _write(file, image=[encode(np.zeros((4, 4), dtype=np.uint8))] * 2, **columns)
    return folder


LAYOUTS = ("data/{}-00000-of-00001.parquet", "{}-00000.parquet", "plain_text/{}/0000.parquet", "{}/0.parquet")


@pytest.mark.parametrize(
    ("layout", "absent"), [*((layout, [-1, -1]) for layout in LAYOUTS), (LAYOUTS[0], None), (LAYOUTS[0], pa.nulls(2))]
)
def test_a_test_split_without_labels_is_passed_over_for_validation(tmp_path: Path, layout: str, absent: Any) -> None:
    folder = _hugging_face(tmp_path / "set", layout, train=[1, 2], validation=[3, 4], test=absent)
    source = open_data(str(folder), Role.TEST)
    assert [item.label for item in source.items()] == [3, 4]
    assert source.notes == (f"{folder}: test has no labels, so validation is read",)
    assert [item.label for item in open_data(str(folder), Role.TRAIN).items()] == [1, 2]


def test_a_split_can_be_named(tmp_path: Path) -> None:
    folder = _hugging_face(tmp_path / "set", LAYOUTS[0], train=[1, 2], validation=[3, 4], test=[-1, 5])
    assert [item.label for item in open_data(f"{folder}:validation", Role.TRAIN).items()] == [3, 4]
    assert [item.label for item in open_data(f"{folder}:train", Role.TEST).items()] == [1, 2]
    assert len(open_data(str(folder), Role.TEST)) == len(open_data(f"{folder}:test", Role.TEST)) == 2
    with pytest.raises(DeployError, match="has no split 'dev': expected one of test, train, validation"):
        open_data(f"{folder}:dev", Role.TEST)


def test_a_pattern_names_files(tmp_path: Path) -> None:
    folder = _hugging_face(tmp_path, "data/{}-0.parquet", train=[1, 2], test=[3, 4])
    source = open_data(f"{folder}/data/{{test,train}}-{{0..0}}.parquet", Role.TEST)
    assert [item.label for item in source.items()] == [3, 4, 1, 2]
    with pytest.raises(DeployError, match="names 2 shards, and 1 are missing"):
        open_data(f"{folder}/data/train-{{0..1}}.parquet", Role.TEST)


def test_a_file_has_no_split(parquet_file: Path) -> None:
    with pytest.raises(DeployError, match="has no split 'val': expected a folder of parquet files named by their"):
        open_data(f"{parquet_file}:val", Role.TEST)


@pytest.mark.parametrize("label", [-1, 2**31])
def test_a_label_that_can_be_no_class_is_named(tmp_path: Path, label: int) -> None:
    path = _write(tmp_path / "a.parquet", img=[b"", b""], label=[0, label])
    with pytest.raises(DeployError, match=f"row 1 has label {label}: expected a class index"):
        list(open_data(str(path), Role.TEST).items())


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_damaged(parquet_file: Path, fraction: float) -> None:
    content = parquet_file.read_bytes()
    parquet_file.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(DeployError, match=r"digits\.parquet is damaged .*: expected an intact parquet file"):
        open_data(str(parquet_file), Role.TEST)


def test_without_pyarrow_the_extra_is_named(parquet_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MachineError, match=r"reading parquet files needs pyarrow.*pip install 'pyarrow>"):
        open_data(str(parquet_file), Role.TEST)


def test_a_large_row_group_is_never_in_memory(tmp_path: Path) -> None:
    rows = [np.random.default_rng(0).bytes(2**15)] * 2000
    table = pa.table({"img": rows, "label": list(range(2000))})
    path = tmp_path / "large.parquet"
    # One page is read at a time, so its size counts too: pyarrow writes 1024 rows a page by default.
    pq.write_table(table, path, row_group_size=2000, compression="none", use_dictionary=False, write_batch_size=32)
    del table
    assert path.stat().st_size > 60e6
    before, arrow_peak = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    try:
        for item in open_data(str(path), Role.TEST).items():
            assert item.label is not None
            arrow_peak = max(arrow_peak, pa.total_allocated_bytes() - before)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10e6
    assert arrow_peak < 20e6


def test_the_real_test_images_can_all_be_read(shared_data: Path) -> None:
    source = open_data(str(shared_data / "cifar10"), Role.TEST)
    batches = list(Batches(source, PLAIN, 500))
    labels = np.concatenate([batch.labels for batch in batches])
    assert np.bincount(labels).tolist() == [1000] * 10
    with np.load(shared_data / "cifar10" / "test-exact-1017.npz") as arrays:
        exact = arrays["images"][:1000].astype(np.float64)
    read = np.concatenate([batch.images for batch in batches[:2]])
    psnr = 10 * np.log10(255**2 / np.mean((read - exact) ** 2))
    assert psnr > 29  # JPEG at quality 75
