"""Writes bundles into a model repository of Triton: a folder for each model, with numbered versions."""

from __future__ import annotations

import functools
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.files.signature import SIGNATURE
from wrn_deploy.files.staging import locked
from wrn_deploy.manifest import MANIFEST, Artifact, Manifest
from wrn_deploy.pipeline.serving.folders import CONFIG, bundle_in, config_of, is_ours
from wrn_deploy.pipeline.serving.models import ServeModelOptions, describe_model
from wrn_deploy.pipeline.serving.placing import WantedModel, content_of, place_model, text_of
from wrn_deploy.progress import Progress
from wrn_deploy.serving.config import MODEL_FILE, ServedModel, TritonBackend, make_config
from wrn_deploy.serving.ensemble import decoder_config, decoder_name, ensemble_config, ensemble_name
from wrn_deploy.serving.text_writer import write_config

__all__ = ["WrittenModel", "write_repository"]

MODEL_SOURCE = '''"""The model for Triton's python backend; this folder is a bundle with what it runs."""

from wrn_deploy.serving.triton_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''
DECODER_SOURCE = MODEL_SOURCE.replace("what it runs", "the preprocessing").replace("triton_model", "triton_decoder")
NO_FILES = "ensemble.txt", "An ensemble runs other models. This file keeps its folder in stores of objects.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenModel:
    """A model of a repository.

    Attributes:
        name: its name.
        folder: its folder in the repository.
        version: the version that Triton serves.
        backend: which of Triton's backends runs it.
        precision: that of the artifact.
        sha256: of the artifact.
        max_batch: the largest batch.
        changed: whether this step wrote a version or a configuration, of the model or its ensemble.
        ensemble: the name of the ensemble that decodes images for it; None: it has none.
    """

    name: str
    folder: Path
    version: int
    backend: TritonBackend
    precision: str
    sha256: str
    max_batch: int
    changed: bool
    ensemble: str | None


def write_repository(
    bundles: Sequence[Bundle], out: Path, options: ServeModelOptions, progress: Progress
) -> list[WrittenModel]:
    """Writes each bundle as a model into the repository `out`; other models there stay as they are.

    A model that is up to date is left alone. A changed artifact becomes a new version beside the old ones, and Triton
    serves the newest. A version's folder appears with all its files or not at all, before the configuration changes.
    An ensemble that the repository already has is kept up to date, whatever `options` ask for.

    Raises:
        DeployError: a bundle lacks the artifact, or Triton cannot run it; nothing is written then.
        UsageError: two models have the same name.
        GateError: what would be written fails the checks of `check_repository`.

    Example:
        >>> from wrn_deploy.bundle import Bundle
        >>> from wrn_deploy.progress import Silent
        >>> from wrn_deploy.pipeline.serving.models import ServeModelOptions
        >>> from wrn_deploy.pipeline.serving.repository import write_repository
        >>> options = ServeModelOptions(runner="onnxruntime")
        >>> write_repository([Bundle.open("bundle")], Path("models"), options, Silent())[0].version
        1
    """
    described = [(bundle, *describe_model(bundle, options)) for bundle in bundles]
    names = Counter(name for _, model, _ in described for name in _names(model, options))
    repeated = next((name for name, number in names.items() if number > 1), None)
    if repeated is not None:
        raise UsageError(f"{names[repeated]} bundles would be the model {repeated}: write each by itself, with --name")
    if out.exists() and not out.is_dir():
        raise DeployError(f"{out} is a file: expected a folder for the repository; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        return [_write_model(*each, out, options, progress) for each in described]


def _names(model: ServedModel, options: ServeModelOptions) -> list[str]:
    return [model.name, *([decoder_name(model.name), ensemble_name(model.name)] if options.ensemble else [])]


def _write_model(
    bundle: Bundle, model: ServedModel, artifact: Artifact, out: Path, options: ServeModelOptions, progress: Progress
) -> WrittenModel:
    if bundle.random_weights:
        progress.warn(f"{bundle.folder} has random weights: its predictions mean nothing")
    ensemble = options.ensemble or _has_ensemble(out / ensemble_name(model.name))
    wanted = [_network(bundle, model, artifact), *(_steps(bundle, model) if ensemble else ())]
    placed = []
    for each in wanted:  # the ensemble last: its steps have to be there
        version, changed = place_model(each, out, bundle.trust)
        placed.append((version, changed))
        progress.note(f"{out / each.name}: version {version} is {'written' if changed else 'up to date'}")
    return WrittenModel(
        name=model.name,
        folder=out / model.name,
        version=placed[0][0],
        backend=model.backend,
        precision=model.facts["precision"],
        sha256=artifact.sha256,
        max_batch=model.max_batch,
        changed=any(changed for _, changed in placed),
        ensemble=ensemble_name(model.name) if ensemble else None,
    )


def _has_ensemble(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and is_ours(config_of(folder))


def _network(bundle: Bundle, model: ServedModel, artifact: Artifact) -> WantedModel:
    return WantedModel(
        name=model.name,
        config=write_config(make_config(model)),
        labels=_labels(bundle),
        is_current=functools.partial(_has_artifact, bundle, artifact, model),
        fill=functools.partial(_fill, bundle, artifact, model),
    )


def _steps(bundle: Bundle, model: ServedModel) -> Iterator[WantedModel]:
    """The step that decodes, and the ensemble."""
    yield WantedModel(
        name=decoder_name(model.name),
        config=write_config(decoder_config(model)),
        labels="",
        is_current=functools.partial(_has_manifest, bundle, DECODER_SOURCE),
        fill=functools.partial(_fill_manifest, bundle, DECODER_SOURCE),
    )
    yield WantedModel(
        name=ensemble_name(model.name),
        config=write_config(ensemble_config(model)),
        labels=_labels(bundle),
        is_current=Path.is_dir,
        fill=_fill_ensemble,
    )


def _labels(bundle: Bundle) -> str:
    return "".join(f"{label}\n" for label in bundle.spec.labels)


def _has_artifact(bundle: Bundle, artifact: Artifact, model: ServedModel, version: Path) -> bool:
    """Whether a version has the artifact, intact, and what `_has_manifest` asks for."""
    there = bundle_in(version, bundle.trust)
    try:
        same = there is not None and there.find(artifact.key).sha256 == artifact.sha256
    except DeployError:
        return False
    return same and _has_manifest(bundle, _source(model), version)


def _has_manifest(bundle: Bundle, source: str, version: Path) -> bool:
    """Whether a version prepares images as the bundle says now, with its signature and the file `source`."""
    there = bundle_in(version, bundle.trust)
    if there is None or there.spec.preprocessing != bundle.spec.preprocessing:
        return False
    signed = content_of(bundle.folder / SIGNATURE) is None or content_of(version / SIGNATURE) is not None
    return signed and text_of(version / MODEL_FILE) == source


def _source(model: ServedModel) -> str:
    return MODEL_SOURCE if model.backend is TritonBackend.PYTHON else ""


def _fill(bundle: Bundle, artifact: Artifact, model: ServedModel, version: Path) -> None:
    """Makes a version's folder: a bundle with one artifact, and what the python backend loads."""
    target = version / artifact.path
    target.parent.mkdir(parents=True)
    shutil.copyfile(bundle.file(artifact), target)
    _fill_manifest(bundle, _source(model), version)


def _fill_manifest(bundle: Bundle, source: str, version: Path) -> None:
    """Adds the bundle's manifest, with its signature, and the file `source`; empty: none."""
    version.mkdir(parents=True, exist_ok=True)
    described = Manifest(model=bundle.spec, random_weights=bundle.random_weights, artifacts=bundle.artifacts)
    write_whole(version / MANIFEST, described.to_bytes())
    signature = content_of(bundle.folder / SIGNATURE)
    if signature is not None:
        write_whole(version / SIGNATURE, signature)
    if source:
        write_whole(version / MODEL_FILE, source)


def _fill_ensemble(version: Path) -> None:
    version.mkdir(parents=True)
    name, text = NO_FILES
    write_whole(version / name, text)
