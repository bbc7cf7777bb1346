"""Where PyTorch runs: the CPU, or a sibling's own stream on a GPU and its clock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from wrn_deploy.runtime.backend import Array

__all__ = ["CpuDevice", "CudaDevice", "TorchDevice"]


class CpuDevice:
    """Copies batches and results, and starts inferences; see `backend.Backend`. `execute` returns when all is done."""

    def upload(self, batch: Array) -> torch.Tensor:
        """Copies the batch to a tensor on the device."""
        return torch.from_numpy(batch.copy())

    def running(self) -> contextlib.AbstractContextManager[object]:
        """The block in which inferences are started, without gradients."""
        return torch.inference_mode()

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def elapsed_ms(self) -> float | None:
        """The device's time of the last inference; as `Backend.elapsed_ms`."""
        return None

    def download(self, results: tuple[torch.Tensor, ...]) -> tuple[Array, ...]:
        """Copies the results to arrays of their own, when they are done."""
        return tuple(result.numpy().copy() for result in results)


class CudaDevice:
    """A stream of its own on the first GPU, independent of other streams."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.default_stream())  # the default stream has copied the weights
        self._marks: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
        self._marked = False

    def upload(self, batch: Array) -> torch.Tensor:
        """Copies the batch to a tensor on the device."""
        pinned = torch.from_numpy(batch.copy()).pin_memory()
        with torch.cuda.stream(self._stream):
            return pinned.to("cuda", non_blocking=True)  # torch keeps pinned memory until such a copy is done

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The block in which inferences are started: without gradients, on the stream, between the clock's marks."""
        # fp32 is fp32, not TF32, as in every graph of a bundle; and cuDNN measures its algorithms, as TensorRT does.
        kernels = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
        with torch.inference_mode(), torch.cuda.stream(self._stream), kernels:
            if self._marks is not None:
                self._marks[0].record(self._stream)
            yield
            if self._marks is not None:
                self._marks[1].record(self._stream)
                self._marked = True

    def synchronize(self) -> None:
        """Waits for the inference; as `Backend.synchronize`."""
        self._stream.synchronize()

    def elapsed_ms(self) -> float | None:
        """The device's time of the last inference; as `Backend.elapsed_ms`."""
        if self._marks is None:
            self._marks = (_new_mark(), _new_mark())
        if not self._marked:
            return None
        self._stream.synchronize()
        return float(self._marks[0].elapsed_time(self._marks[1]))

    def download(self, results: tuple[torch.Tensor, ...]) -> tuple[Array, ...]:
        """Copies the results to arrays of their own, when they are done."""
        with torch.cuda.stream(self._stream):
            arrays = tuple(result.cpu().numpy() for result in results)  # waits for the stream
        return tuple(array.copy() for array in arrays)


TorchDevice = CpuDevice | CudaDevice


def _new_mark() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
