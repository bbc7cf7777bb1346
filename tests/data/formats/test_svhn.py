"""SVHN's .mat files, beside scipy's own reader, and errors that say why one cannot be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.damage import errors_of_damage, peak_of_reading
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.containers import mat_file
from wrn_deploy.errors import DeployError

io = pytest.importorskip("scipy.io")

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 5), dtype=np.uint8)
DIGITS = np.array([[1], [10], [9], [10], [2]], dtype=np.uint8)


def _save(path: Path, *, zipped: bool = True, **arrays: Any) -> Path:
    io.savemat(path, arrays, do_compression=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.int32])
def test_images_and_labels_are_those_that_scipy_reads(tmp_path: Path, zipped: bool, dtype: type[np.generic]) -> None:
    path = _save(tmp_path / "a.mat", zipped=zipped, X=PIXELS, y=DIGITS.astype(dtype), note="a text", cells=[1, "b"])
    items = list(open_data(str(path), Role.TEST).items())
    assert [item.label for item in items] == [1, 0, 9, 0, 2]
    np.testing.assert_array_equal(np.stack([item.load() for item in items], axis=-1), io.loadmat(path)["X"])
    assert items[3].name == "a.mat image 3"


def test_the_labels_may_come_first_and_one_image_is_a_set(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.mat", y=DIGITS[:1], X=PIXELS[..., 0])
    (item,) = open_data(str(path), Role.TEST).items()
    np.testing.assert_array_equal(item.load(), PIXELS[..., 0])


def test_training_takes_the_extra_images_where_they_are_there(svhn_folder: Path) -> None:
    source = open_data(str(svhn_folder), Role.TRAIN)
    assert (len(source), len(open_data(str(svhn_folder), Role.TEST))) == (40, 8)
    assert [item.name for item in source.items()][23:25] == ["train_32x32.mat image 23", "extra_32x32.mat image 0"]
    assert len(open_data(str(svhn_folder / "train_32x32.mat"), Role.TRAIN)) == 24
    (svhn_folder / "extra_32x32.mat").unlink()
    assert len(open_data(str(svhn_folder), Role.TRAIN)) == 24
    assert source.labels == tuple("0123456789")
    assert not source.mirror


def test_a_random_order_mixes_the_two_files(svhn_folder: Path) -> None:
    names = [item.name[:5] for item in open_data(str(svhn_folder), Role.TRAIN).items(np.random.default_rng(0))]
    assert len({*names[:12]}) == len({*names[-12:]}) == 2


def test_a_missing_split_is_an_error(svhn_folder: Path) -> None:
    (svhn_folder / "test_32x32.mat").unlink()
    with pytest.raises(DeployError, match=r"lacks test_32x32\.mat: expected it there"):
        open_data(str(svhn_folder), Role.TEST)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"images": PIXELS, "y": DIGITS}, "contains images, y: expected `X`, uint8 (32, 32, 3, N), and `y`"),
        ({"X": PIXELS.astype(np.float32), "y": DIGITS}, "`X` of float32 (32, 32, 3, 5): expected"),
        ({"X": PIXELS.transpose(3, 0, 1, 2), "y": DIGITS}, "`X` of uint8 (5, 32, 32, 3): expected"),
        ({"X": PIXELS, "y": DIGITS[:4]}, "5 images and `y` of uint8 (4, 1): expected"),
        ({"X": PIXELS, "y": "12345"}, "5 images and `y` of another kind: expected"),
        ({"X": PIXELS, "y": DIGITS + 1}, "image 1 has label 11: expected 1 to 10, where 10 is the digit 0"),
        ({"X": PIXELS, "y": DIGITS / 2}, "image 0 has label 0.5: expected 1 to 10"),
    ],
)
def test_arrays_that_are_not_as_expected_are_named(tmp_path: Path, arrays: dict[str, Any], text: str) -> None:
    with pytest.raises(DeployError, match=re.escape(text)):
        open_data(str(_save(tmp_path / "a.mat", **arrays)), Role.TEST)


def test_a_file_of_version_7_3_is_named_as_that(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512))
    with pytest.raises(DeployError, match=r"is a MAT file of version 7\.3: expected version 5; save it with -v7"):
        open_data(str(tmp_path / "a.mat"), Role.TEST)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_damaged(tmp_path: Path, zipped: bool) -> None:
    path = _save(tmp_path / "a.mat", zipped=zipped, X=PIXELS, y=DIGITS)
    errors = errors_of_damage(path, path, truncate=True)
    assert len(errors) == 60
    assert sum("is damaged" in error for error in errors) > 55


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_damaged_anywhere_is_read_or_called_so(tmp_path: Path, zipped: bool) -> None:
    path = _save(tmp_path / "a.mat", zipped=zipped, X=PIXELS, y=DIGITS)
    errors = errors_of_damage(path, path, truncate=False, tries=200)
    assert all(str(path) in error for error in errors)
    assert len(errors) > (150 if zipped else 2)  # zlib's checksum finds what plain pixels cannot


@pytest.mark.parametrize("byte", [145, 184, 185])  # of X's flags and of the type of its values; scipy ends with SIGSEGV
def test_every_damaged_type_number_is_an_error_or_harmless(tmp_path: Path, byte: int) -> None:
    path = _save(tmp_path / "a.mat", zipped=False, X=PIXELS, y=DIGITS)
    content, harmless = path.read_bytes(), 0
    for value in range(256):
        path.write_bytes(content[:byte] + bytes([value]) + content[byte + 1 :])
        try:
            items = list(open_data(str(path), Role.TEST).items())
        except DeployError:
            continue
        np.testing.assert_array_equal(np.stack([item.load() for item in items], axis=-1), PIXELS)
        harmless += 1
    assert 1 <= harmless < 256


def test_a_file_is_in_memory_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (160, 160, 3, 120), dtype=np.uint8)
    path = _save(tmp_path / "a.mat", X=pixels, y=np.ones((120, 1), dtype=np.uint8))
    assert pixels.nbytes < peak_of_reading(path, 0, monkeypatch.setattr) < 1.2 * pixels.nbytes + 4e6


def test_a_file_that_does_not_fit_in_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    path = _save(tmp_path / "a.mat", X=PIXELS, y=DIGITS)
    monkeypatch.setattr(mat_file, "_inflated", full)
    with pytest.raises(DeployError, match=r"a\.mat does not fit in memory: expected room for .* 1\.6 GB for SVHN"):
        open_data(str(path), Role.TEST)


def test_the_file_is_not_read_again_after_opening(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.mat", X=PIXELS, y=DIGITS)
    source = open_data(str(path), Role.TEST)
    path.unlink()
    assert [len(list(source.items())) for _ in range(2)] == [5, 5]
