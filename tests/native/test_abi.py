"""The header's ABI is the recorded one: what abidw makes of it, compared by abidiff with wrn_runner.abi."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parents[2] / "native"
RECORDED = Path(__file__).with_name("wrn_runner.abi")
CHANGED = 4  # a bit of abidiff's exit status; 8: incompatibly

pytestmark = pytest.mark.skipif(
    shutil.which("abidw") is None or shutil.which("gcc") is None, reason="no abidw (abigail-tools), or no gcc"
)


def describe_abi(header: str, folder: Path) -> Path:
    """The ABI of a library with the header's calls, which do nothing: types, sizes, offsets, symbols, versions."""
    (folder / "wrn_runner.h").write_text(header)
    declared = re.findall(r"^WRN_API ([^;]+);", header, re.MULTILINE)
    calls = "".join(f"{' '.join(call.split())} {{ return 0; }}\n" for call in declared)
    (folder / "stub.c").write_text(f'#include "wrn_runner.h"\n{calls}')
    library, made = folder / "libwrn_runner.so.1", folder / "made.abi"
    versions = f"-Wl,--version-script={NATIVE / 'src' / 'exports.map'}"
    flags = ["-std=c11", "-g", "-gdwarf-4", "-shared", "-fPIC", "-Wl,-soname,libwrn_runner.so.1", versions]
    subprocess.run(["gcc", *flags, "stub.c", "-o", library], check=True, cwd=folder)
    hidden = ["--no-corpus-path", "--no-comp-dir-path", "--no-show-locs"]
    subprocess.run(["abidw", *hidden, library, "--out-file", made], check=True)
    return made


def compare(header: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What abidiff says of the header against the record."""
    command = ["abidiff", str(RECORDED), str(describe_abi(header, folder))]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_abi_is_the_recorded_one(tmp_path: Path) -> None:
    done = compare((NATIVE / "include" / "wrn_runner.h").read_text(), tmp_path)
    assert done.returncode == 0, (
        f"{done.stdout}\nThe ABI has changed: increase WRN_ABI_VERSION if programs must be compiled again, then "
        "`python -m tests.native.record_abi`"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int32_t threads; ", "int64_t threads; "),
        ("WRN_API int32_t wrn_close(wrn_runner runner);", "WRN_API int32_t wrn_close(wrn_runner runner, int how);"),
        ("WRN_API const char *wrn_version(void);", ""),
        ("  const char *backend; ", "  const char *extra; const char *backend; "),
    ],
)
def test_a_change_is_noticed(tmp_path: Path, old: str, new: str) -> None:
    header = (NATIVE / "include" / "wrn_runner.h").read_text()
    assert old in header
    assert compare(header.replace(old, new), tmp_path).returncode & CHANGED
