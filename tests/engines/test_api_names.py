"""The TensorRT names that our sources use exist in TensorRT 10, 11 and RTX; what one alone has is asked for first."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from tests.engines import api
from tests.engines.api import Found, Guard, Use, find_sources, find_uses, used_names
from wrn_deploy.engines.flavor import installed_flavors

# Version -> class -> members, for those that we use alone; "" has the module's own names. From the official bindings.
OFFICIAL: dict[str, dict[str, list[str]]] = json.loads(api.NAMES.read_text())
AGAIN = "write the list anew: python -m tests.engines.api FOLDER"


def missing(found: Found) -> dict[str, list[str]]:
    """Version -> the names that it lacks, although a guard lets it come there."""
    lacking: dict[str, list[str]] = {version: [] for version in OFFICIAL}
    for use in sorted(found.uses):
        there = {version for version, owners in OFFICIAL.items() if use.name in owners.get(use.owner, [])}
        if use.guard is Guard.ASKED:
            wanted = set() if there else set(OFFICIAL)
        else:
            wanted = {version for version in OFFICIAL if use.guard in ("", version.split()[0])}
        for version in wanted - there:
            lacking[version].append(f"{use.owner}.{use.name}")
    return {version: names for version, names in lacking.items() if names}


def write(folder: Path, **sources: str) -> Found:
    for name, text in sources.items():
        (folder / f"{name}.py").write_text(text)
    return find_uses(*sorted(folder.glob("*.py")))


def test_the_names_are_found_in_the_sources(tmp_path: Path) -> None:
    """The test of the tool: chains, `self`, setters, nested calls, overridden methods, what is not TensorRT's."""
    found = write(
        tmp_path,
        source="class A:\n"
        "    def run(self): self._context.execute_async_v3(0)\n"
        "    def open(self, module):\n"
        "        self._engine = module.Runtime(module.Logger(module.Logger.ERROR)).deserialize_cuda_engine(b'')\n"
        "        self._context = self._engine.create_execution_context()\n"
        "        self.other.method()\n"
        "def build(trt):\n"
        "    config = trt.module.Builder(None).create_builder_config()\n"
        "    config.profiling_verbosity = trt.module.ProfilingVerbosity.DETAILED\n"
        "    version = trt.module.__version__.split()\n"
        "    class Monitor(trt.module.IProgressMonitor):\n"
        "        def step_complete(self): self._mine()\n"
        "        def _mine(self): pass\n",
    )
    assert used_names(found.uses) == {
        "": ["Builder", "IProgressMonitor", "Logger", "ProfilingVerbosity", "Runtime"],
        "Builder": ["create_builder_config"],
        "IBuilderConfig": ["profiling_verbosity"],
        "ICudaEngine": ["create_execution_context"],
        "IExecutionContext": ["execute_async_v3"],
        "IProgressMonitor": ["step_complete"],
        "Logger": ["ERROR"],
        "ProfilingVerbosity": ["DETAILED"],
        "Runtime": ["deserialize_cuda_engine"],
    }


def test_values_are_followed_into_functions_and_out_of_them_across_files(tmp_path: Path) -> None:
    found = write(
        tmp_path,
        a="def start(trt):\n    settings = make(trt.module, level=3)\n    settings.in_a = 1\n",
        b="def make(module, level):\n    made = module.Builder(0)\n    return finish(made, level)\n"
        "def finish(maker, level):\n    maker.in_b(level)\n    return maker.create_builder_config()\n"
        "def stranger(maker):\n    maker = 3\n",
        c="class Holder:\n    def __init__(self, held): self.held = held\n    def use(self): self.held.in_c()\n"
        "def hold(module): return Holder(held=module.Runtime(0))\n",
        d="import tensorrt_rtx as rtx\nlogger = rtx.Logger()\n",
    )
    assert used_names(found.uses) == {
        "": ["Builder", "Logger", "Runtime"],
        "Builder": ["create_builder_config", "in_b"],
        "IBuilderConfig": ["in_a"],
        "Runtime": ["in_c"],
    }


GUARDS = """
def work(trt, runtime, options):
    module = trt.module
    config = module.Builder(0).create_builder_config()
    if trt.flavor is Flavor.RTX and options:
        config.rtx_body()
    else:
        config.tensorrt_else()
    if trt.flavor is not Flavor.RTX:
        config.tensorrt_body()
    value = config.rtx_value if trt.flavor == Flavor.RTX else None
    if hasattr(config, "asked"):
        config.asked()
    config.free()
    if trt.flavor is Flavor.RTX:
        marked(config)
def marked(config):
    '''TensorRT-RTX only: and its callers know.'''
    config.rtx_marked()
"""


