"""Which preprocessing travels with weights, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wrn_deploy.errors import DeployError
from wrn_deploy.models import describe_model
from wrn_deploy.models.checkpoints.preprocessing import WeightsPreprocessing, describe_preprocessing, find_preprocessing
from wrn_deploy.models.checkpoints.sources import find_source

USUAL = describe_model("wrn-50-2")
UNKNOWN = "0" * 64

# As timm writes it beside `model.safetensors` on the hub, for wide_resnet50_2.tv2_in1k.
TIMM: dict[str, Any] = {
    "architecture": "wide_resnet50_2",
    "num_classes": 1000,
    "pretrained_cfg": {
        "tag": "tv2_in1k",
        "input_size": [3, 176, 176],
        "test_input_size": [3, 224, 224],
        "interpolation": "bilinear",
        "crop_pct": 0.875,
        "test_crop_pct": 0.965,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
    },
}


def _found(folder: Path, digest: str = UNKNOWN, **more: Any) -> WeightsPreprocessing:
    return find_preprocessing(USUAL, folder / "model.safetensors", digest, **{"normalizer": None, **more})


def _config(folder: Path, **changes: Any) -> None:
    record = {**TIMM, "pretrained_cfg": {**TIMM["pretrained_cfg"], **changes}}
    (folder / "config.json").write_text(json.dumps(record), encoding="utf-8")


def test_where_nothing_is_known_it_is_the_network_s_usual_one_and_that_is_said(tmp_path: Path) -> None:
    found = _found(tmp_path)
    assert found.preprocessing == USUAL.preprocessing
    assert found.why == "the usual one of wrn-50-2: the weights do not say"


def test_weights_by_name_bring_theirs(tmp_path: Path) -> None:
    source = find_source("timm/wide_resnet50_2.racm_in1k")
    found = _found(tmp_path, source=source)
    assert (found.preprocessing.resize, found.preprocessing.interpolation) == (256, "bicubic")
    assert found.why == "published with timm/wide_resnet50_2.racm_in1k"


def test_a_published_file_under_any_name_is_known_by_its_digest(tmp_path: Path) -> None:
    found = _found(tmp_path, find_source("torchvision/wide_resnet50_2.IMAGENET1K_V2").sha256)
    assert found.preprocessing.resize == 232
    assert found.why == "published with torchvision/wide_resnet50_2.IMAGENET1K_V2"


def test_a_published_file_of_another_network_is_reported(tmp_path: Path) -> None:
    with pytest.raises(
        DeployError, match=r"is torchvision/resnet50\.IMAGENET1K_V2, of resnet-50: expected weights of w"
    ):
        _found(tmp_path, find_source("torchvision/resnet50.IMAGENET1K_V2").sha256)


def test_timm_s_configuration_beside_the_file_is_read(tmp_path: Path) -> None:
    _config(tmp_path)
    found = _found(tmp_path)
    assert (found.preprocessing.height, found.preprocessing.resize) == (224, 232)  # floor(224 / 0.965)
    assert found.preprocessing.mean == (0.5, 0.5, 0.5)
    assert found.why == "from the config.json next to the file"


def test_timm_s_size_for_training_counts_where_that_for_tests_is_not_the_network_s(tmp_path: Path) -> None:
    _config(tmp_path, input_size=[3, 224, 224], test_input_size=[3, 288, 288], test_crop_pct=1.0, crop_pct=0.95)
    found = _found(tmp_path)
    assert (found.preprocessing.height, found.preprocessing.resize) == (224, 235)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"crop_mode": "squash", "test_input_size": None}, "crop_mode 'squash': expected center"),
        ({"interpolation": "lanczos"}, "interpolation 'lanczos'"),
        ({"std": [0, 1, 1]}, "three positive numbers"),
        ({"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}, "--mean 0.485,0.456,0.406 --std 0.229,"),
        ({"mean": "x"}, "a preprocessing that is not supported"),
        ({"test_crop_pct": 0}, "a preprocessing that is not supported"),
        ({"input_size": [1, 28, 28], "test_input_size": None}, "3 channels"),
    ],
    ids=repr,
)
def test_a_configuration_that_cannot_be_met_is_reported(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    _config(tmp_path, **changes)
    with pytest.raises(DeployError, match=text) as error:
        _found(tmp_path)
    assert "config.json" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "vit_base_patch16_224", "num_classes": 21843}, "is of vit_base_patch16_224, not of wrn-50-2"),
        ({"architecture": "resnet50"}, "is of resnet50, not of wrn-50-2"),
        ({"architecture": "wide_resnet50_2", "num_classes": 10}, "is for 10 classes, and the weights have 1000"),
        ({"architecture": None}, "does not say which network it is for"),
    ],
)
@pytest.mark.parametrize("bare", [False, True], ids=["beside pretrained_cfg", "pretrained_cfg alone"])
def test_the_configuration_of_another_network_is_not_taken_and_that_is_reported(
    changes: dict[str, Any], reason: str, bare: bool, tmp_path: Path
) -> None:
    named = {"architecture": "wide_resnet50_2", "num_classes": 1000, **changes}
    config = TIMM["pretrained_cfg"]
    record = {**config, **named} if bare else {**named, "pretrained_cfg": config}
    (tmp_path / "config.json").write_text(json.dumps(record), encoding="utf-8")
    found = _found(tmp_path)
    assert found.preprocessing == USUAL.preprocessing
    assert found.not_taken == (f"config.json next to the file {reason}",)


@pytest.mark.parametrize("architecture", ["wide_resnet50_2", "wrn-50-2", "WRN_50_2"])
def test_the_network_has_several_names_in_configurations(architecture: str, tmp_path: Path) -> None:
    record = {**TIMM, "architecture": architecture}
    (tmp_path / "config.json").write_text(json.dumps(record), encoding="utf-8")
    assert _found(tmp_path).not_taken == ()
    assert _found(tmp_path).preprocessing.mean == (0.5, 0.5, 0.5)


def test_a_configuration_of_transformers_is_not_taken_since_it_does_not_say_whose_it_is(tmp_path: Path) -> None:
    record = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"shortest_edge": 224}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(record), encoding="utf-8")
    found = _found(tmp_path)
    assert found.preprocessing == USUAL.preprocessing
    assert found.not_taken == ("preprocessor_config.json next to the file does not say which network it is for",)
    _config(tmp_path)
    assert _found(tmp_path).not_taken == ()


def test_a_normalising_layer_of_a_0_to_255_image_is_refused_with_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(
        DeployError, match=r"model\.safetensors has a layer that normalises, mean 125\.3,.* --std 0\.2471,"
    ):
        _found(tmp_path, normalizer=((125.3, 123.0, 113.9), (63.0, 62.1, 66.7)))


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": "bert"}', "", "[" * 100_000])
def test_the_configuration_of_something_else_is_passed_over(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    assert _found(tmp_path).preprocessing == USUAL.preprocessing


def test_a_normalising_layer_gives_mean_and_deviation(tmp_path: Path) -> None:
    found = _found(tmp_path, normalizer=((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    assert (found.preprocessing.mean, found.preprocessing.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert found.preprocessing.resize == 256
    assert "normalising layer" in found.why


def test_one_line_tells_it() -> None:
    text = describe_preprocessing(find_source("timm/wide_resnet50_2.racm_in1k").preprocessing)
    assert text == "shorter side 256 (bicubic), centre 224x224, mean 0.485,0.456,0.406, std 0.229,0.224,0.225"
    assert describe_preprocessing(describe_model("wrn-16-2").preprocessing).startswith("32x32, mean 0.4914,")
