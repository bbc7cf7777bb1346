"""Plans: why one cannot run here, and that one is run rightly, on a GPU that keeps CUDA's rules and does not exist."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from tests.backends.fake_gpu import CudaError, FakeDriver, FakeTensorRT, answer_to
from wrn_deploy.backend import examine, open_backend
from wrn_deploy.backends import _plan
from wrn_deploy.backends._plan import PlanBackend, PlanRuntime
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.machine import Gpu
from wrn_deploy.spec import Precision, TensorSpec

H200 = Gpu("NVIDIA H200", "9.0", 143771, "570.86.15")
FACTS = {
    "flavor": "tensorrt", "version": "11.4.0.106", "compute_capability": "9.0", "gpu": "NVIDIA H200",
    "profiles": [{"minimum": 2, "optimum": 4, "maximum": 6}],
}  # fmt: skip
TENSORS = (TensorSpec("images", "float32", (3, 4, 4)), TensorSpec("logits", "float32", (5,)))


class Machine:
    """What this machine pretends to have."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._real_spec, self._real_import = importlib.util.find_spec, importlib.import_module

    def has(self, gpu: Gpu | None, **packages: str | Exception) -> None:
        names = {"tensorrt", "tensorrt_rtx", "pycuda"}

        def find_spec(name: str, package: str | None = None) -> object:
            return (object() if name in packages else None) if name in names else self._real_spec(name, package)

        def import_module(name: str, package: str | None = None) -> ModuleType:
            if name not in packages:
                return self._real_import(name, package)
            outcome = packages[name]
            if isinstance(outcome, Exception):
                raise outcome
            module = ModuleType(name)
            module.__dict__["__version__"] = outcome
            return module

        self._patch.setattr(importlib.util, "find_spec", find_spec)
        self._patch.setattr(importlib, "import_module", import_module)
        self._patch.setattr(_plan, "find_gpu", lambda: gpu)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def with_plan(bundle: Bundle, **facts: object) -> Bundle:
    """The bundle with an fp16 plan of full TensorRT, as if it had been built on a GPU."""
    manifest = bundle.folder / "manifest.json"
    record = json.loads(manifest.read_text())
    (bundle.folder / "fp16-tensorrt.plan").write_bytes(b"plan")
    from wrn_deploy.bundle import sha256_of

    record["artifacts"]["plan-fp16-tensorrt"] = {
        "key": "plan-fp16-tensorrt", "kind": "plan", "precision": "fp16", "path": "fp16-tensorrt.plan",
        "sha256": sha256_of(bundle.folder / "fp16-tensorrt.plan"), "size_bytes": 4,
        "recipe": {"parents": {"onnx-fp16": record["artifacts"]["onnx-fp16"]["sha256"]}, "options": {}, "tools": {}},
        "facts": {**FACTS, **facts},
    }  # fmt: skip
    manifest.write_text(json.dumps(record))
    return Bundle.open(bundle.folder)


def why(bundle: Bundle) -> str | None:
    return examine(bundle, "tensorrt", Precision.FP16).skipped


def test_reasons_come_in_the_order_in_which_they_can_be_mended(bundle: Bundle, machine: Machine) -> None:
    made = with_plan(bundle)
    machine.has(None)
    assert why(made) == "TensorRT is not installed: pip install 'wrn-deploy[gpu]'"
    assert why(bundle) == "TensorRT is not installed: pip install 'wrn-deploy[gpu]'", "it says more than the plan"
    machine.has(H200, tensorrt=ImportError("no libnvinfer"))
    assert why(made) == "TensorRT is installed but cannot be loaded (no libnvinfer): install it again"
    machine.has(None, tensorrt="10.16.1.11")
    assert (why(made) or "").startswith("the plan was built elsewhere: tensorrt 11.4.0.106, here 10.16.1.11")
    machine.has(None, tensorrt="11.4.0.106")
    assert why(made) == "no CUDA GPU on this machine"
    machine.has(H200, tensorrt="11.4.0.106")
    assert why(made) == "PyCUDA is not installed: pip install 'wrn-deploy[gpu]'"
    machine.has(Gpu("NVIDIA L4", "8.9", 23034, "570"), tensorrt="11.4.0.106", pycuda="2026.1")
    assert "compute capability 9.0 (NVIDIA H200), here 8.9 (NVIDIA L4)" in (why(made) or "")
    machine.has(H200, tensorrt="11.4.0.106", pycuda="2026.1")
    assert why(made) is None


def test_a_bundle_without_the_plan_names_the_command(bundle: Bundle, machine: Machine) -> None:
    machine.has(H200, tensorrt="11.4.0.106", pycuda="2026.1")
    said = why(bundle) or ""
    assert "has no plan-fp16-tensorrt: run `wrn-deploy build-engine" in said
    assert "--fp16 --flavor tensorrt`" in said


