"""The published figures: what they are, that each has a source, and that every network counts as published."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.models import build_model, describe_model, listed_models
from wrn_deploy.models.cost import count_cost
from wrn_deploy.models.published import Count, Quantity, read_published
from wrn_deploy.spec import ModelSpec


def test_every_figure_names_its_source() -> None:
    for name, published in read_published().items():
        assert published.counts or published.accuracies, name
        sources = [count.source for count in published.counts] + [one.source for one in published.accuracies]
        assert all(len(source) > 10 for source in sources), name


def test_accuracies_are_percentages_and_the_best_five_hold_the_best_one() -> None:
    for name, published in read_published().items():
        for accuracy in published.accuracies:
            assert 50.0 < accuracy.top1 < 100.0, name
            assert accuracy.data in {"CIFAR-10", "CIFAR-100", "SVHN", "ImageNet"}
            if accuracy.top5 is not None:
                assert accuracy.top1 < accuracy.top5 < 100.0, name


def test_errors_became_accuracies() -> None:
    best = {(one.data, one.weights): one.top1 for one in read_published()["wrn-28-10"].accuracies}
    assert best["CIFAR-10", "paper's recipe, mean/std normalisation"] == 96.0
    assert best["CIFAR-100", "paper's recipe, mean/std normalisation, dropout 0.3"] == 81.15


@pytest.mark.parametrize(("counted", "agrees"), [(36_479_194, True), (36_449_999, False), (36_550_001, False)])
def test_a_count_agrees_where_it_rounds_to_the_published_number(counted: int, agrees: bool) -> None:
    assert Count(Quantity.PARAMETERS, 36_500_000, 100_000, "the paper").agrees(counted) is agrees


def test_the_most_exact_count_is_found() -> None:
    found = read_published()["wrn-50-2"].exact(Quantity.PARAMETERS)
    assert found is not None
    assert (found.value, found.unit) == (68_883_240, 1)
    assert read_published()["nin"].exact(Quantity.MACS) is None


# What mmpretrain's table counts beside multiply-accumulates (mmcv/cnn/utils/flops_counter.py): two operations for each
# element that a BN reads, one for each that a ReLU gives, one for each that a pooling reads. Its script runs the
# network up to the pooled features, so that the classifier is missing.
def _mmcv_operations(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> int:
    total = count_cost(spec).macs
    relu, max_pool = functional.relu, functional.max_pool2d

    def counted_relu(values: torch.Tensor) -> torch.Tensor:
        nonlocal total
        total += values.numel()
        return relu(values)

    def counted_pool(values: torch.Tensor, kernel: int, stride: int, padding: int) -> torch.Tensor:
        nonlocal total
        total += values.numel()
        return max_pool(values, kernel, stride, padding)

    def count_norm(_norm: nn.Module, read: tuple[torch.Tensor], _given: torch.Tensor) -> None:
        nonlocal total
        total += 2 * read[0].numel()

    def count_head(head: nn.Module, _read: object, _given: object) -> None:
        nonlocal total
        assert isinstance(head, nn.Linear)
        total += head.in_features * 7 * 7 - head.weight.numel()  # the global pooling, of 7x7; no classifier

    with torch.device("meta"):
        network, images = build_model(spec).eval(), torch.empty(1, *spec.input.shape)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(count_norm)
        elif isinstance(module, nn.Linear):
            module.register_forward_hook(count_head)
    monkeypatch.setattr(functional, "relu", counted_relu)
    monkeypatch.setattr(functional, "max_pool2d", counted_pool)
    with torch.inference_mode():
        network(images)
    return total


def _weights(spec: ModelSpec) -> int:
    with torch.device("meta"):
        modules = [module for module in build_model(spec).modules() if not isinstance(module, nn.BatchNorm2d)]
    return sum(values.numel() for module in modules for values in module.parameters(recurse=False))


@pytest.mark.parametrize("name", list(read_published()))
def test_every_network_counts_as_published(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = describe_model(name)
    assert spec.name == name
    cost = count_cost(spec)
    for count in read_published()[name].counts:
        counted = {
            Quantity.PARAMETERS: lambda: cost.parameters,
            Quantity.WEIGHTS: lambda: _weights(spec),
            Quantity.MACS: lambda: cost.macs,
            Quantity.OPERATIONS: lambda: _mmcv_operations(spec, monkeypatch),
        }[count.quantity]()
        assert count.agrees(counted), f"{count.quantity} {counted:,}: {count.source} has {count.value:,}"


def test_every_listed_network_of_the_paper_is_published() -> None:
    unknown = {name for name in listed_models() if name not in read_published()}
    assert unknown == {"wrn-16-1", "wrn-16-2", "wrn-34-10"}, "the paper has no row of these"


@pytest.mark.parametrize(
    ("name", "norms", "relus", "total"),
    [
        ("wrn-50-2", 28_801_024, 12_895_232, 11_438_572_544),
        ("wrn-101-2", 42_448_896, 19_719_168, 22_814_073_856),
    ],
)
def test_the_rest_of_mmpretrains_flops(
    name: str, norms: int, relus: int, total: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """11.40 G are multiplied and accumulated; BN, ReLU and pooling make it 11.44, without the classifier's 0.002."""
    spec = describe_model(name)
    pools, classifier = 802_816 + 100_352, 2_048_000
    assert _mmcv_operations(spec, monkeypatch) == count_cost(spec).macs + norms + relus + pools - classifier == total
