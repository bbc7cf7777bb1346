"""Weights in .npz and HDF5 that ask for much, or for other files: refused in words; honest ones are read."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.budget import raised
from wrn_deploy.models.checkpoints.formats.hdf5 import read_hdf5
from wrn_deploy.models.checkpoints.formats.npz import is_npz, read_npz


def npz(folder: Path, header: str, body: bytes = b"", version: bytes = b"\1\0") -> Path:
    text = header.encode().ljust(118) + b"\n"
    with zipfile.ZipFile(folder / "w.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + body)
    return folder / "w.npz"


def described(shape: str, kind: str = "<f4") -> str:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_all_orders_and_types_are_read(save: Callable[..., None], tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "c": np.arange(6, dtype="<f4").reshape(2, 3), "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">f8"), "scalar": np.array(2, "i4"), "empty": np.zeros((0, 3), "f2"),
    }  # fmt: skip
    save(tmp_path / "w.npz", **arrays)
    assert is_npz(tmp_path / "w.npz")
    found = read_npz(tmp_path / "w.npz")
    assert {name: value.tolist() for name, value in found.items()} == {k: v.tolist() for k, v in arrays.items()}


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (described("(1000000000000000,)"), b""), (described("(4294967296, 4294967296, 4)"), b""),
        (described("(-1,)"), b""), (described("(1,)", "|O"), bytes(16)), (described("(1,)", "|V8"), bytes(8)),
        (described("(1,)", "<U4"), bytes(16)), (described("(4,)"), bytes(12)), (described("(4,)"), bytes(20)),
        ("(" * 8000, b""), ("{", b""), ("", b""), (described("(4,)", "nonsense"), b""), ("[" * 90 + "]" * 90, b""),
    ],
)  # fmt: skip
def test_an_npz_header_that_cannot_be_is_refused(header: str, body: bytes, tmp_path: Path) -> None:
    with pytest.raises(
        DamagedFile, match=r"w\.npz is damaged or contains more than arrays .*: expected an intact \.npz"
    ):
        read_npz(npz(tmp_path, header, body))


def test_an_npz_that_inflates_too_much_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "w.npz", a=np.zeros(20 * 2**20, np.float32))
    with pytest.raises(OverLimit, match="inflated"):
        read_npz(tmp_path / "w.npz")
    with raised("ratio=2000"):
        assert read_npz(tmp_path / "w.npz")["a"].shape == (20 * 2**20,)


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w")
    for read in (read_npz, read_hdf5):
        with pytest.raises(DamagedFile, match="is a FIFO"):
            read(tmp_path / "w")


@pytest.fixture
def make(tmp_path: Path) -> Callable[[Callable[[Any], object]], Path]:
    h5py = pytest.importorskip("h5py")

    def write(fill: Callable[[Any], object]) -> Path:
        file = tmp_path / "w.h5"
        file.unlink(missing_ok=True)
        with h5py.File(file, "w") as opened:
            fill(opened)
        return file

    return write


Make = Callable[[Callable[[Any], object]], Path]


def test_hdf5_arrays_of_all_kinds_are_read(make: Make) -> None:
    import h5py

    def fill(file: Any) -> None:
        file["data_0/'conv'/data"] = np.arange(6, dtype=">f4").reshape(2, 3)
        file.create_dataset("z", data=np.arange(3000), chunks=(100,), compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("lzf", data=np.ones(100, "f2"), chunks=(10,), compression="lzf")
        file["scalar"] = 1.5
        file["text"] = "no numbers"
        file["zero"] = np.zeros((0, 4))
        file["inside"] = h5py.SoftLink("/scalar")
        file["again"] = file["scalar"]
        file["circle"] = file["/"]

    found = read_hdf5(make(fill))
    assert sorted(found) == ["again", "conv", "lzf", "z", "zero"]  # one object has two names: each is read once
    assert found["conv"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["z"].tolist() == list(range(3000))


def test_hdf5_data_in_other_files_is_refused(make: Make, tmp_path: Path) -> None:
    import h5py

    (tmp_path / "secret").write_bytes(bytes(range(40)))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["s"] = np.arange(4.0)

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((4,), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "s", (4,))
        file.create_virtual_dataset("v", layout)

    def external(file: Any) -> None:
        file.create_dataset("deep/inside/w", (40,), "u1", external=[(str(tmp_path / "secret"), 0, 40)])

    def link(file: Any) -> None:
        file["deep/l"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/s")

    for fill in (virtual, external, link):
        with pytest.raises(DeployError, match=r"in other files|a link to another file"):
            read_hdf5(make(fill))


def test_a_soft_link_through_an_external_one_is_not_followed(make: Make, tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["s"] = np.arange(4.0)

    def fill(file: Any) -> None:
        file["a"] = h5py.SoftLink("/out/s")
        file["out"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")

    with pytest.raises(DeployError, match="a link to another file"):
        read_hdf5(make(fill))


@pytest.mark.parametrize("size", [10**9, 10**13])
def test_hdf5_fill_values_of_any_size_are_refused(make: Make, size: int) -> None:
    for chunks in (None, (10**6,)):

        def fill(file: Any, chunks: tuple[int] | None = chunks) -> None:
            file.create_dataset("w", (size,), "f4", chunks=chunks)

        with pytest.raises(OverLimit):
            read_hdf5(make(fill))


def test_hdf5_that_inflates_too_much_is_refused(make: Make) -> None:
    with pytest.raises(OverLimit, match="inflated"):
        read_hdf5(make(lambda file: file.create_dataset("w", data=np.zeros(20 * 2**20), compression="gzip")))


def test_filters_from_elsewhere_are_refused(make: Make) -> None:
    from h5py import h5d, h5p, h5s, h5t, h5z

    def fill(file: Any) -> None:
        how = h5p.create(h5p.DATASET_CREATE)
        how.set_chunk((4,))
        how.set_filter(32015, h5z.FLAG_OPTIONAL, (3,))  # Zstandard
        h5d.create(file.id, b"w", h5t.NATIVE_FLOAT, h5s.create_simple((4,)), how)

    with pytest.raises(DeployError, match=r"with the filters \[32015\]: expected those of HDF5 itself"):
        read_hdf5(make(fill))


def test_many_objects_and_deep_groups_are_refused(make: Make) -> None:
    wide = make(lambda file: [file.create_group(str(index)) for index in range(300)])
    with raised("parts=100"), pytest.raises(OverLimit, match="parts"):
        read_hdf5(wide)
    deep = make(lambda file: file.create_group("/".join("g" * 30)))
    with raised("nesting=20"), pytest.raises(OverLimit, match="levels of nesting"):
        read_hdf5(deep)


def test_a_damaged_hdf5_file_is_refused(make: Make) -> None:
    file = make(lambda opened: opened.create_dataset("w", data=np.arange(1000.0)))
    content = file.read_bytes()
    for cut in (100, 600, len(content) - 100):
        file.write_bytes(content[:cut])
        with pytest.raises(DamagedFile, match=r"w\.h5 is damaged"):
            read_hdf5(file)
