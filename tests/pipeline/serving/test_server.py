"""A real Triton server: it answers as Runner does to the bit, refuses what is wrong, and loses no accepted request."""

from __future__ import annotations

import dataclasses
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipeline.serving.running import Serving, serving
from tests.serving.environment import run_client
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.manifest import MANIFEST, Manifest
from wrn_deploy.pipeline.inference.example import copy_example
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, bench_bundle
from wrn_deploy.pipeline.serving.models import ServeModelOptions
from wrn_deploy.pipeline.serving.repository import write_repository
from wrn_deploy.progress import Silent
from wrn_deploy.rendering.notes import notes
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.serving.served import ServedBackend, find_served
from wrn_deploy.spec import Precision

CHANCE = np.random.default_rng(0)
EXPLICIT = ("--triton-option=model-control-mode=explicit", "--triton-option=load-model=*")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "example"
    copy_example(folder, Silent())
    return folder


@pytest.fixture(scope="module")
def running(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with the example as pixels (wrn-10-1) and as normalised images in int8 (floats)."""
    folder = tmp_path_factory.mktemp("server")
    options = ServeModelOptions(name="floats", normalised=True, precision=Precision.INT8, runner="onnxruntime")
    write_repository([Bundle.open(example)], folder / "models", options, Silent())
    arguments = ("--repository", folder / "models", "--runner=onnxruntime", "--threads=1", *EXPLICIT)
    with serving(folder, example, *arguments) as server:
        yield server


@pytest.fixture(scope="module")
def runner(example: Path) -> Iterator[Runner]:
    with Runner.open(example, precision="fp32", backend="onnxruntime", threads=1, contexts=1) as opened:
        yield opened


def pixels(count: int) -> np.ndarray[Any, Any]:
    return CHANCE.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def test_it_prints_where_it_answers_and_a_line_that_works(running: Serving) -> None:
    assert re.match(r"Triton \d+\.\d+\.\d+ serves wrn-10-1 \(fp32\)", running.printed[0])
    line = next(line for line in running.printed if line.startswith("try")).removeprefix("try").strip()
    answer = subprocess.run(line, shell=True, capture_output=True, text=True, check=True, timeout=60).stdout
    assert '"shape":[1,10]' in answer
    metrics = next(line for line in running.printed if line.startswith("metrics")).split()[1]
    text = urllib.request.urlopen(metrics, timeout=10).read().decode()
    assert re.search(r'nv_inference_request_success\{model="wrn-10-1",version="1"\} \d+', text)


@pytest.mark.parametrize("count", [1, 5, 32])
def test_pixels_are_answered_as_runner_does_to_the_bit(running: Serving, runner: Runner, count: int) -> None:
    """Not empty either, as Triton's stub gives arrays of numpy 2 that do not come by DLPack."""
    images = pixels(count)
    with running.client() as client:
        found = client.infer("wrn-10-1", "images", "UINT8", images)
    assert found["logits"].shape == (count, 10)
    assert np.array_equal(found["logits"], runner.predict(images))


def test_normalised_images_in_int8_are_answered_as_runner_does(running: Serving, example: Path) -> None:
    images = CHANCE.standard_normal((7, 3, 32, 32)).astype(np.float32)
    with (
        Runner.open(example, precision="int8", backend="onnxruntime", contexts=1) as opened,
        running.client() as client,
    ):
        found = client.infer("floats", "images", "FP32", images)
        assert np.array_equal(found["logits"], opened.predict(images))


def test_pixels_in_and_best_classes_and_features_out(made_interface_bundle: Path, tmp_path: Path) -> None:
    images = pixels(3)
    with serving(tmp_path, made_interface_bundle, "--runner=onnxruntime") as server, server.client() as client:
        found = client.infer("wrn-10-1", "images", "UINT8", images)
        with Runner.open(made_interface_bundle, precision="fp32", backend="onnxruntime") as opened:
            expected = opened.run(images)
        assert list(found) == list(expected) == ["top_logits", "top_classes", "features"]
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_an_idle_connection_delays_the_end_and_is_reported(example: Path, tmp_path: Path) -> None:
    before = set(Path("/dev/shm").iterdir())
    with serving(tmp_path, example, "--runner=onnxruntime", "--drain-timeout=1") as server, server.client() as client:
        client.infer("wrn-10-1", "images", "UINT8", pixels(1))
        assert server.end() == 0
        assert "ended after 1 s while clients kept connections open" in server.log.read_text()
    assert not [path for path in set(Path("/dev/shm").iterdir()) - before if path.name.startswith("wrn-deploy")]


def test_the_server_ends_with_a_killed_command(example: Path, tmp_path: Path) -> None:
    before = set(Path("/dev/shm").iterdir())
    with serving(tmp_path, example, "--runner=onnxruntime") as server:
        server.process.kill()
        end = time.monotonic() + 10
        with server.client() as client:
            while client.is_ready():
                assert time.monotonic() < end, "tritonserver goes on without its parent"
                time.sleep(0.1)
    for left in set(Path("/dev/shm").iterdir()) - before:  # nobody was there to remove it
        if left.name.startswith("wrn-deploy"):
            left.unlink()


def test_ctrl_c_ends_it_and_leaves_nothing(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with serving(tmp_path, example, "--runner=onnxruntime") as server:
        assert list(temporary.iterdir())
        begin = time.monotonic()
        assert server.end(signal.SIGINT) == 0
        assert time.monotonic() - begin < 20
    assert not list(temporary.iterdir())


def test_nvidias_client_gets_the_same_by_grpc_with_labels(running: Serving, runner: Runner, tmp_path: Path) -> None:
    images = pixels(4)
    np.save(tmp_path / "images.npy", images)
    code = """
import json, sys
import numpy as np
import tritonclient.grpc as grpc
images = np.load(sys.argv[2])
client = grpc.InferenceServerClient(f"127.0.0.1:{sys.argv[1]}")
given = grpc.InferInput("images", list(images.shape), "UINT8")
given.set_data_from_numpy(images)
logits = client.infer("wrn-10-1", [given]).as_numpy("logits")
wanted = [grpc.InferRequestedOutput("logits", class_count=1)]
best = client.infer("wrn-10-1", [given], outputs=wanted).as_numpy("logits")
print(json.dumps([logits.tobytes().hex(), [entry[0].decode() for entry in best]]))
"""
    logits, best = run_client(code, running.grpc, tmp_path / "images.npy")
    expected = runner.predict(images)
    assert bytes.fromhex(logits) == expected.tobytes()
    assert [entry.split(":")[2] for entry in best] == [runner.labels[row.argmax()] for row in expected]


def test_requests_of_many_clients_run_in_batches(running: Serving, runner: Runner) -> None:
    images = pixels(64)
    expected = runner.predict(images)
    before = _statistics(running)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda at: _ask(running, images[at : at + 1]), range(64)))
    assert np.allclose(np.concatenate(found), expected, rtol=1e-4, atol=1e-4)  # a batch's sums have another order
    after = _statistics(running)
    assert after["inference_count"] - before["inference_count"] == 64
    assert after["execution_count"] - before["execution_count"] < 64


