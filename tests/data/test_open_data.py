"""Every format keeps the same promises, and an error describes data in no known format."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.data.made import WRITTEN, Pixels
from tests.data.properties import quickly
from wrn_deploy import data
from wrn_deploy.data import ImageSource, Role, check_label, open_data
from wrn_deploy.errors import DamagedFile, DeployError


@pytest.fixture(params=("digits", *WRITTEN))
def source(request: pytest.FixtureRequest) -> ImageSource:
    name = request.param if request.param == "digits" else str(request.getfixturevalue(request.param))
    return open_data(name, Role.TRAIN)


def _names(source: ImageSource, order: np.random.Generator | None = None) -> list[str]:
    return [item.name for item in source.items(order)]


def test_a_source_gives_as_many_images_as_it_says_again_and_again(source: ImageSource) -> None:
    assert len(_names(source)) == len(source)
    assert len(set(_names(source))) == len(source)
    assert _names(source) == _names(source)


def test_a_random_order_is_a_permutation_that_the_seed_gives(source: ImageSource) -> None:
    mixed = _names(source, np.random.default_rng(3))
    assert sorted(mixed) == sorted(_names(source))
    assert mixed != _names(source)
    assert mixed == _names(source, np.random.default_rng(3))
    assert mixed != _names(source, np.random.default_rng(4))


def test_a_second_epoch_of_one_generator_is_another_order(source: ImageSource) -> None:
    order = np.random.default_rng(3)
    assert _names(source, order) != _names(source, order)


def test_an_image_keeps_its_pixels_and_label_in_any_order(source: ImageSource) -> None:
    straight = {item.name: (item.label, item.load().tobytes()) for item in source.items()}
    mixed = {item.name: (item.label, item.load().tobytes()) for item in source.items(np.random.default_rng(0))}
    assert straight == mixed


def test_an_order_is_drawn_before_the_first_image(source: ImageSource) -> None:
    """So that it does not depend on how far ahead images are taken."""
    order = np.random.default_rng(3)
    items = source.items(order)
    next(items)
    drawn = order.bit_generator.state
    list(items)
    assert order.bit_generator.state == drawn


def test_images_are_rgb_bytes(source: ImageSource) -> None:
    image = next(iter(source.items())).load()
    assert image.dtype == np.uint8
    assert image.shape == (32, 32, 3)


def test_two_passes_can_go_on_at_once(source: ImageSource) -> None:
    pairs = zip(source.items(), source.items(), strict=True)
    assert all(first.name == second.name for first, second in pairs)


@pytest.mark.parametrize("fixture", WRITTEN)
def test_every_format_gives_the_pixels_that_were_written(
    fixture: str, request: pytest.FixtureRequest, digit_images: Pixels
) -> None:
    source = open_data(str(request.getfixturevalue(fixture)), Role.TRAIN)
    written = sorted(image.tobytes() for image in digit_images[: len(source)])
    assert sorted(item.load().tobytes() for item in source.items()) == written


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(DeployError, match=re.escape("no data at 'digit' (did you mean digits?)")):
        open_data("digit", Role.TEST)


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"no data at '.*nowhere'.*expected a path, or a built-in data set: digits"):
        open_data(str(tmp_path / "nowhere"), Role.TEST)


def test_an_empty_folder_is_not_data(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="is not a readable data set: expected an image folder"):
        open_data(str(tmp_path), Role.TEST)


@pytest.mark.parametrize("content", [b"", b"P", b"hello, world", b"PK\x05\x06" + bytes(18)])
def test_a_file_of_no_known_format_is_not_data(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(DeployError, match="is not a readable data set"):
        open_data(str(tmp_path / "data.npz"), Role.TEST)


def test_a_format_is_recognised_by_its_content_whatever_its_name(npz_file: Path, parquet_file: Path) -> None:
    for path in (npz_file, parquet_file):
        assert len(open_data(str(path.rename(path.with_suffix(".data"))), Role.TEST)) == 48


def test_a_set_without_images_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz", images=np.zeros((0, 32, 32, 3), dtype=np.uint8))
    with pytest.raises(DeployError, match="contains no images: expected at least one"):
        open_data(str(tmp_path / "none.npz"), Role.TEST)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x28\xb5\x2f\xfd" + bytes(30), "compressed with zstd, which is not supported: unpack it with `zstd -d`"),
        (b"BZh91AY", "compressed with bzip2"),
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"PK\3\4" + bytes(26), "a zip file without arrays, which is not supported: unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not the file itself"),
        (b"\n <!DOCTYPE html>", "an HTML page: the download failed"),
        (b"ARROW1\0\0", "an Arrow file"),
        (b"\x89HDF\r\n", "an HDF5 file"),
    ],
)
@pytest.mark.parametrize("name", ["x.tar", "x.tar.zst", "set/x-000.tar.zst"])
def test_a_known_file_of_another_kind_is_told(tmp_path: Path, content: bytes, words: str, name: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / name).write_bytes(content)
    place = tmp_path / name.partition("/")[0]
    with pytest.raises(DeployError, match=rf"is not a readable data set \((x-000\.tar\.zst is )?{re.escape(words)}"):
        open_data(str(place), Role.TEST)


@pytest.mark.parametrize("name", ["train-0.parquet", "train-0.tar"])
@pytest.mark.parametrize(
    ("content", "words"),
    [(b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"), (b"", "an empty file")],
)
def test_a_pointer_instead_of_a_shard_is_told(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """As after a clone of a repository without its large files."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedFile, match=rf"{name} is {words}"):
        open_data(str(tmp_path), Role.TRAIN)


