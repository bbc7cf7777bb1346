"""The build step: plans with everything about them in the manifest, from the right graph, and not twice."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import contents
from tests.manifests import edit_manifest
from tests.pipeline.quantization.test_calibrate import Noted
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions, Hardware, Profile
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.machine import find_gpu
from wrn_deploy.models import Overrides
from wrn_deploy.pipeline.engines import build
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions
from wrn_deploy.progress import Silent
from wrn_deploy.spec import Precision

needs_rtx = pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")

SMALL = EngineOptions(profiles=(Profile(1, 2, 4),))
FP16 = BuildOptions(precision=Precision.FP16, engine=SMALL, flavor=Flavor.RTX)
INT8 = BuildOptions(precision=Precision.INT8, engine=SMALL, flavor=Flavor.RTX)


@needs_rtx
@pytest.mark.parametrize(
    ("precision", "graph"), [(Precision.FP16, "onnx-fp16"), (Precision.INT8, "onnx-int8-tensorrt")]
)
def test_the_manifest_describes_the_whole_plan(bundle: Bundle, precision: Precision, graph: str) -> None:
    engine = EngineOptions(
        profiles=(Profile(1, 1, 1), Profile(2, 3, 4)), workspace_mib=512, compute_capabilities=("SM89", "SM86")
    )
    built = build_engine(bundle, BuildOptions(precision=precision, engine=engine, flavor=Flavor.RTX), Silent())
    plan = Bundle.open(bundle.folder).find(f"plan-{precision}-tensorrt_rtx", "")
    assert plan.sha256 == built.sha256
    assert (plan.path, plan.precision) == (f"{precision}-tensorrt_rtx.plan", precision)
    assert (bundle.folder / plan.path).read_bytes()[:4] == b"vtrt"
    assert plan.recipe.parents == {graph: bundle.artifacts[graph].sha256}
    profiles = [{"minimum": 1, "optimum": 1, "maximum": 1}, {"minimum": 2, "optimum": 3, "maximum": 4}]
    assert plan.recipe.options["profiles"] == profiles
    assert plan.recipe.options["workspace_mib"] == 512
    facts, gpu = plan.facts, find_gpu()
    assert facts["flavor"] == "tensorrt_rtx"
    assert facts["version"] == plan.recipe.tools["tensorrt_rtx"]
    assert facts["version"].startswith("1.")
    assert facts["strongly_typed"] is True
    assert facts["profiles"] == profiles
    assert facts["compute_capabilities"] == ["SM86", "SM89"]
    assert [facts[name] for name in ("version_compatible", "hardware", "refit", "strip")] == [False, None, False, False]
    assert facts["inputs"] == [{"name": "images", "dtype": "uint8", "shape": [32, 32, 3]}]
    assert plan.recipe.options["pixels"] is True
    assert facts["timing_cache"] is None
    assert facts["outputs"] == [{"name": "logits", "dtype": "float32", "shape": [10]}]
    assert facts["memory"]["weights_bytes"] > 0
    assert facts["memory"]["activation_bytes"] > 0
    assert facts["seconds"] > 0
    assert isinstance(facts["warnings"], list)
    assert facts["compute_capability"] == (gpu.compute_capability if gpu else None)
    assert facts["gpu"] == (gpu.name if gpu else None)
    assert facts["driver"] == (gpu.driver if gpu else None)


@needs_rtx
def test_the_int8_plan_is_another_one_with_smaller_weights(made_bundle: Path) -> None:
    made = Bundle.open(made_bundle)
    half, int8 = (made.find(f"plan-{precision}-tensorrt_rtx", "") for precision in ("fp16", "int8"))
    assert half.sha256 != int8.sha256
    assert int8.facts["memory"]["weights_bytes"] < 0.65 * half.facts["memory"]["weights_bytes"]


@needs_rtx
def test_the_same_plan_is_not_built_again(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_engine(bundle, INT8, Silent())
    monkeypatch.setattr("wrn_deploy.engines.build.build_plan", None)
    progress = Noted()
    assert build_engine(Bundle.open(bundle.folder), INT8, progress).sha256 == first.sha256
    assert progress.notes == [f"{bundle.folder}: int8-tensorrt_rtx.plan is up to date"]


@needs_rtx
def test_rebuild_builds_what_is_up_to_date(bundle: Bundle) -> None:
    first = build_engine(bundle, FP16, Silent())
    written_ns = bundle.file(first).stat().st_mtime_ns
    progress = Noted()
    again = build_engine(Bundle.open(bundle.folder), dataclasses.replace(FP16, rebuild=True), progress)
    assert again.recipe == first.recipe
    assert bundle.file(again).stat().st_mtime_ns > written_ns
    assert not [note for note in progress.notes if "up to date" in note]


@needs_rtx
@pytest.mark.parametrize(
    "change",
    [
        {"profiles": (Profile(1, 2, 8),)},
        {"workspace_mib": 256},
        {"level": 5},
        {"tf32": False},
        {"compute_capabilities": ("SM89",)},
    ],
    ids=str,
)
def test_another_option_is_another_plan(bundle: Bundle, change: dict[str, Any]) -> None:
    first = build_engine(bundle, FP16, Silent())
    other = build_engine(bundle, dataclasses.replace(FP16, engine=dataclasses.replace(SMALL, **change)), Silent())
    assert other.recipe != first.recipe


@needs_rtx
@pytest.mark.parametrize("refused", [{"hardware": Hardware.AMPERE_PLUS}, {"timing_cache": Path("times")}], ids=str)
def test_an_option_that_the_flavor_lacks_is_refused_before_anything_is_made(
    bundle: Bundle, refused: dict[str, Any]
) -> None:
    bare = forget(bundle, *CALIBRATED)
    before = (bundle.folder / "manifest.json").read_bytes()
    engine = dataclasses.replace(SMALL, **refused)
    with pytest.raises(UsageError, match="with tensorrt_rtx: "):
        build_engine(
            bare, dataclasses.replace(INT8, engine=engine, calibrate=CalibrateOptions(data="digits")), Silent()
        )
    assert (bundle.folder / "manifest.json").read_bytes() == before


@needs_rtx
def test_an_interrupted_build_leaves_the_bundle_as_it_was(bundle: Bundle) -> None:
    """A real SIGINT, in the middle of the builder's work."""

    class Interrupting(Silent):
        @contextlib.contextmanager
        def task(self, title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
            assert total == 100, title
            yield lambda _units: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    before = contents(bundle.folder)
    with pytest.raises(KeyboardInterrupt):
        build_engine(bundle, dataclasses.replace(FP16, rebuild=True), Interrupting())
    assert contents(bundle.folder) == before


@needs_rtx
def test_a_damaged_plan_is_built_again(bundle: Bundle) -> None:
    build_engine(bundle, FP16, Silent())
    (bundle.folder / "fp16-tensorrt_rtx.plan").write_bytes(b"vtrt and rubbish")
    build_engine(bundle, FP16, Silent())
    bundle.find("plan-fp16-tensorrt_rtx", "")


def forget(bundle: Bundle, *keys: str) -> Bundle:
    """The bundle as if these artifacts had never been made."""
    edit_manifest(bundle.folder, lambda record: [record["artifacts"].pop(key) for key in keys])
    return Bundle.open(bundle.folder)


CALIBRATED = ("calibration", "onnx-int8-tensorrt", "onnx-int8-onnxruntime")


@needs_rtx
def test_int8_without_a_table_and_without_images_is_a_usage_error(bundle: Bundle) -> None:
    with pytest.raises(
        UsageError, match=r"has no calibration: run `wrn-deploy calibrate .* or pass --calib-data"
    ) as error:
        build_engine(forget(bundle, *CALIBRATED), INT8, Silent())
    assert error.value.exit_code == 2


@needs_rtx
def test_int8_with_images_is_calibrated_first(bundle: Bundle) -> None:
    options = dataclasses.replace(INT8, calibrate=CalibrateOptions(data="digits", size=8))
    plan = build_engine(forget(bundle, *CALIBRATED), options, Silent())
    made = Bundle.open(bundle.folder)
    assert made.find("calibration", "").facts["images"] == 8
    assert plan.recipe.parents == {"onnx-int8-tensorrt": made.artifacts["onnx-int8-tensorrt"].sha256}


@needs_rtx
def test_a_table_from_before_the_last_export_says_so(bundle: Bundle, trained: Path) -> None:
    changed = Overrides(mean=(0.3, 0.3, 0.3))
    weights = trained / "weights.safetensors"
    again = export_bundle(
        ExportOptions(model="wrn-10-1", out=bundle.folder, weights=weights, overrides=changed), Silent()
    )
    with pytest.raises(
        UsageError, match=r"calibration was made from weights \w+, which is now \w+: run `wrn-deploy cal"
    ):
        build_engine(again, INT8, Silent())
    with pytest.raises(DeployError, match=r"calibration was made from weights .*`wrn-deploy build-engine .*--int8"):
        again.find("plan-int8-tensorrt_rtx", "wrn-deploy build-engine --int8")


@needs_rtx
def test_a_missing_int8_graph_names_the_command_that_writes_it(bundle: Bundle) -> None:
    (bundle.folder / "int8-tensorrt.onnx").unlink()
    with pytest.raises(UsageError, match=r"int8-tensorrt\.onnx is missing .*`wrn-deploy calibrate "):
        build_engine(bundle, INT8, Silent())


@needs_rtx
def test_a_missing_fp16_graph_names_the_command_that_writes_it(bundle: Bundle) -> None:
    with pytest.raises(DeployError, match=r"has no onnx-fp16: run `wrn-deploy export wrn-10-1 --weights FILE --out"):
        build_engine(forget(bundle, "onnx-fp16"), FP16, Silent())


@needs_rtx
@pytest.mark.parametrize(
    ("precision", "command"),
    [(Precision.BF16, "export wrn-10-1 .*--bf16"), (Precision.FP8, "calibrate .* --calib-data DATA --fp8")],
)
def test_a_missing_experimental_graph_names_the_command_that_writes_it(
    bundle: Bundle, precision: Precision, command: str
) -> None:
    with pytest.raises(DeployError, match=rf"has no onnx-{precision}.*: run `wrn-deploy {command}`"):
        build_engine(bundle, BuildOptions(precision=precision, engine=SMALL, flavor=Flavor.RTX), Silent())


@needs_rtx
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP8])
def test_an_experimental_graph_gives_a_plan_of_its_own(bundle: Bundle, precision: Precision) -> None:
    """The fp16 graph stands for one of the experimental exports, whose own tests are elsewhere."""
    key = {Precision.BF16: "onnx-bf16", Precision.FP8: "onnx-fp8-tensorrt"}[precision]
    old = bundle.artifacts["onnx-fp16"]
    with bundle.transaction() as step:
        step.file(f"{precision}.onnx").write_bytes((bundle.folder / old.path).read_bytes())
        step.add(key, kind=old.kind, precision=precision, path=f"{precision}.onnx", recipe=old.recipe)
    plan = build_engine(bundle, BuildOptions(precision=precision, engine=SMALL, flavor=Flavor.RTX), Silent())
    assert (plan.key, plan.precision) == (f"plan-{precision}-tensorrt_rtx", precision)
    assert list(plan.recipe.parents) == [key]


