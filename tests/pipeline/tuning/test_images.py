"""Tuning and fine-tuning decode each image file once, whatever they read it for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.lint.finding import Target
from wrn_deploy.calib.options import Schedule
from wrn_deploy.data import Item, Role, open_data
from wrn_deploy.data.decoding.decoders import Decoders, Outcome
from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions, finetune_bundle
from wrn_deploy.pipeline.tuning.tune import TuneOptions, tune_bundle
from wrn_deploy.progress import Silent
from wrn_deploy.spec import Preprocessing

COUNT = 150  # more than the sample of `tune`


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of digits as PNG files, in a folder for each class."""
    items = open_data("digits", Role.TEST).items()
    for index, item in zip(range(COUNT), items, strict=False):
        folder = tmp_path / "files" / str(item.label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(item.load()).save(folder / f"{index}.png")
    return tmp_path / "files"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often decoders were asked for each image."""
    counts: Counter[str] = Counter()
    fit = Decoders.fit

    def counting(self: Decoders, items: Iterable[Item], preprocessing: Preprocessing) -> Iterator[tuple[Item, Outcome]]:
        asked = [*items]
        counts.update(item.name for item in asked)
        return fit(self, asked, preprocessing)

    monkeypatch.setattr(Decoders, "fit", counting)
    return counts


def test_a_labelled_image_of_the_sample_is_decoded_once(bundle: Bundle, files: Path, decoded: Counter[str]) -> None:
    tuning = tune_bundle(bundle, TuneOptions(data=str(files), max_drop=100.0, threads=1), Silent())
    assert tuning.reference.images == COUNT
    assert tuning.layers[0].alone.images == 128
    assert len(decoded) == COUNT
    assert {*decoded.values()} == {1}


def test_fine_tuning_decodes_once_for_all_epochs(bundle: Bundle, files: Path, decoded: Counter[str]) -> None:
    schedule = Schedule(batch=30, rate=1e-6)
    targets = (Target.TENSORRT,)
    finetune_bundle(
        bundle, FinetuneOptions(data=str(files), schedule=schedule, epochs=2.0, targets=targets, threads=1), Silent()
    )
    assert len(decoded) == COUNT
    assert {*decoded.values()} == {1}
