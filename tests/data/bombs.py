"""Makes small files that would take gigabytes; a process of its own reads each, and tells what it needed."""

from __future__ import annotations

import gzip
import json
import os
import resource
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np

from wrn_deploy.data import Role, open_data
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.errors import DeployError
from wrn_deploy.spec import Preprocessing

__all__ = ["BOMBS", "main"]

SIZE = 2**30  # bytes that each would inflate to, or claims
HOW = Preprocessing(height=32, width=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resize=32)


def zeros(size: int = SIZE) -> bytes:
    """As many zeros, deflated."""
    deflate = zlib.compressobj(6, wbits=31)
    return b"".join([*(deflate.compress(bytes(2**24)) for _ in range(size // 2**24)), deflate.flush()])


def png(width: int, height: int, depth: int, kind: int) -> bytes:
    """A black PNG."""
    row = bytes(1 + (width * {0: 1, 2: 3}[kind] * depth + 7) // 8)
    deflate = zlib.compressobj(6)
    pixels = b"".join([*(deflate.compress(row * 64) for _ in range(-(-height // 64))), deflate.flush()])
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def _tar(folder: Path) -> Path:
    header = tarfile.TarInfo("1.png")
    header.size = SIZE
    (folder / "x.tar.gz").write_bytes(gzip.compress(header.tobuf()) + zeros())
    return folder / "x.tar.gz"


def _tar_text(folder: Path) -> Path:
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in (("1.json", b"[" * 10**6), ("1.png", png(8, 8, 8, 2))):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, BytesIO(content))
    (folder / "x.tar").write_bytes(stream.getvalue())
    return folder / "x.tar"


def _idx(folder: Path) -> Path:
    header = b"\0\0\x08\3" + struct.pack(">III", 1, 32768, 32768)
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(header) + zeros())
    return folder / "t10k-images-idx3-ubyte.gz"


def _idx_labels(folder: Path) -> Path:
    (folder / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\3" + struct.pack(">III", 2**31, 1, 1))
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\1" + struct.pack(">I", 2**31)))
    return folder


def _npz(folder: Path, shape: str, name: str = "images", descr: str = "|u1") -> Path:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    with zipfile.ZipFile(folder / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        if name != "images":
            stream = BytesIO()
            np.save(stream, np.zeros((2, 8, 8, 3), np.uint8))
            archive.writestr("images.npy", stream.getvalue())
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            member.write(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header)
            for _ in range(SIZE // 2**24):
                member.write(bytes(2**24))
    return folder / "x.npz"


def _npz_members(folder: Path) -> Path:
    entry = b"PK\1\2" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"x"
    count = 400_000
    end = b"PK\5\6" + bytes(4) + struct.pack("<HHIIH", 1, 1, count * len(entry), 0, 0)
    (folder / "x.npz").write_bytes(b"PK\3\4".ljust(26, b"\0") + b"\5\0\0\0" + b"a.npy" + entry * count + end)
    return folder / "x.npz"


def _mat(folder: Path) -> Path:
    deflate = zlib.compressobj(6)
    content = deflate.compress(struct.pack("<II", 14, SIZE))
    content += b"".join(deflate.compress(bytes(2**24)) for _ in range(SIZE // 2**24)) + deflate.flush()
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    (folder / "x.mat").write_bytes(header + struct.pack("<II", 15, len(content)) + content)
    return folder / "x.mat"


def _pickle(folder: Path, content: bytes) -> Path:
    (folder / "test_batch").write_bytes(content)
    return folder


def _parquet(folder: Path) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    one = pa.array([bytes(2**24)], pa.binary())  # which stands in the file once, and is asked for 64 times
    images = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), one)
    table = pa.table({"img": images, "label": [0] * 64})
    parquet.write_table(table, folder / "x.parquet", compression="gzip", store_schema=False)
    return folder / "x.parquet"


def _image(folder: Path, content: bytes) -> Path:
    (folder / "x.png").write_bytes(content)
    return folder


def _labels(folder: Path, text: bytes) -> Path:
    _image(folder, png(8, 8, 8, 2))
    (folder / "labels.csv").write_bytes(text)
    return folder


BOMBS: dict[str, Callable[[Path], Path]] = {
    "tar.gz, one image": _tar,
    "tar, a deep label": _tar_text,
    "idx.gz, one image": _idx,
    "idx, labels": _idx_labels,
    "npz, one image": lambda folder: _npz(folder, "(1, 16384, 21845, 3)"),
    "npz, labels": lambda folder: _npz(folder, f"({SIZE // 8},)", "labels", "<i8"),
    "npz, a shape beyond the file": lambda folder: _npz(folder, f"({2**40},)", "labels", "<i8"),
    "npz, a negative shape": lambda folder: _npz(folder, "(-1, 8, 8, 3)"),
    "npz, members": _npz_members,
    "mat, a variable": _mat,
    "pickle, memo index": lambda folder: _pickle(folder, b"\x80\x02}r\xff\xff\xff\x7f."),
    "pickle, length": lambda folder: _pickle(folder, b"\x80\x05\x8e" + struct.pack("<Q", 2**33) + b"x."),
    "pickle, deep key": lambda folder: _pickle(folder, b"\x80\x02}K\x01" + b"\x85" * 10**6 + b"K\x01s."),
    "parquet, one image many times": _parquet,
    "PNG, 16-bit grey": lambda folder: _image(folder, png(12000, 12000, 16, 0)),
    "PNG, 1 pixel wide": lambda folder: _image(folder, png(1, 60_000_000, 8, 0)),
    "GIF, a large frame": lambda folder: _image(
        folder, b"GIF89a" + struct.pack("<HH", 8, 8) + b"\x80\0\0" + bytes(6) + b"\x2c"
        + struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\0\x02\x02\x4c\x01\0;",
    ),
    "labels.csv, lines": lambda folder: _labels(folder, b"file,class\n" + b"a,b\n" * 10**7),
    "labels.csv, columns": lambda folder: _labels(folder, b"file,class" + b",c" * 10**5 + b"\n" + b"a,b\n" * 10**4),
    "labels.csv, digits": lambda folder: _labels(folder, b"file,class_index\nx.png," + b"9" * 5000 + b"\n"),
}  # fmt: skip


def main() -> None:
    """Reads the set at the path; prints the error and the largest memory of this process and its children."""
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    try:
        with Decoders(0) as decoders:
            source = open_data(sys.argv[1], Role.TEST)
            end = f"read {sum(len(batch.images) for batch in Batches(source, HOW, 2, decoders=decoders))}"
    except DeployError as error:
        end = f"{type(error).__name__}: {error}"
    # ru_maxrss of this process would begin with that of the process that started it.
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    peaks = int(own.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    sys.stdout.write(json.dumps({"end": end, "peak_mb": max(peaks) // 1024}) + "\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
