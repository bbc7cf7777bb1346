"""What doctor says of machines that lack this or that."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import wrn_deploy
from wrn_deploy.backends.plan import backend as plan_backend
from wrn_deploy.embed.native import native_obstacle
from wrn_deploy.machine import Gpu, describe_machine
from wrn_deploy.pipeline.inspection import doctor
from wrn_deploy.pipeline.inspection.doctor import diagnose

H100 = Gpu("NVIDIA H100", "9.0", 81559, "570.1")


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    _show_gpu(monkeypatch, None)


def _show_gpu(monkeypatch: pytest.MonkeyPatch, gpu: Gpu | None) -> None:
    for module in (doctor, plan_backend):
        monkeypatch.setattr(module, "find_gpu", lambda: gpu)
    monkeypatch.setattr(doctor, "describe_machine", lambda: dataclasses.replace(describe_machine(), gpu=gpu))


def _hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def _show_tensorrt(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """As if full TensorRT, and no TensorRT-RTX, were installed."""
    _hide(monkeypatch, "tensorrt_rtx")
    spec = SimpleNamespace(name="tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__=version, __spec__=spec))


def test_what_is_here() -> None:
    found = diagnose().found
    assert found["wrn-deploy"] == wrn_deploy.__version__
    assert found["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["memory"].endswith(" GiB")
    assert found["GPU"].startswith("none")
    assert {"torch", "onnx", "onnxruntime", "TensorRT", "TensorRT-RTX"} <= set(found)


def test_here_everything_but_a_gpu_works() -> None:
    pytest.importorskip("tensorrt_rtx")
    steps = diagnose().steps
    assert {step for step, reason in steps.items() if reason is None} == {
        *("train", "export", "calibrate", "read parquet data", "build-engine", "embed --python"),
        *(("embed",) if native_obstacle() is None else ()),
        *("run with ONNX Runtime CPU", "run with OpenVINO CPU"),
        *("run with PyTorch CPU", "run with PyTorch CPU channels-last", "run with PyTorch CPU compiled"),
    }
    assert steps["run with TensorRT-RTX"] == "no CUDA GPU on this machine"
    assert "onnxruntime-ep-nv-tensorrt-rtx>=0.4'" in (steps["run with ONNX Runtime TensorRT-RTX"] or "")


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "torch", "onnx_ir", "onnxruntime", "pyarrow")
    steps = diagnose().steps
    assert steps["train"] == "torch missing: pip install 'torch>=2.9'"
    assert steps["export"] == (
        "torch, onnx-ir, onnxruntime missing: pip install 'onnxruntime>=1.24' 'torch>=2.9' 'onnx-ir>=0.1.12'"
    )
    assert steps["read parquet data"] == "pyarrow missing: pip install 'pyarrow>=18'"
    assert diagnose().found["ONNX Runtime providers"] == "none"


def test_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "tensorrt", "tensorrt_rtx")
    diagnosis = diagnose()
    assert diagnosis.found["TensorRT"] == diagnosis.found["TensorRT-RTX"] == "not installed"
    assert (diagnosis.steps["build-engine"] or "").startswith("no TensorRT: pip install ")
    assert "'tensorrt>=10.13.3' or pip" in (diagnosis.steps["build-engine"] or "")
    assert (diagnosis.steps["build-engine"] or "").endswith("or pip install 'tensorrt-rtx>=1.7'")


def test_full_tensorrt_builds_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _show_tensorrt(monkeypatch, "11.4.0")
    diagnosis = diagnose()
    assert diagnosis.found["TensorRT"] == "11.4.0"
    assert "TensorRT needs a GPU to build, and there is none" in (diagnosis.steps["build-engine"] or "")


def test_a_tensorrt_that_is_too_old_is_no_help(monkeypatch: pytest.MonkeyPatch) -> None:
    _show_tensorrt(monkeypatch, "10.9.0")
    diagnosis = diagnose()
    assert "10.9.0 is too old" in diagnosis.found["TensorRT"]
    assert "10.9.0 is too old" in (diagnosis.steps["build-engine"] or "")


@pytest.mark.parametrize(("pycuda", "reason"), [(True, None), (False, "PyCUDA is not installed: pip install ")])
def test_a_machine_with_a_gpu(monkeypatch: pytest.MonkeyPatch, pycuda: bool, reason: str | None) -> None:
    _show_gpu(monkeypatch, H100)
    _show_tensorrt(monkeypatch, "11.4.0")
    module = SimpleNamespace(__spec__=SimpleNamespace(name="pycuda")) if pycuda else None
    monkeypatch.setitem(sys.modules, "pycuda", module)
    diagnosis = diagnose()
    assert diagnosis.found["GPU"] == "NVIDIA H100, 80 GiB, compute capability 9.0, driver 570.1"
    assert diagnosis.steps["build-engine"] is None
    found = diagnosis.steps["run with TensorRT"]
    assert found == reason or (reason is not None and str(found).startswith(reason) and "'pycuda>=" in str(found))


def test_two_kinds_of_onnx_runtime_are_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "package_versions", lambda *names: dict.fromkeys(names, "1.0"))
    assert "uninstall both, then install one" in diagnose().found["conflict"]


def test_an_old_driver_and_what_pycuda_is_compiled_with_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _show_gpu(monkeypatch, H100)
    monkeypatch.setattr(doctor, "package_versions", lambda *_names: {})
    monkeypatch.setattr(doctor, "missing_for_pycuda", lambda: ["no cuda.h", "no libcurand"])
    gpu = diagnose().gpu
    assert gpu["NVIDIA driver"] == "570.1 is too old: CUDA 13 needs 580 or later; see docs/how-to/gpu.md"
    assert gpu["what compiling PyCUDA needs"] == "no cuda.h\nno libcurand"
    _show_gpu(monkeypatch, dataclasses.replace(H100, driver="580.95.05"))
    assert diagnose().gpu["NVIDIA driver"] is None


def test_a_library_that_cannot_be_used_is_the_reason_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    _show_gpu(monkeypatch, H100)
    _show_tensorrt(monkeypatch, "11.4.0")
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(__spec__=SimpleNamespace(name="pycuda")))
    monkeypatch.setattr(doctor, "package_versions", lambda *names: {name: "1" for name in names if name == "pycuda"})
    monkeypatch.setattr(doctor, "try_loading", lambda _attempt: "libcurand.so.10: cannot open shared object file")
    diagnosis = diagnose()
    assert diagnosis.gpu["PyCUDA"] == "libcurand.so.10: cannot open shared object file"
    assert diagnosis.steps["run with TensorRT"] == (
        "PyCUDA cannot be used (libcurand.so.10: cannot open shared object file)"
    )
    assert diagnosis.steps["run with ONNX Runtime CPU"] is None


def test_serving_needs_a_tritonserver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "pytriton" else found(name, *more)
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "pip install --no-deps nvidia-pytriton" in str(diagnose().steps["serve"])
    (tmp_path / "tritonserver").touch(0o755)
    assert diagnose().steps["serve"] is None