def test_a_plan_that_does_not_fit_is_not_opened(bundle: Bundle, machine: Machine) -> None:
    machine.has(H200, tensorrt="10.16.1.11", pycuda="2026.1")
    with pytest.raises(MachineError, match="TensorRT cannot run fp16: the plan was built elsewhere"):
        open_backend(with_plan(bundle), "tensorrt", Precision.FP16)


def test_a_missing_package_says_more_than_the_missing_plan(bundle: Bundle, machine: Machine) -> None:
    machine.has(None)
    with pytest.raises(MachineError, match="TensorRT cannot run fp16: TensorRT is not installed"):
        open_backend(bundle, "tensorrt", Precision.FP16)
    machine.has(H200, tensorrt="11.4.0.106", pycuda="2026.1")
    with pytest.raises(DeployError, match="has no plan-fp16-tensorrt"):
        open_backend(bundle, "tensorrt", Precision.FP16)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    fake = FakeDriver()
    package = ModuleType("pycuda")
    package.driver = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", fake)
    _plan._primary_context.cache_clear()
    yield fake
    _plan._primary_context.cache_clear()


@pytest.fixture
def trt(driver: FakeDriver) -> FakeTensorRT:
    return FakeTensorRT(driver)


def opened(trt: FakeTensorRT, batches: range = range(1, 7)) -> PlanBackend:
    return PlanBackend(trt, b"plan", TENSORS, batches)


def some_images(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 3, 4, 4)).astype(np.float32)


def run(backend: PlanBackend, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    backend.upload(batch)
    backend.execute()
    backend.synchronize()
    return backend.download()[0]


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
    assert driver.log == ["context gone", "engine gone", "free", "free"]
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
    with opened(trt, range(2, 7)) as backend:
        assert (backend.batches[0], backend.batches[-1]) == (2, 6)
        with pytest.raises(DeployError, match=r"batch of 7 .*\(2 to 6\).* --profile 2:7:7$"):
            backend.upload(some_images(7))
        with pytest.raises(DeployError, match=r"batch of 1 .*\(2 to 6\).* --profile 1:1:6$"):
            backend.upload(some_images(1))
        run(backend, some_images(2))


def test_a_plan_that_this_gpu_does_not_take_says_so(driver: FakeDriver, trt: FakeTensorRT) -> None:
    with pytest.raises(MachineError, match="cannot be deserialized on this GPU: build it again here"):
        PlanBackend(trt, b"another GPU's", TENSORS, range(1, 3))
    assert driver.stack == []
    trt.context_fails = True
    with pytest.raises(MachineError, match="cannot make an execution context"):
        opened(trt)
    assert driver.stack == []


def test_a_plan_of_another_network_says_so(trt: FakeTensorRT) -> None:
    renamed = (TensorSpec("pictures", "float32", (3, 4, 4)), TENSORS[1])
    with pytest.raises(DeployError, match="the plan has no tensor pictures"):
        PlanBackend(trt, b"plan", renamed, range(1, 3))
    larger = (TensorSpec("images", "float32", (3, 8, 8)), TENSORS[1])
    with PlanBackend(trt, b"plan", larger, range(1, 3)) as backend, pytest.raises(DeployError, match="does not take"):
        backend.upload(np.zeros((1, 3, 8, 8), dtype=np.float32))


def test_executing_nothing_is_an_error(trt: FakeTensorRT) -> None:
    with opened(trt) as backend, pytest.raises(MachineError, match="could not start the inference"):
        backend.execute()


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


def test_a_bundles_plan_is_opened_with_its_profile(
    bundle: Bundle, driver: FakeDriver, trt: FakeTensorRT, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = with_plan(bundle)
    machine.has(H200, tensorrt="11.4.0.106", pycuda="2026.1")
    artifact = made.artifacts["plan-fp16-tensorrt"]
    runtime = PlanRuntime("tensorrt", "TensorRT", "gpu")
    monkeypatch.setattr(importlib, "import_module", lambda _name: trt)
    with runtime.open_backend(made, artifact, threads=None) as backend:
        assert backend.batches == range(2, 7)
        assert backend.inputs == (made.spec.input,)
        assert sorted(len(memory.data) for memory in driver.memory.values()) == [6 * 10 * 4, 6 * 3 * 32 * 32 * 4]


@pytest.mark.parametrize("profiles", [None, {}, [{"minimum": 1}], [{"minimum": "1", "optimum": 2, "maximum": 4}], 3])
def test_a_manifest_without_a_profile_says_so(
    bundle: Bundle, trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch, profiles: object
) -> None:
    made = with_plan(bundle, profiles=profiles)
    monkeypatch.setattr(importlib, "import_module", lambda _name: trt)
    runtime = PlanRuntime("tensorrt", "TensorRT", "gpu")
    with pytest.raises(DeployError, match=r"the manifest (lacks|says that) the plan's batches .*: build it again"):
        runtime.open_backend(made, made.artifacts["plan-fp16-tensorrt"], threads=None)
