"""Our calls of TensorRT's runtime fit the real classes: arguments, keywords, results, properties."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.engines.api import RESULTS, Guard, find_sources
from tests.engines.signatures import Call, Real, find_calls, parse_signature

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "driver" / "site"  # where `make test-driver` installs the lean runtime
# Module -> the flavour whose calls it takes. The lean runtime has full TensorRT's own classes.
MODULES = {"tensorrt_rtx": Guard.RTX, "tensorrt_lean_bindings": Guard.TENSORRT}
CPP_NAMES = {"IEngineInspector": "EngineInspector"}  # as pybind11 names a class that it has not met yet


@cache
def real_classes(module: str) -> dict[str, dict[str, Real]]:
    """Read in a process of its own, whatever this one has loaded."""
    path = os.pathsep.join([str(ROOT), str(SITE)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.signatures", module],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"{module} is not here ({done.stderr.splitlines()[-1]}): `make test-driver` installs it")
    record = json.loads(done.stdout)
    return {
        owner: {
            name: Real(tuple((parameters, returns) for parameters, returns in overloads), settable)
            for name, (overloads, settable) in members.items()
        }
        for owner, members in record.items()
    }


def fault(call: Call, real: dict[str, dict[str, Real]]) -> str | None:
    """Why the real class does not take the call; None if it does."""
    member = real.get(call.owner, {}).get(call.name)
    if member is None:
        return "there is none"
    if call.kind != "call":
        wrong = "it cannot be set" if call.kind == "write" and not member.settable else None
        return "it is a method" if member.settable is None else wrong
    if member.settable is not None or not member.accepts(call.positional, call.keywords):
        return f"it takes {member.overloads}" if member.settable is None else "it is a property"
    made = RESULTS.get((call.owner, call.name))
    expected = {made} if made is not None else {"bool"} if call.tested else None
    results = {CPP_NAMES.get(each, each) for each in member.results}
    return None if expected in (None, results) else f"it returns {results}, expected {expected}"


@cache
def our_calls() -> list[Call]:
    return find_calls(*find_sources())


def write(folder: Path, text: str) -> list[Call]:
    (folder / "source.py").write_text(text)
    return find_calls(folder / "source.py")


def test_docstrings_are_read() -> None:
    doc = (
        "f(*args, **kwargs)\nOverloads.\n\n1. f(self: m.C, strategy: m.S = <S.STATIC: 0>) -> m.sub.R\n\n text\n"
        "2. f(self: m.C, shape: list[int], name: collections.abc.Sequence[typing.SupportsInt] = None) -> None\n"
    )
    assert parse_signature(doc) == [
        ("f", [("strategy", "S", True)], "R"),
        ("f", [("shape", "list[int]", False), ("name", "Sequence[SupportsInt]", True)], "None"),
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("context.execute_async_v3(1)", None),
        ("context.execute_async_v3(stream_handle=1)", None),
        ("context.execute_async_v3(stream=1)", "it takes"),
        ("context.execute_async_v3()", "it takes"),
        ("context.execute_async_v2(1)", "there is none"),
        ("bool(context.set_input_shape('a', (1,)))", None),
        ("context.profiler = None", None),
        ("context.engine = None", "it cannot be set"),
        ("print(context.execute_async_v3)", "it is a method"),
        ("context.engine()", "it is a property"),
        ("if not context.set_device_memory(1, 2): pass", "expected {'bool'}"),
        ("engine.create_execution_context(strategy=1)", None),
        ("engine.create_execution_context(config=1)", "it takes"),
        ("module.Runtime()", "it takes"),
    ],
)
def test_a_call_that_does_not_fit_is_found(tmp_path: Path, line: str, why: str | None) -> None:
    real = real_classes("tensorrt_rtx")
    calls = write(
        tmp_path,
        "def f(module):\n  engine = module.Runtime(0).deserialize_cuda_engine(b'')\n"
        f"  context = engine.create_execution_context()\n  {line}\n",
    )
    faults = [reason for call in calls if (reason := fault(call, real)) is not None]
    assert len(faults) == (why is not None), faults
    assert why is None or why in faults[0]


def test_the_calls_are_found() -> None:
    calls = {(call.owner, call.name, call.kind) for call in our_calls()}
    assert {
        ("Runtime", "__init__", "call"), ("Runtime", "deserialize_cuda_engine", "call"),
        ("Runtime", "engine_host_code_allowed", "write"), ("ICudaEngine", "create_execution_context", "call"),
        ("ICudaEngine", "num_io_tensors", "read"), ("IExecutionContext", "execute_async_v3", "call"),
        ("IExecutionContext", "set_tensor_address", "call"), ("EngineInspector", "execution_context", "write"),
    } <= calls  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_every_call_fits_the_real_class(module: str) -> None:
    real = real_classes(module)
    guards = {Guard.NONE, MODULES[module]}
    faults = []
    for call in our_calls():
        asked = call.guard is Guard.ASKED and call.name in real.get(call.owner, {})
        if call.owner in real and (call.guard in guards or asked):  # the lean runtime has no inspector
            reason = fault(call, real)
            if reason is not None:
                faults.append(f"{call.where} {call.owner}.{call.name}: {reason}")
    assert faults == []
