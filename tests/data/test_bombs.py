"""Small files that would take gigabytes are refused in little memory; what is no regular file is refused at once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.bombs import BOMBS, png
from wrn_deploy.data import Role, open_data
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.pipeline.networks.labels import read_labels

MOST_MB, PATIENCE_S = 1000, 120


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_takes_little_memory(name: str, tmp_path: Path) -> None:
    if name.startswith("parquet"):
        pytest.importorskip("pyarrow")
    path = BOMBS[name](tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "tests.data.bombs", str(path)], capture_output=True, text=True, check=False,
        timeout=PATIENCE_S, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["end"].startswith("read"), found
    assert found["peak_mb"] < MOST_MB, found


KINDS = ("x.npz", "x.tar", "x.tar.gz", "x.parquet", "x.mat", "t10k-images-idx3-ubyte", "x")


@pytest.mark.parametrize("name", KINDS)
def test_a_fifo_a_device_and_a_socket_are_refused_at_once(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DamagedFile, match="is a FIFO: expected a regular file"):
        open_data(str(tmp_path / name), Role.TEST)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(DamagedFile, match="is a device: expected a regular file"):
        open_data(str(tmp_path / name), Role.TEST)


def test_a_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "x.npz"))
        with pytest.raises((DeployError, OSError)):
            open_data(str(tmp_path / "x.npz"), Role.TEST)


FILES = (
    "labels.csv", "classnames.txt", "meta", "batches.meta.txt", "test_batch", "test_batch.bin", "train_32x32.mat",
    "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz", "x.tar", "test.parquet", "0/x.png", "x.jpg", "val.txt",
)  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_a_folder_with_a_fifo_is_read_without_it_or_refused(file: str, tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "a.png").write_bytes(png(8, 8, 8, 2))
    os.mkfifo(tmp_path / file)
    try:
        assert len(open_data(str(tmp_path), Role.TEST)) == 1
    except DeployError as error:
        assert len(str(error)) > 20  # noqa: PT017 (either is right)


@pytest.mark.parametrize("name", ["labels.txt", "labels.json"])
def test_names_from_a_fifo_a_deep_or_a_long_text_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for content in (b"[" * 10**6, b'["' + b"9" * 2**24 + b'", 1]', b"\xff\xfe", b"1" * 5000):
        path.write_bytes(content if name.endswith("json") else b"\0\xff" + content)
        with pytest.raises(DeployError, match="expected"):
            read_labels(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DamagedFile, match="is a FIFO"):
        read_labels(path)
