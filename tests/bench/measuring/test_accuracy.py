"""Accuracy: every image is asked for once, in order; top-1 and agreement are what a count by hand gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy.bench.measuring.accuracy import Answers, LogitFile, ask, best_classes, fill, in_top
from wrn_deploy.bench.measuring.scoring import score
from wrn_deploy.data import CorruptImage, Item
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.data.sampling.digest import DataDigest
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import Backend
from wrn_deploy.spec import Interface, ModelSpec, Preprocessing, TensorSpec

HOW = Preprocessing(height=2, width=2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
SPEC = ModelSpec(name="oracle", family="none", depth=10, widen=1, classes=5, preprocessing=HOW)


class Source:
    """Image number n is grey of value n; the labels are given, and some images are corrupt."""

    def __init__(self, labels: list[int | None], corrupt: tuple[int, ...] = ()) -> None:
        self.name, self.mirror = "greys", False
        self.labels: tuple[str, ...] = ()
        self._labels, self._corrupt = labels, corrupt

    def __len__(self) -> int:
        return len(self._labels)

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        assert order is None
        for number, label in enumerate(self._labels):
            yield Item(f"{number}.png", label, partial(self._load, number))

    def _load(self, number: int) -> npt.NDArray[np.uint8]:
        if number in self._corrupt:
            raise CorruptImage(f"{number}.png is damaged")
        return np.full((2, 2, 3), number, dtype=np.uint8)


class Oracle:
    """A backend that answers class (grey value modulo 5), for batches of the given sizes."""

    infer = Backend.infer

    spec = SPEC
    inputs: tuple[TensorSpec, ...] = (SPEC.input,)
    outputs: tuple[TensorSpec, ...] = (TensorSpec("logits", "float32", (5,)),)

    def __init__(self, batches: range = range(1, 1000), broken: int | None = None) -> None:
        self.batches = batches
        self.sizes: list[int] = []
        self._broken = broken
        self._logits = np.zeros((0, 5), dtype=np.float32)

    def upload(self, batch: npt.NDArray[np.float32]) -> None:
        assert len(batch) in self.batches
        self.sizes.append(len(batch))
        greys = np.rint(batch[:, 0, 0, 0] * 255).astype(int)
        self._logits = np.eye(5, dtype=np.float32)[greys % 5]
        self._logits[greys == self._broken] = np.nan

    def execute(self) -> None: ...

    def synchronize(self) -> None: ...

    def download(self) -> tuple[npt.NDArray[Any], ...]:
        return (self._logits,)


class TopTwo(Oracle):
    """The same, but it takes pixels, and gives the two best classes and one feature."""

    spec = dataclasses.replace(SPEC, interface=Interface(pixels=True, top_k=2, features=1))
    inputs = (spec.input,)
    outputs = spec.outputs

    def upload(self, batch: npt.NDArray[Any]) -> None:
        assert batch.dtype == np.uint8
        super().upload(batch.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))

    def download(self) -> tuple[npt.NDArray[Any], ...]:
        best = np.argsort(-self._logits, axis=1, kind="stable")[:, :2]
        return np.take_along_axis(self._logits, best, axis=1), best, self._logits[:, :1]


def answers_of(
    oracle: Oracle,
    source: Source,
    size: int,
    *,
    limit: int | None = None,
    max_corrupt: int = 0,
    logits: LogitFile | None = None,
) -> Answers:
    batches = Batches(source, HOW, size, limit=limit, max_corrupt=max_corrupt)
    return ask(cast("Backend", oracle), batches, oracle.spec, lambda _done: None, logits)


def made_answers(predicted: list[int], labels: list[int]) -> Answers:
    return Answers(predicted=np.array(predicted), labels=np.array(labels), digest="", corrupt=())


def test_every_image_is_asked_for_once_in_order() -> None:
    oracle = Oracle()
    labels: list[int | None] = [0, 1, 2, 3, 4, 1, 1, 1, 1, 1, 1]
    answers = answers_of(oracle, Source(labels), 4)
    assert oracle.sizes == [4, 4, 3]
    assert [*answers.predicted] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0]
    assert [*answers.labels] == labels
    digest = DataDigest()
    digest.add(np.stack([np.full((2, 2, 3), number, dtype=np.uint8) for number in range(11)]))
    assert answers.digest == digest.hexdigest()
    assert answers.corrupt == ()


def test_progress_counts_the_images() -> None:
    advanced: list[int] = []
    ask(cast("Backend", Oracle()), Batches(Source([0] * 7), HOW, 3), SPEC, advanced.append)
    assert advanced == [3, 3, 1]


def test_of_the_top_classes_the_first_counts() -> None:
    labels: list[int | None] = [0, 1, 2, 3, 4, 1, 1]
    answers, usual = (answers_of(oracle, Source(labels), 4) for oracle in (TopTwo(), Oracle()))
    assert [*answers.predicted] == [*usual.predicted] == [0, 1, 2, 3, 4, 0, 1]
    assert answers.digest == usual.digest
    with pytest.raises(DeployError, match=r"2\.png has label 5: expected 0 to 4"):
        answers_of(TopTwo(), Source([0, 1, 5]), 4)
    with pytest.raises(
        DeployError, match=r"the network gives NaN or infinite top_logits: .* the first of which is 4\.png"
    ):
        answers_of(TopTwo(broken=4), Source([0] * 9), 3)


def test_a_graph_s_outputs_give_one_class_an_image() -> None:
    logits = np.array([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]])
    assert best_classes({"logits": logits, "features": logits}).tolist() == [1, 0]
    assert best_classes({"top_logits": logits[:, :2], "top_classes": np.array([[2, 1], [0, 2]])}).tolist() == [2, 0]


def test_a_limit_ends_early() -> None:
    assert [*answers_of(Oracle(), Source([0] * 9), 4, limit=6).predicted] == [0, 1, 2, 3, 4, 0]


def test_a_plan_with_a_minimum_batch_gets_full_batches_and_no_image_counts_twice() -> None:
    oracle = Oracle(batches=range(4, 9))
    answers = answers_of(oracle, Source([0] * 10), 8)
    assert oracle.sizes == [8, 4]
    assert [*answers.predicted] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert len(answers.labels) == 10


def test_filling_starts_from_the_first_image_again() -> None:
    images = np.arange(3, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 2, 2), dtype=np.float32)
    assert [*fill(images, 7)[:, 0, 0, 0]] == [0, 1, 2, 0, 1, 2, 0]
    assert fill(images, 7)[4].tolist() == images[1].tolist()
    assert fill(images, 2) is images
    assert fill(images, 7).flags.c_contiguous


def test_corrupt_images_are_left_out_and_named() -> None:
    answers = answers_of(Oracle(), Source([0, 1, 2, 3], corrupt=(1,)), 4, max_corrupt=1)
    assert [*answers.predicted] == [0, 2, 3]
    assert answers.corrupt == ("1.png",)
    with pytest.raises(DeployError, match=r"1\.png is damaged"):
        answers_of(Oracle(), Source([0, 1, 2, 3], corrupt=(1,)), 4)


@pytest.mark.parametrize(
    ("label", "said"),
    [(5, "2.png has label 5: expected 0 to 4"), (-3, "2.png has no label"), (None, "2.png has no label: expected")],
)
def test_a_label_outside_of_the_classes_names_the_image(label: int | None, said: str) -> None:
    with pytest.raises(DeployError, match=said):
        answers_of(Oracle(), Source([0, 1, label, 3]), 4)


def test_logits_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(DeployError, match=r"the network gives NaN or infinite logits: .* the first of which is 4\.png"):
        answers_of(Oracle(broken=4), Source([0] * 9), 3)


def test_top1_and_agreement_are_counted() -> None:
    labels = [0, 1, 2, 3, 4, 0]
    reference, other = made_answers([0, 1, 2, 3, 0, 1], labels), made_answers([0, 1, 2, 4, 0, 0], labels)
    first, second, alone = score(reference, reference), score(other, reference), score(other, None)
    assert (first.images, first.correct, first.agreement) == (6, 4, 1.0)
    assert (second.images, second.correct) == (6, 4)
    assert second.agreement == pytest.approx(4 / 6)
    assert second.top1 == pytest.approx(4 / 6)
    assert alone.agreement is None


class Louder(Oracle):
    """The same answers, with 0.25 more for the class of the image's own number below 4, and 0.5 less for class 4."""

    def download(self) -> tuple[npt.NDArray[Any], ...]:
        return (np.where(self._logits > 0, np.float32(1.25), self._logits) - np.eye(5, dtype=np.float32)[4] / 2,)


