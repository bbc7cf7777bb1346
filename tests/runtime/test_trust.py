"""What `Runner.open` demands of a bundle, and allows it: by the caller's word alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.signing.test_sign import new_key
from wrn_deploy import Runner
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import GateError
from wrn_deploy.files.trust import Trust, trusting
from wrn_deploy.pipeline.signing.sign import SigningKey, sign_bundle
from wrn_deploy.progress import Silent

pytest.importorskip("model_signing", reason="model-signing is not installed")


def test_a_signature_can_be_demanded(bundle: Bundle, tmp_path: Path) -> None:
    private, public = new_key(tmp_path, "ours")
    with pytest.raises(GateError, match="is not signed"):
        Runner.open(bundle.folder, backend="onnxruntime", require_signature=public)
    sign_bundle(bundle, SigningKey(key=private), Silent())
    with Runner.open(bundle.folder, backend="onnxruntime", require_signature=str(public)) as runner:
        assert runner.bundle.trust == Trust(signed_by=public)


@pytest.mark.parametrize("process", [False, True])
@pytest.mark.parametrize("call", [False, True])
def test_host_code_is_allowed_by_the_call_or_the_process(bundle: Bundle, process: bool, call: bool) -> None:
    with (
        trusting(Trust(host_code=process)),
        Runner.open(bundle.folder, backend="onnxruntime", allow_host_code=call) as runner,
    ):
        assert runner.bundle.trust.host_code is (process or call)


def test_an_argument_comes_before_the_demand_of_the_process(bundle: Bundle, tmp_path: Path) -> None:
    private, public = new_key(tmp_path, "ours")
    _, other = new_key(tmp_path, "other")
    sign_bundle(bundle, SigningKey(key=private), Silent())
    with trusting(Trust(signed_by=other)):
        with pytest.raises(GateError, match=r"other\.pub"):
            Runner.open(bundle.folder, backend="onnxruntime")
        Runner.open(bundle.folder, backend="onnxruntime", require_signature=public).close()
