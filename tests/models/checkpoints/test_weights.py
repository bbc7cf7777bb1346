"""Weights in and out: the round trip, real checkpoints, and what fits the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.models.fitting import fit_weights
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.errors import DeployError
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.models.checkpoints.weights import Checkpoint, read_weights, write_weights
from wrn_deploy.spec import ModelSpec

State = dict[str, torch.Tensor]
SPEC = describe_model("wrn-10-1")


@pytest.fixture
def network() -> nn.Module:
    """Weights that are all different from a fresh network's, BN statistics too."""
    torch.manual_seed(1)
    made = build_model(SPEC)
    for value in made.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.1)
    return made


@pytest.fixture
def state(network: nn.Module) -> State:
    return {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}


def _fit(file: Path, spec: ModelSpec = SPEC) -> State:
    fresh = build_model(spec)
    fit_weights(fresh, read_weights(file), spec)
    return dict(fresh.state_dict())


def _assert_equal(found: State, wanted: State) -> None:
    for key, value in wanted.items():
        assert torch.equal(found[key], value), key


def test_safetensors_keep_every_bit_and_the_description(network: nn.Module, state: State, tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, labels=tuple("abcdefghij"), dropout=0.25)
    write_weights(network, spec, tmp_path / "w.safetensors")
    read = read_weights(tmp_path / "w.safetensors")
    assert read.spec == spec
    assert read.file == tmp_path / "w.safetensors"
    _assert_equal(dict(read.tensors), dict(network.state_dict()))
    _assert_equal(_fit(tmp_path / "w.safetensors"), state)


def test_the_same_weights_are_the_same_bytes(network: nn.Module, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_weights(network, SPEC, tmp_path / name)
    again = build_model(SPEC)
    again.load_state_dict(network.state_dict())
    write_weights(again, SPEC, tmp_path / "three")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes()
    write_weights(network, dataclasses.replace(SPEC, dropout=0.1), tmp_path / "other")
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


def test_others_may_read_the_weights_as_far_as_the_umask_lets_them(network: nn.Module, tmp_path: Path) -> None:
    write_weights(network, SPEC, tmp_path / "w.safetensors")
    (tmp_path / "plain").touch()
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "best": 0.93},
        lambda state: {"model": state},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {key: nn.Parameter(value) for key, value in state.items()},
    ],
    ids=["bare", "state_dict", "model", "DataParallel", "both", "parameters"],
)
def test_the_usual_shapes_of_a_pth_file_are_read(
    wrap: Callable[[State], object], new_format: bool, state: State, tmp_path: Path
) -> None:
    torch.save(wrap(state), tmp_path / "w.pth", _use_new_zipfile_serialization=new_format)
    _assert_equal(_fit(tmp_path / "w.pth"), state)
    assert read_weights(tmp_path / "w.pth").spec is None


