"""The examples in the docstrings of the steps and functions run as they stand there."""

from __future__ import annotations

import doctest
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import wrn_deploy
from tests.pipeline.signing.test_sign import new_key
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.pipeline.deploy import deploy_weights
from wrn_deploy.pipeline.engines.build import build_engine
from wrn_deploy.pipeline.finetuning.finetune import finetune_bundle
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, bench_bundle, evaluate_bundle
from wrn_deploy.pipeline.networks.importing import import_onnx
from wrn_deploy.pipeline.quantization.calibrate import calibrate_bundle
from wrn_deploy.pipeline.tuning.tune import tune_bundle
from wrn_deploy.progress import Silent

FUNCTIONS = [
    getattr(wrn_deploy, name)
    for name in wrn_deploy.__all__
    if name.islower() and name not in ("__version__", "list_models")
]


@pytest.mark.parametrize(
    "step",
    [
        deploy_weights,
        import_onnx,
        calibrate_bundle,
        build_engine,
        tune_bundle,
        finetune_bundle,
        bench_bundle,
        *FUNCTIONS,
    ],
)
def test_the_example_runs(
    step: Callable[..., object], trained: Path, made_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if step in (build_engine, wrn_deploy.build_engine) and Flavor.RTX not in installed_flavors():
        pytest.skip("TensorRT-RTX, which builds without a GPU, is not installed")
    shutil.copytree(made_bundle, tmp_path / "bundle")
    shutil.copy(made_bundle / "weights.safetensors", tmp_path)
    shutil.copy(made_bundle / "fp32.onnx", tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    if step is wrn_deploy.plot_training:
        shutil.copytree(trained, "run")
    elif step is wrn_deploy.sign:
        new_key(tmp_path, "private")
    elif step is wrn_deploy.check_repository:
        wrn_deploy.write_repository(["bundle"], "models", runner="onnxruntime")
    elif step is wrn_deploy.compare:
        options = MeasureOptions(data="digits", backends=("onnxruntime",), limit=40, threads=1)
        Path("bench.json").write_text(evaluate_bundle(Bundle.open("bundle"), options, Silent()).to_json(), "utf-8")
    example = doctest.DocTestParser().get_doctest(inspect.getdoc(step) or "", {}, step.__name__, None, None)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
