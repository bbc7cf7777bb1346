"""The commands sign and verify, and the option --require-signature of the program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.pipeline.signing.test_sign import new_key
from wrn_deploy.bundle import Bundle

pytest.importorskip("model_signing", reason="model-signing is not installed")


def test_a_bundle_is_signed_and_verified(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    private, public = new_key(tmp_path, "ours")
    outcome = cli("sign", bundle.folder, "--key", private)
    assert outcome.out == f"signed: {bundle.folder / 'manifest.sig'}\n"
    outcome = cli("verify", bundle.folder, "--require-signature", public)
    assert outcome.code == 0
    assert "all intact" in outcome.out
    assert f"signature: valid, by {public}" in outcome.out
    found = json.loads(cli("verify", bundle.folder, "--json").out)
    assert (found["signed_by"], found["files"]) == (None, len(bundle.artifacts) + 1)
    assert cli("--require-signature", public, "inspect", bundle.folder).code == 0


def test_anything_wrong_is_exit_code_3(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    private, public = new_key(tmp_path, "ours")
    outcome = cli("verify", bundle.folder, "--require-signature", public)
    assert (outcome.code, outcome.out) == (3, "")
    assert "is not signed" in outcome.err
    assert cli("--require-signature", public, "inspect", bundle.folder).code == 3
    cli("sign", bundle.folder, "--key", private)
    (bundle.folder / "fp32.onnx").write_bytes(b"another")
    (bundle.folder / "notes.txt").write_text("a file of nobody")
    outcome = cli("verify", bundle.folder)
    assert outcome.code == 3
    assert "fp32.onnx is not the file that the manifest describes" in outcome.err
    assert cli("sign", bundle.folder, "--key", private).code == 3


def test_files_that_nobody_listed_are_named(cli: Cli, bundle: Bundle) -> None:
    (bundle.folder / "w.data").write_bytes(b"external")
    outcome = cli("verify", bundle.folder)
    assert outcome.code == 0
    assert "not listed in the manifest, so not used: w.data" in outcome.out
