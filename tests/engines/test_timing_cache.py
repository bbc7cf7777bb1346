"""The timing cache's file; a small builder configuration stands for full TensorRT's, which needs a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from wrn_deploy.engines.configure import load_timing_cache, save_timing_cache
from wrn_deploy.errors import DeployError


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
        self.cache = cache
        return cache.content.startswith(b"mine")


def test_a_cache_begins_empty_and_goes_on_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "times"
    first = load_timing_cache(Config(), file)
    first.content += b"one"
    save_timing_cache(first, file)
    assert file.read_bytes() == b"mine: one"
    config = Config()
    second = load_timing_cache(config, file)
    assert config.cache is not None
    assert config.cache is second
    second.content += b", two"
    save_timing_cache(second, file)
    assert file.read_bytes() == b"mine: one, two"
    assert [each.name for each in file.parent.iterdir()] == ["times"]


@pytest.mark.parametrize("content", [b"rubbish", b"another GPU's"])
def test_a_cache_that_does_not_fit_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "times"
    file.write_bytes(content)
    with pytest.raises(DeployError, match=r"times is not a timing cache of this TensorRT on this GPU: delete it"):
        load_timing_cache(Config(), file)
    assert file.read_bytes() == content


def test_a_cache_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    class Failing(Cache):
        def serialize(self) -> memoryview:
            raise RuntimeError("no memory")

    file = tmp_path / "times"
    file.write_bytes(b"mine: old")
    with pytest.raises(RuntimeError):
        save_timing_cache(Failing(b""), file)
    assert file.read_bytes() == b"mine: old"
    assert [each.name for each in tmp_path.iterdir()] == ["times"]
