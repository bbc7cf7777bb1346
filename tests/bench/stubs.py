"""Backends that a test plants beside the real ones, in this process and in those that it starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import wrn_deploy.backends

__all__ = ["plant"]

ROOT = Path(__file__).resolve().parents[2]

# ONNX Runtime's fp32 graph, with something before each inference; BEHAVIOUR may use `self.runs`, counted from 1.
SOURCE = """
import os, signal, sys, time
from wrn_deploy.backends.onnxruntime import OnnxRuntimeBackend, SessionRuntime
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.providers import CPU
from wrn_deploy.runtime.sessions import open_session
from wrn_deploy.spec import Precision

class Stub(OnnxRuntimeBackend):
    runs = 0
    def execute(self):
        self.runs += 1
        {behaviour}
        super().execute()

class Runtime(SessionRuntime):
    def open_backend(self, bundle, artifact, *, precision, threads):
        {opening}
        return Stub(open_session(bundle.file(artifact), threads), CPU, bundle.spec.input, bundle.spec.outputs)

RUNTIMES = {{
    "{name}": Runtime(title="{name}", provider=CPU, graphs={{Precision.FP32: "onnx-fp32"}}, extra="cpu")
}}
"""


def plant(patch: pytest.MonkeyPatch, folder: Path, name: str, behaviour: str = "", opening: str = "") -> None:
    """Adds the backend `name`; a worker process finds it as it starts, by the module that Python looks for then."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(SOURCE.format(name=name, behaviour=behaviour or "pass", opening=opening))
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(f"import wrn_deploy.backends as b; b.__path__.append({str(folder)!r})\n")
    patch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT)]))
    patch.setattr(wrn_deploy.backends, "__path__", [*wrn_deploy.backends.__path__, str(folder)])
