"""Where PyTorch runs: the CPU, or a sibling's own stream on a GPU with its copies, CUDA graphs and clock."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch

from wrn_deploy.errors import MachineError
from wrn_deploy.runtime.backend import Array

__all__ = ["CpuDevice", "CudaDevice", "TorchDevice"]

Results = tuple[torch.Tensor, ...]
Network = Callable[[torch.Tensor], Results]

CAPTURES = threading.Lock()  # PyTorch captures one graph at a time in a process


class CpuDevice:
    """Copies batches and results, and starts inferences; see `backend.Backend`. `run` returns when all is done."""

    def upload(self, batch: Array) -> torch.Tensor:
        """Copies the batch to a tensor on the device."""
        return torch.from_numpy(batch.copy())

    def run(self, network: Network, images: torch.Tensor) -> Results:
        """Starts an inference, without gradients."""
        with torch.inference_mode():
            return network(images)

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def elapsed_ms(self) -> float | None:
        """The device's time of the last inference; as `Backend.elapsed_ms`."""
        return None

    def download(self, results: Results) -> tuple[Array, ...]:
        """Copies the results to arrays of their own, when they are done."""
        return tuple(result.numpy().copy() for result in results)

    def close(self) -> None:
        """Nothing is kept."""


class CudaDevice:
    """A stream of its own on the first GPU, independent of other streams.

    Copies go through pinned memory that is kept, as those of plans do. cuDNN's settings are the process's: see
    `_choose_kernels`.

    Args:
        graphs: whether inferences run as CUDA graphs, each batch size from its second inference on. Each size then
            keeps its memory, which the graph reads and writes, until the device is closed.
    """

    def __init__(self, *, graphs: bool = False) -> None:
        _choose_kernels()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.default_stream())  # the default stream has copied the weights
        self._graphs: dict[int, _Graph] | None = {} if graphs else None
        self._images: dict[int, torch.Tensor] = {}  # on the GPU, by batch size
        self._pinned: list[torch.Tensor] = []  # the input, then the outputs
        self._marks: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
        self._marked = False

    def upload(self, batch: Array) -> torch.Tensor:
        """Starts the copy to the GPU; the caller may reuse the array at once."""
        self._stream.synchronize()  # the last copy may still read the pinned memory
        if not self._pinned or self._pinned[0].shape != batch.shape:
            self._pinned = [_pinned(batch.shape, torch.from_numpy(np.empty(0, batch.dtype)).dtype)]
        pinned, size = self._pinned[0], len(batch)
        pinned.numpy()[:] = batch
        with torch.cuda.stream(self._stream):
            if size not in self._images:
                if self._graphs is None:
                    self._images.clear()
                self._images[size] = _on_gpu(pinned.shape, pinned.dtype)
            return self._images[size].copy_(pinned, non_blocking=True)

    def run(self, network: Network, images: torch.Tensor) -> Results:
        """Starts an inference on the stream, without gradients, between the clock's marks.

        A size's graph is captured after its first inference, which compiles, chooses kernels and takes memory.
        """
        graph = None if self._graphs is None else self._graphs.get(len(images))
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            if self._marks is not None:
                self._marks[0].record(self._stream)
            results = network(images) if graph is None else graph.launch()
            if self._marks is not None:
                self._marks[1].record(self._stream)
                self._marked = True
            if self._graphs is not None and graph is None:
                self._graphs[len(images)] = _Graph(self._stream, network, images)
        return results

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

    def download(self, results: Results) -> tuple[Array, ...]:
        """Copies the results to arrays of their own, when they are done."""
        kept = self._pinned[1:]
        if [memory.shape for memory in kept] != [result.shape for result in results]:
            self._pinned[1:] = kept = [_pinned(result.shape, result.dtype) for result in results]
        with torch.cuda.stream(self._stream):
            for memory, result in zip(kept, results, strict=True):
                memory.copy_(result, non_blocking=True)
        self._stream.synchronize()
        return tuple(memory.numpy().copy() for memory in kept)

    def close(self) -> None:
        """Waits, then gives up the graphs and the memory."""
        self._stream.synchronize()
        self._graphs = None if self._graphs is None else {}
        self._images, self._pinned = {}, []


class _Graph:
    """A captured inference: from a tensor to tensors, which keep their places; its capture computes nothing."""

    def __init__(self, stream: torch.cuda.Stream, network: Network, images: torch.Tensor) -> None:
        self._graph = torch.cuda.CUDAGraph()
        try:
            # The mode lets other threads go on with calls that a capture forbids its own thread.
            with CAPTURES, torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._results = network(images)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise MachineError(
                f"PyTorch cannot capture the network as a CUDA graph ({reason}): run it without graphs"
            ) from error

    def launch(self) -> Results:
        self._graph.replay()
        return self._results


TorchDevice = CpuDevice | CudaDevice


@functools.cache
def _choose_kernels() -> None:
    """Sets cuDNN for this process, once: a block around each inference would end in the middle of another thread's.

    fp32 is fp32, not TF32, as in every graph of a bundle; and cuDNN measures its algorithms, as TensorRT does.
    """
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False


def _pinned(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, pin_memory=True)


def _on_gpu(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="cuda")


def _new_mark() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
