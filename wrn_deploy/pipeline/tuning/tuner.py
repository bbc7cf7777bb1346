"""Measures Convs in int8 against fp16, alone and in sets, and finds the fewest to keep in fp16; changes no bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from wrn_deploy.bench.report.tuning import Budget, ConvCost, Score, Trial, Tuning
from wrn_deploy.bundle import Bundle
from wrn_deploy.data.cached_batches import CachedBatches
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.errors import DeployError
from wrn_deploy.manifest import Artifact
from wrn_deploy.pipeline.quantization.base_graph import read_equalized, read_unwrapped, unwrapped_file, write_wrapped
from wrn_deploy.pipeline.quantization.quantize import mixed_graph
from wrn_deploy.process.scratch import full_is_named, open_scratch_file, scratch_folder
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.sessions import infer_with, open_session

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["MixedGraphs", "Reference", "Tuner", "find_fewest"]

Advance = Callable[[int], None]


class MixedGraphs:
    """The graphs for TensorRT of a calibrated bundle with some Convs in fp16; `base` is the one with all in int8.

    `macs` are the multiply-accumulates of each Conv for one image, in the graph's order, as linting counts them.
    """

    def __init__(self, bundle: Bundle, base: Artifact) -> None:
        from wrn_deploy.calib.lint.facts import GraphFacts

        self.base = base
        self.file = bundle.file(base)
        self.bundle = bundle
        self._int8 = read_unwrapped(self.file)
        self._fp32, self._table = read_equalized(bundle)
        facts = GraphFacts(self._int8)
        self.macs = {conv.name or "": facts.macs[conv.outputs[0].name or ""] for conv in facts.convs}

    def _mixed(self, float_convs: Collection[str]) -> ir.Model:
        return mixed_graph(self._int8, float_convs, fp32=self._fp32, table=self._table, spec=self.bundle.spec)

    def write_unwrapped(self, float_convs: Collection[str], file: Path) -> None:
        """Writes the graph with these Convs in fp16 without the bundle's interface, to measure it."""
        import onnx_ir as ir

        ir.save(self._mixed(float_convs) if float_convs else self._int8, file)

    def write(self, float_convs: Collection[str], file: Path) -> None:
        """Writes the graph with these Convs in fp16 as the bundle keeps it."""
        if float_convs:
            graph, equalization = self._mixed(float_convs), self._table.equalization
            write_wrapped(graph, file, self.bundle.spec, fp32=self._fp32, equalization=equalization)
        else:
            shutil.copyfile(self.file, file)