@needs_rtx
def test_a_graph_that_cannot_be_built_leaves_the_bundle_as_it_was(bundle: Bundle) -> None:
    old = bundle.artifacts["onnx-fp16"]
    with bundle.transaction() as step:
        step.file("fp16.onnx").write_bytes(np.random.default_rng(0).bytes(500))
        step.add("onnx-fp16", kind=old.kind, precision=old.precision, path="fp16.onnx", recipe=old.recipe)
    before = (bundle.folder / "manifest.json").read_bytes()
    with pytest.raises(DeployError, match=r"fp16\.onnx is not an ONNX file"):
        build_engine(bundle, FP16, Silent())
    assert (bundle.folder / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("options", [FP16, INT8, dataclasses.replace(FP16, flavor=None)], ids=["fp16", "int8", "any"])
def test_without_tensorrt_the_machine_cannot_do_it(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, options: BuildOptions
) -> None:
    monkeypatch.setattr("wrn_deploy.engines.flavor.installed_flavors", list)
    before = (bundle.folder / "manifest.json").read_bytes()
    with pytest.raises(MachineError, match=r"pip install .*'tensorrt>") as error:
        build_engine(bundle, options, Silent())
    assert error.value.exit_code == 4
    assert (bundle.folder / "manifest.json").read_bytes() == before


def test_the_plan_of_a_gpu_names_that_gpu_in_its_recipe(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that was built without a GPU is not the plan of a GPU: there it must be built again."""
    from wrn_deploy.engines.flavor import TensorRT
    from wrn_deploy.machine import Gpu

    rtx, graph = TensorRT(Flavor.RTX, "1.7.1", None), bundle.artifacts["onnx-fp16"]
    monkeypatch.setattr(build, "find_gpu", lambda: None)
    without = build._recipe(graph, FP16, rtx)
    monkeypatch.setattr(build, "find_gpu", lambda: Gpu("NVIDIA H200", "9.0", 143771, "570.86.15"))
    assert build._recipe(graph, FP16, rtx) != without


@pytest.mark.parametrize(
    ("capability", "targets", "warned"), [("9.0", (), True), ("8.9", (), False), ("9.0", ("SM89",), False)]
)
def test_a_gpu_that_rtx_does_not_document_is_said_before_the_build(
    monkeypatch: pytest.MonkeyPatch, capability: str, targets: tuple[str, ...], warned: bool
) -> None:
    """H100 and H200: full TensorRT comes first where both are installed; with RTX alone, its name is given."""
    from wrn_deploy.engines.flavor import TensorRT
    from wrn_deploy.machine import Gpu

    monkeypatch.setattr(build, "find_gpu", lambda: Gpu("NVIDIA H200", capability, 143771, "580.65.06"))
    progress = Noted()
    options = dataclasses.replace(FP16, engine=dataclasses.replace(SMALL, compute_capabilities=targets))
    build._warn_of_gpu(options, TensorRT(Flavor.RTX, "1.7.1", None), progress)
    said = "not known to run on compute capability 9.0 (NVIDIA H200): TensorRT-RTX documents 8.0, 8.6, 8.9, 12.0, 12.1"
    remedy = "; full TensorRT is for such a GPU: pip install "
    assert len(progress.warnings) == warned
    assert all(text.startswith(said + remedy) for text in progress.warnings)
    build._warn_of_gpu(dataclasses.replace(options, engine=SMALL), TensorRT(Flavor.TENSORRT, "11.4", None), progress)
    assert len(progress.warnings) == warned
