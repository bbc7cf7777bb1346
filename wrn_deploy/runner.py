"""The Runner, which services embed: a bundle, opened on one backend, for any number of threads; numpy only."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import numpy as np
import numpy.typing as npt

from wrn_deploy.backend import Array, Backend, open_backend, title_of
from wrn_deploy.bundle import Bundle
from wrn_deploy.choice import choose, parse_precision
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.machine import usable_cores
from wrn_deploy.on_device import predict_on_device
from wrn_deploy.pool import Pool
from wrn_deploy.spec import Precision, TensorSpec

__all__ = ["Runner"]


class Runner:
    """A bundle, opened for inference on one backend at one precision; a context manager.

    `backend` and `precision` say which was opened: where they were not named it is the first of `choice.PREFERRED` that
    is valid here, and never another than the one that was named, unless `fallback` was asked for; then `fell_back` says
    why.

    Several threads may call it at once. Each call takes one of at most `contexts` execution contexts, which share the
    weights; further callers wait.
    """

    def __init__(self, bundle: Bundle, backend: str, precision: Precision, pool: Pool) -> None:
        self.bundle = bundle
        self.backend = backend
        self.precision = precision
        self.fell_back: str | None = None
        self._pool = pool
        first = pool.first
        self.inputs, self.outputs, self.batches = first.inputs, first.outputs, first.batches

    @classmethod
    def open(
        cls,
        folder: Path | str,
        precision: Precision | str | None = None,
        backend: str | None = None,
        threads: int | None = None,
        *,
        contexts: int | None = None,
        fallback: bool = False,
    ) -> Self:
        """Opens the bundle in `folder`.

        Args:
            folder: the bundle.
            precision: "fp32", "fp16", "int8", ...; None: the backend's preferred one.
            backend: a file of `wrn_deploy/backends`, as in "onnxruntime"; None: the first that is valid here.
            threads: CPU threads (None: the library's own choice).
            contexts: calls that may run at the same time, at least 1; each takes memory for its activations. None: as
                many as the machine has CPU cores, at most 4.
            fallback: where what was named cannot be run here, takes the first of `choice.PREFERRED` that can, with a
                RuntimeWarning; `fell_back` then has the reason.

        Raises:
            DeployError: no bundle, or what was asked for is not in it, stale or damaged.
            MachineError: this machine cannot run it.
            UsageError: the backend does not know the precision; fewer than 1 contexts.
        """
        if contexts is not None and contexts < 1:
            raise UsageError(f"{contexts} contexts: expected at least 1")
        bundle, reason = Bundle.open(folder), None
        name, wanted = choose(bundle, backend, parse_precision(precision))
        try:
            first = open_backend(bundle, name, wanted, threads)
        except DeployError as error:
            if not fallback or isinstance(error, UsageError):
                raise
            reason = str(error)
            name, wanted = choose(bundle, None, None)
            first = open_backend(bundle, name, wanted, threads)
            warnings.warn(f"{reason}; running {title_of(name)} {wanted} instead", RuntimeWarning, stacklevel=2)
        runner = cls(bundle, name, wanted, Pool(first, contexts or min(4, usable_cores())))
        runner.fell_back = reason
        return runner

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits; empty where they have none."""
        return self.bundle.spec.labels

    def predict(self, images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits of a batch.

        Args:
            images: uint8 (N, H, W, 3), RGB, at the network's size; or float32 (N, 3, H, W), normalised already, unless
                the bundle was exported to take pixels.

        Returns:
            float32 (N, classes), owned by the caller.

        Raises:
            DeployError: another shape or dtype, an empty batch, a closed runner, or a bundle that gives no logits.
        """
        if self.outputs[0].name != "logits":
            raise DeployError(f"this bundle gives {_names(self.outputs)}, no logits: call `run` instead of `predict`")
        return cast("npt.NDArray[np.float32]", self._run(images)[0])

    def run(self, images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> dict[str, Array]:
        """All outputs of a batch by name, as in {"logits": ..., "features": ...}; else as `predict`."""
        names = (output.name for output in self.outputs)
        return dict(zip(names, self._run(images), strict=True))

    def predict_into(
        self, images: npt.NDArray[np.uint8] | npt.NDArray[np.float32], out: Array | Mapping[str, Array]
    ) -> None:
        """Writes the outputs of a batch into arrays of the caller's, which must not overlap the images.

        Args:
            images: as in `predict`.
            out: the array for the first output; or one array for each output, by name. Each (N, *shape), of the
                output's dtype; any strides.

        Raises:
            DeployError: as `predict`; or an array is missing, or of another shape or dtype (then nothing is written).
        """
        batch = self._checked(np.asarray(images))
        targets = self._targets(out, len(batch))
        start = 0
        for results, count in self._pieces(batch):
            for target, result in zip(targets, results, strict=False):
                target[start : start + count] = result[:count]
            start += count

    def predict_on_device(self, images: object, out: object | Mapping[str, object], stream: int = 0) -> None:
        """Starts an inference on arrays on the GPU, without a copy and without waiting, on the caller's CUDA stream.

        What the stream was given before is done first, and what it is given afterwards finds `out` written. Until then
        the arrays must live, and nothing else may write to them. Threads may share the runner, each with its stream.

        Args:
            images: an object with `__dlpack__` or `__cuda_array_interface__`, as a CUDA tensor of PyTorch: the
                network's own input, `inputs[0]`, in C order, on the first GPU; nothing is normalised here.
            out: the array for the first output; or one array for each output, by name.
            stream: CUDA's handle, as in `torch.cuda.current_stream().cuda_stream`; 0: the default stream, on which
                TensorRT waits for the GPU.

        Raises:
            DeployError: the backend takes no such arrays; or one does not fit (then nothing is started).
            MachineError: CUDA failed.
        """
        predict_on_device(self._pool, f"{title_of(self.backend)} {self.precision}", images, out, stream)

    def warmup(self, batches: Sequence[int] = (1,), iterations: int = 2) -> None:
        """Makes all contexts and runs each on blank images, so that the first calls are as quick as later ones.

        Call it before other threads use the runner.

        Args:
            batches: the sizes that will be sent.
            iterations: runs of each size in each context.

        Raises:
            DeployError: a batch below 1, or an inference failed.
        """
        source = self.inputs[0]
        for backend in self._pool.fill():
            for count in batches:
                if count < 1:
                    raise DeployError(f"a batch of {count} to warm up with: expected at least 1")
                blank = np.zeros((count, *source.shape), source.dtype)
                for _ in range(iterations):
                    for piece in _split(blank, self.batches):
                        _infer(backend, piece)

    def close(self) -> None:
        """Waits for the calls that are running, then gives all memory back; may be called twice."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> tuple[Array, ...]:
        batch = self._checked(np.asarray(images))
        pieces = [tuple(result[:count] for result in results) for results, count in self._pieces(batch)]
        return pieces[0] if len(pieces) == 1 else tuple(np.concatenate(parts) for parts in zip(*pieces, strict=True))

    def _pieces(self, batch: Array) -> Iterator[tuple[tuple[Array, ...], int]]:
        """The outputs of each part of the batch that the backend takes at once, and how many of their rows count."""
        with self._pool.lend() as backend:
            start = 0
            for piece in _split(batch, self.batches):
                yield _infer(backend, piece), min(len(piece), len(batch) - start)
                start += len(piece)

    def _checked(self, images: Array) -> Array:
        how, source = self.bundle.spec.preprocessing, self.inputs[0]
        pixels = (how.height, how.width, 3)
        if images.ndim == 4 and len(images) > 0:
            if images.dtype == source.dtype and images.shape[1:] == source.shape:
                return np.ascontiguousarray(images)
            if images.dtype == np.uint8 and images.shape[1:] == pixels:
                return normalize(images.astype(np.uint8, copy=False), how)
        shapes = f"uint8 (N, {', '.join(map(str, pixels))}), RGB"
        if source.dtype != "uint8":
            shapes += f", or normalised float32 (N, {', '.join(map(str, source.shape))})"
        raise DeployError(f"images are {images.dtype} {images.shape}: expected {shapes}, N at least 1")

    def _targets(self, out: Array | Mapping[str, Array], count: int) -> list[Array]:
        named = out if isinstance(out, Mapping) else {self.outputs[0].name: out}
        wanted = self.outputs if isinstance(out, Mapping) else self.outputs[:1]
        if set(named) != {output.name for output in wanted}:
            raise DeployError(f"out has {', '.join(named) or 'nothing'}: expected {_names(wanted)}")
        for output in wanted:
            target, shape = named[output.name], (count, *output.shape)
            if not isinstance(target, np.ndarray) or (target.dtype, target.shape) != (np.dtype(output.dtype), shape):
                what = f"{target.dtype} {target.shape}" if isinstance(target, np.ndarray) else type(target).__name__
                raise DeployError(f"out for {output.name} is {what}: expected a numpy array, {output.dtype} {shape}")
            if not target.flags.writeable:
                raise DeployError(f"out for {output.name} is read-only: expected an array that can be written to")
        return [named[output.name] for output in wanted]


def _infer(backend: Backend, batch: Array) -> tuple[Array, ...]:
    backend.upload(batch)
    backend.execute()
    backend.synchronize()
    return backend.download()


def _split(batch: Array, sizes: range) -> Iterator[Array]:
    """Parts that a backend takes; the last is filled up with images from the start where it would be too small."""
    largest = sizes[-1]
    for start in range(0, len(batch), largest):
        piece = batch[start : start + largest]
        yield piece if len(piece) >= sizes[0] else np.resize(piece, (sizes[0], *piece.shape[1:]))


def _names(tensors: Sequence[TensorSpec]) -> str:
    return " and ".join(tensor.name for tensor in tensors)
