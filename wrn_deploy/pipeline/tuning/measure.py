"""Measures graphs against fp32 on the CPU, image by image: right answers, agreement, logit error; flat memory."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from wrn_deploy.bench.report.tuning import Score
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.data.sampling.digest import DataDigest
from wrn_deploy.errors import DeployError
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.sessions import infer_with, open_session

__all__ = ["Yardstick", "describe_images"]

Advance = Callable[[int], None]


def describe_images(batches: Batches, classes: int | None, progress: Progress) -> dict[str, Any]:
    """Reads every image once: finds corrupt ones before any work is done, and gives digests of pixels and labels.

    Raises:
        DeployError: with `classes`, an image has no label, or one outside of them.
    """
    digest, labels = DataDigest(), hashlib.sha256()
    name = Path(batches.source.name).name
    with progress.task(f"Reading {len(batches)} images of {name}", len(batches)) as advance:
        for batch in batches:
            for label, image in zip(batch.labels, batch.names, strict=True):
                if classes is not None and not 0 <= label < classes:
                    found = "no label" if label < 0 else f"label {label}"
                    raise DeployError(f"{image} has {found}: expected 0 to {classes - 1}, to measure accuracy")
            digest.add(batch.images)
            labels.update(batch.labels.astype("<i8").tobytes())
            advance(len(batch.labels))
    if batches.corrupt:
        progress.warn(f"left out {len(batches.corrupt)} corrupt images of {name}: {', '.join(batches.corrupt)}")
    described = {"data": name, "data_digest": digest.hexdigest(), "images": len(digest)}
    return described if classes is None else {**described, "labels_digest": labels.hexdigest()}


class Yardstick(AbstractContextManager["Yardstick"]):
    """fp32's logits on some images, kept in a file; other graphs are compared with them. One session at a time."""

    def __init__(self, fp32: Path, batches: Batches, threads: int | None, advance: Advance) -> None:
        self.batches = batches
        self.threads = threads
        self._logits: IO[bytes] = tempfile.TemporaryFile(prefix="wrn-deploy-")  # noqa: SIM115 - closed by __exit__
        infer = infer_with(open_session(fp32, threads))
        images = correct = 0
        for batch in batches:
            logits = infer(normalize(batch.images, batches.preprocessing))
            self._logits.write(logits.tobytes())
            images += len(logits)
            correct += int((logits.argmax(axis=1) == batch.labels).sum())
            advance(len(logits))
        self.reference = Score(images, correct, images, 0.0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._logits.close()

    def compare(self, graph: Path, advance: Advance) -> Score:
        """The graph's score.

        Raises:
            DeployError: a logit is not finite.
        """
        infer = infer_with(open_session(graph, self.threads, fuses_qdq=False))
        self._logits.seek(0)
        correct = same = values = 0
        squares = 0.0
        for batch in self.batches:
            logits = infer(normalize(batch.images, self.batches.preprocessing))
            wanted = np.frombuffer(self._logits.read(logits.nbytes), dtype=np.float32).reshape(logits.shape)
            squares += float(np.square(logits - wanted, dtype=np.float64).sum())
            if not np.isfinite(squares):
                raise DeployError(
                    f"a graph with Convs in fp16 gives NaN or infinite logits near {batch.names[0]}: expected finite "
                    "ones; the fp16 graph overflows there, which `wrn-deploy eval` shows too"
                )
            answers = logits.argmax(axis=1)
            correct += int((answers == batch.labels).sum())
            same += int((answers == wanted.argmax(axis=1)).sum())
            values += logits.size
            advance(len(logits))
        return Score(self.reference.images, correct, same, squares / values)
