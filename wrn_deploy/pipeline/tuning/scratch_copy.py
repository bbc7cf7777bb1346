"""A rehearsal of steps on a bundle: they run on a copy of it, and what they made is taken over, or dropped."""

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

__all__ = ["WithoutNotes", "made_in", "rehearsal", "take_over"]

MANIFEST = "manifest.json"


class WithoutNotes:
    """Tells of the work and of warnings: notes are about a folder that nobody will see."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def task(self, title: str, total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
        """As the progress that it stands before."""
        return self._progress.task(title, total)

    def note(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """As the progress that it stands before."""
        self._progress.warn(text)


@contextlib.contextmanager
def rehearsal(bundle: Bundle) -> Iterator[Bundle]:
    """A bundle in a temporary folder, with links to this one's files: a step replaces links, not what they lead to."""
    with tempfile.TemporaryDirectory(prefix="wrn-deploy-") as name:
        folder = Path(name)
        shutil.copyfile(bundle.folder / MANIFEST, folder / MANIFEST)
        for artifact in bundle.artifacts.values():
            link = folder / artifact.path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(bundle.file(artifact).resolve())
        yield Bundle.open(folder)


def made_in(copy: Bundle, bundle: Bundle) -> list[Artifact]:
    """The artifacts of the copy that the bundle does not have as they are there."""
    there = {key: _plain(artifact) for key, artifact in bundle.artifacts.items()}
    return [artifact for key, artifact in copy.artifacts.items() if there.get(key) != _plain(artifact)]


def take_over(copy: Bundle, artifacts: Collection[Artifact], step: Transaction) -> None:
    """Enters these artifacts of the copy into a transaction of the bundle."""
    for artifact in artifacts:
        file = step.file(artifact.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(copy.file(artifact), file)
        step.add(artifact.key, (artifact.kind, artifact.precision), artifact.path, artifact.recipe, artifact.facts)


def _plain(artifact: Artifact) -> str:
    """As it looks after a round trip through JSON (tuples become lists)."""
    return json.dumps(dataclasses.asdict(artifact), sort_keys=True)
