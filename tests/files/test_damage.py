"""Whatever a damaged file raises becomes one error that names it; errors of ours and interrupts pass."""

from __future__ import annotations

import csv
import gzip
import lzma
import pickle
import struct
import tarfile
import tokenize
import zipfile
import zlib

import pytest

from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.damage import name_damage

RAISED = (
    MemoryError(), RecursionError("deep"), OverflowError("large"), tokenize.TokenError("token"), EOFError("end"),
    gzip.BadGzipFile("gzip"), zlib.error("zlib"), struct.error("struct"), UnicodeDecodeError("a", b"", 0, 1, "byte"),
    KeyError("key"), IndexError("index"), AttributeError("attribute"), TypeError("type"), ZeroDivisionError("zero"),
    csv.Error("csv"), lzma.LZMAError("lzma"), pickle.UnpicklingError("pickle"), tarfile.ReadError("tar"),
    zipfile.BadZipFile("zip"), NotImplementedError("method"), SyntaxError("header"), ValueError(""),
)  # fmt: skip


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_it_names_the_file(error: Exception) -> None:
    with (
        pytest.raises(DamagedFile, match=r"x\.tar is damaged \(.+\): expected an intact tar file") as caught,
        name_damage("x.tar", "tar"),
    ):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [DeployError("a"), OverLimit("b"), KeyboardInterrupt(), GeneratorExit()])
def test_others_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, name_damage("x.tar", "tar"):
        raise error
    assert caught.value is error
