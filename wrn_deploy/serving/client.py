"""What is asked of a server of the KServe v2 protocol over HTTP, without a package; numpy only."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.runtime.backend import Array

__all__ = ["NUMPY", "Client"]

# The protocol's name of a type -> numpy's: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
NUMPY: Mapping[str, str] = {"UINT8": "uint8", "INT32": "int32", "INT64": "int64", "FP16": "float16", "FP32": "float32"}
LENGTH = "Inference-Header-Content-Length"


class Client:
    """One connection to a server, for one thread; a context manager. Tensors travel as bytes (the binary extension).

    Args:
        url: as in "http://127.0.0.1:8000".
        timeout_s: seconds to wait for each answer.
    """

    def __init__(self, url: str, timeout_s: float = 60.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
            raise UsageError(f"server {url!r}: expected the base of its HTTP address, such as http://127.0.0.1:8000")
        self.url = url.rstrip("/")
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)

    def is_ready(self) -> bool:
        """Whether the server and all its models are ready; False if nobody listens there."""
        try:
            status, _, _ = self._ask("GET", "/v2/health/ready")
        except DeployError:
            return False
        return status == 200

    def get(self, path: str) -> Any:
        """The JSON at a path of the server, as in "/v2/models/wrn-16-2/config"; raises DeployError."""
        return json.loads(self._good("GET", path)[1])

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON that the server answers to JSON; raises DeployError."""
        answer = self._good("POST", path, json.dumps(body).encode())[1]
        return json.loads(answer or b"{}")

    def infer(self, model: str, name: str, kind: str, batch: Array) -> dict[str, Array]:
        """All outputs of a batch, by name.

        Args:
            model: the model's name.
            name: its input's name.
            kind: its input's type, as in "UINT8".
            batch: in C order, of that type.

        Raises:
            DeployError: the server refuses it, or answers something else.
        """
        described: dict[str, Any] = {
            "inputs": [
                {
                    "name": name,
                    "shape": list(batch.shape),
                    "datatype": kind,
                    "parameters": {"binary_data_size": batch.nbytes},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
        header = json.dumps(described).encode()
        length, answer = self._good("POST", f"/v2/models/{model}/infer", header + batch.tobytes(), len(header))
        record, at = json.loads(answer[:length]), length
        outputs: dict[str, Array] = {}
        for output in record["outputs"]:
            size = output["parameters"]["binary_data_size"]
            found = np.frombuffer(answer[at : at + size], NUMPY[output["datatype"]])
            outputs[output["name"]] = found.reshape(output["shape"])
            at += size
        return outputs

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _good(self, method: str, path: str, body: bytes = b"", header: int | None = None) -> tuple[int, bytes]:
        """The length of the JSON in the answer, and the answer; raises DeployError if it is an error."""
        status, length, answer = self._ask(method, path, body, header)
        if status != 200:
            raise DeployError(f"{self.url}{path} answers {status}: {answer[:500].decode('utf-8', 'replace')}")
        return length, answer

    def _ask(self, method: str, path: str, body: bytes = b"", header: int | None = None) -> tuple[int, int, bytes]:
        headers = {} if header is None else {LENGTH: str(header), "Content-Type": "application/octet-stream"}
        try:
            self._connection.request(method, path, body or None, headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise DeployError(f"no answer from {self.url} ({error}): expected a running server there") from error
        return response.status, int(response.headers.get(LENGTH) or len(answer)), answer
