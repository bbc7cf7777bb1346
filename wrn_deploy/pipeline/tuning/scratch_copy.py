"""A scratch copy of a bundle: steps run on it, and their artifacts are copied back, or dropped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from wrn_deploy.bundle import Artifact, Bundle, Transaction
from wrn_deploy.progress import Progress

__all__ = ["WithoutNotes", "copy_artifacts", "made_in", "scratch_copy"]

MANIFEST = "manifest.json"


class WithoutNotes:
    """A progress that drops notes, since they name the folder of a scratch copy."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def task(self, title: str, total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
        """Passed on."""
        return self._progress.task(title, total)

    def note(self, text: str) -> None:
        """Dropped."""

    def warn(self, text: str) -> None:
        """Passed on."""
        self._progress.warn(text)


@contextlib.contextmanager
def scratch_copy(bundle: Bundle) -> Iterator[Bundle]:
    """A copy in a temporary folder, with links to the bundle's files: a step replaces a link, never its target."""
    with tempfile.TemporaryDirectory(prefix="wrn-deploy-") as name:
        folder = Path(name)
        shutil.copyfile(bundle.folder / MANIFEST, folder / MANIFEST)
        for artifact in bundle.artifacts.values():
            link = folder / artifact.path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(bundle.file(artifact).resolve())
        yield Bundle.open(folder)


def made_in(copy: Bundle, bundle: Bundle) -> list[Artifact]:
    """The artifacts of the copy that are new or differ from the bundle's."""
    there = {key: _plain(artifact) for key, artifact in bundle.artifacts.items()}
    return [artifact for key, artifact in copy.artifacts.items() if there.get(key) != _plain(artifact)]


def copy_artifacts(copy: Bundle, artifacts: Collection[Artifact], step: Transaction) -> None:
    """Adds these artifacts of the copy to a transaction of the bundle."""
    for artifact in artifacts:
        file = step.file(artifact.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(copy.file(artifact), file)
        step.add(
            artifact.key,
            kind=artifact.kind,
            precision=artifact.precision,
            path=artifact.path,
            recipe=artifact.recipe,
            facts=artifact.facts,
        )


def _plain(artifact: Artifact) -> str:
    """The artifact as JSON, in which tuples and lists are the same."""
    return json.dumps(dataclasses.asdict(artifact), sort_keys=True)
