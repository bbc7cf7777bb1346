"""Tells how quantized graphs agree with fp32 on calibration images: a first look, before `eval` measures it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn_deploy.bench.measuring.accuracy import best_classes
from wrn_deploy.pipeline.quantization.images import CalibrationImages
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.sessions import infer_all, open_session

__all__ = ["compare_with_fp32"]

CHECKED, CHECK_BATCH = 32, 4  # images


def compare_with_fp32(fp32: Path, graphs: Mapping[str, Path], images: CalibrationImages, progress: Progress) -> None:
    """Notes on how many of the first images each graph has fp32's argmax; `graphs` are named by artifact key."""
    wanted = _answers(fp32, images)
    for key, graph in graphs.items():
        same = int((_answers(graph, images, fuses_qdq=not key.endswith("-tensorrt")) == wanted).sum())
        progress.note(f"{key}: same argmax as fp32 on {same} of {len(wanted)} calibration images")


def _answers(graph: Path, images: CalibrationImages, *, fuses_qdq: bool = True) -> npt.NDArray[np.int64]:
    """The argmax of the first images; one session at a time, since each holds the weights."""
    infer = infer_all(open_session(graph, images.options.threads, fuses_qdq=fuses_qdq))
    batches = itertools.islice(images.inputs(CHECK_BATCH), CHECKED // CHECK_BATCH)
    return np.concatenate([best_classes(infer(batch)) for batch in batches])
