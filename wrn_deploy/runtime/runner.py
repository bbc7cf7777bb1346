"""The Runner that services embed: a bundle opened on one backend, for any number of threads; numpy only."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self, cast

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Bundle
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.formatting import printable
from wrn_deploy.machine import usable_cores
from wrn_deploy.runtime.backend import Array, choose, find_runtime, infer, open_backend, parse_precision
from wrn_deploy.runtime.pool import Pool, named_outputs, predict_on_device
from wrn_deploy.spec import Precision

__all__ = ["Runner"]


class Runner:
    """A bundle, opened for inference on one backend at one precision; a context manager.

    Example:
        ```python
        images = np.zeros((1, 32, 32, 3), np.uint8)  # N RGB images at the network's size
        with Runner.open("bundle", backend="onnxruntime", precision="fp32") as runner:
            logits = runner.predict(images)  # float32 (N, classes)
        ```

    Threads may share a runner. Each call uses one of at most `contexts` execution contexts, which share the weights;
    further callers wait.

    Attributes:
        bundle: the opened bundle.
        backend: the backend that runs, as in "onnxruntime".
        precision: the precision that runs.
        fell_back: why `fallback` replaced the requested backend or precision; None if it did not.
        inputs: the one input's name, dtype and shape of one image.
        outputs: likewise, of each output.
        batches: the batch sizes the backend takes; larger batches are split, smaller ones padded.
    """

    def __init__(self, bundle: Bundle, backend: str, precision: Precision, pool: Pool) -> None:
        self.bundle = bundle
        self.backend = backend
        self.precision = precision
        self.fell_back: str | None = None
        self._pool = pool
        self.inputs, self.outputs, self.batches = pool.first.inputs, pool.first.outputs, pool.first.batches

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        precision: Precision | str | None = None,
        backend: str | None = None,
        threads: int | None = None,
        contexts: int | None = None,
        fallback: bool = False,
    ) -> Self:
        """Opens the bundle in `folder`.

        Args:
            folder: the bundle.
            precision: "fp32", "fp16", "int8", ...; default: the backend's preferred one.
            backend: as in "onnxruntime"; default: the first of `backend.PREFERRED` that can run.
            threads: CPU threads; default: the library's own.
            contexts: calls that can run at the same time, at least 1; each allocates its own activations. Default: one
                per CPU core, at most 4.
            fallback: if the requested backend or precision cannot run here, open the default one, with a
                RuntimeWarning and the reason in `fell_back`. Without it nothing is ever replaced.

        Raises:
            DeployError: not a bundle; or the artifact is missing (MissingArtifact), stale or damaged.
            MachineError: this machine cannot run it.
            UsageError: the backend does not run this precision; fewer than 1 contexts.
        """
        if contexts is not None and contexts < 1:
            raise UsageError(f"{contexts} contexts: expected at least 1")
        bundle, reason = Bundle.open(folder), None
        name, chosen = choose(bundle, backend, parse_precision(precision))
        try:
            first = open_backend(bundle, backend=name, precision=chosen, threads=threads)
        except DeployError as error:
            if not fallback or isinstance(error, UsageError):
                raise
            reason = str(error)
            name, chosen = choose(bundle, None, None)
            first = open_backend(bundle, backend=name, precision=chosen, threads=threads)
            title = find_runtime(name).title
            warnings.warn(printable(f"{reason}; running {title} {chosen} instead"), RuntimeWarning, stacklevel=2)
        runner = cls(bundle, name, chosen, Pool(first, contexts or min(4, usable_cores())))
        runner.fell_back = reason
        return runner

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, in the order of the logits; empty if the bundle has none."""
        return self.bundle.spec.labels

    def predict(self, images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits of a batch.

        Args:
            images: uint8 (N, H, W, 3), RGB, at the network's size; or normalised float32 (N, 3, H, W), unless the
                bundle was exported with pixel input.

        Returns:
            float32 (N, classes), owned by the caller.

        Raises:
            DeployError: another shape or dtype, an empty batch, a closed runner, or a bundle without logits.
        """
        if self.outputs[0].name != "logits":
            names = " and ".join(output.name for output in self.outputs)
            raise DeployError(f"this bundle gives {names}, no logits: call `run` instead of `predict`")
        return cast("npt.NDArray[np.float32]", self._run(images)[0])

    def run(self, images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> dict[str, Array]:
        """All outputs of a batch by name, as in {"logits": ..., "features": ...}; otherwise like `predict`."""
        names = (output.name for output in self.outputs)
        return dict(zip(names, self._run(images), strict=True))

    def predict_into(
        self, images: npt.NDArray[np.uint8] | npt.NDArray[np.float32], out: Array | Mapping[str, Array]
    ) -> None:
        """Writes the outputs of a batch into the caller's arrays, which must not overlap the images.

        Args:
            images: as in `predict`.
            out: an array for the first output, or one for each output by name: (N, *shape), the output's dtype, any
                strides.

        Raises:
            DeployError: as `predict`; or an array is missing or has another shape or dtype (nothing is written then).
        """
        batch = self._checked(np.asarray(images))
        targets = self._targets(out, len(batch))
        start = 0
        for results, count in self._pieces(batch):
            for target, result in zip(targets, results, strict=False):
                target[start : start + count] = result[:count]
            start += count

    def predict_on_device(self, images: object, out: object | Mapping[str, object], stream: int = 0) -> None:
        """Starts an inference on GPU arrays on the caller's CUDA stream, without a copy and without waiting.

        It runs after the work already on the stream; later work on the stream sees `out`. Until then the arrays must
        live, and nothing else may write to them. Threads may share the runner, each with its own stream.

        Args:
            images: an object with `__dlpack__` or `__cuda_array_interface__`, such as a CUDA tensor of PyTorch: the
                network's own input, `inputs[0]`, in C order, on the first GPU. It is not normalised here.
            out: an array for the first output, or one for each output by name.
            stream: CUDA handle, as in `torch.cuda.current_stream().cuda_stream`; 0: the default stream, on which
                TensorRT waits for the GPU.

        Raises:
            DeployError: the backend does not take device arrays, or one does not fit (nothing is started then).
            MachineError: CUDA failed.
        """
        predict_on_device(self._pool, f"{self.backend} {self.precision}", images, out, stream)

    def warmup(self, batches: Sequence[int] = (1,), iterations: int = 2) -> None:
        """Creates all contexts and runs each on blank images, so that first calls are as fast as later ones.

        Call it before other threads use the runner.

        Args:
            batches: the batch sizes to expect.
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
                        infer(backend, piece)

    def close(self) -> None:
        """Waits for running calls, then frees all memory; may be called twice."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _run(self, images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> tuple[Array, ...]:
        batch = self._checked(np.asarray(images))
        pieces = [tuple(result[:count] for result in results) for results, count in self._pieces(batch)]
        return pieces[0] if len(pieces) == 1 else tuple(np.concatenate(parts) for parts in zip(*pieces, strict=True))

    def _pieces(self, batch: Array) -> Iterator[tuple[tuple[Array, ...], int]]:
        """Each part's outputs, and the number of their rows that are not padding."""
        with self._pool.lend() as backend:
            start = 0
            for piece in _split(batch, self.batches):
                yield infer(backend, piece), min(len(piece), len(batch) - start)
                start += len(piece)

    def _checked(self, images: Array) -> Array:
        preprocessing, source = self.bundle.spec.preprocessing, self.inputs[0]
        pixels = (preprocessing.height, preprocessing.width, 3)
        if images.ndim == 4 and len(images) > 0:
            if images.dtype == source.dtype and images.shape[1:] == source.shape:
                return np.ascontiguousarray(images)
            if images.dtype == np.uint8 and images.shape[1:] == pixels:
                return normalize(images.astype(np.uint8, copy=False), preprocessing)
        shapes = f"uint8 (N, {', '.join(map(str, pixels))}), RGB"
        if source.dtype != "uint8":
            shapes += f", or normalised float32 (N, {', '.join(map(str, source.shape))})"
        raise DeployError(f"images are {images.dtype} {images.shape}: expected {shapes}, N at least 1")

    def _targets(self, out: Array | Mapping[str, Array], count: int) -> list[Array]:
        named, targets = named_outputs(out, self.outputs), list[Array]()
        for output, (name, target) in zip(self.outputs, named.items(), strict=False):
            shape = (count, *output.shape)
            if not isinstance(target, np.ndarray) or (target.dtype, target.shape) != (np.dtype(output.dtype), shape):
                found = f"{target.dtype} {target.shape}" if isinstance(target, np.ndarray) else type(target).__name__
                raise DeployError(f"out for {name} is {found}: expected a numpy array, {output.dtype} {shape}")
            if not target.flags.writeable:
                raise DeployError(f"out for {name} is read-only: expected an array that can be written to")
            targets.append(target)
        return targets


def _split(batch: Array, sizes: range) -> Iterator[Array]:
    """Parts of sizes the backend takes; the last repeats its images if it is too small."""
    largest = sizes[-1]
    for start in range(0, len(batch), largest):
        piece = batch[start : start + largest]
        yield piece if len(piece) >= sizes[0] else np.resize(piece, (sizes[0], *piece.shape[1:]))
