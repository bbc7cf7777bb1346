"""A bundle: the folder with everything made for one model, and its manifest; the standard library only."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from wrn_deploy.errors import DamagedFile, DeployError, MissingArtifact, StaleArtifact
from wrn_deploy.formatting import count
from wrn_deploy.spec import ModelSpec, Precision
from wrn_deploy.staging import commit, is_scratch, locked, settle, staging

__all__ = ["Artifact", "Bundle", "Kind", "Recipe", "Transaction", "sha256_of"]

FORMAT = 1
MANIFEST = "manifest.json"


class Kind(StrEnum):
    """What an artifact is."""

    WEIGHTS = "weights"
    ONNX = "onnx"
    CALIBRATION = "calibration"
    PLAN = "plan"
    REPORT = "report"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an artifact is made from and how: equal recipes make equal artifacts.

    Args:
        parents: key of each input artifact -> its sha256.
        options: the step's, in JSON types.
        tools: package -> version.
    """

    parents: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One file of a bundle; `path` is relative to the bundle, `facts` are what was found while making it."""

    key: str
    kind: Kind
    precision: Precision
    path: str
    sha256: str
    size_bytes: int
    recipe: Recipe = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Artifact:
        """Reads what `dataclasses.asdict` wrote; raises ValueError, TypeError or KeyError for anything else."""
        types = {"key": str, "path": str, "sha256": str, "size_bytes": int, "recipe": dict, "facts": dict}
        wrong = [name for name, type_ in types.items() if not isinstance(record[name], type_)]
        parents, options, tools = (dict(record["recipe"][name]) for name in ("parents", "options", "tools"))
        if wrong or not all(isinstance(value, str) for value in (*parents.values(), *tools.values())):
            raise TypeError(f"{wrong or 'recipe'} of an artifact: unexpected type")
        path = PurePosixPath(record["path"])
        os.fsencode(record["path"])  # raises for half a surrogate pair, which no file name can hold
        if path.is_absolute() or ".." in path.parts or "\0" in record["path"]:
            raise ValueError(f"{record['path']!r} lies outside of the bundle")
        typed = {
            "kind": Kind(record["kind"]),
            "precision": Precision(record["precision"]),
            "recipe": Recipe(parents=parents, options=options, tools=tools),
        }
        return cls(**{**record, **typed})


class Bundle:
    """A folder with a manifest; every change goes through `transaction` and is all or nothing."""

    def __init__(self, folder: Path, spec: ModelSpec, random_weights: bool, artifacts: dict[str, Artifact]) -> None:
        self.folder = folder
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
            raise DeployError(f"{folder} holds other files and no {MANIFEST} of ours: choose an empty or a new folder")
        bundle = cls(folder, spec, random_weights, {})
        bundle._describes = True
        return bundle

    @classmethod
    def open(cls, folder: Path | str) -> Bundle:
        """Reads the manifest.

        Raises:
            DeployError: no bundle there, or a manifest of another format.
            DamagedFile: the manifest is damaged.
        """
        folder = Path(folder)
        settle(folder)
        manifest = folder / MANIFEST
        if not manifest.is_file():
            remedy = f"make one with `wrn-deploy export MODEL --out {folder}`"
            raise DeployError(f"{folder} is not a bundle: it has no {MANIFEST}; {remedy}")
        try:
            record = json.loads(manifest.read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                raise DeployError(
                    f"{manifest} has format {record['format']!r}: expected {FORMAT}; use the version of wrn-deploy "
                    "that wrote it, or export the model again"
                )
            artifacts = [Artifact.from_json(value) for value in record["artifacts"].values()]
            by_key = {artifact.key: artifact for artifact in artifacts}
            return cls(folder, ModelSpec.from_json(record["model"]), bool(record["random_weights"]), by_key)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise DamagedFile(f"{manifest} is damaged ({error}): export the model again") from error

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
        artifact, remedy = self.artifacts.get(key), remedy or self.command_for(key)
        if artifact is None:
            raise MissingArtifact(f"{self.folder} has no {key}: run `{remedy}`")
        self._check_origin(artifact, remedy)
        self._check_file(artifact, remedy)
        return artifact

    def command_for(self, key: str) -> str:
        """The command that makes the artifact `key`."""
        if key.startswith("plan-"):
            _, precision, flavor = key.split("-", 2)
            return f"wrn-deploy build-engine {self.folder} --{precision} --flavor {flavor}"
        option = next((f" --{name}" for name in ("fp8", "bf16") if key.startswith(f"onnx-{name}")), "")
        if key == "calibration" or key.startswith(("onnx-int8", "onnx-fp8")):
            return f"wrn-deploy calibrate {self.folder} --calib-data DATA{option}"
        return f"wrn-deploy export {self.spec.name} --weights FILE --out {self.folder}{option}"

    def file(self, artifact: Artifact) -> Path:
        """The path of the artifact's file."""
        return self.folder / artifact.path

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
                there = Bundle.open(self.folder)  # another process may have added artifacts meanwhile
            except DeployError:  # no manifest yet, or a damaged one that this step replaces
                there = self
            describing = self if self._describes else there
            artifacts = {**there.artifacts, **{artifact.key: artifact for artifact in transaction.artifacts}}
            record = {
                "format": FORMAT,
                "model": describing.spec.to_json(),
                "random_weights": describing.random_weights,
                "artifacts": {key: dataclasses.asdict(artifacts[key]) for key in sorted(artifacts)},
            }
            (transaction.folder / MANIFEST).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            commit(transaction.folder, self.folder)
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
        file = self.file(artifact)
        try:
            whole = file.stat().st_size == artifact.size_bytes and sha256_of(file) == artifact.sha256
        except OSError as error:
            kind = MissingArtifact if isinstance(error, FileNotFoundError) else DamagedFile
            raise kind(f"{file} is missing or cannot be read ({error.strerror}): run `{remedy}`") from error
        if not whole:
            raise DamagedFile(
                f"{file} is not the file that the manifest describes (sha256 {artifact.sha256[:12]}, "
                f"{artifact.size_bytes} bytes): it was changed or damaged; run `{remedy}`"
            )


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
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _plain(recipe: Recipe) -> Any:
    """The recipe as it looks after a round trip through JSON (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(recipe), sort_keys=True))


def _holds_bundle(folder: Path) -> bool:
    """Whether the folder has a manifest of ours, even a damaged one or one of another format."""
    try:
        record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return isinstance(record, dict) and "artifacts" in record
