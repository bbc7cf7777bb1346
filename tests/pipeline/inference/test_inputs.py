"""What predict takes: files, folders, patterns, addresses of HTTPS, standard input; and what it refuses."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.answering import Answer, Handler
from wrn_deploy.data.any_image import ImageBytes, fit_images
from wrn_deploy.errors import DeployError, OverLimit, UsageError
from wrn_deploy.files.budget import raised
from wrn_deploy.models import describe_model
from wrn_deploy.pipeline.inference.inputs import find_images
from wrn_deploy.progress import Silent


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), 9, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.png", "a.PNG", "below/c.png", "notes.txt", ".hidden.png"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png())
    return tmp_path / "photos"


def send(content: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def test_folders_and_patterns_give_their_images_in_order(photos: Path) -> None:
    below = photos / "below" / "c.png"
    assert find_images([str(photos)], Silent()) == (photos / "a.PNG", photos / "b.png", below)
    assert find_images([str(photos / "*.png")], Silent()) == (photos / "b.png",)
    assert find_images([str(photos / "**" / "*.png")], Silent()) == (photos / "b.png", below)
    assert find_images(["x", str(photos / "b.png"), "x"], Silent()) == (Path("x"), photos / "b.png", Path("x"))


def test_a_file_named_like_a_pattern_is_a_file(photos: Path) -> None:
    odd = photos / "[1].png"
    odd.write_bytes(png())
    assert find_images([str(odd)], Silent()) == (odd,)


@pytest.mark.parametrize("word", ["empty", "*.jpg"])
def test_nothing_found_is_an_error(photos: Path, word: str) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(DeployError, match=r"images: expected files that end with one of \.apng, "):
        find_images([str(photos / word)], Silent())


def test_standard_input_is_one_image() -> None:
    assert find_images(["-"], Silent(), io.BytesIO(png())) == (ImageBytes("standard input", png()),)
    with pytest.raises(UsageError, match="standard input is empty"):
        find_images(["-"], Silent(), io.BytesIO())
    with pytest.raises(UsageError, match="- is given twice"):
        find_images(["-", "-"], Silent(), io.BytesIO(png()))
    with raised("image_bytes=10"), pytest.raises(OverLimit, match="standard input needs"):
        find_images(["-"], Silent(), io.BytesIO(png()))


def test_an_address_is_received_whole_under_its_own_name(answering: Callable[[Answer], str]) -> None:
    address = f"{answering(send(png()))}/some%20where/photo.png?size=1"
    (image,) = find_images([address], Silent())
    assert image == ImageBytes(address, png())
    ((names, pixels),) = fit_images([image], describe_model("wrn-10-1").preprocessing, 8)
    assert names == (address,)
    assert pixels.shape == (1, 32, 32, 3)
    assert (pixels == 9).all()


def test_addresses_are_limited(answering: Callable[[Answer], str]) -> None:
    with raised("image_bytes=10"), pytest.raises(OverLimit):
        find_images([answering(send(png()))], Silent())
    with pytest.raises(DeployError, match="answers 404 Not Found: expected an image"):
        find_images([answering(send(b"", 404))], Silent())
    with pytest.raises(DeployError, match="cannot be downloaded"):
        find_images(["http://127.0.0.1:9/a.png"], Silent())


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/a.png", "file:///etc/passwd", "http://127.0.0.2:1/a.png"])
def test_redirects_stay_on_their_host_and_scheme(answering: Callable[[Answer], str], target: str) -> None:
    with pytest.raises(DeployError, match=r"leads to|answers 302|cannot be downloaded"):
        find_images([answering(send(b"", 302, Location=target))], Silent())


def test_only_https_leaves_this_machine() -> None:
    with pytest.raises(DeployError, match="is not an HTTPS URL"):
        find_images(["http://example.com/photo.jpg"], Silent())
    with pytest.raises(DeployError, match="is not a URL"):
        find_images(["https://[1/photo.jpg"], Silent())
