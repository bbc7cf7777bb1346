"""TensorRT-RTX's compiled kernels are kept for the next process; a file that is wrong is no error."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.backends.plan.fake_gpu import FakeDriver
from tests.backends.plan.fake_tensorrt import FakeTensorRT
from tests.backends.plan.opened import expected, opened, run, some_images
from wrn_deploy.backends.plan.runtime_cache import cache_file
from wrn_deploy.machine import Gpu

H200 = Gpu("NVIDIA H200", "9.0", 143771, "580.95.05")


@pytest.fixture
def rtx(driver: FakeDriver) -> FakeTensorRT:
    return FakeTensorRT(driver, rtx=True)


def use(rtx: FakeTensorRT, file: Path, *sizes: int) -> int:
    """Runs batches as a process of its own would; returns how often TensorRT-RTX compiled."""
    rtx.compiled = 0
    with opened(rtx, dataclasses.replace(expected(rtx), cache=file)) as backend, backend.sibling() as other:
        for size in sizes:
            run(backend, some_images(size))
            run(other, some_images(size))
    return rtx.compiled


def test_a_second_process_compiles_nothing(rtx: FakeTensorRT, tmp_path: Path) -> None:
    file = tmp_path / "new" / "it.cache"
    assert use(rtx, file, 1, 3) == 2, "siblings compiled the same again"
    written = file.stat().st_mtime_ns
    assert use(rtx, file, 1, 3) == 0
    assert file.stat().st_mtime_ns == written, "nothing new was written again"
    assert use(rtx, file, 1, 4) == 1
    assert use(rtx, file, 1, 3, 4) == 0


@pytest.mark.parametrize("content", [b"", b"of another GPU", None])
def test_a_file_that_does_not_fit_is_replaced(rtx: FakeTensorRT, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "it.cache"
    if content is None:
        file.symlink_to(tmp_path / "gone")
    else:
        file.write_bytes(content)
    assert use(rtx, file, 2) == 1
    assert use(rtx, file, 2) == 0


def test_a_file_that_cannot_be_written_is_a_warning(rtx: FakeTensorRT, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("not a folder")
    with pytest.warns(RuntimeWarning, match=r"compiled kernels cannot be saved.*: set XDG_CACHE_HOME"):
        assert use(rtx, tmp_path / "a" / "it.cache", 2) == 1


def test_each_plan_gpu_and_driver_has_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    digests = ("0" * 64, "1" * 64)
    gpus = (H200, dataclasses.replace(H200, driver="590.1"), dataclasses.replace(H200, name="NVIDIA L4"))
    files = {cache_file(digest, gpu) for digest in digests for gpu in gpus}
    assert len(files) == 6
    assert {file.parent for file in files if file is not None} == {tmp_path / "wrn-deploy" / "runtime-caches"}
    assert cache_file(digests[0], None) is None
