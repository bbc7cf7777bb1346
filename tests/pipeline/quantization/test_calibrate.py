"""The calibration step: int8 graphs that agree with fp32, tables that say what they come from, no work done twice."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.collection.collect import ObservedGraph, collect_ranges
from wrn_deploy.calib.collection.ranges import Range
from wrn_deploy.calib.collection.table import CalibrationTable, read_table
from wrn_deploy.calib.lint.finding import Severity
from wrn_deploy.data import Item, Role, open_data, preprocess
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.data.sampling.digest import DataDigest
from wrn_deploy.data.sampling.subset import even_sample
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.models import Overrides
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.lint import lint_file
from wrn_deploy.pipeline.quantization.quantize import Quantization, Rounding, WeightScales
from wrn_deploy.plugins import plugin_names
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.sessions import infer_with, open_session
from wrn_deploy.spec import Preprocessing

GRAPHS = {"tensorrt": "int8-tensorrt.onnx", "onnxruntime": "int8-onnxruntime.onnx"}
SIXTEEN = CalibrateOptions(data="digits", size=16)
NEAREST = Quantization(rounding=Rounding.NEAREST)
QUICK = CalibrateOptions(data="digits", size=16, quantization=NEAREST)  # for tests that are not about rounding


class Noted(Silent):
    """Keeps notes and warnings."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def agreement(folder: Path, graph: str, data: str) -> float:
    """The share of test images with the same argmax as the fp32 graph, 0..1.

    Of a graph for TensorRT ONNX Runtime leaves the Q/DQ as they are: else it divides fp16 biases by their scales in
    fp16, which overflows (1.32).
    """
    how = Bundle.open(folder).spec.preprocessing
    fp32 = infer_with(open_session(folder / "fp32.onnx"))
    int8 = infer_with(open_session(folder / graph, fuses_qdq=graph != GRAPHS["tensorrt"]))
    same = [
        fp32(images).argmax(axis=1) == int8(images).argmax(axis=1)
        for images in (normalize(batch.images, how) for batch in Batches(open_data(data, Role.TEST), how, 128))
    ]
    return float(np.concatenate(same).mean())


def table_of(bundle: Bundle) -> CalibrationTable:
    return read_table(bundle.file(bundle.find("calibration", "")))