def test_logits_are_compared_with_the_reference_s_file(tmp_path: Path) -> None:
    file, source = tmp_path / "logits", Source([0, 1, 2, 3])
    first = answers_of(Oracle(), source, 4, logits=LogitFile(file, write=True))
    assert np.fromfile(file, "<f4").reshape(-1, 5).tolist() == np.eye(5)[:4].tolist()
    other = answers_of(Louder(), source, 3, logits=LogitFile(file, write=False))
    assert first.errors is None
    assert other.errors is not None
    assert (other.errors.largest, other.errors.mean) == (0.5, (4 * 0.25 + 4 * 0.5) / 20)
    scored = score(other, first)
    assert (scored.max_error, scored.mean_error) == (0.5, 0.15)
    assert (score(first, first).max_error, score(first, first).agreement) == (None, 1.0)


def test_plans_that_fill_their_batch_compare_each_image_once(tmp_path: Path) -> None:
    file, source = tmp_path / "logits", Source([0] * 10)
    answers_of(Oracle(), source, 7, logits=LogitFile(file, write=True))
    other = answers_of(Louder(batches=range(4, 9)), source, 8, logits=LogitFile(file, write=False))
    assert other.errors is not None
    assert other.errors.mean == pytest.approx((8 * 0.25 + 2 * 0.25 + 8 * 0.5) / 50)


