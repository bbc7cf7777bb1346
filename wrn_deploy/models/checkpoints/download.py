"""Downloads a file by HTTPS, whole and checked or not at all, within limits; the standard library only."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import queue
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from http.client import HTTPException, HTTPMessage, HTTPResponse
from io import BufferedRandom
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.budget import budget
from wrn_deploy.files.regular import open_regular
from wrn_deploy.progress import Progress

__all__ = ["check_address", "download"]

PARTIAL = ".part"
READABLE = 0o644
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SILENCE_S = 10  # a server that sends less than SLOWEST_BYTES in this time has stalled
SLOWEST_BYTES = 10 * 2**10
PART_BYTES = 2**16
MAX_REDIRECTS = 5


def check_address(address: str) -> None:
    """Checks that an address is one of HTTPS, or of this machine.

    Raises:
        DeployError: it is not.
    """
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise DeployError(
            f"{address} is not an HTTPS URL: expected https://..., so that nobody can change files in transit"
        )


def download(address: str, target: Path, check: Callable[[str], None], progress: Progress) -> None:
    """Downloads `address` to `target`; what was received of a file that breaks off is completed, not received again.

    Args:
        address: of HTTPS, or of this machine. Redirects must stay on its host.
        target: the file to write, in a folder that exists.
        check: raises for a sha256, in hexadecimal, that the file must not have; called before `target` is written.
        progress: shows the bytes received.

    Raises:
        DeployError: the address is not one of HTTPS, or leads to another host.
        OverLimit: the file is larger than the budget's `download_bytes`.
        OSError: the server cannot be reached, does not have the file (HTTPError), or stalls; or `target` cannot be
            written.
    """
    check_address(address)
    with _partial_file(target) as (partial, path):
        _receive(address, partial, target.name, progress)
        partial.seek(0)
        check(hashlib.file_digest(partial, "sha256").hexdigest())
        path.replace(target)


@contextlib.contextmanager
def _partial_file(target: Path) -> Iterator[tuple[BufferedRandom, Path]]:
    """A new file beside `target`, locked, and removed at the end; removes those that killed processes left."""
    beginning = f".{target.name}."
    for left in target.parent.glob(f"{beginning}*{PARTIAL}"):
        with contextlib.suppress(OSError, DamagedFile), open_regular(left.name, inside=left.parent) as old:
            fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an OSError while its process lives
            left.unlink()
    descriptor, name = tempfile.mkstemp(prefix=beginning, suffix=PARTIAL, dir=target.parent)
    try:
        with os.fdopen(descriptor, "w+b") as partial:
            fcntl.flock(partial, fcntl.LOCK_EX)
            os.fchmod(descriptor, READABLE)  # mkstemp lets the owner alone read it
            yield partial, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _receive(address: str, partial: BufferedRandom, name: str, progress: Progress) -> None:
    """Receives the whole file, in as many attempts as bring it further."""
    received, version = 0, ""
    with contextlib.ExitStack() as stack:
        advance: Callable[[int], None] | None = None
        while True:
            headers = {"Accept-Encoding": "identity", "User-Agent": "wrn-deploy"}
            if received and version:
                headers |= {"Range": f"bytes={received}-", "If-Range": version}
            before = received
            with _open(urllib.request.Request(address, headers=headers)) as response:  # noqa: S310 (checked)
                if response.status != 206 or not str(response.headers["Content-Range"]).startswith(f"bytes {before}-"):
                    before = received = 0  # the whole file: it has changed, or the server knows no ranges
                    partial.truncate(0)
                version = _version(response.headers)
                total = _total(response.headers, received)
                budget().check("download_bytes", total or received, name)
                if advance is None:
                    advance = stack.enter_context(progress.task(f"Downloading {name}", total))
                partial.seek(received)
                for part in _parts(response):
                    received += len(part)
                    budget().check("download_bytes", received, name)
                    if total is not None and received > total:
                        raise ConnectionError(f"the server sends more than the {total:,} bytes that it announced")
                    partial.write(part)
                    advance(len(part))
            if total is None or received == total:
                partial.flush()
                return
            if received - before < SLOWEST_BYTES or not version:
                raise ConnectionError(f"the server sent {received:,} of {total:,} bytes")


def _version(headers: Message) -> str:
    """What names exactly this content to the server; "" if it says nothing or only something vague."""
    tag = headers["ETag"] or ""
    return "" if tag.startswith("W/") else tag


def _total(headers: Message, received: int) -> int | None:
    length = headers["Content-Length"]
    if headers["Content-Encoding"] not in (None, "identity") or (length is not None and not length.isdigit()):
        raise ConnectionError("the server sends the file in another encoding than requested")
    return None if length is None else received + int(length)


def _parts(response: HTTPResponse) -> Iterator[bytes]:
    """What arrives, until the server ends it or breaks off."""
    start, arrived = time.monotonic(), 0
    while True:
        try:
            part = response.read1(PART_BYTES)
        except TimeoutError as error:
            raise TimeoutError(f"the server sends nothing for {SILENCE_S} s") from error
        except (HTTPException, ConnectionError):
            return
        if not part:
            return
        yield part
        arrived += len(part)
        if time.monotonic() - start > SILENCE_S:
            if arrived < SLOWEST_BYTES:
                raise TimeoutError(f"the server sends {arrived:,} bytes in {SILENCE_S} s")
            start, arrived = time.monotonic(), 0


def _open(request: urllib.request.Request) -> HTTPResponse:
    """The response; waits at most `seconds` for its headers, even if they arrive byte by byte."""
    opener, answers = urllib.request.build_opener(_SameHost()), queue.SimpleQueue[Any]()

    def ask() -> None:
        try:
            answers.put(opener.open(request, timeout=SILENCE_S))
        except Exception as error:  # noqa: BLE001 (raised by the caller)
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=budget().seconds)
    except queue.Empty as error:
        raise TimeoutError(f"no answer within {budget().seconds} s") from error
    if isinstance(answer, HTTPException):
        raise ConnectionError(f"the server does not speak HTTP ({answer!r})") from answer
    if isinstance(answer, Exception):
        raise answer
    assert isinstance(answer, HTTPResponse)
    return answer


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects within a host and a scheme."""

    max_redirections = max_repeats = MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise DeployError(
                f"{req.full_url} leads to {new.scheme}://{new.netloc}: expected the file on its own server; use the "
                "URL of a server that has it, or download the file yourself and pass it"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)
