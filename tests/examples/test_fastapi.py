"""The FastAPI service answers as the Runner does, 200 requests at a time, refuses what it should, and ends politely."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wrn_deploy
from wrn_deploy import Runner
from wrn_deploy.data import Role, open_data

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

ROOT = Path(__file__).resolve().parents[2]
REQUESTS = 200
MAX_BYTES = 100_000


class Server:
    """The service in a process of its own, on a free port."""

    def __init__(self, bundle: Path, **settings: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))}
        environment |= {"BUNDLE": str(bundle), "BACKEND": "onnxruntime", "PRECISION": "fp32", **settings}
        command = [sys.executable, "-m", "uvicorn", "--factory", "service:create_app", "--port", "0"]
        self.process = subprocess.Popen(
            command, cwd=ROOT / "examples" / "fastapi", env=environment, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.said = ""
        for line in self.process.stderr:
            self.said += line
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                return
        raise AssertionError(self.said)

    def ask(self, method: str, path: str, body: bytes | Iterator[bytes] | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        _, rest = self.process.communicate(timeout=60)
        return self.said + rest


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wrn_deploy.example(tmp_path_factory.mktemp("example") / "example").bundle.folder


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[Server]:
    started = Server(bundle, MAX_BYTES=str(MAX_BYTES))
    yield started
    started.stop()


def _encode(pixels: np.ndarray[Any, np.dtype[np.uint8]], kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    """Real digits, PNG and JPEG in turns."""
    items = list(open_data("digits", Role.TEST).items())[:REQUESTS]
    return [_encode(item.load(), ("PNG", "JPEG")[at % 2]) for at, item in enumerate(items)]


def test_200_requests_get_what_the_runner_computes(server: Server, images: list[bytes], bundle: Path) -> None:
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in images])
    with Runner.open(bundle, backend="onnxruntime", precision="fp32") as runner:
        logits, labels = runner.predict(pixels), runner.labels
    scores = np.exp(logits.astype(np.float64))
    scores /= scores.sum(axis=1, keepdims=True)
    with ThreadPoolExecutor(REQUESTS) as pool:
        answers = list(pool.map(lambda image: server.ask("POST", "/classify?top_k=2", image), images))
    assert {status for status, _ in answers} == {200}
    for expected, (_, text) in zip(scores, answers, strict=True):
        best = json.loads(text)["best"]
        assert [each["index"] for each in best] == list(np.argsort(-expected)[:2])
        assert best[0]["label"] == labels[int(expected.argmax())]
        np.testing.assert_allclose([each["score"] for each in best], np.sort(expected)[:-3:-1], atol=1e-5)
    assert f'classify_requests_total{{status="200"}} {REQUESTS}\n' in server.ask("GET", "/metrics")[1]


def test_it_is_alive_and_ready(server: Server) -> None:
    assert server.ask("GET", "/healthz") == (200, '{"status":"alive"}')
    status, text = server.ask("GET", "/readyz")
    assert (status, json.loads(text)["precision"]) == (200, "fp32")


def test_what_it_cannot_take_is_refused_with_a_reason(server: Server, images: list[bytes]) -> None:
    large = _encode(np.zeros((33, 32, 3), np.uint8), "PNG")
    cases: list[tuple[bytes | Iterator[bytes], int, str]] = [
        (b"no image", 415, "expected a JPEG or a PNG"),
        (b"", 415, "expected a JPEG or a PNG"),
        (images[0][: len(images[0]) // 2], 422, "image 0"),
        (large, 422, "image 0 is 32x33 pixels: expected 32x32"),
        (b"\0" * (MAX_BYTES + 1), 413, f"at most {MAX_BYTES} bytes"),
        (iter([images[0], b"\0" * MAX_BYTES]), 413, f"at most {MAX_BYTES} bytes"),  # in chunks: no Content-Length
    ]
    for body, status, reason in cases:
        answer = server.ask("POST", "/classify", body)
        assert answer[0] == status
        assert reason in answer[1]
    assert server.ask("POST", "/classify?top_k=0", images[0])[0] == 422
    assert server.ask("GET", "/classify")[0] == 405


def test_at_the_end_it_answers_those_that_wait(bundle: Path, images: list[bytes]) -> None:
    server = Server(bundle, MAX_DELAY_MS="1500", MAX_BATCH="64")
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(server.ask, "POST", "/classify", image) for image in images[:8]]
        while "images_waiting 8" not in server.ask("GET", "/metrics")[1]:
            assert not any(answer.done() for answer in answers)
        said = server.stop()
        assert [answer.result()[0] for answer in answers] == [200] * 8
    assert "Application shutdown complete" in said


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"MAX_BATCH": "many"}, "MAX_BATCH is 'many': expected a number"), ({"BUNDLE": "gone"}, "gone is not a bundle")],
)
def test_a_wrong_setting_is_told_at_the_start(bundle: Path, settings: dict[str, str], reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        Server(bundle, **settings)
