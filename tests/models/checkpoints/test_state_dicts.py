"""Wrappers and prefixes around state dicts: what training scripts save is unwrapped, and what was taken is reported."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.models.fitting import fit_weights
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.models.checkpoints.match import Match
from wrn_deploy.models.checkpoints.weights import read_weights

State = dict[str, torch.Tensor]
Wrap = Callable[[State, State], Any]  # (the wanted state, another of the same network) -> what is saved
SPEC = describe_model("wrn-10-1")


class Meter:
    """As training scripts keep beside the weights; unpickled only by those who have it."""

    def __init__(self) -> None:
        self.values = [1.0, 2.0]


def _state(seed: int) -> State:
    torch.manual_seed(seed)
    made = build_model(SPEC)
    for value in made.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.1)
    return dict(made.state_dict())


WANTED, OTHER = _state(1), _state(2)


def _prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def _loaded(saved: Any, tmp_path: Path, key: str = "") -> tuple[State, Match]:
    torch.save(saved, tmp_path / "w.pth")
    network = build_model(SPEC)
    match = fit_weights(network, read_weights(tmp_path / "w.pth"), SPEC, key)
    return dict(network.state_dict()), match


def _same(found: State, wanted: State) -> bool:
    return all(torch.equal(found[key], value) for key, value in wanted.items() if "num_batches" not in key)


@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (lambda one, _: one, ""),
        (lambda one, _: {"net": one, "acc": 95.1, "epoch": 199}, "net"),
        (lambda one, _: {"model_state_dict": one, "optimizer": {"state": {0: {"m": torch.zeros(3)}}}},
         "model_state_dict"),
        (lambda one, _: {"checkpoint": {"model": {"state_dict": _prefixed("module.", one)}}},
         "checkpoint.model.state_dict.module"),
        (lambda one, _: _prefixed("_orig_mod.", one), "_orig_mod"),
        (lambda one, _: _prefixed("module._orig_mod.model.", one), "module._orig_mod.model"),
        (lambda one, _: {"state_dict": _prefixed("model.", one), "pytorch-lightning_version": "2.4"},
         "state_dict.model"),
        (lambda one, _: {"n_averaged": torch.tensor(5), **_prefixed("module.", one)}, "module"),
    ],
    ids=["bare", "net", "optimizer beside", "several deep", "compiled", "three prefixes", "Lightning", "AveragedModel"],
)  # fmt: skip
def test_wrappers_and_prefixes_are_taken_off_and_reported(wrap: Wrap, name: str, tmp_path: Path) -> None:
    found, match = _loaded(wrap(WANTED, OTHER), tmp_path)
    assert _same(found, WANTED)
    assert match.name == name
    assert match.others == ()


@pytest.mark.parametrize(
    ("wrap", "name", "other"),
    [
        # timm's CheckpointSaver, which its own loader prefers too
        (lambda one, raw: {"state_dict": raw, "state_dict_ema": one, "epoch": 3}, "state_dict_ema", "state_dict"),
        # torchvision's references/classification/train.py
        (lambda one, raw: {"model": raw, "model_ema": {"n_averaged": torch.tensor(5), **_prefixed("module.", one)}},
         "model_ema.module", "model"),
        # FixMatch-pytorch, train.py
        (lambda one, raw: {"epoch": 1, "state_dict": raw, "ema_state_dict": one}, "ema_state_dict", "state_dict"),
        # mmengine's EMAHook, which swaps the two before it saves
        (lambda one, raw: {"state_dict": one,
                           "ema_state_dict": {"steps": torch.tensor(7), **_prefixed("module.", raw)}},
         "state_dict", "ema_state_dict.module"),
        # mmcv's EMAHook, whose buffers hold the values before averaging
        (lambda one, raw: {"state_dict": {**one, **{"ema_" + key.replace(".", "_"): raw[key] for key in raw}}},
         "state_dict", "state_dict.ema_*"),
        (lambda one, raw: {"unaveraged_model_state_dict": raw, "model_state_dict": one},
         "model_state_dict", "unaveraged_model_state_dict"),
        (lambda one, raw: {**_prefixed("teacher.", raw), **_prefixed("student.", one)}, "student", "teacher"),
    ],
    ids=["timm", "torchvision", "FixMatch", "mmengine", "mmcv", "unaveraged", "teacher and student"],
)  # fmt: skip
def test_of_a_network_and_its_average_one_is_taken_and_the_other_can_be(
    wrap: Wrap, name: str, other: str, tmp_path: Path
) -> None:
    saved = wrap(WANTED, OTHER)
    found, match = _loaded(saved, tmp_path)
    assert _same(found, WANTED)
    assert (match.name, match.others) == (name, (other,))
    found, match = _loaded(saved, tmp_path, key=other)
    assert _same(found, OTHER)
    assert (match.name, match.others) == (other, (name,))


def test_a_part_of_the_name_from_the_left_is_enough(tmp_path: Path) -> None:
    saved = {"model": OTHER, "model_ema": _prefixed("module.", WANTED)}
    assert _same(_loaded(saved, tmp_path, key="model_ema")[0], WANTED)
    assert _same(_loaded(saved, tmp_path, key="model")[0], OTHER)


def test_a_name_that_the_file_does_not_have_is_reported_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--weights-key 'ema': no such weights in the file; there are net_avg, net$"):
        _loaded({"net": WANTED, "net_avg": OTHER}, tmp_path, key="ema")


def test_a_larger_teacher_beside_the_network_is_not_taken_for_it(tmp_path: Path) -> None:
    larger = build_model(describe_model("wrn-10-2")).state_dict()
    found, match = _loaded({"ema": dict(larger), "student": WANTED}, tmp_path)
    assert _same(found, WANTED)
    assert match.name == "student"


def test_parameters_and_statistics_that_were_saved_apart_are_put_together(tmp_path: Path) -> None:
    """As the first versions of szagoruyko/wide-residual-networks/pytorch/main.py did."""
    stats = {key: value for key, value in WANTED.items() if "running" in key}
    params = {key: value for key, value in WANTED.items() if "running" not in key}
    found, match = _loaded({"params": params, "stats": stats, "epoch": 3, "optimizer": {}}, tmp_path)
    assert _same(found, WANTED)
    assert match.name == "params + stats"


def test_a_normalising_layer_before_the_network_is_read_as_its_preprocessing(tmp_path: Path) -> None:
    """RobustBench, model_zoo/architectures/utils_architectures.py: Sequential(normalize, model)."""
    layer = {
        "normalize.mean": torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1),
        "normalize.std": torch.tensor([0.2471, 0.2435, 0.2616]).view(1, 3, 1, 1),
    }
    found, match = _loaded({**layer, **_prefixed("model.", WANTED)}, tmp_path)
    assert _same(found, WANTED)
    assert match.normalizer() == ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616))
    assert _loaded(WANTED, tmp_path)[1].normalizer() is None


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_objects_beside_the_tensors_are_passed_over_and_named(new_format: bool, tmp_path: Path) -> None:
    saved = {
        "state_dict": WANTED,
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.95),
        "meter": Meter(),
        "out": Path("run"),
    }
    torch.save(saved, tmp_path / "w.pth", _use_new_zipfile_serialization=new_format)
    checkpoint = read_weights(tmp_path / "w.pth")
    network = build_model(SPEC)
    fit_weights(network, checkpoint, SPEC)
    assert _same(dict(network.state_dict()), WANTED)
    assert {"argparse.Namespace", f"{Meter.__module__}.Meter"} <= set(checkpoint.passed_over)


def test_a_whole_pickled_network_is_refused_and_named(tmp_path: Path) -> None:
    """As bmsookim/wide-resnet.pytorch saves its checkpoints."""
    torch.save({"net": nn.Sequential(nn.Linear(2, 2)), "acc": 95.0}, tmp_path / "w.pth")
    with pytest.raises(DeployError, match=r"contains pickled code \(torch\.nn\.modules\.container\.Sequential\)"):
        read_weights(tmp_path / "w.pth")
