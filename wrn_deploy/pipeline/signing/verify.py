"""Checks all that a bundle says of itself: each file, what it was made from, and the signature if one is demanded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, GateError
from wrn_deploy.files.signature import SIGNATURE
from wrn_deploy.files.staging import is_scratch
from wrn_deploy.manifest import MANIFEST
from wrn_deploy.progress import Progress

__all__ = ["Verified", "verify_bundle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A bundle whose every file is whole and belongs to the others.

    Attributes:
        bundle: its folder.
        model: its network.
        files: how many were checked, with the manifest.
        size_bytes: of them all.
        signed_by: whose signature was checked; None: none was demanded.
        unlisted: files in the folder that the manifest does not list; they are never read.
    """

    bundle: str
    model: str
    files: int
    size_bytes: int
    signed_by: str | None
    unlisted: tuple[str, ...]


def verify_bundle(bundle: Bundle, progress: Progress) -> Verified:
    """Checks the files of an opened bundle; `Bundle.open` has checked the manifest, and the signature if demanded.

    Raises:
        GateError: files are missing, damaged or stale; the text names each.
    """
    problems = list[str]()
    with progress.task("Checking digests"):
        for key in sorted(bundle.artifacts):
            try:
                bundle.find(key)
            except DeployError as error:
                problems.append(str(error))
    if problems:
        raise GateError(f"{bundle.folder} is not intact:\n  " + "\n  ".join(problems))
    artifacts = bundle.artifacts.values()
    return Verified(
        bundle=str(bundle.folder),
        model=bundle.spec.name,
        files=len(artifacts) + 1,
        size_bytes=sum(artifact.size_bytes for artifact in artifacts) + (bundle.folder / MANIFEST).stat().st_size,
        signed_by=None if bundle.trust.signed_by is None else str(bundle.trust.signed_by),
        unlisted=_unlisted(bundle),
    )


def _unlisted(bundle: Bundle) -> tuple[str, ...]:
    listed = {MANIFEST, SIGNATURE, *(artifact.path for artifact in bundle.artifacts.values())}
    found = (path for path in bundle.folder.rglob("*") if not path.is_dir() or path.is_symlink())
    paths = (path.relative_to(bundle.folder) for path in found)
    return tuple(sorted(str(path) for path in paths if str(path) not in listed and not is_scratch(Path(path.parts[0]))))
