"""Prints the networks: a table of all, or one in detail, on stdout."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from wrn_deploy.cli.show.tables import new_table, print_json, print_line, print_table
from wrn_deploy.models.catalog import ListedModel
from wrn_deploy.models.checkpoints.preprocessing import describe_preprocessing
from wrn_deploy.models.published import Quantity, macs_text, percent_text

__all__ = ["show_model", "show_models"]

NOTES = (
    "Any wrn-<depth>-<widen> with a depth of 6n+4 works too, as do wrn-18-<widen> for ImageNet and preresnet-<9n+2>.",
    "At depth 34, widths 1, 1.5 and 2 are for ImageNet, others for CIFAR.",
    "To choose explicitly: wrn-34-2-cifar, wrn-34-10-imagenet.",
    "MACs: multiply-accumulates for one image, in its convolutions and linear layers.",
    "top-1: best published accuracy, in percent, on CIFAR-10 (32x32) or ImageNet (224x224).",
    "weights: number of weights available by name.",
    "`wrn-deploy models MODEL` shows one network's published figures with their sources, and its weights.",
)
COUNTED = {
    Quantity.PARAMETERS: "parameters",
    Quantity.WEIGHTS: "parameters without those of BN",
    Quantity.MACS: "MACs",
    Quantity.OPERATIONS: "MACs and operations of BN, ReLU and pooling",
}


def show_models(models: Sequence[ListedModel], *, as_json: bool) -> None:
    """Prints one line per network."""
    if as_json:
        print_json([dataclasses.asdict(model) for model in models])
        return
    numbers = ("input", "parameters", "MACs", "top-1", "weights")
    table = new_table("model", *numbers, right=numbers)
    for model in models:
        best = model.published.best(model.data)
        top1 = "" if best is None else f"{best.top1:.2f}"
        costs = (f"{model.parameters:,}", macs_text(model.macs))
        table.add_row(model.name, _size(model), *costs, top1, str(len(model.weights) or ""))
    print_table(table)
    for note in NOTES:
        print_line(note)


def show_model(model: ListedModel, *, as_json: bool) -> None:
    """Prints everything known about one network."""
    if as_json:
        print_json(dataclasses.asdict(model))
        return
    print_line(model.name, style="bold")
    print_line(model.about)
    print_line(f"{_size(model)} pixels in, {model.classes} classes; {describe_preprocessing(model.preprocessing)}")
    print_line(f"{model.parameters:,} parameters, {macs_text(model.macs)} MACs ({model.macs:,})")
    if model.published.counts:
        _print_heading("Published sizes")
        _print_by_source((size.source, (size.text, COUNTED[size.quantity])) for size in model.published.counts)
    if model.published.accuracies:
        _print_heading("Published accuracy: top-1, top-5")
        _print_by_source(
            (scored.source, (scored.data, percent_text(scored.top1), _percent(scored.top5), scored.weights))
            for scored in model.published.accuracies
        )
    if model.weights:
        _print_heading("Weights available by name")
        for source in model.weights:
            scored = source.accuracy
            print_line(source.name)
            top = f"top-1 {percent_text(scored.top1)}, top-5 {percent_text(scored.top5)}"
            print_line(f"  {top} at {scored.size} pixels ({scored.published_in})")
            print_line(f"  {describe_preprocessing(source.preprocessing)}")


def _size(model: ListedModel) -> str:
    return "x".join(map(str, model.input))


def _percent(value: float | None) -> str:
    return "" if value is None else percent_text(value)


def _print_heading(text: str) -> None:
    print_line()
    print_line(text, style="bold")


def _print_by_source(cited: Iterable[tuple[str, tuple[str, ...]]]) -> None:
    """The figures of each source below its name; numbers end below one another."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for source, cells in cited:
        found.setdefault(source, []).append(cells)
    all_lines = [line for lines in found.values() for line in lines]
    widths = [max(map(len, column)) for column in zip(*all_lines, strict=True)]
    for source, lines in found.items():
        print_line(f"{source}:")
        for line in lines:
            print_line(f"  {'  '.join(map(_aligned, line, widths))}".rstrip())


def _aligned(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
