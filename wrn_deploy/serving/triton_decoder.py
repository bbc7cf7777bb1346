"""The step of an ensemble that decodes images, for Triton's python backend; loaded by Triton's own Python alone.

The version's folder in a model repository has the bundle's manifest, which says how images are prepared.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Item
from wrn_deploy.data.decoding.decode import Encoded
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.data.preprocess import as_input
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import Array
from wrn_deploy.serving.config import DATA_TYPES
from wrn_deploy.serving.ensemble import ENCODED
from wrn_deploy.serving.triton_model import output_tensor, text_of
from wrn_deploy.spec import TensorSpec

__all__ = ["TritonPythonModel"]


class TritonPythonModel:
    """What the python backend calls, by this name: one object for each instance, in a process of its own.

    Images are decoded as `predict` does, within the limits of `files/budget.py` and in another process: an image that
    makes a library crash, or takes too long, ends that process alone and is an error of its own request.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the manifest and starts the process that decodes; an error makes Triton refuse the version.

        Raises:
            DeployError: there is no manifest, or it is damaged or not signed as demanded.
        """
        output = json.loads(args["model_config"])["output"][0]
        dtype = next(ours for ours, theirs in DATA_TYPES.items() if theirs == output["data_type"])
        self._output = TensorSpec(output["name"], dtype, tuple(map(int, output["dims"])))
        self._preprocessing = Bundle.open(Path(args["model_repository"], args["model_version"])).spec.preprocessing
        self._decoders = Decoders(1)
        self._decoders.start()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers each request by itself: an image that cannot be decoded fails its own request alone."""
        tensors = (pb.get_input_tensor_by_name(request, ENCODED) for request in requests)
        return [self._answer(np.from_dlpack(tensor)) for tensor in tensors]

    def finalize(self) -> None:
        """Ends the process that decodes; Triton calls it when all requests of the instance have been answered."""
        self._decoders.close()

    def _answer(self, rows: Array) -> Any:
        try:
            fitted = self._fit(rows)
        except DeployError as error:
            return pb.InferenceResponse(error=pb.TritonError(text_of(error), pb.TritonError.INVALID_ARG))
        except Exception as error:  # noqa: BLE001 (whatever it is, a client waits for it)
            return pb.InferenceResponse(error=pb.TritonError(text_of(error)))
        return pb.InferenceResponse([output_tensor(self._output.name, fitted)])

    def _fit(self, rows: Array) -> Array:
        """What the network reads, for a request (N, bytes): an image a row, which zeros may fill up."""
        names = ["the image"] if len(rows) == 1 else [f"image {index}" for index in range(len(rows))]
        items = [Item(name, None, Encoded(row.tobytes(), name)) for name, row in zip(names, rows, strict=True)]
        outcomes = [outcome for _, outcome in self._decoders.fit(items, self._preprocessing)]
        images = []
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            images.append(outcome)
        return as_input(np.stack(images), self._preprocessing, self._output)
