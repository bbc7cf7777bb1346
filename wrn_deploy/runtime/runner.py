"""The Runner that services embed: a bundle opened on one backend, for any number of threads; numpy only."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Self, cast

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.files.trust import Trust, trust
from wrn_deploy.formatting import count, printable
from wrn_deploy.machine import usable_cores
from wrn_deploy.runtime.backend import Array, DeviceBackend, choose, find_runtime, open_backend, parse_precision
from wrn_deploy.runtime.host.arrays import check_targets
from wrn_deploy.runtime.host.call import HostCall, warm_up
from wrn_deploy.runtime.on_device import predict_on_device
from wrn_deploy.runtime.pool import Pool
from wrn_deploy.spec import Precision

__all__ = ["Runner"]

MAX_CONTEXTS = 1024  # more is a mistake


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
        outputs: the name, dtype and shape of one image of each output.
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
        self._told = not isinstance(pool.first, DeviceBackend)  # what normalising on the CPU costs

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
                signature must belong to. Default: that of the process, which demands none by default
                (docs/explanation/trust.md).
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
                graph or plan takes pixels (see `inputs`), as plans do by default.

        Returns:
            float32 (N, classes), owned by the caller.

        Raises:
            DeployError: another shape or dtype, an empty batch, a bundle without logits, or NaN or infinite values.
            UsageError: the runner is closed, or was opened by the process that this one was forked from.
        """
        if self.outputs[0].name != "logits":
            names = " and ".join(output.name for output in self.outputs)
            raise DeployError(f"this bundle outputs {names}, not logits: call `run` instead of `predict`")
        call = self._call()
        outputs = self._run(call, call.checked(self._pool.first, images))
        return cast("npt.NDArray[np.float32]", outputs["logits"])

    def run(self, images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> dict[str, Array]:
        """All outputs of a batch by name, as in {"logits": ..., "features": ...}; otherwise like `predict`."""
        call = self._call()
        return self._run(call, call.checked(self._pool.first, images))

    def run_each(
        self, batches: Iterable[npt.NDArray[np.uint8] | npt.NDArray[np.float32]]
    ) -> Iterator[dict[str, Array]]:
        """Yields the outputs of each batch, in order, as `run` returns them.

        On a GPU, the copies of one batch overlap with the inference of another; the next two batches are fetched before
        the outputs of the first one are yielded. The iterator keeps one context until it ends or is dropped.

        Args:
            batches: as for `predict`, each of any size; do not change a `slot` before its outputs are yielded.

        Raises:
            DeployError: as `predict`, when the batch is fetched.
            UsageError: as `predict`.
        """
        call = self._call()
        for outputs in self._pool.iterate(lambda backend: call.infer_each(backend, batches)):
            self._tell(call.cost, stacklevel=3)
            yield outputs

    @contextlib.contextmanager
    def slot(self, count: int) -> Iterator[Array]:
        """Lends memory that images can be decoded into and predicted from without a copy on the CPU.

        On a GPU it is pinned memory, which the GPU reads; elsewhere it is plain memory, so that callers are the same.

        Example:
            ```python
            with runner.slot(8) as images:  # (8, *runner.inputs[0].shape), uninitialised
                images[:] = decoded
                logits = runner.predict(images)
            ```

        Args:
            count: the number of images.

        Yields:
            the array, of `inputs[0].dtype`. It must not be used after the block; threads may each have slots.

        Raises:
            DeployError: less than one image.
            MachineError: there is no memory.
            UsageError: as `predict`.
        """
        if count < 1:
            raise DeployError(f"a slot for {count} images: expected at least 1")
        self._pool.check_process()
        self._pool.check_open()
        with self._pool.first.slot(count) as images:
            yield images

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
        call = self._call()
        batch = call.checked(self._pool.first, images)
        targets = check_targets(out, self.outputs, len(batch))
        outputs = self._run(call, batch)
        for name, target in targets.items():
            target[...] = outputs[name]

    def predict_on_device(self, images: object, out: object | Mapping[str, object], stream: int = 0) -> None:
        """Starts an inference on GPU arrays on the caller's CUDA stream, without waiting and without the host's memory.

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
        call, backend = self._call(), self._pool.first
        batch = call.checked(backend, images)
        return call.prepared(backend, batch, of=batch)

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
        self._pool.call_each(lambda backend: warm_up(backend, batches, iterations))

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

    def _call(self) -> HostCall:
        check = not self.allow_nonfinite  # int8 graphs would answer NaN without a word
        return HostCall(preprocessing=self.bundle.spec.preprocessing, check=check, gives=self._gives)

    def _run(self, call: HostCall, batch: Array) -> dict[str, Array]:
        outputs = self._pool.call(lambda backend: call.infer(backend, batch))
        self._tell(call.cost, stacklevel=4)
        return outputs

    def _tell(self, cost: str | None, stacklevel: int) -> None:
        """Warns once of what the CPU has to do for a GPU."""
        if cost is not None and not self._told:
            self._told = True
            warnings.warn(cost, RuntimeWarning, stacklevel=stacklevel)
