"""A model of Triton's python backend: answers requests by a Runner; loaded by Triton's own Python alone.

A version's folder in a model repository is a bundle with the one artifact that runs, and its model.py imports this.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import Array
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.runtime.sessions import SPIN
from wrn_deploy.serving.config import PREFIX

__all__ = ["TritonPythonModel", "output_tensor", "text_of"]

CONSUMED = b"used_dltensor"  # a capsule keeps no copy of its name


class TritonPythonModel:
    """What the python backend calls, by this name: one object for each instance, in a process of its own.

    Tensors go in and out by DLPack: in stubs that were built for numpy 1, `as_numpy` and `Tensor` give empty arrays
    with numpy 2, without an error (https://github.com/triton-inference-server/server/issues/7647).
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the version's bundle; an error makes Triton refuse the version.

        Raises:
            DeployError: the bundle is damaged, or cannot run here.
        """
        if args["model_instance_kind"] == "GPU":  # before a library of CUDA is loaded
            os.environ["CUDA_VISIBLE_DEVICES"] = args["model_instance_device_id"]
        os.environ.setdefault(SPIN, "0")  # the cores are the server's too, and half as fast with spinning threads
        config = json.loads(args["model_config"])
        given = {
            name.removeprefix(PREFIX): entry["string_value"]
            for name, entry in config["parameters"].items()
            if name.startswith(PREFIX)
        }
        self._runner = Runner.open(
            Path(args["model_repository"], args["model_version"]),
            precision=given["precision"],
            backend=given["backend"],
            threads=int(given["threads"]) if "threads" in given else None,
            contexts=1,  # Triton calls an instance from one thread
        )
        self._input = config["input"][0]["name"]
        self._outputs = [output["name"] for output in config["output"]]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers requests, which Triton has grouped into a batch, with one call of the runner.

        If it fails, each request runs alone, so that only those fail that cannot be answered: one with NaN, say.
        """
        batches: list[Array] = [
            np.from_dlpack(pb.get_input_tensor_by_name(request, self._input)) for request in requests
        ]
        try:
            found = self._runner.run(batches[0] if len(batches) == 1 else np.concatenate(batches))
        except Exception as error:  # noqa: BLE001 (whatever it is, a client waits for it)
            if len(requests) == 1:
                return [pb.InferenceResponse(error=pb.TritonError(text_of(error)))]
            return [response for request in requests for response in self.execute([request])]
        responses, start = [], 0
        for batch in batches:
            responses.append(self._response(found, start, start + len(batch)))
            start += len(batch)
        return responses

    def finalize(self) -> None:
        """Frees the runner; Triton calls it when all requests of the instance have been answered."""
        self._runner.close()

    def _response(self, found: dict[str, Array], start: int, end: int) -> Any:
        return pb.InferenceResponse([output_tensor(name, found[name][start:end]) for name in self._outputs])


def output_tensor(name: str, array: Array) -> Any:
    """An output tensor of Triton's.

    The stub renames the capsule that it has consumed to "used_dlpack". numpy, which knows "used_dltensor" alone, would
    print an error for each when it is freed.
    """
    capsule: Any = np.ascontiguousarray(array).__dlpack__()
    tensor = pb.Tensor.from_dlpack(name, capsule)
    ctypes.pythonapi.PyCapsule_SetName(ctypes.py_object(capsule), ctypes.c_char_p(CONSUMED))
    return tensor


def text_of(error: Exception) -> str:
    """The text of an error for the client."""
    return str(error) if isinstance(error, DeployError) else f"{type(error).__name__}: {error}"
