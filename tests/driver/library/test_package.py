"""What `wrn-deploy embed --tensorrt` adds to the folder."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.driver.library.conftest import Built


@pytest.fixture
def plans(built: Built, flavor: str) -> Path:
    return built.folder / "lib" / f"libwrn_runner_{flavor}.so.1"


def test_it_is_beside_the_library_and_no_program_is_linked_to_it(built: Built, flavor: str, plans: Path) -> None:
    assert plans.is_file()
    assert not (built.folder / "lib" / f"libwrn_runner_{flavor}.so").exists()
    assert (built.folder / "lib" / "libwrn_runner.so.1").is_file()


@pytest.mark.skipif(shutil.which("readelf") is None or shutil.which("nm") is None, reason="no readelf, or no nm")
def test_nothing_of_nvidias_is_linked_and_only_its_entry_is_seen(plans: Path) -> None:
    dynamic = subprocess.run(["readelf", "--dynamic", plans], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"NEEDED.*\[(.*)\]", dynamic)
    assert needed
    assert not [name for name in needed if re.search("cuda|nvinfer|tensorrt|python|wrn", name)]
    assert "BIND_NOW" in dynamic
    symbols = subprocess.run(["nm", "-D", "--defined-only", plans], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1].partition("@")[0] for line in symbols.splitlines()}
    assert names - {"WRN_PLAN_LIBRARY"} == {"wrn_plan_library", "wrn_plan_library_version"}
