"""Streams out of .npz files, and errors that say why one cannot be read."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.damage import peak_of_reading
from tests.data.made import Pixels
from wrn_deploy.data import Role, open_data
from wrn_deploy.errors import DeployError

GOOD = np.zeros((3, 4, 5, 3), dtype=np.uint8)


def _open(path: Path, **arrays: Any) -> Any:
    np.savez(path / "set.npz", **arrays)
    return open_data(str(path / "set.npz"), Role.TEST)


def test_images_and_labels_come_in_the_order_of_the_file(
    npz_file: Path, digit_images: Pixels, digit_labels: list[int]
) -> None:
    source = open_data(str(npz_file), Role.TEST)
    items = list(source.items())
    np.testing.assert_array_equal(np.stack([item.load() for item in items]), digit_images)
    assert [item.label for item in items] == digit_labels
    assert items[5].name == "digits.npz image 5"
    assert source.mirror


def test_grey_images_become_rgb_and_are_not_mirrored(tmp_path: Path, digit_images: Pixels) -> None:
    source = _open(tmp_path, images=digit_images[..., 0])
    np.testing.assert_array_equal(np.stack([item.load() for item in source.items()]), digit_images)
    assert {item.label for item in source.items()} == {None}
    assert not source.mirror


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint64, np.int16])
def test_labels_may_be_whole_numbers_of_any_type(tmp_path: Path, dtype: type[np.integer]) -> None:
    source = _open(tmp_path, images=GOOD, labels=np.array([0, 99, 7], dtype=dtype))
    assert [item.label for item in source.items()] == [0, 99, 7]


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"pictures": GOOD, "y": GOOD}, "contains pictures, y: expected `images`, uint8"),
        ({"images": GOOD.astype(np.float32)}, r"`images` of float32 \(3, 4, 5, 3\): expected `images`, uint8"),
        (
            {"images": GOOD.transpose(0, 3, 1, 2).copy()},
            r"`images` of uint8 \(3, 3, 4, 5\), channels first: .*transpose\(",
        ),
        ({"images": GOOD[0, 0]}, r"`images` of uint8 \(5, 3\): expected"),
        ({"images": GOOD[:, :0]}, r"`images` of uint8 \(3, 0, 5, 3\): expected"),
        ({"images": np.asfortranarray(GOOD)}, "Fortran order: expected C order"),
        ({"images": np.array([GOOD[0], None], dtype=object)}, "`images` of object"),
        ({"images": GOOD, "labels": np.arange(4)}, "3 images and 4 labels: expected one label per image"),
        ({"images": GOOD, "labels": np.ones((3, 3))}, r"`labels` of float64 \(3, 3\) that is not one-hot: expected"),
        ({"images": GOOD, "labels": np.array([[0, 2], [1, 0], [0, 1]])}, "that is not one-hot"),
        ({"images": GOOD, "labels": np.zeros((3, 1))}, r"`labels` of float64 \(3, 1\): expected"),
        ({"images": GOOD, "labels": np.zeros((3, 1, 1), dtype=int)}, r"`labels` of int64 \(3, 1, 1\): expected"),
        ({"x_train": GOOD, "y_train": np.arange(3)}, "has only the split train: expected one of test, val"),
        ({"images": GOOD, "labels": np.array(["a", "b", "c"])}, "`labels` of <U1"),
        ({"images": GOOD, "labels": np.array([1, None, 2], dtype=object)}, "`labels` of object"),
        ({"images": GOOD, "labels": np.array([1, 0, -1])}, "image 2 has label -1: expected a class index from 0 to"),
        ({"images": GOOD, "labels": np.array([1, 2**31, 0])}, "image 1 has label 2147483648: expected a class index"),
    ],
)
def test_arrays_that_are_not_as_expected_are_named(tmp_path: Path, arrays: dict[str, Any], text: str) -> None:
    with pytest.raises(DeployError, match=text):
        _open(tmp_path, **arrays)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([[2], [0], [1]]),
        np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
        np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=np.float32),
        np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=bool),
    ],
)
def test_labels_may_be_a_column_or_one_hot(tmp_path: Path, labels: Any) -> None:
    """As MedMNIST and Keras write them."""
    assert [item.label for item in _open(tmp_path, images=GOOD, labels=labels).items()] == [2, 0, 1]


@pytest.mark.parametrize(("images", "labels"), [("x_{}", "y_{}"), ("X_{}", "y_{}"), ("{}_images", "{}_labels")])
def test_the_role_or_the_name_chooses_among_splits(tmp_path: Path, images: str, labels: str) -> None:
    arrays = dict[str, Any]()
    for number, split in enumerate(("train", "val", "test")):
        arrays |= {images.format(split): GOOD + number, labels.format(split): np.full((3, 1), number)}
    assert {item.label for item in _open(tmp_path, **arrays).items()} == {2}
    for name, role, expected in (("", Role.TRAIN, 0), (":val", Role.TEST, 1), (":train", Role.TEST, 0)):
        source = open_data(f"{tmp_path}/set.npz{name}", role)
        assert [(item.label, int(item.load().max())) for item in source.items()] == [(expected, expected)] * 3
    with pytest.raises(DeployError, match="has no split 'dev': expected one of test, train, val"):
        open_data(f"{tmp_path}/set.npz:dev", Role.TEST)


def test_a_set_without_splits_says_so(npz_file: Path) -> None:
    with pytest.raises(DeployError, match=r"digits\.npz contains no split 'test', but images, labels"):
        open_data(f"{npz_file}:test", Role.TEST)


def test_grey_images_may_have_a_channel(tmp_path: Path, digit_images: Pixels) -> None:
    source = _open(tmp_path, images=digit_images[..., :1])
    np.testing.assert_array_equal(np.stack([item.load() for item in source.items()]), digit_images)
    assert not source.mirror


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_damaged(npz_file: Path, fraction: float) -> None:
    content = npz_file.read_bytes()
    npz_file.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(DeployError, match=r"digits\.npz is damaged .*: expected an intact \.npz file"):
        open_data(str(npz_file), Role.TEST)


def test_damage_inside_the_images_is_found_when_they_are_read(npz_file: Path) -> None:
    content = bytearray(npz_file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 100] = bytes(100)
    npz_file.write_bytes(content)
    source = open_data(str(npz_file), Role.TEST)
    with pytest.raises(DeployError, match=r"digits\.npz is damaged"):
        list(source.items())


def test_a_header_that_promises_more_images_than_there_are_is_found(tmp_path: Path) -> None:
    stream = BytesIO()
    np.save(stream, GOOD)
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive:
        archive.writestr("images.npy", stream.getvalue().replace(b"(3, 4, 5, 3)", b"(9, 4, 5, 3)"))
    with pytest.raises(DeployError, match=r"short\.npz is damaged \(it ends in image 3 of 9\)"):
        list(open_data(str(tmp_path / "short.npz"), Role.TEST).items())


@pytest.mark.parametrize("seed", [None, 0])
def test_a_large_set_is_never_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int | None) -> None:
    images = np.zeros((80, 512, 512, 3), dtype=np.uint8)
    np.savez_compressed(tmp_path / "large.npz", images=images)
    assert images.nbytes > 60e6
    assert peak_of_reading(tmp_path / "large.npz", seed, monkeypatch.setattr) < 10e6


def test_the_real_images_are_those_that_numpy_reads(shared_data: Path) -> None:
    path = shared_data / "cifar10" / "test-exact-1017.npz"
    items = list(open_data(str(path), Role.TEST).items())
    with np.load(path) as arrays:
        np.testing.assert_array_equal(np.stack([item.load() for item in items]), arrays["images"])
        np.testing.assert_array_equal([item.label for item in items], arrays["labels"])