@pytest.mark.parametrize(
    ("model", "kind", "images", "words"),
    [
        ("wrn-10-1", "UINT8", np.zeros((1, 28, 28, 3), np.uint8), "unexpected shape"),
        ("wrn-10-1", "FP32", np.zeros((1, 32, 32, 3), np.float32), "data-type"),
        ("wrn-10-1", "UINT8", np.zeros((33, 32, 32, 3), np.uint8), "batch-size must be <= 32"),
        ("wrn-10-1", "UINT8", np.zeros((0, 32, 32, 3), np.uint8), "answers 4|answers 5"),
        ("wrn-10-1", "UINT8", np.zeros((3000, 32, 32, 3), np.uint8), "batch-size must be <= 32"),  # 9 MB
        ("floats", "FP32", np.full((2, 3, 32, 32), np.nan, np.float32), "NaN"),
        ("floats", "FP32", np.full((1, 3, 32, 32), np.inf, np.float32), "infinite"),
        ("nobody", "UINT8", np.zeros((1, 32, 32, 3), np.uint8), "unknown model"),
    ],
    ids=["shape", "dtype", "large", "empty", "9-MB", "nan", "infinite", "model"],
)
def test_a_wrong_request_is_an_error_and_the_next_one_is_answered(
    running: Serving, runner: Runner, model: str, kind: str, images: np.ndarray[Any, Any], words: str
) -> None:
    with running.client() as client:
        with pytest.raises(DeployError, match=words):
            client.infer(model, "images", kind, images)
        good = pixels(1)
        assert np.array_equal(client.infer("wrn-10-1", "images", "UINT8", good)["logits"], runner.predict(good))