def test_the_content_counts_and_not_the_suffix(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "torch.safetensors")
    save_file(state, tmp_path / "safe.pth")
    _assert_equal(_fit(tmp_path / "torch.safetensors"), state)
    _assert_equal(_fit(tmp_path / "safe.pth"), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_fp32(dtype: torch.dtype, state: State, tmp_path: Path) -> None:
    rounded = {key: value.to(dtype) for key, value in state.items()}
    torch.save(rounded, tmp_path / "w.pth")
    found = _fit(tmp_path / "w.pth")
    _assert_equal(found, {key: value.float() for key, value in rounded.items()})
    assert {value.dtype for key, value in found.items() if key in state} == {torch.float32}


def test_views_of_one_tensor_are_read_as_what_they_show(state: State, tmp_path: Path) -> None:
    base = torch.arange(128.0)
    torch.save({**state, "bn1.weight": base[:64], "bn1.bias": base[::2]}, tmp_path / "w.pth")
    found = _fit(tmp_path / "w.pth")
    assert torch.equal(found["bn1.weight"], torch.arange(64.0))
    assert torch.equal(found["bn1.bias"], torch.arange(0.0, 128.0, 2.0))


@pytest.mark.parametrize(("name", "right"), [("wrn-16-2", 955), ("wrn-40-1", 950)])
def test_real_checkpoints_are_as_good_as_they_were(shared_data: Path, name: str, right: int) -> None:
    spec = describe_model(name)
    network = build_model(spec)
    fit_weights(network, read_weights(shared_data / "checkpoints" / f"{name}-cifar10.pth"), spec)
    source = open_data(str(shared_data / "cifar10" / "test-exact-1017.npz"), Role.TEST)
    found = []
    with torch.inference_mode():
        for batch in Batches(source, spec.preprocessing, 113):
            logits = network.eval()(torch.from_numpy(normalize(batch.images, spec.preprocessing)))
            found.append(logits.argmax(1).numpy() == batch.labels)
    assert np.concatenate(found).shape == (1017,)
    assert int(np.concatenate(found).sum()) == right


def test_a_real_checkpoint_of_another_network_is_named_with_its_first_keys(shared_data: Path) -> None:
    spec = describe_model("wrn-16-2")
    checkpoint = read_weights(shared_data / "checkpoints" / "wrn-40-1-cifar10.pth")
    with pytest.raises(DeployError) as error:
        fit_weights(build_model(spec), checkpoint, spec)
    text = str(error.value)
    assert (
        "wrn-40-1-cifar10.pth is not a checkpoint of wrn-16-2 (10 classes), read in the layout of "
        "xternalz/WideResNet-pytorch: 1 missing: block1.layer.0.convShortcut.weight; " in text
    )
    assert "unexpected: block1.layer.2.bn1.weight, block1.layer.2.bn1.bias, " in text
    assert "of another shape: block1.layer.0.conv1.weight (16, 16, 3, 3) instead of (32, 16, 3, 3), " in text
    assert text.endswith("It matches wrn-40-1: use that name")
    assert len(text) < 1000


def _refused(tensors: State, text: str, spec: ModelSpec = SPEC) -> None:
    before = build_model(spec)
    kept = {key: value.clone() for key, value in before.state_dict().items()}
    with pytest.raises(DeployError, match=text):
        fit_weights(before, Checkpoint(Path("w.pth"), {"": tensors}), spec)
    _assert_equal(dict(before.state_dict()), kept)


def test_a_missing_and_a_left_over_tensor_are_named(state: State) -> None:
    renamed = {key.replace("bn1.weight", "norm.weight") if key == "bn1.weight" else key: v for key, v in state.items()}
    _refused(renamed, r"1 missing: bn1\.weight; 1 unexpected: norm\.weight\.")


def test_no_tensors_at_all_are_no_checkpoint(tmp_path: Path) -> None:
    save_file({}, tmp_path / "w.safetensors")
    with pytest.raises(DeployError, match=r"missing: conv1\.weight, block1\.0\.bn1\.weight, "):
        _fit(tmp_path / "w.safetensors")


@pytest.mark.parametrize("classes", [2, 100])
def test_another_number_of_classes_says_which_option_to_pass(state: State, classes: int) -> None:
    head = {"fc.weight": torch.zeros(classes, 64), "fc.bias": torch.zeros(classes)}
    _refused({**state, **head}, rf"has {classes} classes, wrn-10-1 expects 10 .*: pass --classes {classes}$")
    fit_weights(
        build_model(right := dataclasses.replace(SPEC, classes=classes)),
        Checkpoint(Path(), {"": {**state, **head}}),
        right,
    )


def test_a_classifier_that_contradicts_itself_is_not_taken_for_another_number_of_classes(state: State) -> None:
    _refused(
        {**state, "fc.weight": torch.zeros(7, 64)}, r"1 of another shape: fc\.weight \(7, 64\) instead of \(10, 64\)"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_named(state: State, value: float) -> None:
    state["block2.0.bn2.running_var"][5] = value
    _refused(state, r"w\.pth has NaN or infinite values in 1 tensors: block2\.0\.bn2\.running_var")


def test_values_that_fp32_cannot_hold_are_not_finite(state: State) -> None:
    _refused(
        {**state, "conv1.weight": torch.full((16, 3, 3, 3), 1e200, dtype=torch.float64)}, "1 tensors: conv1.weight"
    )


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.uint8, torch.bool, torch.complex64])
def test_tensors_that_are_no_real_numbers_are_refused_with_their_type(state: State, dtype: torch.dtype) -> None:
    odd = {**state, "conv1.weight": torch.ones(16, 3, 3, 3, dtype=dtype)}
    kind = str(dtype).removeprefix("torch.")
    _refused(odd, rf"1 tensors that are not plain floating-point numbers: conv1\.weight \({kind}, cpu\): expected fp32")


@pytest.mark.parametrize(
    "odd", [torch.eye(64).to_sparse(), torch.empty(64, 64, device="meta")], ids=["sparse", "without values"]
)
def test_tensors_that_are_no_plain_arrays_are_refused(state: State, odd: torch.Tensor) -> None:
    head = {"fc.weight": odd, "fc.bias": torch.zeros(64)}
    _refused({**state, **head}, r"plain floating-point numbers: fc\.weight", dataclasses.replace(SPEC, classes=64))
