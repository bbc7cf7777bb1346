"""A bundle: the folder with everything made for one model; reading changes nothing; the standard library only."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from wrn_deploy.errors import DamagedFile, DeployError, MissingArtifact, StaleArtifact
from wrn_deploy.files.budget import budget
from wrn_deploy.files.onnx.check import check_bundle_graph
from wrn_deploy.files.regular import open_regular
from wrn_deploy.files.signature import SIGNATURE, check_signature
from wrn_deploy.files.staging import commit, is_scratch, locked, pending_commit, staging
from wrn_deploy.files.text import read_at_most, read_bytes
from wrn_deploy.files.trust import Trust
from wrn_deploy.files.trust import trust as process_trust
from wrn_deploy.formatting import count
from wrn_deploy.manifest import MANIFEST, Artifact, Kind, Manifest, Recipe
from wrn_deploy.spec import IMPORTED, ModelSpec, Precision

__all__ = ["Bundle", "Transaction", "sha256_of"]

T = TypeVar("T")
READINGS = 10  # of a bundle that changes meanwhile, before the last error counts


class Bundle:
    """A folder with a manifest; every change goes through `transaction` and is all or nothing."""

    def __init__(
        self, folder: Path, spec: ModelSpec, random_weights: bool, artifacts: dict[str, Artifact], trust: Trust
    ) -> None:
        self.folder = folder
        self.trust = trust
        self.spec = spec
        self.random_weights = random_weights
        self.artifacts = artifacts
        self._describes = False  # whether the next transaction writes our description, or keeps the manifest's

    @classmethod
    def create(cls, folder: Path | str, spec: ModelSpec, random_weights: bool) -> Bundle:
        """A new bundle for `spec` at `folder`, or a new start for the one there. Writes nothing yet.

        Raises:
            DeployError: the folder holds something else.
        """
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise DeployError(f"{folder} is a file: expected a folder for the bundle; choose another --out")
        if folder.is_dir() and not _holds_bundle(folder) and any(not is_scratch(path) for path in folder.iterdir()):
            raise DeployError(f"{folder} contains other files but no {MANIFEST}: choose an empty or new folder")
        bundle = cls(folder, spec, random_weights, {}, Trust())
        bundle._describes = True
        return bundle

    @classmethod
    def open(cls, folder: Path | str, *, trust: Trust | None = None) -> Bundle:
        """Reads the manifest; changes nothing in the folder, and follows no link in it.

        Args:
            folder: the bundle.
            trust: what the caller allows and demands; default: that of the process (`files/trust.py`).

        Raises:
            DeployError: no bundle there, or a manifest of another format.
            DamagedFile: the manifest was changed or is damaged.
            GateError: a signature is demanded, and there is none that holds.
        """
        folder, trust = Path(folder), trust or process_trust()
        manifest = _read_manifest(folder, trust)
        return cls(folder, manifest.model, manifest.random_weights, dict(manifest.artifacts), trust)

    def __repr__(self) -> str:
        random = ", random weights" if self.random_weights else ""
        artifacts = count(len(self.artifacts), "artifact")
        return f"<{type(self).__name__} of {self.spec.name!r} in {str(self.folder)!r}: {artifacts}{random}>"

    def find(self, key: str, remedy: str | None = None) -> Artifact:
        """The artifact `key`, checked: it is there, not stale, and the file that the manifest describes.

        `remedy` is the command that makes it; default: `command_for(key)`.

        Raises:
            MissingArtifact: the bundle does not have it.
            StaleArtifact: one of its inputs, or of theirs, has changed since.
            DamagedFile: its file is not the one that the manifest describes.
        """
        return self._steadily(lambda: self._find(key, remedy or self.command_for(key)))

    def _find(self, key: str, remedy: str) -> Artifact:
        artifact = self.artifacts.get(key)
        if artifact is None:
            raise MissingArtifact(f"{self.folder} has no {key}: run `{remedy}`")
        self._check_origin(artifact, remedy)
        self._check_file(artifact, remedy)
        return artifact

    def _steadily(self, read: Callable[[], T]) -> T:
        """Reads again if another process has changed the bundle meanwhile."""
        for _ in range(READINGS):
            try:
                return read()
            except (MissingArtifact, StaleArtifact, DamagedFile):
                if self._describes or not self._refresh():
                    raise
        return read()

    def _refresh(self) -> bool:
        """Takes over the manifest that is there now; whether it is another one."""
        now = _read_manifest(self.folder, self.trust)
        before = Manifest(model=self.spec, random_weights=self.random_weights, artifacts=self.artifacts)
        self.spec, self.random_weights, self.artifacts = now.model, now.random_weights, dict(now.artifacts)
        return before.to_bytes() != now.to_bytes()

    def command_for(self, key: str) -> str:
        """The command that makes the artifact `key`."""
        if key.startswith("plan-"):
            _, precision, flavor = key.split("-", 2)
            return f"wrn-deploy build-engine {self.folder} --{precision} --flavor {flavor}"
        option = next((f" --{name}" for name in ("fp8", "bf16") if key.startswith(f"onnx-{name}")), "")
        if key == "calibration" or key.startswith(("onnx-int8", "onnx-fp8")):
            return f"wrn-deploy calibrate {self.folder} --calib-data DATA{option}"
        if self.spec.family == IMPORTED:
            return f"wrn-deploy import FILE.onnx --mean R,G,B --std R,G,B --out {self.folder}"
        return f"wrn-deploy export {self.spec.name} --weights FILE --out {self.folder}{option}"

    def file(self, artifact: Artifact) -> Path:
        """The path of the artifact's file."""
        pending = pending_commit(self.folder)
        staged = None if pending is None else pending / artifact.path
        return staged if staged is not None and staged.exists() else self.folder / artifact.path

    def current(self, key: str, recipe: Recipe) -> Artifact | None:
        """The artifact `key` if this recipe made it and its file is whole; None: the step must run."""
        artifact = self.artifacts.get(key)
        if artifact is None or _plain(artifact.recipe) != _plain(recipe):
            return None
        try:
            self._check_file(artifact, "")
        except DeployError:
            return None
        return artifact

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Stages new files; they and the manifest's new entries appear together when the block ends without an error.

        If it fails, is interrupted or killed, the bundle stays as it was; a folder that it made is removed, and the
        next transaction removes staged files that a killed process left.
        """
        with staging(self.folder) as folder:
            transaction = Transaction(folder)
            yield transaction
            self._commit(transaction)

    def _commit(self, transaction: Transaction) -> None:
        with locked(self.folder):
            try:
                there = Bundle.open(self.folder, trust=Trust())  # another process may have added artifacts meanwhile
            except DeployError:  # no manifest yet, or a damaged one that this step replaces
                there = self
            describing = self if self._describes else there
            artifacts = {**there.artifacts, **{artifact.key: artifact for artifact in transaction.artifacts}}
            manifest = Manifest(model=describing.spec, random_weights=describing.random_weights, artifacts=artifacts)
            (transaction.folder / MANIFEST).write_bytes(manifest.to_bytes())
            commit(transaction.folder, self.folder, last=MANIFEST)
        self.spec, self.random_weights, self.artifacts = describing.spec, describing.random_weights, artifacts
        self._describes = False

    def _check_origin(self, artifact: Artifact, remedy: str) -> None:
        """Follows the parents, and theirs: each must be the file in the bundle now."""
        waiting, checked = [artifact], set[str]()
        while waiting:
            made = waiting.pop()
            checked.add(made.key)
            for key, digest in made.recipe.parents.items():
                parent = self.artifacts.get(key)
                if parent is not None and parent.sha256 != digest:
                    raise StaleArtifact(
                        f"{made.key} was made from {key} {digest[:12]}, which is now {parent.sha256[:12]}: "
                        f"run `{remedy}`"
                    )
                if parent is not None and key not in checked:
                    waiting.append(parent)

    def _check_file(self, artifact: Artifact, remedy: str) -> None:
        file = self.folder / artifact.path
        try:
            with self._opened(artifact.path) as stream:
                size = os.fstat(stream.fileno()).st_size
                whole = size == artifact.size_bytes and _sha256(stream) == artifact.sha256
        except OSError as error:
            kind = MissingArtifact if isinstance(error, FileNotFoundError) else DamagedFile
            raise kind(f"{file} is missing or cannot be read ({error.strerror}): run `{remedy}`") from error
        except DamagedFile as error:
            raise DamagedFile(f"{error}; run `{remedy}`") from error
        if not whole:
            raise DamagedFile(
                f"{file} is not the file that the manifest describes (sha256 {artifact.sha256[:12]}, "
                f"{artifact.size_bytes} bytes): it was changed or damaged; run `{remedy}`"
            )
        if artifact.kind is Kind.ONNX:
            check_bundle_graph(self.file(artifact))

    def _opened(self, path: str) -> BufferedReader:
        """Opens a file of the bundle: that of an unfinished commit of ours, or the one in its place."""
        return _open(self.folder, path)


class Transaction:
    """The staged files of one step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.artifacts: list[Artifact] = []

    def file(self, path: str) -> Path:
        """The path to write the bundle's file `path` to."""
        return self.folder / path

    def add(
        self,
        key: str,
        *,
        kind: Kind,
        precision: Precision,
        path: str,
        recipe: Recipe,
        facts: Mapping[str, Any] | None = None,
    ) -> Artifact:
        """Enters the staged file `path` as the artifact `key`."""
        file = self.file(path)
        artifact = Artifact(
            key=key,
            kind=kind,
            precision=precision,
            path=path,
            sha256=sha256_of(file),
            size_bytes=file.stat().st_size,
            recipe=recipe,
            facts=facts or {},
        )
        self.artifacts.append(artifact)
        return artifact


