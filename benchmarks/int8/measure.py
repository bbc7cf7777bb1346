"""Measures finished int8 graphs for `accuracy.py` and `qat.py`: their answers to images decoded once, and latency."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import Role, open_data
from wrn_deploy.data.classes import match_classes
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.runtime.sessions import infer_with, open_session
from wrn_deploy.spec import ModelSpec

__all__ = ["Accuracy", "Images", "compare", "latencies", "logits_of", "read_images"]

BATCH = 64
PAUSE_S = 0.02  # the last session's threads spin for a while after its last run
ROUND_S = 0.05  # of each graph in a round

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Images:
    """A data set, decoded and normalised: float32 (N, 3, H, W), labels (N,)."""

    name: str
    pixels: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How an int8 graph's answers compare with the labels and with fp32's answers.

    Attributes:
        images: the number of images.
        correct: how many answers are right.
        agreeing: how many answers are those of fp32.
        cosine: mean cosine of the logits with fp32's.
        logit_error: mean squared difference of the logits from fp32's.
    """

    images: int
    correct: int
    agreeing: int
    cosine: float
    logit_error: float


def read_images(name: str, spec: ModelSpec, limit: int | None) -> Images:
    """Reads the data set `name`, or its first `limit` images."""
    source = match_classes(open_data(name, Role.TEST), spec)
    batches = [*Batches(source, spec.preprocessing, BATCH, limit=limit)]
    pixels = np.concatenate([normalize(batch.images, spec.preprocessing) for batch in batches])
    return Images(Path(name).name, pixels, np.concatenate([batch.labels for batch in batches]))


def logits_of(graph: Path, images: Images, threads: int | None = None, *, fuses_qdq: bool = True) -> Logits:
    """Computes the graph's logits (N, classes) with ONNX Runtime; `threads` and `fuses_qdq` as in `open_session`."""
    infer = infer_with(open_session(graph, threads, fuses_qdq=fuses_qdq))
    starts = range(0, len(images.pixels), BATCH)
    return np.concatenate([infer(images.pixels[start : start + BATCH]) for start in starts])


def compare(logits: Logits, reference: Logits, labels: npt.NDArray[np.int64]) -> Accuracy:
    """Compares logits with the labels and with the reference's logits; both (N, classes)."""
    answers, wanted = logits.argmax(axis=1), reference.argmax(axis=1)
    lengths = np.linalg.norm(logits, axis=1) * np.linalg.norm(reference, axis=1)
    cosine = float(((logits * reference).sum(axis=1) / lengths).mean())
    return Accuracy(
        images=len(labels),
        correct=int((answers == labels).sum()),
        agreeing=int((answers == wanted).sum()),
        cosine=cosine,
        logit_error=float(np.mean((logits.astype(np.float64) - reference) ** 2)),
    )


def latencies(
    graphs: Mapping[str, Path], images: npt.NDArray[np.float32], threads: int, rounds: int
) -> dict[str, list[float]]:
    """Times single runs, in ms, by the graph's name, in rotating order: A B C, B C A, ...

    The first run of a turn is not counted: the other graphs have run since the last one.
    """
    sessions = {name: open_session(graph, threads) for name, graph in graphs.items()}
    times: dict[str, list[float]] = {name: [] for name in sessions}
    counts = {name: max(2, int(ROUND_S * 1e3 / min(_time(session, images, 3)))) for name, session in sessions.items()}
    names = [*sessions]
    for index in range(rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(PAUSE_S)
            times[name] += _time(sessions[name], images, counts[name])
    return times


def _time(session: Any, images: npt.NDArray[np.float32], count: int) -> Sequence[float]:
    infer = infer_with(session)
    infer(images)
    found = []
    for _ in range(count):
        start = time.perf_counter_ns()
        infer(images)
        found.append((time.perf_counter_ns() - start) / 1e6)
    return found
