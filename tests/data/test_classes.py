"""Class indices of a source are matched with the network's by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.data.made import Pixels, encode
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.classes import match_classes
from wrn_deploy.errors import DeployError
from wrn_deploy.spec import ModelSpec, Preprocessing

SPEC = ModelSpec(
    name="wrn-10-1",
    family="wrn",
    depth=10,
    widen=1,
    classes=10,
    preprocessing=Preprocessing(height=32, width=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
)
NAMED = dataclasses.replace(SPEC, labels=tuple("0123456789"))


@pytest.fixture
def sevens_and_threes(tmp_path: Path, digit_images: Pixels, digit_labels: list[int]) -> Path:
    for index, (image, label) in enumerate(zip(digit_images, digit_labels, strict=True)):
        if label in (3, 7):
            folder = tmp_path / "some" / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{index}.png").write_bytes(encode(image))
    return tmp_path / "some"


def test_some_of_the_classes_get_the_networks_indices_by_name(sevens_and_threes: Path) -> None:
    source = open_data(str(sevens_and_threes), Role.TEST)
    assert {item.label for item in source.items()} == {0, 1}
    matched = match_classes(source, NAMED)
    assert {item.label for item in matched.items()} == {3, 7}
    assert all(f"/{item.label}/" in f"/{item.name}" for item in matched.items())
    assert len(matched) == len(source)
    assert matched.labels == NAMED.labels


def test_a_random_order_keeps_image_and_class_together(sevens_and_threes: Path) -> None:
    matched = match_classes(open_data(str(sevens_and_threes), Role.TEST), NAMED)
    shuffled = list(matched.items(np.random.default_rng(0)))
    assert [item.name for item in shuffled] != [item.name for item in matched.items()]
    assert {(item.name, item.label) for item in shuffled} == {(item.name, item.label) for item in matched.items()}


def test_equal_names_and_plain_indices_are_left_alone(npz_file: Path) -> None:
    digits = open_data("digits", Role.TEST)
    assert match_classes(digits, NAMED) is digits
    plain = open_data(str(npz_file), Role.TEST)
    assert match_classes(plain, NAMED) is plain


def test_as_many_names_as_a_network_without_names_has_classes_are_taken_in_order() -> None:
    digits = open_data("digits", Role.TEST)
    assert match_classes(digits, SPEC) is digits


def test_fewer_names_than_a_network_without_names_has_classes_are_refused(sevens_and_threes: Path) -> None:
    source = open_data(str(sevens_and_threes), Role.TEST)
    with pytest.raises(DeployError, match=r"2 named classes.*wrn-10-1 has 10 without names.*--labels"):
        match_classes(source, SPEC)


def test_names_that_the_network_does_not_have_are_refused() -> None:
    spec = dataclasses.replace(SPEC, labels=tuple("abcdefghij"))
    with pytest.raises(
        DeployError, match=r"10 classes that wrn-10-1 does not have \(0, 1, 2\).*expected some of a, b, c"
    ):
        match_classes(open_data("digits", Role.TEST), spec)


def test_a_name_that_two_of_the_networks_classes_share_is_refused() -> None:
    spec = dataclasses.replace(SPEC, labels=(*"012345678", "1"))
    with pytest.raises(DeployError, match=r"several classes named '1'"):
        match_classes(open_data("digits", Role.TEST), spec)
