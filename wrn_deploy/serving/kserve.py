"""A KServe InferenceService that serves a model repository by Triton, as YAML; the standard library only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wrn_deploy.errors import UsageError
from wrn_deploy.serving.versions import Triton

__all__ = ["InferenceService", "write_yaml"]

STORAGE = re.compile(r"(pvc|s3|gs|https?|hdfs|webhdfs|oci|hf|file)://\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceService:
    """A service that KServe runs.

    Args:
        name: its name; characters that Kubernetes does not allow become dashes.
        storage: where the cluster finds the repository, as in "pvc://models/repository" or "s3://bucket/models".
        triton: the release; None: the cluster's own.
        gpus: GPUs that it asks for.
    """

    name: str
    storage: str
    triton: Triton | None = None
    gpus: int = 0

    def __post_init__(self) -> None:
        if not STORAGE.fullmatch(self.storage):
            raise UsageError(
                f"--storage-uri {self.storage!r}: expected where the cluster finds the repository, such as "
                "pvc://CLAIM/models or s3://BUCKET/models"
            )

    def describe(self) -> dict[str, Any]:
        """The resource, in JSON types; https://kserve.github.io/website/docs/reference/crd-api."""
        model: dict[str, Any] = {
            "modelFormat": {"name": "triton", "version": "2"},
            "runtime": "kserve-tritonserver",
            "protocolVersion": "v2",
            "storageUri": self.storage,
        }
        if self.triton is not None:
            model["runtimeVersion"] = f"{self.triton.release}-py3"
        if self.gpus:
            model["resources"] = {"limits": {"nvidia.com/gpu": str(self.gpus)}}
        name = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:50]
        return {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": name},
            "spec": {"predictor": {"model": model}},
        }


def write_yaml(record: Mapping[str, Any]) -> str:
    """A mapping of mappings and texts as YAML."""
    return "\n".join(_lines(record, "")) + "\n"


def _lines(record: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}:"
            yield from _lines(value, f"{indent}  ")
        else:
            yield f"{indent}{name}: {json.dumps(value)}"  # YAML takes JSON's texts
