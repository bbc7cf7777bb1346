"""What a command hands to the pipeline: the options' own defaults if nothing is given, and each value in its place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wrn_deploy.bench.measuring.loadgen import Load, Scenario
from wrn_deploy.bench.report.report import Boundary
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.lint.finding import Target as Runtime
from wrn_deploy.calib.options import Loss, Rounding, Schedule, WeightScales
from wrn_deploy.cli.app import load_command
from wrn_deploy.data.corrupt import Percent
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.engines.flavor import Flavor
from wrn_deploy.engines.options import EngineOptions, Hardware, Profile, Tiling
from wrn_deploy.models import Overrides
from wrn_deploy.pipeline.demo import DemoOptions
from wrn_deploy.pipeline.deploy import DeployOptions
from wrn_deploy.pipeline.engines.build import BuildOptions
from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions
from wrn_deploy.pipeline.inference.models import BundleOrWeights
from wrn_deploy.pipeline.inference.predict import PredictOptions
from wrn_deploy.pipeline.inspection.explain import ExplainOptions, TimingOptions
from wrn_deploy.pipeline.inspection.plots import PlotOptions
from wrn_deploy.pipeline.measuring.compare import RegressionLimits
from wrn_deploy.pipeline.measuring.measure import MeasureOptions
from wrn_deploy.pipeline.networks.export import ExportOptions
from wrn_deploy.pipeline.networks.importing import ImportOptions
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions
from wrn_deploy.pipeline.quantization.quantize import Quantization
from wrn_deploy.pipeline.scoring.job import ScoreOptions
from wrn_deploy.pipeline.training.spec import plan_training
from wrn_deploy.pipeline.training.train import TrainOptions
from wrn_deploy.pipeline.tuning.engine import EngineTuneOptions
from wrn_deploy.pipeline.tuning.tune import TuneOptions
from wrn_deploy.spec import Precision
from wrn_deploy.training.execution.options import Amp, Device, ExecutionOptions

PIPELINE = "wrn_deploy.pipeline"
A, B = Path("a"), Path("b")
PAPER = plan_training("paper", {}, Overrides())
CHANGES = {"epochs": 7, "batch_size": 9, "learning_rate": 0.5, "momentum": 0.25, "weight_decay": 0.125}
CHANGES |= {"decay_norms": False, "label_smoothing": 0.1, "warm_up": 0.3, "mirror": True, "shift": 3, "seed": 11}
NETWORK = ["--classes", "12", "--mean", "0.1,0.2,0.3", "--std", "0.4,0.5,0.6", "--resize", "48"]
CHANGED = Overrides(classes=12, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), resize=48)
SELECTION = ["--backend", "torch", "--backend", "openvino", "--precision", "fp16", "--threads", "2"]
SELECTION += ["--limit", "3", "--max-corrupt", "4%", "--workers", "5"]
SELECTED: dict[str, Any] = {"backends": ("torch", "openvino"), "precision": Precision.FP16}
SELECTED |= {"threads": 2, "limit": 3, "max_corrupt": Percent(4.0), "workers": 5}
CALIBRATION = ["--calib-size", "64", "--calib-method", "percentile", "--percentile", "99.5"]
CALIBRATED = CalibrateOptions(data="other", size=64, method="percentile", percentile=99.5)


class Called(Exception):  # noqa: N818 (no error)
    """The pipeline was called with these arguments."""


def handed(monkeypatch: pytest.MonkeyPatch, function: str, command: str, *arguments: str) -> tuple[Any, ...]:
    """What `wrn-deploy command arguments` calls the pipeline's function with."""

    def called(*given: Any, **_more: Any) -> None:
        raise Called(*given)

    monkeypatch.setattr(f"{PIPELINE}.{function}", called)
    monkeypatch.setattr(Bundle, "open", lambda folder: SimpleNamespace(folder=folder))
    with pytest.raises(Called) as caught:
        load_command(command).main([*arguments], standalone_mode=False)
    return caught.value.args


