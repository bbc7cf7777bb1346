"""Measures the Convs of a calibrated bundle, alone and in sets, in int8 against fp16; does not change the bundle."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from wrn_deploy.bench.report.tuning import Budget, ConvCost, Trial, Tuning
from wrn_deploy.bundle import Artifact, Bundle
from wrn_deploy.data.cached_batches import CachedBatches
from wrn_deploy.pipeline.quantization.base_graph import read_unwrapped, unwrapped_file, write_wrapped
from wrn_deploy.pipeline.quantization.quantize import mixed_graphs
from wrn_deploy.pipeline.tuning.measure import Reference
from wrn_deploy.pipeline.tuning.search import find_fewest
from wrn_deploy.progress import Progress

__all__ = ["MixedGraphs", "Tuner"]


class MixedGraphs:
    """The graphs for TensorRT of a calibrated bundle with some Convs in fp16; `base` is the one with all in int8."""

    def __init__(self, bundle: Bundle, base: Artifact) -> None:
        self.base = base
        self.file = bundle.file(base)
        self._bundle = bundle
        self._mixed = mixed_graphs(bundle, read_unwrapped(self.file))

    def write_unwrapped(self, float_convs: Collection[str], file: Path) -> None:
        """Writes the graph with these Convs in fp16 without the bundle's interface, to measure it."""
        import onnx_ir as ir

        ir.save(self._mixed(float_convs) if float_convs else read_unwrapped(self.file), file)

    def write(self, float_convs: Collection[str], file: Path) -> None:
        """Writes the graph with these Convs in fp16 as the bundle keeps it."""
        from wrn_deploy.calib.collection.table import read_table

        if not float_convs:
            shutil.copyfile(self.file, file)
            return
        files = self._bundle.artifacts
        fp32, table = (self._bundle.file(files[key]) for key in ("onnx-fp32", "calibration"))
        write_wrapped(
            self._mixed(float_convs),
            file,
            self._bundle.spec,
            fp32=read_unwrapped(fp32),
            equalization=read_table(table).equalization,
        )


class Tuner:
    """Measures layers on a sample of images, then sets of layers on labelled images; holds one session at a time."""

    def __init__(
        self,
        bundle: Bundle,
        graphs: MixedGraphs,
        *,
        labelled: CachedBatches,
        sample: CachedBatches,
        threads: int | None,
        progress: Progress,
    ) -> None:
        self.bundle, self.graphs = bundle, graphs
        self.labelled, self.sample = labelled, sample
        self.threads = threads
        self.progress = progress
        self.macs = _macs(graphs.file)
        self.trials: dict[frozenset[str], Trial] = {}
        self.file = Path()

    def tune(self, budget: Budget) -> Tuning:
        """Measures the costs, then searches; computes fp32's answers once per set of images."""
        stored = self.bundle.file(self.bundle.artifacts["onnx-fp32"])
        temporary = tempfile.TemporaryDirectory(prefix="wrn-deploy-")
        with temporary as folder, unwrapped_file(stored, self.bundle.spec) as fp32:
            self.file = Path(folder, "trial.onnx")
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
            model=self.bundle.spec.name,
            random_weights=self.bundle.random_weights,
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
        layers, title = [], f"Costs of {len(self.macs)} Convs in int8, on {len(self.sample)} images"
        with self.progress.task(title, len(self.macs)) as advance:
            for name, macs in self.macs.items():
                self.graphs.write_unwrapped([other for other in self.macs if other != name], self.file)
                layers.append(ConvCost(name, macs, reference.compare(self.file, _ignore)))
                advance(1)
        return sorted(layers, key=lambda layer: (-layer.alone.error / layer.macs, layer.name))

    def _trial(self, kept: frozenset[str], reference: Reference) -> Trial:
        """The set's score on the labelled images; each set is measured once."""
        if kept not in self.trials:
            names = tuple(name for name in self.macs if name in kept)
            share = 1.0 - sum(self.macs[name] for name in names) / sum(self.macs.values())
            count = len(self.labelled)
            title = f"Accuracy with {len(names)} of {len(self.macs)} Convs in fp16, {100 * share:.1f} % of MACs in int8"
            with self.progress.task(title, count) as advance:
                self.graphs.write_unwrapped(names, self.file)
                self.trials[kept] = Trial(names, share, reference.compare(self.file, advance))
        return self.trials[kept]


def _macs(base: Path) -> dict[str, int]:
    """Multiply-accumulates of each Conv for one image, in the graph's order, as linting counts them."""
    from wrn_deploy.calib.lint.facts import GraphFacts

    facts = GraphFacts(read_unwrapped(base))
    return {conv.name or "": facts.macs[conv.outputs[0].name or ""] for conv in facts.convs}


def _ignore(_images: int) -> None:
    return None
