"""Kills at any moment, two writers, a full disk: parts are those of an unbroken run, or there is a clear error."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.shards.made import digests_of, example_bundle, pack_shards
from wrn_deploy.shards.ledger import Ledger, entry_name
from wrn_deploy.shards.recipe import read_recipe
from wrn_deploy.shards.store import open_store

Start = Callable[..., "subprocess.Popen[str]"]
SHARDS = 6
MOMENTS = 4  # `python -m benchmarks.scale.score_kills` has more


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example_bundle(tmp_path_factory.mktemp("scoring") / "bundle").folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_shards(tmp_path_factory.mktemp("scoring") / "shards", SHARDS, 50)


@pytest.fixture
def unbroken(cli: Cli, example: Path, shards: Path, tmp_path: Path) -> dict[str, bytes]:
    assert cli(*options(example, shards, tmp_path / "unbroken")).code == 0
    return digests_of(tmp_path / "unbroken")


def options(example: Path, shards: Path, out: Path, *more: object) -> list[object]:
    return [
        "score",
        example,
        "--data",
        shards,
        "--out",
        out,
        "--backend",
        "onnxruntime",
        "--threads",
        1,
        "--batch",
        4,
        *more,
    ]


def intact(out: Path) -> int:
    """How many shards are recorded; each of them must have its part."""
    if not (out / "recipe.json").exists():
        return 0
    ledger = Ledger(store=open_store(str(out)), recipe=read_recipe((out / "recipe.json").read_bytes(), "x"))
    from wrn_deploy.shards.found import Shard

    names, done = ledger.store.names(), 0
    for number in ledger.numbers(names):
        size = (out.parent / "data" / f"digits-{number:03d}.tar").stat().st_size
        entry = ledger.read(Shard(number=number, name=f"digits-{number:03d}.tar", size_bytes=size), names)
        ledger.check_part(entry, out / f"part-{number:06d}.parquet")
        done += 1
    return done


def test_a_kill_in_the_middle_of_a_shard(
    cli: Cli, start: Start, example: Path, shards: Path, tmp_path: Path, unbroken: dict[str, bytes]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(shards, data)
    running = start(*options(example, data, out))
    for _ in range(2400):
        if (out / entry_name(1)).exists() and list(out.glob(".wrn-deploy-scratch-*/.new-*")):
            break
        assert running.poll() is None, running.communicate()[1]
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=60)
    assert 2 <= intact(out) < SHARDS
    outcome = cli(*options(example, data, out))
    assert outcome.code == 0, outcome.err
    assert "done before" in outcome.out
    assert digests_of(out) == unbroken
    assert not list(out.glob(".*")), "nothing is left of the killed process"
    assert cli(*options(example, data, out, "--merge")).code == 0


@pytest.mark.parametrize("seed", range(MOMENTS))
def test_kills_at_random_moments(
    cli: Cli, start: Start, example: Path, shards: Path, tmp_path: Path, unbroken: dict[str, bytes], seed: int
) -> None:
    data, out, chance = tmp_path / "data", tmp_path / "out", random.Random(seed)
    shutil.copytree(shards, data)
    running = start(*options(example, data, out))
    time.sleep(chance.uniform(0.2, 2.5))
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=60)
    before = intact(out)
    outcome = cli(*options(example, data, out, "--json"))
    assert outcome.json()["before"] == before
    assert digests_of(out) == unbroken
    assert not list(out.glob(".*"))


def test_ctrl_c_keeps_what_is_done(
    cli: Cli, start: Start, example: Path, shards: Path, tmp_path: Path, unbroken: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    running = start(*options(example, shards, out))
    for _ in range(2400):
        if (out / entry_name(0)).exists():
            break
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    if running.returncode:  # else it was done before
        assert running.returncode == 130, err
    assert not list(out.glob(".*"))
    assert cli(*options(example, shards, out)).code == 0
    assert digests_of(out) == unbroken


def test_two_writers_at_once_do_no_harm(
    cli: Cli, start: Start, example: Path, shards: Path, tmp_path: Path, unbroken: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    running = [start(*options(example, shards, out)) for _ in range(2)]
    for one in running:
        _, err = one.communicate(timeout=120)
        assert one.returncode == 0, err
    assert digests_of(out) == unbroken
    assert cli(*options(example, shards, out, "--merge")).code == 0
    assert not list(out.glob(".*"))


def test_two_writers_of_two_jobs_never_mix(cli: Cli, start: Start, example: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    running = [start(*options(example, shards, out, "--top-k", top_k)) for top_k in (1, 2)]
    codes = sorted((one.communicate(timeout=120), one.returncode)[1] for one in running)
    assert codes in ([0, 0], [0, 2])
    merged = [cli(*options(example, shards, out, "--top-k", top_k, "--merge")).code for top_k in (1, 2)]
    assert merged.count(0) <= 1, "never both"
    assert all(code in (0, 2, 3) for code in merged)


def test_a_file_size_limit_is_a_clear_error(
    cli: Cli, start: Start, example: Path, shards: Path, tmp_path: Path, unbroken: dict[str, bytes]
) -> None:
    out = tmp_path / "out"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))

    running = start(*options(example, shards, out), preexec_fn=limit)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 1, err
    assert "error: cannot read or write" in err
    assert "allow larger files (`ulimit -f`)" in err
    assert not digests_of(out)
    assert cli(*options(example, shards, out)).code == 0
    assert digests_of(out) == unbroken


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB, if this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_a_clear_error_and_room_lets_it_go_on(
    cli: Cli, example: Path, shards: Path, tmp_path: Path, small_disk: Path
) -> None:
    full = ("--logits", "--top-k", 10)
    assert cli(*options(example, shards, tmp_path / "whole", *full)).code == 0
    (small_disk / "other").write_bytes(os.urandom(40_000))
    outcome = cli(*options(example, shards, small_disk / "out", *full))
    assert outcome.code == 1
    assert "No space left on device" in outcome.err
    assert "free some space" in outcome.err
    assert not list((small_disk / "out").glob(".*"))
    (small_disk / "other").unlink()
    subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
    again = cli(*options(example, shards, small_disk / "out", *full))
    assert again.code == 0, again.err
    assert digests_of(small_disk / "out") == digests_of(tmp_path / "whole")
