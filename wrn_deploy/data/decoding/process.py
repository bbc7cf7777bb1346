"""The process that decodes images for another one, which `decoders.py` starts; no torch."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt

from wrn_deploy.data.containers.apart import limit_process
from wrn_deploy.data.preprocess import fit_item
from wrn_deploy.errors import DeployError
from wrn_deploy.files.budget import budget
from wrn_deploy.process.children import serve_parent

__all__ = ["serve"]


def serve(socket: int) -> None:
    """Answers requests on the file descriptor `socket` until its other end is closed.

    A request is (preprocessing, items). The answer is a list with None for each decoded image and the error of each
    other one, followed by the pixels of the decoded images as bytes, not pickled. An image that takes more than the
    budget's seconds ends the process with SIGALRM, as native code cannot be interrupted.
    """
    serve_parent()
    limits = budget()
    limit_process(limits.memory_bytes)
    connection = Connection(socket)
    while True:
        try:
            preprocessing, items = connection.recv()
        except (EOFError, OSError):
            return
        except Exception as error:  # noqa: BLE001 (a function that this process cannot import, for example)
            connection.send(DeployError(f"a decoding process cannot take its images: {type(error).__name__}: {error}"))
            continue
        outcomes: list[Exception | None] = []
        fitted: list[npt.NDArray[np.uint8]] = []
        for item in items:
            signal.alarm(limits.seconds)
            try:
                fitted.append(fit_item(item, preprocessing))
                outcomes.append(None)
            except Exception as error:  # noqa: BLE001 (the other process raises it)
                outcomes.append(error if isinstance(error, DeployError) else _portable(error))
            signal.alarm(0)
        try:
            connection.send(outcomes)
            for image in fitted:
                content = np.ascontiguousarray(image).reshape(-1).data
                while content:
                    content = content[os.write(socket, content) :]
        except OSError:  # the other end is closed
            return


def _portable(error: Exception) -> Exception:
    """Adds the traceback to the error; replaces an error that cannot be sent by its text."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (made in this line)
    except Exception:  # noqa: BLE001 (whatever its class does)
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