class Reference:
    """fp32's logits on some images, in a temporary file, to compare other graphs with.

    A context manager; holds one session at a time.
    """

    def __init__(self, fp32: Path, batches: CachedBatches, threads: int | None, advance: Advance) -> None:
        self.batches = batches
        self.threads = threads
        self._logits = open_scratch_file()  # closed by __exit__
        infer = infer_with(open_session(fp32, threads))
        images = correct = 0
        for batch in batches:
            logits = infer(normalize(batch.images, batches.preprocessing))
            with full_is_named():
                self._logits.write(logits.tobytes())
            images += len(logits)
            correct += int((logits.argmax(axis=1) == batch.labels).sum())
            advance(len(logits))
        self.score = Score(images, correct, images, 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._logits.close()

    def compare(self, graph: Path, advance: Advance) -> Score:
        """Measures the graph's score.

        Raises:
            DeployError: a logit is not finite.
        """
        infer = infer_with(open_session(graph, self.threads, fuses_qdq=False))
        self._logits.seek(0)
        correct = same = values = 0
        squares = 0.0
        for batch in self.batches:
            logits = infer(normalize(batch.images, self.batches.preprocessing))
            wanted = np.frombuffer(self._logits.read(logits.nbytes), dtype=np.float32).reshape(logits.shape)
            squares += float(np.square(logits - wanted, dtype=np.float64).sum())
            if not np.isfinite(squares):
                raise DeployError(
                    f"a graph with Convs in fp16 gives NaN or infinite logits near {batch.names[0]}: expected finite "
                    "ones; the fp16 graph overflows there, which `wrn-deploy eval` shows too"
                )
            answers = logits.argmax(axis=1)
            correct += int((answers == batch.labels).sum())
            same += int((answers == wanted.argmax(axis=1)).sum())
            values += logits.size
            advance(len(logits))
        return Score(self.score.images, correct, same, squares / values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuner:
    """Measures layers on a sample of images, then sets of layers on labelled images; holds one session at a time."""

    graphs: MixedGraphs
    labelled: CachedBatches
    sample: CachedBatches
    threads: int | None
    progress: Progress
    trials: dict[frozenset[str], Trial] = field(default_factory=dict)

    def tune(self, budget: Budget) -> Tuning:
        """Measures the costs, then searches; computes fp32's answers once per set of images."""
        bundle = self.graphs.bundle
        stored = bundle.file(bundle.find("onnx-fp32"))
        with unwrapped_file(stored, bundle.spec) as fp32:
            with Reference(fp32, self.sample, self.threads, _ignore) as reference:
                layers = self._costs(reference)
            count = len(self.labelled)
            with self.progress.task(f"Answers of fp32 on {count} images", count) as advance:
                reference = Reference(fp32, self.labelled, self.threads, advance)
            with reference:
                kept = find_fewest(
                    [layer.name for layer in layers],
                    lambda kept: budget.met(self._trial(kept, reference).score, reference.score),
                )
        return Tuning(
            model=bundle.spec.name,
            random_weights=bundle.random_weights,
            data=Path(self.labelled.source.name).name,
            sensitivity_data=Path(self.sample.source.name).name,
            budget=budget,
            reference=reference.score,
            layers=tuple(layers),
            trials=tuple(sorted(self.trials.values(), key=lambda trial: (-trial.int8_share, trial.float_convs))),
            chosen=None if kept is None else self.trials[kept],
        )

    def _costs(self, reference: Reference) -> list[ConvCost]:
        """The error of each Conv alone in int8: never negative and nearly additive, unlike the gain of one in fp16."""
        layers, macs = [], self.graphs.macs
        title = f"Costs of {len(macs)} Convs in int8, on {len(self.sample)} images"
        with self.progress.task(title, len(macs)) as advance:
            for name in macs:
                alone = self._measure([other for other in macs if other != name], reference, _ignore)
                layers.append(ConvCost(name, macs[name], alone))
                advance(1)
        return sorted(layers, key=lambda layer: (-layer.alone.error / layer.macs, layer.name))

    def _trial(self, kept: frozenset[str], reference: Reference) -> Trial:
        """The set's score on the labelled images; each set is measured once."""
        if kept not in self.trials:
            macs = self.graphs.macs
            names = tuple(name for name in macs if name in kept)
            int8 = 1.0 - sum(macs[name] for name in names) / sum(macs.values())
            title = f"Accuracy with {len(names)} of {len(macs)} Convs in fp16, {100 * int8:.1f} % of MACs in int8"
            with self.progress.task(title, len(self.labelled)) as advance:
                self.trials[kept] = Trial(names, int8, self._measure(names, reference, advance))
        return self.trials[kept]

    def _measure(self, float_convs: Collection[str], reference: Reference, advance: Advance) -> Score:
        with scratch_folder() as folder:
            file = folder / "trial.onnx"
            self.graphs.write_unwrapped(float_convs, file)
            return reference.compare(file, advance)


def find_fewest(ranked: Sequence[str], meets: Callable[[frozenset[str]], bool]) -> frozenset[str] | None:
    """The layers to keep in fp16; None if no set meets the budget, or only that of all layers.

    First the costliest 0, 1, 2, 4, 8, ... and all layers are measured in any case: they are the frontier. Between the
    first of these that meets the budget and the one before it, bisection finds the smallest, assuming that more layers
    in fp16 lose no more. Then each kept layer goes back to int8 if the rest still meets the budget, the cheapest first,
    until none can. So the set is minimal: no kept layer can be left out. It need not be the best: another set with
    fewer MACs may meet the budget too.

    Args:
        ranked: all layers, by the error per MAC that fp16 avoids, the largest first.
        meets: whether the graph with these layers in fp16 meets the budget; called with the same set more than once.
    """
    count = len(ranked)
    sizes = [0, *(2**power for power in range(count.bit_length()) if 2**power < count), count]
    good = [size for size in sizes if meets(frozenset(ranked[:size]))]
    if not good:
        return None
    high = good[0]
    low = max((size for size in sizes if size < high), default=-1)
    while high - low > 1:
        middle = (low + high) // 2
        if meets(frozenset(ranked[:middle])):
            high = middle
        else:
            low = middle
    kept = _minimal(ranked[:high], meets)
    return kept if len(kept) < len(ranked) else None


def _minimal(ranked: Sequence[str], meets: Callable[[frozenset[str]], bool]) -> frozenset[str]:
    """Drops layers that are not needed, the last of the ranking first, until every layer is needed."""
    kept, changed = list(ranked), True
    while changed:
        changed = False
        for name in reversed(ranked):
            rest = [other for other in kept if other != name]
            if name in kept and meets(frozenset(rest)):
                kept, changed = rest, True
    return frozenset(kept)


def _ignore(_images: int) -> None:
    return None
