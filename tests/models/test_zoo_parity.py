"""Our networks beside torchvision's and timm's own: the same logits of the same weights, the same input of an image.

Skipped where those packages are not installed: their wheels on the index bring CUDA.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.fitting import fit_weights
from tests.models.zoos import timm_or_skip, torchvision_or_skip
from wrn_deploy.data.preprocess import fit_image, normalize
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.models.checkpoints.sources import WeightsSource, read_sources
from wrn_deploy.models.checkpoints.weights import Checkpoint
from wrn_deploy.spec import Preprocessing

TORCHVISION = [source for source in read_sources().values() if source.name.startswith("torchvision/")]
TIMM = [source for source in read_sources().values() if source.name.startswith("timm/")]
NETWORKS = sorted({(source.name.partition("/")[2].partition(".")[0], source.network) for source in TORCHVISION})


def _filled(network: torch.nn.Module) -> torch.nn.Module:
    """With statistics as after training: a fresh BN's hide what is exchanged."""
    torch.manual_seed(2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.3, 0.6)
            torch.nn.init.normal_(module.bias, std=0.1)
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5
    return network.eval()


def _assert_same_logits(theirs: torch.nn.Module, name: str, from_file: Any) -> None:
    spec, images = describe_model(name), torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    ours = build_model(spec).eval()
    match = fit_weights(ours, Checkpoint(from_file, {"": dict(theirs.state_dict())}), spec)
    assert match.layout.name == "torchvision, timm and this project"
    with torch.inference_mode():
        wanted, found = theirs(images), ours(images)
    assert float(wanted.std()) > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize(("architecture", "name"), NETWORKS)
def test_a_network_of_torchvision_gives_the_same_logits_here(architecture: str, name: str, tmp_path: Any) -> None:
    theirs = _filled(torchvision_or_skip().models.get_model(architecture, weights=None))
    _assert_same_logits(theirs, name, tmp_path)


@pytest.mark.parametrize(("architecture", "name"), NETWORKS)
def test_a_network_of_timm_gives_the_same_logits_here(architecture: str, name: str, tmp_path: Any) -> None:
    _assert_same_logits(_filled(timm_or_skip().create_model(architecture, pretrained=False)), name, tmp_path)


@pytest.mark.parametrize("source", TORCHVISION, ids=lambda source: source.name)
def test_what_is_known_of_torchvision_s_weights_is_what_it_says(source: WeightsSource) -> None:
    architecture, version = source.name.removeprefix("torchvision/").split(".")
    weights = torchvision_or_skip().models.get_model_weights(architecture)[version]
    metrics, transforms = weights.meta["_metrics"]["ImageNet-1K"], weights.transforms()
    assert weights.url == source.url
    assert (metrics["acc@1"], metrics["acc@5"]) == (source.accuracy.top1, source.accuracy.top5)
    preprocessing = source.preprocessing
    assert (transforms.resize_size, transforms.crop_size) == ([preprocessing.resize], [preprocessing.height])
    assert (tuple(transforms.mean), tuple(transforms.std)) == (preprocessing.mean, preprocessing.std)
    assert transforms.interpolation.value == preprocessing.interpolation


@pytest.mark.parametrize("source", TIMM, ids=lambda source: source.name)
def test_what_is_known_of_timm_s_weights_is_what_it_says(source: WeightsSource) -> None:
    config = timm_or_skip().get_pretrained_cfg(source.name.removeprefix("timm/"))
    preprocessing = source.preprocessing
    assert config.hf_hub_id == source.repository
    assert (config.interpolation, tuple(config.mean), tuple(config.std)) == (
        preprocessing.interpolation,
        preprocessing.mean,
        preprocessing.std,
    )
    tested, crop = config.test_input_size or config.input_size, config.test_crop_pct or config.crop_pct
    at_224 = crop if tested[1] == 224 else config.crop_pct
    assert 224 in (tested[1], config.input_size[1])
    assert preprocessing.resize == math.floor(224 / at_224)
    assert (source.accuracy.size, source.accuracy.resize) == (tested[1], math.floor(tested[1] / crop))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (224, 224), (300, 1200), (229, 231)])
@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "IMAGENET1K_V2"])
def test_an_image_becomes_the_same_input_as_with_torchvision(name: str, size: tuple[int, int]) -> None:
    transforms = torchvision_or_skip().models.get_model_weights("wide_resnet50_2")[name].transforms()
    image = _image(size)
    _assert_same_input(transforms(image), image, read_sources()[f"torchvision/wide_resnet50_2.{name}"].preprocessing)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (224, 224), (300, 1200), (229, 231)])
@pytest.mark.parametrize("tag", ["racm_in1k", "tv2_in1k"])
def test_an_image_becomes_the_same_input_as_with_timm(tag: str, size: tuple[int, int]) -> None:
    timm = timm_or_skip()
    preprocessing = read_sources()[f"timm/wide_resnet50_2.{tag}"].preprocessing
    crop = {"racm_in1k": 0.875, "tv2_in1k": 0.965}[tag]
    transforms = timm.data.create_transform(
        (3, 224, 224),
        interpolation=preprocessing.interpolation,
        crop_pct=crop,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )
    _assert_same_input(transforms(_image(size)), _image(size), preprocessing)


def _image(size: tuple[int, int]) -> Image.Image:
    values = np.random.default_rng(4).integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def _assert_same_input(theirs: torch.Tensor, image: Image.Image, preprocessing: Preprocessing) -> None:
    ours = normalize(fit_image(np.asarray(image), preprocessing, "image")[None], preprocessing)[0]
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
