"""The command line `wrn-deploy`: parse, call one function, print; errors become a text and an exit code."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import traceback

from wrn_deploy.cli.streams import printable_streams
from wrn_deploy.formatting import printable

__all__ = ["Interrupted", "main"]

INTERRUPTED = "interrupted: unfinished files are discarded; what was there before is unchanged"
REMEDIES = {
    errno.EACCES: "fix the permissions, or choose another path",
    errno.EDQUOT: "free some space, or choose another path",
    errno.EEXIST: "a file is in the way of a folder; choose another path",
    errno.EFBIG: "allow larger files (`ulimit -f`), or choose another path",
    errno.ENOSPC: "free some space, or choose another path",
    errno.ENOTDIR: "a file is in the way of a folder; choose another path",
    errno.EROFS: "choose a writable path",
}


class Interrupted(Exception):  # noqa: N818 (not an error)
    """Ctrl-C during a command."""


def main() -> None:
    """The entry point: runs a command and ends the process with the exit code of its outcome (errors.py)."""
    with printable_streams():
        try:
            _main()
        except SystemExit as ending:
            if os.environ.get("WORLD_SIZE", "1") != "1":  # one of several processes that train together
                _leave(ending)
            raise
        except Exception:  # noqa: BLE001 (a bug: Python would print it to the stream behind the printable one)
            _end(traceback.format_exc().rstrip(), 1, "bug")


def _main() -> None:
    from wrn_deploy.cli.options.everywhere import Verbosity, set_verbosity, verbosity
    from wrn_deploy.errors import DeployError

    set_verbosity(Verbosity.NORMAL)
    try:
        from wrn_deploy.cli.app import app

        try:
            app(prog_name="wrn-deploy")
        finally:
            if sys.stdout is not None:  # None if the caller has closed it
                sys.stdout.flush()
    except DeployError as error:
        if verbosity() is Verbosity.VERBOSE and sys.stderr is not None:
            sys.stderr.write(traceback.format_exc())
        _end(f"error: {error}", error.exit_code, error.code)
    except (KeyboardInterrupt, Interrupted):
        _end(INTERRUPTED, 130, "interrupted")
    except BrokenPipeError:  # the reader of our output, as in `| head`, has gone
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        sys.exit(1)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        remedy = REMEDIES.get(error.errno or 0, "expected a readable and writable path")
        _end(f"error: cannot read or write{where} ({error.strerror or error}): {remedy}", 1, "files")


def _leave(ending: SystemExit) -> None:
    """Ends the process at once, without Python's own tidying.

    PyTorch's threads for the other processes (gloo) outlive the process group, and sometimes abort a process while its
    interpreter shuts down: 2 of 10 such runs ended with SIGABRT, after everything was written.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os._exit(ending.code if isinstance(ending.code, int) else int(ending.code is not None))


def _end(text: str, exit_code: int, code: str) -> None:
    """Prints the text, further lines of it indented: a line break in a file's name must not begin a line of ours.

    With --json it is one line of JSON, the last one on stderr, with the error's stable `code`.
    """
    shown = printable(text)
    if "--json" in sys.argv:
        error = {"code": code, "exit_code": exit_code, "text": shown.removeprefix("error: ")}
        shown = json.dumps({"error": error})
    if sys.stderr is not None:
        with contextlib.suppress(OSError):  # nobody reads it
            sys.stderr.write(shown.replace("\n", "\n  ") + "\n")
    sys.exit(exit_code)
