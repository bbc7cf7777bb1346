"""Whitening as a module: what it computes against plain numpy, what is learned of it, what is stored."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.fitting import fit_weights
from wrn_deploy.errors import DeployError
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.models.checkpoints.weights import read_weights, write_weights
from wrn_deploy.models.cost import count_cost
from wrn_deploy.spec import ModelSpec, Preprocessing, Whitening

COUNT = 3 * 8 * 8


def spec_of(side: int = 8) -> ModelSpec:
    preprocessing = Preprocessing(height=side, width=side, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resize=side)
    return dataclasses.replace(describe_model("wrn-10-1"), preprocessing=preprocessing, whitening=Whitening(100))


def _fitted(spec: ModelSpec) -> torch.nn.Module:
    """A network whose whitening is any mean and matrix."""
    torch.manual_seed(0)
    network = build_model(spec).eval()
    network.get_submodule("whitening").load_state_dict(
        {"mean": torch.randn(COUNT) / 10, "matrix": torch.randn(COUNT, COUNT) / 14}
    )
    return network


def test_it_computes_what_plain_numpy_does_before_the_first_layer() -> None:
    spec = spec_of()
    network = _fitted(spec)
    images = np.random.default_rng(1).random((4, 3, 8, 8), dtype=np.float32)
    mean, matrix = (network.get_submodule("whitening").get_buffer(name).numpy() for name in ("mean", "matrix"))
    expected = []
    for image in images.astype(np.float64):
        centred = image.ravel() - image.mean()
        expected.append(((55.0 * centred / np.sqrt((centred**2).sum()) - mean) @ matrix).reshape(3, 8, 8))
    plain = build_model(dataclasses.replace(spec, whitening=None)).eval()
    plain.load_state_dict({name: value for name, value in network.state_dict().items() if "whitening" not in name})
    with torch.inference_mode():
        found = network(torch.from_numpy(images))
        wanted = plain(torch.from_numpy(np.array(expected, dtype=np.float32)))
        for other in (copy.deepcopy(network), network.to(memory_format=torch.channels_last)):  # type: ignore[call-overload]
            assert torch.allclose(other(torch.from_numpy(images)), found, atol=1e-4)
    assert torch.allclose(found, wanted, atol=1e-3 * float(wanted.abs().max()))
    assert not torch.allclose(plain(torch.from_numpy(images)), wanted, atol=0.1 * float(wanted.abs().max()))


def test_an_image_of_one_colour_is_not_enlarged() -> None:
    network = _fitted(spec_of())
    whiten = network.get_submodule("whitening")
    whiten.load_state_dict({"mean": torch.zeros(COUNT), "matrix": torch.eye(COUNT)})
    for level in (0, 100, 255):
        assert float(whiten(torch.full((1, 3, 8, 8), level / 255)).abs().max()) < 0.1
    almost = torch.full((1, 3, 8, 8), 100 / 255)
    almost[0, 0, 0, 0] = 101 / 255  # the least contrast that an image can have
    assert float(whiten(almost).norm()) == pytest.approx(55.0, rel=1e-3)


def test_mixed_precision_begins_behind_it() -> None:
    whiten = _fitted(spec_of()).get_submodule("whitening")
    images = torch.rand(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = whiten(images)
    assert torch.equal(found, whiten(images))


def test_nothing_of_it_is_learned() -> None:
    network = build_model(spec_of())
    assert not any("whitening" in name for name, _ in network.named_parameters())
    assert {"whitening.mean", "whitening.matrix"} <= set(network.state_dict())


def test_it_costs_a_product_with_its_matrix() -> None:
    spec = spec_of()
    with_, without = count_cost(spec), count_cost(dataclasses.replace(spec, whitening=None))
    assert (with_.parameters - without.parameters, with_.macs - without.macs) == (0, COUNT**2)


def test_it_goes_with_the_weights(tmp_path: Path) -> None:
    spec = spec_of()
    network = _fitted(spec)
    write_weights(network, spec, tmp_path / "weights.safetensors")
    read = read_weights(tmp_path / "weights.safetensors")
    assert read.spec == spec
    other = build_model(spec)
    fit_weights(other, read, spec)
    for name in ("whitening.mean", "whitening.matrix"):
        assert torch.equal(other.state_dict()[name], network.state_dict()[name])


def test_large_images_are_refused_with_what_they_would_need() -> None:
    with pytest.raises(DeployError, match=r"64x64 images needs a matrix of 12288x12288 .* \(0\.6 GB\)"):
        build_model(spec_of(64))


def test_a_description_with_another_normalisation_is_refused() -> None:
    preprocessing = describe_model("wrn-10-1").preprocessing
    with pytest.raises(DeployError, match="with whitening: expected 0,0,0 and 1,1,1"):
        dataclasses.replace(spec_of(), preprocessing=preprocessing)


@pytest.mark.parametrize("changes", [{"images": 0}, {"scale": -1.0}, {"bias": 0.0}, {"min_length": float("nan")}])
def test_numbers_that_make_no_sense_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(DeployError, match="expected positive numbers"):
        Whitening(**{"images": 1, **changes})  # type: ignore[arg-type]


def test_descriptions_come_back_from_json_with_and_without_it() -> None:
    spec = describe_model("wrn-10-1")
    assert spec.to_json()["whitening"] is None
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert ModelSpec.from_json(spec_of().to_json()) == spec_of()
