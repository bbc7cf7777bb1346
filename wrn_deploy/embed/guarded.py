"""Turns exceptions into the C library's codes and texts, so that none leaves Python; standard library only."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from wrn_deploy.errors import DeployError

__all__ = ["guarded", "say_nothing"]


def guarded(ffi: Any, lib: Any, call: Callable[..., None]) -> Callable[..., int]:
    """`call` with two more arguments, the buffer for an error's text and its size; returns the status."""

    @functools.wraps(call)
    def call_it(*arguments: Any) -> int:
        *given, message, room = arguments
        try:
            call(*given)
        except DeployError as error:
            _write(ffi, str(error), message, room)
            return error.exit_code
        except OSError as error:
            where = f" {error.filename}" if error.filename else ""
            _write(ffi, f"cannot read{where} ({error.strerror or error})", message, room)
            return int(lib.WRN_ERROR)
        except MemoryError as error:
            _write(ffi, f"no memory ({error}): free some, or send smaller batches", message, room)
            return int(lib.WRN_MACHINE)
        except BaseException as error:  # noqa: BLE001 (nothing of Python's may reach the host)
            _write(ffi, f"a bug in wrn-deploy: {type(error).__name__}: {error}", message, room)
            return int(lib.WRN_INTERNAL)
        return int(lib.WRN_OK)

    return call_it


def _write(ffi: Any, text: str, message: Any, room: int) -> None:
    """Copies as much of a text as fits, cut between characters."""
    data = text.replace("\0", "?").encode("utf-8", "backslashreplace")[: room - 1]
    data = data.decode("utf-8", "ignore").encode() + b"\0"
    ffi.memmove(message, data, len(data))


def say_nothing(*_exception: object) -> None:
    """Keeps cffi from printing its own errors to stderr; the call returns WRN_INTERNAL."""
