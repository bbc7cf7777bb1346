"""The manifest of a bundle: what each file is, its size and sha256, and the digest of it all; standard library only.

A manifest is one exact text: the digest in it covers the whole description, and a text that is not what `to_bytes`
writes is refused, so that any changed character is noticed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.record import from_record
from wrn_deploy.files.text import parse_json
from wrn_deploy.spec import ModelSpec, Precision

__all__ = ["MANIFEST", "Artifact", "Kind", "Manifest", "Recipe", "seal"]

FORMAT = 2
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

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path).parts
        plain = parts and "/".join(parts) == self.path and not any(part.startswith(".") for part in parts)
        if not plain or self.path == MANIFEST or not self.path.isprintable() or "\\" in self.path:
            raise DeployError(f"path {self.path!r}: expected one within the bundle, such as onnx/fp32.onnx")
        if not re.fullmatch(r"[\w.-]{1,100}", self.key, re.ASCII):
            raise DeployError(f"key {self.key!r:.120}: expected letters, digits, dots and dashes, such as onnx-fp32")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256) or self.size_bytes < 0:
            raise DeployError(f"sha256 {self.sha256!r:.80} of {self.size_bytes} bytes: expected 64 hexadecimal digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The description of a bundle.

    Args:
        model: the network.
        random_weights: whether it is untrained: for measuring speed alone.
        artifacts: by key.
    """

    model: ModelSpec
    random_weights: bool
    artifacts: Mapping[str, Artifact]

    def to_bytes(self) -> bytes:
        """The one text of this manifest: sorted JSON in ASCII, with its digest."""
        return seal(json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False)))

    @classmethod
    def from_bytes(cls, content: bytes, name: object) -> Manifest:
        """Reads what `to_bytes` wrote; `name` is the file, for errors.

        Raises:
            DeployError: another format.
            DamagedFile: any other text.
        """
        record = parse_json(content.decode("ascii", errors="replace"), name)
        if not isinstance(record, dict) or "format" not in record:
            raise DamagedFile(f"{name} is damaged (no format): export the model again")
        found = record.pop("format")
        if found != FORMAT or isinstance(found, bool):
            raise DeployError(
                f"{name} has format {found!r:.40}: expected {FORMAT}; use the version of wrn-deploy that wrote it, or "
                "export the model again"
            )
        record.pop("sha256", None)
        if seal(record) != content:
            raise DamagedFile(
                f"{name} is damaged or was changed (its digest does not match its content): copy the bundle again from "
                "an intact copy, or export the model again"
            )
        manifest = from_record(cls, record, str(name))
        wrong = [key for key, artifact in manifest.artifacts.items() if key != artifact.key]
        if wrong:
            raise DamagedFile(f"{name} has an artifact {wrong[0]} of another key: export the model again")
        return manifest


def seal(record: Mapping[str, Any]) -> bytes:
    """The text of a record without `format` and `sha256`, which are added; says nothing of its content."""
    content = json.dumps(record, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(f"{FORMAT}{content}".encode("ascii")).hexdigest()
    described = {"format": FORMAT, "sha256": digest, **record}
    return f"{json.dumps(described, indent=1, sort_keys=True)}\n".encode("ascii")
