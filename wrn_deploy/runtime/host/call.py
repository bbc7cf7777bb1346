"""One call of a runner on arrays in host memory: images in pieces that the backend takes, outputs joined."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from wrn_deploy.data.preprocess import normalize
from wrn_deploy.errors import DeployError
from wrn_deploy.formatting import count
from wrn_deploy.runtime.backend import Array, Backend
from wrn_deploy.runtime.finite import check_finite
from wrn_deploy.runtime.host.arrays import split_batch
from wrn_deploy.spec import Preprocessing

__all__ = ["HostCall", "warm_up"]

OF_IMAGES = "check how they were normalised, or allow them with the option allow_nonfinite"
OF_OUTPUTS = "run another precision, such as fp32, or allow them with the option allow_nonfinite"


@dataclass(slots=True, kw_only=True)
class HostCall:
    """Batches of the caller's on their way through a backend.

    Attributes:
        preprocessing: the network's own.
        check: whether NaN and infinite images and outputs are an error.
        gives: who gives the outputs, with the verb, as in "onnxruntime int8 gives".
    """

    preprocessing: Preprocessing
    check: bool
    gives: str
    _normalised: int = field(default=0, init=False)
    _normalised_s: float = field(default=0.0, init=False)

    def checked(self, backend: Backend, images: Array) -> Array:
        """The batch as an array; raises DeployError if it has another shape or dtype, or no image."""
        batch, source = np.asarray(images), backend.inputs[0]
        pixels = (self.preprocessing.height, self.preprocessing.width, 3)
        if batch.ndim == 4 and len(batch) > 0:
            known = ((source.dtype, source.shape), ("uint8", pixels))
            if any(batch.dtype == dtype and batch.shape[1:] == shape for dtype, shape in known):
                return batch
        shapes = f"uint8 (N, {', '.join(map(str, pixels))}), RGB"
        if source.dtype != "uint8":
            shapes += f", or normalised float32 (N, {', '.join(map(str, source.shape))})"
        raise DeployError(f"images are {batch.dtype} {batch.shape}: expected {shapes}, N at least 1")

    def prepared(self, backend: Backend, images: Array, *, of: Array) -> Array:
        """Checked images as the network takes them: pixels are normalised, unless it takes pixels.

        Raises:
            DeployError: NaN or infinite values; the text is about `of`, the batch that they are a part of.
        """
        source = backend.inputs[0]
        if images.dtype != source.dtype or images.shape[1:] != source.shape:
            start = time.perf_counter()
            ready = normalize(images, self.preprocessing)
            self._normalised_s += time.perf_counter() - start
            self._normalised += len(images)
            return ready
        if self.check and images.dtype.kind == "f" and not np.isfinite(images).all():
            check_finite({"images": of}, subject="the batch has", remedy=OF_IMAGES)
        return np.ascontiguousarray(images)

    def infer(self, backend: Backend, batch: Array) -> dict[str, Array]:
        """All outputs of a checked batch, by name.

        Raises:
            DeployError: NaN or infinite values.
        """
        if len(batch) > backend.batches[-1]:
            return next(self.infer_each(backend, [batch]))
        (piece,) = self._pieces(backend, batch)
        return self._joined(backend, [backend.infer(piece)], len(batch))

    def infer_each(self, backend: Backend, batches: Iterable[Array]) -> Iterator[dict[str, Array]]:
        """Yields all outputs of each batch; the pieces of all batches follow each other without a pause.

        Raises:
            DeployError: as `checked` and `infer`, when the batch is taken.
        """
        taken: deque[tuple[int, int]] = deque()  # images and pieces of the batches whose outputs are to come

        def pieces() -> Iterator[Array]:
            for given in batches:
                batch = self.checked(backend, given)
                taken.append((len(batch), -(-len(batch) // backend.batches[-1])))
                yield from self._pieces(backend, batch)

        parts: list[tuple[Array, ...]] = []
        for outputs in backend.infer_each(pieces()):
            parts.append(outputs)
            images, wanted = taken[0]
            if len(parts) == wanted:
                taken.popleft()
                yield self._joined(backend, parts, images)
                parts = []

    @property
    def cost(self) -> str | None:
        """What normalising pixels has taken so far, and how to avoid it; None if nothing was normalised."""
        if not self._normalised:
            return None
        each_us = 1e6 * self._normalised_s / self._normalised
        return (
            f"the CPU normalised {count(self._normalised, 'image')} for the GPU in {1e3 * self._normalised_s:.3g} ms, "
            f"{each_us:.3g} us each: run a plan that takes pixels (docs/explanation/engines.md), or pass normalised "
            "float32"
        )

    def _pieces(self, backend: Backend, batch: Array) -> Iterator[Array]:
        """Parts of a checked batch; each is normalised or checked when it is taken, while a GPU computes another."""
        for piece in split_batch(batch, backend.batches):
            yield self.prepared(backend, piece, of=batch)

    def _joined(self, backend: Backend, parts: Sequence[tuple[Array, ...]], images: int) -> dict[str, Array]:
        """The outputs of a batch of `images`, without padding."""
        joined = parts[0] if len(parts) == 1 else [np.concatenate(each) for each in zip(*parts, strict=True)]
        names = [output.name for output in backend.outputs]
        outputs = {name: array[:images] for name, array in zip(names, joined, strict=True)}
        if self.check:
            check_finite(outputs, subject=self.gives, remedy=OF_OUTPUTS)
        return outputs


def warm_up(backend: Backend, batches: Sequence[int], iterations: int) -> None:
    """Runs blank images of each batch size; raises DeployError if a size is below 1."""
    source = backend.inputs[0]
    for size in batches:
        if size < 1:
            raise DeployError(f"a batch of {size} to warm up with: expected at least 1")
        blank = np.zeros((size, *source.shape), source.dtype)
        for _ in range(iterations):
            for _outputs in backend.infer_each(split_batch(blank, backend.batches)):
                pass
