"""What `accuracy.py` measures of finished graphs: answers to images decoded once, and latency in turns."""

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
from wrn_deploy.sessions import infer_with, open_session
from wrn_deploy.spec import ModelSpec

__all__ = ["Accuracy", "Images", "compare", "latencies", "logits_of", "read_images"]

BATCH = 64
PAUSE_S = 0.02  # until the threads of the last session no longer spin
ROUND_S = 0.05  # that a contender has in each round

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Images:
    """A data set, decoded and normalised: float32 (N, 3, H, W), labels (N,)."""

    name: str
    pixels: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of `images` images, how many have the right argmax and that of fp32; the mean cosine of the logits to fp32's."""

    images: int
    correct: int
    agreeing: int
    cosine: float


def read_images(name: str, spec: ModelSpec, limit: int | None) -> Images:
    """The data set `name`, or its first `limit` images."""
    source = match_classes(open_data(name, Role.TEST), spec)
    batches = [*Batches(source, spec.preprocessing, BATCH, limit=limit)]
    pixels = np.concatenate([normalize(batch.images, spec.preprocessing) for batch in batches])
    return Images(Path(name).name, pixels, np.concatenate([batch.labels for batch in batches]))


def logits_of(graph: Path, images: Images) -> Logits:
    """The graph's logits (N, classes), computed by ONNX Runtime."""
    infer = infer_with(open_session(graph))  # no MaxPool in these networks: see `fuses_qdq`
    starts = range(0, len(images.pixels), BATCH)
    return np.concatenate([infer(images.pixels[start : start + BATCH]) for start in starts])


def compare(logits: Logits, reference: Logits, labels: npt.NDArray[np.int64]) -> Accuracy:
    """How good the logits are, and how near to the reference; both (N, classes)."""
    answers, wanted = logits.argmax(axis=1), reference.argmax(axis=1)
    lengths = np.linalg.norm(logits, axis=1) * np.linalg.norm(reference, axis=1)
    cosine = float(((logits * reference).sum(axis=1) / lengths).mean())
    return Accuracy(len(labels), int((answers == labels).sum()), int((answers == wanted).sum()), cosine)


def latencies(
    graphs: Mapping[str, Path], images: npt.NDArray[np.float32], threads: int, rounds: int
) -> dict[str, list[float]]:
    """Times of single runs in ms, by the graph's name: in turns (A B C, A B C), each of which starts with another.

    Each turn starts with a run that is not counted: others have run since the last one.
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
