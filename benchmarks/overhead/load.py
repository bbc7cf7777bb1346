"""Asks a server over many connections from one thread, so that the load leaves the cores to the server.

Clients in Python's threads would share the cores, and one interpreter's lock, with what they measure: four of them
would show the clients' limit, not the server's. A request here is bytes that were made once; an answer is read to its
end, and only its status is looked at.
"""

from __future__ import annotations

import contextlib
import json
import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["Answers", "ask_as_answered", "ask_at_times", "request_for"]

HOST = "127.0.0.1"
WAIT_S = 60.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Microseconds that each answer took, and the seconds from the first request to the last answer."""

    latencies_us: list[float]
    seconds: float


@dataclass(slots=True)
class _Connection:
    """A connection and the part of an answer that has come."""

    socket: socket.socket
    since: float = 0.0  # when the request was sent, or was due
    received: bytearray = field(default_factory=bytearray)

    def ask(self, request: bytes, since: float) -> None:
        self.since = since
        self.received.clear()
        self.socket.sendall(request)

    def is_answered(self) -> bool:
        """Reads what has come; whether the answer is whole."""
        part = self.socket.recv(1 << 17)
        assert part, "the server closed the connection"
        self.received += part
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return False
        found = LENGTH.search(self.received, 0, end)
        assert found is not None, "an answer without its length"
        if len(self.received) < end + 4 + int(found[1]):
            return False
        assert self.received.startswith(b"HTTP/1.1 200"), bytes(self.received[:500])
        return True


def request_for(model: str, images: npt.NDArray[np.uint8]) -> bytes:
    """An HTTP request of the KServe v2 protocol for a batch of pixels, with binary tensors both ways."""
    tensor = {
        "name": "images",
        "shape": list(images.shape),
        "datatype": "UINT8",
        "parameters": {"binary_data_size": images.nbytes},
    }
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    lines = (
        f"POST /v2/models/{model}/infer HTTP/1.1",
        f"Host: {HOST}",
        "Content-Type: application/octet-stream",
        f"Inference-Header-Content-Length: {len(header)}",
        f"Content-Length: {len(header) + images.nbytes}",
    )
    return "\r\n".join((*lines, "", "")).encode() + header + images.tobytes()


def ask_as_answered(port: int, request: bytes, clients: int, seconds: float) -> Answers:
    """A closed loop: each of `clients` asks again as soon as it has its answer."""
    latencies = list[float]()
    with _connected(port, clients) as (connections, selector):
        begin = time.perf_counter()
        for each in connections:
            each.ask(request, time.perf_counter())
        running, now = clients, begin
        while running:
            for each in _ready(selector):
                if not each.is_answered():
                    continue
                now = time.perf_counter()
                latencies.append(round((now - each.since) * 1e6, 1))
                if now - begin < seconds:
                    each.ask(request, now)
                else:
                    running -= 1
    return Answers(latencies_us=latencies, seconds=now - begin)


def ask_at_times(port: int, request: bytes, rate: float, seconds: float, clients: int = 64) -> Answers:
    """An open loop: `rate` requests a second, whether earlier ones are answered or not.

    A latency counts from the time at which the request was due, so that a stall delays all that follow it; a request
    waits if all of `clients` have asked.
    """
    latencies, count, asked = list[float](), int(rate * seconds), 0
    with _connected(port, clients) as (connections, selector):
        free, begin = deque(connections), time.perf_counter()
        now = begin
        while len(latencies) < count:
            due = begin + asked / rate
            if asked < count and free and time.perf_counter() >= due:
                free.popleft().ask(request, due)
                asked += 1
                continue
            wait = max(0.0, due - time.perf_counter()) if asked < count and free else WAIT_S
            for each in _ready(selector, wait):
                if each.is_answered():
                    now = time.perf_counter()
                    latencies.append(round((now - each.since) * 1e6, 1))
                    free.append(each)
    return Answers(latencies_us=latencies, seconds=now - begin)


@contextlib.contextmanager
def _connected(port: int, clients: int) -> Iterator[tuple[list[_Connection], selectors.BaseSelector]]:
    with contextlib.ExitStack() as opened:
        selector = opened.enter_context(selectors.DefaultSelector())
        connections = []
        for _ in range(clients):
            each = opened.enter_context(socket.create_connection((HOST, port), WAIT_S))
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connections.append(_Connection(each))
            selector.register(each, selectors.EVENT_READ, connections[-1])
        yield connections, selector


def _ready(selector: selectors.BaseSelector, timeout_s: float = WAIT_S) -> Iterator[_Connection]:
    for key, _ in selector.select(timeout_s):
        yield key.data
