"""Several processes: the result of one, up to rounding; exact after a break; every image once; and what is missing."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training.execution import together
from tests.training.test_loop import PREPROCESSING, shades
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.training.execution.device import cpu_device
from wrn_deploy.training.execution.options import Device, ExecutionOptions
from wrn_deploy.training.execution.processes import BatchShard, Single, find_processes, lost_is_named
from wrn_deploy.training.images import ImageOptions, open_images
from wrn_deploy.training.loop import Trainer
from wrn_deploy.training.recipe import TrainRecipe
from wrn_deploy.training.sources import ShardSource

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left, which checked themselves that a break changes nothing."""
    pytest.importorskip("accelerate")
    folder = tmp_path_factory.mktemp("two")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "tests.training.execution.together", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


def _assert_near(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        torch.testing.assert_close(found[key], tensor, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(("name", "cache_bytes"), [("whole", 2**20), ("streamed", 0)])
def test_two_processes_learn_what_one_learns(two: Path, tmp_path: Path, name: str, cache_bytes: int) -> None:
    alone = together.train(together.trainer_for(ExecutionOptions(device=Device.CPU), cache_bytes), tmp_path)
    _assert_near(load_file(two / f"{name}.safetensors"), alone)


def test_norms_of_parts_are_other_norms_and_the_comparison_sees_it(two: Path, tmp_path: Path) -> None:
    alone = together.train(together.trainer_for(ExecutionOptions(device=Device.CPU)), tmp_path)
    with pytest.raises(AssertionError):
        _assert_near(load_file(two / "local.safetensors"), alone)


@pytest.mark.parametrize(("count", "batch", "size"), [(45, 8, 2), (7, 6, 3), (64, 16, 4), (3, 8, 4)])
def test_all_processes_together_take_each_image_of_each_batch_once(count: int, batch: int, size: int) -> None:
    source = shades(count)
    whole = [item.name for item in source.items(np.random.default_rng(3))]
    parts = [ShardSource(source, BatchShard(rank=rank, size=size), batch) for rank in range(size)]
    taken = [[item.name for item in part.items(np.random.default_rng(3))] for part in parts]
    assert [len(part) for part in parts] == [len(names) for names in taken]
    for first in range(0, count, batch):
        among = whole[first : first + batch]
        pieces = [[name for name in names if name in among] for names in taken]
        assert [name for piece in pieces for name in piece] == among
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


@pytest.mark.parametrize(("size", "processes"), [(9, 2), (4, 3), (2, 2)])
def test_a_batch_that_cannot_be_shared_is_refused(size: int, processes: int) -> None:
    class Three(Single):
        shard = BatchShard(rank=0, size=processes)

    images = open_images(shades(10), ImageOptions(preprocessing=PREPROCESSING, classes=2))
    device = dataclasses.replace(cpu_device(), processes=Three())
    with pytest.raises(UsageError, match=f"batches of {size} in {processes} processes: expected a multiple"):
        Trainer(together.network(), TrainRecipe(batch_size=size), images, images, device)


def test_one_process_needs_no_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert isinstance(find_processes({}, on_cpu=True), Single)
    assert isinstance(find_processes({"WORLD_SIZE": "1"}, on_cpu=True), Single)
    with pytest.raises(MachineError, match=r"training in several processes needs accelerate.*pip install 'accelerate>"):
        find_processes({"WORLD_SIZE": "2"}, on_cpu=True)


def test_a_number_of_processes_that_is_none_is_reported() -> None:
    with pytest.raises(UsageError, match="WORLD_SIZE 'two' in the environment: expected a number"):
        find_processes({"WORLD_SIZE": "two"}, on_cpu=True)


class _Two(Single):
    shard = BatchShard(rank=0, size=2)


def test_a_lost_process_is_named_and_other_errors_are_left_alone() -> None:
    text = "[gloo/transport/tcp/pair.cc:537] Read error [10.0.0.2]:48844: Connection reset by peer"
    with (
        pytest.raises(
            DeployError, match=r"another of the 2 processes was lost .*reset by peer\): expected all of them"
        ),
        lost_is_named(_Two()),
    ):
        raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="another error"), lost_is_named(_Two()):
        raise RuntimeError("another error")
    with pytest.raises(RuntimeError, match="gloo"), lost_is_named(Single()):
        raise RuntimeError(text)
