"""The networks as functions: by name, with weights, to labels and features, from whatever a caller has."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn

import wrn_deploy
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.runtime.runner import Runner

Pixels = npt.NDArray[np.uint8]
CPU: dict[str, Any] = {"backend": "onnxruntime", "precision": "fp32"}


@pytest.fixture(scope="module")
def digits() -> list[Pixels]:
    return [item.load() for item, _ in zip(open_data("digits", Role.TEST).items(), range(5), strict=False)]


@pytest.fixture
def network(trained: Path) -> Any:
    return wrn_deploy.get_model("wrn-10-1", trained / "weights.safetensors")


def as_file(pixels: Pixels, folder: Path) -> Path:
    Image.fromarray(pixels).save(folder / "digit.png")
    return folder / "digit.png"


def test_a_network_by_name_is_untrained_and_in_eval_mode() -> None:
    network = wrn_deploy.get_model("wrn-10-1", classes=7)
    assert not network.training
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert (network.spec.name, network.spec.classes) == ("wrn-10-1", 7)


def test_the_description_is_no_part_of_the_state_dict() -> None:
    network = wrn_deploy.get_model("wrn-10-1")
    plain = build_model(describe_model("wrn-10-1"))
    assert list(network.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(network.state_dict())


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda network: pickle.loads(pickle.dumps(network))])
def test_copies_keep_the_description(copied: Callable[[nn.Module], nn.Module]) -> None:
    network = wrn_deploy.get_model("wrn-10-1", labels=["a", "b"])
    assert copied(network).spec == network.spec


def test_the_seed_makes_the_weights_and_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (wrn_deploy.get_model("wrn-10-1", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert torch.equal(torch.rand(3), expected)


def test_preprocessing_and_labels_travel_with_the_weights(network: Any, made_bundle: Path) -> None:
    assert network.spec == Bundle.open(made_bundle).spec
    assert network.spec.preprocessing != describe_model("wrn-10-1").preprocessing


def test_what_is_given_overrides_what_travels(trained: Path) -> None:
    made = wrn_deploy.get_model("wrn-10-1", trained / "weights.safetensors", mean=(0.5, 0.5, 0.5), resize=40)
    assert (made.spec.preprocessing.mean, made.spec.preprocessing.resize) == ((0.5, 0.5, 0.5), 40)


def test_names_are_listed_and_filtered() -> None:
    names = wrn_deploy.list_models()
    assert {"wrn-28-10", "wrn-50-2", "resnet-50"} <= set(names)
    assert wrn_deploy.list_models("wrn-40-*") == [name for name in names if name.startswith("wrn-40-")]
    assert wrn_deploy.list_models("nothing*") == []


def test_a_network_and_its_bundle_predict_the_same(network: Any, made_bundle: Path, digits: list[Pixels]) -> None:
    ours, bundles = wrn_deploy.predict(network, digits), wrn_deploy.predict(made_bundle, digits, **CPU)
    assert len(ours) == len(bundles) == 5
    for one, other in zip(ours, bundles, strict=True):
        assert (one.label, one.index, one.image) == (other.label, other.index, other.image)
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert (one.best[0].label, one.best[0].score, len(one.best)) == (one.label, one.score, 3)


def test_an_image_may_come_in_any_form(network: Any, digits: list[Pixels], tmp_path: Path) -> None:
    file = as_file(digits[0], tmp_path)
    picture = Image.open(file)
    forms: list[Any] = [
        str(file),
        file,
        file.read_bytes(),
        picture,
        picture.convert("L"),
        digits[0],
        digits[0][:, :, 0],
    ]
    scores = [wrn_deploy.predict(network, form, top_k=10).best for form in forms]
    assert all(score == scores[0] for score in scores), "the digits are grey"


def test_images_of_a_list_keep_their_order_and_names(network: Any, digits: list[Pixels], tmp_path: Path) -> None:
    file = as_file(digits[3], tmp_path)
    found = wrn_deploy.predict(network, (digits[0], file))
    assert [one.image for one in found] == ["image 0", str(file)]
    alone = wrn_deploy.predict(network, digits[3])
    assert found[1].index == alone.index
    assert found[1].score == pytest.approx(alone.score, abs=1e-5)
    assert wrn_deploy.predict(network, list[Pixels]()) == ()


def test_an_open_runner_is_used_and_stays_open(made_bundle: Path, digits: list[Pixels]) -> None:
    with Runner.open(made_bundle, **CPU) as runner:
        first, again = (wrn_deploy.predict(runner, digits[0]) for _ in range(2))
        assert first == again == wrn_deploy.predict(Bundle.open(made_bundle), digits[0], **CPU)
        with pytest.raises(UsageError, match="backend onnxruntime, precision None: expected none with Runner"):
            wrn_deploy.predict(runner, digits[0], backend="onnxruntime")


def test_a_network_in_training_is_left_as_it_was(network: Any, digits: list[Pixels]) -> None:
    expected = wrn_deploy.predict(network, digits[0])
    network.train()
    network.block1.eval()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    assert wrn_deploy.predict(network, digits[0]) == expected
    assert (network.training, network.block1.training, network.block2.training) == (True, False, True)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_a_network_in_half_precision_gives_float32(network: Any, digits: list[Pixels]) -> None:
    whole, half = network, copy.deepcopy(network).bfloat16()
    first, second = (wrn_deploy.extract_feat(one, digits) for one in (whole, half))
    assert second.dtype == np.float32
    np.testing.assert_allclose(first, second, atol=0.1 * float(np.abs(first).max()))


def test_features_are_what_the_classifier_reads(network: Any, digits: list[Pixels]) -> None:
    features = wrn_deploy.extract_feat(network, digits)
    assert features.shape == (5, 64)
    assert features.dtype == np.float32
    inputs = torch.from_numpy(normalize(np.stack(digits), network.spec.preprocessing))
    with torch.inference_mode():
        np.testing.assert_allclose(network.fc(torch.from_numpy(features)), network(inputs), rtol=1e-5, atol=1e-5)


def test_features_of_a_bundle_are_the_networks(network: Any, made_interface_bundle: Path, digits: list[Pixels]) -> None:
    expected = wrn_deploy.extract_feat(network, digits)
    found = wrn_deploy.extract_feat(made_interface_bundle, digits, **CPU)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_features_take_images_and_prepared_batches(network: Any, digits: list[Pixels], tmp_path: Path) -> None:
    pixels = np.stack(digits)
    prepared = normalize(pixels, network.spec.preprocessing)
    forms: list[Any] = [digits, tuple(digits), pixels, prepared, torch.from_numpy(prepared)]
    expected, *others = (wrn_deploy.extract_feat(network, form) for form in forms)
    for found in others:
        np.testing.assert_array_equal(found, expected)
    for form in (digits[0], as_file(digits[0], tmp_path)):
        np.testing.assert_allclose(wrn_deploy.extract_feat(network, form), expected[:1], rtol=1e-5, atol=1e-5)


def test_a_bundle_without_features_says_how_to_get_them(made_bundle: Path, digits: list[Pixels]) -> None:
    with pytest.raises(DeployError, match=r"gives no features: .*export wrn-10-1 --weights FILE --features"):
        wrn_deploy.extract_feat(made_bundle, digits, **CPU)


def test_feature_maps_of_a_network_are_the_outputs_of_its_groups(network: Any, digits: list[Pixels]) -> None:
    found = wrn_deploy.extract_feat(network, digits, maps=True)
    assert [one.shape[1:] for one in found] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    with torch.inference_mode():  # the last map, before the last BN
        pooled = network.bn1(torch.from_numpy(found[-1])).relu().mean((2, 3))
    np.testing.assert_allclose(pooled, wrn_deploy.extract_feat(network, digits), rtol=1e-4, atol=1e-5)


def test_a_bundle_without_feature_maps_says_how_to_get_them(made_bundle: Path, digits: list[Pixels]) -> None:
    with pytest.raises(DeployError, match=r"gives no feature-maps: .*export wrn-10-1 --weights FILE --feature-maps"):
        wrn_deploy.extract_feat(made_bundle, digits, maps=True, **CPU)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((2, 32, 32, 3), np.uint8), r"uint8 array \(2, 32, 32, 3\): .*give several as a list"),
        (np.zeros((32, 32, 3), np.float32), r"image 0 is a float32 array .*expected a path, the bytes"),
        (np.zeros((3, 32, 32), np.uint8), r"uint8 array \(3, 32, 32\): .*\(height, width, 3\), RGB"),
        (np.zeros((30, 32, 3), np.uint8), "image 0 is 32x30 pixels: expected 32x32"),
        (torch.zeros(3, 32, 32), "image 0 is a torch.Tensor: expected a path"),
        (b"no image", r"image 0 cannot be decoded \(no known image format\)"),
        ("no-such.png", r"no-such.png cannot be read \(No such file or directory\)"),
        (io.BytesIO(), "image 0 is a _io.BytesIO: expected a path"),
    ],
)
def test_what_is_no_image_is_named(network: Any, image: Any, words: str) -> None:
    with pytest.raises(DeployError, match=words):
        wrn_deploy.predict(network, image)


def test_what_cannot_predict_is_named(network: Any, digits: list[Pixels], tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="this is a int: expected the folder of a bundle"):
        wrn_deploy.predict(3, digits[0])  # type: ignore[call-overload]
    with pytest.raises(DeployError, match=r"this Linear has no description: .*set its `spec`"):
        wrn_deploy.predict(nn.Linear(3, 3), digits[0])
    with pytest.raises(UsageError, match="precision int8: expected none with WideResNet"):
        wrn_deploy.predict(network, digits[0], precision="int8")
    with pytest.raises(DeployError, match=r"manifest\.json"):
        wrn_deploy.predict(tmp_path, digits[0])
    with pytest.raises(UsageError, match="top-k 11: expected 1 to 10"):
        wrn_deploy.predict(network, digits[0], top_k=11)


def test_a_network_that_its_description_does_not_fit_is_refused(network: Any, digits: list[Pixels]) -> None:
    network.fc = nn.Linear(64, 4)
    with pytest.raises(DeployError, match=r"gives logits of shape \(1, 4\): expected \(1, 10\)"):
        wrn_deploy.predict(network, digits[0])


def test_batches_of_another_shape_are_refused(network: Any) -> None:
    with pytest.raises(DeployError, match=r"float32 \(2, 3, 16, 16\): expected normalised float32 \(N, 3, 32, 32\)"):
        wrn_deploy.extract_feat(network, np.zeros((2, 3, 16, 16), np.float32))
    with pytest.raises(UsageError, match="no images"):
        wrn_deploy.extract_feat(network, list[Pixels]())


def test_names_that_are_no_network_and_weights_that_are_no_file_are_refused() -> None:
    with pytest.raises(DeployError, match="unknown model 'wrn50'"):
        wrn_deploy.get_model("wrn50")
    with pytest.raises(DeployError, match=r"no weights at 'none\.pth'"):
        wrn_deploy.get_model("wrn-10-1", "none.pth")
    with pytest.raises(UsageError, match="seed -1"):
        wrn_deploy.get_model("wrn-10-1", seed=-1)
