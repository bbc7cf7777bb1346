"""Prints what was drawn, as tables or as JSON, on stdout: the curves of training runs, the layers of a network."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from wrn_deploy.cli.show.tables import new_table, print_json, print_line, print_table
from wrn_deploy.formatting import abbreviate, digits, one_line
from wrn_deploy.rendering.plots.network import Network, Segment, segments_of
from wrn_deploy.rendering.plots.network_svg import shape_of
from wrn_deploy.rendering.plots.training_log import Curves, EpochPoint

__all__ = ["show_curves", "show_network"]

SHOWN = 8  # epochs of a run; --json has all of them
LEVELS = "▁▂▃▄▅▆▇█"
LINE = 40  # epochs, or groups of them, in a line of LEVELS


def show_curves(runs: Sequence[Curves], *, as_json: bool) -> None:
    """Prints the end of each run, its best epoch, and its test error over time."""
    if as_json:
        print_json([_record(run) for run in runs])
        return
    for run in runs:
        print_line(one_line(run.name), "bold")
        print_table(_epochs(run), gap=False)
        course = _course([point.test_error for point in run.epochs if point.test_error is not None])
        if course:
            print_line(f"test error, first to last epoch: {course}")
        print_line()


def show_network(network: Network, *, fold: bool, as_json: bool) -> None:
    """Prints the blocks, and the layers between them, with what they cost."""
    if as_json:
        totals = {"parameters": network.parameters, "macs": network.macs}
        print_json({**dataclasses.asdict(network), **totals})
        return
    costs = f"{network.parameters:,} parameters in the graph, {network.macs:,} MACs for one image"
    print_line(f"{one_line(network.name)} {network.precision}".rstrip(), "bold")
    table = new_table("block", "layers", "output", "parameters", "MACs", "in", right=("output", "parameters", "MACs"))
    for segment in segments_of(network, fold=fold):
        table.add_row(*map(Text, _block(network, segment)))
    print_table(table)
    print_line(costs)


def _block(network: Network, segment: Segment) -> tuple[str, ...]:
    layers = network.layers_of(segment)
    parameters, macs = sum(layer.parameters for layer in layers), sum(layer.macs for layer in layers)
    kinds = dict.fromkeys(layer.arithmetic for layer in layers if layer.arithmetic is not None)
    times = f" x {segment.count}" if segment.count > 1 else ""
    costs = (abbreviate(number * segment.count) if number else "" for number in (parameters, macs))
    labels = "\n".join(one_line(layer.label) for layer in layers)
    return one_line(segment.title) + times, labels, shape_of(layers[-1]), *costs, " ".join(kinds)


def _record(run: Curves) -> dict[str, object]:
    best = None if run.best is None else run.best.epoch
    epochs = [dataclasses.asdict(point) for point in run.epochs]
    return {"name": run.name, "log": str(run.file), "best_epoch": best, "epochs": epochs}


def _epochs(run: Curves) -> Table:
    """The last epochs, and the best one if it is not among them."""
    headers = ("epoch", "learning rate", "loss", "training error", "test error")
    table = new_table(*headers, "", right=headers)
    shown = list(run.epochs[-SHOWN:])
    if run.best is not None and run.best not in shown:
        shown.insert(0, run.best)
    for point in shown:
        best = point == run.best
        table.add_row(*_cells(point), "<- lowest" if best else "", style="bold" if best else None)
    return table


def _cells(point: EpochPoint) -> tuple[str, ...]:
    rates = ("" if value is None else digits(value) for value in (point.learning_rate, point.loss))
    errors = ("" if value is None else f"{value:.2f} %" for value in (point.train_error, point.test_error))
    return str(point.epoch), *rates, *errors


def _course(values: Sequence[float]) -> str:
    """The values as a line of small bars from 0 up; if there are too many, means of neighbours."""
    if len(values) < 2:
        return ""
    groups = min(LINE, len(values))
    ends = [len(values) * index // groups for index in range(groups + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(ends)]
    top = max(means) or 1.0
    return "".join(LEVELS[min(int(mean / top * len(LEVELS)), len(LEVELS) - 1)] for mean in means)
