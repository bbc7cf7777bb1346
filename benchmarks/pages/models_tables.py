"""The tables of docs/reference/models.md that come from the code: sizes, accuracies with notes, weights by name."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.pages.markdown import safe, table
from wrn_deploy.models.catalog import ListedModel
from wrn_deploy.models.checkpoints.sources import WeightsSource
from wrn_deploy.models.published import Quantity, macs_text, percent_text
from wrn_deploy.spec import Preprocessing

__all__ = ["accuracy_table", "size_table", "weight_table"]

DATA = ("CIFAR-10", "CIFAR-100", "SVHN", "ImageNet")
QUANTITIES = {"parameters": (Quantity.PARAMETERS, Quantity.WEIGHTS), "MACs": (Quantity.MACS, Quantity.OPERATIONS)}
EXPLAINED = {
    Quantity.WEIGHTS: "without the parameters of BN",
    Quantity.OPERATIONS: "which counts BN, ReLU and pooling too",
}


class _Notes:
    """Numbers the notes of a section in the order of their first use."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}

    def mark(self, text: str) -> str:
        number = self._texts.setdefault(text, len(self._texts) + 1)
        return f"<sup>{number}</sup>"

    def listed(self) -> str:
        return "\n".join(f"{number}. {safe(text)}" for text, number in self._texts.items())


def size_table(models: Sequence[ListedModel]) -> str:
    """Parameters and MACs, counted and published."""
    notes = _Notes()
    lines = [
        [
            f"`{model.name}`",
            f"{model.parameters:,}",
            _published(model, "parameters", notes),
            macs_text(model.macs),
            _published(model, "MACs", notes),
        ]
        for model in models
    ]
    headers = ["network", "parameters", "published", "MACs", "published"]
    kept = [0, 1, 2, 3, *([4] if any(line[4] for line in lines) else [])]
    lines = [[line[column] for column in kept] for line in lines]
    return "\n\n".join(filter(None, (table([headers[column] for column in kept], lines), notes.listed())))


def accuracy_table(models: Sequence[ListedModel]) -> str:
    """The published accuracies, best first; empty if there are none."""
    notes = _Notes()
    columns = [data for data in DATA if any(one.data == data for model in models for one in model.published.accuracies)]
    lines = [
        [f"`{model.name}`", *(_accuracies(model, data, notes) for data in columns)]
        for model in models
        if model.published.accuracies
    ]
    headers = ["top-1 in percent", *(f"{data} (top-5)" if data == "ImageNet" else data for data in columns)]
    return f"{table(headers, lines)}\n\n{notes.listed()}" if lines else ""


def weight_table(models: Sequence[ListedModel]) -> str:
    """The weights that `--weights NAME` takes, by network, with their preprocessing."""
    parts = []
    sources = [source for model in models for source in model.weights]
    for model in models:
        if model.weights:
            lines = [_weight_line(source) for source in model.weights]
            headers = ["`--weights`", "top-1", "top-5", "measured at", "images here"]
            parts.append(f"### Weights of `{model.name}`\n\n{table(headers, lines)}")
    if not parts:
        return ""
    return "\n\n".join((_about_weights(sources), *parts))


def _about_weights(sources: Sequence[WeightsSource]) -> str:
    published = dict.fromkeys(source.accuracy.published_in for source in sources)
    shared = {(source.preprocessing.mean, source.preprocessing.std) for source in sources}
    normalised = ""
    if len(shared) == 1:
        ((mean, std),) = shared
        normalised = f" All are normalised with mean {_numbers(mean)} and std {_numbers(std)}."
    return (
        "`export`, `eval`, `predict` and `get_model` take these names: the file is downloaded once, checked, and kept "
        "in its publisher's own cache. Accuracies are as published, on ImageNet's validation images; of the two sizes, "
        "the first is the crop, the second the shorter side before it. The last column shows how images are prepared "
        "here."
        f"{normalised} Sources: {'; '.join(map(safe, published))}. How weights are "
        "recognised, downloaded and checked: [weights](weights.md)."
    )


def _weight_line(source: WeightsSource) -> list[str]:
    scored = source.accuracy
    top1, top5 = (percent_text(value).removesuffix(" %") for value in (scored.top1, scored.top5))
    return [f"`{source.name}`", top1, top5, f"{scored.size} of {scored.resize}", _prepared(source.preprocessing)]


def _prepared(preprocessing: Preprocessing) -> str:
    return f"{preprocessing.height} of {preprocessing.resize}, {preprocessing.interpolation}"


def _published(model: ListedModel, column: str, notes: _Notes) -> str:
    """Each published count once, with the notes of all its sources; a count that disagrees is bold."""
    found: dict[str, str] = {}
    for count in model.published.counts:
        if count.quantity not in QUANTITIES[column]:
            continue
        explained = EXPLAINED.get(count.quantity, "")
        text = count.text
        counted = {Quantity.PARAMETERS: model.parameters, Quantity.MACS: model.macs}.get(count.quantity)
        text = text if counted is None or count.agrees(counted) else f"**{text}**"
        note = f"{count.source}; {explained}" if explained else count.source
        found[text] = found.get(text, "") + notes.mark(note)
    return ", ".join(f"{text}{marks}" for text, marks in found.items())


def _accuracies(model: ListedModel, data: str, notes: _Notes) -> str:
    found = sorted((one for one in model.published.accuracies if one.data == data), key=lambda accuracy: -accuracy.top1)
    cells = []
    for one in found:
        top5 = "" if one.top5 is None else f" ({_short(one.top5)})"
        cells.append(f"{_short(one.top1)}{top5}{notes.mark(f'{one.weights}: {one.source}')}")
    return "<br>".join(cells) if any(one.top5 for one in found) else ", ".join(cells)


def _short(value: float) -> str:
    return percent_text(value).removesuffix(" %")


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
