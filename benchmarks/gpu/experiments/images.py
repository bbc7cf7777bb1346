"""Random images for a bundle, what backends answer, and what its graphs answer on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Bundle
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.runtime.backend import Backend
from wrn_deploy.runtime.sessions import infer_with, open_session
from wrn_deploy.spec import TensorSpec

__all__ = ["answer_of", "cosine", "cpu_answer", "random_pixels", "taken_by"]


def random_pixels(bundle: Bundle, count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Seeded images of the network's size: uint8 (count, height, width, 3)."""
    how = bundle.spec.preprocessing
    return np.random.default_rng(seed).integers(0, 256, (count, how.height, how.width, 3), dtype=np.uint8)


def taken_by(source: TensorSpec, bundle: Bundle, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """The images as an input takes them: the pixels, or normalised float32 (count, 3, height, width)."""
    return pixels if source.dtype == "uint8" else normalize(pixels, bundle.spec.preprocessing)


def answer_of(backend: Backend, bundle: Bundle, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """A backend's logits; its input, which need not be that of the bundle's graphs, says who normalises."""
    backend.upload(taken_by(backend.inputs[0], bundle, pixels))
    backend.execute()
    backend.synchronize()
    return backend.download()[0]


def cpu_answer(bundle: Bundle, key: str, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The logits of one of the bundle's graphs by ONNX Runtime on the CPU, Q/DQ as written."""
    session = open_session(bundle.file(bundle.find(key)), fuses_qdq=False)
    return np.asarray(infer_with(session)(taken_by(bundle.spec.input, bundle, pixels)), np.float32)


def cosine(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """The cosine of two answers, all images together."""
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
