"""ONNX Runtime's providers: fp32 in fp32, their libraries loaded once, and a reason if they cannot be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from wrn_deploy.errors import MachineError
from wrn_deploy.runtime import providers
from wrn_deploy.runtime.providers import (
    CUDA,
    CUDA_GRAPHS,
    CUDA_NHWC,
    TENSORRT,
    Provider,
    load_libraries,
    loading_failure,
    plugin_devices,
    tensorrt_mismatch,
)  # fmt: skip

# Raised by onnxruntime-gpu 1.31.1 on a driver that lacks a function.
CUDA_FAILURE = (
    "onnxruntime::CudaCall(ERRTYPE, const char*) [with ERRTYPE = cudaError; bool THRW = true] CUDA failure 500: named "
    "symbol not found ; GPU=-1 ; hostname=vm ; file=cuda_execution_provider.cc ; line=355"
)


@pytest.fixture
def onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """An ONNX Runtime for GPUs whose libraries are not there, as far as these tests look at it."""
    (tmp_path / "capi").mkdir()
    module = SimpleNamespace(__file__=str(tmp_path / "__init__.py"), preloaded=0)

    def preload_dlls() -> None:
        module.preloaded += 1
        sys.stdout.write("Failed to load libcublasLt.so.13\n")

    module.preload_dlls = preload_dlls
    monkeypatch.setattr(providers, "import_onnxruntime", lambda: module)
    load_libraries.cache_clear()
    yield module
    load_libraries.cache_clear()


@pytest.mark.parametrize("provider", [CUDA, CUDA_NHWC, CUDA_GRAPHS])
def test_fp32_is_not_tf32(provider: Provider) -> None:
    assert provider.options["use_tf32"] == "0"


def test_libraries_are_loaded_once_and_what_is_printed_stays_off_stdout(
    onnxruntime: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    load_libraries(None)
    load_libraries(None)
    assert onnxruntime.preloaded == 1
    assert capsys.readouterr() == ("", "Failed to load libcublasLt.so.13\n")


@pytest.mark.usefixtures("onnxruntime")
def test_the_module_that_brings_libraries_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MachineError, match=r"tensorrt cannot be loaded \(.*\): ONNX Runtime needs its libraries"):
        load_libraries(TENSORRT.module)
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace())
    load_libraries(TENSORRT.module)


def test_a_failed_call_of_cuda_is_the_machines_fault_and_other_errors_are_not() -> None:
    failure = loading_failure(CUDA, [CUDA_FAILURE])
    assert isinstance(failure, MachineError)
    assert "cannot start its CUDAExecutionProvider (CUDA failure 500: named symbol not found)" in str(failure)
    assert loading_failure(CUDA, ["Load model from fp32.onnx failed: Protobuf parsing failed."]) is None


@pytest.mark.parametrize(
    ("installed", "mismatch"),
    [
        ("10.16.1.11", None),
        ("11.4.0.106", "needs TensorRT 10, and 11.4.0.106 is installed"),
        (None, "needs TensorRT 10, and none is installed"),
    ],
)
def test_onnx_runtime_needs_the_tensorrt_that_it_is_linked_to(
    onnxruntime: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, installed: str | None, mismatch: str | None
) -> None:
    library = Path(onnxruntime.__file__).with_name("capi") / "libonnxruntime_providers_tensorrt.so"
    library.write_bytes(b"\x7fELF\0libcublas.so.13\0libnvinfer.so.10\0libnvonnxparser.so.10\0")
    spec = SimpleNamespace(name="tensorrt")
    module = None if installed is None else SimpleNamespace(__version__=installed, __spec__=spec)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    reason = tensorrt_mismatch()
    assert reason is None if mismatch is None else mismatch in str(reason)


def test_a_plugins_own_cuda_runtime_is_loaded_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader finds none in the wheel's folder, under a name with three numbers."""
    (tmp_path / "libcudart.so.13.4.36").write_bytes(b"not a library")
    plugin = SimpleNamespace(get_library_path=lambda: str(tmp_path / "libplugin.so"))
    monkeypatch.setitem(sys.modules, "plugin", plugin)
    ort = SimpleNamespace(get_ep_devices=list, register_execution_provider_library=pytest.fail)
    with pytest.raises(MachineError, match=r"plugin cannot be registered \(.*libcudart\.so\.13\.4\.36"):
        plugin_devices(ort, Provider(name="any", device="gpu"), "plugin")
