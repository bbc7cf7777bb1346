"""What is counted of answers; which changed images are kept, and that they get their own names and pixels."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.bench.measuring.test_accuracy import HOW, SPEC, Oracle, Source, answers_of, made_answers
from wrn_deploy.bench.measuring.accuracy import LogitErrors
from wrn_deploy.bench.measuring.exact_sum import ExactSum
from wrn_deploy.bench.measuring.scoring import find_changes, look_up, score, score_all, to_png
from wrn_deploy.bench.report.scores import ChangedImage, ClassScore
from wrn_deploy.data.preprocess import Batches

LABELLED = dataclasses.replace(SPEC, labels=("ant", "bee", "cat", "dog", "eel"))


def test_classes_without_images_are_left_out() -> None:
    given = made_answers([0, 1, 1, 4, 0], [0, 0, 1, 4, 4])
    scored = (ClassScore("ant", 2, 1), ClassScore("bee", 1, 1), ClassScore("eel", 2, 1))
    assert score(given, None, LABELLED).classes == scored
    assert score(given, None, SPEC).classes[0].label == "0"
    assert score(given, None).classes == ()


def test_changed_images_are_found_and_counted() -> None:
    reference, given = made_answers([0, 1, 2, 3], [0, 0, 2, 2]), made_answers([0, 2, 2, 2], [0, 0, 2, 2])
    assert find_changes(given, reference) == [1, 3]
    assert find_changes(reference, reference) == []
    assert score(given, reference).changed_count == 2
    assert score(given, None).changed_count == 0


@pytest.mark.parametrize("changed", [1, 11, 12, 13, 50, 100])
def test_of_many_changed_images_some_are_kept_from_all_over_the_data(changed: int) -> None:
    labels = [0] * 100
    given, reference = made_answers([1] * changed + [0] * (100 - changed), labels), made_answers(labels, labels)
    kept = find_changes(given, reference)
    assert len(kept) == len(set(kept)) == min(12, changed)
    assert kept == sorted(kept)
    assert kept[0] == 0
    assert kept[-1] >= changed * 11 // 12


def test_errors_are_reported_for_all_but_the_reference_itself() -> None:
    reference, quarters = made_answers([0], [0]), ExactSum()
    quarters.add(np.array([0.0, 0.5]))
    given = dataclasses.replace(reference, errors=LogitErrors(0.5, quarters))
    assert (score(given, reference).max_error, score(given, reference).mean_error) == (0.5, 0.25)
    assert (score(given, given).max_error, score(given, given).mean_error) == (None, None)


def test_top5_is_the_number_of_images() -> None:
    given = dataclasses.replace(made_answers([0, 0, 0], [0, 1, 2]), in_top5=np.array([True, True, False]))
    assert score(given, None).correct5 == 2
    assert score(given, None).top5 == pytest.approx(2 / 3)


def pixels(png: str) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        return np.asarray(picture)


def test_names_and_pixels_are_those_that_were_asked_for() -> None:
    source = Source([0] * 9, corrupt=(1, 4))
    answers = answers_of(Oracle(), source, 4, max_corrupt=2)
    asked = np.concatenate([batch.images for batch in Batches(source, HOW, 4, max_corrupt=2)])
    shown = look_up(source, HOW, answers, {0, 1, 4, 6}, pictures=True)
    assert {index: name for index, (name, _) in shown.items()} == {0: "0.png", 1: "2.png", 4: "6.png", 6: "8.png"}
    for index, (_, png) in shown.items():
        np.testing.assert_array_equal(pixels(png), asked[index])


def test_no_other_image_is_decoded() -> None:
    source = Source([0] * 9)
    answers = answers_of(Oracle(), source, 4)
    loaded: list[int] = []
    whole = source._load
    source._load = lambda number: loaded.append(number) or whole(number)  # type: ignore[func-returns-value, method-assign]
    assert look_up(source, HOW, answers, (), pictures=True) == {}
    look_up(source, HOW, answers, (2, 5), pictures=True)
    assert loaded == [2, 5]


def test_images_that_are_no_longer_the_same_have_no_picture() -> None:
    source = Source([0] * 4)
    answers = answers_of(Oracle(), source, 4)
    others = dataclasses.replace(answers, images=(answers.images[0],) * 4)
    assert look_up(source, HOW, others, (3,), pictures=True) == {3: ("3.png", "")}
    assert look_up(Source([0] * 4, corrupt=(3,)), HOW, answers, (3,), pictures=True) == {}


def test_without_pictures_images_have_names_alone() -> None:
    source = Source([0] * 4)
    answers = answers_of(Oracle(), source, 4)
    assert look_up(source, HOW, answers, (1, 3), pictures=False) == {1: ("1.png", ""), 3: ("3.png", "")}


def test_changes_get_the_names_of_their_classes() -> None:
    source = Source([0] * 6, corrupt=(4,))
    reference = answers_of(Oracle(), source, 4, max_corrupt=1)
    other = dataclasses.replace(reference, predicted=reference.predicted.copy())
    other.predicted[[3, 4]] = (4, 2)
    scores = score_all({"a": reference, "b": other}, reference, source, LABELLED, pictures=True)
    assert scores["a"].changed == ()
    assert [dataclasses.replace(image, png="") for image in scores["b"].changed] == [
        ChangedImage(name="3.png", label="ant", before="dog", after="eel", png=""),
        ChangedImage(name="5.png", label="ant", before="ant", after="cat", png=""),
    ]
    assert (pixels(scores["b"].changed[0].png) == 3).all()
    assert score_all({"b": other}, None, source, LABELLED, pictures=True)["b"].changed_count == 0


@pytest.mark.parametrize(("shape", "size"), [((32, 32), (32, 32)), ((96, 60), (60, 96)), ((224, 112), (48, 96))])
def test_a_png_has_the_image_s_pixels_or_is_made_smaller(shape: tuple[int, int], size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    with Image.open(io.BytesIO(to_png(image, 96))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", size)
        if size == shape[::-1]:
            np.testing.assert_array_equal(np.asarray(picture), image)
