"""Series of batches and slots on the real PyCUDA: right answers, copies beside inferences, nothing left."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.driver import standin
from tests.driver.bundles import answer_to, make_bundle, some_images
from wrn_deploy import Runner


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("slow_kernels")
def test_copies_run_beside_inferences(bundle_folder: Path) -> None:
    """As the driver saw it: while a piece was computed, the next one was copied in, or the last one's outputs out."""
    images = some_images(6 * 16)
    with Runner.open(bundle_folder, precision="fp16", backend="tensorrt", contexts=1) as runner:
        for _ in range(4):
            runner.predict(images)
        standin.trace()
        np.testing.assert_allclose(runner.predict(images), answer_to(images), rtol=1e-4, atol=1e-4)
        spans = standin.traced()
        standin.trace(on=False)
    copies_in = [span for span in spans if span.kind == "copy in"]
    copies_out = [span for span in spans if span.kind == "copy out"]
    kernels = [span for span in spans if span.kind in ("graph", "inference")]
    assert [len(each) for each in (copies_in, kernels, copies_out)] == [6, 6, 6]
    assert len({span.stream for span in (*copies_in, *kernels, *copies_out)}) == 3
    for number in range(1, 5):
        assert copies_in[number + 1].start_ns < kernels[number].end_ns, f"piece {number + 1} was copied too late"
        assert copies_out[number - 1].end_ns < kernels[number].end_ns, f"outputs {number - 1} were copied too late"


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("slow_kernels")
def test_batches_of_a_series_get_their_own_answers(bundle_folder: Path) -> None:
    sizes = (1, 16, 5, 40, 2, 16, 16, 7, 1)
    batches = [some_images(size, seed) for seed, size in enumerate(sizes)]
    with Runner.open(bundle_folder, precision="fp16", backend="tensorrt", contexts=1) as runner:
        for _ in range(4):
            found = list(runner.run_each(iter(batches)))
            assert len(found) == len(batches)
            for batch, outputs in zip(batches, found, strict=True):
                np.testing.assert_allclose(outputs["logits"], answer_to(batch), rtol=1e-4, atol=1e-4)
        for _outputs in runner.run_each(batches):
            break
        np.testing.assert_allclose(runner.predict(batches[1]), answer_to(batches[1]), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("error")
def test_slots_are_pinned_and_read_directly(bundle_folder: Path) -> None:
    images = some_images(16)
    with Runner.open(bundle_folder, precision="fp16", backend="tensorrt", contexts=1) as runner:
        before = standin.counts()
        for _ in range(4):
            with runner.slot(16) as slot:
                slot[:] = images
                np.testing.assert_allclose(runner.predict(slot), answer_to(images), rtol=1e-4, atol=1e-4)
        pinned = standin.counts().since(before).pinned_blocks
        assert pinned == 2, "the slot and the outputs, and no other memory for images"
        with runner.slot(4) as kept:
            runner.close()
            kept[:] = 0
        del kept, slot


def test_a_runner_says_what_normalising_on_the_cpu_costs(bundle_folder: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    told = r"the CPU normalised 5 images for the GPU in [\d.e-]+ ms, [\d.e+]+ us each: run a plan that takes pixels"
    with Runner.open(bundle_folder, precision="fp16", backend="tensorrt") as runner:
        with pytest.warns(RuntimeWarning, match=told) as warned:
            runner.predict(pixels)
        assert [each.filename for each in warned] == [__file__]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            runner.predict(pixels)
    make_bundle(tmp_path / "bundle", pixels=True, profiles=((1, 4, 8),))
    with Runner.open(tmp_path / "bundle", precision="fp16", backend="tensorrt") as runner:
        runner.predict(pixels)