def test_top_classes_alone_have_no_errors_of_logits(tmp_path: Path) -> None:
    file, source = tmp_path / "logits", Source([0, 1, 2])
    answers_of(TopTwo(), source, 2, logits=LogitFile(file, write=True))
    assert answers_of(TopTwo(), source, 2, logits=LogitFile(file, write=False)).errors is None


def test_a_reference_that_answered_fewer_images_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "logits"
    answers_of(Oracle(), Source([0, 1]), 4, logits=LogitFile(file, write=True))
    with pytest.raises(DeployError, match="the reference saw fewer images"):
        answers_of(Oracle(), Source([0, 1, 2]), 4, logits=LogitFile(file, write=False))


def test_top5_counts_as_a_sort_does() -> None:
    random = np.random.default_rng(3)
    logits = random.integers(0, 6, (500, 12)).astype(np.float32)  # with many that are equal
    labels = random.integers(0, 12, 500)
    sorted_ = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    wanted = [int(label) in best for label, best in zip(labels, sorted_.tolist(), strict=True)]
    found = in_top({"logits": logits}, labels, 12)
    assert found is not None
    assert found.tolist() == wanted
    given = in_top({"top_classes": sorted_, "top_logits": logits[:, :5]}, labels, 12)
    assert given is not None
    assert given.tolist() == wanted


def test_top5_is_not_known_of_few_classes_or_few_answers() -> None:
    labels = np.array([0, 1])
    assert in_top({"logits": np.zeros((2, 5))}, labels, 5) is None
    assert in_top({"top_classes": np.zeros((2, 4), dtype=int)}, labels, 10) is None
    assert answers_of(Oracle(), Source([0, 1]), 2).in_top5 is None
    assert score(answers_of(Oracle(), Source([0, 1]), 2), None).correct5 is None


def test_agreement_of_different_images_is_our_own_bug() -> None:
    with pytest.raises(AssertionError, match="different images"):
        score(made_answers([0], [0]), made_answers([0], [1]))
