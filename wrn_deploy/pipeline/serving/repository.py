"""Writes bundles into a model repository of Triton: a folder for each model, with numbered versions."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, GateError, UsageError
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.files.signature import SIGNATURE
from wrn_deploy.files.staging import locked
from wrn_deploy.files.text import read_text
from wrn_deploy.manifest import MANIFEST, Artifact, Manifest
from wrn_deploy.pipeline.serving.model_checks import CONFIG, check_model, newest_version, versions_of
from wrn_deploy.pipeline.serving.models import MODEL_FILE, ServeModelOptions, describe_model
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Progress
from wrn_deploy.serving.config import LABELS, ServedModel, TritonBackend, make_config, parameter_of
from wrn_deploy.serving.text_format import parse_config
from wrn_deploy.serving.text_writer import write_config

__all__ = ["WrittenModel", "write_repository"]

MODEL_SOURCE = '''"""The model for Triton's python backend; this folder is a bundle with what it runs."""

from wrn_deploy.serving.triton_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


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
        changed: whether this step wrote a version or the configuration.
    """

    name: str
    folder: Path
    version: int
    backend: TritonBackend
    precision: str
    sha256: str
    max_batch: int
    changed: bool


def write_repository(
    bundles: Sequence[Bundle], out: Path, options: ServeModelOptions, progress: Progress
) -> list[WrittenModel]:
    """Writes each bundle as a model into the repository `out`; other models there stay as they are.

    A model that is up to date is left alone. A changed artifact becomes a new version beside the old ones, and Triton
    serves the newest. A version's folder appears with all its files or not at all, before the configuration changes.

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
    names = Counter(model.name for _, model, _ in described)
    repeated = next((name for name, number in names.items() if number > 1), None)
    if repeated is not None:
        raise UsageError(f"{names[repeated]} bundles would be the model {repeated}: write each by itself, with --name")
    if out.exists() and not out.is_dir():
        raise DeployError(f"{out} is a file: expected a folder for the repository; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        return [_write_model(bundle, model, artifact, out, progress) for bundle, model, artifact in described]


def _write_model(bundle: Bundle, model: ServedModel, artifact: Artifact, out: Path, progress: Progress) -> WrittenModel:
    folder, text = out / model.name, write_config(make_config(model))
    labels = "".join(f"{label}\n" for label in bundle.spec.labels)
    _check_ours(folder)
    current = newest_version(folder)
    keeps = current is not None and _is_current(bundle, folder / str(current), artifact, model)
    version = current if keeps and current is not None else max(versions_of(folder), default=0) + 1
    changed = not keeps or _text_of(folder / CONFIG) != text or _text_of(folder / LABELS) != labels
    if bundle.random_weights:
        progress.warn(f"{bundle.folder} has random weights: its predictions mean nothing")
    if changed:
        with scratch_folder(within=out) as scratch:
            made = scratch / model.name
            staged = made / str(version)
            if keeps:
                shutil.copytree(folder / str(version), staged)
            else:
                _fill(staged, bundle, artifact, model)
            (made / CONFIG).write_text(text, encoding="ascii")
            if labels:
                (made / LABELS).write_text(labels, encoding="utf-8")
            problems = check_model(made, bundle.trust)
            if problems:
                raise GateError(f"{bundle.folder} cannot be served: {'; '.join(problems)}")
            _put(made, folder, version, new=not keeps)
    state = "written" if changed else "up to date"
    progress.note(f"{folder}: version {version} is {state}")
    return WrittenModel(
        name=model.name,
        folder=folder,
        version=version,
        backend=model.backend,
        precision=model.facts["precision"],
        sha256=artifact.sha256,
        max_batch=model.max_batch,
        changed=changed,
    )


def _check_ours(folder: Path) -> None:
    """Refuses to change a model that another tool or a person has written."""
    if folder.exists() and (not folder.is_dir() or not (folder / CONFIG).is_file()):
        raise DeployError(f"{folder} is not a model of wrn-deploy: expected a new name; choose another --name")
    if folder.exists() and parameter_of(parse_config(read_text(folder / CONFIG), folder / CONFIG), "sha256") is None:
        raise DeployError(f"{folder} contains a model that wrn-deploy did not write: choose another --name")


def _is_current(bundle: Bundle, version: Path, artifact: Artifact, model: ServedModel) -> bool:
    """Whether a version has the artifact, intact, with the signature that the bundle has now."""
    try:
        there = Bundle.open(version, trust=bundle.trust).find(artifact.key)
    except DeployError:
        return False
    signed = _bytes(bundle.folder / SIGNATURE) is None or _bytes(version / SIGNATURE) is not None
    wanted = MODEL_SOURCE if model.backend is TritonBackend.PYTHON else None
    return signed and there.sha256 == artifact.sha256 and _text_of(version / MODEL_FILE) == (wanted or "")


def _fill(version: Path, bundle: Bundle, artifact: Artifact, model: ServedModel) -> None:
    """Makes a version's folder: a bundle with one artifact, and what the python backend loads."""
    target = version / artifact.path
    target.parent.mkdir(parents=True)
    shutil.copyfile(bundle.file(artifact), target)
    described = Manifest(model=bundle.spec, random_weights=bundle.random_weights, artifacts=bundle.artifacts)
    write_whole(version / MANIFEST, described.to_bytes())
    signature = _bytes(bundle.folder / SIGNATURE)
    if signature is not None:
        write_whole(version / SIGNATURE, signature)
    if model.backend is TritonBackend.PYTHON:
        write_whole(version / MODEL_FILE, MODEL_SOURCE)


def _put(made: Path, folder: Path, version: int, *, new: bool) -> None:
    """Moves a model to its place: all of it at once, or the new version and then the configuration."""
    if not folder.exists():
        made.rename(folder)
        return
    if new:
        (made / str(version)).rename(folder / str(version))
    labels = _bytes(made / LABELS)
    if labels is not None:
        write_whole(folder / LABELS, labels)
    write_whole(folder / CONFIG, (made / CONFIG).read_bytes())


def _text_of(file: Path) -> str:
    content = _bytes(file)
    return "" if content is None else content.decode("utf-8", "replace")


def _bytes(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None
