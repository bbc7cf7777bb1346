"""Scores one shard after the other with an open Runner: images, to rows, to a part, to the ledger."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn_deploy.cluster.work import Finished
from wrn_deploy.data import CorruptImage
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.data.preprocess import Batch, Batches
from wrn_deploy.data.sampling.digest import DataDigest
from wrn_deploy.errors import DamagedFile, OverLimit
from wrn_deploy.files.new_file import new_file
from wrn_deploy.runtime.backend import Array
from wrn_deploy.runtime.finite import check_finite
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.shards.find import as_text
from wrn_deploy.shards.found import Shard, ShardSet
from wrn_deploy.shards.ledger import Entry, Ledger, part_name
from wrn_deploy.shards.parts import PartShape, PartWriter, Rows
from wrn_deploy.shards.reader import ShardReader
from wrn_deploy.shards.recipe import Recipe

__all__ = ["ScoreWorker", "best_classes", "metadata_of"]

REMEDY = "run another precision, such as fp32, or check the weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreWorker:
    """A `cluster.work.Worker`: an open Runner, the data, and the place of the parts.

    Args:
        runner: runs the bundle.
        decoders: decode the images.
        reader: opens the shards.
        ledger: takes the parts.
        found: the shards.
        scratch: for the part that is being written.
        max_corrupt: corrupt images to leave out at most in a shard.
        keep_damaged: record a damaged shard, and do not raise.
        machine: what runs, for the record.
    """

    runner: Runner
    decoders: Decoders
    reader: ShardReader
    ledger: Ledger
    found: ShardSet
    scratch: Path
    max_corrupt: MaxCorrupt
    keep_damaged: bool
    machine: str

    def run(self, shard: int) -> Finished:
        """Scores a shard and records it; `result` is why the shard is damaged, if it is and is left out.

        Raises:
            DeployError: too many corrupt images, an output that is not finite, or a shard that cannot be read.
        """
        start, this = time.perf_counter(), self.found.shards[shard]
        part = self.scratch / part_name(shard)
        result = None
        try:
            entry = self._score(this, part)
        except (CorruptImage, OverLimit):  # about one image, or for the user to raise
            raise
        except DamagedFile as error:
            if not self.keep_damaged:
                raise
            entry, result = self._describe_damage(this, str(error)), str(error).encode("utf-8", "replace")
        entry = dataclasses.replace(entry, seconds=round(time.perf_counter() - start, 3))
        self.ledger.add(entry, part if result is None else None, self.scratch)
        return Finished(shard=shard, images=entry.images, corrupt=entry.corrupt, seconds=entry.seconds, result=result)

    def _score(self, shard: Shard, target: Path) -> Entry:
        """Writes the part; the record lacks only the time."""
        recipe, spec, digest = self.ledger.recipe, self.runner.bundle.spec, DataDigest()
        features = spec.interface.features if recipe.features else 0
        shape = PartShape(top_k=recipe.top_k, logits=spec.classes if recipe.logits else 0, features=features)
        metadata = metadata_of(recipe, shard)
        waiting = deque[Batch]()
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(self.reader.open(shard))
            batches = Batches(
                source, spec.preprocessing, recipe.batch, max_corrupt=self.max_corrupt, decoders=self.decoders
            )

            def images() -> Iterator[npt.NDArray[np.uint8]]:
                for batch in batches if len(source) else ():  # Batches refuses a source without images
                    digest.add(batch.images)
                    waiting.append(batch)
                    yield batch.images

            part = stack.enter_context(_open_part(target, shape, metadata))
            answers = stack.enter_context(contextlib.closing(self.runner.run_each(images())))  # type: ignore[type-var]
            for outputs in answers:
                part.add(self._rows(shard, waiting.popleft(), outputs))
        return Entry(
            recipe=recipe.digest,
            shard=shard.number,
            name=shard.name,
            source_bytes=shard.size_bytes,
            images=part.images,
            corrupt=tuple(map(as_text, batches.corrupt)),
            data=digest.hexdigest(),
            sha256=part.sha256,
            size_bytes=part.size_bytes,
            damaged="",
            machine=self.machine,
            seconds=0.0,
        )

    def _rows(self, shard: Shard, batch: Batch, outputs: Mapping[str, Array]) -> Rows:
        recipe = self.ledger.recipe
        gives = f"{shard.name}: {self.runner.backend} {self.runner.precision} gives"
        check_finite(outputs, subject=gives, remedy=REMEDY, names=batch.names)
        classes, scores = best_classes(outputs, recipe.top_k)
        return Rows(
            ids=[as_text(name) for name in batch.names],
            source=shard.name,
            labels=batch.labels,
            classes=classes,
            scores=scores,
            logits=outputs["logits"] if recipe.logits else None,
            features=outputs["features"] if recipe.features else None,
        )

    def _describe_damage(self, shard: Shard, reason: str) -> Entry:
        return Entry(
            recipe=self.ledger.recipe.digest,
            shard=shard.number,
            name=shard.name,
            source_bytes=shard.size_bytes,
            images=0,
            corrupt=(),
            data="",
            sha256="",
            size_bytes=0,
            damaged=as_text(reason),
            machine=self.machine,
            seconds=0.0,
        )


@contextlib.contextmanager
def _open_part(target: Path, shape: PartShape, metadata: Mapping[str, str]) -> Iterator[PartWriter]:
    with new_file(target) as stream, PartWriter(stream, shape, metadata) as part:
        yield part


def metadata_of(recipe: Recipe, shard: Shard) -> dict[str, str]:
    """What a part says about itself, in its schema."""
    return {
        "wrn-deploy.recipe": recipe.to_text(),
        "wrn-deploy.shard": str(shard.number),
        "wrn-deploy.source": shard.name,
        "wrn-deploy.scores": recipe.scores,
    }


def best_classes(outputs: Mapping[str, Array], top_k: int) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.float64]]:
    """The best classes of each image, best first, and their scores, (N, top_k) each.

    Of equal logits the lower class comes first. The scores are the softmax over all logits, in float64, or the logits
    of a bundle that gives only its best classes.
    """
    if "logits" not in outputs:
        return outputs["top_classes"][:, :top_k], outputs["top_logits"][:, :top_k].astype(np.float64)
    logits = outputs["logits"]
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    classes = _largest(logits, top_k)
    return classes, np.take_along_axis(powers, classes, axis=1) / powers.sum(axis=1, keepdims=True)


def _largest(values: Array, count: int) -> npt.NDArray[np.intp]:
    """The places of the `count` largest values of each row, as a stable sort of all would give them."""
    width = values.shape[1]
    if count < width:
        # Partitioning takes an eighth of the time of sorting a thousand classes; it does not order equal values.
        threshold = np.partition(values, width - count, axis=1)[:, width - count, None]
        if (values >= threshold).sum() == count * len(values):
            places = np.nonzero(values >= threshold)[1].reshape(len(values), count)
            order = np.argsort(-np.take_along_axis(values, places, axis=1), axis=1, kind="stable")
            return np.take_along_axis(places, order, axis=1)
    return np.argsort(-values, axis=1, kind="stable")[:, :count]
