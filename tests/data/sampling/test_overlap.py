"""A set of images knows which of other images it holds, and survives its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.made import Pixels
from wrn_deploy.data.sampling.digest import image_digest
from wrn_deploy.data.sampling.overlap import ImageSet, read_image_set
from wrn_deploy.errors import DeployError


def digests(images: Pixels) -> list[bytes]:
    return [image_digest(image) for image in images]


def test_it_counts_what_it_holds(digit_images: Pixels) -> None:
    known = ImageSet.of(digests(digit_images[:6]))
    assert len(known) == 6
    assert known.count(digests(digit_images[4:])) == 2
    assert known.count(digests(digit_images[6:])) == 0
    assert known.count(digests(digit_images[[0, 0, 7]])) == 2


def test_one_changed_pixel_is_another_image(digit_images: Pixels) -> None:
    changed = digit_images.copy()
    changed[:, 0, 0, 0] ^= 1
    assert ImageSet.of(digests(digit_images)).count(digests(changed)) == 0


def test_order_and_repetition_do_not_matter(digit_images: Pixels) -> None:
    found = digests(digit_images)
    assert ImageSet.of([*reversed(found), found[0]]).to_text() == ImageSet.of(found).to_text()


def test_the_file_gives_the_same_set(digit_images: Pixels, tmp_path: Path) -> None:
    known = ImageSet.of(digests(digit_images))
    (tmp_path / "images.txt").write_text(known.to_text(), encoding="ascii")
    assert read_image_set(tmp_path / "images.txt") == known


@pytest.mark.parametrize(
    "text",
    ["", "wrn-deploy images 2\n", "wrn-deploy images 1\n0011\n", "wrn-deploy images 1\nno digits here!!\n", "\xff"],
    ids=["empty", "other format", "cut off", "no digits", "no text"],
)
def test_a_damaged_file_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "images.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(DeployError, match=r"images\.txt is not a list of images.*calibrate again"):
        read_image_set(tmp_path / "images.txt")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="No such file"):
        read_image_set(tmp_path / "images.txt")
