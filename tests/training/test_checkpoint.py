"""Training checkpoints: everything comes back bit for bit, a crash leaves the old one, and damage is reported."""

from __future__ import annotations

import dataclasses
import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from wrn_deploy.data import Role, open_data
from wrn_deploy.errors import DeployError
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.spec import ModelSpec
from wrn_deploy.training.checkpoint import METADATA, ResumePoint, restore_checkpoint, save_checkpoint
from wrn_deploy.training.execution.device import cpu_device
from wrn_deploy.training.execution.options import Amp, ExecutionOptions
from wrn_deploy.training.images import ImageOptions, open_images
from wrn_deploy.training.loop import Epoch, Trainer
from wrn_deploy.training.recipe import TrainRecipe

SPEC = describe_model("wrn-10-1")
EPOCHS = (
    Epoch(epoch=0, learning_rate=0.1, loss=1 / 3, train_top1=0.1, test_top1=0.2),
    Epoch(epoch=1, learning_rate=0.02, loss=1.0e-17, train_top1=0.3, test_top1=0.7),
)
POINT = ResumePoint(spec=SPEC, recipe=TrainRecipe(epochs=5), train="digits", test="digits", history=EPOCHS)


def _trainer(spec: ModelSpec = SPEC, seed: int = 0, execution: ExecutionOptions | None = None) -> Trainer:
    torch.manual_seed(seed)
    images = open_images(
        open_data("digits", Role.TEST), ImageOptions(preprocessing=spec.preprocessing, classes=spec.classes)
    )
    return Trainer(build_model(spec), TrainRecipe(epochs=5), images, images, cpu_device(execution))


@pytest.fixture
def trainer() -> Trainer:
    """After two steps: momentum is not a gradient any more."""
    made = _trainer()
    for _ in range(2):
        made.optimizer.zero_grad()
        made.network(torch.randn(4, 3, 32, 32)).square().sum().backward()
        made.optimizer.step()
    return made


@pytest.fixture
def file(trainer: Trainer, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoint.safetensors", trainer, POINT)
    return tmp_path / "checkpoint.safetensors"


def _rewrite(file: Path, record: Any, tensors: dict[str, torch.Tensor] | None = None) -> None:
    text = record if isinstance(record, str) else json.dumps(record)
    save_file(load_file(file) if tensors is None else tensors, file, metadata={METADATA: text})


def _record(file: Path) -> dict[str, Any]:
    with safe_open(file, framework="pt") as opened:
        record: dict[str, Any] = json.loads(opened.metadata()[METADATA])
        return record


def test_weights_statistics_momentum_and_history_come_back_bit_for_bit(trainer: Trainer, file: Path) -> None:
    fresh = _trainer(seed=9)
    assert restore_checkpoint(file, fresh, dataclasses.replace(POINT, history=())) == EPOCHS
    wanted = trainer.network.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in fresh.network.state_dict().items())
    for one, other in zip(trainer.network.parameters(), fresh.network.parameters(), strict=True):
        momentum = fresh.optimizer.state[other]["momentum_buffer"]
        assert momentum.abs().max() > 0
        assert torch.equal(trainer.optimizer.state[one]["momentum_buffer"], momentum)


def test_a_restored_trainer_goes_on_as_the_first_one_does(trainer: Trainer, file: Path) -> None:
    fresh = _trainer(seed=9)
    restore_checkpoint(file, fresh, POINT)
    images = torch.randn(4, 3, 32, 32)
    for one in (trainer, fresh):
        one.optimizer.zero_grad()
        one.network.train()(images).square().sum().backward()
        one.optimizer.step()
    wanted = trainer.network.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in fresh.network.state_dict().items())


def test_what_is_restored_does_not_hang_on_the_file(file: Path) -> None:
    fresh = _trainer(seed=9)
    restore_checkpoint(file, fresh, POINT)
    before = [value.clone() for value in fresh.network.state_dict().values()]
    momentum = [state["momentum_buffer"].clone() for state in fresh.optimizer.state.values()]
    other = _trainer(seed=5)
    restore_checkpoint(file, other, POINT)
    save_checkpoint(file, other, POINT)
    file.unlink()
    assert all(map(torch.equal, fresh.network.state_dict().values(), before))
    assert all(
        torch.equal(state["momentum_buffer"], was)
        for state, was in zip(fresh.optimizer.state.values(), momentum, strict=True)
    )


def test_equal_states_are_equal_bytes(trainer: Trainer, file: Path) -> None:
    content = file.read_bytes()
    save_checkpoint(file, trainer, POINT)
    assert file.read_bytes() == content


