"""A network's description by its name, and what a user may change of it."""

from __future__ import annotations

import dataclasses

import pytest

from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.models import Overrides, describe_model, listed_models
from wrn_deploy.models.aliases import ALIASES
from wrn_deploy.models.checkpoints.sources import read_sources
from wrn_deploy.spec import ModelSpec


@pytest.fixture
def cifar() -> ModelSpec:
    return describe_model("wrn-16-2")


def test_a_cifar_network_is_described_by_its_numbers() -> None:
    spec = describe_model("wrn-28-10")
    assert (spec.name, spec.family, spec.depth, spec.widen, spec.classes) == ("wrn-28-10", "wrn", 28, 10, 10)
    assert spec.input.shape == (3, 32, 32)
    assert spec.output.shape == (10,)
    assert spec.preprocessing.resize is None


def test_an_imagenet_network_is_found_although_its_depth_is_none_of_cifar() -> None:
    spec = describe_model("wrn-50-2")
    assert (spec.family, spec.depth, spec.widen, spec.classes) == ("resnet", 50, 2, 1000)
    assert spec.input.shape == (3, 224, 224)
    assert spec.preprocessing.resize == 256


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("wrn-016-02", "wrn-16-2"),
        ("wrn-16-2-cifar", "wrn-16-2"),
        ("wrn-34-10-cifar", "wrn-34-10"),
        ("wrn-34-2-imagenet", "wrn-34-2"),
        ("wrn-18-1.50", "wrn-18-1.5"),
        ("wrn-34-1", "resnet-34"),
        ("wrn-18-1-imagenet", "resnet-18"),
        ("wrn-50-2-imagenet", "wrn-50-2"),
        ("preresnet-164-cifar", "preresnet-164"),
        *ALIASES.items(),
    ],
)
def test_two_spellings_are_one_network(spelling: str, name: str) -> None:
    assert describe_model(spelling) == describe_model(name)
    assert describe_model(name).name == name


def test_every_network_that_torchvision_and_timm_publish_weights_of_has_their_name() -> None:
    published = {name.partition("/")[2].partition(".")[0]: each.network for name, each in read_sources().items()}
    assert {name: network for name, network in published.items() if "-" not in name} == dict(ALIASES)


@pytest.mark.parametrize(
    ("name", "family", "size"),
    [
        ("wrn-34-2", "resnet_basic", 224),
        ("wrn-34-1.5", "resnet_basic", 224),
        ("wrn-34-2-cifar", "wrn", 32),
        ("wrn-34-10", "wrn", 32),
        ("wrn-34-10-imagenet", "resnet_basic", 224),
        ("wrn-18-2", "resnet_basic", 224),
        ("preresnet-200", "preresnet", 224),
        ("preresnet-200-cifar", "preresnet_cifar", 32),
        ("preresnet-110", "preresnet_cifar", 32),
    ],
)
def test_where_a_depth_is_that_of_two_kinds_the_name_decides(name: str, family: str, size: int) -> None:
    spec = describe_model(name)
    assert (spec.name, spec.family, spec.preprocessing.height) == (name, family, size)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("wrn-18-0.5", "expected a widening factor from 1, a multiple of 1/8, such as wrn-18-1.5"),
        ("wrn-18-1.3", "expected a widening factor from 1, a multiple of 1/8"),
        (
            "wrn-18-2-cifar",
            "expected a depth of 6n\\+4 .*wrn-16-2 or wrn-22-2; or an ImageNet network: wrn-18-k, wrn-34-k",
        ),
        ("wrn-28-1.5", "expected a depth of 6n\\+4 and an integer widening factor"),
        (
            "preresnet-165",
            "expected a depth of 9n\\+2, such as preresnet-164 or preresnet-173; or .* 26, 50",
        ),
        ("preresnet-2", "such as preresnet-11 or preresnet-20"),
        ("wrn-28-10-imagenet", "unknown model"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_can(name: str, text: str) -> None:
    with pytest.raises(DeployError, match=text):
        describe_model(name)


def test_any_depth_of_6n_plus_4_is_known_also_where_it_is_not_listed() -> None:
    assert "wrn-52-3" not in listed_models()
    assert describe_model("wrn-52-3").depth == 52


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("wrn-17-2", "wrn-16-2 or wrn-22-2"),
        ("wrn-21-8", "wrn-16-8 or wrn-22-8"),
        ("wrn-8-2", "wrn-10-2 or wrn-16-2"),
        ("wrn-4-2", "wrn-10-2 or wrn-16-2"),
        ("wrn-0-0", "wrn-10-1 or wrn-16-1"),
        ("wrn-16-0", "wrn-16-1 or wrn-22-1"),
        ("wrn-101-3", "wrn-100-3 or wrn-106-3"),
    ],
)
def test_an_impossible_depth_names_the_nearest_that_can_be_built(name: str, nearest: str) -> None:
    with pytest.raises(DeployError, match=f"{name} cannot be built: expected a depth of 6n\\+4 .*{nearest}"):
        describe_model(name)
    for possible in nearest.split(" or "):
        assert describe_model(possible).name == possible


