"""The exact input: the logits stay, and every pixel is a code of int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from tests.calib.quantized import logits, quantized, with_biases
from wrn_deploy.calib.qat.execute import TorchGraph
from wrn_deploy.calib.writing.exact_input import PIXELS, UNIT, read_pixels
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.export.half import convert_fp16
from wrn_deploy.models import describe_model
from wrn_deploy.spec import Preprocessing

Images = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def preprocessing() -> Preprocessing:
    return describe_model("wrn-10-1").preprocessing


@pytest.fixture(scope="module")
def noise(preprocessing: Preprocessing) -> tuple[npt.NDArray[np.uint8], Images]:
    """Every value in every channel, on the border too."""
    size = (8, preprocessing.height, preprocessing.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, size=size).astype(np.uint8)
    return pixels, normalize(pixels, preprocessing)


def test_the_logits_stay(
    trained_graph: ir.Model, noise: tuple[npt.NDArray[np.uint8], Images], preprocessing: Preprocessing
) -> None:
    changed = read_pixels(trained_graph, preprocessing)
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)
    assert np.allclose(logits(changed, noise[1]), logits(trained_graph, noise[1]), rtol=1e-4, atol=1e-4)


def test_every_pixel_is_a_code_in_fp16_too(
    trained_graph: ir.Model, noise: tuple[npt.NDArray[np.uint8], Images], preprocessing: Preprocessing
) -> None:
    half = convert_fp16(read_pixels(trained_graph, preprocessing))
    pixels = next(value for node in half.graph for value in node.outputs if value.name == PIXELS)
    half.graph.outputs[:] = [pixels]
    codes = logits(half, noise[1]).astype(np.float64) / UNIT
    wanted = noise[0].transpose(0, 3, 1, 2).astype(np.float64) - 128
    assert np.array_equal(np.rint(codes[:, :3]), wanted)
    assert np.all(codes[:, 3] == 127)


def _read_by_conv1(model: ir.Model, images: Images) -> Images:
    """What the first Conv of a quantized graph is given."""
    import torch

    seen: list[torch.Tensor] = []

    def before(step: object, inputs: list[torch.Tensor | None]) -> list[torch.Tensor | None]:
        if getattr(step, "name", "") == "conv1":
            assert inputs[0] is not None
            seen.append(inputs[0])
        return inputs

    TorchGraph(model).run(torch.from_numpy(images), before=before)
    return seen[0].numpy()


def test_without_it_hardly_a_pixel_is_a_code(
    trained_graph: ir.Model, noise: tuple[npt.NDArray[np.uint8], Images], tmp_path: Path
) -> None:
    """What the logits lose by it depends on how the weights of a network happen to be rounded."""
    _, int8 = quantized(with_biases(trained_graph), noise[1], tmp_path)
    errors = np.abs(_read_by_conv1(int8, noise[1]) - noise[1])
    step = np.abs(noise[1]).max() / 127
    assert np.mean(errors > 0.05 * step) > 0.5


def test_images_are_quantized_without_any_error(
    trained_graph: ir.Model, noise: tuple[npt.NDArray[np.uint8], Images], preprocessing: Preprocessing, tmp_path: Path
) -> None:
    _, int8 = quantized(with_biases(trained_graph), noise[1], tmp_path, preprocessing)
    codes = _read_by_conv1(int8, noise[1]) / UNIT
    assert np.array_equal(codes[:, :3] + 128, noise[0].transpose(0, 3, 1, 2))


def test_an_input_that_others_read_is_left_alone(trained_graph: ir.Model, preprocessing: Preprocessing) -> None:
    model = trained_graph.clone()
    image = model.graph.inputs[0]
    relu = ir.node("Relu", [image], name="other")
    model.graph.append(relu)
    assert all(node.name != PIXELS for node in read_pixels(model, preprocessing).graph)
