"""The collapse of int8 on checkpoints that look healthy in fp32, and that equalisation fixes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.calib.collapse import LOUD, NEAR_DEAD, Damage, write_collapsed
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.quantize import Quantization, Rounding
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.sessions import infer_with, open_session

# Nothing but a scale a tensor and weights rounded to the nearest.
PLAIN = Quantization(exact_input=False, rounding=Rounding.NEAREST)
DAMAGES = {"loud": LOUD, "near-dead": NEAR_DEAD}
LOST = {"loud": 0.5, "near-dead": 0.03}  # at least, by a network that tells ten digits apart with ease
# Nearly dead channels of a stream harm where the stream is quantized: ONNX Runtime's graph quantizes sums before BN.
GRAPHS = {"loud": "int8-tensorrt.onnx", "near-dead": "int8-onnxruntime.onnx"}


def top1(folder: Path, graph: str, data: str = "digits") -> float:
    """The fraction of test images that a graph of the bundle answers rightly, 0..1."""
    preprocessing = Bundle.open(folder).spec.preprocessing
    infer = infer_with(open_session(folder / graph, 1, fuses_qdq="tensorrt" not in graph))
    batches = Batches(open_data(data, Role.TEST), preprocessing, 128)
    right = [infer(normalize(batch.images, preprocessing)).argmax(axis=1) == batch.labels for batch in batches]
    return float(np.concatenate(right).mean())


def export(name: str, weights: Path, damage: Damage, folder: Path) -> Bundle:
    damaged = write_collapsed(name, weights, damage, folder / "damaged.safetensors")
    return export_bundle(ExportOptions(model=name, out=folder / "bundle", weights=damaged), Silent())


@pytest.fixture(scope="module")
def bundles(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """The trained network, with either damage done."""
    weights, folder = trained / "weights.safetensors", tmp_path_factory.mktemp("damaged")
    for kind in DAMAGES:
        (folder / kind).mkdir()
    return {kind: export("wrn-10-1", weights, damage, folder / kind) for kind, damage in DAMAGES.items()}


@pytest.mark.parametrize("kind", DAMAGES)
def test_fp32_cannot_tell(bundles: dict[str, Bundle], made_bundle: Path, kind: str) -> None:
    assert top1(bundles[kind].folder, "fp32.onnx") == top1(made_bundle, "fp32.onnx")


@pytest.mark.parametrize("method", ["max", "percentile"])
@pytest.mark.parametrize("kind", DAMAGES)
def test_int8_collapses_and_equalisation_mends_it(bundles: dict[str, Bundle], kind: str, method: str) -> None:
    fp32 = top1(bundles[kind].folder, "fp32.onnx")
    options = CalibrateOptions(data="digits", size=64, method=method)
    int8 = equalised_or_not(bundles[kind], options, GRAPHS[kind], "digits")
    assert int8[False] < fp32 - LOST[kind]
    assert int8[True] > fp32 - 0.02


@pytest.mark.parametrize(("kind", "name"), [("loud", "wrn-16-2"), ("near-dead", "wrn-40-1")])
def test_published_checkpoints_collapse_likewise(shared_data: Path, tmp_path: Path, kind: str, name: str) -> None:
    test = str(shared_data / "cifar10" / "test-exact-1017.npz")
    bundle = export(name, shared_data / "checkpoints" / f"{name}-cifar10.pth", DAMAGES[kind], tmp_path)
    fp32 = top1(bundle.folder, "fp32.onnx", test)
    assert fp32 > 0.93
    options = CalibrateOptions(data=str(shared_data / "cifar10" / "train-exact-8068.npz"), size=64, method="percentile")
    int8 = equalised_or_not(bundle, options, GRAPHS[kind], test)
    assert int8[False] < 0.2
    assert int8[True] > fp32 - 0.02


def test_a_float_stream_has_nothing_to_lose(bundles: dict[str, Bundle]) -> None:
    """TensorRT's graph keeps the skips of a pre-activation network in float."""
    fp32 = top1(bundles["near-dead"].folder, "fp32.onnx")
    options = CalibrateOptions(data="digits", size=64, method="max")
    int8 = equalised_or_not(bundles["near-dead"], options, "int8-tensorrt.onnx", "digits")
    assert int8[False] > fp32 - 0.02
    assert int8[True] > fp32 - 0.02


def equalised_or_not(bundle: Bundle, options: CalibrateOptions, graph: str, data: str) -> dict[bool, float]:
    """Top-1 of an int8 graph, without and with equalisation."""
    found = {}
    for equalize in (False, True):
        calibrate_bundle(bundle, dataclasses.replace(options, equalize=equalize, quantization=PLAIN), Silent())
        found[equalize] = top1(bundle.folder, graph, data)
    return found
