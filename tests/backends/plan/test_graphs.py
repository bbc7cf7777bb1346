"""CUDA graphs: what they compute, when they are captured, and that one that fails costs no answer."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.backends.plan.fake_gpu import FakeDriver, FakeRuntime
from tests.backends.plan.fake_tensorrt import FakeTensorRT, answer_to
from tests.backends.plan.opened import opened, run, some_images
from wrn_deploy.backends.plan import execution
from wrn_deploy.backends.plan.backend import PlanBackend, PlanRuntime


def answers_rightly(backend: PlanBackend, size: int, seed: int) -> None:
    batch = some_images(size, seed)
    np.testing.assert_allclose(run(backend, batch), answer_to(batch, 5), rtol=1e-5)


def test_from_the_third_time_on_a_batch_runs_as_a_graph(runtime: FakeRuntime, trt: FakeTensorRT) -> None:
    with opened(trt) as backend:
        assert backend.uses_graphs
        assert backend.graphs_obstacle is None
        for seed, launches in enumerate((0, 0, 1, 2, 3)):
            answers_rightly(backend, 4, seed)
            assert runtime.launches == launches
        assert trt.started == 2
    assert runtime.graphs == []


def test_each_size_has_its_graph_and_all_stay_right(runtime: FakeRuntime, trt: FakeTensorRT) -> None:
    with opened(trt) as backend:
        for seed, size in enumerate((1, 6, 3) * 5):
            answers_rightly(backend, size, seed)
        assert trt.started == 6
        assert runtime.launches == 9
        assert len(runtime.graphs) == 3


def test_graphs_of_two_profiles_do_not_meet(runtime: FakeRuntime, trt: FakeTensorRT) -> None:
    trt.profiles = [(1, 1, 2), (3, 6, 6)]
    with opened(trt) as backend:
        for seed, size in enumerate((2, 3) * 4):
            answers_rightly(backend, size, seed)
        assert runtime.launches == 4


def test_only_so_many_graphs_are_kept(runtime: FakeRuntime, trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "MAX_KEPT", 2)
    with opened(trt) as backend:
        for size in (1, 1, 2, 2, 1, 3, 3):  # 2 is the one that was used longest ago
            answers_rightly(backend, size, size)
        assert len(runtime.graphs) == 2
        before = runtime.launches
        answers_rightly(backend, 1, 8)
        answers_rightly(backend, 3, 9)
        assert runtime.launches == before + 2
        answers_rightly(backend, 2, 7)
        assert runtime.launches == before + 2
    assert runtime.graphs == []


@pytest.mark.parametrize("call", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "TensorRT"])
def test_a_capture_that_fails_is_told_once_and_costs_no_answer(
    runtime: FakeRuntime, trt: FakeTensorRT, call: str
) -> None:
    said = "could not start the inference while it was captured" if call == "TensorRT" else f"{call} failed"
    trt.refuses_capture = call == "TensorRT"
    runtime.refusing = call
    with opened(trt) as backend, backend.sibling() as other:
        answers_rightly(backend, 4, 0)
        with pytest.warns(RuntimeWarning, match=f"CUDA graphs are off; kernels are launched one by .*{said}"):
            answers_rightly(backend, 4, 1)
        assert not backend.uses_graphs
        assert said in (backend.graphs_obstacle or "")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for seed in range(4):
                answers_rightly(backend, 4, seed)
                answers_rightly(other, 4, seed)
        assert not other.uses_graphs
    assert (runtime.graphs, runtime.launches) == ([], 0)


def test_without_cuda_bindings_inferences_run_plainly(trt: FakeTensorRT) -> None:
    with opened(trt) as backend:
        for seed in range(4):
            answers_rightly(backend, 4, seed)
        assert not backend.uses_graphs
        assert "cuda-bindings cannot be loaded" in (backend.graphs_obstacle or "")
        assert trt.started == 4


def test_graphs_can_be_switched_off(runtime: FakeRuntime, trt: FakeTensorRT) -> None:
    with opened(trt, graphs=False) as backend, backend.sibling() as other:
        for seed in range(4):
            answers_rightly(other, 4, seed)
        assert (backend.uses_graphs, other.uses_graphs) == (False, False)
        assert backend.graphs_obstacle == "CUDA graphs were not requested"
    assert (runtime.launches, trt.started) == (0, 4)
    assert PlanRuntime(flavor="tensorrt", title="TensorRT", extra="gpu", graphs=False).graphs is False


def test_graphs_share_activation_memory_and_no_context(
    runtime: FakeRuntime, driver: FakeDriver, trt: FakeTensorRT
) -> None:
    """The fake refuses a captured context that changes, and work that overlaps in one block of activation memory."""
    with opened(trt) as backend:
        before = set(driver.memory)
        assert [len(driver.memory[address].data) for address in before] == [trt.activations]
        for seed, size in enumerate((1, 6, 3, 1, 6, 3, 1, 5, 6, 4, 3, 1)):
            answers_rightly(backend, size, seed)
        assert len(runtime.graphs) == 3
        assert trt.contexts == 4, "one for each graph, and one for other sizes"
        sizes = sorted(len(driver.memory[address].data) for address in set(driver.memory) - before)
        assert sizes == sorted(count * image for count in (1, 4, 6) for image in (4 * 3 * 4 * 4, 4 * 5))
    assert (trt.contexts, driver.memory) == (0, {})


def test_a_network_without_activations_needs_no_memory_for_them(driver: FakeDriver, trt: FakeTensorRT) -> None:
    trt.activations = 0
    with opened(trt) as backend:
        assert driver.memory == {}
        answers_rightly(backend, 2, 0)


def test_tensorrt_rtx_captures_by_itself(driver: FakeDriver) -> None:
    """Without cuda-bindings too; kernels are compiled before a first run; a size that comes back has its context."""
    rtx = FakeTensorRT(driver, rtx=True)
    with opened(rtx) as backend:
        for seed, size in enumerate((2, 2, 2, 5, 4, 4)):
            answers_rightly(backend, size, seed)
        assert backend.uses_graphs
        assert [config.cuda_graph_strategy for config in rtx.configs] == ["disabled", "whole", "whole"]
        assert {config.dynamic_shapes_kernel_specialization_strategy for config in rtx.configs} == {"eager"}
        assert rtx.started == 6
    rtx.configs.clear()
    with opened(rtx, graphs=False) as backend:
        for seed in range(3):
            answers_rightly(backend, 2, seed)
        assert [config.cuda_graph_strategy for config in rtx.configs] == ["disabled"]


def test_several_executions_of_one_upload_and_several_siblings(runtime: FakeRuntime, trt: FakeTensorRT) -> None:
    """As a measurement does it: the answer of the last one stays right."""
    with opened(trt) as backend, backend.sibling() as other:
        for each in (backend, other):
            each.upload(some_images(5, 1))
            for _ in range(7):
                each.execute()
            each.upload(some_images(3, 2))
            each.execute()
            np.testing.assert_allclose(each.download()[0], answer_to(some_images(3, 2), 5), rtol=1e-5)
        assert runtime.launches == 10


def test_threads_capture_on_siblings_of_their_own(runtime: FakeRuntime, trt: FakeTensorRT) -> None:
    with opened(trt) as backend, ThreadPoolExecutor(4) as pool:
        siblings = [backend.sibling() for _ in range(4)]

        def many(number: int) -> None:
            for seed in range(20):
                answers_rightly(siblings[number], 1 + seed % 5, 100 * number + seed)
            siblings[number].close()

        list(pool.map(many, range(4)))
        assert runtime.launches > 0
    assert runtime.graphs == []


def test_a_lost_gpu_while_graphs_are_there_can_be_closed(
    runtime: FakeRuntime, driver: FakeDriver, trt: FakeTensorRT
) -> None:
    backend = opened(trt)
    for seed in range(3):
        answers_rightly(backend, 2, seed)
    driver.failing = "an illegal memory access was encountered"
    runtime.graphs.clear()  # CUDA's side of them is lost
    backend.close()
    backend.close()
    driver.failing = None
    assert "engine gone" in driver.log
