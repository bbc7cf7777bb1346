"""The C++ service answers as the Runner does, refuses what it should, ends politely, and its memory stays flat.

WRN_DEPLOY_REQUESTS sets the number of requests; the default is short, for every change.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.embed.conftest import build_library, images  # noqa: F401
from wrn_deploy import Runner

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "cpp-service"
STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow"
REQUESTS = int(os.environ.get("WRN_DEPLOY_REQUESTS", "1500"))
CLIENTS = 4
GROWTH_BYTES = 3 * 2**20  # of the resident set, after the first fifth of the requests


def _has_httplib() -> bool:
    if shutil.which("pkg-config") is None:
        return False
    return subprocess.run(["pkg-config", "--exists", "cpp-httplib"], check=False).returncode == 0


pytestmark = pytest.mark.skipif(not _has_httplib(), reason="no cpp-httplib (libcpp-httplib-dev), or no pkg-config")


class Service:
    """The program on a free port."""

    def __init__(self, program: Path, bundle: Path) -> None:
        self.process = subprocess.Popen([program, bundle, "0"], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", self.process.stdout.readline())
        assert found is not None
        self.port = int(found[1])

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
        connection = self.connect()
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    @property
    def resident_bytes(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = build_library("native", tmp_path_factory)
    build = tmp_path_factory.mktemp("service") / "build"
    options = [f"-DCMAKE_PREFIX_PATH={library}", f"-DCMAKE_CXX_FLAGS={STRICT}", "-DCMAKE_BUILD_TYPE=Debug"]
    for command in (["cmake", "-S", str(SOURCE), "-B", str(build), *options], ["cmake", "--build", str(build)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "service.cpp" not in done.stderr, done.stderr  # no warning
    return build / "service"


@pytest.fixture
def service(program: Path, made_bundle: Path) -> Iterator[Service]:
    started = Service(program, made_bundle)
    yield started
    started.process.send_signal(signal.SIGTERM)
    assert started.process.wait(timeout=30) == 0


def _ppm(image: npt.NDArray[np.uint8]) -> bytes:
    return b"P6\n%d %d\n255\n" % (image.shape[1], image.shape[0]) + image.tobytes()


def test_requests_get_the_answers_of_the_runner_and_memory_stays_flat(
    service: Service,
    made_bundle: Path,
    images: npt.NDArray[np.uint8],  # noqa: F811
) -> None:
    with Runner.open(made_bundle, backend="onnxruntime", threads=1) as runner:
        logits = np.concatenate([runner.predict(image[None]) for image in images]).astype(np.float64)
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    expected = [(str(row.argmax()), row.max()) for row in scores]

    def drive(count: int) -> int:
        connection, wrong = service.connect(), 0
        for at in range(count):
            index = at % len(images)
            connection.request("POST", "/classify", _ppm(images[index]))
            answer = json.loads(connection.getresponse().read())
            wrong += answer["label"] != expected[index][0] or abs(answer["score"] - expected[index][1]) > 1e-5
            if at % 4 == 3:  # a server ends a connection after some requests: make a new one
                connection.close()
                connection = service.connect()
        connection.close()
        return wrong

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert sum(pool.map(drive, [REQUESTS // 5 // CLIENTS] * CLIENTS)) == 0
        before = service.resident_bytes
        assert sum(pool.map(drive, [REQUESTS * 4 // 5 // CLIENTS] * CLIENTS)) == 0
    grown = service.resident_bytes - before
    print(f"{REQUESTS} requests: {before / 1e6:.1f} MB, then {grown / 1e6:+.2f} MB")  # noqa: T201 (with pytest -s)
    assert grown < GROWTH_BYTES


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 422, "the body is not a binary PPM with 255 levels (P6)"),
        (b"P5\n32 32\n255\n" + bytes(3072), 422, "the body is not a binary PPM"),
        (b"P6\n31 32\n255\n" + bytes(2976), 422, "the image is 31x32: expected 32x32"),
        (b"P6\n32 32\n255\n" + bytes(3071), 422, "the body has 3084 bytes: expected 3085"),
        (b"P6\n32 32\n65535\n" + bytes(3072), 422, "the body is not a binary PPM"),
        (bytes(100_000), 413, ""),
    ],
)
def test_what_is_no_image_of_the_networks_size_is_refused(
    service: Service, body: bytes, status: int, said: str
) -> None:
    found, text = service.ask("POST", "/classify", body)
    assert found == status
    assert said in text


def test_it_says_what_it_runs(service: Service) -> None:
    status, text = service.ask("GET", "/health")
    assert (status, json.loads(text)) == (200, {"status": "ok", "model": "wrn-10-1", "precision": "fp32"})


def test_a_folder_without_a_bundle_is_named(program: Path, tmp_path: Path) -> None:
    done = subprocess.run([program, tmp_path, "0"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path} is not a bundle")
