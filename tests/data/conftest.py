"""Real digits, written in every format that can be read."""

from __future__ import annotations

import gzip
import pickle
import struct
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from tests.data.made import Pixels, encode
from wrn_deploy.data import Role, open_data

COUNT = 48  # images in each written set; CIFAR's test file has the last 8 of them


@pytest.fixture(scope="session")
def digit_images() -> Pixels:
    items = list(open_data("digits", Role.TRAIN).items())[:COUNT]
    return np.stack([item.load() for item in items])


@pytest.fixture(scope="session")
def digit_labels() -> list[int]:
    items = list(open_data("digits", Role.TRAIN).items())[:COUNT]
    return [item.label for item in items if item.label is not None]


@pytest.fixture
def image_folder(tmp_path: Path, digit_images: Pixels, digit_labels: list[int]) -> Path:
    """Class subfolders 0 to 9."""
    for index, (image, label) in enumerate(zip(digit_images, digit_labels, strict=True)):
        folder = tmp_path / "folder" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index:03}.PNG").write_bytes(encode(image))
    return tmp_path / "folder"


@pytest.fixture
def npz_file(tmp_path: Path, digit_images: Pixels, digit_labels: list[int]) -> Path:
    path = tmp_path / "digits.npz"
    np.savez_compressed(path, images=digit_images, labels=np.array(digit_labels, dtype=np.uint8))
    return path


@pytest.fixture
def parquet_file(tmp_path: Path, digit_images: Pixels, digit_labels: list[int]) -> Path:
    """Three row groups."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    rows = [{"bytes": encode(image), "path": None} for image in digit_images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"img": pa.array(rows, type=kind), "label": pa.array(digit_labels, type=pa.int64())})
    pq.write_table(table, tmp_path / "digits.parquet", row_group_size=COUNT // 3)
    return tmp_path / "digits.parquet"


@pytest.fixture
def planes(digit_images: Pixels) -> Pixels:
    """The images as CIFAR has them: one row an image, red, green and blue planes."""
    return digit_images.transpose(0, 3, 1, 2).reshape(COUNT, -1)


@pytest.fixture
def cifar10_binary(tmp_path: Path, planes: Pixels, digit_labels: list[int]) -> Path:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    records = np.concatenate([np.array(digit_labels, dtype=np.uint8)[:, np.newaxis], planes], axis=1)
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    for name, part in zip(names, np.split(records, 6), strict=True):
        (folder / name).write_bytes(part.tobytes())
    (folder / "batches.meta.txt").write_text("".join(f"digit{n}\n" for n in range(10)) + "\n")
    return folder


@pytest.fixture
def cifar100_binary(tmp_path: Path, planes: Pixels, digit_labels: list[int]) -> Path:
    """The fine label is 90 + digit, the coarse one 7."""
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    heads = np.array([(7, 90 + label) for label in digit_labels], dtype=np.uint8)
    records = np.concatenate([heads, planes], axis=1)
    (folder / "train.bin").write_bytes(records[:40].tobytes())
    (folder / "test.bin").write_bytes(records[40:].tobytes())
    (folder / "fine_label_names.txt").write_text("".join(f"class{n}\n" for n in range(100)))
    return folder


@pytest.fixture
def cifar10_python(tmp_path: Path, planes: Pixels, digit_labels: list[int]) -> Path:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for number, name in enumerate(names):
        part = slice(8 * number, 8 * number + 8)
        table = {b"batch_label": name.encode(), b"data": planes[part], b"labels": digit_labels[part]}
        (folder / name).write_bytes(pickle.dumps(table, protocol=4))
    meta = {b"label_names": [f"digit{n}".encode() for n in range(10)], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=4))
    return folder


@pytest.fixture
def cifar100_python(tmp_path: Path, planes: Pixels, digit_labels: list[int]) -> Path:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name, part in (("train", slice(40)), ("test", slice(40, None))):
        labels = digit_labels[part]
        fine = [90 + label for label in labels]
        table = {b"data": planes[part], b"fine_labels": fine, b"coarse_labels": [7 for _ in labels]}
        (folder / name).write_bytes(pickle.dumps(table, protocol=4))
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": [b"class%d" % n for n in range(100)]}, protocol=4))
    return folder


@pytest.fixture
def svhn_folder(tmp_path: Path, digit_images: Pixels, digit_labels: list[int]) -> Path:
    """The first 24 images for training, 16 extra, 8 to test; compressed, as the real files are."""
    io = pytest.importorskip("scipy.io")
    folder = tmp_path / "svhn"
    folder.mkdir()
    for name, part in (("train", slice(24)), ("extra", slice(24, 40)), ("test", slice(40, None))):
        pixels = digit_images[part].transpose(1, 2, 3, 0)
        digits = np.array([[label or 10] for label in digit_labels[part]], dtype=np.uint8)
        io.savemat(folder / f"{name}_32x32.mat", {"X": pixels, "y": digits}, do_compression=True)
    return folder


def write_idx(file: Path, array: Pixels) -> None:
    content = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


@pytest.fixture
def mnist_folder(tmp_path: Path, digit_images: Pixels, digit_labels: list[int]) -> Path:
    """40 images of 32x32 for training, compressed, and 8 to test, plain."""
    folder, labels = tmp_path / "mnist", np.array(digit_labels, dtype=np.uint8)
    folder.mkdir()
    for name, part, end in (("train", slice(40), ".gz"), ("t10k", slice(40, None), "")):
        write_idx(folder / f"{name}-images-idx3-ubyte{end}", np.ascontiguousarray(digit_images[part, :, :, 0]))
        write_idx(folder / f"{name}-labels-idx1-ubyte{end}", labels[part])
    return folder


def add_file(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    archive.addfile(header, BytesIO(content))


@pytest.fixture
def shards(tmp_path: Path, digit_images: Pixels, digit_labels: list[int]) -> Path:
    """A folder of three shards, one of them compressed; labels in .cls files."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(3):
        name = f"digits-{number:03}.tar{'' if number else '.gz'}"
        with tarfile.open(folder / name, "w" if number else "w:gz") as archive:
            for index in range(16 * number, 16 * number + 16):
                add_file(archive, f"{index:05}.cls", str(digit_labels[index]).encode())
                add_file(archive, f"{index:05}.png", encode(digit_images[index]))
    return folder
