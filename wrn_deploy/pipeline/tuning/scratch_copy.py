"""A scratch copy of a bundle: steps run on it, and their artifacts are copied back, or dropped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Collection, Iterator

from wrn_deploy.bundle import Artifact, Bundle, Transaction
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Progress

__all__ = ["WithoutNotes", "copy_new", "scratch_copy"]

MANIFEST = "manifest.json"


class WithoutNotes:
    """A progress that drops notes, since they name the folder of a scratch copy."""

    def __init__(self, progress: Progress) -> None:
        self.task, self.warn = progress.task, progress.warn

    def note(self, text: str) -> None:
        """Drops it."""


@contextlib.contextmanager
def scratch_copy(bundle: Bundle) -> Iterator[Bundle]:
    """A copy in a temporary folder, with links to the bundle's files: a step replaces a link, never its target."""
    with scratch_folder() as folder:
        shutil.copyfile(bundle.folder / MANIFEST, folder / MANIFEST)
        for artifact in bundle.artifacts.values():
            link = folder / artifact.path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(bundle.file(artifact).resolve())
        yield Bundle.open(folder)


def copy_new(copy: Bundle, bundle: Bundle, step: Transaction, *, but: Collection[str]) -> None:
    """Adds the copy's artifacts that differ from the bundle's to a transaction, except for the keys in `but`."""
    old = {key: _plain(artifact) for key, artifact in bundle.artifacts.items()}
    for key, artifact in copy.artifacts.items():
        if key not in but and old.get(key) != _plain(artifact):
            file = step.file(artifact.path)
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(copy.file(artifact), file)
            step.add(
                key,
                kind=artifact.kind,
                precision=artifact.precision,
                path=artifact.path,
                recipe=artifact.recipe,
                facts=artifact.facts,
            )


def _plain(artifact: Artifact) -> str:
    """The artifact as JSON, in which tuples and lists are the same."""
    return json.dumps(dataclasses.asdict(artifact), sort_keys=True)