def sha256_of(file: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with open_regular(file) as stream:
        return _sha256(stream)


def _sha256(stream: BufferedReader) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()


def _open(folder: Path, path: str) -> BufferedReader:
    pending = pending_commit(folder)
    if pending is not None:
        with contextlib.suppress(FileNotFoundError):  # another process has moved it to its place
            return open_regular(path, inside=pending)
    return open_regular(path, inside=folder)


def _read_manifest(folder: Path, trust: Trust) -> Manifest:
    manifest = folder / MANIFEST
    try:
        with _open(folder, MANIFEST) as stream:
            content = read_bytes(stream, manifest)
        if trust.signed_by is not None:
            check_signature(content, _read_signature(folder), signed_by=trust.signed_by, name=folder)
        return Manifest.from_bytes(content, manifest)
    except (FileNotFoundError, NotADirectoryError) as error:
        if folder.is_file():
            inside = (folder.parent / MANIFEST).is_file()
            where = f"its folder, {folder.parent}" if inside else "a bundle's folder; `wrn-deploy import` takes ONNX"
            raise DeployError(f"{folder} is a file, not a bundle: expected {where}") from error
        remedy = f"make one with `wrn-deploy export MODEL --out {folder}`"
        raise DeployError(f"{folder} is not a bundle: it has no {MANIFEST}; {remedy}") from error


def _read_signature(folder: Path) -> bytes | None:
    try:
        with open_regular(SIGNATURE, inside=folder) as stream:
            return read_bytes(stream, folder / SIGNATURE)
    except FileNotFoundError:
        return None


def _plain(recipe: Recipe) -> Any:
    """The recipe as it looks after a round trip through JSON (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(recipe), sort_keys=True))


def _holds_bundle(folder: Path) -> bool:
    """Whether the folder has a manifest of ours, even a damaged one or one of another format."""
    try:
        with open_regular(MANIFEST, inside=folder) as stream:
            record = json.loads(read_at_most(stream, budget().text_bytes))
    except (OSError, DamagedFile):
        return False
    except (ValueError, RecursionError):
        return True
    return isinstance(record, dict) and "artifacts" in record
