"""A real Triton server with ensembles: an encoded image gets Runner's answer to the bit, and a bad one an error."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import wrn_deploy
from tests.pipeline.serving.running import Serving, serving
from tests.serving.environment import ROOT, run_client
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError
from wrn_deploy.files.budget import VARIABLE
from wrn_deploy.manifest import MANIFEST, Manifest
from wrn_deploy.pipeline.inference.example import copy_example
from wrn_deploy.pipeline.serving.models import ServeModelOptions
from wrn_deploy.pipeline.serving.repository import write_repository
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.runner import Runner

CHANCE = np.random.default_rng(0)
PIXELS, IMAGE_BYTES = 40_000, 60_000  # the server's limits
FORMATS = {"JPEG": "RGB", "PNG": "RGBA", "WEBP": "RGB", "BMP": "L", "GIF": "P"}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The packaged network, which now takes images of any size: it resizes and crops them."""
    bundle = copy_example(tmp_path_factory.mktemp("served") / "example", Silent()).bundle
    preprocessing = dataclasses.replace(bundle.spec.preprocessing, resize=36)
    spec = dataclasses.replace(bundle.spec, preprocessing=preprocessing)
    manifest = Manifest(model=spec, random_weights=False, artifacts=bundle.artifacts)
    (bundle.folder / MANIFEST).write_bytes(manifest.to_bytes())
    return Bundle.open(bundle.folder)