CASES: list[tuple[str, str, list[str], Any]] = [
    ("demo.run_demo", "demo", [], DemoOptions(out=Path("demo"))),
    ("demo.run_demo", "demo", ["--out", "a", "--epochs", "2"], DemoOptions(out=A, epochs=2)),
    (
        "training.train.train_model", "train", ["wrn-10-1", "--out", "a"],
        TrainOptions(model="wrn-10-1", data="digits", out=A, recipe=PAPER.recipe, overrides=PAPER.overrides),
    ),
    (
        "training.train.train_model", "train",
        ["wrn-10-1", "--out", "a", "--data", "b", "--test-data", "c", "--resume", "--workers", "2",
         "--max-corrupt", "3", "--whiten", *NETWORK, "--recipe", "one-cycle", "--epochs", "7", "--batch-size", "9",
         "--lr", "0.5", "--momentum", "0.25", "--weight-decay", "0.125", "--no-decay-norms",
         "--label-smoothing", "0.1", "--warm-up", "0.3", "--dropout", "0.2", "--mirror", "--shift", "3",
         "--seed", "11", "--device", "cuda", "--amp", "bf16", "--channels-first", "--checkpointing",
         "--accumulate", "4", "--local-bn", "--fastest"],
        TrainOptions(
            model="wrn-10-1", data="b", out=A, test_data="c", resume=True, workers=2, max_corrupt=3, whiten=True,
            recipe=plan_training("one-cycle", CHANGES, Overrides()).recipe,
            overrides=Overrides(classes=12, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), resize=48, dropout=0.2),
            execution=ExecutionOptions(
                device=Device.CUDA, amp=Amp.BF16, channels_last=False, checkpointing=True, accumulate=4,
                sync_norms=False, deterministic=False,
            ),
        ),
    ),
    ("networks.export.export_bundle", "export", ["wrn-10-1", "--out", "a"], ExportOptions(model="wrn-10-1", out=A)),
    (
        "networks.export.export_bundle", "export",
        ["wrn-10-1", "--out", "a", "--weights", "b", "--weights-key", "c", "--bf16", "--pixels",
         "--top-k", "3", "--features", "--feature-maps", *NETWORK],
        ExportOptions(
            model="wrn-10-1", out=A, weights="b", weights_key="c", bf16=True, pixels=True, top_k=3,
            features=True, feature_maps=True, overrides=CHANGED,
        ),
    ),
    (
        "networks.export.export_bundle", "export", ["wrn-10-1", "--out", "a", "--random-weights", "--seed", "2"],
        ExportOptions(model="wrn-10-1", out=A, random_weights=True, seed=2),
    ),
    (
        "networks.export.export_bundle", "export", ["--out", "a", "--weights", "timm/b"],
        ExportOptions(out=A, weights="timm/b"),
    ),
    (
        "deploy.deploy_weights", "deploy", ["--out", "a", "--weights", "b", "--calib-data", "b"],
        DeployOptions(export=ExportOptions(out=A, weights="b"), calibrate=CalibrateOptions(data="b")),
    ),
    (
        "deploy.deploy_weights", "deploy",
        ["wrn-10-1", "--out", "a", "--weights", "b", "--weights-key", "c", "--replace", "--calib-data", "other",
         "--data", "d", "--int8", "--max-drop", "2", "--limit", "3", "--threads", "4", "--max-corrupt", "5",
         "--workers", "6", *CALIBRATION, *NETWORK],
        DeployOptions(
            export=ExportOptions(
                model="wrn-10-1", out=A, weights="b", weights_key="c", replace=True, overrides=CHANGED
            ),
            calibrate=CalibrateOptions(
                data="other", size=64, method="percentile", percentile=99.5, threads=4, max_corrupt=5, workers=6
            ),
            plans=(Precision.INT8,), max_drop=2.0,
            measure=MeasureOptions(
                data="d", precision=Precision.INT8, limit=3, threads=4, max_corrupt=5, workers=6
            ),
        ),
    ),
    (
        "networks.importing.import_onnx", "import", ["a", "--out", "b", "--mean", "0,0,0", "--std", "1,1,1"],
        ImportOptions(file=A, out=B, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    ),
    (
        "networks.importing.import_onnx", "import",
        ["a", "--out", "b", "--mean", "0.1,0.2,0.3", "--std", "0.4,0.5,0.6", "--name", "c", "--resize", "40",
         "--crop", "32", "--interpolation", "bicubic", "--replace"],
        ImportOptions(
            file=A, out=B, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), name="c", resize=40, crop=32,
            interpolation="bicubic", replace=True,
        ),
    ),
    (
        "quantization.calibrate.calibrate_bundle", "calibrate", ["a", "--calib-data", "b"], CalibrateOptions(data="b"),
    ),
    (
        "quantization.calibrate.calibrate_bundle", "calibrate",
        ["a", "--calib-data", "b", *CALIBRATION, "--no-equalize", "--no-exact-input", "--weight-scales", "per-tensor",
         "--no-full-range", "--rounding", "nearest", "--threads", "2",
         "--max-corrupt", "3%", "--workers", "4"],
        CalibrateOptions(
            data="b", size=64, method="percentile", percentile=99.5, equalize=False, threads=2,
            max_corrupt=Percent(3.0), workers=4,
            quantization=Quantization(
                exact_input=False, full_range=False, weights=WeightScales.TENSOR, rounding=Rounding.NEAREST,
            ),
        ),
    ),
    ("tuning.tune.tune_bundle", "tune", ["a", "--data", "b", "--max-drop", "1"], TuneOptions(data="b", max_drop=1.0)),
    (
        "tuning.tune.tune_bundle", "tune",
        ["a", "--data", "b", "--max-drop", "1", "--min-agreement", "90", "--threads", "2", "--limit", "3",
         "--max-corrupt", "4", "--workers", "5", "--calib-data", "other", *CALIBRATION],
        TuneOptions(
            data="b", max_drop=1.0, min_agreement=90.0, threads=2, limit=3, max_corrupt=4, workers=5,
            calibrate=CalibrateOptions(
                data="other", size=64, method="percentile", percentile=99.5, threads=2, max_corrupt=4, workers=5
            ),
        ),
    ),
    (
        "tuning.engine.tune_engine", "tune", ["a", "--data", "b", "--engine", "fp16"],
        EngineTuneOptions(precision=Precision.FP16, data="b"),
    ),
    (
        "tuning.engine.tune_engine", "tune",
        ["a", "--data", "b", "--engine", "int8", "--batch-size", "2", "--rounds", "7", "--duration", "4"],
        EngineTuneOptions(precision=Precision.INT8, data="b", batch=2, rounds=7, duration_s=4.0),
    ),
    ("finetuning.finetune.finetune_bundle", "finetune", ["a", "--data", "b"], FinetuneOptions(data="b")),
    (
        "finetuning.finetune.finetune_bundle", "finetune",
        ["a", "--data", "b", "--test-data", "c", "--loss", "labels", "--steps", "2", "--batch-size", "3",
         "--lr", "0.5", "--no-scales", "--no-mirror", "--shift", "6", "--seed", "7", "--target", "tensorrt",
         "--limit", "8", "--threads", "9", "--max-corrupt", "10", "--workers", "11"],
        FinetuneOptions(
            data="b", test_data="c", mirror=False, shift=6, targets=(Runtime.TENSORRT,), limit=8, threads=9,
            max_corrupt=10, workers=11,
            schedule=Schedule(steps=2, batch=3, rate=0.5, loss=Loss.LABELS, scales=False, seed=7),
        ),
    ),
    (
        "engines.build.build_engine", "build-engine", ["a", "--fp16"],
        BuildOptions(precision=Precision.FP16, engine=EngineOptions()),
    ),
    (
        "engines.build.build_engine", "build-engine",
        ["a", "--int8", "--flavor", "tensorrt", "--profile", "1:2:3", "--workspace", "4", "--optimization-level", "5",
         "--aux-streams", "6", "--tiling", "full", "--timing-iterations", "7",
         "--timing-cache", "b", "--no-tf32", "--refit", "--strip", "--version-compatible", "--exclude-lean-runtime",
         "--hardware-compatible", "ampere-plus", "--compute-capability", "8.9", "--calib-data", "other", *CALIBRATION,
         "--rebuild"],
        BuildOptions(
            precision=Precision.INT8, flavor=Flavor.TENSORRT, rebuild=True, calibrate=CALIBRATED,
            engine=EngineOptions(
                profiles=(Profile(minimum=1, optimum=2, maximum=3),), workspace_mib=4, level=5, timing_cache=B,
                tf32=False, refit=True, strip=True, version_compatible=True, hardware=Hardware.AMPERE_PLUS,
                compute_capabilities=("SM89",), aux_streams=6, tiling=Tiling.FULL, timing_iterations=7,
                exclude_lean_runtime=True,
            ),
        ),
    ),
    (
        "engines.build.build_engine", "build-engine", ["a", "--fp16", "--no-timing-cache"],
        BuildOptions(precision=Precision.FP16, engine=EngineOptions(no_timing_cache=True)),
    ),
    (
        "measuring.measure.bench_bundle", "bench", ["a", "--data", "b", "--out", "OUT"],
        MeasureOptions(data="b", logs=Path("OUT/loadgen"), kept=Path("OUT/bench.rounds.json")),
    ),
    (
        "measuring.measure.bench_bundle", "bench",
        ["a", "--data", "b", "--out", "OUT", *SELECTION, "--batches", "6,7", "--rounds", "8", "--duration", "9",
         "--iterations", "10", "--streams", "11", "--boundary", "e2e", "--baseline", "torch-fp32", "--time-limit", "60",
         "--scenario", "Server", "--scenario-seconds", "12", "--target-latency", "13", "--target-qps", "14",
         "--no-pictures", "--restart"],
        MeasureOptions(
            data="b", batches=(6, 7), rounds=8, duration_s=9.0, iterations=10, streams=11, boundary=Boundary.E2E,
            baseline=("torch", Precision.FP32), logs=Path("OUT/loadgen"), pictures=False, time_limit_s=60.0,
            kept=Path("OUT/bench.rounds.json"), restart=True, **SELECTED,
            loads=(Load(scenario=Scenario.SERVER, seconds=12.0, batch=7, target_ms=13.0, qps=14.0),),
        ),
    ),
    ("measuring.evaluate.evaluate_target", "eval", ["OUT", "--data", "b"], MeasureOptions(data="b")),
    (
        "measuring.evaluate.evaluate_target", "eval", ["OUT", "--data", "b", "--all"],
        MeasureOptions(data="b", everything=True),
    ),
    (
        "measuring.evaluate.evaluate_target", "eval",
        ["FILE", "--data", "b", *SELECTION, "--model", "wrn-10-1", "--weights-key", "c", *NETWORK],
        MeasureOptions(data="b", **SELECTED),
    ),
    ("measuring.compare.check_comparison", "compare", ["a", "b"], RegressionLimits()),
    (
        "measuring.compare.check_comparison", "compare",
        ["a", "b", "--max-regress", "5%", "--max-drop", "2", "--strict"],
        RegressionLimits(regress=5.0, drop=2.0, strict=True),
    ),
    (
        "inference.predict.predict_target", "predict", ["OUT", "a", "b"],
        PredictOptions(images=(A, B)),
    ),
    (
        "inference.predict.predict_target", "predict",
        ["FILE", "a", "--backend", "torch", "--precision", "fp32", "--top-k", "2", "--model", "wrn-10-1",
         "--weights-key", "c", *NETWORK],
        PredictOptions(images=(A,), top_k=2, backend="torch", precision=Precision.FP32),
    ),
    ("inspection.explain.explain", "explain", ["a", "b"], ExplainOptions(a=A, b=B, timing=TimingOptions())),
    (
        "inspection.explain.explain", "explain", ["a", "b", "--batch", "2", "--rounds", "3", "--threads", "4"],
        ExplainOptions(a=A, b=B, timing=TimingOptions(batch=2, rounds=3, threads=4)),
    ),
    ("inspection.plots.plot_model", "plot-model", ["a"], PlotOptions(target="a")),
    (
        "inspection.plots.plot_model", "plot-model", ["a", "--out", "b", "--precision", "int8", "--unfold"],
        PlotOptions(target="a", out=B, precision=Precision.INT8, unfold=True),
    ),
    ("scoring.score.score_data", "score", ["a", "--data", "b", "--out", "c"], ScoreOptions(data="b", out="c")),
    (
        "scoring.score.score_data", "score",
        ["a", "--data", "b", "--out", "c", "--shard", "2/3", "--top-k", "2", "--logits", "--features",
         "--backend", "torch", "--precision", "fp32", "--batch", "5", "--images-per-shard", "6", "--threads", "7",
         "--max-corrupt", "8%", "--max-damaged", "9", "--workers", "1"],
        ScoreOptions(
            data="b", out="c", block=Block(index=2, count=3), top_k=2, logits=True, features=True, backend="torch",
            precision=Precision.FP32, batch=5, images_per_shard=6, threads=7, max_corrupt=Percent(8.0),
            max_damaged=9, workers=1,
        ),
    ),
    (
        "scoring.merge.merge_scores", "score", ["a", "--data", "b", "--out", "c", "--merge"],
        ScoreOptions(data="b", out="c"),
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where OUT is a folder and FILE a file; and what `compare` does before its gate."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun says it
    Path("OUT").mkdir()
    Path("FILE").touch()
    monkeypatch.setattr(f"{PIPELINE}.measuring.compare.compare_files", lambda *_files: (None, ()))
    monkeypatch.setattr("wrn_deploy.cli.show.compare.show_comparison", lambda *_found, **_as_json: None)


@pytest.mark.parametrize(
    ("function", "command", "arguments", "expected"), CASES, ids=[" ".join([case[1], *case[2]][:9]) for case in CASES]
)
def test_options_reach_the_pipeline_by_name(
    monkeypatch: pytest.MonkeyPatch, function: str, command: str, arguments: list[str], expected: Any
) -> None:
    assert expected in handed(monkeypatch, function, command, *arguments)


@pytest.mark.parametrize(
    ("function", "command", "more"),
    [
        ("measuring.evaluate.evaluate_target", "eval", ["--data", "b"]),
        ("inference.predict.predict_target", "predict", ["a"]),
    ],
)
def test_what_runs_is_a_bundle_or_weights_with_their_network(
    monkeypatch: pytest.MonkeyPatch, function: str, command: str, more: list[str]
) -> None:
    assert handed(monkeypatch, function, command, "OUT", *more)[0] == BundleOrWeights(path=Path("OUT"))
    described = ["--model", "wrn-10-1", "--weights-key", "c", *NETWORK]
    expected = BundleOrWeights(path=Path("FILE"), model="wrn-10-1", overrides=CHANGED, key="c")
    assert handed(monkeypatch, function, command, "FILE", *more, *described)[0] == expected


def test_the_reference_of_a_comparison_is_a_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    given = handed(monkeypatch, "measuring.compare.compare_files", "compare", "a", "b", "--baseline", "torch-fp32")
    assert given == (A, B, ("torch", Precision.FP32))
