"""The InferenceService of KServe: its YAML is read back, and names become those that Kubernetes allows."""

from __future__ import annotations

import re
from typing import Any

import pytest

from wrn_deploy.errors import UsageError
from wrn_deploy.serving.kserve import InferenceService, write_yaml
from wrn_deploy.serving.versions import parse_triton

yaml = pytest.importorskip("yaml", reason="PyYAML reads what was written")


def test_the_yaml_is_the_resource() -> None:
    service = InferenceService(
        name="WRN_16.2", storage="pvc://claim/models", triton=parse_triton("26.07"), gpus=2
    ).describe()
    found: Any = yaml.safe_load(write_yaml(service))
    assert found == service
    assert found["apiVersion"] == "serving.kserve.io/v1beta1"
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", found["metadata"]["name"])
    model = found["spec"]["predictor"]["model"]
    assert model["storageUri"] == "pvc://claim/models"
    assert model["runtimeVersion"] == "26.07-py3"
    assert model["resources"] == {"limits": {"nvidia.com/gpu": "2"}}


@pytest.mark.parametrize("storage", ["", "models", "/srv/models", "pvc://", "ftp://host/models"])
def test_a_place_that_no_cluster_finds_is_refused(storage: str) -> None:
    with pytest.raises(UsageError, match="--storage-uri"):
        InferenceService(name="wrn", storage=storage)
