"""Downloads from servers that stall, break off, lie about sizes or lead elsewhere: a whole file, or nothing."""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.answering import Answer, Handler
from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.budget import raised
from wrn_deploy.models.checkpoints import download as module
from wrn_deploy.models.checkpoints.download import download
from wrn_deploy.progress import Silent

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def serve(answering: Callable[[Answer], str]) -> Callable[[Answer], str]:
    """Starts a server whose every request is answered by a function; returns an address on it."""
    return lambda answer: f"{answering(answer)}/net.pth"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.3)


def get(address: str, folder: Path) -> bytes:
    """Downloads into the folder, which must be empty but for the file afterwards."""

    def check(digest: str) -> None:
        if digest != hashlib.sha256(CONTENT).hexdigest():
            raise DamagedFile("another file")

    target = folder / "net.pth"
    try:
        download(address, target, check, Silent())
    finally:
        assert [path.name for path in folder.iterdir()] == (["net.pth"] if target.exists() else [])
    return target.read_bytes()


def send(
    handler: Handler,
    content: bytes,
    length: int | None = None,
    status: int = 200,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def test_a_file_is_downloaded_with_the_rights_of_a_new_file(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    assert get(serve(lambda handler: send(handler, CONTENT)), tmp_path) == CONTENT
    assert (tmp_path / "net.pth").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("tag", ['"v1"', None])
def test_what_breaks_off_is_completed_only_if_the_server_says_that_it_is_the_same(
    tag: str | None, serve: Callable[[Answer], str], tmp_path: Path
) -> None:
    asked = []

    def answer(handler: Handler) -> None:
        wanted = handler.headers["Range"]
        asked.append((wanted, handler.headers["If-Range"]))
        tags = {"ETag": tag} if tag else {}
        if wanted is None:
            send(handler, CONTENT[:60_000], len(CONTENT), headers=tags)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        there = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        send(handler, CONTENT[start:], status=206, headers={"Content-Range": there, **tags})

    if tag:
        assert get(serve(answer), tmp_path) == CONTENT
        assert asked == [(None, None), ("bytes=60000-", '"v1"')]
    else:
        with pytest.raises(ConnectionError, match=r"sent 60,000 of 102,400 bytes"):
            get(serve(answer), tmp_path)


def test_a_file_that_has_changed_meanwhile_is_received_again(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    def answer(handler: Handler) -> None:
        if handler.headers["Range"] is None:
            send(handler, b"x" * 60_000, len(CONTENT), headers={"ETag": '"old"'})
        else:
            send(handler, CONTENT, headers={"ETag": '"new"'})

    assert get(serve(answer), tmp_path) == CONTENT


def test_a_server_that_breaks_off_for_ever_is_given_up(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    def answer(handler: Handler) -> None:
        start = int((handler.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        status, there = (206, {"Content-Range": f"bytes {start}-9/10"}) if start else (200, {})
        send(handler, CONTENT[start : start + 100], len(CONTENT) - start, status, {"ETag": '"v1"', **there})

    with pytest.raises(ConnectionError, match="sent 100 of 102,400 bytes"):
        get(serve(answer), tmp_path)


def stall(handler: Handler) -> None:
    send(handler, CONTENT[:50_000], len(CONTENT))
    time.sleep(2)


def trickle(handler: Handler) -> None:
    send(handler, b"", len(CONTENT))
    for _ in range(20):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.1)


def say_nothing(handler: Handler) -> None:
    del handler
    time.sleep(2)


@pytest.mark.parametrize("answer", [stall, trickle, say_nothing])
def test_a_server_that_stalls_is_given_up_in_time(
    answer: Answer, serve: Callable[[Answer], str], tmp_path: Path
) -> None:
    address, start = serve(answer), time.monotonic()
    with pytest.raises(OSError, match=r"sends nothing|bytes in|timed out"):
        get(address, tmp_path)
    assert time.monotonic() - start < 1.5


def test_headers_that_arrive_byte_by_byte_are_given_up_in_time(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    def answer(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(20):
            handler.wfile.write(b"X")
            handler.wfile.flush()
            time.sleep(0.2)

    address, start = serve(answer), time.monotonic()
    with raised("seconds=1"), pytest.raises(TimeoutError, match="no answer within 1 s"):
        get(address, tmp_path)
    assert time.monotonic() - start < 2.5


def test_a_file_above_the_limit_is_refused_before_and_while_it_is_received(
    serve: Callable[[Answer], str], tmp_path: Path
) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(CONTENT)

    for answer in (lambda handler: send(handler, CONTENT, 10**6), endless):
        with (
            raised("download_bytes=500000"),
            pytest.raises(OverLimit, match=r"bytes to download: the limit is 500,000"),
        ):
            get(serve(answer), tmp_path)


def test_another_form_than_asked_for_is_refused(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="in another encoding"):
        get(serve(lambda handler: send(handler, CONTENT, headers={"Content-Encoding": "gzip"})), tmp_path)


def test_what_is_not_http_is_refused(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    def answer(handler: Handler) -> None:
        handler.wfile.write(b"\0\1\2\r\n\r\n")

    with pytest.raises(ConnectionError):
        get(serve(answer), tmp_path)


@pytest.mark.parametrize(
    "place", ["file:///etc/passwd", "http://localhost:9/net.pth", "https://127.0.0.1/net.pth", "http://example.com/"]
)
def test_a_redirect_to_another_server_or_scheme_is_refused(
    place: str, serve: Callable[[Answer], str], tmp_path: Path
) -> None:
    with pytest.raises((DeployError, OSError), match=r"leads to|not allowed"):
        get(serve(lambda handler: send(handler, b"", status=302, headers={"Location": place})), tmp_path)


def test_a_redirect_on_the_same_server_is_followed_but_not_in_a_circle(
    serve: Callable[[Answer], str], tmp_path: Path
) -> None:
    def once(handler: Handler) -> None:
        if handler.path == "/net.pth":
            send(handler, b"", status=302, headers={"Location": "/other"})
        else:
            send(handler, CONTENT)

    with pytest.raises(OSError, match="infinite loop"):
        get(serve(lambda handler: send(handler, b"", status=302, headers={"Location": handler.path})), tmp_path)
    assert get(serve(once), tmp_path) == CONTENT


def test_a_wrong_file_does_not_replace_the_one_there(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"before")
    with pytest.raises(DamagedFile):
        get(serve(lambda handler: send(handler, b"wrong")), tmp_path)
    assert (tmp_path / "net.pth").read_bytes() == b"before"


def test_what_a_killed_process_left_is_removed_but_not_what_another_one_writes(
    serve: Callable[[Answer], str], tmp_path: Path
) -> None:
    left, used, link = (tmp_path / f".net.pth.{name}.part" for name in ("left", "used", "link"))
    victim = tmp_path.parent / f"{tmp_path.name}-victim"
    victim.write_bytes(b"victim")
    left.touch()
    link.symlink_to(victim)
    with used.open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        download(serve(lambda handler: send(handler, CONTENT)), tmp_path / "net.pth", lambda _digest: None, Silent())
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([used.name, link.name, "net.pth"])
    assert victim.read_bytes() == b"victim"
