"""The command line `wrn-deploy`: parse, call one function, print; errors become a text and an exit code."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """The entry point: runs a command and ends the process with the exit code that errors.py gives its outcome."""
    from wrn_deploy.cli.commands import app
    from wrn_deploy.errors import DeployError

    try:
        app(prog_name="wrn-deploy")
    except DeployError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: what was being made is discarded, everything else is as it was\n")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, as in `| head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except OSError as error:  # no space left, no permission
        where = f" {error.filename}" if error.filename else ""
        sys.stderr.write(f"error: cannot write or read{where} ({error.strerror}): free space or mend the permissions\n")
        sys.exit(1)
