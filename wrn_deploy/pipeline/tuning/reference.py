"""fp32's logits on some images, and the scores of other graphs against them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from wrn_deploy.bench.report.tuning import Score
from wrn_deploy.data.cached_batches import CachedBatches
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.errors import DeployError
from wrn_deploy.process.scratch import full_is_named, open_scratch_file
from wrn_deploy.runtime.sessions import infer_with, open_session

__all__ = ["Advance", "Floats", "Reference"]

Advance = Callable[[int], None]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """The answers to one batch: labels (N,), the names of the images, and fp32's logits (N, classes)."""

    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]
    logits: Floats


class Reference:
    """fp32's logits on some images, in a temporary file, to compare other graphs with.

    A context manager; holds one session at a time.
    """

    def __init__(self, fp32: Path, batches: CachedBatches, threads: int | None, advance: Advance) -> None:
        self.batches = batches
        self.threads = threads
        self._logits = open_scratch_file()  # closed by __exit__
        self._named: list[tuple[npt.NDArray[np.int64], tuple[str, ...]]] = []  # labels and names by batch
        infer = infer_with(open_session(fp32, threads, spins=False))
        images = correct = 0
        for batch in batches:
            logits = infer(normalize(batch.images, batches.preprocessing))
            with full_is_named():
                self._logits.write(logits.tobytes())
            self._named.append((batch.labels, batch.names))
            images += len(logits)
            correct += int((logits.argmax(axis=1) == batch.labels).sum())
            advance(len(logits))
        self._classes = logits.shape[1]
        self.score = Score(images, correct, images, 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._logits.close()

    def normalized(self) -> Iterator[Floats]:
        """The images in batches, normalised, (N, 3, H, W)."""
        return (normalize(batch.images, self.batches.preprocessing) for batch in self.batches)

    def compare(self, graph: Path, advance: Advance) -> Score:
        """Measures the score of the graph in a file; raises as `score_of` does."""
        infer = infer_with(open_session(graph, self.threads, fuses_qdq=False, spins=False))
        return self.score_of(map(infer, self.normalized()), advance)

    def score_of(self, answers: Iterator[Floats], advance: Advance) -> Score:
        """Scores a graph's logits on the batches, (N, classes) each.

        Raises:
            DeployError: a logit is not finite.
        """
        correct = same = values = 0
        squares = 0.0
        for logits, wanted in zip(answers, self._wanted(), strict=True):
            squares += float(np.square(logits - wanted.logits, dtype=np.float64).sum())
            if not np.isfinite(squares):
                raise DeployError(
                    f"a graph with Convs in fp16 gives NaN or infinite logits near {wanted.names[0]}: expected finite "
                    "ones; the fp16 graph overflows there, which `wrn-deploy eval` shows too"
                )
            best = logits.argmax(axis=1)
            correct += int((best == wanted.labels).sum())
            same += int((best == wanted.logits.argmax(axis=1)).sum())
            values += logits.size
            advance(len(logits))
        return Score(self.score.images, correct, same, squares / values)

    def _wanted(self) -> Iterator[_Answers]:
        self._logits.seek(0)
        for labels, names in self._named:
            count = len(labels)
            stored = np.frombuffer(self._logits.read(4 * count * self._classes), dtype=np.float32)
            yield _Answers(labels=labels, names=names, logits=stored.reshape(count, self._classes))
