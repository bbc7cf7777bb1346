"""Inference on the caller's GPU arrays: matches them to the outputs, and splits batches too large for the backend."""

from __future__ import annotations

from collections.abc import Mapping

from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import Backend, DeviceBackend
from wrn_deploy.runtime.device_array import DeviceArray
from wrn_deploy.runtime.host.arrays import named_outputs
from wrn_deploy.runtime.pool import Pool

__all__ = ["predict_on_device"]


def predict_on_device(pool: Pool, opened: str, images: object, out: object | Mapping[str, object], stream: int) -> None:
    """Starts the inference, in parts if the batch is too large for the backend; see `Runner.predict_on_device`.

    `opened` names the backend and precision in an error, as in "onnxruntime fp32".
    """
    first = pool.first
    if not isinstance(first, DeviceBackend):
        raise DeployError(
            f"{opened} does not take arrays on a GPU: open the bundle with the backend tensorrt or tensorrt_rtx"
        )
    arrays = [DeviceArray.of(each, stream) for each in (images, *named_outputs(out, first.outputs).values())]
    parts = _parts(arrays, first.batches[-1])
    for source, *targets in parts:
        first.check_device_arrays(source, tuple(targets))

    def start(backend: Backend) -> None:
        assert isinstance(backend, DeviceBackend)
        for source, *targets in parts:
            backend.infer_on_device(source, tuple(targets), stream)

    pool.call(start)


def _parts(arrays: list[DeviceArray], limit: int) -> list[list[DeviceArray]]:
    """Parts of at most `limit` images; arrays that cannot be split stay whole, for the check to refuse."""
    count = arrays[0].shape[0] if arrays[0].shape else 0
    if count <= limit or not all(each.contiguous and each.shape[:1] == (count,) for each in arrays):
        return [arrays]
    return [[each.rows(start, min(limit, count - start)) for each in arrays] for start in range(0, count, limit)]
