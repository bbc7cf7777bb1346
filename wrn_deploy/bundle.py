"""A bundle: the folder with everything made for one model, and its manifest; the standard library only."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from wrn_deploy.errors import DeployError
from wrn_deploy.spec import ModelSpec, Precision

__all__ = ["Artifact", "Bundle", "Kind", "Recipe", "Transaction", "sha256_of"]

FORMAT = 1
MANIFEST = "manifest.json"
STAGING = ".staging-"
LOCK = ".lock"


class Kind(StrEnum):
    """What an artifact is."""

    WEIGHTS = "weights"
    ONNX = "onnx"
    CALIBRATION = "calibration"
    PLAN = "plan"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an artifact is made from and how: equal recipes make equal artifacts.

    Args:
        parents: key of each input artifact -> its sha256.
        options: whatever the step was told, in JSON types.
        tools: package -> version.
    """

    parents: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of a bundle; `path` is relative to the bundle, `facts` is what was found out while making it."""

    key: str
    kind: Kind
    precision: Precision
    path: str
    sha256: str
    size_bytes: int
    recipe: Recipe
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Artifact:
        """Reads what `dataclasses.asdict` wrote."""
        typed = {
            "kind": Kind(record["kind"]),
            "precision": Precision(record["precision"]),
            "recipe": Recipe(**record["recipe"]),
        }
        return cls(**{**record, **typed})


class Bundle:
    """A folder with a manifest; every change goes through `transaction` and is all or nothing."""

    def __init__(self, folder: Path, spec: ModelSpec, random_weights: bool, artifacts: dict[str, Artifact]) -> None:
        self.folder = folder
        self.spec = spec
        self.random_weights = random_weights
        self.artifacts = artifacts

    @classmethod
    def create(cls, folder: Path | str, spec: ModelSpec, random_weights: bool) -> Bundle:
        """A bundle for `spec` at `folder`: new, or the one that is there, to be made anew. Nothing is written yet.

        Raises:
            DeployError: the folder holds something else.
        """
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise DeployError(f"{folder} is a file: expected a folder for the bundle; choose another --out")
        if folder.is_dir() and not (folder / MANIFEST).exists() and any(_foreign(folder)):
            raise DeployError(f"{folder} holds other files and no {MANIFEST}: choose an empty or a new folder")
        return cls(folder, spec, random_weights, {})

    @classmethod
    def open(cls, folder: Path | str) -> Bundle:
        """Reads the manifest.

        Raises:
            DeployError: no bundle there, or a manifest that is damaged or of a newer format.
        """
        folder = Path(folder)
        manifest = folder / MANIFEST
        if not manifest.is_file():
            raise DeployError(
                f"{folder} is no bundle: it has no {MANIFEST}. Make one with `wrn-deploy export MODEL --out {folder}`"
            )
        try:
            record = json.loads(manifest.read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                raise DeployError(
                    f"{manifest} has format {record['format']}: expected {FORMAT}; export the model again"
                )
            artifacts = {key: Artifact.from_json(value) for key, value in record["artifacts"].items()}
            return cls(folder, ModelSpec.from_json(record["model"]), bool(record["random_weights"]), artifacts)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeployError(f"{manifest} is damaged ({error}): export the model again") from error

    def find(self, key: str, remedy: str) -> Artifact:
        """The artifact `key`, checked: it must be there, not be stale, and be the file that the manifest describes.

        Raises:
            DeployError: it is not; `remedy` is the command that makes it.
        """
        artifact = self.artifacts.get(key)
        if artifact is None:
            raise DeployError(f"{self.folder} has no {key}: run `{remedy}`")
        for parent, digest in artifact.recipe.parents.items():
            current = self.artifacts.get(parent)
            if current is not None and current.sha256 != digest:
                raise DeployError(
                    f"{key} was made from {parent} {digest[:12]}, which is now {current.sha256[:12]}: run `{remedy}`"
                )
        self._check_file(artifact, remedy)
        return artifact

    def file(self, artifact: Artifact) -> Path:
        """Where the artifact's file is."""
        return self.folder / artifact.path

    def current(self, key: str, recipe: Recipe) -> Artifact | None:
        """The artifact `key` if it was made by this very recipe and its file is whole, else None: the step must run."""
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

        On an error or an interrupt the bundle stays as it was; a folder that the transaction made is removed.
        """
        made = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        _sweep(self.folder)
        staging = Path(tempfile.mkdtemp(prefix=f"{STAGING}{os.getpid()}-", dir=self.folder))
        done = False
        try:
            transaction = Transaction(staging)
            yield transaction
            self._commit(transaction)
            done = True
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            if made and not done:
                shutil.rmtree(self.folder, ignore_errors=True)

    def _commit(self, transaction: Transaction) -> None:
        with _locked(self.folder):
            with contextlib.suppress(DeployError):  # no manifest yet, or a damaged one that this step replaces
                self.artifacts = Bundle.open(self.folder).artifacts  # another process may have added some meanwhile
            for artifact in transaction.artifacts:
                target = self.file(artifact)
                target.parent.mkdir(parents=True, exist_ok=True)
                (transaction.folder / artifact.path).replace(target)
                self.artifacts[artifact.key] = artifact
            manifest = transaction.folder / MANIFEST
            record = {
                "format": FORMAT,
                "model": self.spec.to_json(),
                "random_weights": self.random_weights,
                "artifacts": {key: dataclasses.asdict(self.artifacts[key]) for key in sorted(self.artifacts)},
            }
            manifest.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            manifest.replace(self.folder / MANIFEST)

    def _check_file(self, artifact: Artifact, remedy: str) -> None:
        file = self.file(artifact)
        if not file.is_file():
            raise DeployError(f"{file} is missing: run `{remedy}`")
        if file.stat().st_size != artifact.size_bytes or sha256_of(file) != artifact.sha256:
            raise DeployError(
                f"{file} is not the file that the manifest describes (sha256 {artifact.sha256[:12]}, "
                f"{artifact.size_bytes} bytes): it was changed or damaged; run `{remedy}`"
            )


class Transaction:
    """The staged files of one step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.artifacts: list[Artifact] = []

    def file(self, path: str) -> Path:
        """Where to write the file that will be `path` of the bundle."""
        return self.folder / path

    def add(
        self, key: str, what: tuple[Kind, Precision], path: str, recipe: Recipe, facts: Mapping[str, Any]
    ) -> Artifact:
        """Enters the staged file `path` as the artifact `key`."""
        file, (kind, precision) = self.file(path), what
        artifact = Artifact(key, kind, precision, path, sha256_of(file), file.stat().st_size, recipe, facts)
        self.artifacts.append(artifact)
        return artifact


def sha256_of(file: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _plain(recipe: Recipe) -> Any:
    """The recipe as it looks after a round trip through JSON (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(recipe), sort_keys=True))


def _foreign(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.name != LOCK and not path.name.startswith(STAGING))


def _sweep(folder: Path) -> None:
    """Removes the staged files of steps that were killed."""
    for left in folder.glob(f"{STAGING}*"):
        owner = left.name.removeprefix(STAGING).partition("-")[0]
        try:
            os.kill(int(owner), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:
            continue


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
