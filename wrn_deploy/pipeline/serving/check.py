"""Checks a model repository without a server, and whether its models are those of their bundles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, GateError, UsageError
from wrn_deploy.files.text import read_text
from wrn_deploy.files.trust import trust
from wrn_deploy.formatting import count
from wrn_deploy.pipeline.serving.model_checks import CONFIG, check_model, newest_version
from wrn_deploy.serving.config import parameter_of
from wrn_deploy.serving.text_format import parse_config
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
    found = folder.iterdir() if folder.is_dir() else ()
    models = sorted(path for path in found if path.is_dir() and not path.name.startswith("."))
    if not models:
        raise DeployError(f"{folder} has no models: expected a repository that `wrn-deploy repository` wrote")
    _check_none(
        folder, [f"{model.name}: {problem}" for model in models for problem in check_model(model, trust(), triton)]
    )
    checked = [_checked(model) for model in models]
    _check_none(folder, [problem for bundle in bundles for problem in _stale(folder, checked, bundle)])
    return checked


def _check_none(folder: Path, problems: Sequence[str]) -> None:
    if problems:
        raise GateError(f"{folder} fails {count(len(problems), 'check')}:\n  " + "\n  ".join(problems))


def _checked(model: Path) -> CheckedModel:
    config = parse_config(read_text(model / CONFIG), CONFIG)
    return CheckedModel(name=model.name, version=newest_version(model), ours=parameter_of(config, "sha256") is not None)


def _stale(folder: Path, checked: Sequence[CheckedModel], bundle: Bundle) -> Iterator[str]:
    """Models that were made from the bundle and have another artifact than it has now."""
    found = False
    for model in checked:
        config = parse_config(read_text(folder / model.name / CONFIG), CONFIG) if model.ours else {}
        if parameter_of(config, "model") != bundle.spec.name:
            continue
        found = True
        key = parameter_of(config, "artifact") or ""
        try:
            now = bundle.find(key).sha256
        except DeployError as error:
            yield f"{model.name}: {error}"
            continue
        if now != parameter_of(config, "sha256"):
            yield (
                f"{model.name} is stale: it has {key} {(parameter_of(config, 'sha256') or '')[:12]}, and "
                f"{bundle.folder} has {now[:12]}; run `wrn-deploy repository {bundle.folder} --out {folder}`"
            )
    if not found:
        raise UsageError(f"{folder} has no model of {bundle.spec.name}, the network of {bundle.folder}")
