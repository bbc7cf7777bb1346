"""Streams out of parquet files, and errors that say why one cannot be read."""

from __future__ import annotations

import json
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
    with pytest.raises(DeployError, match=r"holds train\.parquet: expected a file whose name starts with test or val"):
        open_data(str(parquet_file.parent), Role.TEST)


def test_a_corrupt_image_is_named_by_file_and_row_and_passed_over_if_allowed(
    tmp_path: Path, digit_images: Pixels
) -> None:
    good = encode(digit_images[0])
    path = _write(tmp_path / "a.parquet", img=[good, good[:100], None, good], label=[0, 1, 2, 3])
    source = open_data(str(path), Role.TEST)
    items = list(source.items())
    with pytest.raises(CorruptImage, match=r"a\.parquet row 1 cannot be decoded .*: expected a whole image file"):
        items[1].load()
    with pytest.raises(CorruptImage, match=r"a\.parquet row 2 cannot be decoded \(no known image format\)"):
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
        ({"img": [b""], "label": ["cat"]}, "has label of type string: expected whole numbers"),
    ],
)
def test_columns_that_are_not_as_expected_are_named(tmp_path: Path, columns: dict[str, Any], text: str) -> None:
    path = _write(tmp_path / "a.parquet", **columns)
    with pytest.raises(DeployError, match=text):
        open_data(str(path), Role.TEST)


@pytest.mark.parametrize("label", [-1, 2**31])
def test_a_label_that_can_be_no_class_is_named(tmp_path: Path, label: int) -> None:
    path = _write(tmp_path / "a.parquet", img=[b"", b""], label=[0, label])
    with pytest.raises(DeployError, match=f"row 1 has label {label}: expected a class index"):
        list(open_data(str(path), Role.TEST).items())


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_damaged(parquet_file: Path, fraction: float) -> None:
    content = parquet_file.read_bytes()
    parquet_file.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(DeployError, match=r"digits\.parquet is damaged .*: expected a whole parquet file"):
        open_data(str(parquet_file), Role.TEST)


def test_without_pyarrow_the_extra_is_named(parquet_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MachineError, match=r"reading parquet files needs pyarrow.*wrn-deploy\[parquet\]"):
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
