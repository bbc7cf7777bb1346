"""Images that are decoded in processes of their own train to the same weights; corrupt ones are left out and named."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from wrn_deploy.data import Role, open_data
from wrn_deploy.data.corrupt import Percent
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.errors import DeployError
from wrn_deploy.pipeline.training.train import TrainOptions, train_model
from wrn_deploy.spec import Preprocessing
from wrn_deploy.training.execution.processes import BatchShard
from wrn_deploy.training.images import ImageOptions, StreamedImages
from wrn_deploy.training.recipe import TrainRecipe

PREPROCESSING = Preprocessing(height=32, width=32, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), resize=32)


class Heard:
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    @contextlib.contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        del title, total
        yield lambda _units: None

    def note(self, text: str) -> None:
        """Not kept."""

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """36 training images and 4 test images of two classes, larger than 32 x 32; one training image is cut off."""
    for index, item in zip(range(40), open_data("digits", Role.TRAIN).items(), strict=False):
        place = tmp_path / "set" / ("test" if index >= 36 else "train") / str(index % 2)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(item.load()).resize((48, 40)).save(place / f"{index:02}.png")
    (tmp_path / "set" / "train" / "0" / "08.png").write_bytes(b"\x89PNG")
    return tmp_path / "set"


@pytest.mark.parametrize("resized_crop", [False, True])
def test_streamed_batches_are_the_same_with_processes(folder: Path, resized_crop: bool) -> None:
    source, recipe = open_data(str(folder), Role.TRAIN), TrainRecipe(batch_size=8, resized_crop=resized_crop, shift=0)
    with Decoders(2) as two:
        passes = []
        for decoders in (None, two):
            images = StreamedImages(
                source=source,
                options=ImageOptions(preprocessing=PREPROCESSING, classes=2, decoders=decoders, max_corrupt=1),
            )
            passes.append(list(images.train_batches(recipe, 3, BatchShard())))
    assert [len(ready.labels) for ready in passes[0]] == [8, 8, 8, 8, 3]
    for one, other in zip(*passes, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def test_training_names_what_it_left_out_and_ends_where_it_is_too_much(folder: Path, tmp_path: Path) -> None:
    weights = []
    for workers in (0, 2):
        heard, out = Heard(), tmp_path / f"run-{workers}"
        recipe = TrainRecipe(epochs=1, batch_size=8)
        options = TrainOptions(
            model="wrn-10-1", data=str(folder), out=out, recipe=recipe, max_corrupt=Percent(5.0), workers=workers
        )
        result = train_model(_resized(options), heard)
        weights.append(result.weights.read_bytes())
        assert any("0/08.png" in warning for warning in heard.warnings)
    assert weights[0] == weights[1]
    options = TrainOptions(model="wrn-10-1", data=str(folder), out=tmp_path / "none", recipe=recipe)
    with pytest.raises(DeployError, match=r"08\.png cannot be decoded .*; 1 corrupt, none allowed"):
        train_model(_resized(options), Heard())
    assert not (tmp_path / "none" / "weights.safetensors").exists()


def _resized(options: TrainOptions) -> TrainOptions:
    return dataclasses.replace(options, overrides=dataclasses.replace(options.overrides, resize=32))
