"""A server on this machine whose every request a function answers."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator

__all__ = ["Answer", "Handler", "answered_by"]

Handler = http.server.BaseHTTPRequestHandler
Answer = Callable[[Handler], None]


@contextlib.contextmanager
def answered_by(answer: Answer) -> Iterator[str]:
    """Runs the server during the block; yields its address, without a path."""

    class Answering(Handler):
        def do_GET(self) -> None:  # noqa: N802 (its name in the base class)
            with contextlib.suppress(OSError):  # the client has gone
                answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name in the base class)
            del format, args

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