def test_an_error_while_writing_leaves_the_old_checkpoint(trainer: Trainer, file: Path) -> None:
    content, (_, most) = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, most))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(file, trainer, POINT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert file.read_bytes() == content
    save_checkpoint(file, trainer, POINT)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_others_may_read_a_checkpoint_as_far_as_the_umask_lets_them(file: Path) -> None:
    (file.parent / "plain").touch()
    assert file.stat().st_mode == (file.parent / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (dataclasses.replace(POINT, recipe=TrainRecipe(epochs=6)), "recipe.epochs 5 there, 6 now"),
        (dataclasses.replace(POINT, recipe=TrainRecipe(epochs=5, seed=1)), "recipe.seed 0 there, 1 now"),
        (dataclasses.replace(POINT, recipe=TrainRecipe(epochs=5, mirror=False)), "recipe.mirror True there, False now"),
        (dataclasses.replace(POINT, train="cifar"), "train digits there, cifar now"),
        (dataclasses.replace(POINT, test="cifar"), "test digits there, cifar now"),
        (
            dataclasses.replace(POINT, spec=describe_model("wrn-10-2")),
            "spec.name wrn-10-1 there, wrn-10-2 now; spec.w",
        ),
        (dataclasses.replace(POINT, spec=dataclasses.replace(SPEC, dropout=0.5)), "spec.dropout 0.0 there, 0.5 now"),
    ],
)
def test_a_run_with_other_options_is_refused_and_what_differs_is_named(
    file: Path, expected: ResumePoint, text: str
) -> None:
    fresh = _trainer(seed=9)
    before = [value.clone() for value in fresh.network.state_dict().values()]
    with pytest.raises(DeployError, match="is from another run") as error:
        restore_checkpoint(file, fresh, expected)
    assert f"({text}" in str(error.value)
    assert str(error.value).endswith("use its options, or another --out")
    assert all(map(torch.equal, fresh.network.state_dict().values(), before))


def test_all_that_differs_is_named_and_nothing_else(file: Path) -> None:
    preprocessing = dataclasses.replace(SPEC.preprocessing, std=(0.2, 0.2, 0.2))
    spec = dataclasses.replace(SPEC, preprocessing=preprocessing)
    expected = dataclasses.replace(POINT, spec=spec, recipe=TrainRecipe(epochs=5, learning_rate=0.2))
    with pytest.raises(DeployError) as error:
        restore_checkpoint(file, _trainer(), expected)
    differing = str(error.value).partition("(")[2].partition("):")[0].split("; ")
    assert sorted(differing) == [
        "recipe.learning_rate 0.1 there, 0.2 now",
        "spec.preprocessing.std [0.247, 0.243, 0.261] there, [0.2, 0.2, 0.2] now",
    ]


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_checkpoint_is_reported(file: Path, fraction: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(DeployError, match=r"checkpoint\.safetensors is not a training checkpoint .*: remove it to"):
        restore_checkpoint(file, _trainer(), POINT)


def test_weights_alone_are_no_training_checkpoint(file: Path) -> None:
    save_file({"conv1.weight": torch.zeros(2)}, file)
    with pytest.raises(DeployError, match="is not a training checkpoint"):
        restore_checkpoint(file, _trainer(), POINT)


@pytest.mark.parametrize("record", ["{", "[]", "3", "null", "{}", '{"history": 3}', '{"history": [{"epoch": 0}]}'])
def test_a_record_that_is_none_is_reported(file: Path, record: str) -> None:
    _rewrite(file, record)
    with pytest.raises(DeployError, match="is not a training checkpoint"):
        restore_checkpoint(file, _trainer(), POINT)


@pytest.mark.parametrize("damage", ["missing", "other shape", "unexpected"])
def test_tensors_that_are_not_the_networks_are_reported(file: Path, damage: str) -> None:
    tensors = load_file(file)
    if damage == "missing":
        del tensors["momentum.conv1.weight"]
    elif damage == "other shape":
        tensors["network.bn1.bias"] = torch.zeros(1)
    else:
        tensors["network.bn9.bias"] = torch.zeros(1)
    _rewrite(file, _record(file), tensors)
    with pytest.raises(DeployError, match="lacks tensors of wrn-10-1: it is damaged; remove it to start again"):
        restore_checkpoint(file, _trainer(), POINT)


@pytest.mark.parametrize(
    ("execution", "text"),
    [
        (ExecutionOptions(amp=Amp.BF16), "amp None there, bf16 now"),
        (ExecutionOptions(accumulate=2), "accumulate 1 there, 2 now"),
        (ExecutionOptions(sync_norms=False), "sync_norms True there, False now"),
    ],
)
def test_a_run_with_other_arithmetic_is_refused(file: Path, execution: ExecutionOptions, text: str) -> None:
    with pytest.raises(DeployError, match=f"is from another run .{text}"):
        restore_checkpoint(file, _trainer(execution=execution), POINT)


def test_other_kernels_may_go_on_with_a_run(file: Path) -> None:
    fresh = _trainer(execution=ExecutionOptions(channels_last=False, checkpointing=True))
    assert restore_checkpoint(file, fresh, POINT) == EPOCHS


def test_the_loss_scale_of_fp16_comes_back(tmp_path: Path) -> None:
    execution = ExecutionOptions(amp=Amp.FP16)
    trainer = _trainer(execution=execution)
    images = torch.randn(4, 3, 32, 32)
    for _ in range(2):
        trainer.optimizer.zero_grad()
        with trainer.device.autocast():
            loss = trainer.network(images).float().square().sum()
        trainer.scaler.scale(loss * 1e-3).backward()
        trainer.scaler.step(trainer.optimizer)
        trainer.scaler.update(new_scale=1024.0)
    save_checkpoint(tmp_path / "half.safetensors", trainer, POINT)
    fresh = _trainer(seed=9, execution=execution)
    restore_checkpoint(tmp_path / "half.safetensors", fresh, POINT)
    assert fresh.scaler.state_dict() == trainer.scaler.state_dict()
    assert fresh.scaler.get_scale() == 1024.0
