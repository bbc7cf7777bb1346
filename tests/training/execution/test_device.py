"""How a run is carried out changes speed and memory, and the result only where that is meant."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.test_loop import PREPROCESSING, shades
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.errors import MachineError, UsageError
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.training.execution import device as device_module
from wrn_deploy.training.execution.device import cpu_device, open_device
from wrn_deploy.training.execution.network import blocks_of
from wrn_deploy.training.execution.options import Amp, Device, ExecutionOptions
from wrn_deploy.training.execution.processes import BatchShard
from wrn_deploy.training.images import CachedImages, ImageOptions, open_images
from wrn_deploy.training.loop import Trainer
from wrn_deploy.training.recipe import TrainRecipe

SPEC = describe_model("wrn-10-1")
State = dict[str, torch.Tensor]


def _noise(count: int = 12, classes: int = 10) -> CachedImages:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 32, 32, 3), generator=random, dtype=torch.uint8)
    return CachedImages(
        name="noise",
        pixels=pixels,
        labels=torch.arange(count) % classes,
        options=ImageOptions(preprocessing=SPEC.preprocessing, classes=classes),
    )


def _trained(execution: ExecutionOptions, dropout: float = 0.0, network: nn.Module | None = None) -> State:
    """The state after two steps."""
    torch.manual_seed(0)
    network = network or build_model(dataclasses.replace(SPEC, dropout=dropout))
    recipe = TrainRecipe(epochs=1, batch_size=6, learning_rate=0.01)
    trainer = Trainer(network, recipe, _noise(), _noise(), cpu_device(execution))
    list(trainer.run(0, lambda _images: None))
    return {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}


def _largest_difference(one: State, other: State) -> float:
    return max(float((one[key] - other[key]).abs().max()) for key in one)


def test_checkpointing_changes_not_a_bit_of_weights_and_statistics() -> None:
    """Dropout draws the same numbers again, and each image is counted once in the running statistics."""
    straight, again = (
        _trained(ExecutionOptions(checkpointing=checkpointing), dropout=0.3) for checkpointing in (False, True)
    )
    assert all(torch.equal(tensor, again[key]) for key, tensor in straight.items())


def test_checkpointing_keeps_far_less_for_the_backward_pass() -> None:
    kept = []
    for checkpointing in (False, True):
        network = cpu_device(ExecutionOptions(checkpointing=checkpointing)).prepare(
            build_model(describe_model("wrn-16-1"))
        )
        sizes: dict[int, int] = {}

        def note(tensor: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            logits = network(torch.randn(8, 3, 32, 32))
        kept.append(sum(sizes.values()))
        logits.sum().backward()
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.parametrize("name", ["wrn-16-1", "resnet-50"])
def test_every_residual_block_is_found(name: str) -> None:
    network = build_model(describe_model(name))
    assert len(blocks_of(network)) == {"wrn-16-1": 6, "resnet-50": 16}[name]


def test_a_network_without_blocks_cannot_be_checkpointed() -> None:
    with pytest.raises(UsageError, match="--checkpointing: this network has no residual blocks"):
        cpu_device(ExecutionOptions(checkpointing=True)).prepare(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()))


def test_the_order_in_memory_changes_rounding_alone() -> None:
    last, first = (_trained(ExecutionOptions(channels_last=channels_last)) for channels_last in (True, False))
    assert _largest_difference(last, first) < 1e-4


@pytest.mark.parametrize("amp", [*Amp])
def test_mixed_precision_keeps_weights_in_fp32_and_learns_nearly_the_same(amp: Amp) -> None:
    full, mixed = (_trained(ExecutionOptions(amp=choice)) for choice in (None, amp))
    assert {tensor.dtype for tensor in mixed.values()} == {torch.float32, torch.int64}
    moved = _largest_difference(full, _start())
    assert 0 < _largest_difference(full, mixed) < 0.3 * moved


def _start() -> State:
    torch.manual_seed(0)
    return build_model(SPEC).state_dict()


def test_parts_of_a_batch_add_up_to_its_gradient() -> None:
    """Without BN, whose statistics are those of a part, nothing but rounding changes."""

    def made() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10))

    whole, parts = (_trained(ExecutionOptions(accumulate=parts), network=made()) for parts in (1, 3))
    assert _largest_difference(whole, parts) < 1e-6


def test_compiled_training_gives_nearly_the_same_weights() -> None:
    def made() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10))

    eager, compiled = (_trained(ExecutionOptions(compiled=choice), network=made()) for choice in (False, True))
    assert eager.keys() == compiled.keys()
    assert _largest_difference(eager, compiled) < 1e-4


def test_compiling_and_checkpointing_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="--compile with --checkpointing: expected one"):
        ExecutionOptions(compiled=True, checkpointing=True)
    with pytest.raises(UsageError, match="--accumulate 0: expected at least 1"):
        ExecutionOptions(accumulate=0)


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(MachineError, match=r"--device cuda: .*; leave it out to train on the CPU"):
        open_device(ExecutionOptions(device=Device.CUDA))
    assert open_device(ExecutionOptions()).torch_device.type == "cpu"


def test_a_gpu_that_pytorch_cannot_use_is_not_passed_over_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gpu:
        name = "GeForce"

    monkeypatch.setattr(device_module, "find_gpu", Gpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    warning = open_device(ExecutionOptions()).warning
    assert warning is not None
    assert "training on the CPU: this PyTorch" in warning
    assert "has no CUDA for the GeForce" in warning
    assert open_device(ExecutionOptions(device=Device.CPU)).warning is None


@pytest.mark.parametrize("cache_bytes", [2**20, 0])
def test_images_are_normalised_on_the_device_to_the_numbers_of_every_other_step(cache_bytes: int) -> None:
    source = shades(21)
    images = open_images(source, ImageOptions(preprocessing=PREPROCESSING, classes=2), cache_bytes=cache_bytes)
    wanted = [normalize(batch.images, PREPROCESSING) for batch in Batches(source, PREPROCESSING, 8)]
    found = list(images.test_batches(8, BatchShard()))
    assert [batch.batch_size for batch in found] == [8, 8, 5]
    for batch, numbers in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(batch.images.numpy(), numbers)


def test_weights_without_decay_are_those_of_bn_and_the_biases() -> None:
    images = _noise()
    all_alike, apart = (
        Trainer(build_model(SPEC), TrainRecipe(decay_norms=decay), images, images).optimizer for decay in (True, False)
    )
    assert [group["weight_decay"] for group in all_alike.param_groups] == [5e-4]
    groups = apart.param_groups
    assert [group["weight_decay"] for group in groups] == [5e-4, 0.0]
    assert {each.ndim for each in groups[0]["params"]} == {2, 4}
    assert {each.ndim for each in groups[1]["params"]} == {1}


def test_the_best_five_are_counted_from_100_classes_on() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 100))
    images = _noise(20, 100)
    trainer = Trainer(network, TrainRecipe(epochs=1, batch_size=10, learning_rate=1e-6), images, images)
    (epoch,) = trainer.run(0, lambda _images: None)
    logits = network(next(iter(images.test_batches(20, BatchShard()))).images)
    near = (logits.topk(5).indices == images.labels[:, None]).any(1).float().mean()
    assert epoch.test_top5 == pytest.approx(float(near))
    assert epoch.train_top5 is not None
    assert epoch.train_top5 >= epoch.train_top1
