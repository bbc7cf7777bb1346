"""The functions of each step: their defaults are the options' own, names are checked, results are typed."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import wrn_deploy
from wrn_deploy.calib.options import Schedule
from wrn_deploy.cli.commands.networks import RecipeFlags
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.errors import UsageError
from wrn_deploy.models import Overrides
from wrn_deploy.pipeline.deploy import DeployOptions
from wrn_deploy.pipeline.engines.build import BuildOptions
from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions
from wrn_deploy.pipeline.inspection.node_times import TimingOptions
from wrn_deploy.pipeline.inspection.plots import PlotOptions
from wrn_deploy.pipeline.measuring.compare import RegressionLimits
from wrn_deploy.pipeline.measuring.measure import MeasureOptions
from wrn_deploy.pipeline.networks.export import ExportOptions
from wrn_deploy.pipeline.networks.importing import ImportOptions
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions
from wrn_deploy.pipeline.quantization.quantize import Quantization
from wrn_deploy.pipeline.scoring.job import ScoreOptions
from wrn_deploy.pipeline.serving.models import ServeModelOptions
from wrn_deploy.pipeline.signing.sign import SigningKey
from wrn_deploy.pipeline.training.train import TrainOptions
from wrn_deploy.pipeline.tuning.tune import TuneOptions
from wrn_deploy.training.execution.options import ExecutionOptions

# Function -> the dataclasses whose fields it takes by name, and what those call otherwise.
STEPS: list[tuple[Callable[..., Any], list[type], dict[str, str]]] = [
    (wrn_deploy.deploy, [DeployOptions, CalibrateOptions, MeasureOptions, ExportOptions, Overrides], {}),
    (wrn_deploy.export_model, [ExportOptions, Overrides], {}),
    (wrn_deploy.import_model, [ImportOptions], {}),
    (wrn_deploy.calibrate, [CalibrateOptions, Quantization], {"weight_scales": "weights"}),
    (wrn_deploy.calibrate_shard, [CalibrateOptions, Quantization], {"weight_scales": "weights"}),
    (wrn_deploy.tune, [TuneOptions], {}),
    (wrn_deploy.finetune, [FinetuneOptions, Schedule], {}),
    (wrn_deploy.build_engine, [BuildOptions, EngineOptions], {}),
    (wrn_deploy.bench_model, [MeasureOptions], {}),
    (wrn_deploy.evaluate, [MeasureOptions, Overrides], {}),
    (wrn_deploy.score, [ScoreOptions], {}),
    (wrn_deploy.merge_scores, [ScoreOptions], {}),
    (wrn_deploy.evaluate_shard, [MeasureOptions], {}),
    (wrn_deploy.write_repository, [ServeModelOptions], {}),
    (
        wrn_deploy.train,
        [TrainOptions, ExecutionOptions, Overrides, RecipeFlags],
        {},
    ),
    (wrn_deploy.explain, [TimingOptions], {}),
    (wrn_deploy.sign, [SigningKey], {}),
    (wrn_deploy.plot_model, [PlotOptions], {}),
    (wrn_deploy.compare, [RegressionLimits], {"max_regress": "regress", "max_drop": "drop"}),
]
OWN = {
    "progress",
    "reports",
    "reference",
    "int8",
    "weights_key",
    "model",
    "max_drop",
    "data",
    "weights",
    "shard",
    "into",
    "cluster",
}  # no fields there


def defaults_of(kinds: list[type]) -> dict[str, Any]:
    """The default of each field, of the first dataclass that has it."""
    found: dict[str, Any] = {}
    for kind in kinds:
        for field in dataclasses.fields(kind):
            if field.default is not dataclasses.MISSING:
                found.setdefault(field.name, field.default)
            elif field.default_factory is not dataclasses.MISSING:
                found.setdefault(field.name, field.default_factory())
    return found


@pytest.mark.parametrize(("function", "kinds", "names"), STEPS, ids=[step[0].__name__ for step in STEPS])
def test_defaults_are_those_of_the_options(
    function: Callable[..., Any], kinds: list[type], names: dict[str, str]
) -> None:
    expected = defaults_of(kinds)
    compared = 0
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.default is parameter.empty:
            continue
        field = names.get(name, name)
        if field not in expected:
            assert name in OWN, f"{function.__name__}({name}) is no option of its step"
            continue
        default = parameter.default
        if field == "profiles":
            default = tuple(Profile(*sizes) for sizes in default)
        assert default == expected[field], f"{function.__name__}({name})"
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize(("function", "kinds", "names"), STEPS, ids=[step[0].__name__ for step in STEPS])
def test_every_option_is_described(function: Callable[..., Any], kinds: list[type], names: dict[str, str]) -> None:
    del kinds, names
    text = inspect.getdoc(function) or ""
    parameters = inspect.signature(function).parameters
    assert all(f"\n    {name}: " in text for name in parameters), text
    assert all(section in text for section in ("Args:", "Raises:", "Example:"))
    assert "wrn-deploy " in text.splitlines()[0] + text.splitlines()[2], "the command that does the same"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: wrn_deploy.calibrate("bundle", "digits", rounding="up"), "rounding 'up': expected one of nearest"),
        (lambda: wrn_deploy.build_engine("bundle", "int4"), "precision 'int4': expected one of fp32"),
        (lambda: wrn_deploy.bench_model("bundle", "digits", boundary="all"), "boundary 'all': expected one of compute"),
        (lambda: wrn_deploy.lint("x.onnx", target="cpu"), "target 'cpu': expected one of tensorrt"),
        (lambda: wrn_deploy.finetune("bundle", "digits", loss="mse"), "loss 'mse': expected one of distill"),
    ],
)
def test_a_name_that_is_none_is_refused_with_those_that_are(call: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()


def test_only_public_names_are_listed() -> None:
    assert dir(wrn_deploy) == sorted(wrn_deploy.__all__)
    assert all(getattr(wrn_deploy, name) is not None for name in wrn_deploy.__all__)
    with pytest.raises(AttributeError, match="no attribute 'runer'"):
        wrn_deploy.runer  # type: ignore[attr-defined]  # noqa: B018
