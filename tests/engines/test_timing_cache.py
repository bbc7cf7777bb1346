"""The timing cache's file; a small builder configuration stands for full TensorRT's, which needs a GPU."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from wrn_deploy.engines.flavor import Flavor, TensorRT
from wrn_deploy.engines.options import EngineOptions
from wrn_deploy.engines.timing_cache import TimingCache, choose_timing_cache, default_file
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import Gpu

H200 = Gpu("NVIDIA H200 (MIG 1g/2)", "9.0", 143771, "580.65.06")
TRT = TensorRT(Flavor.TENSORRT, "11.4.0.106", None)


class Cache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> memoryview:
        return memoryview(self.content)


class Config:
    """An IBuilderConfig: it takes caches that begin with its own mark, and empty ones; from others it makes none."""

    def __init__(self) -> None:
        self.cache: Cache | None = None

    def create_timing_cache(self, serialized: bytes) -> Cache | None:
        return None if serialized == b"rubbish" else Cache(serialized or b"mine: ")

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        fits = cache.content.startswith(b"mine")
        self.cache = cache if fits else self.cache
        return fits

    def measure(self, content: bytes) -> None:
        assert self.cache is not None
        self.cache.content += content


def build(file: Path, measured: bytes, *, ours: bool) -> TimingCache:
    """A build that measures something."""
    times, config = TimingCache(file=file, ours=ours), Config()
    times.attach(config)
    config.measure(measured)
    times.save()
    return times


@pytest.mark.parametrize("ours", [True, False])
def test_a_cache_begins_empty_and_goes_on_from_its_file(tmp_path: Path, ours: bool) -> None:
    file = tmp_path / "new" / "times"
    first = build(file, b"one", ours=ours)
    assert file.read_bytes() == b"mine: one"
    second = build(file, b", two", ours=ours)
    assert file.read_bytes() == b"mine: one, two"
    assert [each.name for each in file.parent.iterdir()] == ["times"]
    assert (first.started_from, second.started_from) == (None, hashlib.sha256(b"mine: one").hexdigest())
    assert first.warnings == second.warnings == []


@pytest.mark.parametrize("content", [b"rubbish", b"another GPU's"])
def test_a_file_that_the_user_named_is_refused_and_stays(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "times"
    file.write_bytes(content)
    with pytest.raises(DeployError, match=r"times is not a timing cache of this TensorRT on this GPU: delete it"):
        build(file, b"one", ours=False)
    assert file.read_bytes() == content
    with pytest.raises(DeployError, match=r"cannot be read \(.*\): choose another --timing-cache"):
        build(tmp_path, b"one", ours=False)


@pytest.mark.parametrize("content", [b"rubbish", b"another GPU's"])
def test_a_damaged_file_of_ours_is_said_and_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "times"
    file.write_bytes(content)
    times = build(file, b"one", ours=True)
    assert file.read_bytes() == b"mine: one"
    assert times.started_from is None
    assert times.warnings == [
        f"{file} is damaged, or not a timing cache of this TensorRT on this GPU: everything was measured again"
    ]
    assert build(file, b"two", ours=True).warnings == []


def test_a_file_that_cannot_be_read_or_written_does_not_lose_the_plan(tmp_path: Path) -> None:
    file = tmp_path / "times"
    file.mkdir()
    times = build(file, b"one", ours=True)
    said = [warning.partition(" (")[0] for warning in times.warnings]
    assert said == [f"{file} cannot be read", "the measured times cannot be saved"]


def test_a_cache_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    class Failing(Cache):
        def serialize(self) -> memoryview:
            raise OSError("no space")

    class FailingConfig(Config):
        def create_timing_cache(self, serialized: bytes) -> Cache | None:
            return Failing(serialized)

    file = tmp_path / "times"
    file.write_bytes(b"mine: old")
    times = TimingCache(file=file, ours=True)
    times.attach(FailingConfig())
    times.save()
    assert file.read_bytes() == b"mine: old"
    assert times.warnings == ["the measured times cannot be saved (no space): choose another --timing-cache"]
    assert [each.name for each in tmp_path.iterdir()] == ["times"]


def test_the_default_file_is_for_one_tensorrt_gpu_and_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = default_file(TRT, H200)
    assert file is not None
    assert file.parent == tmp_path / "wrn-deploy" / "timing-caches"
    assert file.name == "tensorrt-11.4.0.106-NVIDIA-H200-MIG-1g-2-9.0-580.65.06.cache"
    others = [
        default_file(TensorRT(Flavor.TENSORRT, "11.4.0.107", None), H200),
        default_file(TRT, Gpu("NVIDIA H100", "9.0", 81920, "580.65.06")),
        default_file(TRT, Gpu(H200.name, "9.0", 143771, "580.65.07")),
    ]
    assert len({file, *others}) == 4


@pytest.mark.parametrize("given", ["", "relative"])
def test_without_a_usable_variable_the_folder_is_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    monkeypatch.setenv("HOME", str(tmp_path))
    file = default_file(TRT, H200)
    assert file is not None
    assert file.parent == tmp_path / ".cache" / "wrn-deploy" / "timing-caches"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert default_file(TRT, H200) is None
    assert choose_timing_cache(TRT, EngineOptions(), H200) is None


def test_which_file_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    usual = choose_timing_cache(TRT, EngineOptions(), H200)
    assert usual is not None
    assert (usual.file, usual.ours) == (default_file(TRT, H200), True)
    named = choose_timing_cache(TRT, EngineOptions(timing_cache=Path("times")), H200)
    assert named is not None
    assert (named.file, named.ours) == (Path("times"), False)
    assert choose_timing_cache(TRT, EngineOptions(no_timing_cache=True), H200) is None
    assert choose_timing_cache(TRT, EngineOptions(), None) is None
    assert choose_timing_cache(TensorRT(Flavor.RTX, "1.7.1.116", None), EngineOptions(), H200) is None
    assert not list(tmp_path.iterdir()), "nothing is written before a build"
