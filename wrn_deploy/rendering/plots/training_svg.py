"""Draws training runs as one SVG: error, loss and learning rate against epochs, one colour a run."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from wrn_deploy.errors import UsageError
from wrn_deploy.formatting import count, digits
from wrn_deploy.rendering.pictures.axes import Axis
from wrn_deploy.rendering.pictures.canvas import short, text
from wrn_deploy.rendering.pictures.label_placement import spread_apart
from wrn_deploy.rendering.pictures.sheet import sheet
from wrn_deploy.rendering.plots.training_log import Curves, EpochPoint

__all__ = ["draw_training", "told_run"]

WIDTH, LEFT, RIGHT = 900, 56, 740
KEY = 20.0  # pixels: a line of the runs' names
DOTTED = 40  # epochs: up to here each has a dot
LOG_SPREAD = 8.0
DECADE = 10.0  # what a logarithmic axis shows below the least test error; training error falls to 0
LONGEST = 19  # letters of a name beside its curve
APART = 15.0  # pixels between the texts of ticks, at least

STYLE = """
.curve { fill: none; stroke-width: 1.75; stroke-linejoin: round; } .train { stroke-width: 1.25; opacity: .7; }
.train, .dash { stroke-dasharray: 3 3; } .dot { stroke: var(--page); stroke-width: .75; }
.ring { fill: none; stroke-width: 1.5; } .swatch { stroke-width: 4; }
.leader { fill: none; stroke: var(--muted); stroke-width: .75; opacity: .7; }
svg { --run0: #3d6fb4; --run1: #c05a1c; --run2: #23866f; --run3: #7b4fa3; --run4: #b3407e; --run5: #8a6d00;
  --run6: #5b6670; --run7: #a3271d; }
@media screen and (prefers-color-scheme: dark) {
  svg { --run0: #82b1ee; --run1: #f29b63; --run2: #5fc7ae; --run3: #c3a0e6; --run4: #f08fc2; --run5: #d9bb4a;
    --run6: #aeb8c2; --run7: #ff8a7a; } }
"""
RUNS = 8  # colours

Value = Callable[[EpochPoint], float | None]


@dataclass(frozen=True, slots=True)
class _Panel:
    """One part of the picture, with an axis of its own: from `top` to `bottom` in pixels."""

    caption: str
    top: float
    bottom: float
    axis: Axis

    def at(self, value: float) -> float:
        """The height of a value; what lies below a logarithmic axis is drawn on its edge."""
        low, high = self.axis.low, self.axis.high
        return self.axis.at(min(max(value, low), high))


def draw_training(runs: Sequence[Curves]) -> str:
    """The picture, ready to be written as UTF-8; light and dark.

    Raises:
        UsageError: more runs than colours that can be told apart.
    """
    if len(runs) > RUNS:
        raise UsageError(f"{len(runs)} runs: expected {RUNS} at most in one picture")
    start = 52 + KEY * len(runs)
    panels = _panels(runs, start)
    x_axis = _epoch_axis(runs)
    title = f"Training: {short(runs[0].name, 60)}" if len(runs) == 1 else f"Training: {len(runs)} runs"
    body = [text(16, 28, title, "title"), _key(runs)]
    values: tuple[tuple[Value, ...], ...] = (
        (lambda point: point.test_error, lambda point: point.train_error),
        (lambda point: point.loss,),
        (lambda point: point.learning_rate,),
    )
    for panel, of_panel in zip(panels, values, strict=True):
        body.append(_frame(panel, x_axis))
        for index, run in reversed(list(enumerate(runs))):
            for kind, value in reversed(list(enumerate(of_panel))):
                body.append(_curve(run, index, (panel, x_axis), (value, kind == 1)))
    body.append(_names(runs, panels[0], x_axis))
    body.append(_epochs(x_axis, panels[-1].bottom))
    return sheet((title, "; ".join(map(told_run, runs))), (WIDTH, panels[-1].bottom + 48), STYLE, "\n".join(body))


def told_run(run: Curves) -> str:
    """A run in words."""
    parts = [f"{run.name}: {_outcome(run)}"]
    if run.last.train_error is not None:
        parts.append(f"training error {run.last.train_error:.2f} %")
    if run.last.loss is not None:
        parts.append(f"loss {digits(run.last.loss)}")
    return ", ".join(parts)


def _outcome(run: Curves) -> str:
    parts = [count(len(run.epochs), "epoch")]
    if run.best is not None:
        parts.append(f"least test error {run.best.test_error:.2f} % after epoch {run.best.epoch}")
    if run.last.test_error is not None and run.last != run.best:
        parts.append(f"at the end {run.last.test_error:.2f} %")
    return ", ".join(parts)


def _panels(runs: Sequence[Curves], start: float) -> list[_Panel]:
    points = [point for run in runs for point in run.epochs]
    errors = [point.test_error for point in points], [point.train_error for point in points]
    told = "top-1 error, %{} (solid: test images, ring: least; dashed: while training)"
    panels, top = [], start + 24
    for caption, height, values, others in (
        (told, 270, *errors),
        ("loss{} (while training)", 120, [point.loss for point in points], []),
        ("learning rate{}", 80, [point.learning_rate for point in points], []),
    ):
        axis = _axis(_known(values) or _known(others), _known(others), (top + height, top))
        panels.append(_Panel(caption.format(", log scale" if axis.log else ""), top, top + height, axis))
        top += height + 44
    return panels


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _axis(values: Sequence[float], others: Sequence[float], ends: tuple[float, float]) -> Axis:
    """`values` are all shown; of the others as much as fits on a decade below them."""
    positive = [value for value in values if value > 0]
    high = max((*values, *others), default=1.0) or 1.0
    if positive and high > LOG_SPREAD * min(positive):
        low = min(positive)
        under = [value for value in others if value < low]
        low = max(min(under), low / DECADE) if under else low
        return Axis(low / 1.15, high * 1.1, *ends, log=True)
    return Axis(0.0, high * 1.05, *ends)


def _epoch_axis(runs: Sequence[Curves]) -> Axis:
    numbers = [point.epoch for run in runs for point in run.epochs]
    low, high = min(numbers), max(numbers)
    return Axis(low, high, LEFT, RIGHT) if high > low else Axis(low - 0.5, high + 0.5, LEFT, RIGHT)


def _key(runs: Sequence[Curves]) -> str:
    parts = []
    for index, run in enumerate(runs):
        y = 52 + KEY * index
        parts.append(f'<path class="swatch" style="stroke:var(--run{index})" d="M16 {y - 4:g}h22"/>')
        parts.append(text(46, y, short(run.name, 50), "label strong"))
        parts.append(text(WIDTH - 16, y, _outcome(run), "tick", "end"))
    return "".join(parts)


def _frame(panel: _Panel, x_axis: Axis) -> str:
    parts = [text(LEFT, panel.top - 10, panel.caption)]
    for value, words in _heights(panel.axis):
        y = panel.axis.at(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
        parts.append(text(LEFT - 8, y + 4, words, anchor="end"))
    ticks = "".join(f"M{x_axis.at(value):.1f} {panel.bottom:g}v4" for value, _ in _whole(x_axis))
    parts.append(f'<path class="axis" d="M{LEFT} {panel.bottom:g}H{RIGHT}{ticks}"/>')
    return "".join(parts)


def _heights(axis: Axis) -> list[tuple[float, str]]:
    """The ticks of a panel; where they are too many, powers of ten, or every other one."""
    ticks = axis.labelled_ticks()
    while len(ticks) > 2 and min(axis.at(a) - axis.at(b) for (a, _), (b, _) in itertools.pairwise(ticks)) < APART:
        powers = [tick for tick in ticks if axis.log and math.log10(tick[0]).is_integer()]
        ticks = powers if 1 < len(powers) < len(ticks) else ticks[::2]
    return ticks


def _whole(x_axis: Axis) -> list[tuple[float, str]]:
    """The first epoch and round ones."""
    round_ = [value for value in x_axis.ticks() if value == int(value) and value >= 1]
    first = [1.0] if x_axis.low == 1 and (not round_ or x_axis.at(round_[0]) - x_axis.at(1) > 2 * APART) else []
    return [(value, f"{value:g}") for value in (*first, *round_)]


def _epochs(x_axis: Axis, bottom: float) -> str:
    marks = [text(x_axis.at(value), bottom + 18, words, anchor="middle") for value, words in _whole(x_axis)]
    return "".join(marks) + text(RIGHT, bottom + 38, "epoch", anchor="end")


def _curve(run: Curves, index: int, where: tuple[_Panel, Axis], what: tuple[Value, bool]) -> str:
    """A line through the epochs that have a value; it is broken where one has none."""
    (panel, x_axis), (value_of, training) = where, what
    parts, pieces, open_ = [], [], False
    for point in run.epochs:
        value = value_of(point)
        if value is not None:
            x, y = x_axis.at(point.epoch), panel.at(value)
            pieces.append(f"{'L' if open_ else 'M'}{x:.1f} {y:.1f}")
            if len(run.epochs) == 1 or (len(run.epochs) <= DOTTED and not training):
                parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="var(--run{index})"/>')
        open_ = value is not None
    line = f'<path class="curve{" train" if training else ""}" style="stroke:var(--run{index})" d="{"".join(pieces)}">'
    return f"{line}<title>{html.escape(told_run(run))}</title></path>{''.join(parts)}" if pieces else ""


def _names(runs: Sequence[Curves], panel: _Panel, x_axis: Axis) -> str:
    """Rings around the least errors, and at the right each run's name, or for a single run each curve's."""
    ends: list[tuple[float, float, str, int]] = []
    parts = []
    for index, run in enumerate(runs):
        if run.best is not None and run.best.test_error is not None:
            x, y = x_axis.at(run.best.epoch), panel.at(run.best.test_error)
            ring = f'style="stroke:var(--run{index})" cx="{x:.1f}" cy="{y:.1f}" r="5"'
            parts.append(f'<circle class="ring" {ring}/>')
        named: list[tuple[str, Value]] = [(short(run.name, LONGEST), lambda point: point.test_error)]
        if len(runs) == 1:
            named = [("test", lambda point: point.test_error), ("training", lambda point: point.train_error)]
        for name, value_of in named:
            known = [(point.epoch, value) for point in run.epochs if (value := value_of(point)) is not None]
            ends += [(x_axis.at(epoch), panel.at(value), name, index) for epoch, value in known[-1:]]
    ends.sort(key=lambda end: end[1])
    heights = spread_apart([end[1] for end in ends], panel.top, panel.bottom)
    for (x, y, name, index), height in zip(ends, heights, strict=True):
        parts.append(f'<path class="leader" d="M{x + 7:.1f} {y:.1f}L{RIGHT + 18} {height:.1f}"/>')
        named_by = f'class="label" style="fill:var(--run{index})" x="{RIGHT + 22}" y="{height + 4:.1f}"'
        parts.append(f"<text {named_by}>{html.escape(name)}</text>")
    return "".join(parts)
