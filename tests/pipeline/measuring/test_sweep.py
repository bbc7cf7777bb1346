"""Several bundles as one job: a report for each, in a folder of its own."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from wrn_deploy.cluster.here import run_here
from wrn_deploy.cluster.work import Finished
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.pipeline.inference.example import copy_example
from wrn_deploy.pipeline.measuring.measure import MeasureOptions
from wrn_deploy.pipeline.measuring.sweep import bench_job, find_folders, report_of
from wrn_deploy.progress import Silent

OPTIONS = MeasureOptions(
    data="digits", backends=("onnxruntime",), batches=(1,), rounds=1, duration_s=0.05, limit=20, pictures=False
)


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setattr("wrn_deploy.pipeline.measuring.rounds.WARM_UP_S", (0.01, 0.1))
    first = copy_example(tmp_path / "example", Silent()).bundle.folder
    return first, Path(shutil.copytree(first, tmp_path / "other"))


def test_each_bundle_is_a_shard_with_a_report(bundles: tuple[Path, Path]) -> None:
    folders = find_folders(bundles, None)
    job = pickle.loads(pickle.dumps(bench_job(bundles, folders, OPTIONS)))
    taken: list[Finished] = []
    run_here(job, taken.append, Silent())
    assert [finished.shard for finished in taken] == [0, 1]
    reports = [report_of(finished) for finished in taken]
    assert [row.sha256 for row in reports[0].rows] == [row.sha256 for row in reports[1].rows]
    assert all(row.latencies for report in reports for row in report.rows if row.skipped is None)
    assert [finished.images for finished in taken] == [20, 20]
    assert folders == (bundles[0] / "reports", bundles[1] / "reports")


def test_an_error_names_the_bundle(bundles: tuple[Path, Path]) -> None:
    job = bench_job(bundles, find_folders(bundles, None), OPTIONS)
    for graph in bundles[1].rglob("*.onnx"):
        graph.unlink()
    with pytest.raises(DeployError, match=f"^{bundles[1]}: "):
        run_here(job, lambda _finished: None, Silent())


def test_two_bundles_of_one_name_do_not_share_a_folder(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    same = Path(shutil.copytree(bundles[0], tmp_path / "copies" / bundles[0].name))
    with pytest.raises(UsageError, match="the reports of two bundles would go to"):
        find_folders((bundles[0], same), tmp_path / "out")
    assert not (tmp_path / "out").exists()
