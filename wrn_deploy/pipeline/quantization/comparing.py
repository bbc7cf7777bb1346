"""Compares quantized graphs with fp32 on a few calibration images: a first look, before `eval` measures accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn_deploy.bench.measuring.accuracy import best_classes
from wrn_deploy.data.preprocess import as_input
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.finite import check_finite
from wrn_deploy.runtime.sessions import infer_all, open_session
from wrn_deploy.spec import ModelSpec

__all__ = ["FirstImages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstImages:
    """The images that graphs of a bundle are compared on.

    Attributes:
        pixels: uint8 (N, height, width, 3).
        spec: the bundle's description of its network.
        threads: CPU threads (None: one per core).
    """

    pixels: npt.NDArray[np.uint8]
    spec: ModelSpec
    threads: int | None

    def answers(self, graph: Path, *, fuses_qdq: bool = True) -> list[int]:
        """The images' top classes, by a graph of the bundle.

        Raises:
            DeployError: an output is not finite.
        """
        infer = infer_all(open_session(graph, self.threads, fuses_qdq=fuses_qdq, spins=False))
        found = []
        for index in range(len(self.pixels)):
            answer = infer(as_input(self.pixels[index : index + 1], self.spec.preprocessing, self.spec.input))
            check_finite(
                answer, subject=f"{graph.name} gives", remedy="calibrate with a method that clips, or with more images"
            )
            found.append(int(best_classes(answer)[0]))
        return found

    def compare(self, expected: Sequence[int], graphs: Mapping[str, Path], progress: Progress) -> None:
        """Notes for how many images each graph, by its artifact's key, has fp32's top class.

        Opens one session at a time, since each holds the weights.

        Raises:
            DeployError: an output is not finite.
        """
        for key, graph in graphs.items():
            found = self.answers(graph, fuses_qdq=not key.endswith("-tensorrt"))
            same = sum(mine == wanted for mine, wanted in zip(found, expected, strict=True))
            progress.note(f"{key}: same argmax as fp32 on {same} of {len(expected)} calibration images")
