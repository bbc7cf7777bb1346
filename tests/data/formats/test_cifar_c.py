"""CIFAR-10-C's arrays: corruptions and severities, all or one, and what was read is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.made import Pixels
from wrn_deploy.data import Role, open_data
from wrn_deploy.errors import DeployError

LABELS = np.arange(40) % 10


@pytest.fixture
def folder(tmp_path: Path, digit_images: Pixels) -> Path:
    """Two corruptions with five severities of 8 images; those of fog are inverted."""
    root = tmp_path / "CIFAR-10-C"
    root.mkdir()
    np.save(root / "blur.npy", digit_images[:40])
    np.save(root / "fog.npy", 255 - digit_images[:40])
    np.save(root / "labels.npy", LABELS)
    return root


@pytest.mark.parametrize(
    ("split", "files", "start", "end"),
    [
        ("", ["blur", "fog"], 0, 40),
        (":fog", ["fog"], 0, 40),
        (":fog-1", ["fog"], 0, 8),
        (":blur-5", ["blur"], 32, 40),
        (":3", ["blur", "fog"], 16, 24),
        ("/fog.npy", ["fog"], 0, 40),
        ("/fog.npy:2", ["fog"], 8, 16),
    ],
)
def test_corruptions_and_severities_are_chosen(
    folder: Path, digit_images: Pixels, split: str, files: list[str], start: int, end: int
) -> None:
    source = open_data(f"{folder}{split}", Role.TEST)
    items = list(source.items())
    assert [item.name for item in items] == [f"{file}.npy image {n}" for file in files for n in range(start, end)]
    assert [item.label for item in items] == LABELS[start:end].tolist() * len(files)
    pixels = {"blur": digit_images, "fog": 255 - digit_images}
    expected = np.concatenate([pixels[file][start:end] for file in files])
    np.testing.assert_array_equal(np.stack([item.load() for item in items]), expected)
    assert len(source) == len(items)
    assert source.name == f"{folder}{split}"


def test_what_is_read_is_said_unless_one_severity_is_chosen(folder: Path) -> None:
    (note,) = open_data(str(folder), Role.TEST).notes
    assert note.endswith(f"reads all 2 corruptions at all 5 severities; choose one, such as {folder}:blur-3")
    (note,) = open_data(f"{folder}:fog", Role.TEST).notes
    assert note.endswith(f"reads fog at all 5 severities; choose one, such as {folder}:fog-3")
    (note,) = open_data(f"{folder}/fog.npy", Role.TEST).notes
    assert note.endswith(f"choose one, such as {folder}/fog.npy:3")
    assert open_data(f"{folder}:fog-3", Role.TEST).notes == ()


@pytest.mark.parametrize("split", ["snow", "fog-6", "fog-0", "fog-", "6", "test"])
def test_a_corruption_that_is_not_there_is_an_error(folder: Path, split: str) -> None:
    with pytest.raises(DeployError, match=rf"has no split '{split}': expected a corruption.*there are blur, fog"):
        open_data(f"{folder}:{split}", Role.TEST)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("labels", LABELS[:39], "40 images and .* 39 labels"),
        ("labels", LABELS.astype(float), "float64 array .*: expected integers"),
        ("labels", LABELS - 1, "entry 0 has label -1"),
        (
            "blur",
            np.zeros((40, 3, 32, 32), np.uint8),
            r"\(40, 3, 32, 32\): expected uint8 \(N, 32, 32, 3\)",
        ),
        ("blur", np.zeros((40, 32, 32, 3)), "float64 array"),
        ("blur", np.zeros((41, 32, 32, 3), np.uint8), "41 images and .* 40 labels"),
        ("blur", np.asfortranarray(np.zeros((40, 32, 32, 3), np.uint8)), "Fortran order"),
        ("blur", np.array([None] * 40), "object array"),
    ],
)
def test_arrays_that_are_not_as_expected_are_named(folder: Path, name: str, array: Pixels, words: str) -> None:
    np.save(folder / f"{name}.npy", array)
    with pytest.raises(DeployError, match=f"{name}.*{words}|{words}"):
        open_data(str(folder), Role.TEST)


@pytest.mark.parametrize("name", ["blur", "labels"])
def test_a_truncated_file_is_damaged(folder: Path, name: str) -> None:
    file = folder / f"{name}.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DeployError, match=rf"{name}\.npy is damaged"):
        list(open_data(str(folder), Role.TEST).items())
