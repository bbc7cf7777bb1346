"""Compares quantized graphs with fp32 on a few calibration images: a first look; `eval` measures accuracy."""

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
    """Notes for how many of the first images each graph has fp32's argmax; `graphs` are named by artifact key."""
    batches = [*itertools.islice(images.inputs(CHECK_BATCH), CHECKED // CHECK_BATCH)]

    def argmax(graph: Path, *, fuses_qdq: bool = True) -> npt.NDArray[np.int64]:
        """One session at a time, since each holds the weights."""
        infer = infer_all(open_session(graph, images.options.threads, fuses_qdq=fuses_qdq))
        return np.concatenate([best_classes(infer(batch)) for batch in batches])

    expected = argmax(fp32)
    for key, graph in graphs.items():
        same = int((argmax(graph, fuses_qdq=not key.endswith("-tensorrt")) == expected).sum())
        progress.note(f"{key}: same argmax as fp32 on {same} of {len(expected)} calibration images")
