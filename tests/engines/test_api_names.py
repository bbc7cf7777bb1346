"""The TensorRT names that our sources use exist in TensorRT 10, TensorRT 11 and TensorRT-RTX."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from tests.engines.api import used_names
from wrn_deploy.engines.flavor import installed_flavors

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*sorted((ROOT / "engines").glob("*.py")), ROOT / "wrn_deploy" / "backends" / "_plan.py"]

# Version -> class -> members, for those that we use alone; "" has the module's own names. From the official bindings.
OFFICIAL: dict[str, dict[str, list[str]]] = json.loads(Path(__file__).with_name("tensorrt_api_names.json").read_text())


def test_the_names_are_found_in_the_sources(tmp_path: Path) -> None:
    """The test of the tool: chains, `self`, setters, nested calls, and what is none of TensorRT's."""
    source = tmp_path / "source.py"
    source.write_text(
        "class A:\n"
        "    def run(self): self._context.execute_async_v3(0)\n"
        "    def open(self, module):\n"
        "        self._engine = module.Runtime(module.Logger(module.Logger.ERROR)).deserialize_cuda_engine(b'')\n"
        "        self._context = self._engine.create_execution_context()\n"
        "        self.other.method()\n"
        "def build(trt):\n"
        "    config = trt.module.Builder(None).create_builder_config()\n"
        "    config.profiling_verbosity = trt.module.ProfilingVerbosity.DETAILED\n"
        "    version = trt.module.__version__.split()\n"
    )
    assert used_names(source) == {
        "": ["Builder", "Logger", "ProfilingVerbosity", "Runtime"],
        "Builder": ["create_builder_config"],
        "IBuilderConfig": ["profiling_verbosity"],
        "ICudaEngine": ["create_execution_context"],
        "IExecutionContext": ["execute_async_v3"],
        "Logger": ["ERROR"],
        "ProfilingVerbosity": ["DETAILED"],
        "Runtime": ["deserialize_cuda_engine"],
    }


@pytest.mark.parametrize("version", OFFICIAL)
def test_every_name_that_we_use_is_in_this_version(version: str) -> None:
    used = used_names(*SOURCES)
    assert {"build_serialized_network", "create_network"} <= set(used["Builder"])
    assert "set_input_shape" in used["IExecutionContext"]
    assert used == OFFICIAL[version]


def test_all_three_versions_are_there() -> None:
    assert [version.split(".")[0] for version in OFFICIAL] == ["tensorrt 10", "tensorrt 11", "tensorrt_rtx 1"]


@pytest.mark.parametrize("flavor", installed_flavors())
def test_every_name_that_we_use_is_in_the_installed_version(flavor: str) -> None:
    module = importlib.import_module(flavor)
    for owner, members in used_names(*SOURCES).items():
        holder = getattr(module, owner) if owner else module
        assert [name for name in members if not hasattr(holder, name)] == [], owner


def test_the_list_of_names_is_the_official_one(shared_data: Path) -> None:
    """Against the whole lists, which are not part of the project."""
    folder = shared_data.parent / "tensorrt-api"
    if not folder.is_dir():
        pytest.skip(f"no lists at {folder}")
    for version, owners in OFFICIAL.items():
        name, number = version.split()
        record = json.loads((folder / f"{name.replace('_', '-')}-{number}.json").read_text())
        for owner, members in owners.items():
            known = set(record) if not owner else {*record[owner].get("members", []), *record[owner].get("enum", [])}
            assert set(members) <= known, f"{version} {owner}"
