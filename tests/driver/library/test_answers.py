"""The C++ library and the Python Runner on the same plans: the same bytes, the same pieces, the same texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.driver import standin
from tests.driver.bundles import some_images
from tests.driver.engine.context import IExecutionContext
from tests.driver.library.calls import BACKEND, CallError, Library, OurTensorRT
from tests.driver.library.conftest import MakeBundle
from wrn_deploy import Runner
from wrn_deploy.errors import DeployError


def open_python(bundle: Path, flavor: str, **options: Any) -> Runner:
    return Runner.open(bundle, backend=flavor, precision="fp16", contexts=1, **options)


@pytest.mark.filterwarnings("error")
def test_batches_of_all_sizes_again_and_again(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    del ours
    bundle = make()
    with (
        open_python(bundle, flavor) as python,
        library.open(bundle, backend=flavor, precision="fp16", contexts=1) as runner,
    ):
        for seed in range(5):
            for count in (1, 2, 16, 7, 33, 1, 2):  # 33 is split into 16, 16 and a padded 1
                images = some_images(count, seed)
                assert runner.predict(images).tobytes() == python.predict(images).tobytes()


@pytest.mark.parametrize(
    "profiles",
    [((1, 1, 1), (2, 8, 16)), ((4, 8, 16),), ((1, 2, 4), (3, 4, 8)), ((8, 16, 16), (1, 1, 8))],
    ids=str,
)
def test_a_batch_becomes_the_same_pieces(
    library: Library,
    ours: OurTensorRT,
    make: MakeBundle,
    flavor: str,
    profiles: tuple[tuple[int, int, int], ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    python: list[int] = []
    start = IExecutionContext.execute_async_v3

    def started(self: IExecutionContext, stream_handle: int) -> bool:
        assert self._shape is not None
        python.append(self._shape[0])
        return start(self, stream_handle)

    monkeypatch.setattr(IExecutionContext, "execute_async_v3", started)
    bundle = make(profiles=profiles)
    backend = f"{flavor}_nographs"
    with open_python(bundle, backend) as there, library.open(bundle, backend=backend, contexts=1) as here:
        for count in (*range(1, 20), 33, 40):
            images = some_images(count, count)
            assert here.predict(images).tobytes() == there.predict(images).tobytes()
    assert ours.batches() == python


def test_a_gap_between_profiles_is_refused_in_the_same_words(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    del ours
    bundle = make(profiles=((1, 1, 2), (8, 8, 16)))
    with open_python(bundle, flavor) as python, pytest.raises(DeployError) as wanted:
        python.predict(some_images(5))
    with library.open(bundle, backend=flavor) as runner:
        with pytest.raises(CallError) as found:
            runner.predict(some_images(5))
        assert (found.value.status, found.value.text) == (1, str(wanted.value))
        runner.predict(some_images(9))


@pytest.mark.parametrize("option", [{"pixels": True}, {"plan_pixels": True}], ids=str)
def test_pixels(library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str, option: dict[str, bool]) -> None:
    del ours
    bundle = make(profiles=((1, 4, 8),), **option)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    with open_python(bundle, flavor) as python, library.open(bundle, backend=flavor) as runner:
        assert tuple(runner.input("uint8").shape[:3]) == (8, 8, 3)
        for _ in range(4):
            assert runner.predict(pixels).tobytes() == python.predict(pixels).tobytes()
        with pytest.raises(CallError, match=r"2: images are float32: this runner takes uint8$"):
            runner.predict(some_images(2))


def test_pixels_are_normalised_for_a_plan_that_takes_numbers(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    del ours
    bundle = make()
    pixels = np.random.default_rng(1).integers(0, 256, (21, 8, 8, 3), dtype=np.uint8)
    with open_python(bundle, flavor) as python, library.open(bundle, backend=flavor) as runner:
        with pytest.warns(RuntimeWarning, match="normalised"):
            wanted = python.predict(pixels)
        assert runner.predict(pixels).tobytes() == wanted.tobytes()


def test_several_outputs(library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str) -> None:
    del ours
    bundle, images = make(top_k=3), some_images(20)
    with open_python(bundle, flavor) as python, library.open(bundle, backend=flavor) as runner:
        for _ in range(3):
            wanted, found = python.run(images), runner.run(images)
            assert list(found) == list(wanted) == ["top_logits", "top_classes"]
            assert all(found[name].tobytes() == wanted[name].tobytes() for name in wanted)
        assert runner.predict(images).tobytes() == wanted["top_logits"].tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_what_is_not_finite(library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str, value: float) -> None:
    """NaN goes in; and 3e38, of which a sum is infinite, comes out."""
    del ours
    bundle, images = make(), some_images(4)
    images[2] = value
    with open_python(bundle, flavor) as python, pytest.raises(DeployError) as wanted:
        python.predict(images)
    with library.open(bundle, backend=flavor) as runner:
        with pytest.raises(CallError) as found:
            runner.predict(images)
        assert (found.value.status, found.value.text) == (1, str(wanted.value))
        runner.predict(some_images(4))
    with library.open(bundle, backend=flavor, allow_nonfinite=True) as runner:
        assert not np.isfinite(runner.predict(images)).all()


def test_the_backend_of_a_plan_comes_first(library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str) -> None:
    del ours
    with library.open(make()) as runner:
        assert runner.text(BACKEND) == flavor
    with library.open(make("other"), precision="fp16") as runner:
        assert runner.text(BACKEND) == flavor


def test_images_in_pinned_memory_are_not_copied(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    del ours
    images = some_images(4)
    with library.open(make(), backend=flavor, contexts=1) as runner:
        before = standin.counts()
        with runner.slot(6) as memory:
            memory[:4] = images
            wanted = runner.predict(memory[:4])
            assert standin.counts().since(before).pinned_blocks == 2, "the slot and the outputs"
        assert standin.counts().since(before).pinned_blocks == 1
        assert runner.predict(images).tobytes() == wanted.tobytes()
        assert standin.counts().since(before).pinned_blocks == 2, "a copy of the images"


def test_a_slot_outlives_its_runner(library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str) -> None:
    del ours
    runner = library.open(make(), backend=flavor)
    slot, memory = runner.slot_open(3)
    runner.close()
    memory[:] = 1.0
    runner.slot_close(slot)
    with pytest.raises(CallError, match="is not open"):
        runner.slot_close(slot)
