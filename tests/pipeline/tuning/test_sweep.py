"""Several bundles tuned as one job: each as a single one is tuned."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from wrn_deploy.bundle import Bundle
from wrn_deploy.cluster.here import run_here
from wrn_deploy.cluster.work import Finished
from wrn_deploy.errors import DeployError
from wrn_deploy.pipeline.tuning.sweep import plan_tuning, tuning_of
from wrn_deploy.pipeline.tuning.tune import TuneOptions, tune_bundle
from wrn_deploy.progress import Silent

OPTIONS = TuneOptions(data="digits", max_drop=5.0, limit=64)


def test_each_bundle_is_tuned_as_it_would_be_alone(bundle: Bundle, tmp_path: Path) -> None:
    folders = tuple(Path(shutil.copytree(bundle.folder, tmp_path / name)) for name in ("a", "b"))
    alone = tune_bundle(bundle, OPTIONS, Silent())
    job = pickle.loads(pickle.dumps(plan_tuning(folders, OPTIONS)))
    taken: list[Finished] = []
    run_here(job, taken.append, Silent())
    assert [tuning_of(finished) for finished in taken] == [alone, alone]
    assert [finished.images for finished in taken] == [64, 64]
    digest = Bundle.open(bundle.folder).artifacts["onnx-int8-tensorrt"].sha256
    assert [Bundle.open(folder).artifacts["onnx-int8-tensorrt"].sha256 for folder in folders] == [digest, digest]


def test_an_error_names_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    job = plan_tuning((bundle.folder,), TuneOptions(data=str(tmp_path / "missing"), max_drop=5.0))
    with pytest.raises(DeployError, match=f"^{bundle.folder}: "):
        run_here(job, lambda _finished: None, Silent())
