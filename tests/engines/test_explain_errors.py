"""What is made of TensorRT's messages; `test_build.py` has those that a build here really gives."""

from __future__ import annotations

import pytest

from wrn_deploy.engines.log import EXPLANATIONS, MACHINE_EXPLANATIONS, explain
from wrn_deploy.errors import DeployError, MachineError


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
