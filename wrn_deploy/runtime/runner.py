"""The Runner that services embed: a bundle opened on one backend, for any number of threads; numpy only."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Self, cast

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.files.trust import Trust, trust
from wrn_deploy.formatting import count, printable
from wrn_deploy.machine import usable_cores
from wrn_deploy.runtime.backend import Array, Backend, choose, find_runtime, infer, open_backend, parse_precision
from wrn_deploy.runtime.finite import check_finite
from wrn_deploy.runtime.host_arrays import check_targets, prepare_images, split_batch
from wrn_deploy.runtime.on_device import predict_on_device
from wrn_deploy.runtime.pool import Pool
from wrn_deploy.spec import Precision

__all__ = ["Runner"]

MAX_CONTEXTS = 1024  # more is a mistake
OF_IMAGES = "check how they were normalised, or allow them with the option allow_nonfinite"
OF_OUTPUTS = "run another precision, as fp32, or allow them with the option allow_nonfinite"


class Runner:
    """A bundle, opened for inference on one backend at one precision; a context manager.

    Example:
        ```python
        images = np.zeros((1, 32, 32, 3), np.uint8)  # N RGB images at the network's size
        with Runner.open("bundle", backend="onnxruntime", precision="fp32") as runner:
            logits = runner.predict(images)  # float32 (N, classes)
        ```

    Threads may share a runner. Each call uses one of at most `contexts` execution contexts, which share the weights;
    further callers wait. A process forked from the one that opened it must open the bundle again: there every call
    raises UsageError, and the end of a `with` block does nothing.

    Attributes:
        bundle: the opened bundle.
        backend: the backend that runs, as in "onnxruntime".
        precision: the precision that runs.
        fell_back: why `fallback` replaced the requested backend or precision; None if it did not.
        allow_nonfinite: whether NaN and infinite images and outputs are allowed, and not an error.
        inputs: the one input's name, dtype and shape of one image.
        outputs: likewise, of each output.
        batches: the batch sizes the backend takes; larger batches are split, smaller ones padded.
    """

    def __init__(
        self,
        bundle: Bundle,
        pool: Pool,
        *,
        backend: str,
        precision: Precision,
        fell_back: str | None,
        allow_nonfinite: bool,
    ) -> None:
        self.bundle = bundle
        self.backend = backend
        self.precision = precision
        self.fell_back = fell_back
        self.allow_nonfinite = allow_nonfinite
        self._pool = pool
        self._gives = f"{backend} {precision} gives"
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
        allow_nonfinite: bool = False,
        require_signature: Path | str | None = None,
        allow_host_code: bool = False,
    ) -> Self:
        """Opens the bundle in `folder`.

        Args:
            folder: the bundle.
            precision: "fp32", "fp16", "int8", ...; default: the backend's preferred one.
            backend: as in "onnxruntime"; default: the first of `backend.PREFERRED` that can run.
            threads: CPU threads, 1 to 1024; default: the library's own.
            contexts: calls that can run at the same time, 1 to 1024; each allocates its own activations. Default: one
                per CPU core, at most 4.
            fallback: if the requested backend or precision cannot run here, open the default one, with a
                RuntimeWarning and the reason in `fell_back`. Without it nothing is ever replaced.
            allow_nonfinite: takes NaN and infinite images, and returns such outputs; otherwise both are an error.
            require_signature: a PEM file with the public key, or the authorities' certificates, that the bundle's
                signature must belong to. Default: that of the process, which demands none by default (docs/trust.md).
            allow_host_code: lets TensorRT run the processor code in a version-compatible plan; only if you trust who
                built it. Default: that of the process, which does not.

        Raises:
            GateError: the demanded signature is missing or wrong.
            DeployError: not a bundle; or the artifact is missing (MissingArtifact), stale or damaged.
            MachineError: this machine cannot run it.
            UsageError: the backend does not run this precision; too few or too many threads or contexts.
        """
        if contexts is not None and not 1 <= contexts <= MAX_CONTEXTS:
            raise UsageError(f"{contexts} contexts: expected 1 to {MAX_CONTEXTS}")
        default = trust()
        allowed = Trust(
            signed_by=default.signed_by if require_signature is None else Path(require_signature),
            host_code=allow_host_code or default.host_code,
        )
        bundle, reason = Bundle.open(folder, trust=allowed), None
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
        pool = Pool(first, contexts or min(4, usable_cores()))
        return cls(bundle, pool, backend=name, precision=chosen, fell_back=reason, allow_nonfinite=allow_nonfinite)

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
            DeployError: another shape or dtype, an empty batch, a bundle without logits, or NaN or infinite values.
            UsageError: the runner is closed, or was opened by the process that this one was forked from.
        """
        if self.outputs[0].name != "logits":
            names = " and ".join(output.name for output in self.outputs)
            raise DeployError(f"this bundle gives {names}, no logits: call `run` instead of `predict`")
        return cast("npt.NDArray[np.float32]", self.run(images)["logits"])

    def run(self, images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> dict[str, Array]:
        """All outputs of a batch by name, as in {"logits": ..., "features": ...}; otherwise like `predict`."""
        return self._run(self.prepare(images))

    def predict_into(
        self, images: npt.NDArray[np.uint8] | npt.NDArray[np.float32], out: Array | Mapping[str, Array]
    ) -> None:
        """Writes the outputs of a batch into the caller's arrays, which must not overlap the images.

        Args:
            images: as in `predict`.
            out: an array for the first output, or one for each output by name: (N, *shape), the output's dtype, any
                strides.

        Raises:
            DeployError: as `predict`; or an array is missing or has another shape or dtype. Nothing is written then.
            UsageError: as `predict`.
        """
        batch = self.prepare(images)
        targets = check_targets(out, self.outputs, len(batch))
        outputs = self._run(batch)
        for name, target in targets.items():
            target[...] = outputs[name]

    def predict_on_device(self, images: object, out: object | Mapping[str, object], stream: int = 0) -> None:
        """Starts an inference on GPU arrays on the caller's CUDA stream, without a copy and without waiting.

        It runs after the work already on the stream; later work on the stream sees `out`. Until then the arrays must
        live, and nothing else may write to them. Threads may share the runner, each with its own stream.

        NaN and infinite outputs are not noticed: that would need to wait for the GPU. Check `out` after the stream.

        Args:
            images: an object with `__dlpack__` or `__cuda_array_interface__`, such as a CUDA tensor of PyTorch: the
                network's own input, `inputs[0]`, in C order, on the first GPU. It is not normalised here.
            out: an array for the first output, or one for each output by name.
            stream: CUDA handle, as in `torch.cuda.current_stream().cuda_stream`; 0: the default stream, on which
                TensorRT waits for the GPU.

        Raises:
            DeployError: the backend does not take device arrays, or one does not fit (nothing is started then).
            MachineError: CUDA failed.
            UsageError: as `predict`.
        """
        self._pool.check_process()  # before CUDA is called
        predict_on_device(self._pool, f"{self.backend} {self.precision}", images, out, stream)

    def prepare(self, images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> Array:
        """The batch as the network takes it: pixels are normalised, unless the network takes pixels.

        `predict` does this itself, and takes what it returns as it is.

        Raises:
            DeployError: another shape or dtype, an empty batch, or NaN or infinite values.
        """
        given = np.asarray(images)
        batch = prepare_images(given, self.bundle.spec.preprocessing, self.inputs[0])
        if given.dtype.kind == "f" and not self.allow_nonfinite:  # int8 graphs would answer NaN without a word
            check_finite({"images": batch}, subject="the batch has", remedy=OF_IMAGES)
        return batch

    def warmup(self, batches: Sequence[int] = (1,), iterations: int = 2) -> None:
        """Creates all contexts and runs each on blank images, so that first calls are as fast as later ones.

        Calls of other threads wait meanwhile.

        Args:
            batches: the batch sizes to expect.
            iterations: runs of each size in each context.

        Raises:
            DeployError: a batch below 1, or an inference failed.
            UsageError: as `predict`; or within a call of this thread, as a signal handler may be.
        """
        source = self.inputs[0]

        def run(backend: Backend) -> None:
            for size in batches:
                if size < 1:
                    raise DeployError(f"a batch of {size} to warm up with: expected at least 1")
                blank = np.zeros((size, *source.shape), source.dtype)
                for _ in range(iterations):
                    for piece in split_batch(blank, self.batches):
                        infer(backend, piece)

        self._pool.call_each(run)

    def close(self) -> None:
        """Waits for running calls, then frees all memory; calls that wait for a context fail. May be called twice.

        Raises:
            UsageError: in a forked process; or within a call of this thread, as a signal handler may be.
        """
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if not self._pool.forked:  # a child that leaves the block has nothing to free, and its own error to report
            self.close()

    def __repr__(self) -> str:
        state = f"opened in process {self._pool.process}" if self._pool.forked else "open"
        return (
            f"<{type(self).__name__} of {self.bundle.spec.name!r} in {str(self.bundle.folder)!r}: {self.backend} "
            f"{self.precision}, {count(self._pool.size, 'context')}, {'closed' if self._pool.closed else state}>"
        )

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            f"{self!r} cannot be copied or sent to another process: pass the bundle's folder, and open it there"
        )

    def _run(self, batch: Array) -> dict[str, Array]:
        pieces = self._pool.call(lambda backend: [infer(backend, piece) for piece in split_batch(batch, self.batches)])
        joined = pieces[0] if len(pieces) == 1 else [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
        names = [output.name for output in self.outputs]
        outputs = {name: array[: len(batch)] for name, array in zip(names, joined, strict=True)}  # without padding
        if not self.allow_nonfinite:
            check_finite(outputs, subject=self._gives, remedy=OF_OUTPUTS)
        return outputs
