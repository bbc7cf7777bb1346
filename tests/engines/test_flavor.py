"""Which TensorRT is found, and why one cannot be used."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from wrn_deploy.engines.flavor import Flavor, find_flavor, installed_flavors
from wrn_deploy.errors import MachineError

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Pretends that exactly the named TensorRTs are installed, at the given versions, or that importing one fails."""
    real_spec, real_import = importlib.util.find_spec, importlib.import_module

    def pretend(**found: str | Exception) -> None:
        def find_spec(name: str, package: str | None = None) -> object:
            return (object() if name in found else None) if name in {*Flavor} else real_spec(name, package)

        def import_module(name: str, package: str | None = None) -> ModuleType:
            if name not in found:
                return real_import(name, package)
            outcome = found[name]
            if isinstance(outcome, Exception):
                raise outcome
            module = ModuleType(name)
            module.__dict__["__version__"] = outcome
            return module

        monkeypatch.setattr(importlib.util, "find_spec", find_spec)
        monkeypatch.setattr(importlib, "import_module", import_module)

    return pretend


@pytest.mark.parametrize("wanted", [None, *Flavor])
def test_without_tensorrt_the_exit_code_is_that_of_the_machine(install: Install, wanted: Flavor | None) -> None:
    install()
    assert installed_flavors() == []
    with pytest.raises(
        MachineError, match=r"installed: pip install .*'tensorrt>.*' for TensorRT, or pip install 'tensorrt-rtx>"
    ) as error:
        find_flavor(wanted)
    assert error.value.exit_code == 4


def test_a_named_flavor_is_never_replaced(install: Install) -> None:
    install(tensorrt_rtx="1.7.1.116")
    with pytest.raises(MachineError, match=r"^TensorRT is not installed"):
        find_flavor(Flavor.TENSORRT)
    install(tensorrt="11.4.0.106")
    with pytest.raises(MachineError, match=r"^TensorRT-RTX is not installed"):
        find_flavor(Flavor.RTX)


def test_full_tensorrt_comes_first_where_none_is_named(install: Install) -> None:
    install(tensorrt_rtx="1.7.1.116", tensorrt="11.4.0.106")
    assert installed_flavors() == [Flavor.TENSORRT, Flavor.RTX]
    assert find_flavor().flavor is Flavor.TENSORRT
    assert find_flavor(Flavor.RTX).version == "1.7.1.116"
    install(tensorrt_rtx="1.7.1.116")
    assert find_flavor().flavor is Flavor.RTX


@pytest.mark.parametrize("version", ["8.6.1", "10.0.0b6", "10.11.0.33", "10.9.0", "10.12.0.36", "10.13.2.6"])
def test_a_tensorrt_that_is_too_old_is_refused(install: Install, version: str) -> None:
    install(tensorrt=version)
    with pytest.raises(MachineError, match=rf"TensorRT {version} is too old: expected 10.13.3 or later"):
        find_flavor()


@pytest.mark.parametrize("version", ["10.13.3.9", "10.16.1.11", "11.0.0", "11.4.0.106"])
def test_a_tensorrt_that_is_new_enough_is_taken(install: Install, version: str) -> None:
    install(tensorrt=version)
    assert find_flavor().version == version


@pytest.mark.parametrize("error", [ImportError("no libnvinfer.so.11"), OSError("bad ELF"), RuntimeError("driver")])
def test_a_tensorrt_that_does_not_load_says_why(install: Install, error: Exception) -> None:
    install(tensorrt=error)
    with pytest.raises(MachineError, match=rf"tensorrt is installed but cannot be loaded \({error}\)"):
        find_flavor()


def test_looking_for_flavors_imports_none() -> None:
    import subprocess

    code = (
        "from wrn_deploy.engines.flavor import installed_flavors; installed_flavors(); import sys; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tensorrt", "tensorrt_rtx"} & set(done.stdout.split())
