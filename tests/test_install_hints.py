"""Install hints: the packages themselves, only what is missing, and never one ONNX Runtime over the other."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from wrn_deploy.errors import REQUIREMENTS, MachineError, how_to_install, missing_package

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("wrn_deploy", "export", "calib", "engines")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The packages that are installed, for the test to fill."""
    names: set[str] = set()

    def version(name: str) -> str:
        if name not in names:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: module if module in names else None)
    return names


def test_the_table_is_that_of_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = {name: tuple(needed) for name, needed in project["optional-dependencies"].items()}
    ours = {f"wrn-deploy[{name}]": needed for name, needed in listed.items()}
    extras = {name: tuple(one for each in needed for one in ours.get(each, (each,))) for name, needed in listed.items()}
    assert {name: extras[name] for name in REQUIREMENTS} == dict(REQUIREMENTS)
    assert set(extras) - set(REQUIREMENTS) == {"demo", "dev", "docs"}, "nothing that a hint could name"


def test_no_text_names_the_project_on_an_index() -> None:
    sources = {path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    texts = {path: path.read_text(encoding="utf-8") for path in sources}
    assert not [path for path, text in texts.items() if "wrn-deploy[" in text]
    named = {name for text in texts.values() for name in re.findall(r"pip install (?:--upgrade )?([a-z][\w-]*)", text)}
    known = {"cmake"} | {re.split(r"[<>=\[]", one)[0] for needed in REQUIREMENTS.values() for one in needed}
    assert named <= known


def test_only_what_is_missing_is_named(installed: set[str]) -> None:
    assert how_to_install("cpu", "onnxruntime") == "pip install 'onnxruntime>=1.24'"
    installed |= {"torch", "onnx", "onnx-ir", "onnxscript", "threadpoolctl"}
    assert how_to_install("export", "safetensors") == "pip install 'safetensors>=0.5'"
    installed.add("safetensors")
    assert how_to_install("export", "onnx_ir") == "pip install 'onnx-ir>=0.1.12'", "its files are damaged"
    assert how_to_install(["cpu", "parquet"]) == "pip install 'pyarrow>=18'"


def test_a_module_under_another_name_of_its_package_is_there(installed: set[str]) -> None:
    assert "'tensorrt>=10.13.3'" in how_to_install("gpu", "pycuda")
    installed |= {"cuda-bindings", "nvidia-ml-py"}
    installed.add("onnx_ir")  # the module
    assert "onnx-ir" not in how_to_install("export", "torch")
    assert how_to_install("gpu", "pycuda") == "pip install 'pycuda>=2025.1' 'tensorrt>=10.13.3'"


def test_one_onnx_runtime_never_goes_over_the_other(installed: set[str]) -> None:
    installed.add("onnxruntime")
    assert "onnxruntime" not in how_to_install("gpu", "tensorrt")
    hint = how_to_install("gpu", "onnxruntime-gpu")
    assert hint.startswith("pip uninstall onnxruntime && pip install ")
    assert "'onnxruntime-gpu[cuda,cudnn]>=1.28'" in hint
    installed.clear()
    installed.add("onnxruntime-gpu")
    assert how_to_install("cpu", "onnxruntime").startswith("pip uninstall onnxruntime-gpu && pip install 'onnxruntime>")
    assert how_to_install("ort-rtx", "onnxruntime-ep-nv-tensorrt-rtx") == (
        "pip install 'onnxruntime-ep-nv-tensorrt-rtx>=0.4'"
    )
    installed.clear()
    assert how_to_install("cpu") == "pip install 'onnxruntime>=1.24'", "neither is there"


def test_the_error_says_who_needs_it(installed: set[str]) -> None:
    error = missing_package("huggingface_hub", "hub", "downloading weights")
    assert isinstance(error, MachineError)
    assert str(error) == (
        "downloading weights needs huggingface_hub, which is not installed: pip install 'huggingface-hub>=0.30'"
    )
    assert not installed
