"""Runs one inference on the caller's device arrays, with a backend from a pool; copies nothing."""

from __future__ import annotations

from collections.abc import Mapping

from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import DeviceBackend
from wrn_deploy.runtime.device_array import DeviceArray
from wrn_deploy.runtime.pool import Pool

__all__ = ["predict_on_device"]


def predict_on_device(pool: Pool, opened: str, images: object, out: object | Mapping[str, object], stream: int) -> None:
    """Starts the inference, in parts if the backend takes no batch that large. See `Runner.predict_on_device`.

    `opened` is the backend and precision for an error, as in "onnxruntime fp32".
    """
    first = pool.first
    if not isinstance(first, DeviceBackend):
        raise DeployError(
            f"{opened} does not take arrays on a GPU: open the bundle with the backend tensorrt or tensorrt_rtx"
        )
    named = out if isinstance(out, Mapping) else {first.outputs[0].name: out}
    expected = first.outputs if isinstance(out, Mapping) else first.outputs[:1]
    if set(named) != {each.name for each in expected}:
        names = " and ".join(each.name for each in expected)
        raise DeployError(f"out has {', '.join(map(str, named)) or 'nothing'}: expected {names}")
    arrays = [DeviceArray.of(images, stream), *(DeviceArray.of(named[each.name], stream) for each in expected)]
    parts = _parts(arrays, first.batches[-1])
    for source, *targets in parts:
        first.check_device_arrays(source, tuple(targets))
    with pool.lend() as backend:
        assert isinstance(backend, DeviceBackend)
        for source, *targets in parts:
            backend.infer_on_device(source, tuple(targets), stream)


def _parts(arrays: list[DeviceArray], max_count: int) -> list[list[DeviceArray]]:
    """Parts of at most `max_count` images; arrays that cannot be split stay whole, for the check to refuse."""
    count = arrays[0].shape[0] if arrays[0].shape else 0
    if count <= max_count or not all(each.contiguous and each.shape[:1] == (count,) for each in arrays):
        return [arrays]
    return [
        [each.rows(start, min(max_count, count - start)) for each in arrays] for start in range(0, count, max_count)
    ]
