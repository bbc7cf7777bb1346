"""What is timed: one run of a candidate within a boundary, on one stream or several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from wrn_deploy.bench.report.report import Boundary
from wrn_deploy.runtime.backend import Array, Backend

__all__ = ["Section", "section_of"]

Section = Callable[[], object]


def section_of(
    backends: Sequence[Backend], boundary: Boundary, prepare: Callable[[], Array], pool: ThreadPoolExecutor
) -> Section:
    """One run: an inference on each of the backends, at the same time where there are several.

    Args:
        backends: one, or siblings that share their weights.
        boundary: what a run takes in.
        prepare: decodes a batch of images and gives the input of the network.
        pool: its threads run the inferences where there are several; one thread each.
    """
    batch = prepare()
    for backend in backends:
        backend.upload(batch)

    def infer(backend: Backend) -> None:
        backend.execute()
        backend.synchronize()

    def transfer(backend: Backend) -> None:
        backend.upload(batch)
        infer(backend)
        backend.download()

    def everything(backend: Backend) -> None:
        backend.upload(prepare())
        infer(backend)
        backend.download()[0].argmax(axis=1)

    run = {Boundary.COMPUTE: infer, Boundary.TRANSFER: transfer, Boundary.E2E: everything}[boundary]
    if len(backends) == 1:
        return partial(run, backends[0])
    return lambda: _finish(pool.map(run, backends))


def _finish(results: Iterable[None]) -> None:
    for _ in results:
        pass