def test_an_error_in_a_batch_reaches_only_the_request_that_caused_it(running: Serving) -> None:
    good = CHANCE.standard_normal((1, 3, 32, 32)).astype(np.float32)
    bad = np.full_like(good, np.nan)

    def ask(images: np.ndarray[Any, Any]) -> bool:
        with running.client() as client:
            try:
                client.infer("floats", "images", "FP32", images)
            except DeployError:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, [good, bad] * 20)) == [True, False] * 20


def test_a_thousand_clients_are_all_answered(running: Serving) -> None:
    images = pixels(1)

    begin = time.monotonic()
    with ThreadPoolExecutor(1000) as pool:
        found = list(pool.map(lambda _number: _ask(running, images), range(1000)))
    assert {array.shape for array in found} == {(1, 10)}
    assert len(found) == 1000
    assert time.monotonic() - begin < 60


def test_a_damaged_version_is_refused_and_the_old_one_goes_on_answering(running: Serving) -> None:
    models = running.log.parent / "models"
    images = pixels(2)
    before = _ask(running, images)
    shutil.copytree(models / "wrn-10-1" / "1", models / "wrn-10-1" / "2")
    graph = models / "wrn-10-1" / "2" / "fp32.onnx"
    graph.write_bytes(graph.read_bytes()[:-100])
    with running.client() as client:
        with pytest.raises(DeployError, match="not the file that the manifest describes"):
            client.post("/v2/repository/models/wrn-10-1/load", {})
        assert np.array_equal(_ask(running, images), before)
        shutil.rmtree(models / "wrn-10-1" / "2")
        shutil.copytree(models / "wrn-10-1" / "1", models / "wrn-10-1" / "2")
        client.post("/v2/repository/models/wrn-10-1/load", {})
        assert client.get("/v2/models/wrn-10-1")["versions"] == ["2"]
    assert np.array_equal(_ask(running, images), before)
    shutil.rmtree(models / "wrn-10-1" / "2")
    with running.client() as client:
        client.post("/v2/repository/models/wrn-10-1/load", {})


def test_a_stale_version_is_refused(running: Serving) -> None:
    version = running.log.parent / "models" / "wrn-10-1" / "2"
    shutil.copytree(version.with_name("1"), version)
    made = Bundle.open(version)
    graph = made.artifacts["onnx-fp32"]
    recipe = dataclasses.replace(graph.recipe, parents={"onnx-int8-onnxruntime": "0" * 64})
    artifacts = {**made.artifacts, graph.key: dataclasses.replace(graph, recipe=recipe)}
    manifest = Manifest(model=made.spec, random_weights=False, artifacts=artifacts)
    (version / MANIFEST).write_bytes(manifest.to_bytes())
    with running.client() as client:
        with pytest.raises(DeployError, match="onnx-fp32 was made from onnx-int8-onnxruntime 000000000000"):
            client.post("/v2/repository/models/wrn-10-1/load", {})
        shutil.rmtree(version)
        client.post("/v2/repository/models/wrn-10-1/load", {})


@pytest.mark.usefixtures("short_turns")
def test_it_is_measured_as_a_candidate_beside_the_others(running: Serving, example: Path) -> None:
    options = MeasureOptions(
        data="digits",
        backends=("onnxruntime",),
        batches=(1, 32),
        rounds=2,
        duration_s=0.02,
        limit=64,
        pictures=False,
        server=running.url,
    )
    report = bench_bundle(Bundle.open(example), options, Silent())
    assert "but for Triton's, which time the client's round trip" in notes(report)[0]
    rows = {row.key: row for row in report.rows}
    for precision in (Precision.FP32, Precision.INT8):
        theirs, ours = rows["triton", precision], rows["onnxruntime", precision]
        assert theirs.skipped is None
        assert [latency.batch for latency in theirs.latencies] == [1, 32]
        assert (theirs.sha256, theirs.peak_rss_bytes) == (ours.sha256, None)
        assert theirs.accuracy is not None
        assert ours.accuracy is not None
        assert theirs.accuracy.top1 == ours.accuracy.top1
        assert theirs.title == "Triton (client round trip)"


