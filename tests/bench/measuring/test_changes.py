"""Changed images get the names and pixels that were asked for, though corrupt ones lie in between."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.bench.measuring.test_accuracy import HOW, Oracle, Source, answers_of
from tests.bench.measuring.test_scoring import LABELLED
from wrn_deploy.bench.measuring.changes import look_up, to_images, to_png
from wrn_deploy.bench.measuring.scoring import Change
from wrn_deploy.bench.report.scores import ChangedImage
from wrn_deploy.data.preprocess import Batches


def pixels(png: str) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        return np.asarray(picture)


def test_names_and_pixels_are_those_that_were_asked_for() -> None:
    source = Source([0] * 9, corrupt=(1, 4))
    answers = answers_of(Oracle(), source, 4, max_corrupt=2)
    asked = np.concatenate([batch.images for batch in Batches(source, HOW, 4, max_corrupt=2)])
    shown = look_up(source, HOW, answers, {0, 1, 4, 6})
    assert {index: name for index, (name, _) in shown.items()} == {0: "0.png", 1: "2.png", 4: "6.png", 6: "8.png"}
    for index, (_, png) in shown.items():
        np.testing.assert_array_equal(pixels(png), asked[index])


def test_no_other_image_is_decoded() -> None:
    source = Source([0] * 9)
    answers = answers_of(Oracle(), source, 4)
    loaded: list[int] = []
    whole = source._load
    source._load = lambda number: loaded.append(number) or whole(number)  # type: ignore[func-returns-value, method-assign]
    assert look_up(source, HOW, answers, ()) == {}
    look_up(source, HOW, answers, (2, 5))
    assert loaded == [2, 5]


def test_images_that_are_no_longer_the_same_have_no_picture() -> None:
    source = Source([0] * 4)
    answers = answers_of(Oracle(), source, 4)
    others = dataclasses.replace(answers, images=(answers.images[0],) * 4)
    assert look_up(source, HOW, others, (3,)) == {3: ("3.png", "")}
    assert look_up(Source([0] * 4, corrupt=(3,)), HOW, answers, (3,)) == {}


def test_without_pictures_images_have_names_alone() -> None:
    source = Source([0] * 4)
    answers = answers_of(Oracle(), source, 4)
    assert look_up(source, HOW, answers, (1, 3), pictures=False) == {1: ("1.png", ""), 3: ("3.png", "")}


def test_changes_get_the_names_of_their_classes() -> None:
    shown = {3: ("3.png", "aaaa")}
    changes = (Change(3, 0, 1, 4), Change(5, 0, 1, 2))
    assert to_images(changes, shown, LABELLED) == (
        ChangedImage(name="3.png", label="ant", before="bee", after="eel", png="aaaa"),
    )


@pytest.mark.parametrize(("shape", "size"), [((32, 32), (32, 32)), ((96, 60), (60, 96)), ((224, 112), (48, 96))])
def test_a_png_has_the_image_s_pixels_or_is_made_smaller(shape: tuple[int, int], size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    with Image.open(io.BytesIO(to_png(image, 96))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", size)
        if size == shape[::-1]:
            np.testing.assert_array_equal(np.asarray(picture), image)
