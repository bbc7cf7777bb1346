"""What a model's description says of its graphs: inputs and outputs for each interface, and what it refuses."""

from __future__ import annotations

import dataclasses
import json

import pytest

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.spec import Interface, ModelSpec, Preprocessing, TensorSpec

HOW = Preprocessing(height=32, width=48, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
SPEC = ModelSpec(name="wrn-16-2", family="wrn", depth=16, widen=2, classes=10, preprocessing=HOW)
LOGITS = TensorSpec("logits", "float32", (10,))
TOP = (TensorSpec("top_logits", "float32", (4,)), TensorSpec("top_classes", "int64", (4,)))
FEATURES = TensorSpec("features", "float32", (128,))


def test_a_thousand_labels_are_not_shown() -> None:
    spec = dataclasses.replace(SPEC, classes=1000, labels=tuple(f"class {index}" for index in range(1000)))
    assert len(repr(spec)) < 400
    assert spec != dataclasses.replace(spec, labels=())


def test_pixels_are_uint8_with_the_channels_last() -> None:
    assert SPEC.input == TensorSpec("images", "float32", (3, 32, 48))
    pixels = dataclasses.replace(SPEC, interface=Interface(pixels=True))
    assert pixels.input == TensorSpec("images", "uint8", (32, 48, 3))


@pytest.mark.parametrize(
    ("interface", "outputs"),
    [
        (Interface(), (LOGITS,)),
        (Interface(features=128), (LOGITS, FEATURES)),
        (Interface(top_k=4), TOP),
        (Interface(pixels=True, top_k=4, features=128), (*TOP, FEATURES)),
    ],
)
def test_the_outputs_follow_the_interface_and_the_core_does_not(
    interface: Interface, outputs: tuple[TensorSpec, ...]
) -> None:
    spec = dataclasses.replace(SPEC, interface=interface)
    assert spec.outputs == outputs
    assert spec.output == LOGITS
    assert spec.core == SPEC


def test_a_description_comes_back_from_json() -> None:
    spec = dataclasses.replace(SPEC, interface=Interface(pixels=True, top_k=4, features=128))
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize("key", ["interface", "preprocessing", "whitening", "labels", "name"])
def test_a_description_that_lacks_something_is_damaged(key: str) -> None:
    record = SPEC.to_json()
    del record[key]
    with pytest.raises(DamagedFile, match=f"the model's description lacks the field '{key}'"):
        ModelSpec.from_json(record)


@pytest.mark.parametrize(("top_k", "text"), [(0, "the top 0 classes: expected at least 1"), (11, "the top 11 of 10")])
def test_as_many_top_classes_as_there_are(top_k: int, text: str) -> None:
    with pytest.raises(DeployError, match=text):
        dataclasses.replace(SPEC, interface=Interface(top_k=top_k))


def test_features_cannot_be_fewer_than_none() -> None:
    with pytest.raises(DeployError, match="-1 features: expected 0 or more"):
        Interface(features=-1)


def test_feature_maps_are_outputs_named_after_their_strides() -> None:
    spec = dataclasses.replace(SPEC, interface=Interface(features=64, feature_maps=((16, 32, 48), (64, 8, 12))))
    assert [output.name for output in spec.outputs] == ["logits", "features", "feature_map_1", "feature_map_4"]
    assert spec.outputs[-1] == TensorSpec("feature_map_4", "float32", (64, 8, 12))
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize("maps", [((16, 8, 8), (32, 8, 8)), ((0, 8, 8),)])
def test_feature_maps_that_cannot_be_are_refused(maps: tuple[tuple[int, int, int], ...]) -> None:
    with pytest.raises(DeployError, match=r"expected one \(channels, height, width\) for each resolution"):
        Interface(feature_maps=maps)


@pytest.mark.parametrize(
    ("mean", "std", "remedy"),
    [
        ((125.3, 123.0, 113.9), (63.0, 62.1, 66.7), "--mean 0.4914,0.4824,0.4467 --std 0.2471,0.2435,0.2616"),
        ((123.675, 116.28, 103.53), (0.229, 0.224, 0.225), "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"),
        ((103.9, 116.8, 123.7), (1.0, 1.0, 1.0), "--mean 0.4075,0.458,0.4851 --std 0.003922,0.003922,0.003922"),
        ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0), "--mean 0,0,0 --std 1,1,1"),
        ((0.485, 0.456, 0.406), (58.395, 57.12, 57.375), "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"),
        ((0.4, 1.5, 0.4), (0.2, 0.2, 0.2), "--mean 0.001569,0.005882,0.001569 --std 0.2,0.2,0.2"),
    ],
)
def test_mean_and_deviation_of_a_0_to_255_image_are_refused_with_those_of_a_0_to_1_image(
    mean: tuple[float, float, float], std: tuple[float, float, float], remedy: str
) -> None:
    with pytest.raises(DeployError, match=r"expected those of a 0\.\.1 image, from 0 to 1") as error:
        dataclasses.replace(HOW, mean=mean, std=std)
    assert str(error.value).endswith(f"divide those of a 0..255 image by 255: {remedy}")


@pytest.mark.parametrize("mean", [(-0.1, 0.5, 0.5), (0.5, 0.5, 300.0)])
def test_a_mean_of_no_known_unit_is_refused_without_a_guess(mean: tuple[float, float, float]) -> None:
    with pytest.raises(DeployError, match=r"expected those of a 0\.\.1 image, from 0 to 1$"):
        dataclasses.replace(HOW, mean=mean)


@pytest.mark.parametrize("std", [1 / 255, 1.0])
def test_deviations_of_caffe_and_of_no_scaling_are_right(std: float) -> None:
    assert dataclasses.replace(HOW, mean=(0.0, 0.5, 1.0), std=(std, std, std)).std == (std, std, std)