@pytest.mark.parametrize(
    ("name", "near"),
    [("wrn-50_2", "wrn-50-2"), ("wrn50-2", "wrn-50-2"), ("WRN-28-10", "wrn-28-10"), ("wideresnet-28-10", "wrn-28-10")],
)
def test_an_unknown_name_gets_the_near_ones(name: str, near: str) -> None:
    with pytest.raises(DeployError, match=rf"unknown model '{name}' \(did you mean .*{near}.*`wrn-deploy models`"):
        describe_model(name)


@pytest.mark.parametrize(
    "name", ["", "resnet50x", "wrn-16", "wrn-16-2-3", "wrn--16-2", "wrn-16-2\n", "wrn-" + 5000 * "9"]
)
def test_what_is_not_a_name_is_an_error_with_the_expected_form(name: str) -> None:
    with pytest.raises(DeployError, match="expected wrn-<depth>-<widen>, such as wrn-28-10"):
        describe_model(name)


def test_without_torch_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_package: str, _name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("wrn_deploy.models.load_plugin", absent)
    with pytest.raises(MachineError, match=r"needs torch, which is not installed: pip install 'torch>"):
        describe_model("wrn-16-2")


def test_another_missing_module_is_not_taken_for_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_package: str, _name: str) -> None:
        raise ModuleNotFoundError("No module named 'mine'", name="mine")

    monkeypatch.setattr("wrn_deploy.models.load_plugin", absent)
    with pytest.raises(ModuleNotFoundError, match="mine"):
        describe_model("wrn-16-2")


def test_no_override_changes_nothing(cifar: ModelSpec) -> None:
    assert Overrides().apply(cifar) == cifar


def test_labels_alone_set_the_number_of_classes(cifar: ModelSpec) -> None:
    changed = Overrides(labels=("cat", "dog", "owl")).apply(cifar)
    assert (changed.classes, changed.labels) == (3, ("cat", "dog", "owl"))
    assert changed.label(2) == "owl"


def test_another_number_of_classes_drops_the_names_of_the_old_ones(cifar: ModelSpec) -> None:
    named = Overrides(labels=tuple("abcdefghij")).apply(cifar)
    assert Overrides(classes=100).apply(named).labels == ()
    assert Overrides(classes=10).apply(named).labels == named.labels
    assert Overrides(dropout=0.3).apply(named).labels == named.labels


def test_preprocessing_and_dropout_can_be_changed_one_by_one(cifar: ModelSpec) -> None:
    old = cifar.preprocessing
    assert Overrides(mean=(0.1, 0.2, 0.3)).apply(cifar).preprocessing == dataclasses.replace(old, mean=(0.1, 0.2, 0.3))
    assert Overrides(std=(0.1, 0.2, 0.3)).apply(cifar).preprocessing == dataclasses.replace(old, std=(0.1, 0.2, 0.3))
    assert Overrides(resize=40).apply(cifar).preprocessing == dataclasses.replace(old, resize=40)
    assert Overrides(dropout=0.3).apply(cifar) == dataclasses.replace(cifar, dropout=0.3)
    assert Overrides(dropout=0.0).apply(dataclasses.replace(cifar, dropout=0.3)).dropout == 0.0


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (Overrides(classes=3, labels=("a", "b")), "2 labels for 3 classes: expected one label per class"),
        (Overrides(classes=0), "0 classes: expected at least 2"),
        (Overrides(classes=1), "1 classes: expected at least 2"),
        (Overrides(labels=()), "0 classes: expected at least 2"),
        (Overrides(std=(0.2, 0.0, 0.2)), "expected three positive numbers"),
        (Overrides(mean=(0.2, float("nan"), 0.2)), "expected three finite numbers"),
        (Overrides(resize=31), "resize 31: expected at least 32, the network's input"),
        (Overrides(dropout=1.0), "dropout 1.0: expected a probability"),
        (Overrides(dropout=-0.1), "dropout -0.1: expected a probability"),
    ],
)
def test_overrides_that_cannot_be_are_refused(cifar: ModelSpec, overrides: Overrides, text: str) -> None:
    with pytest.raises(DeployError, match=text):
        overrides.apply(cifar)
