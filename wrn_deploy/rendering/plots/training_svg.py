"""Draws training runs as one SVG: error, loss and learning rate against epochs, one colour a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from markupsafe import Markup

from wrn_deploy.errors import UsageError
from wrn_deploy.formatting import count, digits
from wrn_deploy.rendering.pictures.axis import Axis, rules, scale
from wrn_deploy.rendering.pictures.label_placement import Label, draw_end_labels
from wrn_deploy.rendering.pictures.svg import Picture, circle, path, short, text
from wrn_deploy.rendering.plots.training_log import Curves, EpochPoint

__all__ = ["describe_run", "draw_training"]

WIDTH, LEFT, RIGHT = 900, 56, 740
KEY = 20.0  # pixels: a line of the runs' names
DOTTED = 40  # epochs: up to here each has a dot
LOG_SPREAD = 8.0
DECADE = 10.0  # what a logarithmic axis shows below the lowest test error; training error falls to 0
LONGEST = 19  # letters of a name beside its curve
RUNS = 8  # colours, as in palette.css

Value = Callable[[EpochPoint], float | None]

TEST: Value = attrgetter("test_error")
TRAIN: Value = attrgetter("train_error")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """One part of the picture: its values (the second is dashed), their axis, and that of epochs."""

    caption: str
    values: tuple[Value, ...]
    axis: Axis
    epochs: Axis

    def at(self, epoch: int, value: float) -> tuple[float, float]:
        """The pixels of a value; what is below a logarithmic axis is on its edge."""
        return self.epochs.at(epoch), self.axis.at(min(max(value, self.axis.low), self.axis.high))


def draw_training(runs: Sequence[Curves]) -> Picture:
    """Error, loss and learning rate of the runs, one panel each.

    Raises:
        UsageError: more runs than distinct colours.
    """
    if len(runs) > RUNS:
        raise UsageError(f"{len(runs)} runs: expected {RUNS} at most in one picture")
    panels = _panels(runs, 76 + KEY * len(runs))
    bottom = panels[-1].axis.start
    title = f"Training: {short(runs[0].name, 60)}" if len(runs) == 1 else f"Training: {len(runs)} runs"
    body = [text(16, 28, title, "title"), *_key(runs)]
    for panel in panels:
        body += _frame(panel, numbers=panel is panels[-1])
        for index, run in reversed(list(enumerate(runs))):
            for order in reversed(range(len(panel.values))):
                body += _curve(run, index, panel, order)
    body += [*_names(runs, panels[0]), text(RIGHT, bottom + 38, "epoch", anchor="end")]
    described = "; ".join(map(describe_run, runs))
    return Picture(title=title, described=described, width=WIDTH, height=bottom + 48, body=body)


def describe_run(run: Curves) -> str:
    """The run in words."""
    train_error = "" if run.last.train_error is None else f", training error {run.last.train_error:.2f} %"
    loss = "" if run.last.loss is None else f", loss {digits(run.last.loss)}"
    return f"{run.name}: {_outcome(run)}{train_error}{loss}"


def _outcome(run: Curves) -> str:
    best, last = run.best, run.last
    lowest = "" if best is None else f", lowest test error {best.test_error:.2f} % after epoch {best.epoch}"
    end = f", at the end {last.test_error:.2f} %" if last.test_error is not None and last != best else ""
    return f"{count(len(run.epochs), 'epoch')}{lowest}{end}"


def _panels(runs: Sequence[Curves], top: float) -> list[_Panel]:
    points = [point for run in runs for point in run.epochs]
    numbers = [point.epoch for point in points]
    low, high = min(numbers), max(numbers)
    epochs = Axis(low, high, LEFT, RIGHT) if high > low else Axis(low - 0.5, high + 0.5, LEFT, RIGHT)
    panels = []
    for caption, about, height, values in (
        ("top-1 error, %", " (solid: test images, ring: lowest; dashed: while training)", 270, (TEST, TRAIN)),
        ("loss", " (while training)", 120, (attrgetter("loss"),)),
        ("learning rate", "", 80, (attrgetter("learning_rate"),)),
    ):
        shown, *others = ([found for point in points if (found := value(point)) is not None] for value in values)
        more = others[0] if others else []
        axis = _axis(shown or more, more, top + height, top)
        panels.append(_Panel(caption=axis.caption(caption) + about, values=values, axis=axis, epochs=epochs))
        top += height + 44
    return panels


def _axis(values: Sequence[float], others: Sequence[float], start: float, end: float) -> Axis:
    """Holds all `values`, and of the others as many as fit on a decade below them."""
    positive = [value for value in values if value > 0]
    high = max((*values, *others), default=1.0) or 1.0
    if positive and high > LOG_SPREAD * min(positive):
        low = min(positive)
        under = [value for value in others if value < low]
        low = max(min(under), low / DECADE) if under else low
        return Axis(low / 1.15, high * 1.1, start, end, log=True)
    return Axis(0.0, high * 1.05, start, end)


def _key(runs: Sequence[Curves]) -> list[Markup]:
    parts = []
    for index, run in enumerate(runs):
        y = 52 + KEY * index
        parts += [path("swatch", f"M16 {y - 4:g}h22", style=f"stroke:var(--run{index})")]
        parts += [text(46, y, short(run.name, 50), "label strong"), text(WIDTH - 16, y, _outcome(run), anchor="end")]
    return parts


def _frame(panel: _Panel, *, numbers: bool) -> list[Markup]:
    """The panel's caption, lines and epochs, with `numbers` for the lowest panel."""
    bottom, epochs = panel.axis.start, panel.epochs
    whole = [value for value in epochs.ticks() if value == int(value) and value >= 1]
    if epochs.low == 1 and (not whole or epochs.at(whole[0]) - epochs.at(1) > 30):
        whole.insert(0, 1.0)
    ticks = [(value, f"{value:g}" if numbers else "") for value in whole]
    return [
        text(LEFT, panel.axis.end - 10, panel.caption),
        *rules(panel.axis, LEFT, RIGHT),
        *scale(epochs, bottom, width=WIDTH, ticks=ticks),
    ]


