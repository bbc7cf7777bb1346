"""Batches that are decoded once: the same ones in every pass, within the bound and beyond it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.data.made import Pixels
from wrn_deploy.data import Item, Role, open_data, preprocess
from wrn_deploy.data.cached_batches import CachedBatches
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.data.sampling.subset import even_sample
from wrn_deploy.errors import DeployError
from wrn_deploy.models import describe_model
from wrn_deploy.spec import Preprocessing

PREPROCESSING = describe_model("wrn-10-1").preprocessing
COUNT = 20


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each image was decoded in this process."""
    counts: Counter[str] = Counter()
    fit_item = preprocess.fit_item

    def counting(item: Item, preprocessing: Preprocessing) -> Pixels:
        counts[item.name] += 1
        return fit_item(item, preprocessing)

    monkeypatch.setattr(preprocess, "fit_item", counting)
    return counts


def batches() -> Batches:
    return Batches(even_sample(open_data("digits", Role.TRAIN), COUNT), PREPROCESSING, 8)


def passes(cached: CachedBatches, count: int) -> Iterator[tuple[list[int], list[str], bytes]]:
    for _ in range(count):
        found = [*cached]
        yield (
            [int(label) for batch in found for label in batch.labels],
            [name for batch in found for name in batch.names],
            b"".join(batch.images.tobytes() for batch in found),
        )


def test_every_pass_gives_the_same_and_only_the_first_decodes(decoded: Counter[str]) -> None:
    first, second, third = passes(CachedBatches(batches()), 3)
    assert first == second == third
    assert [len(batch.images) for batch in CachedBatches(batches())] == [8, 8, 4]
    assert len(first[1]) == COUNT
    assert decoded == dict.fromkeys(first[1], 2), "once for the three passes, once for the sizes"


@pytest.mark.parametrize(("room", "decodings"), [(0, 1), (1, 3)])
def test_more_pixels_than_the_bound_are_decoded_in_each_pass(
    decoded: Counter[str], monkeypatch: pytest.MonkeyPatch, room: int, decodings: int
) -> None:
    monkeypatch.setattr(
        "wrn_deploy.data.cached_batches.CACHE_BYTES", COUNT * PREPROCESSING.height * PREPROCESSING.width * 3 - room
    )
    first, second, third = passes(CachedBatches(batches()), 3)
    assert first == second == third
    assert set(decoded.values()) == {decodings}


def test_a_pass_that_was_left_is_not_taken_for_a_whole_one(decoded: Counter[str]) -> None:
    cached = CachedBatches(batches())
    next(iter(cached))
    assert sum(decoded.values()) == 8
    assert sum(len(batch.images) for batch in cached) == COUNT


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_pixels_come_in_any_size_up_to_the_batch(size: int) -> None:
    cached = CachedBatches(batches())
    wanted = np.concatenate([batch.images for batch in cached])
    parts = [*cached.pixels(size)]
    assert max(map(len, parts)) == min(size, 8)
    assert np.array_equal(np.concatenate(parts), wanted)
    assert len([*itertools.islice(cached.pixels(1), 5)]) == 5


def test_what_is_corrupt_is_left_out_of_every_pass(tmp_path: Path) -> None:
    from PIL import Image

    for item in even_sample(open_data("digits", Role.TRAIN), 6).items():
        Image.fromarray(item.load()).save(tmp_path / f"{item.name.replace('/', '-')}.png")
    broken = sorted(tmp_path.glob("*.png"))[2]
    broken.write_bytes(b"no image")
    source = open_data(str(tmp_path), Role.TRAIN)
    cached = CachedBatches(Batches(source, PREPROCESSING, 4, max_corrupt=1))
    first, second = passes(cached, 2)
    assert first == second
    assert len(first[1]) == 5
    assert len(cached.corrupt) == 1
    assert len(cached) == 6
    with pytest.raises(DeployError, match=broken.name):
        [*CachedBatches(Batches(source, PREPROCESSING, 4))]
