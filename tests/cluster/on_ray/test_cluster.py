"""A cluster of several nodes with networks of their own: nodes that are lost and that join, tokens, versions."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.on_ray.lab import Lab, why_there_is_no_lab
from tests.cluster.on_ray.processes import MARK
from tests.cluster.stub_jobs import StubJob, result_of
from wrn_deploy.bundle import Bundle
from wrn_deploy.pipeline.inference.example import copy_example
from wrn_deploy.pipeline.quantization.calibrate import calibrate_bundle
from wrn_deploy.pipeline.quantization.images import CalibrateOptions
from wrn_deploy.pipeline.scoring.job import ScoreOptions
from wrn_deploy.pipeline.scoring.score import score_data
from wrn_deploy.progress import Silent

# Ray is not imported here: it reads its settings when it is.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")

TOKEN, WRONG = "1" * 64, "2" * 64
FAST = {  # a lost node is noticed within seconds, not half a minute
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
RAY = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0", **FAST}
# A driver: it writes results into a folder, and prints the summary.
DRIVER = """
import dataclasses, json, sys
from pathlib import Path
from tests.cluster.stub_jobs import StubJob
from wrn_deploy.cluster.options import ClusterOptions
from wrn_deploy.cluster.ray import run_on_ray
from wrn_deploy.errors import DeployError
from wrn_deploy.progress import Silent
class Loud(Silent):
    def warn(self, text):
        print("warning:", text, file=sys.stderr, flush=True)
folder, given = Path(sys.argv[1]), json.loads(sys.argv[2])
writes = Path(given["writes"]) if given["writes"] else None
job = StubJob(folder=folder, shards=tuple(range(given["shards"])), seconds=given["seconds"], writes=writes)
options = ClusterOptions(address=given["address"], **given["options"])
try:
    summary = run_on_ray(job, options, lambda one: (folder / f"result-{one.shard}").write_bytes(one.result), Loud())
except DeployError as error:
    sys.exit(f"{error.exit_code} {error}")
print(json.dumps(dataclasses.asdict(summary)))
"""


# Calibrates with eight shards that take their time, and prints the summary.
CALIBRATION = """
import dataclasses, json, sys
from pathlib import Path
from tests.cluster.stub_jobs import SlowJob
from wrn_deploy.bundle import Bundle
from wrn_deploy.cluster.options import ClusterOptions
from wrn_deploy.cluster.ray import run_on_ray
from wrn_deploy.pipeline.quantization.images import CalibrateOptions
from wrn_deploy.pipeline.spread import spread_calibration
from wrn_deploy.progress import Silent
class Loud(Silent):
    def warn(self, text):
        print("warning:", text, file=sys.stderr, flush=True)
folder, begun, address = sys.argv[1:]
def engine(job, take, progress):
    def look(finished):
        Path(begun).touch()
        take(finished)
    summary = run_on_ray(SlowJob(inner=job, seconds=0.7), ClusterOptions(address=address), look, progress)
    print(json.dumps(dataclasses.asdict(summary)))
spread_calibration(Bundle.open(folder), CalibrateOptions(data="digits", size=96, threads=1), engine, Loud(), 8)
"""
PROGRAM = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A head that does no work, and two nodes."""
    reason = why_there_is_no_lab()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("lab")
    made = Lab(folder, {**RAY, MARK: str(folder)})
    try:
        for name, cpus in (("head", 0), ("one", 1), ("two", 1)):
            made.add(name)
            printed = made.start_ray(name, cpus=cpus)
            assert "Ray runtime started" in printed, printed
        yield made
    finally:
        made.close()


def _command(
    lab: Lab, folder: Path, *, shards: int, seconds: float, writes: Path | None = None, **options: Any
) -> list[str]:
    given = {"address": lab.head, "shards": shards, "seconds": seconds, "options": options}
    given["writes"] = str(writes or "")
    return [sys.executable, "-c", DRIVER, str(folder), json.dumps(given)]


def _results(folder: Path) -> dict[int, bytes]:
    return {int(path.name.removeprefix("result-")): path.read_bytes() for path in folder.glob("result-*")}


def test_a_wrong_token_is_an_error_and_so_is_none(lab: Lab, tmp_path: Path) -> None:
    command = _command(lab, tmp_path, shards=1, seconds=0.0)
    wrong = lab.run("head", command, {"RAY_AUTH_TOKEN": WRONG})
    assert wrong.returncode == 1
    assert wrong.stderr.startswith(f"1 the Ray cluster at {lab.head} does not take this token"), wrong.stderr
    none = lab.run("head", command, {"RAY_AUTH_TOKEN": "", "HOME": str(tmp_path)})
    assert none.returncode == 1
    assert none.stderr.startswith(f"4 no token for the Ray cluster at {lab.head}"), none.stderr
    assert WRONG not in wrong.stderr
    assert TOKEN not in wrong.stderr
    assert _results(tmp_path) == {}


