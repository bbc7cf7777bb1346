"""ONNX Runtime sessions: on the provider that was asked for or not at all, and without telemetry."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.runtime import sessions
from wrn_deploy.runtime.providers import CPU, CUDA, RTX, TENSORRT, has_provider, providers
from wrn_deploy.runtime.sessions import SPIN, infer_with, open_session

# Printed by onnxruntime-gpu 1.31.1 without CUDA's libraries.
NOT_LOADED = (
    "\x1b[1;31m2026-11-29 10:50:56.9 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] "
    "ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library "
    "/env/onnxruntime/capi/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object "
    "file: No such file or directory\n\x1b[m\n"
)


def test_a_file_and_its_bytes_give_the_same_answers(made_bundle: Path) -> None:
    graph = made_bundle / "fp32.onnx"
    images = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    answers = [
        infer_with(open_session(graph))(images),
        infer_with(open_session(graph.read_bytes()))(images),
        infer_with(open_session(graph, threads=1, plans_memory=False))(images),
    ]
    assert answers[0].shape == (3, 10)
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_allclose(answers[0], answers[2], atol=1e-4)


def test_a_path_need_not_be_utf8(made_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.onnx")
    file.write_bytes((made_bundle / "fp32.onnx").read_bytes())
    assert infer_with(open_session(file))(np.zeros((1, 3, 32, 32), dtype=np.float32)).shape == (1, 10)


def test_onnx_runtime_prints_no_names_of_a_graph(capfd: pytest.CaptureFixture[str]) -> None:
    """It would print them as they are, past every filter of ours; the error has them too."""
    name = "n\x1b]0;x\x07"
    gather = onnx.helper.make_node("Gather", ["x", "i"], ["y"], name=name)
    x, y = (onnx.helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, ["n"]) for each in "xy")
    far = onnx.helper.make_tensor("i", onnx.TensorProto.INT64, [1], [10**6])
    graph = onnx.helper.make_graph([gather], "g", [x], [y], [far])
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 20)])
    session = open_session(model.SerializeToString())
    with pytest.raises(Exception, match="Gather") as caught:
        session.run(None, {"x": np.zeros(3, dtype=np.float32)})
    assert name in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_provider_that_is_not_there_is_not_replaced(made_bundle: Path) -> None:
    assert CPU.name in providers()
    absent = [provider for provider in (CUDA, TENSORRT, RTX) if not has_provider(provider)]
    for provider in absent:
        with pytest.raises(
            MachineError, match=f"the installed ONNX Runtime lacks {provider.name}: expected one of .*CPU"
        ):
            open_session(made_bundle / "fp32.onnx", provider=provider)
    if not absent:
        pytest.skip("all are there")


def test_a_part_of_the_graph_on_another_provider_is_an_error_that_names_it() -> None:
    """ONNX Runtime's record of a real session, read as if another provider had been asked for."""
    import onnxruntime as ort

    relu = onnx.helper.make_node("Relu", ["x"], ["y"], name="alone")
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    opset = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([relu], "g", value[:1], value[1:]), ir_version=10, opset_imports=opset
    )
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=[CPU.name])
    sessions._check_placement(session, CPU, "graph.onnx")
    with pytest.raises(MachineError, match=r"runs graph\.onnx on \['CPUExecutionProvider'\]: expected CUDA"):
        sessions._check_placement(session, CUDA, "graph.onnx")

    class First:
        """A session whose first provider is the one asked for, and which has left a node to the CPU."""

        get_provider_graph_assignment_info = session.get_provider_graph_assignment_info

        @staticmethod
        def get_providers() -> list[str]:
            return [CUDA.name, CPU.name]

    with pytest.raises(MachineError, match=r"leaves part of graph\.onnx to CPUExecutionProvider \(Relu alone\)"):
        sessions._check_placement(First(), CUDA, "graph.onnx")


def test_the_reason_why_a_provider_cannot_be_loaded_is_in_the_error(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime writes it to file descriptor 2, and opens a CPU session instead."""
    import onnxruntime as ort

    real, asked = ort.InferenceSession, list[Any]()

    def open_on_the_cpu(graph: Any, options: Any, **given: Any) -> Any:
        asked.append(given)
        os.write(2, NOT_LOADED.encode())
        return real(graph, options, providers=[CPU.name])

    monkeypatch.setattr(sessions, "has_provider", lambda _provider: True)
    monkeypatch.setattr(sessions, "load_libraries", lambda _module: None)
    monkeypatch.setattr(ort, "InferenceSession", open_on_the_cpu)
    with pytest.raises(
        MachineError, match=r"cannot load its CUDAExecutionProvider \(libcublasLt\.so\.13: .*docs/how-to/gpu"
    ):
        open_session(made_bundle / "fp32.onnx", provider=CUDA)
    assert asked == [{"providers": [(CUDA.name, {"use_tf32": "0"})], "enable_fallback": 0}]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x08\x0a"])
def test_what_is_no_graph_is_named_with_the_remedy(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "graph.onnx").write_bytes(data)
    with pytest.raises(DeployError, match=r"ONNX Runtime cannot load .*graph\.onnx .*: export the model again"):
        open_session(tmp_path / "graph.onnx")


def test_without_onnxruntime_the_machine_cannot_do_it(made_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(
        MachineError, match=r"needs onnxruntime, which is not installed: pip install 'onnxruntime>=1\.24'"
    ):
        open_session(made_bundle / "fp32.onnx")
    assert providers() == []


@pytest.mark.parametrize(("set_by_user", "wanted"), [(None, "1"), ("0", "0")])
def test_telemetry_is_off_before_the_import_unless_the_user_says_otherwise(
    made_bundle: Path, set_by_user: str | None, wanted: str
) -> None:
    code = (
        "import os, sys; from pathlib import Path; from wrn_deploy.runtime.sessions import open_session\n"
        "assert 'onnxruntime' not in sys.modules; open_session(Path(sys.argv[1]))\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    if set_by_user is not None:
        environment["ORT_DISABLE_TELEMETRY"] = set_by_user
    command = [sys.executable, "-c", code, str(made_bundle / "fp32.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == wanted


@pytest.mark.parametrize(
    ("value", "given", "sleeps"), [(None, None, False), ("0", None, True), ("1", None, False), ("0", True, False)]
)
def test_idle_threads_sleep_if_the_environment_or_the_caller_says_so(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, given: bool | None, sleeps: bool
) -> None:
    monkeypatch.delenv(SPIN, raising=False)
    if value is not None:
        monkeypatch.setenv(SPIN, value)
    session = open_session(made_bundle / "fp32.onnx", spins=given)
    entries = []
    with contextlib.suppress(RuntimeError):  # raised for an entry that is not there
        entries.append(session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning"))
    assert entries == (["0"] if sleeps else [])
