"""Makes all that a command prints printable, however it prints: a terminal obeys no text from outside.

A file name, a label, an argument, a warning or an error of a library may hold escape sequences, or characters that the
stream's encoding lacks. Rich's consoles write past this filter, for their styles; `terminal.py` has ours.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO, cast

from wrn_deploy.formatting import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["printable_streams"]


@contextlib.contextmanager
def printable_streams(above: Console | None = None) -> Iterator[None]:
    """Whatever goes to `sys.stdout` and `sys.stderr` in the block becomes printable, and fits their encodings.

    Args:
        above: a console with a live display; what is printed appears above that.
    """
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = (_printable(stream, above) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _printable(stream: TextIO | None, above: Console | None) -> Any:
    if stream is None:  # the caller has closed it
        return None
    if above is None:
        return _PrintableStream(stream)
    from rich.file_proxy import FileProxy

    return _PrintableStream(cast("TextIO", FileProxy(above, stream)))


class _PrintableStream:
    """Writes to another stream what is printable."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def rich_proxied_file(self) -> TextIO:
        """The innermost stream, which rich's consoles write to."""
        inner = self._stream
        while (proxied := getattr(inner, "rich_proxied_file", None)) is not None:
            inner = proxied
        return inner

    def write(self, text: str) -> int:
        """Writes the text, printable."""
        self._stream.write(printable(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes the texts, printable."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
