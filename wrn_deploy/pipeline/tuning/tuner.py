"""Measures the Convs of a calibrated bundle, alone and in sets, in int8 against fp16; changes nothing in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from wrn_deploy.bench.report.tuning import Budget, Layer, Trial, Tuning
from wrn_deploy.bundle import Bundle
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.pipeline.quantization.base_graph import core_file, read_core, write_graph
from wrn_deploy.pipeline.quantization.quantize import mixed_graphs
from wrn_deploy.pipeline.tuning.measure import Yardstick
from wrn_deploy.pipeline.tuning.search import find_fewest
from wrn_deploy.progress import Progress

__all__ = ["MixedGraphs", "Tuner"]


class MixedGraphs:
    """The int8 graphs for TensorRT of a calibrated bundle, with some Convs in fp16; `base` has all in int8."""

    def __init__(self, bundle: Bundle, base: Path) -> None:
        self.base, self._bundle = base, bundle
        self._mixed = mixed_graphs(bundle, read_core(base))

    def write_core(self, float_convs: Collection[str], file: Path) -> None:
        """Writes the one with these Convs in fp16, without the bundle's interface: to measure it."""
        import onnx_ir as ir

        ir.save(self._mixed(float_convs) if float_convs else read_core(self.base), file)

    def write(self, float_convs: Collection[str], file: Path) -> None:
        """Writes the one with these Convs in fp16 as the bundle keeps it."""
        from wrn_deploy.calib.collection.table import read_table

        if not float_convs:
            shutil.copyfile(self.base, file)
            return
        files = self._bundle.artifacts
        fp32, table = (self._bundle.file(files[key]) for key in ("onnx-fp32", "calibration"))
        source = (read_core(fp32), read_table(table).equalization)
        write_graph(self._mixed(float_convs), file, self._bundle.spec, source)


class Tuner:
    """Measures layers on some images, then sets of layers on labelled ones; holds one session at a time."""

    def __init__(
        self, made: tuple[Bundle, MixedGraphs], images: tuple[Batches, Batches], threads: int | None, progress: Progress
    ) -> None:
        self.bundle, self.graphs = made
        self.labelled, self.looked_at = images
        self.threads = threads
        self.progress = progress
        self.macs = _macs(self.graphs.base)
        self.trials: dict[frozenset[str], Trial] = {}
        self.file = Path()

    def tune(self, budget: Budget) -> Tuning:
        """Costs, then the search; the fp32 answers are worked out once for each kind of images."""
        stored = self.bundle.file(self.bundle.artifacts["onnx-fp32"])
        temporary = tempfile.TemporaryDirectory(prefix="wrn-deploy-")
        with temporary as folder, core_file(stored, self.bundle.spec) as fp32:
            self.file = Path(folder, "trial.onnx")
            with Yardstick(fp32, self.looked_at, self.threads, _told_nothing) as yardstick:
                layers = self._costs(yardstick)
            count = len(self.labelled)
            with self.progress.task(f"Answers of fp32 on {count} images", count) as advance:
                yardstick = Yardstick(fp32, self.labelled, self.threads, advance)
            with yardstick:
                kept = find_fewest(
                    [layer.name for layer in layers],
                    lambda kept: budget.met(self._trial(kept, yardstick).score, yardstick.reference),
                )
        return Tuning(
            model=self.bundle.spec.name,
            random_weights=self.bundle.random_weights,
            data=Path(self.labelled.source.name).name,
            sensitivity_data=Path(self.looked_at.source.name).name,
            budget=budget,
            reference=yardstick.reference,
            layers=tuple(layers),
            trials=tuple(sorted(self.trials.values(), key=lambda trial: (-trial.int8_share, trial.float_convs))),
            chosen=None if kept is None else self.trials[kept],
        )

    def _costs(self, yardstick: Yardstick) -> list[Layer]:
        """Each Conv alone in int8: unlike what one in fp16 gains, such errors are never negative, and nearly add up."""
        layers, title = [], f"Costs of {len(self.macs)} Convs in int8, on {len(self.looked_at)} images"
        with self.progress.task(title, len(self.macs)) as advance:
            for name, macs in self.macs.items():
                self.graphs.write_core([other for other in self.macs if other != name], self.file)
                layers.append(Layer(name, macs, yardstick.compare(self.file, _told_nothing)))
                advance(1)
        return sorted(layers, key=lambda layer: (-layer.alone.error / layer.macs, layer.name))

    def _trial(self, kept: frozenset[str], yardstick: Yardstick) -> Trial:
        """The set's score on the labelled images, measured once."""
        if kept not in self.trials:
            names = tuple(name for name in self.macs if name in kept)
            share = 1.0 - sum(self.macs[name] for name in names) / sum(self.macs.values())
            count = len(self.labelled)
            title = f"Accuracy with {len(names)} of {len(self.macs)} Convs in fp16, {100 * share:.1f} % of MACs in int8"
            with self.progress.task(title, count) as advance:
                self.graphs.write_core(names, self.file)
                self.trials[kept] = Trial(names, share, yardstick.compare(self.file, advance))
        return self.trials[kept]


def _macs(base: Path) -> dict[str, int]:
    """Multiply-accumulates of each Conv for one image, in the graph's order, as linting counts them."""
    from wrn_deploy.calib.lint.facts import GraphFacts

    facts = GraphFacts(read_core(base))
    return {conv.name or "": facts.macs[conv.outputs[0].name or ""] for conv in facts.convs}


def _told_nothing(_images: int) -> None:
    return None
