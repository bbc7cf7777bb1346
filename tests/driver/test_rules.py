"""The stand-in itself: it refuses or notices what CUDA's and TensorRT's documentation forbids."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.driver import standin
from tests.driver.bundles import answer_to, pack_plan, some_images
from wrn_deploy.backends.plan.cuda import NON_BLOCKING, call, cuda_runtime
from wrn_deploy.engines.flavor import Flavor, find_flavor
from wrn_deploy.errors import MachineError
from wrn_deploy.runtime.gpu import on_gpu
from wrn_deploy.spec import TensorSpec

SOURCE, RESULT = TensorSpec("images", "float32", (3, 8, 8)), TensorSpec("logits", "float32", (10,))


class Desk:
    """An engine, a stream, memory for 16 images and what TensorRT said."""

    def __init__(self, cuda: Any, flavor: Flavor = Flavor.TENSORRT, *, user_allocation: bool = False) -> None:
        self.module = find_flavor(flavor).module
        said: list[str] = []

        class Logger(self.module.ILogger):  # type: ignore[misc, name-defined]
            def __init__(logger) -> None:  # noqa: N805
                super().__init__()

            def log(logger, severity: Any, msg: str) -> None:  # noqa: N805
                said.append(f"{severity.name}: {msg}")

        plan = pack_plan(SOURCE, [RESULT], [(1, 4, 8), (8, 16, 16)], flavor=flavor, user_allocation=user_allocation)
        self.said, self.cuda = said, cuda
        self.contexts: list[Any] = []
        self.engine = self.module.Runtime(Logger()).deserialize_cuda_engine(plan)
        self.stream = cuda.Stream(NON_BLOCKING)
        self.images, self.logits = cuda.mem_alloc(16 * 192 * 4), cuda.mem_alloc(16 * 10 * 4)
        cuda.memcpy_htod(self.images, some_images(16))

    def context(self, *given: Any, count: int | None = 4, profile: int = 0) -> Any:
        made = self.engine.create_execution_context(*given)
        self.contexts.append(made)  # they live until the stream was waited for
        assert made.set_optimization_profile_async(profile, self.stream.handle)
        for name, memory in (("images", self.images), ("logits", self.logits)):
            assert made.set_tensor_address(name, int(memory))
        if count is not None:
            assert made.set_input_shape("images", (count, 3, 8, 8))
        return made

    def start(self, context: Any, stream: Any = None) -> bool:
        return bool(context.execute_async_v3((stream or self.stream).handle))

    def capture(self, work: Callable[[], Any]) -> Any:
        mode = cuda_runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call("cudaStreamBeginCapture", self.stream.handle, mode)
        try:
            work()
        finally:
            graph = call("cudaStreamEndCapture", self.stream.handle)
        instance = call("cudaGraphInstantiate", graph, 0)
        call("cudaGraphDestroy", graph)
        return instance

    def answer(self, count: int) -> Any:
        self.stream.synchronize()
        values = np.empty((count, 10), np.float32)
        self.cuda.memcpy_dtoh(values, self.logits)
        return values


MakeDesk = Callable[..., Desk]


@pytest.fixture
def desk(gpu: Any) -> Iterator[MakeDesk]:
    desks: list[Desk] = []

    def make(*given: Any, **named: Any) -> Desk:
        desks.append(Desk(gpu, *given, **named))
        return desks[-1]

    yield make
    while desks:
        each = desks.pop()
        each.stream.synchronize()
        each.contexts.clear()


def test_an_inference_needs_a_shape_within_the_profile_aligned_addresses_and_memory(desk: MakeDesk) -> None:
    it = desk()
    context = it.context(count=None)
    assert not it.start(context)
    assert not context.set_input_shape("images", (9, 3, 8, 8))
    assert not context.set_input_shape("logits", (1, 10))
    assert context.set_input_shape("images", (4, 3, 8, 8))
    assert not context.set_tensor_address("images", int(it.images) + 4)
    assert not context.set_tensor_address("pictures", int(it.images))
    assert it.start(context)
    np.testing.assert_allclose(it.answer(4), answer_to(some_images(16)[:4]), rtol=1e-4, atol=1e-4)
    assert context.set_optimization_profile_async(1, it.stream.handle)
    assert not it.start(context), "another profile forgets the shape"
    assert not context.set_optimization_profile_async(2, it.stream.handle)
    assert len(it.said) == 7
    with pytest.raises(TypeError):
        context.execute_async_v3("0")
    with pytest.raises(AttributeError):
        context.profile = 1
    fresh = it.engine.create_execution_context()
    assert fresh.set_input_shape("images", (1, 3, 8, 8))
    assert not it.start(fresh), "no addresses"


def test_memory_of_the_users_is_checked(desk: MakeDesk) -> None:
    it = desk()
    context = it.context(it.module.ExecutionContextAllocationStrategy.USER_MANAGED)
    assert not it.start(context)
    block = it.cuda.mem_alloc(it.engine.device_memory_size_v2)
    context.set_device_memory(int(block), 16)
    context.set_device_memory(int(block) + 8, it.engine.device_memory_size_v2)
    assert [text.split("(")[0] for text in standin.violations()] == ["set_device_memory"] * 2
    context.set_device_memory(int(block), it.engine.device_memory_size_v2)
    assert it.start(context)
    it.context().set_device_memory(int(block), it.engine.device_memory_size_v2)
    assert standin.violations() == ["set_device_memory on an execution context that has memory of its own"]
    it.stream.synchronize()
    block.free()
    assert it.start(context), "TensorRT does not know"
    it.stream.synchronize()
    assert standin.violations() == ["an inference ran on activation memory that was freed before"]


@pytest.mark.parametrize("shared", ["context", "block"])
def test_two_inferences_at_once_in_one_context_or_block_are_noticed(
    desk: MakeDesk, monkeypatch: pytest.MonkeyPatch, shared: str
) -> None:
    monkeypatch.setenv("STANDIN_KERNEL_US", "100000")
    it = desk()
    other = it.cuda.Stream(NON_BLOCKING)
    contexts = [it.context(it.module.ExecutionContextAllocationStrategy.USER_MANAGED) for _ in range(2)]
    block = it.cuda.mem_alloc(it.engine.device_memory_size_v2)
    for each in contexts:
        each.set_device_memory(int(block), it.engine.device_memory_size_v2)
        assert it.start(each)  # the first run of a shape waits for the GPU
        it.stream.synchronize()
    assert it.start(contexts[0])
    assert it.start(contexts[shared == "block"], other)
    other.synchronize()
    it.stream.synchronize()
    assert "two inferences at once in one block of activation memory" in standin.violations()


def test_two_threads_in_one_context_are_noticed(desk: MakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    it = desk()
    context = it.context()
    inside, leave = threading.Event(), threading.Event()
    prepare = type(context)._prepare

    def slow(self: Any, stream: int) -> bool:
        inside.set()
        leave.wait(10)
        return bool(prepare(self, stream))

    monkeypatch.setattr(type(context), "_prepare", slow)

    def run() -> None:
        with on_gpu():
            it.start(context)

    thread = threading.Thread(target=run)
    thread.start()
    inside.wait(10)
    context.set_input_shape("images", (1, 3, 8, 8))
    leave.set()
    thread.join()
    assert standin.violations() == ["two threads in one execution context, one in set_input_shape"]


def test_the_first_run_of_a_shape_cannot_be_captured(desk: MakeDesk) -> None:
    it = desk()
    context = it.context()
    with pytest.raises(MachineError, match="cudaStreamEndCapture failed"):
        it.capture(lambda: it.start(context))
    assert standin.violations() == ["cuMemAlloc_v2 while this thread captures"]


@pytest.mark.parametrize("change", ["shape", "address", "profile", "nothing", "gone"])
def test_a_graph_holds_as_long_as_its_context_is_as_it_was(desk: MakeDesk, change: str) -> None:
    it = desk()
    contexts = [it.context()]
    assert it.start(contexts[0])
    graph = it.capture(lambda: it.start(contexts[0]))
    it.stream.synchronize()
    if change == "shape":
        contexts[0].set_input_shape("images", (2, 3, 8, 8))
    elif change == "address":
        contexts[0].set_tensor_address("logits", int(it.logits) + 256)
    elif change == "profile":
        contexts[0].set_optimization_profile_async(1, it.stream.handle)
    elif change == "gone":
        contexts.clear()
        it.contexts.clear()
    call("cudaGraphLaunch", graph, it.stream.handle)
    right = np.allclose(it.answer(4), answer_to(some_images(16)[:4]), rtol=1e-4, atol=1e-4)
    broken = standin.violations()
    assert (right, len(broken)) == ((True, 0) if change == "nothing" else (False, 1)), broken
    call("cudaGraphExecDestroy", graph)


@pytest.mark.parametrize("allowed", [False, True])
def test_rtx_says_what_can_be_captured(desk: MakeDesk, allowed: bool) -> None:
    it = desk(Flavor.RTX, user_allocation=allowed)
    context = it.context()
    assert it.start(context)
    assert context.is_stream_capturable(it.stream.handle) is allowed
    if allowed:
        call("cudaGraphExecDestroy", it.capture(lambda: it.start(context)))
    else:
        started: list[bool] = []
        call("cudaGraphExecDestroy", it.capture(lambda: started.append(it.start(context))))
        assert started == [False]
        assert "a capture of an execution context that cannot be captured" in standin.violations()[0]


def test_rtx_captures_by_itself(desk: MakeDesk) -> None:
    it = desk(Flavor.RTX)
    config = it.engine.create_runtime_config()
    config.cuda_graph_strategy = it.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    cache = config.create_runtime_cache()
    assert config.set_runtime_cache(cache)
    context = it.context(config)
    for _ in range(3):
        assert it.start(context)
    assert len(context.captures) == 1
    assert context.set_input_shape("images", (2, 3, 8, 8))
    assert it.start(context)
    assert it.start(context)
    assert len(context.captures) == 2
    assert not context.is_stream_capturable(it.stream.handle)
    it.stream.synchronize()


def test_copies_that_do_not_wait_are_noticed(desk: MakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_KERNEL_US", "100000")
    it = desk()
    other = it.cuda.Stream(NON_BLOCKING)
    pinned = it.cuda.pagelocked_empty((4, 3, 8, 8), np.float32)
    pinned[:] = 7
    context = it.context()
    assert it.start(context)
    it.stream.synchronize()
    assert it.start(context)
    while not it.stream.is_done():  # all the time that the kernel takes
        it.cuda.memcpy_htod_async(it.images, pinned, other)
        pinned += 1
    it.stream.synchronize()
    other.synchronize()
    assert "the input was overwritten while an inference read it" in standin.violations()


def test_calls_without_a_context_are_refused() -> None:
    with pytest.raises(MachineError, match="invalid device context"):
        call("cudaEventCreateWithFlags", 0)
    assert standin.violations() == ["cuEventCreate without a current context"]


def test_dependencies_into_a_capture_are_refused(desk: MakeDesk) -> None:
    it = desk()
    event = call("cudaEventCreateWithFlags", 2)
    call("cudaEventRecord", event, 0)
    mode = cuda_runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    call("cudaStreamBeginCapture", it.stream.handle, mode)
    with pytest.raises(MachineError):
        call("cudaStreamWaitEvent", it.stream.handle, event, 0)
    with pytest.raises(MachineError, match="previous error during capture"):
        call("cudaStreamEndCapture", it.stream.handle)
    assert standin.violations() == ["a dependency crosses the border of a capture"]
    call("cudaEventDestroy", event)


def test_the_trace_shows_what_overlaps(desk: MakeDesk) -> None:
    it = desk()
    context = it.context()
    standin.trace()
    assert it.start(context)
    it.answer(4)
    spans = standin.traced()
    assert [span.kind for span in spans] == ["inference", "copy out, pageable"]
    assert not spans[0].overlaps(spans[1])
    assert spans[1].size_bytes == 160
    standin.trace(on=False)