@pytest.fixture(scope="module")
def running(example: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with an ensemble of a network that takes pixels, and one of a network that takes normalised images."""
    folder = tmp_path_factory.mktemp("server")
    options = ServeModelOptions(name="floats", normalised=True, runner="onnxruntime", threads=1, ensemble=True)
    write_repository([example], folder / "models", options, Silent())
    arguments = ("--repository", folder / "models", "--runner=onnxruntime", "--threads=1", "--ensemble")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, f"pixels={PIXELS},image_bytes={IMAGE_BYTES}")
        with serving(folder, example.folder, *arguments) as server:
            yield server


@pytest.fixture(scope="module")
def runner(example: Bundle) -> Iterator[Runner]:
    with Runner.open(example.folder, precision="fp32", backend="onnxruntime", threads=1, contexts=1) as opened:
        yield opened


def encoded(kind: str = "JPEG", size: tuple[int, int] = (75, 50)) -> bytes:
    """A picture with shapes, so that resizing and cropping matter."""
    small = Image.fromarray(CHANCE.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    file = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).convert(FORMATS[kind]).save(file, kind)
    return file.getvalue()


def expected(runner: Runner, *images: bytes) -> npt.NDArray[np.float32]:
    return runner.predict(np.stack([wrn_deploy.read_image(image, runner) for image in images]))


def ask(running: Serving, *images: bytes, model: str = "wrn-10-1-ensemble") -> npt.NDArray[Any]:
    """Shorter images are filled up with zeros."""
    rows = np.zeros((len(images), max(map(len, images))), np.uint8)
    for row, image in zip(rows, images, strict=True):
        row[: len(image)] = np.frombuffer(image, np.uint8)
    with running.client() as client:
        return client.infer(model, "encoded", "UINT8", rows)["logits"]


@pytest.mark.parametrize("model", ["wrn-10-1-ensemble", "floats-ensemble"])
@pytest.mark.parametrize("kind", FORMATS)
def test_an_encoded_image_is_answered_as_runner_does_to_the_bit(
    running: Serving, runner: Runner, kind: str, model: str
) -> None:
    image = encoded(kind)
    assert np.array_equal(ask(running, image, model=model), expected(runner, image))


def test_several_images_of_one_request_are_filled_up_with_zeros(running: Serving, runner: Runner) -> None:
    images = [encoded(kind, (60 + 5 * number, 50)) for number, kind in enumerate(FORMATS)]
    assert len({len(image) for image in images}) == len(images)
    assert np.array_equal(ask(running, *images), expected(runner, *images))


def test_many_clients_get_their_own_answers(running: Serving, runner: Runner) -> None:
    images = [encoded(size=(40 + number, 40)) for number in range(48)]
    with ThreadPoolExecutor(16) as pool:
        found = np.concatenate(list(pool.map(lambda image: ask(running, image), images)))
    assert np.allclose(found, expected(runner, *images), rtol=1e-4, atol=1e-4)  # a batch's sums have another order


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"this is no image", "the image cannot be decoded"),
        (encoded()[:-300], "the image cannot be decoded"),
        (b"%PDF-1.4 ...", "PDF"),
        (encoded(size=(400, 300)), f"the image needs 120,000 pixels: the limit is {PIXELS:,}"),
        (bytes(IMAGE_BYTES + 1), f"the image needs 60,001 bytes in one image file: the limit is {IMAGE_BYTES:,}"),
    ],
    ids=["text", "truncated", "pdf", "pixels", "bytes"],
)
def test_a_bad_image_is_the_clients_error_and_the_next_one_is_answered(
    running: Serving, runner: Runner, image: bytes, words: str
) -> None:
    with pytest.raises(DeployError, match=words) as caught:
        ask(running, image)
    assert "answers 400" in str(caught.value)
    good = encoded()
    assert np.array_equal(ask(running, good), expected(runner, good))


def test_one_bad_image_of_several_is_named(running: Serving) -> None:
    with pytest.raises(DeployError, match="image 1 cannot be decoded"):
        ask(running, encoded(), b"none", encoded())


def test_an_empty_request_is_an_error(running: Serving) -> None:
    with pytest.raises(DeployError, match="answers 4"):
        ask(running, b"")


def test_the_printed_line_sends_a_file(running: Serving, runner: Runner, tmp_path: Path) -> None:
    line = next(line for line in running.printed if line.startswith("image")).removeprefix("image").strip()
    image = encoded()
    (tmp_path / "image.jpg").write_bytes(image)
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, check=True, timeout=60)
    (output,) = json.loads(done.stdout)["outputs"]
    assert np.array_equal(np.array(output["data"], np.float32), expected(runner, image)[0])


def test_best_classes_have_their_labels(running: Serving, runner: Runner) -> None:
    image = encoded()
    source = {"name": "encoded", "datatype": "UINT8", "shape": [1, len(image)], "data": [*image]}
    wanted = {"name": "logits", "parameters": {"classification": 2}}
    with running.client() as client:
        answer = client.post("/v2/models/wrn-10-1-ensemble/infer", {"inputs": [source], "outputs": [wanted]})
    best = np.argsort(-expected(runner, image)[0])[:2]
    assert [entry.split(":")[1:] for entry in answer["outputs"][0]["data"]] == [
        [str(index), runner.labels[index]] for index in best
    ]


def test_nvidias_client_sends_a_file(running: Serving, runner: Runner, tmp_path: Path) -> None:
    """The code of docs/how-to/triton.md, by gRPC: the client for HTTP would need gevent."""
    page = (ROOT / "docs" / "how-to" / "triton.md").read_text(encoding="utf-8")
    code = page.partition("a line that sends a file with curl. In Python:\n\n")[2].partition("\n\n")[0]
    code = textwrap.dedent(code).replace("image.jpg", str(tmp_path / "image.jpg"))
    code = code.replace("wrn-16-2", "wrn-10-1").replace(".http", ".grpc").replace("8000", str(running.grpc))
    image = encoded()
    (tmp_path / "image.jpg").write_bytes(image)
    found = run_client(f"import json\n{code}\nprint(json.dumps(logits.tolist()))")
    assert np.array_equal(np.array(found, np.float32), expected(runner, image))


def test_a_decoder_that_dies_fails_one_request_and_is_replaced(running: Serving, runner: Runner) -> None:
    """As one does whose library crashes on an image."""
    image = encoded()
    wanted = expected(runner, image)
    for pid in decoders_of(running.process.pid):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(DeployError, match=r"the image .*SIGKILL"):
        ask(running, image)
    assert np.array_equal(ask(running, image), wanted)


def decoders_of(ancestor: int) -> list[int]:
    """The processes that decode images, below a process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"decoding import process" in (folder / "cmdline").read_bytes() and ancestor in ancestors_of(folder):
                found.append(int(folder.name))
    assert found
    return found


def ancestors_of(process: Path) -> list[int]:
    found = [int(process.name)]
    while found[-1] > 1:
        status = (process.parent / str(found[-1]) / "status").read_text()
        found.append(int(status.partition("PPid:")[2].split()[0]))
    return found
