"""Which headers of TensorRT and CUDA are found, and what is said without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli, cli  # noqa: F401
from wrn_deploy.embed.tensorrt import CUDA_HEADERS, find_cuda_headers, find_plan_headers
from wrn_deploy.errors import MachineError

# As the releases' NvInferVersion.h say it.
RTX = "#define TRT_MAJOR_RTX 1\n#define TRT_MINOR_RTX 6\n#define NV_TENSORRT_MAJOR TRT_MAJOR_RTX //!< version.\n"
NEW = (
    "#define TRT_MAJOR_ENTERPRISE 11\n#define TRT_MINOR_ENTERPRISE 1\n#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE\n"
)
OLD = "#define NV_TENSORRT_MAJOR 10 //!< TensorRT major version.\n#define NV_TENSORRT_MINOR 3 //!< version.\n"
TOO_OLD = OLD.replace("10", "8")


def write_headers(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "NvInferRuntime.h").touch()
    (folder / "NvInferVersion.h").write_text(version)
    return folder


@pytest.mark.parametrize(
    ("text", "flavor", "version"),
    [(RTX, "tensorrt_rtx", "1.6"), (NEW, "tensorrt", "11.1"), (OLD, "tensorrt", "10.3")],
)
def test_a_release_and_its_headers(tmp_path: Path, text: str, flavor: str, version: str) -> None:
    include = write_headers(tmp_path / "release" / "include", text)
    for folder in (include, include.parent):
        found = find_plan_headers(folder)
        assert (found.flavor, found.version, found.folder) == (flavor, version, include.resolve())


@pytest.mark.parametrize(
    ("text", "said"),
    [(TOO_OLD, "is of TensorRT 8.3: expected 10 or newer"), ("#pragma once\n", "names no version: expected")],
)
def test_headers_that_do_not_fit(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(MachineError, match=said):
        find_plan_headers(write_headers(tmp_path / "include", text))


def test_cuda_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    for header in CUDA_HEADERS:
        (tmp_path / "include" / header).parent.mkdir(parents=True, exist_ok=True)
        assert _found() != tmp_path / "include", "a folder that has only some of them"
        (tmp_path / "include" / header).touch()
    assert _found() == tmp_path / "include"


def _found() -> Path | None:
    try:
        return find_cuda_headers()
    except MachineError:
        return None


def test_the_command_names_what_is_missing(cli: Cli, tmp_path: Path) -> None:  # noqa: F811
    both = cli("embed", "--out", tmp_path / "out", "--python", "--tensorrt", tmp_path)
    assert (both.code, "--python and --tensorrt: expected one" in both.err) == (2, True)
    missing = cli("embed", "--out", tmp_path / "out", "--tensorrt", tmp_path)
    assert missing.code == 4
    assert "there is no" in missing.err
    assert not (tmp_path / "out").exists()