def test_guards_are_seen(tmp_path: Path) -> None:
    found = write(tmp_path, source=GUARDS)
    guards = {use.name: use.guard for use in found.uses if use.owner == "IBuilderConfig"}
    assert guards == {
        "rtx_body": Guard.RTX, "tensorrt_else": Guard.TENSORRT, "tensorrt_body": Guard.TENSORRT, "free": Guard.NONE,
        "rtx_value": Guard.RTX, "asked": Guard.ASKED, "rtx_marked": Guard.RTX,
    }  # fmt: skip
    assert not found.unguarded
    assert write(tmp_path, more="def other(config): marked(config)\n").unguarded == {"marked"}


@pytest.mark.parametrize(
    ("line", "lacking"),
    [
        ("config.num_compute_capabilities = 1", ["tensorrt 10", "tensorrt 11"]),
        ("if trt.flavor is Flavor.RTX: config.num_compute_capabilities = 1", []),
        ("if trt.flavor is not Flavor.RTX: config.num_compute_capabilities = 1", ["tensorrt 10", "tensorrt 11"]),
        ("if hasattr(config, 'num_compute_capabilities'): config.num_compute_capabilities = 1", []),
        ("if hasattr(config, 'num_comptue'): config.num_comptue = 1", ["tensorrt 10", "tensorrt 11", "tensorrt_rtx 1"]),
        ("config.set_flag(1)", []),
        ("config.set_flagg(1)", ["tensorrt 10", "tensorrt 11", "tensorrt_rtx 1"]),
    ],
)
def test_a_name_that_one_flavor_lacks_is_found_where_nothing_was_asked(
    tmp_path: Path, line: str, lacking: list[str]
) -> None:
    found = write(tmp_path, source=f"def f(trt):\n  config = trt.module.Builder(0).create_builder_config()\n  {line}\n")
    assert [version.split(".")[0] for version in missing(found)] == lacking


@pytest.fixture(scope="module")
def found() -> Found:
    return find_uses(*find_sources())


def test_all_our_sources_are_looked_at() -> None:
    root = Path(__file__).resolve().parents[2]
    sources = {str(source.relative_to(root)) for source in find_sources()}
    assert {"engines/build.py", "engines/configure.py", "wrn_deploy/backends/plan/backend.py"} <= sources
    folders = [root / "engines", *(root / "wrn_deploy").rglob("*.py")]
    users = [file for file in folders if file.is_file() and "deserialize_cuda_engine" in file.read_text()]
    inside = {str(file.resolve().relative_to(root)) for file in users}
    assert inside <= sources


def test_every_name_is_there_wherever_it_is_used(found: Found) -> None:
    names = used_names(found.uses)
    assert {"build_serialized_network", "create_network"} <= set(names["Builder"])
    assert {"set_input_shape", "set_flag"} <= set(names["IExecutionContext"]) | set(names["IBuilderConfig"])
    assert Use("IBuilderConfig", "set_compute_capability", Guard.RTX) in found.uses
    assert missing(found) == {}, f"a name that a version lacks, or a new one: {AGAIN}"


def test_functions_for_one_flavor_are_called_under_its_guard(found: Found) -> None:
    assert found.unguarded == set()


def test_the_list_has_no_name_that_is_not_used(found: Found) -> None:
    used = used_names(found.uses)
    for version, owners in OFFICIAL.items():
        stale = {
            f"{owner}.{name}" for owner, names in owners.items() for name in names if name not in used.get(owner, [])
        }
        assert not stale, f"{version}: {AGAIN}"


def test_all_three_versions_are_there() -> None:
    assert [version.split(".")[0] for version in OFFICIAL] == ["tensorrt 10", "tensorrt 11", "tensorrt_rtx 1"]


@pytest.mark.parametrize("flavor", installed_flavors())
def test_every_name_that_we_use_is_in_the_installed_version(found: Found, flavor: str) -> None:
    module = importlib.import_module(flavor)
    for owner, members in used_names(found.uses, Guard.NONE, Guard(flavor)).items():
        holder = getattr(module, owner) if owner else module
        assert [name for name in members if not hasattr(holder, name)] == [], owner


def test_the_list_of_names_is_the_official_one(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Against the whole lists, which are not part of the project: written anew, it is the same."""
    folder = shared_data.parent / "tensorrt-api"
    if not folder.is_dir():
        pytest.skip(f"no lists at {folder}")
    monkeypatch.setattr(api, "NAMES", tmp_path / "names.json")
    api.main(folder)
    assert json.loads((tmp_path / "names.json").read_text()) == OFFICIAL
