"""The contract of `models/__init__.py`, run over every file of `models/families`; then what each network must be."""

from __future__ import annotations

import dataclasses
import re
from types import ModuleType

import pytest
import torch
from torch import nn

from wrn_deploy.models import build_model, describe_model, layouts, listed_models
from wrn_deploy.models.checkpoints.layout import OWN
from wrn_deploy.models.cost import count_cost
from wrn_deploy.models.families import preresnet, resnet
from wrn_deploy.plugins import load_plugin, plugin_names
from wrn_deploy.spec import ModelSpec

FAMILIES = {
    name: load_plugin("wrn_deploy.models.families", name) for name in plugin_names("wrn_deploy.models.families")
}
SHALLOW = {
    "wrn_deploy.models.families.preresnet": "preresnet-26",
    "wrn_deploy.models.families.preresnet_cifar": "preresnet-11",
    "wrn_deploy.models.families.resnet_basic": "resnet-10",
}


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> ModuleType:
    return FAMILIES[request.param]


def _smallest(family: ModuleType) -> ModelSpec:
    """Its shallowest network, or the cheapest one that is listed, at a size that runs in no time."""
    names = [SHALLOW[family.__name__]] if family.__name__ in SHALLOW else family.LISTED
    spec: ModelSpec = min((family.describe(name) for name in names), key=lambda spec: count_cost(spec).macs)
    return dataclasses.replace(
        spec, preprocessing=dataclasses.replace(spec.preprocessing, height=32, width=32, resize=None)
    )


def test_the_families_are_found_by_their_file_names() -> None:
    assert {"nin", "preresnet", "preresnet_cifar", "resnet", "resnet_basic", "vgg", "wrn"} <= set(FAMILIES)


def test_each_listed_network_is_described_and_leads_back_to_its_file(family: ModuleType) -> None:
    assert family.LISTED
    for name in family.LISTED:
        spec = family.describe(name)
        assert spec.name == name
        assert FAMILIES[spec.family] is family
        assert describe_model(name) == spec
        assert ModelSpec.from_json(spec.to_json()) == spec


def test_names_of_other_families_are_left_to_them(family: ModuleType) -> None:
    assert family.describe("vgg-16") is None
    assert family.describe("") is None


def test_each_listed_network_gives_one_logit_a_class_at_its_input_size(family: ModuleType) -> None:
    for name in family.LISTED:
        spec = dataclasses.replace(family.describe(name), classes=7)
        with torch.device("meta"), torch.no_grad():
            logits = family.build(spec).eval()(torch.empty(3, *spec.input.shape))
        assert logits.shape == (3, 7), name
        assert logits.dtype == torch.float32


def test_rows_of_a_batch_do_not_touch_each_other(family: ModuleType) -> None:
    torch.manual_seed(0)
    spec = _smallest(family)
    network, images = family.build(spec).eval(), torch.randn(3, *spec.input.shape)
    with torch.inference_mode():
        together, alone = network(images), torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_dropout_acts_in_training_and_never_in_inference(family: ModuleType) -> None:
    spec = _smallest(family)
    torch.manual_seed(0)
    plain = family.build(spec)
    dropping = family.build(dataclasses.replace(spec, dropout=0.5))
    dropping.load_state_dict(plain.state_dict())
    images = torch.randn(4, *spec.input.shape)
    with torch.no_grad():
        assert torch.equal(plain.eval()(images), dropping.eval()(images))
        assert torch.equal(plain.train()(images), plain(images))
        assert not torch.equal(dropping.train()(images), dropping(images))


def test_the_layouts_are_data_whose_patterns_have_the_groups_that_their_templates_name(family: ModuleType) -> None:
    for layout in family.LAYOUTS:
        for pattern, template in layout.rules:
            groups = re.compile(pattern).groups
            assert all(int(number) <= groups for number in re.findall(r"\{(\d)", template)), layout.name


def test_the_same_seed_builds_the_same_network(family: ModuleType) -> None:
    spec = _smallest(family)
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(family.build(spec).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    first = next(iter(states[0]))
    assert not torch.equal(states[0][first], states[2][first])


def test_no_name_is_listed_twice() -> None:
    names = listed_models()
    assert len(names) == len(set(names)) == sum(len(family.LISTED) for family in FAMILIES.values())


def test_the_layouts_of_a_family_are_those_of_its_file_and_our_own() -> None:
    assert layouts("wrn") == (OWN, *FAMILIES["wrn"].LAYOUTS)
    assert layouts("resnet") == FAMILIES["resnet"].LAYOUTS  # torchvision's keys are ours


@pytest.mark.parametrize(
    ("name", "entries", "inner"),
    [
        ("wrn-50-2", 320, 128),
        ("wrn-101-2", 626, 128),
        ("resnet-50", 320, 64),
        ("resnet-101", 626, 64),
        ("resnet-152", 932, 64),
    ],
)
def test_the_imagenet_networks_have_the_keys_of_torchvision(name: str, entries: int, inner: int) -> None:
    with torch.device("meta"):
        state = build_model(describe_model(name)).state_dict()
    assert len(state) == entries
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["layer1.0.conv2.weight"] == (inner, inner, 3, 3)
    assert shapes["layer4.2.bn3.running_var"] == (2048,)
    assert shapes["fc.weight"] == (1000, 2048)


@pytest.mark.parametrize("name", ["wrn-50-2", "resnet-50", "preresnet-200"])
def test_the_imagenet_networks_stride_in_the_3x3_convolution(name: str) -> None:
    with torch.device("meta"):
        first = build_model(describe_model(name)).get_submodule("layer2.0")
    assert isinstance(first, resnet.Bottleneck | preresnet.PreActivationBottleneck)
    assert (first.conv1.stride, first.conv2.stride) == ((1, 1), (2, 2))


def test_a_pre_activation_network_sums_without_bn_or_relu_until_the_end() -> None:
    """A block whose last Conv is zero is the identity, whatever its BNs do (He et al. 2016, equation 3)."""
    torch.manual_seed(0)
    block = preresnet.PreActivationBottleneck(32, 32, 1)
    nn.init.zeros_(block.conv3.weight)
    images = torch.randn(2, 32, 5, 5)
    assert torch.equal(block(images), images)


def test_where_the_width_changes_the_skip_reads_the_blocks_own_bn_and_relu() -> None:
    block = preresnet.PreActivationBottleneck(16, 32, 2).eval()
    nn.init.zeros_(block.conv3.weight)
    images = -torch.rand(2, 16, 6, 6)  # nothing is left of them behind a ReLU
    assert block.downsample is not None
    assert not block(images).any()
    assert block.downsample(images).any()


def test_a_block_of_an_untrained_pre_activation_network_adds_little_to_its_input() -> None:
    """With full branches each block would double the variance, and the logits of 66 blocks would be huge."""
    torch.manual_seed(0)
    with torch.inference_mode():
        group = preresnet.build(describe_model("preresnet-26")).eval().get_submodule("layer3")
        first, second = group.children()
        summed = first(torch.randn(2, 512, 14, 14))
        assert 1.02 < second(summed).var() / summed.var() < 1.15
