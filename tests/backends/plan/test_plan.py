"""Plans: why one cannot run here, and that one is run rightly, on a GPU that keeps CUDA's rules and does not exist."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
from types import ModuleType

import numpy as np
import pytest

from tests.backends.plan.fake_gpu import FakeDriver
from tests.backends.plan.fake_tensorrt import FakeTensorRT, Tensor, answer_to
from tests.backends.plan.opened import run
from tests.manifests import read_record, write_record
from wrn_deploy.backends.plan import backend as plan_backend
from wrn_deploy.backends.plan import validity
from wrn_deploy.backends.plan.backend import PlanRuntime
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DamagedFile, DeployError, MachineError
from wrn_deploy.machine import Gpu
from wrn_deploy.runtime.backend import examine, open_backend, runtimes
from wrn_deploy.spec import Precision, TensorSpec

H200 = Gpu("NVIDIA H200", "9.0", 143771, "570.86.15")
FACTS = {
    "flavor": "tensorrt", "version": "11.4.0.106", "compute_capability": "9.0", "gpu": "NVIDIA H200",
    "profiles": [{"minimum": 2, "optimum": 4, "maximum": 6}],
    "inputs": [{"name": "images", "dtype": "uint8", "shape": [32, 32, 3]}],
}  # fmt: skip
TENSORS = (TensorSpec("images", "float32", (3, 4, 4)), TensorSpec("logits", "float32", (5,)))


class Machine:
    """What this machine pretends to have."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._real_spec, self._real_import = importlib.util.find_spec, importlib.import_module

    def has(self, gpu: Gpu | None, **packages: str | Exception) -> None:
        names = {"tensorrt", "tensorrt_lean", "tensorrt_rtx", "pycuda"}

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
        self._patch.setattr(plan_backend, "find_gpu", lambda: gpu)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def with_plan(bundle: Bundle, **facts: object) -> Bundle:
    """The bundle with an fp16 plan of full TensorRT, as if it had been built on a GPU."""
    record = read_record(bundle.folder)
    (bundle.folder / "fp16-tensorrt.plan").write_bytes(b"plan")
    from wrn_deploy.bundle import sha256_of

    record["artifacts"]["plan-fp16-tensorrt"] = {
        "key": "plan-fp16-tensorrt", "kind": "plan", "precision": "fp16", "path": "fp16-tensorrt.plan",
        "sha256": sha256_of(bundle.folder / "fp16-tensorrt.plan"), "size_bytes": 4,
        "recipe": {"parents": {"onnx-fp16": record["artifacts"]["onnx-fp16"]["sha256"]}, "options": {}, "tools": {}},
        "facts": {**FACTS, **facts},
    }  # fmt: skip
    write_record(bundle.folder, record)
    return Bundle.open(bundle.folder)


def why(bundle: Bundle) -> str | None:
    return examine(bundle, "tensorrt", Precision.FP16).skipped


def test_reasons_come_in_the_order_in_which_they_can_be_fixed(bundle: Bundle, machine: Machine) -> None:
    made = with_plan(bundle)
    machine.has(None)
    assert str(why(made)).startswith("tensorrt is not installed: pip install ")
    assert why(bundle) == why(made), "it says more than the plan"
    machine.has(H200, tensorrt=ImportError("no libnvinfer"))
    assert why(made) == "TensorRT is installed but cannot be loaded (no libnvinfer): reinstall it"
    machine.has(None, tensorrt="10.16.1.11")
    assert (why(made) or "").startswith("the plan was built elsewhere: tensorrt 11.4.0.106, here 10.16.1.11")
    machine.has(None, tensorrt="11.4.0.106")
    assert why(made) == "no CUDA GPU on this machine"
    machine.has(H200, tensorrt="11.4.0.106")
    assert "PyCUDA is not installed: pip install " in str(why(made))
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
        open_backend(with_plan(bundle), backend="tensorrt", precision=Precision.FP16)


def test_a_missing_package_says_more_than_the_missing_plan(bundle: Bundle, machine: Machine) -> None:
    machine.has(None)
    with pytest.raises(MachineError, match="TensorRT cannot run fp16: tensorrt is not installed"):
        open_backend(bundle, backend="tensorrt", precision=Precision.FP16)
    machine.has(H200, tensorrt="11.4.0.106", pycuda="2026.1")
    with pytest.raises(DeployError, match="has no plan-fp16-tensorrt"):
        open_backend(bundle, backend="tensorrt", precision=Precision.FP16)


@pytest.mark.parametrize(
    "source", [TensorSpec("images", "uint8", (32, 32, 3)), TensorSpec("images", "float32", (3, 32, 32))]
)
def test_a_bundles_plan_is_opened_with_its_profile_and_its_own_input(
    bundle: Bundle,
    driver: FakeDriver,
    trt: FakeTensorRT,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    source: TensorSpec,
) -> None:
    """The bundle's graphs take normalised images; what the plan takes is in its facts."""
    made = with_plan(bundle, inputs=[dataclasses.asdict(source)])
    machine.has(H200, tensorrt="11.4.0.106", pycuda="2026.1")
    artifact = made.artifacts["plan-fp16-tensorrt"]
    runtime = PlanRuntime(flavor="tensorrt", title="TensorRT", extra="gpu")
    trt.profiles = [(2, 4, 6)]
    trt.tensors = [
        Tensor("images", {"uint8": "UINT8", "float32": "FLOAT"}[source.dtype], source.shape),
        Tensor("logits", "FLOAT", (10,), lambda images: answer_to(images, 10)),
    ]
    monkeypatch.setattr(importlib, "import_module", lambda _name: trt)
    size = {"uint8": 1, "float32": 4}[source.dtype]
    with runtime.open_backend(made, artifact, precision=Precision.FP16, threads=None) as backend:
        assert backend.batches == range(2, 7)
        assert backend.inputs == (source,)
        assert [len(memory.data) for memory in driver.memory.values()] == [trt.activations], "buffers wait for a batch"
        batch = np.ones((5, *source.shape), source.dtype)
        np.testing.assert_array_equal(run(backend, batch), answer_to(batch, 10))
        sizes = [trt.activations, 6 * 10 * 4, 6 * 3 * 32 * 32 * size]
        assert sorted(len(memory.data) for memory in driver.memory.values()) == sorted(sizes)