@contextmanager
def no_inference() -> Iterator[None]:
    """Within it, ranges cannot be collected."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wrn_deploy.calib.collection.collect.collect_ranges", None)
        yield


@pytest.mark.parametrize("graph", GRAPHS.values())
def test_int8_agrees_with_fp32_on_digits_it_has_not_seen(made_bundle: Path, graph: str) -> None:
    assert agreement(made_bundle, graph, "digits") >= 0.98


@pytest.mark.parametrize("method", plugin_names("wrn_deploy.calib.methods"))
def test_every_method_gives_int8_graphs_that_agree(bundle: Bundle, method: str) -> None:
    calibrate_bundle(bundle, CalibrateOptions(data="digits", size=64, method=method), Silent())
    assert table_of(bundle).method == method
    for graph in GRAPHS.values():
        assert agreement(bundle.folder, graph, "digits") >= 0.97


def test_each_image_is_decoded_once_and_beyond_the_bound_again_for_the_same_bits(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: Counter[str] = Counter()
    fit_item = preprocess.fit_item

    def counting(item: Item, how: Preprocessing) -> npt.NDArray[np.uint8]:
        decoded[item.name] += 1
        return fit_item(item, how)

    monkeypatch.setattr(preprocess, "fit_item", counting)
    copy = Path(shutil.copytree(bundle.folder, tmp_path / "copy"))
    options = dataclasses.replace(SIXTEEN, workers=0)
    calibrate_bundle(bundle, options, Silent())
    chosen = [item.name for item in even_sample(open_data("digits", Role.TRAIN), 16).items()]
    assert decoded == dict.fromkeys(chosen, 1)

    monkeypatch.setattr("wrn_deploy.data.cached_batches.CACHE_BYTES", 0)
    decoded.clear()
    calibrate_bundle(Bundle.open(copy), options, Silent())
    assert decoded.keys() == set(chosen)
    assert min(decoded.values()) > 1
    for file in ("calibration.json", *GRAPHS.values()):
        assert (copy / file).read_bytes() == (bundle.folder / file).read_bytes(), file


def test_the_table_says_what_it_comes_from(bundle: Bundle) -> None:
    calibrate_bundle(bundle, QUICK, Silent())
    table, how = table_of(bundle), bundle.spec.preprocessing
    digest = DataDigest()
    for batch in Batches(even_sample(open_data("digits", Role.TRAIN), 16), how, 5):
        digest.add(batch.images)
    assert (table.images, table.data, table.data_digest) == (16, "digits", digest.hexdigest())
    assert (table.method, table.percentile) == ("mse", None)
    assert table.equalization.factors
    assert table.graph_sha256 == bundle.artifacts["onnx-fp32"].sha256
    artifact = bundle.artifacts["calibration"]
    assert artifact.recipe.options["data_digest"] == table.data_digest
    assert set(artifact.recipe.parents) == {"weights", "onnx-fp32"}
    assert set(bundle.artifacts["onnx-int8-tensorrt"].recipe.parents) == {"calibration", "onnx-fp32", "onnx-fp16"}
    assert set(bundle.artifacts["onnx-int8-onnxruntime"].recipe.parents) == {"calibration", "onnx-fp32"}


def test_the_same_calibration_is_not_done_again(bundle: Bundle) -> None:
    calibrate_bundle(bundle, QUICK, Silent())
    before = {path.name: path.stat().st_mtime_ns for path in bundle.folder.iterdir() if path.is_file()}
    progress = Noted()
    with no_inference():
        again = calibrate_bundle(Bundle.open(bundle.folder), QUICK, progress)
    assert again.sha256 == bundle.artifacts["calibration"].sha256
    assert any("up to date" in note for note in progress.notes)
    after = {path.name: path.stat().st_mtime_ns for path in bundle.folder.iterdir() if path.is_file()}
    assert {name: time for name, time in after.items() if not name.startswith(".")} == {
        name: time for name, time in before.items() if not name.startswith(".")
    }


@pytest.mark.parametrize(
    "change",
    [{"size": 17}, {"method": "max"}, {"method": "percentile"}, {"method": "entropy"}, {"equalize": False}],
    ids=str,
)
def test_another_option_is_another_calibration(bundle: Bundle, change: dict[str, object]) -> None:
    calibrate_bundle(bundle, QUICK, Silent())
    old = bundle.artifacts["calibration"].sha256
    options = dataclasses.replace(QUICK, **change)  # type: ignore[arg-type]
    assert calibrate_bundle(bundle, options, Silent()).sha256 != old
    assert bundle.artifacts["onnx-int8-tensorrt"].recipe.parents["calibration"] != old


@pytest.mark.parametrize(
    "techniques",
    [
        Quantization(exact_input=True),  # does not pay on digits
        Quantization(weights=WeightScales.TENSOR),
        Quantization(full_range=False),
        Quantization(rounding=Rounding.NEAREST),
    ],
    ids=str,
)
def test_another_technique_makes_other_graphs_from_the_same_table(bundle: Bundle, techniques: Quantization) -> None:
    calibrate_bundle(bundle, SIXTEEN, Silent())
    table, graph = (bundle.artifacts[key].sha256 for key in ("calibration", "onnx-int8-tensorrt"))
    calibrate_bundle(bundle, dataclasses.replace(SIXTEEN, quantization=techniques), Silent())
    assert bundle.artifacts["calibration"].sha256 == table
    assert bundle.artifacts["onnx-int8-tensorrt"].sha256 != graph
    assert agreement(bundle.folder, "int8-tensorrt.onnx", "digits") >= 0.97


def test_every_graph_lints_clean(made_bundle: Path) -> None:
    for graph in GRAPHS.values():
        report = lint_file(made_bundle / graph, None)
        assert not [finding for finding in report.findings if finding.rule.severity is not Severity.NOTE]


def test_the_percentile_matters_for_its_own_method_alone(bundle: Bundle) -> None:
    calibrate_bundle(bundle, dataclasses.replace(QUICK, method="max"), Silent())
    with no_inference():
        calibrate_bundle(bundle, dataclasses.replace(QUICK, method="max", percentile=90.0), Silent())


def test_a_damaged_int8_graph_is_written_again_with_the_same_bits(bundle: Bundle) -> None:
    calibrate_bundle(bundle, SIXTEEN, Silent())
    graph = bundle.folder / GRAPHS["onnxruntime"]
    whole, table = graph.read_bytes(), (bundle.folder / "calibration.json").read_bytes()
    graph.write_bytes(whole[:-1])
    calibrate_bundle(bundle, SIXTEEN, Silent())
    assert graph.read_bytes() == whole
    assert (bundle.folder / "calibration.json").read_bytes() == table


def test_a_model_exported_with_another_normalisation_needs_another_table(bundle: Bundle, trained: Path) -> None:
    """The fp32 graph is the same, byte for byte: the normalisation is not in it."""
    weights = trained / "weights.safetensors"
    graph = bundle.artifacts["onnx-fp32"].sha256
    changed = Overrides(mean=(0.3, 0.3, 0.3), std=(0.35, 0.35, 0.35))
    again = export_bundle(
        ExportOptions(model="wrn-10-1", out=bundle.folder, weights=weights, overrides=changed), Silent()
    )
    assert again.artifacts["onnx-fp32"].sha256 == graph
    with pytest.raises(DeployError, match=r"calibration was made from weights \w+, which is now \w+"):
        again.find("onnx-int8-onnxruntime", "wrn-deploy calibrate")
    calibrate_bundle(again, QUICK, Silent())
    again.find("onnx-int8-onnxruntime", "wrn-deploy calibrate")


def test_fewer_images_than_asked_for_are_a_warning(bundle: Bundle, tmp_path: Path) -> None:
    pixels = next(iter(Batches(open_data("digits", Role.TRAIN), bundle.spec.preprocessing, 5))).images
    np.savez(tmp_path / "few.npz", images=pixels, labels=np.zeros(5, dtype=np.uint8))
    progress = Noted()
    calibrate_bundle(bundle, CalibrateOptions(data=str(tmp_path / "few.npz"), size=8, quantization=NEAREST), progress)
    assert any("has 5 images, fewer than --calib-size 8" in text for text in progress.warnings)
    assert table_of(bundle).images == 5


@pytest.mark.parametrize(("equalize", "size"), [(True, 128), (False, 64)])
def test_guards_advise_by_the_options_in_use(bundle: Bundle, equalize: bool, size: int) -> None:
    progress = Noted()
    calibrate_bundle(bundle, dataclasses.replace(QUICK, size=1, equalize=equalize), progress)
    found = [text for text in progress.warnings if text.endswith("[few-images]")]
    assert found == [
        "1 calibration image cannot be halved to measure how stable the scales are: "
        f"calibrate with --calib-size {size}, estimated to stabilise them (under 15%) [few-images]"
    ]
    assert not any("--equalize" in text for text in progress.warnings if equalize)


def test_corrupt_images_are_left_out_only_when_allowed(bundle: Bundle, tmp_path: Path) -> None:
    from PIL import Image

    for index, item in enumerate(even_sample(open_data("digits", Role.TRAIN), 6).items()):
        (tmp_path / "images" / "0").mkdir(parents=True, exist_ok=True)
        Image.fromarray(item.load()).save(tmp_path / "images" / "0" / f"{index}.png")
    (tmp_path / "images" / "0" / "3.png").write_bytes(b"no image")
    options = CalibrateOptions(data=str(tmp_path / "images"), size=6, quantization=NEAREST)
    before = bundle.artifacts["calibration"].sha256
    with pytest.raises(DeployError, match=r"3\.png"):
        calibrate_bundle(bundle, options, Silent())
    assert bundle.artifacts["calibration"].sha256 == before
    progress = Noted()
    calibrate_bundle(bundle, dataclasses.replace(options, max_corrupt=1), progress)
    assert table_of(bundle).images == 5
    assert any("3.png" in text for text in progress.warnings)


def test_activations_that_are_not_finite_leave_the_bundle_as_it_was(bundle: Bundle) -> None:
    graph = ir.load(bundle.folder / "fp32.onnx")
    weights = graph.graph.initializers["block3.0.conv1.weight"]
    assert weights.const_value is not None
    weights.const_value = ir.Tensor(np.full_like(weights.const_value.numpy(), np.nan), name=weights.name)
    old = bundle.artifacts["onnx-fp32"]
    with bundle.transaction() as step:
        ir.save(graph, step.file("fp32.onnx"))
        step.add("onnx-fp32", kind=old.kind, precision=old.precision, path="fp32.onnx", recipe=old.recipe)
        half = bundle.artifacts["onnx-fp16"]
        recipe = dataclasses.replace(half.recipe, parents={"onnx-fp32": step.artifacts[0].sha256})
        shutil.copy(bundle.file(half), step.file("fp16.onnx"))
        step.add("onnx-fp16", kind=half.kind, precision=half.precision, path="fp16.onnx", recipe=recipe)
    before = (bundle.folder / "manifest.json").read_bytes()
    with pytest.raises(DeployError, match=r"block3\.0\.conv1\S* has NaN or infinite values during calibration"):
        calibrate_bundle(bundle, QUICK, Silent())
    assert (bundle.folder / "manifest.json").read_bytes() == before


def test_a_bundle_without_graphs_says_which_command_makes_them(bundle: Bundle) -> None:
    (bundle.folder / "fp16.onnx").unlink()
    with pytest.raises(DeployError, match=r"fp16\.onnx is missing .*wrn-deploy export wrn-10-1"):
        calibrate_bundle(bundle, SIXTEEN, Silent())


def test_an_unknown_method_is_named_with_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(DeployError, match=r"unknown method 'entrpy' \(did you mean entropy\?\): expected one of"):
        calibrate_bundle(bundle, dataclasses.replace(SIXTEEN, method="entrpy"), Silent())


@pytest.mark.parametrize("wrong", [{"size": 0}, {"percentile": 101.0}, {"percentile": 0.9999}], ids=str)
def test_options_that_make_no_sense_are_usage_errors(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="expected"):
        dataclasses.replace(SIXTEEN, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("graph", GRAPHS.values())
def test_int8_agrees_with_fp32_on_real_photographs(cifar_bundle: Path, shared_data: Path, graph: str) -> None:
    assert agreement(cifar_bundle, graph, str(shared_data / "cifar10" / "test-exact-1017.npz")) >= 0.97


def test_real_ranges_do_not_depend_on_batches_or_threads(cifar_bundle: Path, shared_data: Path) -> None:
    how = Bundle.open(cifar_bundle).spec.preprocessing
    source = even_sample(open_data(str(shared_data / "cifar10" / "train-exact-8068.npz"), Role.TRAIN), 32)

    def collected(size: int, threads: int) -> dict[str, Range]:
        images = (normalize(batch.images, how) for batch in Batches(source, how, size))
        return collect_ranges(ObservedGraph(cifar_bundle / "fp32.onnx"), images, histograms=True, threads=threads)

    wanted, found = collected(7, 1), collected(32, 3)
    for name, splits in wanted.items():
        one, other = splits.whole, found[name].whole
        assert (one.low, one.high, one.values) == (other.low, other.high, other.values)
        assert one.histogram is not None
        assert other.histogram is not None
        assert np.array_equal(one.histogram.counts, other.histogram.counts)
