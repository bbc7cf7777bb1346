"""Jobs on a cluster that Ray starts on this machine: killed, hanging and refusing shards; what is left afterwards."""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wrn_deploy
from tests.cluster.on_ray.processes import MARK, listening, marked, wait_until_gone
from tests.cluster.stub_jobs import IMAGES, StubJob, result_of
from tests.cluster.test_run import Listener
from wrn_deploy.cluster.on_ray.session import TOKEN_VARIABLES, connected
from wrn_deploy.cluster.options import ClusterOptions
from wrn_deploy.cluster.ray import run_on_ray
from wrn_deploy.cluster.summary import ClusterSummary
from wrn_deploy.cluster.work import Finished
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.pipeline.inference.example import copy_example
from wrn_deploy.progress import Silent

# Ray is not imported here: it reads its settings when it is.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")

ROOT = Path(__file__).resolve().parents[3]
SHARDS = tuple(range(12))
# A driver with a cluster of its own: it keeps what is done in a file, and goes on there.
DRIVER = """
import json, sys
from pathlib import Path
from tests.cluster.stub_jobs import StubJob
from wrn_deploy.cluster.options import ClusterOptions
from wrn_deploy.cluster.ray import run_on_ray
from wrn_deploy.pipeline.inference.example import copy_example
from wrn_deploy.progress import Silent
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
done = folder / "done"
left = tuple(shard for shard in range(12) if not (done / str(shard)).exists())
done.mkdir(exist_ok=True)
job = StubJob(folder=folder, shards=left, seconds=seconds)
run_on_ray(job, ClusterOptions(workers=2), lambda one: (done / str(one.shard)).write_bytes(one.result), Silent())
print(json.dumps(left))
"""


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    """One cluster for the tests of this module: run_on_ray uses the one that is connected."""
    with connected(ClusterOptions()):
        yield


def _run(job: StubJob, progress: Silent | None = None, **more: Any) -> tuple[ClusterSummary, dict[int, Finished]]:
    taken: dict[int, Finished] = {}

    def take(finished: Finished) -> None:
        assert finished.shard not in taken
        taken[finished.shard] = finished

    summary = run_on_ray(job, ClusterOptions(**{"workers": 2, **more}), take, progress or Silent())
    return summary, taken


@pytest.mark.usefixtures("_cluster")
def test_all_shards_are_done_once_by_workers_that_stay_open(tmp_path: Path) -> None:
    summary, taken = _run(StubJob(folder=tmp_path, shards=SHARDS, seconds=0.05))
    assert {shard: one.result for shard, one in taken.items()} == {shard: result_of(shard) for shard in SHARDS}
    job = StubJob(folder=tmp_path, shards=SHARDS)
    assert all(job.attempts(shard) == 1 for shard in SHARDS)
    assert len(job.processes()) == 2
    assert os.getpid() not in job.processes()
    assert len(list(tmp_path.glob("closed-*"))) == 2, "each worker closed what it had opened"
    (node,) = summary.nodes
    assert (node.workers, node.shards, node.images, node.retries) == (2, 12, 12 * IMAGES, 0)
    assert node.node.endswith("(127.0.0.1)")


