"""Files of torch.save that lie about their storages or ask for much: refused before torch believes them."""

from __future__ import annotations

import io
import pickle
import resource
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.models.checkpoints.formats.pickled import read_pickled
from wrn_deploy.models.checkpoints.weights import read_weights


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<L", len(value)) + value.encode()


def tensor(elements: int, *, key: str = "0", shape: tuple[int, ...] = (4,), stride: tuple[int, ...] = (1,)) -> bytes:
    """The pickle of {"w": a tensor} on a storage of `elements` floats."""
    sizes, strides = (b"(" + b"".join(map(number, values)) + b"t" for values in (shape, stride))
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(elements) + b"tQ"
    build = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(0) + sizes + strides
    return b"\x80\x02}" + text("w") + build + b"\x89ccollections\nOrderedDict\n)RtRs."


def archive(folder: Path, content: bytes, *, method: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    file = folder / "w.pth"
    parts = {"data.pkl": content, "version": b"3\n", "byteorder": b"little", "data/0": bytes(64)}
    parts |= {name.replace("__", "/"): part for name, part in members.items()}
    with zipfile.ZipFile(file, "w", method) as made:
        for name, part in parts.items():
            made.writestr(f"archive/{name}", part)
    return file


def test_an_honest_storage_is_read(tmp_path: Path) -> None:
    loaded, _ = read_pickled(archive(tmp_path, tensor(16)))
    assert loaded["w"].tolist() == [0.0] * 4


@pytest.mark.parametrize("elements", [17, 2**40, 2**60, -1])
def test_a_storage_that_is_larger_than_its_record_is_refused(elements: int, tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match=r"storage '0' needs|the storage \('storage'"):
        read_pickled(archive(tmp_path, tensor(elements)))


def test_a_storage_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match="storage '1' needs 64 bytes and has 0"):
        read_pickled(archive(tmp_path, tensor(16, key="1")))


def test_another_byte_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"another byte order|not a checkpoint"):
        read_pickled(archive(tmp_path, tensor(16), byteorder=b"big"))


@pytest.mark.parametrize("shape", [(10**6, 10**6), (30 * 2**20,)])
def test_a_view_that_repeats_its_storage_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(OverLimit, match=r"bytes in memory|inflated"):
        read_pickled(archive(tmp_path, tensor(16, shape=shape, stride=(0,) * len(shape))))


def test_views_of_one_storage_count_together(tmp_path: Path) -> None:
    base = torch.zeros(2**18)
    torch.save([base[index:] for index in range(300)], tmp_path / "w.pth")
    with pytest.raises(OverLimit, match="inflated"):
        read_pickled(tmp_path / "w.pth")
    torch.save({"a": base[:50], "b": base[25:75], "tied": base, "too": base}, tmp_path / "w.pth")
    assert len(read_pickled(tmp_path / "w.pth")[0]) == 4


def test_a_storage_that_inflates_too_much_is_refused(tmp_path: Path) -> None:
    file = archive(tmp_path, tensor(2**26), method=zipfile.ZIP_DEFLATED, data__0=bytes(2**28))
    with pytest.raises(OverLimit, match="times the size of the file, inflated"):
        read_pickled(file)


def legacy(main: bytes, keys: list[str], storages: bytes = b"") -> bytes:
    magic, version = pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)
    sizes = pickle.dumps({"little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, 2)
    return magic + version + sizes + main + pickle.dumps(keys, 2) + storages


def old_tensor(elements: int) -> bytes:
    """As `tensor`, with the old format's sixth part of a storage: no view."""
    return tensor(elements).replace(number(elements) + b"tQ", number(elements) + b"NtQ")


def test_the_old_format_is_held_to_the_size_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(legacy(old_tensor(16), ["0"], struct.pack("<q", 16) + bytes(64)))
    assert read_pickled(file)[0]["w"].tolist() == [0.0] * 4
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for elements in (2**20, 2**31, 2**40):
        file.write_bytes(legacy(old_tensor(elements), ["0"], struct.pack("<q", elements) + bytes(64)))
        with pytest.raises(DamagedFile, match=r"its storages need [\d,]+ bytes, and it has"):
            read_pickled(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**19  # KiB


DEEP_KEY = b"\x80\x02}K\x01" + b"\x85" * 10**6 + b"K\x01s."
DEEP_DICTS = b"\x80\x02" + b"}X\1\0\0\0a" * 10**5 + b"K\1" + b"s" * 10**5 + b"."
MEMO_INDEX = b"\x80\x02}r\x00\x84\xd7\x17."


@pytest.mark.parametrize("content", [DEEP_KEY, DEEP_DICTS, MEMO_INDEX], ids=["key", "dicts", "memo"])
@pytest.mark.parametrize("place", ["archive", "bare", "tensors", "keys"])
def test_a_pickle_that_would_crash_is_refused_wherever_it_stands(content: bytes, place: str, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    if place == "archive":
        archive(tmp_path, content)
    else:
        keys = legacy(old_tensor(16), [])[: -len(pickle.dumps([], 2))] + content
        file.write_bytes({"bare": content, "tensors": legacy(content, []), "keys": keys}[place])
    with pytest.raises(DamagedFile, match=r"levels of nesting|a memo index of 400,000,000"):
        read_pickled(file)


def test_a_tar_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "w.tar", "w") as made:
        for name in ("sys_info", "pickle", "storages"):
            made.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(DeployError, match=r"tar archive, as torch wrote them before|is a tar archive"):
        read_weights(tmp_path / "w.tar")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int64", "int8", "uint8", "bool", "complex64"])
def test_every_type_s_storage_has_the_size_that_is_assumed(dtype: str, zipped: bool, tmp_path: Path) -> None:
    content: dict[str, Any] = OrderedDict(w=torch.ones(5, dtype=getattr(torch, dtype)), module={"x": [1, (2,)]})
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert read_pickled(tmp_path / "w.pth")[0]["w"].tolist() == [1] * 5
