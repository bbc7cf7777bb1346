"""One inference on device arrays of the caller's, with a backend out of a pool; no array is copied."""

from __future__ import annotations

from collections.abc import Mapping

from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import DeviceBackend
from wrn_deploy.runtime.device_array import DeviceArray
from wrn_deploy.runtime.pool import Pool

__all__ = ["predict_on_device"]


def predict_on_device(pool: Pool, opened: str, images: object, out: object | Mapping[str, object], stream: int) -> None:
    """Starts the inference; batches larger than the backend takes go in parts. See `Runner.predict_on_device`.

    `opened` names the backend, as in "ONNX Runtime CPU fp32".
    """
    first = pool.first
    if not isinstance(first, DeviceBackend):
        raise DeployError(
            f"{opened} takes no arrays on a GPU: open the bundle with the backend tensorrt or tensorrt_rtx"
        )
    source = DeviceArray.of(images, stream)
    named = out if isinstance(out, Mapping) else {first.outputs[0].name: out}
    wanted = first.outputs if isinstance(out, Mapping) else first.outputs[:1]
    if set(named) != {each.name for each in wanted}:
        names = " and ".join(each.name for each in wanted)
        raise DeployError(f"out has {', '.join(map(str, named)) or 'nothing'}: expected {names}")
    arrays = [DeviceArray.of(images, stream), *(DeviceArray.of(named[each.name], stream) for each in wanted)]
    parts = _parts(arrays, first.batches[-1])
    for source, *targets in parts:
        first.check_device_arrays(source, tuple(targets))
    with pool.lend() as backend:
        assert isinstance(backend, DeviceBackend)
        for source, *targets in parts:
            backend.infer_on_device(source, tuple(targets), stream)


def _parts(arrays: list[DeviceArray], most: int) -> list[list[DeviceArray]]:
    """Parts of at most so many images; what cannot be divided stays whole, and is refused for what is wrong with it."""
    count = arrays[0].shape[0] if arrays[0].shape else 0
    if count <= most or not all(each.contiguous and each.shape[:1] == (count,) for each in arrays):
        return [arrays]
    return [[each.rows(start, min(most, count - start)) for each in arrays] for start in range(0, count, most)]
