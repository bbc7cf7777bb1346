"""Numbers as labels and as class names: never sorted as text where they are indices."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.made import labels_of, save_image
from tests.data.properties import quickly
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.labels import are_indices, class_index, order_names, sort_naturally
from wrn_deploy.errors import DeployError


@pytest.mark.parametrize(
    ("value", "index"),
    [
        ("10", 10), ("10.0", 10), ("10.", 10), ("010", 10), (" 7\n", 7), (7, 7), (7.0, 7), (0, 0), ("-0", 0),
        ("1.5", None), (1.5, None), ("cat", None), ("", None), (True, None), (None, None), ([1], None), ("1e1", None),
        (float("nan"), None), (float("inf"), None), ("\u0661", None), ("1_0", None), ("+1", None),
    ],
)  # fmt: skip
def test_a_class_index_is_a_whole_number(value: object, index: int | None) -> None:
    assert class_index(value, "a.png") == index


@pytest.mark.parametrize("value", ["-1", -1, -1.0, "99999999999", 2**31, "9" * 19, "9" * 5000, "-" + "9" * 5000])
def test_a_whole_number_that_can_be_no_class_is_named(value: object) -> None:
    with pytest.raises(DeployError, match=r"a\.png has (a )?label .*: expected a class index from 0"):
        class_index(value, "a.png")


@quickly
@given(st.integers(1, 300), st.integers(0, 4), st.randoms(use_true_random=False))
def test_names_that_are_0_to_n_are_their_own_indices(count: int, width: int, order: random.Random) -> None:
    names = [f"{number:0{width}}" for number in range(count)]
    order.shuffle(names)
    assert are_indices(names)
    assert [int(name) for name in order_names(names)] == list(range(count))


@pytest.mark.parametrize(
    "names", [("1", "2", "10"), ("0", "00"), ("0", "2"), ("0", "cat"), ("-1", "0"), ("\u0660", "1"), ("0", "1.0")]
)
def test_other_names_are_sorted_as_text(names: tuple[str, ...]) -> None:
    assert not are_indices(names)
    assert order_names(names) == tuple(sorted(names))


@pytest.mark.parametrize(
    ("names", "natural", "are_numbers"),
    [
        (["1", "10", "2"], ["1", "2", "10"], True),
        (["10.5", "2.5", "-1"], ["-1", "2.5", "10.5"], True),
        (["class 10", "class 2"], ["class 2", "class 10"], False),
        (["n01440764", "n02012849"], ["n01440764", "n02012849"], False),
        (["b", "Cat", "a1"], ["Cat", "a1", "b"], False),
        (["7", "cat"], ["7", "cat"], False),
    ],
)
def test_names_are_sorted_by_the_numbers_in_them(names: list[str], natural: list[str], are_numbers: bool) -> None:
    assert sort_naturally(names) == (natural, are_numbers)


@pytest.mark.parametrize("width", [0, 2, 5])
def test_class_folders_0_to_11_are_their_own_indices(tmp_path: Path, width: int) -> None:
    for number in range(12):
        save_image(tmp_path / f"{number:0{width}}" / "a.png")
    assert [label for _, label in labels_of(tmp_path)] == list(range(12))
    assert all(label == int(name.partition("/")[0]) for name, label in labels_of(tmp_path))


def test_numbers_written_as_floats_are_indices_in_a_label_file(tmp_path: Path) -> None:
    """The column of pandas that once had a gap."""
    for number in range(12):
        save_image(tmp_path / f"{number}.png")
    rows = "".join(f"{number}.png,{number}.0\n" for number in range(12))
    for column in ("label", "class", "class_index"):
        (tmp_path / "labels.csv").write_text(f"file,{column}\n{rows}")
        assert labels_of(tmp_path) == [(f"{number}.png", number) for number in range(12)]
        assert open_data(str(tmp_path), Role.TEST).labels == ()