def test_who_listens_where_is_what_the_page_says(lab: Lab, tmp_path: Path) -> None:
    """On a node, while a worker runs: Ray listens on all addresses of a machine, whatever address a node has."""
    driver = lab.start("head", _command(lab, tmp_path, shards=2, seconds=4.0))
    _wait_until(lambda: len(list(tmp_path.glob("begun-*"))) == 2)
    everywhere = set[str]()
    for name in ("head", "one"):
        code = (
            "import json, os; from tests.cluster.on_ray.processes import listening, marked; "
            f"print(json.dumps(listening(marked(os.environ['{MARK}']))))"
        )
        done = lab.run(name, [sys.executable, "-c", code])
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert {address.rpartition(":")[0] for address in found} <= {"::", "127.0.0.1", lab.address(name)}
        commands = [command for address, command in found.items() if address.startswith(":::")]
        everywhere |= {command.split()[0].rpartition("/")[2] for command in commands}
    assert driver.wait(60) == 0
    assert everywhere - {"ray::IDLE"} == {"gcs_server", "raylet", "ray::ShardWorker.run", "python"}


def test_a_node_with_another_version_is_an_error(lab: Lab, tmp_path: Path) -> None:
    metadata = tmp_path / "other" / "pillow-1.2.3.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: pillow\nVersion: 1.2.3\n")
    lab.add("old")
    lab.start_ray("old", environment={"PYTHONPATH": f"{tmp_path / 'other'}:{lab.environment['PYTHONPATH']}"})
    address = lab.address("old")
    done = lab.run("head", _command(lab, tmp_path, shards=4, seconds=0.0))
    lab.kill("old")
    assert done.returncode == 1
    expected = (
        f"4 the node old ({address}) has pillow 1.2.3 (here {importlib.metadata.version('pillow')}): expected the"
    )
    assert done.stderr.startswith(expected)
    assert _results(tmp_path) == {}


def test_scores_of_two_nodes_are_those_of_one_process(lab: Lab, tmp_path: Path) -> None:
    bundle = copy_example(tmp_path / "example", Silent()).bundle
    options = ScoreOptions(data="digits", out=str(tmp_path / "here"), images_per_shard=30, threads=1)
    score_data(bundle, options, Silent())
    more = ("--data", "digits", "--out", str(tmp_path / "there"), "--images-per-shard", "30", "--ray", lab.head)
    done = lab.run("head", [sys.executable, "-c", PROGRAM, "score", str(bundle.folder), *more], {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    assert "359 images" in done.stdout
    assert _parts(tmp_path / "there") == _parts(tmp_path / "here")
    assert len(_parts(tmp_path / "here")) == 12
    for name in ("one", "two"):
        assert f"{name} ({lab.address(name)})" in done.stderr


def _parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def test_a_lost_node_is_done_without_and_one_that_joins_gets_work(lab: Lab, tmp_path: Path) -> None:
    job = StubJob(folder=tmp_path, shards=tuple(range(48)))
    driver = lab.start("head", _command(lab, tmp_path, shards=48, seconds=0.4))
    _wait_until(lambda: len(_results(tmp_path)) >= 6)
    lab.kill("two")
    lab.add("three")
    assert "Ray runtime started" in lab.start_ray("three")
    out, err = driver.communicate(timeout=120)
    assert driver.returncode == 0, err
    assert _results(tmp_path) == {shard: result_of(shard) for shard in range(48)}
    again = [shard for shard in range(48) if job.attempts(shard) > 1]
    assert 1 <= len(again) <= 2, "what the lost node did when it was lost"
    by_node = {node["node"].split()[0]: node for node in json.loads(out)["nodes"]}
    assert by_node.keys() == {"one", "two", "three"}
    assert by_node["three"]["shards"] > 0
    assert by_node["two"]["retries"] == 1
    assert sum(node["shards"] for node in by_node.values()) == 48
    assert "warning: the worker of stub shard" in err
    assert "on two (" in err


def test_a_full_disk_of_one_node_is_not_the_others_fault(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    lab.add("full")
    mounted = lab.run("full", ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path / "disk")])
    assert mounted.returncode == 0, mounted.stderr
    lab.start_ray("full")
    done = lab.run("head", _command(lab, tmp_path, shards=24, seconds=0.3, writes=tmp_path / "disk"))
    lab.kill("full")
    assert done.returncode == 0, done.stderr
    assert _results(tmp_path) == {shard: result_of(shard) for shard in range(24)}
    (full,) = [node for node in json.loads(done.stdout)["nodes"] if node["node"].startswith("full ")]
    assert (full["shards"], full["retries"]) == (0, 4)
    assert "(OSError: [Errno 28] No space left on device" in done.stderr
    assert "failed 4 times in a row: it gets no more work" in done.stderr


def test_calibration_on_three_nodes_of_which_one_is_lost_is_that_of_one_pass(
    lab: Lab, bundle: Bundle, tmp_path: Path
) -> None:
    for name in ("four", "five"):
        lab.add(name)
        lab.start_ray(name)
    there = shutil.copytree(bundle.folder, tmp_path / "there")
    options = CalibrateOptions(data="digits", size=96, threads=1)
    calibrate_bundle(bundle, options, Silent())
    driver = lab.start("head", [sys.executable, "-c", CALIBRATION, str(there), str(tmp_path / "begun"), lab.head])
    _wait_until((tmp_path / "begun").exists)
    lab.kill("four")
    out, err = driver.communicate(timeout=120)
    assert driver.returncode == 0, err
    nodes = {node["node"].split()[0]: node for node in json.loads(out)["nodes"]}
    assert sum(node["shards"] for node in nodes.values()) == 8
    assert {"four", "five"} <= nodes.keys()
    assert "on four (" in err
    made = Bundle.open(there).artifacts
    keys = ("calibration", "onnx-int8-tensorrt", "onnx-int8-onnxruntime")
    assert [made[key].sha256 for key in keys] == [bundle.artifacts[key].sha256 for key in keys]


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