@pytest.mark.usefixtures("_cluster")
@pytest.mark.parametrize("kind", ["exit", "kill", "raise"])
def test_a_shard_whose_worker_dies_is_done_again(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    listener = Listener()
    job = StubJob(folder=tmp_path, shards=SHARDS, seconds=0.05, dies=((3, kind), (7, kind)))
    summary, taken = _run(job, listener)
    assert {shard: one.result for shard, one in taken.items()} == {shard: result_of(shard) for shard in SHARDS}
    assert {shard: job.attempts(shard) for shard in SHARDS} == {shard: 2 if shard in (3, 7) else 1 for shard in SHARDS}
    assert summary.total().retries == 2
    assert summary.total().workers == (2 if kind == "raise" else 4)
    assert len(listener.warnings) == 2
    assert "stub shard 3" in listener.warnings[0]
    assert capfd.readouterr() == ("", ""), "Ray tells nothing of its own"


@pytest.mark.usefixtures("_cluster")
def test_a_shard_that_hangs_is_killed_and_done_again(tmp_path: Path) -> None:
    listener = Listener()
    job = StubJob(folder=tmp_path, shards=SHARDS, dies=((2, "hang"),))
    _, taken = _run(job, listener, shard_timeout_s=1.5)
    assert sorted(taken) == list(SHARDS)
    assert "stub shard 2" in listener.warnings[0]
    assert "longer than 1.5 s (--shard-timeout)" in listener.warnings[0]


@pytest.mark.usefixtures("_cluster")
def test_a_shard_that_always_kills_its_worker_is_named_after_the_others_are_done(tmp_path: Path) -> None:
    job = StubJob(folder=tmp_path, shards=SHARDS, seconds=0.05, dies=((5, "kill"),), times=100)
    with pytest.raises(DeployError, match=r"stub shard 5 failed 2 times, the last time because") as caught:
        _run(job, retries=1)
    assert caught.value.exit_code == 1
    assert job.attempts(5) == 2
    assert all(job.attempts(shard) == 1 for shard in SHARDS if shard != 5)


@pytest.mark.usefixtures("_cluster")
def test_an_error_about_the_input_comes_as_the_worker_raised_it_and_is_not_tried_again(tmp_path: Path) -> None:
    job = StubJob(folder=tmp_path, shards=SHARDS, dies=((4, "refuse"),), times=100)
    with pytest.raises(DamagedFile, match=r"^shard\.tar is damaged: expected a tar file$"):
        _run(job)
    assert job.attempts(4) == 1


class Limited(StubJob):
    """Looks at its limits when it is opened."""

    def open(self, threads: int | None) -> Any:
        (self.folder / "limits").write_text(f"{os.environ.get('WRN_DEPLOY_LIMITS')} {threads}")
        return super().open(threads)


@pytest.mark.usefixtures("_cluster")
def test_a_worker_has_the_limits_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRN_DEPLOY_LIMITS", "pixels=1000")
    monkeypatch.setenv("WRN_DEPLOY_REQUIRE_SIGNATURE", "")
    _run(Limited(folder=tmp_path, shards=(0,)))
    assert (tmp_path / "limits").read_text() == "pixels=1000 1"


def _start(folder: Path, seconds: float, mark: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in TOKEN_VARIABLES}
    environment = {**inherited, MARK: mark, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    command = [sys.executable, "-c", DRIVER, str(folder), str(seconds)]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)


def _wait_for(folder: Path, names: str, seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not list(folder.glob(names)):
        assert time.monotonic() < end, f"no {names}"
        time.sleep(0.05)


def test_a_killed_driver_leaves_nothing_and_the_next_one_goes_on(tmp_path: Path) -> None:
    first = _start(tmp_path, 0.5, str(tmp_path))
    _wait_for(tmp_path, "done/*")
    addresses = [address.rpartition(":")[0] for address in listening(marked(str(tmp_path)))]
    assert addresses
    assert all(ipaddress.ip_address(address).is_loopback for address in addresses)
    token = Path(f"/proc/{first.pid}/environ").read_bytes()
    assert b"RAY_AUTH_TOKEN" not in token, "it is made by the program, not taken from its parent"
    first.kill()
    first.wait()
    assert wait_until_gone(str(tmp_path), 20) == []
    second = _start(tmp_path, 0.0, str(tmp_path))
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    left = json.loads(out)
    assert 0 < len(left) < 12
    assert {path.name: path.read_bytes() for path in (tmp_path / "done").iterdir()} == {
        str(shard): result_of(shard) for shard in SHARDS
    }
    assert wait_until_gone(str(tmp_path), 20) == []
    assert err == ""


def test_ctrl_c_ends_the_workers(tmp_path: Path) -> None:
    driver = _start(tmp_path, 100.0, str(tmp_path))
    _wait_for(tmp_path, "begun-*")
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=30)
    assert "KeyboardInterrupt" in err
    assert wait_until_gone(str(tmp_path), 20) == []


@pytest.mark.usefixtures("_cluster")
def test_evaluation_on_a_cluster_has_the_answers_of_one_process(tmp_path: Path) -> None:
    bundle = copy_example(tmp_path / "example", Silent()).bundle.folder
    options: dict[str, Any] = {"backends": ["onnxruntime"], "limit": 200}
    here = wrn_deploy.evaluate(bundle, "digits", threads=1, **options)
    there = wrn_deploy.evaluate(bundle, "digits", cluster=ClusterOptions(workers=2), **options)
    assert [row.accuracy for row in there.rows] == [row.accuracy for row in here.rows]
    assert there.data_digest == here.data_digest
    assert there.settings == here.settings
