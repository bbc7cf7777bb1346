"""Class indices of a source are matched with the network's by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from tests.data.made import Pixels, encode, save_image
from wrn_deploy.data import OpenedSource, Role, open_data
from wrn_deploy.data.classes import match_classes
from wrn_deploy.data.imagenet_classes import class_names, ilsvrc_wnid
from wrn_deploy.data.sources import LazySource
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


def _numbered(folder: Path, names: Iterable[str]) -> OpenedSource:
    for name in names:
        save_image(folder / name / "a.png")
    return open_data(str(folder), Role.TEST)


def _nameless(classes: int) -> ModelSpec:
    return dataclasses.replace(SPEC, classes=classes)


def _match(source: OpenedSource, spec: ModelSpec) -> dict[str, int | None]:
    return {item.name.partition("/")[0]: item.label for item in match_classes(source, spec).items()}


@pytest.mark.parametrize("width", [0, 2])
def test_numbered_folders_have_their_own_indices_and_that_is_said(tmp_path: Path, width: int) -> None:
    names = [f"{number:0{width}}" for number in range(12)]
    matched = match_classes(_numbered(tmp_path, names), _nameless(12))
    assert _match(matched, _nameless(12)) == {name: int(name) for name in names}
    assert ("class names are numbers, so each is used as its own index" in "".join(matched.notes)) is (width == 0)


@pytest.mark.parametrize("names", [range(1, 13), range(0, 24, 2), [0.5, 2.5, 10.5, *range(9)], range(-6, 6)])
def test_other_numbers_are_not_sorted_as_text_in_silence(tmp_path: Path, names: Iterable[float]) -> None:
    source = _numbered(tmp_path, map(str, names))
    with pytest.raises(DeployError, match=r"has numbers as class names.*not numeric order.*--labels FILE"):
        match_classes(source, _nameless(12))


def test_numbers_whose_text_order_is_numeric_are_taken_in_it(tmp_path: Path) -> None:
    names = [f"{number:03}" for number in range(1, 13)]
    source = _numbered(tmp_path, names)
    assert _match(source, _nameless(12)) == {name: int(name) - 1 for name in names}
    assert match_classes(source, _nameless(12)).notes == ()


def test_the_networks_names_settle_the_order_of_numbers(tmp_path: Path) -> None:
    """Its training may have sorted them as text, as torchvision's folders do."""
    for first in (0, 1):
        names = sorted(str(number) for number in range(first, first + 12))
        source = _numbered(tmp_path / str(first), names)
        spec = dataclasses.replace(_nameless(12), labels=tuple(names))
        assert _match(source, spec) == {name: index for index, name in enumerate(names)}


def test_names_with_numbers_in_text_order_are_taken_and_that_is_said(tmp_path: Path) -> None:
    source = _numbered(tmp_path, [f"class_{number}" for number in range(12)])
    matched = match_classes(source, _nameless(12))
    assert matched.labels[:3] == ("class_0", "class_1", "class_10")
    assert "class names are in text order, with class_10 before class_2" in "".join(matched.notes)


def test_names_whose_order_the_file_gives_are_left_alone() -> None:
    source = LazySource(name="set", count=0, read=lambda _: iter(()), labels=("dog", "cat 10", "cat 9"))
    assert match_classes(source, _nameless(3)) is source


def test_numbers_in_the_order_of_a_file_are_refused_too() -> None:
    """Hugging Face's loader of folders sorts their names as text."""
    labels = tuple(sorted(str(number) for number in range(12)))
    source = LazySource(name="set", count=0, read=lambda _: iter(()), labels=labels)
    with pytest.raises(DeployError, match="in the order 0, 1, 10, 11, 2"):
        match_classes(source, _nameless(12))


def test_imagenet_v2_has_imagenets_indices(tmp_path: Path) -> None:
    labels = class_names([ilsvrc_wnid(index) for index in range(1000)])
    for index in range(1000):
        (tmp_path / str(index)).mkdir()
    for name in ("10", "100", "999"):
        save_image(tmp_path / name / "a.png")
    source = open_data(str(tmp_path), Role.TEST)
    for spec in (_nameless(1000), dataclasses.replace(_nameless(1000), labels=labels)):
        assert _match(source, spec) == {"10": 10, "100": 100, "999": 999}


def test_too_many_classes_are_named(tmp_path: Path) -> None:
    source = _numbered(tmp_path, [*"abcdefghij", "extra"])
    with pytest.raises(DeployError, match=r"has 11 named classes \(a, b, .*, extra, .*\), and wrn-10-1 has 10 without"):
        match_classes(source, SPEC)


def test_notes_are_kept(tmp_path: Path) -> None:
    save_image(tmp_path / "3" / "a.png")
    (tmp_path / "3" / "b.heic").write_bytes(b"x")
    assert "b.heic" in "".join(match_classes(open_data(str(tmp_path), Role.TEST), NAMED).notes)
