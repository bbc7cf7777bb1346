"""A split is found in the names of files, chosen by the role or by name, and passed over if it has no labels."""

from __future__ import annotations

import pytest

from wrn_deploy.data import Role
from wrn_deploy.data.splits import choose_role, choose_split, find_word
from wrn_deploy.errors import DeployError


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("train-00000-of-00014.parquet", "train"),
        ("data/validation-00000-of-00001.parquet", "validation"),
        ("plain_text/test/0000.parquet", "test"),
        ("imagenet-VAL-000.tar", "val"),
        ("x.valid.tgz", "valid"),
        ("latest-0.tar", None),
        ("trainer.tar", None),
        ("digits-000.tar", None),
    ],
)
def test_a_split_is_a_word_of_the_name(name: str, word: str | None) -> None:
    assert find_word(name) == word


@pytest.mark.parametrize(
    ("found", "role", "split", "chosen"),
    [
        (["train", "test", "val"], Role.TRAIN, None, "train"),
        (["train", "test", "val"], Role.TEST, None, "test"),
        (["train", "validation"], Role.TEST, None, "validation"),
        (["train", "test", "val"], Role.TEST, "val", "val"),
        (["train", "test", "val"], Role.TEST, "Validation", "val"),
        (["train", "test", "val"], Role.TEST, "TRAIN", "train"),
        (["training"], Role.TRAIN, "train", "training"),
    ],
)
def test_the_role_or_the_name_chooses(found: list[str], role: Role, split: str | None, chosen: str) -> None:
    choice = choose_split(found, role, split, "set")
    assert choice.split == chosen
    assert choice.notes == ()


@pytest.mark.parametrize(
    ("labelled", "chosen", "notes"),
    [
        ({"test", "val"}, "test", ()),
        ({"val"}, "val", ("set: test has no labels, so val is read",)),
        (set(), "test", ()),
    ],
)
def test_a_split_without_labels_is_passed_over_and_that_is_said(
    labelled: set[str], chosen: str, notes: tuple[str, ...]
) -> None:
    choice = choose_split(["train", "test", "val"], Role.TEST, None, "set", labelled.__contains__)
    assert (choice.split, choice.notes) == (chosen, notes)


def test_a_split_asked_for_by_name_is_taken_without_labels() -> None:
    assert choose_split(["test", "val"], Role.TEST, "test", "set", lambda _: False).split == "test"


def test_a_split_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DeployError, match="set has no split 'dev': expected one of test, train"):
        choose_split(["train", "test"], Role.TEST, "dev", "set")
    with pytest.raises(DeployError, match=r"set has only the split val: expected one of train, .*; give set:val to"):
        choose_split(["val"], Role.TRAIN, None, "set")


def test_a_set_with_one_split_a_role_takes_their_names() -> None:
    assert choose_role(Role.TEST, None, "set") is Role.TEST
    assert choose_role(Role.TEST, "train", "set") is Role.TRAIN
    with pytest.raises(DeployError, match="set has no split 'val': expected one of test, train"):
        choose_role(Role.TEST, "val", "set")
