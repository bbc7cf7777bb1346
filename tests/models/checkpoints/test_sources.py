"""Published weights by name: the table is consistent, and what the sources say about single files is kept."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from wrn_deploy.errors import DeployError
from wrn_deploy.models.checkpoints.sources import WeightsSource, find_source, parse_sources, read_sources, sources_of
from wrn_deploy.spec import Preprocessing


@pytest.mark.parametrize("source", read_sources().values(), ids=lambda source: source.name)
def test_every_source_says_where_it_is_and_what_is_checked(source: WeightsSource) -> None:
    assert bool(source.url) != bool(source.repository)
    if source.url:
        assert source.url.startswith("https://")
        assert source.url.endswith(f"/{source.file}")
        assert re.search(rf"-{source.sha256[:8]}\.pth$", source.file)  # torch.hub's convention
        assert re.fullmatch("[0-9a-f]{8}([0-9a-f]{56})?", source.sha256)
    else:
        assert source.repository == source.name
        assert re.fullmatch("([0-9a-f]{64})?", source.sha256)
        assert re.fullmatch("([0-9a-f]{40})?", source.revision)
    assert 68 < source.accuracy.top1 < source.accuracy.top5 < 97
    assert source.preprocessing.height == source.preprocessing.width == 224
    assert source.preprocessing.resize is not None
    assert 224 <= source.preprocessing.resize <= 256


@pytest.mark.parametrize(
    ("name", "network", "resize", "interpolation"),
    [
        ("torchvision/wide_resnet50_2.IMAGENET1K_V1", "wrn-50-2", 256, "bilinear"),
        ("torchvision/wide_resnet50_2.IMAGENET1K_V2", "wrn-50-2", 232, "bilinear"),  # resize_size=232
        ("torchvision/wide_resnet101_2.IMAGENET1K_V2", "wrn-101-2", 232, "bilinear"),
        ("timm/wide_resnet50_2.racm_in1k", "wrn-50-2", 256, "bicubic"),  # floor(224 / 0.875)
        ("timm/wide_resnet101_2.tv2_in1k", "wrn-101-2", 232, "bilinear"),  # floor(224 / 0.965)
        ("timm/resnet50.a1_in1k", "resnet-50", 235, "bicubic"),  # floor(224 / 0.95)
        ("mmpretrain/wide-resnet50_3rdparty-timm_8xb32_in1k", "wrn-50-2", 256, "bicubic"),
    ],
)
def test_preprocessing_is_as_published(name: str, network: str, resize: int, interpolation: str) -> None:
    source = find_source(name)
    assert source.network == network
    assert source.preprocessing.resize == resize
    assert source.preprocessing.interpolation == interpolation
    assert source.preprocessing.mean == (0.485, 0.456, 0.406)


def test_an_accuracy_says_the_size_it_was_measured_at() -> None:
    accuracy = find_source("timm/wide_resnet50_2.racm_in1k").accuracy
    assert (accuracy.top1, accuracy.size, accuracy.resize) == (82.280, 288, 303)


def test_an_unknown_name_is_reported_with_near_ones() -> None:
    with pytest.raises(DeployError, match=r"'timm/wide_resnet50_2\.racm' \(did you mean timm/wide_resnet50_2\.racm_in"):
        find_source("timm/wide_resnet50_2.racm")


def test_the_weights_of_a_network_are_those_of_its_architecture() -> None:
    assert {source.name.split("/")[0] for source in sources_of("wrn-50-2")} == {"torchvision", "timm", "mmpretrain"}
    assert sources_of("wrn-28-10") == ()


def test_the_table_needs_no_torch() -> None:
    code = "from wrn_deploy.models.checkpoints import sources; sources.read_sources(); import sys; "
    code += "sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


GOOD = """
mean = [0.5, 0.5, 0.5]
std = [0.2, 0.2, 0.2]
[zoo]
published_in = "a zoo"
url = "https://zoo/"
interpolation = "bilinear"
tested_size = 224
[zoo.weights]
small = { network = "resnet-18", file = "small-0123abcd.pth", resize = 256, top1 = 70.0, top5 = 90.0 }
"""


def test_a_publisher_s_values_hold_where_a_row_has_none() -> None:
    (source,) = parse_sources(GOOD).values()
    assert (source.name, source.network, source.url) == ("zoo/small", "resnet-18", "https://zoo/small-0123abcd.pth")
    assert (source.sha256, source.repository) == ("0123abcd", "")
    assert (source.accuracy.size, source.accuracy.resize) == (224, 256)
    assert source.preprocessing == Preprocessing(
        height=224, width=224, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), resize=256, interpolation="bilinear"
    )
    (other,) = parse_sources(GOOD.replace('"bilinear"\n', '"bilinear"\ntested_resize = 303\n')).values()
    assert other.accuracy.resize == 303


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("top1 = 70.0", "top1 = 95.0", "top-1 95.0 and top-5 90.0 of zoo/small: expected percent in this order"),
        ("resize = 256, ", "", "not as expected: TypeError"),
        ("resize = 256, ", "resize = 256, size = 3, ", "not as expected: TypeError"),
        ("[zoo.weights]", "[zoo.files]", "not as expected: KeyError"),
        ("mean = [0.5, 0.5, 0.5]", "", "not as expected: KeyError"),
        ("resize = 256, ", 'resize = 256, sha256 = "0123abcd", ', "expected 64 hex digits, '0123abcd' first"),
        ("resize = 256, ", f'resize = 256, sha256 = "{"f" * 64}", ', "expected 64 hex digits, '0123abcd' first"),
    ],
)
def test_a_wrong_table_is_refused(old: str, new: str, text: str) -> None:
    assert old in GOOD
    with pytest.raises(ValueError, match=text):
        parse_sources(GOOD.replace(old, new))


def test_a_preprocessing_that_cannot_be_is_refused() -> None:
    with pytest.raises(DeployError, match="resize 200: expected at least 224"):
        parse_sources(GOOD.replace("resize = 256", "resize = 200"))
