"""A scratch copy of a bundle: steps run on it, and their artifacts are copied back, or dropped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Collection, Iterator

from wrn_deploy.bundle import Bundle, Transaction
from wrn_deploy.files.staging import staging
from wrn_deploy.files.trust import Trust
from wrn_deploy.manifest import MANIFEST, Artifact
from wrn_deploy.progress import Progress

__all__ = ["WithoutNotes", "copy_new", "scratch_copy"]


class WithoutNotes:
    """A progress that drops notes, since they name the folder of a scratch copy."""

    def __init__(self, progress: Progress) -> None:
        self.task, self.warn = progress.task, progress.warn

    def note(self, text: str) -> None:
        """Drops it."""


@contextlib.contextmanager
def scratch_copy(bundle: Bundle) -> Iterator[Bundle]:
    """A copy in the bundle's own folder, of hard links where possible: a step replaces files, it never changes one."""
    with staging(bundle.folder) as staged:
        folder = staged / "copy"
        for path in (MANIFEST, *(artifact.path for artifact in bundle.artifacts.values())):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            try:
                (folder / path).hardlink_to(bundle.folder / path)
            except OSError:
                shutil.copyfile(bundle.folder / path, folder / path)
        yield Bundle.open(folder, trust=Trust())


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
