"""Random images for a bundle, and the answers that its graphs give on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Bundle
from wrn_deploy.runtime.sessions import infer_with, open_session

__all__ = ["cosine", "cpu_answer", "random_images"]


def random_images(bundle: Bundle, count: int, seed: int = 0) -> npt.NDArray[Any]:
    """Seeded images as the bundle's graphs take them: normal numbers, or pixels."""
    chance, source = np.random.default_rng(seed), bundle.spec.input
    shape = (count, *source.shape)
    if source.dtype == "uint8":
        return chance.integers(0, 256, shape, dtype=np.uint8)
    return chance.normal(size=shape).astype(source.dtype)


def cpu_answer(bundle: Bundle, key: str, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The logits of one of the bundle's graphs by ONNX Runtime on the CPU, Q/DQ as written."""
    session = open_session(bundle.file(bundle.find(key)), fuses_qdq=False)
    return np.asarray(infer_with(session)(images), np.float32)


def cosine(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """The cosine of two answers, all images together."""
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
