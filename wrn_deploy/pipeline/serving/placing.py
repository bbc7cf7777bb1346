"""Puts a model into a repository of Triton: all of it or nothing, a changed one as a version beside the old ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.errors import DeployError, GateError
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.files.trust import Trust
from wrn_deploy.pipeline.serving.folders import CONFIG, config_of, is_ours, newest_version, versions_of
from wrn_deploy.pipeline.serving.model_checks import check_model
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.serving.config import LABELS

__all__ = ["WantedModel", "content_of", "place_model", "text_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedModel:
    """A model as it should be in the repository.

    Attributes:
        name: its name.
        config: the text of its configuration.
        labels: the text of its labels; empty: it has none.
        is_current: whether a version's folder has what it should have.
        fill: makes a version's folder.
    """

    name: str
    config: str
    labels: str
    is_current: Callable[[Path], bool]
    fill: Callable[[Path], object]


def place_model(wanted: WantedModel, out: Path, trusted: Trust) -> tuple[int, bool]:
    """Writes what is missing of a model; the version that Triton then serves, and whether anything was written.

    Raises:
        DeployError: another tool, or a person, wrote a model of this name.
        GateError: what would be written fails the checks of `check_model`.
    """
    folder = out / wanted.name
    _check_ours(folder)
    current = newest_version(folder)
    keeps = current is not None and wanted.is_current(folder / str(current))
    version = current if keeps and current is not None else max(versions_of(folder), default=0) + 1
    if keeps and text_of(folder / CONFIG) == wanted.config and text_of(folder / LABELS) == wanted.labels:
        return version, False
    with scratch_folder(within=out) as scratch:
        made = scratch / wanted.name
        staged = made / str(version)
        if keeps:
            shutil.copytree(folder / str(version), staged)
        else:
            wanted.fill(staged)
        (made / CONFIG).write_text(wanted.config, encoding="ascii")
        if wanted.labels:
            (made / LABELS).write_text(wanted.labels, encoding="utf-8")
        problems = check_model(made, trusted, others=out)
        if problems:
            raise GateError(f"{wanted.name} cannot be served: {'; '.join(problems)}")
        _put(made, folder, version, new=not keeps)
    return version, True


def text_of(file: Path) -> str:
    """The content of a file as text; empty: there is none."""
    content = content_of(file)
    return "" if content is None else content.decode("utf-8", "replace")


def content_of(file: Path) -> bytes | None:
    """The content of a file; None: there is none."""
    try:
        return file.read_bytes()
    except OSError:
        return None


def _check_ours(folder: Path) -> None:
    """Refuses to change a model that another tool or a person has written."""
    if folder.exists() and (not folder.is_dir() or not (folder / CONFIG).is_file()):
        raise DeployError(f"{folder} is not a model of wrn-deploy: expected a new name; choose another --name")
    if folder.exists() and not is_ours(config_of(folder)):
        raise DeployError(f"{folder} contains a model that wrn-deploy did not write: choose another --name")


def _put(made: Path, folder: Path, version: int, *, new: bool) -> None:
    """Moves a model to its place: all of it at once, or the new version and then the configuration."""
    if not folder.exists():
        made.rename(folder)
        return
    if new:
        (made / str(version)).rename(folder / str(version))
    labels = content_of(made / LABELS)
    if labels is not None:
        write_whole(folder / LABELS, labels)
    write_whole(folder / CONFIG, (made / CONFIG).read_bytes())
