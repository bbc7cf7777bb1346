"""Reads a file in a child process with limits, for libraries that damage can crash; the standard library only.

The child gets the opened file and writes what it read to its standard output, in a format of the caller's; nothing
from it is unpickled or run. It ends with its parent.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.budget import VARIABLE, budget
from wrn_deploy.process.children import Child, serve_parent

__all__ = ["allow_memory", "read_limited"]

# It imports from where its parent does, not from the current folder, as -m would.
PROGRAM = (
    "import sys; _, function, name, file, *sys.path = sys.argv; from wrn_deploy.process import limited; "
    "limited.serve(function, name, int(file))"
)
# The exit codes of the errors that a reader may raise; standard error has the text.
KINDS: dict[int, type[DeployError]] = {10: DeployError, 11: DamagedFile, 12: OverLimit}
SPARE_BYTES = 512 * 2**20  # address space for a library's own needs
PAGE_BYTES = resource.getpagesize()


def read_limited(function: str, file: BinaryIO, name: object, expected: str) -> BinaryIO:
    """Runs `function` on the file in a child; returns what it wrote, as a temporary file at its beginning.

    Args:
        function: as in "package.module:function"; called with the file, a stream to write to and the file's name. It
            may raise DeployError, DamagedFile or OverLimit. Its module should import little.
        file: the file, opened; it must have a descriptor.
        name: the file's name for errors.
        expected: what errors say was expected.

    Raises:
        DamagedFile: the function says so; or the child crashed, or ran out of memory.
        OverLimit: the function says so, or it took more than `seconds`.
    """
    limits = budget()
    file.seek(0)
    output: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 (the caller's)
    try:
        with tempfile.TemporaryFile() as errors:
            command = [sys.executable, "-P", "-c", PROGRAM, function, str(name), str(file.fileno()), *sys.path]
            one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            with Child(
                command, pass_fds=[file.fileno()], stdout=output, stderr=errors, env={**os.environ, **one_thread}
            ) as child:
                try:
                    code = child.wait(limits.seconds)
                except subprocess.TimeoutExpired:
                    code = -signal.SIGXCPU
                finally:
                    child.kill()
            errors.seek(0)
            text = errors.read(10_000).decode("utf-8", "replace").strip()
        _check_end(code, text, name, expected)
    except BaseException:
        output.close()
        raise
    output.seek(0)
    return output


def _check_end(code: int, text: str, name: object, expected: str) -> None:
    if code in KINDS:
        raise KINDS[code](text)
    if code == -signal.SIGXCPU:
        seconds = budget().seconds
        raise OverLimit(
            f"{name} was not read within {seconds} seconds: {expected}; if you trust the file, raise the limit with "
            f"`wrn-deploy --limit seconds={10 * seconds} ...` or {VARIABLE}=seconds={10 * seconds}"
        )
    if code:
        cause = signal.Signals(-code).name if code < 0 else text.rpartition("\n")[2] or f"exit code {code}"
        raise DamagedFile(f"{name} is damaged: the library that reads it failed ({cause}): {expected}")


def serve(function: str, name: str, file: int) -> None:
    """The child's work, on a file descriptor; ends the process."""
    serve_parent()
    limits = budget()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for kind, most in (
        (resource.RLIMIT_CPU, limits.seconds),
        (resource.RLIMIT_FSIZE, limits.memory_bytes + SPARE_BYTES),
    ):
        _lower(kind, most)
    module, _, called = function.partition(":")
    reader: Callable[[BinaryIO, BinaryIO, str], None] = getattr(importlib.import_module(module), called)
    allow_memory(0)
    try:
        reader(os.fdopen(file, "rb"), sys.stdout.buffer, name)
        sys.stdout.buffer.flush()
    except DeployError as error:
        _say(str(error))
        os._exit(next(code for code in sorted(KINDS, reverse=True) if isinstance(error, KINDS[code])))
    except MemoryError:
        _say("it exceeded the memory limit for a file of this size")
        os._exit(1)
    os._exit(0)  # a damaged library may crash at its end


def allow_memory(size: int) -> None:
    """Lets this process take `size` bytes more than it has now, beside what libraries need; called in the child."""
    with contextlib.suppress(OSError, ValueError):  # not on Linux
        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * PAGE_BYTES
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = taken + size + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _lower(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (least, hard))


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
