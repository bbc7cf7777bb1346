"""Checks a model repository without a server, and whether its models are those of their bundles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, GateError, UsageError
from wrn_deploy.files.trust import trust
from wrn_deploy.formatting import count
from wrn_deploy.pipeline.serving.folders import bundle_in, config_of, is_ours, models_in, newest_version
from wrn_deploy.pipeline.serving.model_checks import check_model
from wrn_deploy.serving.config import parameter_of
from wrn_deploy.serving.versions import Triton

__all__ = ["CheckedModel", "check_repository"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedModel:
    """A model of a repository.

    Attributes:
        name: its folder's name.
        version: the newest version; None: there is none.
        ours: whether wrn-deploy wrote it; others are checked by the schema and Triton's own rules alone.
    """

    name: str
    version: int | None
    ours: bool


def check_repository(folder: Path, bundles: Sequence[Bundle] = (), triton: Triton | None = None) -> list[CheckedModel]:
    """Checks every model of the repository.

    Args:
        folder: the repository.
        bundles: those that its models were made from: a model of another artifact than its bundle's is stale.
        triton: the release that is to serve it; None: the TensorRT of plans is not checked.

    Raises:
        GateError: models cannot be served as they should be; the text names each problem.
        DeployError: there is no repository.
        UsageError: a bundle has no model in the repository.
    """
    models = models_in(folder)
    if not models:
        raise DeployError(f"{folder} has no models: expected a repository that `wrn-deploy repository` wrote")
    _check_none(
        folder, [f"{model.name}: {problem}" for model in models for problem in check_model(model, trust(), triton)]
    )
    _check_none(folder, [problem for bundle in bundles for problem in _stale(models, bundle)])
    return [
        CheckedModel(name=model.name, version=newest_version(model), ours=is_ours(config_of(model))) for model in models
    ]


def _check_none(folder: Path, problems: Sequence[str]) -> None:
    if problems:
        raise GateError(f"{folder} fails {count(len(problems), 'check')}:\n  " + "\n  ".join(problems))


def _stale(models: Sequence[Path], bundle: Bundle) -> Iterator[str]:
    """Models that were made from the bundle, of another artifact or for other images than it has now."""
    found = False
    for model in models:
        config = config_of(model)
        key = parameter_of(config, "artifact")
        if parameter_of(config, "model") != bundle.spec.name or key is None:  # also a step of an ensemble
            continue
        found = True
        remedy = f"run `wrn-deploy repository {bundle.folder} --out {model.parent}`"
        try:
            now = bundle.find(key).sha256
        except DeployError as error:
            yield f"{model.name}: {error}"
            continue
        if now != parameter_of(config, "sha256"):
            yield (
                f"{model.name} is stale: it has {key} {(parameter_of(config, 'sha256') or '')[:12]}, and "
                f"{bundle.folder} has {now[:12]}; {remedy}"
            )
        there = bundle_in(model / str(newest_version(model)), bundle.trust)
        if there is not None and there.spec.preprocessing != bundle.spec.preprocessing:
            yield f"{model.name} is stale: it prepares images in another way than {bundle.folder}; {remedy}"
    if not found:
        raise UsageError(f"{models[0].parent} has no model of {bundle.spec.name}, the network of {bundle.folder}")
