"""Graphs in a bundle: what no exported graph has is refused by every reader, whatever the manifest says."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.manifests import read_record, write_record
from wrn_deploy import Runner
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DamagedFile
from wrn_deploy.pipeline.signing.verify import verify_bundle
from wrn_deploy.progress import Silent


@pytest.fixture
def hostile(made_bundle: Path, tmp_path: Path) -> Path:
    """A bundle whose fp32 graph reads a file beside it, with a manifest that vouches for the graph."""
    folder = Path(shutil.copytree(made_bundle, tmp_path / "bundle"))
    file = folder / "fp32.onnx"
    model = onnx.load(file)
    onnx.save(model, file, save_as_external_data=True, location="w.data", size_threshold=0)
    content = file.read_bytes()
    record = read_record(folder)
    made: dict[str, Any] = record["artifacts"]["onnx-fp32"]
    made.update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    for artifact in record["artifacts"].values():
        parents = artifact["recipe"]["parents"]
        parents.update({key: made["sha256"] for key in parents if key == "onnx-fp32"})
    write_record(folder, record)
    return folder


def test_external_data_is_refused_by_every_reader(hostile: Path) -> None:
    bundle = Bundle.open(hostile)
    with pytest.raises(DamagedFile, match=r"fp32\.onnx has external data, which no graph of a bundle has"):
        bundle.find("onnx-fp32")
    with pytest.raises(DamagedFile, match="external data"):
        Runner.open(hostile, backend="onnxruntime", precision="fp32")
    with pytest.raises(Exception, match="external data"):
        verify_bundle(bundle, Silent())
    assert bundle.current("onnx-fp32", bundle.artifacts["onnx-fp32"].recipe) is None