def _curve(run: Curves, index: int, panel: _Panel, order: int) -> list[Markup]:
    """A line through the epochs that have a value, broken at those that have none."""
    line, dots, command = "", [], "M"
    dotted = len(run.epochs) == 1 or (len(run.epochs) <= DOTTED and order == 0)
    for point in run.epochs:
        value = panel.values[order](point)
        if value is not None:
            x, y = panel.at(point.epoch, value)
            line += f"{command}{x:.1f} {y:.1f}"
            dots += [circle("epoch", x, y, 2.5, style=f"fill:var(--run{index})")] * dotted
        command = "M" if value is None else "L"
    kind, style = "curve training" if order else "curve", f"stroke:var(--run{index})"
    return [path(kind, line, describe_run(run), style=style), *dots] if line else []


def _names(runs: Sequence[Curves], panel: _Panel) -> list[Markup]:
    """Rings around the lowest errors, and at the right each run's name, or for a single run each curve's."""
    labels, parts = [], []
    for index, run in enumerate(runs):
        if run.best is not None and run.best.test_error is not None:
            ring = panel.at(run.best.epoch, run.best.test_error)
            parts.append(circle("least", *ring, 5, style=f"stroke:var(--run{index})"))
        named = (("test", TEST), ("training", TRAIN)) if len(runs) == 1 else ((short(run.name, LONGEST), TEST),)
        for name, value_of in named:
            known = [(point.epoch, value) for point in run.epochs if (value := value_of(point)) is not None]
            labels += [Label(panel.at(*last), name, style=f"fill:var(--run{index})") for last in known[-1:]]
    return [*parts, *draw_end_labels(labels, RIGHT + 22, panel.axis.end, panel.axis.start)]