def test_the_folder_that_torchvision_is_given_is_read(cifar10_python: Path, mnist_folder: Path) -> None:
    root = cifar10_python.parent
    (root / "cifar-10-python.tar.gz").write_bytes(b"the archive that torchvision leaves there")
    assert len(open_data(str(root), Role.TEST)) == len(open_data(str(cifar10_python), Role.TEST))
    (root / "MNIST").mkdir()
    mnist_folder.rename(root / "MNIST" / "raw")
    with pytest.raises(DeployError, match=r"contains 2 data sets: expected one; give .*-batches-py or .*MNIST/raw"):
        open_data(str(root), Role.TEST)


@pytest.mark.parametrize("fixture", ["cifar10_binary", "cifar100_python", "mnist_folder", "svhn_folder"])
def test_a_split_of_a_known_set_can_be_named(fixture: str, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue(fixture)
    train = len(open_data(f"{place}:train", Role.TEST))
    assert train >= 24
    assert len(open_data(f"{place}:test", Role.TRAIN)) == 8
    with pytest.raises(DeployError, match="has no split 'dev': expected one of"):
        open_data(f"{place}:dev", Role.TEST)
    if fixture == "svhn_folder":
        assert len(open_data(f"{place}:extra", Role.TEST)) == 16
    assert len(open_data("digits:train", Role.TEST)) == len(open_data("digits", Role.TRAIN))


def test_a_path_with_a_colon_is_a_path(tmp_path: Path, npz_file: Path) -> None:
    assert len(open_data(str(npz_file.rename(tmp_path / "a:train")), Role.TEST)) == 48
    with pytest.raises(DeployError, match="no data at"):
        open_data(f"{tmp_path}/nowhere:train", Role.TEST)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "a:" + "b" * 5000, "", ":", "digits:"])
def test_a_name_that_no_file_can_have_is_not_data(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeployError, match=r"no data at|is not a readable data set"):
        open_data(name, Role.TEST)


def test_the_example_of_open_data_runs() -> None:
    assert doctest.testmod(data) == doctest.TestResults(failed=0, attempted=2)


def test_opening_loads_no_optional_library() -> None:
    code = (
        "import sys; from wrn_deploy.data import open_data, Role; open_data('digits', Role.TEST); "
        "sys.exit(bool({'torch', 'pyarrow', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@quickly
@given(st.integers(-(2**40), 2**40))
@example(-1)
@example(0)
@example(2**31 - 1)
@example(2**31)
def test_a_class_index_is_from_0_to_2_to_the_31(label: int) -> None:
    if 0 <= label < 2**31:
        assert check_label(label, "a.png") == label
    else:
        with pytest.raises(DeployError, match=rf"a\.png has label {label}: expected a class index from 0 to 21474"):
            check_label(label, "a.png")
