"""CUDA graphs, contexts and memory of the C++ library: as many as the Python Runner has, and no more."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.driver import standin
from tests.driver.bundles import answer_to, some_images
from tests.driver.library.calls import Library, Opened, OurTensorRT
from tests.driver.library.conftest import MakeBundle
from wrn_deploy import Runner

SIZES = (1, 2, 16, 7, 1, 2, 16, 7, 1, 1, 2, 16, 7, 3, 3, 3, 3, 33, 48, 40)  # the last ones are split


def check(runner: Opened, count: int, seed: int = 0) -> None:
    images = some_images(count, seed)
    np.testing.assert_allclose(runner.predict(images), answer_to(images), rtol=1e-4, atol=1e-4)


def counted(predict: Callable[[Any], Any]) -> standin.Counts:
    """What the calls of all sizes cost and leave."""
    before = standin.counts()
    for seed, count in enumerate(SIZES):
        predict(some_images(count, seed))
    return standin.counts().since(before)


@pytest.mark.filterwarnings("error")
def test_inferences_graphs_and_memory_are_those_of_python(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    bundle = make()
    with Runner.open(bundle, backend=flavor, precision="fp16", contexts=1) as python:
        wanted = counted(python.predict)
    captured = ours.captures()
    with library.open(bundle, backend=flavor, contexts=1) as runner:
        found = counted(runner.predict)
    for name in (
        "launches",
        "instantiated",
        "inferences",
        "instances",
        "execution_contexts",
        "device_bytes",
        "streams",
    ):
        assert getattr(found, name) == getattr(wanted, name), name
    if flavor == "tensorrt":
        assert found.launches > 0
        assert ours.captures() == captured
    else:
        assert found.launches == 0, "TensorRT-RTX captures itself"
        assert ours.captures() - captured == len({1, 2, 16, 7, 3}) + 1, "and 16 with the buffers of the other turn"


@pytest.mark.filterwarnings("error")
def test_without_graphs_every_inference_starts_its_kernels(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    captured = ours.captures()
    with library.open(make(), backend=f"{flavor}_nographs", contexts=1) as runner:
        found = counted(runner.predict)
    assert (found.inferences, found.launches, found.instantiated) == (len(SIZES) + 2 + 2 + 2, 0, 0)
    assert ours.captures() == captured


def test_the_graph_used_longest_ago_goes(library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str) -> None:
    del ours
    with library.open(make(profiles=((1, 8, 16),)), backend=flavor, contexts=1) as runner:
        for turn in range(5):
            for count in range(1, 13):
                check(runner, count, turn)
        alive = standin.counts()
        assert alive.execution_contexts == 8 + 1, "eight with a graph, and one a profile"
        assert alive.instances == (8 if flavor == "tensorrt" else 0)


def test_a_capture_that_fails_costs_the_graphs_alone(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    if flavor == "tensorrt_rtx":
        pytest.skip("TensorRT-RTX captures itself")
    with library.open(make(), backend=flavor, contexts=1) as runner:
        before = standin.counts()
        ours.fail("enqueue", after=2)  # the third is the capture
        for turn in range(6):
            check(runner, 4, turn)
        ran = standin.counts().since(before)
        assert (ran.launches, ran.instances, ran.inferences) == (0, 0, 6)


@pytest.mark.filterwarnings("error")
def test_warming_up_makes_all_contexts_and_their_graphs(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    with library.open(make(), backend=flavor, contexts=3) as runner:
        runner.warmup((1, 8), iterations=3)
        before, captured = standin.counts(), ours.captures()
        assert before.streams == 3
        check(runner, 8)
        check(runner, 1)
        ran = standin.counts().since(before)
        assert ran.device_blocks == ran.execution_contexts == 0
        assert (ran.launches, ran.inferences) == ((2, 0) if flavor == "tensorrt" else (0, 2))
        assert ours.captures() == captured


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("slow_kernels")
def test_eight_threads_share_three_contexts(library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str) -> None:
    """Captures on one stream while others copy, run and allocate; each context's memory serves one inference."""
    del ours
    with library.open(make(), backend=flavor, contexts=3) as runner:

        def work(seed: int) -> None:
            sizes = np.random.default_rng(seed).integers(1, 20, 20)
            for turn, count in enumerate(sizes):
                check(runner, int(count), 100 * seed + turn)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert standin.counts().streams == 3 * 3, "one for inferences and two for copies each"


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("slow_kernels")
def test_copies_run_beside_inferences(library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str) -> None:
    """As the driver saw it: while a piece was computed, the next one was copied in, or the last one's outputs out."""
    del ours
    with library.open(make(), backend=flavor, contexts=1) as runner:
        for turn in range(4):
            check(runner, 6 * 16, turn)
        standin.trace()
        check(runner, 6 * 16, 4)
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
