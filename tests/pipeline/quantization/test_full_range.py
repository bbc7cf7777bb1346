"""Shifted tensors stay inside the graph: with Convs in fp16, in features and feature maps, and in fine-tuning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.writing.full_range import SHIFTED
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, as_input
from wrn_deploy.graph import value_name
from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions, Schedule, finetune_bundle
from wrn_deploy.pipeline.finetuning.judge import TOLERANCE
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.lint import lint_file
from wrn_deploy.pipeline.tuning.graphs import MixedGraphs
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.sessions import infer_all, open_session

IMAGES = 100

Outputs = dict[str, npt.NDArray[np.float32]]


def outputs(folder: Path, graph: Path, data: str, count: int) -> Outputs:
    """What a graph gives for test images."""
    spec = Bundle.open(folder).spec
    images = next(iter(Batches(open_data(data, Role.TEST), spec.preprocessing, count))).images
    found: Outputs = infer_all(open_session(graph, 1, fuses_qdq=False))(
        as_input(images, spec.preprocessing, spec.input)
    )
    return found


def readers(file: Path) -> set[str]:
    """The Convs that read a shifted tensor, through Q/DQ and MaxPools."""
    graph = ir.load(file).graph
    found = set[str]()
    # Without its Clip, the tensor has the name of what it was; the names of its Q and DQ tell.
    waiting = [node for node in graph if SHIFTED in value_name(node.outputs[0])]
    for node in waiting:
        if node.op_type == "Conv":
            found.add(node.name or "")
        elif node.op_type in {"QuantizeLinear", "DequantizeLinear", "MaxPool", "Clip"}:
            waiting += [use.node for use in node.outputs[0].uses()]
    return found


def _error(found: Outputs, wanted: Outputs) -> float:
    """The mean squared difference of the logits."""
    return float(np.square(found["logits"] - wanted["logits"]).mean())


def _same(found: Outputs, wanted: Outputs) -> int:
    return int((found["logits"].argmax(axis=1) == wanted["logits"].argmax(axis=1)).sum())


@pytest.mark.parametrize(("net", "slack"), [("cifar_bundle", 1.05), ("bottleneck_bundle", 1.25)])
def test_convs_in_fp16_beside_shifted_tensors_bring_the_answers_nearer_to_fp32(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path: Path, net: str, slack: float
) -> None:
    """With random weights (bottleneck_bundle) errors of single Convs may add up otherwise; a lost shift is far more."""
    folder: Path = request.getfixturevalue(net)
    data = str(shared_data / "cifar10" / "test-exact-1017.npz") if net == "cifar_bundle" else "digits"
    base = folder / "int8-tensorrt.onnx"
    shifted = readers(base)
    assert shifted, "nothing is shifted"
    wanted, whole = (outputs(folder, file, data, IMAGES) for file in (folder / "fp32.onnx", base))
    bundle = Bundle.open(folder)
    graphs = MixedGraphs(bundle, bundle.artifacts["onnx-int8-tensorrt"])
    names = list(graphs.macs)
    sets = {
        "readers": sorted(shifted),
        "others": [name for name in names if name not in shifted],
        "first half": names[: len(names) // 2],
        "every second": names[::2],
        "all": names,
    }
    for which, kept in {**{name: [name] for name in sorted(shifted)}, **sets}.items():
        graphs.write(kept, tmp_path / "mixed.onnx")
        report = lint_file(tmp_path / "mixed.onnx", None)
        assert (report.int8_convs, report.float_convs) == (len(names) - len(kept), len(kept)), which
        found = outputs(folder, tmp_path / "mixed.onnx", data, IMAGES)
        assert _error(found, wanted) < slack * _error(whole, wanted), which
        if which in sets:
            assert _same(found, wanted) >= _same(whole, wanted), which
    assert _error(found, wanted) < 0.01 * _error(whole, wanted), "all in fp16"
    assert _same(found, wanted) >= IMAGES - 1, "all in fp16"


@pytest.fixture(scope="module")
def maps_bundle(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """wrn-10-1, trained on digits, with pixels in, and logits, features and feature maps out."""
    folder = tmp_path_factory.mktemp("maps") / "bundle"
    options = ExportOptions(
        model="wrn-10-1", out=folder, weights=trained / "weights.safetensors", pixels=True, features=True,
        feature_maps=True,
    )  # fmt: skip
    calibrate_bundle(export_bundle(options, Silent()), CalibrateOptions(data="digits", size=64), Silent())
    return folder


@pytest.mark.parametrize("graph", ["int8-tensorrt.onnx", "int8-onnxruntime.onnx"])
@pytest.mark.parametrize(("net", "share", "moved"), [("maps_bundle", 0.05, 0.01), ("bottleneck_bundle", 0.3, 0.1)])
def test_features_and_feature_maps_have_no_shift(
    request: pytest.FixtureRequest, net: str, share: float, moved: float, graph: str
) -> None:
    """A shift that leaked out would move every value of a channel by 128 steps, half of the tensor's range.

    Random weights make most of rounding in the last group: without a shift, too.
    """
    folder: Path = request.getfixturevalue(net)
    if graph == "int8-tensorrt.onnx":
        assert readers(folder / graph), "nothing is shifted"
    wanted, found = (outputs(folder, folder / name, "digits", 32) for name in ("fp32.onnx", graph))
    assert found.keys() == wanted.keys()
    assert {"logits", "features", "feature_map_4"} <= found.keys()
    for name, values in wanted.items():
        assert found[name].shape == values.shape
        apart = found[name] - values
        assert np.sqrt(np.square(apart).mean()) < share * np.sqrt(np.square(values).mean()), name
        means = apart.swapaxes(0, 1).reshape(apart.shape[1], -1).mean(axis=1)
        assert np.abs(means).max() < moved * np.abs(values).max(), name


def test_fine_tuning_computes_what_onnxruntime_does_with_shifted_tensors(bundle: Bundle) -> None:
    """Starts from clipped ranges, so that there is something to gain."""
    clipped = CalibrateOptions(data="digits", size=64, method="percentile", percentile=97.0)
    calibrate_bundle(bundle, clipped, Silent())
    assert readers(bundle.folder / "int8-tensorrt.onnx"), "nothing is shifted"
    options = FinetuneOptions(data="digits", schedule=Schedule(steps=24, batch=32, rate=0.03), limit=300, threads=1)
    result = finetune_bundle(bundle, options, Silent())
    assert [graph.key for graph in result.graphs] == ["onnx-int8-tensorrt", "onnx-int8-onnxruntime"]
    assert all(graph.difference <= TOLERANCE for graph in result.graphs)
    # The answers of 56 images differ between processors by one or two; the loss shows what was learnt.
    assert all(graph.looks[-1].standing.loss < 0.7 * graph.before.loss for graph in result.graphs)
