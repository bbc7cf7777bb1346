"""Plans are run rightly, and give everything back, on a GPU that keeps CUDA's rules and does not exist."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.plan.fake_gpu import CudaError, FakeDriver
from tests.backends.plan.fake_tensorrt import FakeTensorRT, Tensor, answer_to
from tests.backends.plan.opened import expected, opened, run, some_images
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.spec import TensorSpec

ROOT = Path(__file__).resolve().parents[3]
FREED = ["free"] * 3  # input, output, activations


def test_answers_are_right_at_every_batch_of_the_profile(trt: FakeTensorRT) -> None:
    with opened(trt) as backend:
        for seed, size in enumerate((6, 1, 3, 6, 2, 2)):
            batch = some_images(size, seed)
            np.testing.assert_allclose(run(backend, batch), answer_to(batch, 5), rtol=1e-5)


def test_work_in_flight_is_not_overwritten(trt: FakeTensorRT) -> None:
    """Uploading again, without waiting, must not change what the running inference reads."""
    first, second = some_images(4, 1), some_images(2, 2)
    with opened(trt) as backend:
        batch = first.copy()
        backend.upload(batch)
        batch[:] = np.nan
        backend.execute()
        answer = backend.download()[0]
        backend.upload(second)
        backend.execute()
        np.testing.assert_allclose(answer, answer_to(first, 5), rtol=1e-5)
        np.testing.assert_allclose(backend.download()[0], answer_to(second, 5), rtol=1e-5)
        assert answer.flags.owndata


def test_an_upload_does_not_change_what_the_inference_before_it_reads(trt: FakeTensorRT) -> None:
    with opened(trt) as backend:
        backend.upload(some_images(4, 1))
        backend.execute()
        backend.upload(some_images(4, 2))
        np.testing.assert_allclose(backend.download()[0], answer_to(some_images(4, 1), 5), rtol=1e-5)


def test_the_callers_context_is_current_again_after_every_call(driver: FakeDriver, trt: FakeTensorRT) -> None:
    theirs = object()
    driver.stack.append(theirs)
    backend = opened(trt)
    batch = some_images(2)
    calls = (lambda: backend.upload(batch), backend.execute, backend.synchronize, backend.download, backend.close)
    for call in calls:
        call()
        assert driver.stack == [theirs]
    assert driver.memory == {}


def test_several_threads_can_use_one_backend_in_turn(driver: FakeDriver, trt: FakeTensorRT) -> None:
    batch = some_images(3)
    with opened(trt) as backend, ThreadPoolExecutor(1) as pool:
        for _ in range(3):
            np.testing.assert_allclose(pool.submit(run, backend, batch).result(), answer_to(batch, 5), rtol=1e-5)
        assert pool.submit(lambda: list(driver.stack)).result() == []


def test_closing_gives_all_memory_back_after_the_engine(driver: FakeDriver, trt: FakeTensorRT) -> None:
    backend = opened(trt)
    run(backend, some_images(1))
    driver.log.clear()
    backend.close()
    backend.close()
    assert driver.log == ["context gone", *FREED, "engine gone", "runtime gone"]
    assert driver.memory == {}
    assert driver.stack == []
    for call in (lambda: backend.upload(some_images(1)), backend.execute, backend.synchronize, backend.download):
        with pytest.raises(DeployError, match="this backend is closed: open it again"):
            call()


def test_the_primary_context_is_retained_once_and_kept(driver: FakeDriver, trt: FakeTensorRT) -> None:
    for _ in range(3):
        with opened(trt) as first, opened(trt) as second:
            run(first, some_images(1))
            run(second, some_images(1))
    assert driver.log.count("retain") == driver.log.count("init") == 1


def test_a_batch_outside_of_the_profile_says_how_to_build_one(trt: FakeTensorRT) -> None:
    trt.profiles = [(2, 4, 6)]
    with opened(trt) as backend:
        assert (backend.batches[0], backend.batches[-1]) == (2, 6)
        with pytest.raises(DeployError, match=r"batch of 7 .*\(2 to 6\).* --profile 2:7:7$"):
            backend.upload(some_images(7))
        with pytest.raises(DeployError, match=r"batch of 1 .*\(2 to 6\).* --profile 1:1:6$"):
            backend.upload(some_images(1))
        run(backend, some_images(2))


def test_a_plan_that_this_gpu_does_not_take_says_so(driver: FakeDriver, trt: FakeTensorRT) -> None:
    with pytest.raises(MachineError, match="cannot be deserialized on this GPU: rebuild it here"):
        opened(trt, plan=b"another GPU's")
    assert driver.stack == []
    trt.context_fails = True
    with pytest.raises(MachineError, match="cannot make an execution context"):
        opened(trt)
    assert (driver.stack, driver.memory) == ([], {})


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("images", {"name": "pictures"}, "the plan's tensors are images, logits: the bundle's are pictures, logits"),
        ("images", {"dtype": "uint8"}, r"the plan's images is float32 .'N', 3, 4, 4.: the bundle says uint8 "),
        ("images", {"shape": (3, 8, 8)}, r"'N', 3, 4, 4.: the bundle says float32 .'N', 3, 8, 8."),
        ("logits", {"shape": (6,)}, r"the plan's logits is float32 .'N', 5.: the bundle says float32 .'N', 6."),
        ("logits", {"dtype": "int64"}, "the plan's logits is float32 .*: the bundle says int64 "),
    ],
)
def test_a_plan_of_another_network_says_so(trt: FakeTensorRT, name: str, change: dict[str, Any], said: str) -> None:
    given = expected(trt)
    if name == "images":
        given = dataclasses.replace(given, source=dataclasses.replace(given.source, **change))
    else:
        given = dataclasses.replace(given, results=(dataclasses.replace(given.results[0], **change),))
    with pytest.raises(DeployError, match=said + ".*; rebuild it from this bundle"):
        opened(trt, given)


def test_an_output_too_few_or_too_many_is_found(trt: FakeTensorRT) -> None:
    given = expected(trt)
    more = dataclasses.replace(given, results=(*given.results, TensorSpec("features", "float32", (7,))))
    with pytest.raises(DeployError, match="logits: the bundle's are images, logits, features;"):
        opened(trt, more)
    with pytest.raises(DeployError, match="the plan's tensors are images, logits: the bundle's are images;"):
        opened(trt, dataclasses.replace(given, results=()))


def test_another_profile_than_the_manifests_is_found(trt: FakeTensorRT) -> None:
    given = expected(trt)
    trt.profiles = [(1, 2, 6), (6, 6, 9)]
    with pytest.raises(
        DeployError, match=r"batches are \[\(1, 2, 6\), \(6, 6, 9\)\], and the manifest says \[\(1, 3, 6\)\]"
    ):
        opened(trt, given)


def test_pixels_in_and_several_outputs_of_several_types(trt: FakeTensorRT) -> None:
    trt.tensors = [
        Tensor("images", "UINT8", (4, 4, 3)),
        Tensor("classes", "INT64", (2,), lambda images: np.argsort(-answer_to(images, 5))[:, :2]),
        Tensor("features", "FLOAT", (7,), lambda images: answer_to(images, 7)),
    ]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    with opened(trt) as backend:
        assert [each.name for each in backend.outputs] == ["classes", "features"]
        backend.upload(pixels)
        backend.execute()
        backend.synchronize()
        classes, features = backend.download()
    assert [str(each.dtype) for each in (classes, features)] == ["int64", "float32"]
    np.testing.assert_array_equal(classes, np.argsort(-answer_to(pixels, 5))[:, :2])
    np.testing.assert_allclose(features, answer_to(pixels, 7))


def test_each_batch_runs_on_the_profile_that_is_tuned_nearest(trt: FakeTensorRT) -> None:
    """The fake context refuses a shape that its profile does not have."""
    trt.profiles = [(4, 6, 8), (1, 1, 1), (1, 3, 8)]
    with opened(trt) as backend:
        assert (backend.batches[0], backend.batches[-1]) == (1, 8)
        chosen = [backend._engine.profile_for(batch) for batch in range(1, 9)]
        assert chosen == [1, 2, 2, 2, 0, 0, 0, 0]
        for seed, size in enumerate((8, 1, 3, 5, 1, 8)):
            batch = some_images(size, seed)
            np.testing.assert_allclose(run(backend, batch), answer_to(batch, 5), rtol=1e-5)


def test_a_batch_between_two_profiles_names_both(trt: FakeTensorRT) -> None:
    trt.profiles = [(1, 1, 1), (4, 4, 4)]
    with opened(trt) as backend:
        with pytest.raises(
            DeployError, match=r"batch of 2 is outside the plan's profiles \(1 to 1, 4 to 4\): .* 1:2:4"
        ):
            backend.upload(some_images(2))
        run(backend, some_images(4))


def test_executing_nothing_is_an_error(trt: FakeTensorRT) -> None:
    with opened(trt) as backend, pytest.raises(DeployError, match="no batch to run: upload one first"):
        backend.execute()


def test_siblings_share_the_engine_and_nothing_else(driver: FakeDriver, trt: FakeTensorRT) -> None:
    first = opened(trt)
    second = first.sibling()
    one, two = some_images(2, 1), some_images(5, 2)
    first.upload(one)
    second.upload(two)
    for backend in (first, second):
        backend.execute()
    np.testing.assert_allclose(second.download()[0], answer_to(two, 5), rtol=1e-5)
    np.testing.assert_allclose(first.download()[0], answer_to(one, 5), rtol=1e-5)
    driver.log.clear()
    first.close()
    first.close()
    assert driver.log == ["context gone", *FREED], "the engine went with a sibling still open"
    with pytest.raises(DeployError, match="this backend is closed"):
        first.sibling()
    np.testing.assert_allclose(run(second, one), answer_to(one, 5), rtol=1e-5)
    driver.log.clear()
    second.close()
    assert driver.log == ["context gone", *FREED, "free", "free", "engine gone", "runtime gone"], "buffers of two sizes"
    assert driver.memory == {}


def test_a_sibling_that_cannot_be_made_leaves_nothing(driver: FakeDriver, trt: FakeTensorRT) -> None:
    first = opened(trt)
    before = set(driver.memory)
    trt.context_fails = True
    with pytest.raises(MachineError, match="cannot make an execution context"):
        first.sibling()
    assert set(driver.memory) == before
    driver.log.clear()
    first.close()
    assert driver.log[-2:] == ["engine gone", "runtime gone"]


def test_a_forgotten_backend_gives_its_memory_back(driver: FakeDriver, trt: FakeTensorRT) -> None:
    backend = opened(trt)
    run(backend, some_images(2))
    assert driver.stream_of(backend.stream).queue == []
    del backend
    assert driver.memory == {}
    assert driver.log[-2:] == ["engine gone", "runtime gone"]


def test_work_that_is_not_waited_for_is_done_before_closing(driver: FakeDriver, trt: FakeTensorRT) -> None:
    backend = opened(trt)
    backend.upload(some_images(2))
    backend.execute()
    backend.close()
    assert driver.memory == {}


def test_an_interpreter_ends_well_with_backends_open() -> None:
    """What is not closed is closed before the interpreter takes modules apart, contexts before their engine."""
    code = (
        "import sys\n"
        "from types import ModuleType\n"
        "from tests.backends.plan.fake_gpu import FakeDriver\n"
        "from tests.backends.plan.fake_tensorrt import FakeTensorRT\n"
        "from tests.backends.plan.opened import opened, run, some_images\n"
        "driver = FakeDriver()\n"
        "package = ModuleType('pycuda')\n"
        "package.driver = driver\n"
        "sys.modules.update({'pycuda': package, 'pycuda.driver': driver})\n"
        "class Log(list):\n"
        "    def append(self, line): print(line, flush=True)\n"
        "backend = opened(FakeTensorRT(driver))\n"
        "other = backend.sibling()\n"
        "run(backend, some_images(2)); run(other, some_images(2))\n"
        "driver.log = Log()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    wanted = ["context gone", *FREED] * 2 + ["engine gone", "runtime gone"]
    assert done.stdout.split("\n")[:-1] == wanted
    assert done.stderr == ""


def test_a_forked_child_frees_nothing_of_its_parents() -> None:
    """Neither when it ends, nor when it drops the runner's pool: CUDA does not work in a child."""
    code = (
        "import os, sys\n"
        "from types import ModuleType\n"
        "from tests.backends.plan.fake_gpu import FakeDriver\n"
        "from tests.backends.plan.fake_tensorrt import FakeTensorRT\n"
        "from tests.backends.plan.opened import opened\n"
        "from wrn_deploy.runtime.pool import Pool\n"
        "driver = FakeDriver()\n"
        "package = ModuleType('pycuda')\n"
        "package.driver = driver\n"
        "sys.modules.update({'pycuda': package, 'pycuda.driver': driver})\n"
        "class Log(list):\n"
        "    def append(self, line): print(os.getpid() == parent, line, flush=True)\n"
        "parent = os.getpid()\n"
        "pool = Pool(opened(FakeTensorRT(driver)), 2)\n"
        "pool.call_each(lambda backend: None)\n"
        "driver.log = Log()\n"
        "for drops in (False, True):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        if drops: del pool\n"
        "        sys.exit()\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "print('parent ends', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert lines[0] == "parent ends", "a child freed something"
    assert "True engine gone" in lines
    assert not [line for line in lines if line.startswith("False")]
    assert done.stderr == ""


def test_a_gpu_that_fails_is_reported_and_can_be_closed(driver: FakeDriver, trt: FakeTensorRT) -> None:
    backend = opened(trt)
    backend.upload(some_images(1))
    driver.failing = "cuStreamSynchronize failed: unspecified launch failure"
    with pytest.raises(MachineError, match=r"CUDA failed \(cuStreamSynchronize failed: unspecified launch failure\)"):
        backend.synchronize()
    assert driver.stack == []
    with pytest.raises(MachineError, match="CUDA failed"):
        opened(trt)
    driver.failing = None
    backend.close()
    assert driver.memory == {}


def test_where_even_a_context_cannot_be_popped_pycudas_list_is_emptied(driver: FakeDriver, trt: FakeTensorRT) -> None:
    """PyCUDA would end the process otherwise."""
    backend = opened(trt)
    driver.lost = True
    with pytest.raises(MachineError, match=r"cuCtxPopCurrent failed: .*this process has lost the GPU"):
        backend.synchronize()
    assert driver.stack == []
    backend.close()
    assert driver.stack == []


def test_a_gpu_that_is_lost_can_be_closed_without_an_error(driver: FakeDriver, trt: FakeTensorRT) -> None:
    backend = opened(trt)
    sibling = backend.sibling()
    sibling.upload(some_images(1))
    driver.failing = "cuMemcpyHtoDAsync failed: an illegal memory access was encountered"
    with pytest.raises(MachineError, match=r"illegal memory access .*this process has lost the GPU, start it again"):
        backend.upload(some_images(1))
    for each in (sibling, backend):
        each.close()
        with pytest.raises(DeployError, match="this backend is closed"):
            each.execute()
    assert driver.stack == []
    assert "engine gone" in driver.log


def test_without_a_working_driver_the_machine_cannot_do_it(driver: FakeDriver, trt: FakeTensorRT) -> None:
    driver.failing = "cuInit failed: no CUDA-capable device is detected"
    with pytest.raises(MachineError, match=r"CUDA cannot be used .cuInit failed"):
        opened(trt)
    driver.failing = None
    opened(trt).close()


def test_a_pycuda_that_does_not_load_is_reported(trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(MachineError, match="PyCUDA cannot be loaded"):
        opened(trt)


def test_errors_that_are_not_cudas_are_passed_on(driver: FakeDriver, trt: FakeTensorRT) -> None:
    with opened(trt) as backend, pytest.raises(ValueError, match="broadcast"):
        backend.upload(np.zeros((2, 3, 9, 9), dtype=np.float32))
    assert driver.stack == []
    assert issubclass(driver.Error, CudaError)
