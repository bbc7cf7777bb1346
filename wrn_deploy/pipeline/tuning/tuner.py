"""Measures Convs in int8 against fp16, alone and in sets, and finds the fewest to keep in fp16; changes no bundle."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wrn_deploy.bench.report.tuning import Budget, ConvCost, Trial, Tuning
from wrn_deploy.data.cached_batches import CachedBatches
from wrn_deploy.pipeline.quantization.base_graph import unwrapped_file
from wrn_deploy.pipeline.tuning.chain import run_alone
from wrn_deploy.pipeline.tuning.graphs import MixedGraphs
from wrn_deploy.pipeline.tuning.reference import Reference
from wrn_deploy.pipeline.tuning.search import find_fewest
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Progress

__all__ = ["Tuner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuner:
    """Measures layers on a sample of images, then sets of layers on labelled images."""

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
            count = len(self.labelled)
            with self.progress.task(f"Running fp32 on {count} images", count) as advance:
                reference = Reference(fp32, self.labelled, self.threads, advance)
            with reference:
                self._trial(frozenset(self.graphs.macs), reference)  # shows first whether fp16 overflows
                layers = self._costs(fp32)
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

    def _costs(self, fp32: Path) -> list[ConvCost]:
        """The error of each Conv alone in int8: never negative and nearly additive, unlike the gain of one in fp16."""
        layers, macs = [], self.graphs.macs
        title = f"Costs of {len(macs)} Convs in int8, on {len(self.sample)} images"
        with (
            self.progress.task(title, len(macs)) as advance,
            Reference(fp32, self.sample, self.threads, _ignore) as its,
        ):
            for name, logits in run_alone(self.graphs.parts, its.normalized(), self.threads):
                layers.append(ConvCost(name, macs[name], its.score_of(logits, _ignore)))
                advance(1)
        return sorted(layers, key=lambda layer: (-layer.alone.error / layer.macs, layer.name))

    def _trial(self, kept: frozenset[str], reference: Reference) -> Trial:
        """The score on the labelled images of the very graph that would be written; each set is measured once."""
        if kept not in self.trials:
            macs = self.graphs.macs
            names = tuple(name for name in macs if name in kept)
            int8 = 1.0 - sum(macs[name] for name in names) / sum(macs.values())
            title = f"Accuracy with {len(names)} of {len(macs)} Convs in fp16, {100 * int8:.1f} % of MACs in int8"
            with self.progress.task(title, len(self.labelled)) as advance, scratch_folder() as folder:
                file = folder / "trial.onnx"
                self.graphs.write_unwrapped(names, file)
                self.trials[kept] = Trial(names, int8, reference.compare(file, advance))
        return self.trials[kept]


def _ignore(_images: int) -> None:
    return None
