"""Parameters and multiply-accumulates, against published and hand-counted numbers."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from wrn_deploy.models import describe_model
from wrn_deploy.models.catalog import list_models
from wrn_deploy.models.cost import count_cost


def test_wrn_50_2_costs_11_40_gmac() -> None:
    assert count_cost(describe_model("wrn-50-2")).macs == 11_398_021_120


@pytest.mark.parametrize(
    ("name", "gmac"),
    [("resnet-50", 4.09), ("resnet-101", 7.80), ("resnet-152", 11.51), ("wrn-50-2", 11.40), ("wrn-101-2", 22.75)],
)
def test_the_imagenet_networks_cost_what_torchvision_publishes(name: str, gmac: float) -> None:
    """In its list of weights, in a column that it calls GFLOPS."""
    assert round(count_cost(describe_model(name)).macs / 1e9, 2) == gmac


def test_pre_activation_moves_no_convolution() -> None:
    """The same Convs as in a network with BN and ReLU behind them: 15.01 GMAC for 200 layers."""
    assert count_cost(describe_model("preresnet-152")).macs == count_cost(describe_model("resnet-152")).macs
    assert count_cost(describe_model("preresnet-200")).macs == 15_007_481_856


def test_the_macs_of_the_smallest_network_are_those_counted_by_hand() -> None:
    pixels = {16: 32 * 32, 32: 16 * 16, 64: 8 * 8}
    stem = pixels[16] * 16 * 3 * 9
    first = pixels[16] * 2 * 16 * 16 * 9
    second = pixels[32] * (32 * 16 * 9 + 32 * 32 * 9 + 32 * 16)
    third = pixels[64] * (64 * 32 * 9 + 64 * 64 * 9 + 64 * 32)
    assert count_cost(describe_model("wrn-10-1")).macs == stem + first + second + third + 64 * 10


def test_classes_count_in_the_last_layer_and_dropout_costs_nothing() -> None:
    spec = describe_model("wrn-10-1")
    ten, hundred = count_cost(spec), count_cost(dataclasses.replace(spec, classes=100, dropout=0.3))
    assert hundred.parameters - ten.parameters == 90 * (64 + 1)
    assert hundred.macs - ten.macs == 90 * 64


def test_counting_takes_no_memory_and_leaves_the_default_device() -> None:
    count_cost(describe_model("wrn-28-10"))
    assert torch.empty(1).device == torch.device("cpu")


def test_the_list_has_every_listed_network_by_input_and_cost() -> None:
    listed = {model.name: model for model in list_models()}
    assert listed["wrn-28-10"].parameters == 36_479_194
    assert listed["wrn-101-2"].input == (3, 224, 224)
    order = [(model.input, model.macs) for model in listed.values()]
    assert order == sorted(order)
    assert next(reversed(listed)) == "wrn-101-2"