@pytest.mark.parametrize("inputs", [None, [], [{"name": "images"}], "images", [1, 2]])
def test_a_manifest_without_the_input_says_so(
    bundle: Bundle, trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch, inputs: object
) -> None:
    made = with_plan(bundle, inputs=inputs)
    monkeypatch.setattr(importlib, "import_module", lambda _name: trt)
    runtime = PlanRuntime(flavor="tensorrt", title="TensorRT", extra="gpu")
    with pytest.raises(DamagedFile, match="the plan's input"):
        runtime.open_backend(made, made.artifacts["plan-fp16-tensorrt"], precision=Precision.FP16, threads=None)


def test_the_lean_runtime_opens_version_compatible_plans(
    bundle: Bundle, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    compatible = {"version_compatible": True, "version": "11.3.0.1"}
    made = with_plan(bundle, **compatible)
    machine.has(H200)
    reason = why(made) or ""
    assert reason.startswith("tensorrt is not installed: pip install ")
    assert re.search(r", or pip install .*'tensorrt-lean-cu13>=11.0' for its lean runtime$", reason)
    machine.has(None, tensorrt_lean="11.4.0.106")
    assert why(made) == "no CUDA GPU on this machine"
    machine.has(H200, tensorrt_lean="11.4.0.106")
    monkeypatch.setattr(validity, "package_versions", lambda *_names: {"tensorrt-lean-cu13": "11.4.0.106"})
    assert why(made) == "tensorrt-lean-cu13 needs the driver 580 or later, here 570.86.15: update it"
    newer = dataclasses.replace(H200, driver="580.65.06")
    machine.has(newer, tensorrt_lean="11.4.0.106")
    assert (why(made) or "").startswith("PyCUDA is not installed: pip install ")
    machine.has(newer, tensorrt_lean="11.4.0.106", pycuda="2026.1")
    assert why(made) is None
    machine.has(newer, tensorrt_lean="11.2.0.1", pycuda="2026.1")
    assert "tensorrt 11.3.0.1, here 11.2.0.1" in (why(made) or "")
    machine.has(newer, tensorrt_lean="11.4.0.106", pycuda="2026.1")
    assert "built elsewhere" in (why(with_plan(bundle, **compatible, exclude_lean_runtime=True)) or "")
    assert "runs version-compatible plans alone: build" in (why(with_plan(bundle, version="11.4.0.106")) or "")
    assert runtimes()["tensorrt"].unfit(None) is None
    assert str(runtimes()["tensorrt_rtx"].unfit(None)).startswith("tensorrt-rtx is not installed: pip install ")


def test_the_lean_module_is_imported_only_without_the_full_one(
    bundle: Bundle, trt: FakeTensorRT, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"version_compatible": True, "exclude_lean_runtime": True, "inputs": [dataclasses.asdict(TENSORS[0])]}
    made, imported = with_plan(bundle, **facts), list[str]()
    trt.profiles = [(2, 4, 6)]
    trt.tensors[1] = Tensor("logits", "FLOAT", (10,), lambda images: answer_to(images, 10))
    runtime = PlanRuntime(flavor="tensorrt", title="TensorRT", extra="gpu")

    def import_module(name: str) -> FakeTensorRT:
        imported.append(name)
        return trt

    both = {"tensorrt": "11.4.0.106", "tensorrt_lean": "11.4.0.106"}
    for packages, wanted in ((both, "tensorrt"), ({"tensorrt_lean": "11.4.0.106"}, "tensorrt_lean")):
        machine.has(H200, **packages, pycuda="2026.1")
        monkeypatch.setattr(importlib, "import_module", import_module)
        artifact = made.artifacts["plan-fp16-tensorrt"]
        with runtime.open_backend(made, artifact, precision=Precision.FP16, threads=None) as backend:
            assert run(backend, np.ones((2, 3, 4, 4), np.float32)).shape == (2, 10)
        assert imported.pop() == wanted


@pytest.mark.parametrize("profiles", [None, {}, [{"minimum": 1}], [{"minimum": "1", "optimum": 2, "maximum": 4}], 3])
def test_a_manifest_without_a_profile_says_so(
    bundle: Bundle, trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch, profiles: object
) -> None:
    made = with_plan(bundle, profiles=profiles)
    monkeypatch.setattr(importlib, "import_module", lambda _name: trt)
    runtime = PlanRuntime(flavor="tensorrt", title="TensorRT", extra="gpu")
    with pytest.raises(DeployError, match=r"the manifest (lacks|says that) the plan's batches .*: rebuild it"):
        runtime.open_backend(made, made.artifacts["plan-fp16-tensorrt"], precision=Precision.FP16, threads=None)
