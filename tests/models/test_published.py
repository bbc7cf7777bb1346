"""The published figures: read and written as published, each with a source, and agreeing with every network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.errors import DeployError
from wrn_deploy.models import build_model, describe_model, listed_models, published
from wrn_deploy.models.cost import count_cost
from wrn_deploy.models.published import (
    Count,
    Published,
    PublishedAccuracy,
    Quantity,
    macs_text,
    parse_published,
    percent_text,
    read_published,
)
from wrn_deploy.spec import ModelSpec


def test_every_figure_names_its_source() -> None:
    for name, found in read_published().items():
        assert found.counts or found.accuracies, name
        sources = [count.source for count in found.counts] + [one.source for one in found.accuracies]
        assert all(len(source) > 10 for source in sources), name


def test_accuracies_are_percentages_and_the_best_five_hold_the_best_one() -> None:
    for name, found in read_published().items():
        for accuracy in found.accuracies:
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


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (68_883_240, 1, "68,883,240"),
        (68_880_000, 10_000, "68.88 M"),
        (68_900_000, 100_000, "68.9 M"),
        (600_000, 100_000, "0.6 M"),
        (11_440_000_000, 10_000_000, "11.44 G"),
        (4_100_000_000, 100_000_000, "4.1 G"),
    ],
)
def test_a_count_has_the_digits_that_were_published(value: int, unit: int, text: str) -> None:
    assert Count(Quantity.PARAMETERS, value, unit, "somewhere").text == text


def test_macs_are_in_millions_or_billions() -> None:
    assert [macs_text(macs) for macs in (101_106_944, 999_949_999, 11_398_021_120)] == ["101.1 M", "999.9 M", "11.40 G"]


def test_per_cent_have_a_third_decimal_where_it_says_something() -> None:
    assert [percent_text(value) for value in (96.0, 96.11, 78.468, 100.0)] == [
        "96.00 %",
        "96.11 %",
        "78.468 %",
        "100.00 %",
    ]


def test_the_best_accuracy_is_that_of_one_data_set() -> None:
    best = read_published()["wrn-28-10"].best("CIFAR-10")
    assert best is not None
    assert (best.top1, best.weights) == (96.11, "paper's recipe, mean/std normalisation, dropout 0.3")
    only = Published(
        accuracies=(PublishedAccuracy(data="SVHN", top1=98.0, top5=None, weights="paper's", source="somewhere"),)
    )
    assert only.best("CIFAR-10") is None


GOOD = """
[[counts]]
quantity = "parameters"
source = "a paper, table 1"
[counts.networks]
small = 1_000
"large-1.5" = "36.5 M"

[[errors]]
source = "a paper, table 2"
weights = "a recipe"
data = ["CIFAR-10", "CIFAR-100"]
[errors.networks]
small = [6.85, 30.89]
"large-1.5" = [4.0]

[[accuracies]]
source = "a zoo"
weights = "a file"
data = ["ImageNet"]
top5 = true
[accuracies.networks]
small = [69.758, 89.078]
"""


def test_the_tables_are_read_as_they_stand() -> None:
    found = parse_published(GOOD)
    assert found["small"].counts == (Count(Quantity.PARAMETERS, 1000, 1, "a paper, table 1"),)
    assert found["large-1.5"].counts == (Count(Quantity.PARAMETERS, 36_500_000, 100_000, "a paper, table 1"),)
    assert found["small"].accuracies == (
        PublishedAccuracy(data="CIFAR-10", top1=93.15, top5=None, weights="a recipe", source="a paper, table 2"),
        PublishedAccuracy(data="CIFAR-100", top1=69.11, top5=None, weights="a recipe", source="a paper, table 2"),
        PublishedAccuracy(data="ImageNet", top1=69.758, top5=89.078, weights="a file", source="a zoo"),
    )
    assert [one.top1 for one in found["large-1.5"].accuracies] == [96.0]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('"36.5 M"', '"36.5"', "'36.5': expected a number such as '36.5 M'"),
        ('"36.5 M"', "36.5", "not as expected: TypeError"),
        ('"parameters"', '"params"', "'params' is not a valid Quantity"),
        ('source = "a zoo"', "", "not as expected: KeyError\\('source'\\)"),
        ("[4.0]", "[]", "large-1.5 has 0 figures: expected 1 for each of"),
        ("[4.0]", "[4.0, 20.0, 3.0]", "large-1.5 has 3 figures"),
        ("[69.758, 89.078]", "[69.758]", "small has 1 figures: expected 2 for each of"),
        ("[69.758, 89.078]", "[89.078, 69.758]", "top-1 89.078 and top-5 69.758 on ImageNet: expected percent"),
        ("[4.0]", '["4"]', "not as expected: TypeError"),
        ("[[accuracies]]", "[[accuracy]]", "KeyError|Invalid|unknown|not as expected"),
        ("[[errors]]", "[[mistakes]]\nx = 1\n[[errors]]", "unknown tables mistakes: expected counts, errors and acc"),
    ],
)
def test_a_wrong_table_is_refused(old: str, new: str, text: str) -> None:
    assert old in GOOD
    with pytest.raises(ValueError, match=text):
        parse_published(GOOD.replace(old, new))


def test_a_damaged_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "published.toml").write_text("[[counts]]\nquantity =", encoding="utf-8")
    monkeypatch.setattr(published, "FILE", tmp_path / "published.toml")
    with pytest.raises(DeployError, match=r"published\.toml cannot be read .*: install wrn-deploy again"):
        read_published.__wrapped__()


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
