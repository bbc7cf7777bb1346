"""Several batches in a row and slots, on a CPU: the same calls and answers as on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.runtime.test_runner import images as images  # noqa: PLC0414 (a fixture)
from wrn_deploy import Runner
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.errors import DeployError, UsageError

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def runner(made_bundle: Path) -> Iterator[Runner]:
    with Runner.open(made_bundle, backend="onnxruntime", threads=1, contexts=1) as opened:
        yield opened


def test_each_batch_has_its_own_outputs_in_order(runner: Runner, images: Pixels) -> None:
    taken: list[int] = []

    def batches() -> Iterator[Pixels]:
        for size in (5, 1, 8):
            taken.append(size)
            yield images[:size]

    found = runner.run_each(batches())
    assert taken == [], "nothing was asked for yet"
    for size, outputs in zip((5, 1, 8), found, strict=True):
        np.testing.assert_allclose(outputs["logits"], runner_alone(runner, images[:size]), atol=1e-4)
    assert taken == [5, 1, 8]
    assert list(runner.run_each([])) == []


def runner_alone(runner: Runner, batch: Pixels) -> npt.NDArray[np.float32]:
    """What another runner answers: the only context of this one is in use."""
    with Runner.open(runner.bundle.folder, backend="onnxruntime", threads=1, contexts=1) as other:
        return other.predict(batch)


def test_a_series_keeps_its_context_until_it_ends_or_is_dropped(runner: Runner, images: Pixels) -> None:
    series = runner.run_each([images, images])
    next(series)
    with pytest.raises(UsageError, match="this thread is within 1 call of this runner"):
        runner.predict(images)
    with pytest.raises(UsageError, match="close it after the call"):
        runner.close()
    del series
    assert runner.predict(images).shape == (16, 10)
    for _outputs in runner.run_each([images, images]):
        break
    assert runner.predict(images).shape == (16, 10)


def test_a_wrong_batch_is_an_error_when_it_is_taken(runner: Runner, images: Pixels) -> None:
    series = runner.run_each([images, images[:, :5]])
    assert next(series)["logits"].shape == (16, 10)
    with pytest.raises(DeployError, match=r"images are uint8 \(16, 5, 32, 3\): expected uint8 \(N, 32, 32, 3\)"):
        next(series)
    spoilt = normalize(images, runner.bundle.spec.preprocessing)
    spoilt[3, 0, 0, 0] = np.nan
    with pytest.raises(DeployError, match=r"NaN or infinite images: 1 of .*, the first of which is image 3"):
        list(runner.run_each([spoilt]))


def test_a_slot_is_memory_for_the_networks_own_input(runner: Runner, images: Pixels) -> None:
    wanted = runner.predict(images)
    with runner.slot(16) as slot:
        assert (slot.shape, str(slot.dtype)) == ((16, 3, 32, 32), "float32")
        slot[:] = normalize(images, runner.bundle.spec.preprocessing)
        np.testing.assert_allclose(runner.predict(slot), wanted, atol=1e-4)
    with pytest.raises(DeployError, match="a slot for 0 images: expected at least 1"), runner.slot(0):
        pass
    runner.close()
    with pytest.raises(UsageError, match="this runner is closed"), runner.slot(1):
        pass
