"""Measures Convs in int8 against fp16, alone and in sets, and finds the fewest to keep in fp16; changes no bundle."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from wrn_deploy.bench.report.tuning import Budget, ConvCost, Score, Trial, Tuning
from wrn_deploy.data.cached_batches import CachedBatches
from wrn_deploy.pipeline.quantization.base_graph import unwrapped_file
from wrn_deploy.pipeline.tuning.chain import Chain, run_through
from wrn_deploy.pipeline.tuning.graphs import MixedGraphs
from wrn_deploy.pipeline.tuning.reference import Advance, Reference
from wrn_deploy.pipeline.tuning.search import find_fewest
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Progress

__all__ = ["Tuner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuner:
    """Measures layers on a sample of images, then sets of layers on labelled images.

    `verified` are the sets whose graphs, as they would be written, were measured whole and in fp16: all Convs, which
    shows first whether fp16 overflows, and each set that the search comes out with. Other sets are measured with the
    same weights and scales in fp32 (`compute_in_fp32`), part by part.
    """

    graphs: MixedGraphs
    labelled: CachedBatches
    sample: CachedBatches
    threads: int | None
    progress: Progress
    trials: dict[frozenset[str], Trial] = field(default_factory=dict)
    verified: set[frozenset[str]] = field(default_factory=set)

    def tune(self, budget: Budget) -> Tuning:
        """Measures the costs, then searches; computes fp32's answers once per set of images."""
        bundle = self.graphs.bundle
        stored = bundle.file(bundle.find("onnx-fp32"))
        chain = Chain(parts=self.graphs.parts, threads=self.threads)
        with unwrapped_file(stored, bundle.spec) as fp32:
            count = len(self.labelled)
            with self.progress.task(f"Answers of fp32 on {count} images", count) as advance:
                reference = Reference(fp32, self.labelled, self.threads, advance)
            with reference:
                self._verify(frozenset(self.graphs.macs), reference)
                layers = self._costs(fp32, chain)
                kept = self._search([layer.name for layer in layers], budget, chain, reference)
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

    def _costs(self, fp32: Path, chain: Chain) -> list[ConvCost]:
        """The error of each Conv alone in int8: never negative and nearly additive, unlike the gain of one in fp16."""
        layers, macs = [], self.graphs.macs
        title = f"Costs of {len(macs)} Convs in int8, on {len(self.sample)} images"
        with self.progress.task(title, len(macs)) as advance, Reference(fp32, self.sample, self.threads, _ignore) as its:
            for name, logits in chain.measure_alone(its.normalized()):
                layers.append(ConvCost(name, macs[name], its.score_of(logits, _ignore)))
                advance(1)
        return sorted(layers, key=lambda layer: (-layer.alone.error / layer.macs, layer.name))

    def _search(
        self, ranked: list[str], budget: Budget, chain: Chain, reference: Reference
    ) -> frozenset[str] | None:
        """The fewest Convs whose graph, as it would be written, meets the budget; if it does not, others are tried."""

        def meets(kept: frozenset[str]) -> bool:
            if kept not in self.trials:
                with self._task("Accuracy", kept) as advance:
                    logits = run_through(chain.open_graph(kept), reference.normalized())
                    self._note(kept, reference.score_of(logits, advance))
            return budget.met(self.trials[kept].score, reference.score)

        while (kept := find_fewest(ranked, meets)) is not None and kept not in self.verified:
            self._verify(kept, reference)
        return kept

    def _verify(self, kept: frozenset[str], reference: Reference) -> None:
        """Measures the set on the labelled images with the very graph that would be written for it."""
        with self._task("Accuracy in fp16", kept) as advance, scratch_folder() as folder:
            file = folder / "trial.onnx"
            self.graphs.write_unwrapped(self._ordered(kept), file)
            self._note(kept, reference.compare(file, advance))
        self.verified.add(kept)

    def _task(self, what: str, kept: Collection[str]) -> AbstractContextManager[Advance]:
        share = f"{100 * self._int8_share(kept):.1f} % of MACs in int8"
        title = f"{what} with {len(kept)} of {len(self.graphs.macs)} Convs in fp16, {share}"
        return self.progress.task(title, len(self.labelled))

    def _note(self, kept: frozenset[str], score: Score) -> None:
        self.trials[kept] = Trial(self._ordered(kept), self._int8_share(kept), score)

    def _ordered(self, kept: Collection[str]) -> tuple[str, ...]:
        return tuple(name for name in self.graphs.macs if name in kept)

    def _int8_share(self, kept: Collection[str]) -> float:
        macs = self.graphs.macs
        return 1.0 - sum(macs[name] for name in self._ordered(kept)) / sum(macs.values())


def _ignore(_images: int) -> None:
    return None
