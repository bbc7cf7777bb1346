"""TensorRT's messages, sorted and explained."""

from __future__ import annotations

import pytest

from wrn_deploy.engines.log import EXPLANATIONS, MACHINE_EXPLANATIONS, BuildLog, explain
from wrn_deploy.errors import DeployError, MachineError


def test_messages_are_sorted_by_severity() -> None:
    log = BuildLog()
    log.take("ERROR", " first\n")
    log.take("INTERNAL_ERROR", "second")
    log.take("WARNING", "careful")
    log.take("WARNING", "careful ")
    log.take("INFO", "all is well")
    log.take("VERBOSE", "very well")
    assert (log.errors, log.warnings) == (["first", "second"], ["careful"])


def test_memory_figures_are_read_from_any_message() -> None:
    log = BuildLog()
    log.take("INFO", "Total Weights Memory: 156800 bytes")
    log.take("VERBOSE", "[MemUsageStats] Total Activation Memory: 19005440 bytes")
    log.take("INFO", "Total Scratch Memory: 0 bytes")
    log.take("INFO", "Total Weights Memory: unknown")
    assert log.memory == {"weights_bytes": 156800, "activation_bytes": 19005440, "scratch_bytes": 0}


@pytest.mark.parametrize(
    "noise",
    [
        "CUDA initialization failure with error: 35. Please check your CUDA installation",
        "[checkMacros.cpp::catchCudaError::211] Error Code 1: Cuda Runtime (cudaErrorInsufficientDriver: 35)",
        "Unable to determine GPU memory usage: CUDA driver version is insufficient for CUDA runtime version",
    ],
)
def test_a_missing_driver_is_not_an_error_of_the_build(noise: str) -> None:
    log = BuildLog()
    log.take("ERROR", noise)
    log.take("WARNING", noise)
    assert (log.errors, log.warnings) == ([], [])
    assert log.no_gpu == [noise, noise], "it is the reason where the build needed one"


def test_other_cuda_errors_are_kept() -> None:
    log = BuildLog()
    log.take("ERROR", "Cuda Runtime (cudaErrorMemoryAllocation: out of memory)")
    assert log.errors == ["Cuda Runtime (cudaErrorMemoryAllocation: out of memory)"]


def test_an_explained_message_keeps_tensorrts_own_words() -> None:
    error = explain("no plan", ["  [E] Plugin not found  ", "", "[E] Plugin not found"])
    assert str(error) == (
        "no plan: the graph has an operator that this TensorRT does not know: "
        "expected one that `wrn-deploy export` wrote ([E] Plugin not found)"
    )


def test_an_unknown_message_is_quoted() -> None:
    error = explain("no plan", ["strange", "stranger"])
    assert str(error) == "no plan: strange | stranger; expected a graph that `wrn-deploy export` wrote"
    assert "it gave no reason" in str(explain("no plan", []))
    assert len(str(explain("no plan", ["x" * 5000]))) < 1000


@pytest.mark.parametrize("words", [*EXPLANATIONS, *MACHINE_EXPLANATIONS])
def test_every_explanation_says_what_to_do(words: str) -> None:
    kind = MachineError if words in MACHINE_EXPLANATIONS else DeployError
    meaning = {**EXPLANATIONS, **MACHINE_EXPLANATIONS}[words]
    error = explain("no plan", [f"[E] {words} and more"])
    assert type(error) is kind
    assert meaning in str(error)
    assert any(word in meaning for word in ("again", "pass", "look", "expected", "leave", "install", "build"))


@pytest.mark.parametrize(
    "message",
    [
        "CUDA initialization failure with error: 35. Please check your CUDA installation",
        "Cuda Runtime (cudaErrorMemoryAllocation: out of memory)",
        "pybind11::init(): factory function returned nullptr",
    ],
)
def test_what_the_machine_lacks_is_not_a_fault_of_the_graph(message: str) -> None:
    error = explain("no plan", [message])
    assert isinstance(error, MachineError)
    assert error.exit_code == 4
    assert type(explain("no plan", ["Dimension mismatch"])) is DeployError
