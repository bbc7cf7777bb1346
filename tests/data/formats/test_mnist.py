"""MNIST's idx files, plain and compressed, and errors that say why one cannot be read."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import write_idx
from tests.data.damage import errors_of_damage, peak_of_reading
from wrn_deploy.data import Role, open_data
from wrn_deploy.errors import DeployError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
DIGITS = np.array([3, 1, 4, 1, 5, 9], dtype=np.uint8)


@pytest.fixture(params=["", ".gz"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_idx(tmp_path / f"train-images-idx3-ubyte{request.param}", PIXELS)
    write_idx(tmp_path / f"train-labels-idx1-ubyte{request.param}", DIGITS)
    return tmp_path / f"train-images-idx3-ubyte{request.param}"


def test_small_images_get_a_black_border_and_three_equal_channels(images: Path) -> None:
    for name in (images, images.parent):
        source = open_data(str(name), Role.TRAIN)
        items = list(source.items())
        assert [item.label for item in items] == DIGITS.tolist()
        loaded = np.stack([item.load() for item in items])
        assert loaded.shape == (6, 32, 32, 3)
        np.testing.assert_array_equal(loaded[:, 2:-2, 2:-2, 1], PIXELS)
        assert int(loaded.sum()) == 3 * int(PIXELS.sum())
        assert not source.mirror


def test_the_names_with_a_dot_are_found_too(tmp_path: Path) -> None:
    write_idx(tmp_path / "t10k-images.idx3-ubyte", PIXELS)
    write_idx(tmp_path / "t10k-labels.idx1-ubyte", DIGITS)
    assert len(open_data(str(tmp_path), Role.TEST)) == 6


def test_images_of_another_size_stay_as_they_are(mnist_folder: Path) -> None:
    assert next(iter(open_data(str(mnist_folder), Role.TEST).items())).load().shape == (32, 32, 3)


def test_a_file_without_labels_beside_it_has_none(images: Path) -> None:
    alone = images.rename(images.with_name(f"pictures{images.suffix}"))
    assert {item.label for item in open_data(str(alone), Role.TEST).items()} == {None}


def test_what_a_folder_lacks_is_named(images: Path) -> None:
    with pytest.raises(DeployError, match="lacks t10k-images-idx3-ubyte: expected it there"):
        open_data(str(images.parent), Role.TEST)
    images.with_name(images.name.replace("images-idx3", "labels-idx1")).unlink()
    with pytest.raises(DeployError, match="lacks train-labels-idx1-ubyte: expected the labels of train-images-idx3"):
        open_data(str(images.parent), Role.TRAIN)


def _cut(content: bytes) -> bytes:
    return content[:-1]


def _more(content: bytes) -> bytes:
    return content + b"x"


def _floats(content: bytes) -> bytes:
    return content[:2] + b"\x0d" + content[3:]


@pytest.mark.parametrize(
    ("which", "change", "plain", "zipped"),
    [
        ("images-idx3", _cut, "has 4719 bytes: expected 4720 for 6 images", "is damaged (it ends in image 5 of 6)"),
        ("images-idx3", _more, "has 4721 bytes: expected 4720", "is damaged (there is more in it"),
        ("labels-idx1", _cut, "is damaged (it ends in its labels)", "is damaged (it ends in its labels)"),
        ("labels-idx1", _more, "is damaged (there is more in it", "is damaged (there is more in it"),
        ("labels-idx1", lambda content: content[:4] + b"\0\0\0\7" + content[8:], *["has 7 labels for 6 images"] * 2),
        ("labels-idx1", _floats, *["begins with 00000d01 instead of 00000801"] * 2),
    ],
)
def test_files_that_are_not_as_expected_are_named(
    images: Path, which: str, change: Callable[[bytes], bytes], plain: str, zipped: str
) -> None:
    path = images.with_name(images.name.replace("images-idx3", which))
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DeployError, match=re.escape(zipped if path.suffix else plain)):
        list(open_data(str(images), Role.TEST).items())


def test_a_file_of_labels_is_not_taken_for_images(images: Path) -> None:
    labels = images.with_name(images.name.replace("images-idx3", "labels-idx1"))
    with pytest.raises(DeployError, match="begins with 00000801 instead of 00000803"):
        open_data(str(labels), Role.TEST)


def test_a_truncated_or_damaged_file_is_read_or_called_so(images: Path) -> None:
    for truncate in (True, False):
        errors = errors_of_damage(images, images, truncate=truncate)
        assert all(str(images) in error for error in errors)
        assert len(errors) > (55 if truncate or images.suffix else 0)


@pytest.mark.parametrize("seed", [None, 0])
def test_a_large_set_is_never_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int | None) -> None:
    write_idx(tmp_path / "large.gz", np.zeros((800, 280, 280), dtype=np.uint8))
    assert peak_of_reading(tmp_path / "large.gz", seed, monkeypatch.setattr) < 8e6
