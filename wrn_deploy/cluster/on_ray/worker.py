"""A worker in a process of Ray's: it opens the job once, then does one shard after the other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from wrn_deploy.errors import DeployError

if TYPE_CHECKING:
    from wrn_deploy.cluster.work import Finished, Job, Worker

__all__ = ["ShardWorker"]


class ShardWorker:
    """An actor's class. Errors about the input are returned, since Ray would wrap them; others are raised.

    Args:
        folder: the current folder of the driver, in which the job's relative paths begin; here, too, if there is one.
        environment: variables that this process is to have, as the driver has them; None: not to have.
    """

    def __init__(self, folder: str, environment: Mapping[str, str | None]) -> None:
        with contextlib.suppress(OSError):
            os.chdir(folder)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._stack = contextlib.ExitStack()
        self._worker: Worker | None = None

    def open(self, job: Job, threads: int | None) -> DeployError | None:
        """Opens the job; returns what is wrong with its input, if anything is."""
        try:
            self._worker = self._stack.enter_context(job.open(threads))
        except DeployError as error:
            return error
        return None

    def run(self, shard: int) -> Finished | DeployError:
        """Does one shard, or returns what is wrong with it."""
        assert self._worker is not None
        try:
            return self._worker.run(shard)
        except DeployError as error:
            return error

    def close(self) -> None:
        """Closes the job."""
        self._stack.close()
