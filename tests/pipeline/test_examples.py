"""The examples in the docstrings of the steps and functions run as they stand there."""

from __future__ import annotations

import doctest
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wrn_deploy import api
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.pipeline.engines.build import build_engine
from wrn_deploy.pipeline.finetuning.finetune import finetune_bundle
from wrn_deploy.pipeline.measuring.measure import bench_bundle
from wrn_deploy.pipeline.quantization.calibrate import calibrate_bundle
from wrn_deploy.pipeline.tuning.tune import tune_bundle

FUNCTIONS = (api.get_model, api.predict, api.extract_feat)


@pytest.mark.parametrize(
    "step", [calibrate_bundle, build_engine, tune_bundle, finetune_bundle, bench_bundle, *FUNCTIONS]
)
def test_the_example_runs(
    step: Callable[..., object], made_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if step is build_engine and Flavor.RTX not in installed_flavors():
        pytest.skip("TensorRT-RTX, which builds without a GPU, is not installed")
    shutil.copytree(made_bundle, tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_doctest(inspect.getdoc(step) or "", {}, step.__name__, None, None)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
