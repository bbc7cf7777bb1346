"""Signed bundles in a repository: a version carries the signature, and is checked by it before it is loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.pipeline.serving.running import serving
from tests.pipeline.signing.test_sign import new_key
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, GateError
from wrn_deploy.files.trust import SIGNED_BY, Trust, trusting
from wrn_deploy.pipeline.serving.check import check_repository
from wrn_deploy.pipeline.serving.models import ServeModelOptions
from wrn_deploy.pipeline.serving.repository import write_repository
from wrn_deploy.pipeline.signing.sign import SigningKey, sign_bundle
from wrn_deploy.progress import Silent
from wrn_deploy.spec import Precision

pytest.importorskip("model_signing", reason="model-signing is not installed")

ON_CPU = ServeModelOptions(runner="onnxruntime")


def test_a_version_carries_the_signature(served: Bundle, tmp_path: Path) -> None:
    private, public = new_key(tmp_path, "ours")
    _, other = new_key(tmp_path, "theirs")
    models = tmp_path / "models"
    write_repository([served], models, ON_CPU, Silent())
    with trusting(Trust(signed_by=public)), pytest.raises(GateError, match="version 1: "):
        check_repository(models)
    sign_bundle(served, SigningKey(key=private), Silent())
    signed = Bundle.open(served.folder, trust=Trust(signed_by=public))
    assert write_repository([signed], models, ON_CPU, Silent())[0].version == 2, "version 1 has no signature"
    with trusting(Trust(signed_by=public)):
        assert check_repository(models)[0].version == 2
    with trusting(Trust(signed_by=other)), pytest.raises(GateError, match="version 2: "):
        check_repository(models)
    assert write_repository([signed], models, ON_CPU, Silent())[0].version == 2


def test_a_server_that_demands_a_signature_loads_no_other_version(
    served: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = new_key(tmp_path, "ours")
    models = tmp_path / "models"
    sign_bundle(served, SigningKey(key=private), Silent())
    monkeypatch.setenv(SIGNED_BY, str(public))
    explicit = ("--triton-option=model-control-mode=explicit", "--triton-option=load-model=*", "--drain-timeout=1")
    arguments = ("--runner=onnxruntime", "--ensemble", "--repository", models, *explicit)
    with serving(tmp_path, served.folder, *arguments) as server:
        int8 = dataclasses.replace(ON_CPU, precision=Precision.INT8)
        assert write_repository([Bundle.open(served.folder)], models, int8, Silent())[0].version == 2
        (models / "wrn-10-1" / "2" / "manifest.sig").unlink()
        with server.client() as client:
            with pytest.raises(DeployError, match="sign"):
                client.post("/v2/repository/models/wrn-10-1/load", {})
            assert client.get("/v2/models/wrn-10-1")["versions"] == ["1"]
        step = models / "wrn-10-1-decode" / "1"
        (step / "manifest.sig").unlink()
        with (step / "model.py").open("a") as file:
            file.write("# changed, or it would not be loaded again\n")
        with server.client() as client, pytest.raises(DeployError, match="sign"):
            client.post("/v2/repository/models/wrn-10-1-decode/load", {})