def test_a_server_without_the_bundles_artifacts_is_not_measured(running: Serving, example: Path) -> None:
    bundle = Bundle.open(example)
    bundle.artifacts = {}
    with pytest.raises(DeployError, match=r"serves floats, wrn-10-1, none of an artifact.*wrn-deploy serve"):
        find_served(bundle, running.url)
    with pytest.raises(DeployError, match="expected a running server there"):
        find_served(bundle, "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="expected the base of its HTTP address"):
        find_served(bundle, "https://127.0.0.1/x")


def test_a_served_backend_obeys_the_protocol(running: Serving, example: Path, runner: Runner) -> None:
    served = next(one for one in find_served(Bundle.open(example), running.url) if one.model == "wrn-10-1")
    images = pixels(3)
    with ServedBackend(served) as backend, backend.sibling() as sibling:
        assert backend.download() == ()
        with pytest.raises(DeployError, match="upload one first"):
            backend.execute()
        with pytest.raises(DeployError, match="expected 1 to 32"):
            backend.upload(pixels(33))
        (logits,) = backend.infer(images)
        assert np.array_equal(logits, runner.predict(images))
        assert np.array_equal(sibling.infer(images)[0], logits)
    with pytest.raises(DeployError, match="closed"):
        backend.execute()


def test_unloading_under_load_answers_each_request_or_refuses_it(running: Serving) -> None:
    def unload() -> None:
        with running.client() as client:
            client.post("/v2/repository/models/floats/unload", {})

    outcomes = _under_load(running, "floats", unload)
    assert outcomes["answered"] > 0
    assert outcomes["refused"] > 0
    assert outcomes["lost"] == 0
    with running.client() as client:
        client.post("/v2/repository/models/floats/load", {})


def test_a_new_version_replaces_the_old_one_without_a_failed_request(example: Path, tmp_path: Path) -> None:
    """While the server looks at the repository every second."""
    models, versions = tmp_path / "models", list[str]()
    polling = ("--triton-option=model-control-mode=poll", "--triton-option=repository-poll-secs=1")
    arguments = ("--runner=onnxruntime", "--threads=1", "--repository", models, "--drain-timeout=2")

    def update() -> None:
        int8 = ServeModelOptions(runner="onnxruntime", precision=Precision.INT8, threads=1)
        write_repository([Bundle.open(example)], models, int8, Silent())
        end = time.monotonic() + 30
        with server.client() as client:
            while versions != ["2"] and time.monotonic() < end:
                time.sleep(0.2)
                versions[:] = client.get("/v2/models/wrn-10-1")["versions"]

    with serving(tmp_path, example, *arguments, *polling) as server:
        outcomes = _under_load(server, "wrn-10-1", update)
    assert versions == ["2"]
    assert (outcomes["refused"], outcomes["lost"], outcomes["late"]) == (0, 0, 0)


def test_no_accepted_request_is_lost_when_it_stops_under_load(example: Path, tmp_path: Path) -> None:
    with serving(tmp_path, example, "--runner=onnxruntime", "--threads=1", "--drain-timeout=10") as server:
        outcomes = _under_load(server, "wrn-10-1", lambda: server.process.send_signal(signal.SIGTERM))
        assert server.process.wait(60) == 0, server.log.read_text()
    assert outcomes["answered"] > 0
    assert outcomes["lost"] == 0


def _under_load(running: Serving, model: str, action: Callable[[], object]) -> dict[str, int]:
    """Eight clients ask on open connections without a pause while `action` runs, and for 0.3 s after it.

    A request that began before the action and gets no answer is lost; an error is an answer ("refused").
    """
    counts = {"answered": 0, "refused": 0, "lost": 0, "late": 0}
    lock, stop, acted = threading.Lock(), threading.Event(), threading.Event()
    floats = model == "floats"
    images = np.zeros((8, 3, 32, 32), np.float32) if floats else pixels(8)

    def ask() -> None:
        with running.client() as client:
            while not stop.is_set():
                before, outcome = not acted.is_set(), "answered"
                try:
                    client.infer(model, "images", "FP32" if floats else "UINT8", images)
                except DeployError as error:
                    answered = re.search(r"answers \d+", str(error)) is not None
                    outcome = "refused" if answered else "lost" if before else "late"
                    time.sleep(0.01)
                with lock:
                    counts[outcome] += 1

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    acted.set()
    action()
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    return counts


def _ask(running: Serving, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with running.client() as client:
        return client.infer("wrn-10-1", "images", "UINT8", images)["logits"]


def _statistics(running: Serving) -> dict[str, int]:
    with running.client() as client:
        found: dict[str, int] = client.get("/v2/models/wrn-10-1/stats")["model_stats"][0]
    return found
