"""What GPU rows stand on is tried in a process of its own, whatever becomes of that."""

from __future__ import annotations

import onnxruntime
import pytest

from wrn_deploy.pipeline.inspection import loading
from wrn_deploy.pipeline.inspection.loading import ATTEMPTS, GRAPH, Attempt, try_loading


def reason(code: str) -> str | None:
    return try_loading(Attempt(title="any", package="any", code=code))


def test_what_works_has_no_reason() -> None:
    assert reason("import wrn_deploy.runtime.providers") is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('libcurand.so.10: cannot open it')", "libcurand.so.10: cannot open it"),
        ("from wrn_deploy.errors import MachineError; raise MachineError('no CUDA: see docs')", "no CUDA: see docs"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "its process died (SIGSEGV)"),
        ("import sys; sys.exit(3)", "exit code 3"),
    ],
)
def test_what_fails_says_why_in_one_line(code: str, said: str) -> None:
    assert reason(code) == said


def test_what_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "TIMEOUT_S", 0.5)
    assert reason("import time; time.sleep(60)") == "it hangs: not finished after 0.5 s"


def test_the_graph_is_one_and_a_provider_that_is_not_there_says_so() -> None:
    assert onnxruntime.InferenceSession(GRAPH, providers=["CPUExecutionProvider"]).get_inputs()[0].name == "x"
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has it")
    (attempt,) = (each for each in ATTEMPTS if each.title == "ONNX Runtime CUDA")
    assert str(try_loading(attempt)).startswith("the installed ONNX Runtime lacks CUDAExecutionProvider: expected")
