"""Decoding once: encoded images are kept up to the room, in any order; nothing else is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wrn_deploy.data import CorruptImage, Item, Role, open_data
from wrn_deploy.data.decoding import kept
from wrn_deploy.data.decoding.decode import Encoded
from wrn_deploy.data.decoding.decoders import Decoders, Outcome, fit_items
from wrn_deploy.data.decoding.kept import KeptDecoders
from wrn_deploy.models import describe_model
from wrn_deploy.spec import Preprocessing

PREPROCESSING = describe_model("wrn-10-1").preprocessing
COUNT = 10


class Counting(Decoders):
    """Decodes in this process, and counts the items by name."""

    def __init__(self) -> None:
        super().__init__(0)
        self.decoded: Counter[str] = Counter()

    def fit(self, items: Iterable[Item], preprocessing: Preprocessing) -> Iterator[tuple[Item, Outcome]]:
        for item in items:
            self.decoded[item.name] += 1
            yield item, fit_items([item], preprocessing)[0]


@pytest.fixture
def images(tmp_path: Path) -> list[Item]:
    """Ten files, each of one colour; the fourth is damaged."""
    for index in range(COUNT):
        Image.new("RGB", (32, 32), (index, 0, 0)).save(tmp_path / f"{index}.png")
    (tmp_path / "3.png").write_bytes(b"not an image")
    return [
        Item(f"{index}.png", 0, Encoded(tmp_path / f"{index}.png", str(tmp_path / f"{index}.png")))
        for index in range(COUNT)
    ]


def colours(outcomes: Iterable[tuple[Item, Outcome]]) -> list[int | None]:
    return [None if isinstance(outcome, Exception) else int(outcome[0, 0, 0]) for _, outcome in outcomes]


def test_an_image_is_decoded_once_in_every_order(images: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "WINDOW", 4)
    counting = Counting()
    decoders = KeptDecoders(counting, room=COUNT)
    assert colours(decoders.fit(images[::2], PREPROCESSING)) == [0, 2, 4, 6, 8]
    assert colours(decoders.fit(images, PREPROCESSING)) == [0, 1, 2, None, 4, 5, 6, 7, 8, 9]
    assert colours(decoders.fit(reversed(images), PREPROCESSING)) == [9, 8, 7, 6, 5, 4, None, 2, 1, 0]
    assert counting.decoded == {**dict.fromkeys((item.name for item in images), 1), "3.png": 2}, "errors are not kept"
    assert isinstance([*decoders.fit(images, PREPROCESSING)][3][1], CorruptImage)


def test_no_more_are_kept_than_there_is_room_for(images: list[Item]) -> None:
    counting = Counting()
    decoders = KeptDecoders(counting, room=2)
    for _ in range(3):
        assert colours(decoders.fit(images[5:], PREPROCESSING)) == [5, 6, 7, 8, 9]
    assert counting.decoded == {"5.png": 1, "6.png": 1, "7.png": 3, "8.png": 3, "9.png": 3}


def test_files_of_the_same_name_are_other_images(images: list[Item], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    Image.new("RGB", (32, 32), (200, 0, 0)).save(tmp_path / "other" / "0.png")
    other = Item("0.png", 0, Encoded(tmp_path / "other" / "0.png", str(tmp_path / "other" / "0.png")))
    assert colours(KeptDecoders(Counting(), room=COUNT).fit([images[0], other], PREPROCESSING)) == [0, 200]


def test_arrays_are_not_kept() -> None:
    items = [*open_data("digits", Role.TEST).items()][:5]
    counting = Counting()
    decoders = KeptDecoders(counting, room=COUNT)
    for item, outcome in (*decoders.fit(items, PREPROCESSING), *decoders.fit(items, PREPROCESSING)):
        assert isinstance(outcome, np.ndarray)
        assert np.array_equal(outcome, item.load())
    assert [*counting.decoded.values()] == [2] * 5


def test_an_error_of_the_source_comes_at_its_place(images: list[Item]) -> None:
    def broken() -> Iterator[Item]:
        yield from images[:2]
        raise ValueError("the source broke")

    outcomes = KeptDecoders(Counting(), room=COUNT).fit(broken(), PREPROCESSING)
    assert int(next(outcomes)[1][0, 0, 0]) == 0  # type: ignore[index]
    assert int(next(outcomes)[1][0, 0, 0]) == 1  # type: ignore[index]
    with pytest.raises(ValueError, match="the source broke"):
        next(outcomes)
