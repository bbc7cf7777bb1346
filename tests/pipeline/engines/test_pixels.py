"""Plans take pixels by default: the same network, normalised inside, whatever the bundle's graphs take."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from tests.bench.stubs import plant
from tests.pipeline.quantization.test_calibrate import Noted
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.errors import MachineError, UsageError
from wrn_deploy.export.interface import unwrap, wrap
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.engines.pixels import check_pixels, plan_graph
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, bench_bundle
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.sessions import infer_all, open_session
from wrn_deploy.spec import Interface, ModelSpec, Precision, TensorSpec

needs_rtx = pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
FP16 = BuildOptions(precision=Precision.FP16, engine=EngineOptions(profiles=(Profile(1, 2, 4),)), flavor=Flavor.RTX)
PIXELS = TensorSpec("images", "uint8", (32, 32, 3))


def some_digits(spec: ModelSpec) -> npt.NDArray[np.uint8]:
    return next(iter(Batches(open_data("digits", Role.TEST), spec.preprocessing, 16))).images


@pytest.mark.parametrize("graph", ["fp32.onnx", "fp16.onnx", "int8-tensorrt.onnx"])
def test_pixels_give_what_normalised_images_give_bit_for_bit(made_bundle: Path, graph: str) -> None:
    bundle = Bundle.open(made_bundle)
    images = some_digits(bundle.spec)
    own = infer_all(open_session(made_bundle / graph, fuses_qdq=False))
    wanted = own(normalize(images, bundle.spec.preprocessing))
    with plan_graph(made_bundle / graph, bundle.spec, pixels=True) as taken:
        assert (taken.source, taken.file.name) == (PIXELS, graph)
        found = infer_all(open_session(taken.file, fuses_qdq=False))(images)
    assert not taken.file.exists()
    assert list(found) == list(wanted) == ["logits"]
    np.testing.assert_array_equal(found["logits"], wanted["logits"])


def test_other_outputs_of_the_bundle_stay(made_bundle: Path, tmp_path: Path) -> None:
    """A bundle with top classes and features, whose graphs take normalised images."""
    core = Bundle.open(made_bundle).spec
    spec = dataclasses.replace(core, interface=Interface(top_k=3, features=64))
    ir.save(wrap(unwrap(ir.load(made_bundle / "fp32.onnx")), spec), tmp_path / "graph.onnx")
    images = some_digits(spec)
    wanted = infer_all(open_session(tmp_path / "graph.onnx"))(normalize(images, spec.preprocessing))
    with plan_graph(tmp_path / "graph.onnx", spec, pixels=True) as taken:
        found = infer_all(open_session(taken.file))(images)
    assert list(found) == ["top_logits", "top_classes", "features"]
    for name, values in found.items():
        np.testing.assert_array_equal(values, wanted[name])


def test_a_graph_that_fits_already_is_the_bundles_own(made_bundle: Path, made_interface_bundle: Path) -> None:
    plain, pixels = Bundle.open(made_bundle).spec, Bundle.open(made_interface_bundle).spec
    with plan_graph(made_bundle / "fp16.onnx", plain, pixels=False) as taken:
        assert (taken.file, taken.source) == (made_bundle / "fp16.onnx", plain.input)
    with plan_graph(made_interface_bundle / "fp16.onnx", pixels, pixels=True) as taken:
        assert (taken.file, taken.source) == (made_interface_bundle / "fp16.onnx", PIXELS)


def test_graphs_that_take_pixels_have_no_other_plans(made_interface_bundle: Path) -> None:
    bundle = Bundle.open(made_interface_bundle)
    with pytest.raises(UsageError, match=r"--no-pixels with a bundle .* exported with --pixels: .* export it without"):
        check_pixels(bundle.spec, pixels=False)
    check_pixels(bundle.spec, pixels=True)


def test_without_onnx_ir_both_remedies_are_named(made_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Bundle.open(made_bundle).spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MachineError, match=r"pip install 'onnx-ir>.*, or .* --no-pixels") as error:
        check_pixels(spec, pixels=True)
    assert error.value.exit_code == 4
    check_pixels(spec, pixels=False)


@needs_rtx
def test_the_other_interface_is_another_plan(bundle: Bundle) -> None:
    progress = Noted()
    pixels = build_engine(bundle, FP16, progress)
    normalised = build_engine(bundle, dataclasses.replace(FP16, pixels=False), progress)
    assert pixels.sha256 != normalised.sha256
    assert [made.facts["inputs"][0]["dtype"] for made in (pixels, normalised)] == ["uint8", "float32"]
    assert [made.recipe.options["pixels"] for made in (pixels, normalised)] == [True, False]
    assert pixels.recipe.parents == normalised.recipe.parents == {"onnx-fp16": bundle.artifacts["onnx-fp16"].sha256}
    assert pixels.facts["precision"]["shares"] == normalised.facts["precision"]["shares"]
    assert pixels.facts["precision"]["source"] != "none"
    assert not progress.warnings


@needs_rtx
def test_an_int8_plan_of_pixels_is_proved_like_the_other(bundle: Bundle) -> None:
    options = dataclasses.replace(FP16, precision=Precision.INT8)
    plans = [build_engine(bundle, dataclasses.replace(options, pixels=pixels), Silent()) for pixels in (True, False)]
    shares: list[dict[str, Any]] = [plan.facts["precision"]["shares"] for plan in plans]
    assert shares[0] == shares[1]
    assert shares[0]["int8"] > 0.99


OPENING = """
        from wrn_deploy.pipeline.engines.pixels import plan_graph
        with plan_graph(bundle.file(artifact), bundle.spec, pixels=True) as taken:
            return Stub(open_session(taken.file, threads), CPU, taken.source, bundle.spec.outputs)
"""


def test_each_row_of_a_benchmark_gets_images_as_it_takes_them(
    made_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One candidate takes pixels, the other normalised images: they answer the same, and both are timed."""
    monkeypatch.setitem(sys.modules, "torch", None)  # fewer rows
    monkeypatch.setattr("wrn_deploy.pipeline.measuring.rounds.WARM_UP_S", (0.01, 0.1))
    behaviour = "assert self._binding.images.numpy().dtype == 'uint8'"
    plant(monkeypatch, tmp_path / "stubs", "takes_pixels", behaviour, OPENING.strip())
    options = MeasureOptions(
        data="digits", backends=("takes_pixels", "onnxruntime"), precision=Precision.FP32, batches=(3,), rounds=1,
        duration_s=0.05, limit=64,
    )  # fmt: skip
    report = bench_bundle(Bundle.open(made_bundle), options, Silent())
    rows = {row.backend: row for row in report.rows}
    assert [name for name, row in rows.items() if row.skipped is None and row.latencies] == [
        "onnxruntime",
        "takes_pixels",
    ]
    own, other = rows["takes_pixels"].accuracy, rows["onnxruntime"].accuracy
    assert own is not None
    assert other is not None
    assert (own.top1, own.agreement, own.images) == (other.top1, 1.0, other.images)
    assert own.top1 > 0.9
