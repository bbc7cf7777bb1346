"""Draws what tuning found as one self-contained SVG: the share of MACs in INT8 against top-1 accuracy."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from wrn_deploy.bench.report.tuning import Trial, Tuning
from wrn_deploy.rendering.pictures.axes import Axis, grid
from wrn_deploy.rendering.pictures.canvas import LETTER, MARGIN
from wrn_deploy.rendering.pictures.label_placement import LINE, RADIUS, Box, Point, place_labels
from wrn_deploy.rendering.pictures.sheet import sheet
from wrn_deploy.rendering.table import RANDOM_WEIGHTS

__all__ = ["draw_tuning"]

WIDTH, HEIGHT = 900, 460
LEFT, RIGHT, TOP, BOTTOM = 56, WIDTH - 20, 92, HEIGHT - 62
LEAST = 0.5  # points of accuracy above and below the middle, so that a single image never looks like a gulf
DIAMOND = "M0-8 8 0 0 8-8 0z"

STYLE = """
.fp32, .budget, .ladder { fill: none; }
.fp32 { stroke: var(--fp32); stroke-width: 1.5; } .budget { stroke: var(--fp32); stroke-dasharray: 5 4; }
.fp32-text { fill: var(--fp32); }
.ladder { stroke: var(--int8); stroke-width: 1.5; opacity: .55; }
.whisker { fill: none; stroke: var(--int8); stroke-width: 1; opacity: .6; }
.step { fill: var(--int8); stroke: var(--page); } .tried { fill: var(--muted); opacity: .5; }
.chosen { fill: var(--int8); stroke: var(--ink); stroke-width: 1.5; }
"""


def draw_tuning(tuning: Tuning) -> str:
    """The picture, ready to be written as UTF-8; light and dark, no script, nothing loaded."""
    x_axis, y_axis = Axis(0.0, 100.0, LEFT, RIGHT), _accuracy_axis(tuning)
    body = [
        _heading(tuning),
        grid(x_axis, y_axis),
        _captions(),
        _references(tuning, y_axis),
        _points(tuning, x_axis, y_axis),
    ]
    return sheet((_title(tuning), _described(tuning)), (WIDTH, HEIGHT), STYLE, "".join(body))


def _title(tuning: Tuning) -> str:
    return f"{tuning.model}: accuracy against the share of work in INT8"


def _described(tuning: Tuning) -> str:
    images = tuning.reference.images
    parts = [f"Top-1 of fp32 on {images} images: {100 * tuning.reference.top1:.2f} %"]
    for trial in tuning.frontier:
        text = f"{100 * trial.int8_share:.1f} % of MACs in INT8: {100 * trial.score.top1:.2f} %"
        parts.append(text + (" (chosen)" if trial == tuning.chosen else ""))
    if tuning.chosen is None:
        parts.append(f"no set met {tuning.budget}")
    return "; ".join(parts)


def _heading(tuning: Tuning) -> str:
    about = f"{tuning.reference.images} images of {tuning.data}; budget {tuning.budget}"
    text = f'<text class="title" x="16" y="28">{html.escape(_title(tuning))}</text>\n'
    text += f'<text class="about" x="16" y="48">{html.escape(about)}</text>\n'
    if tuning.random_weights:
        text += f'<text class="warn" x="{RIGHT}" y="28" text-anchor="end">{RANDOM_WEIGHTS}</text>\n'
    return text


def _accuracy_axis(tuning: Tuning) -> Axis:
    spread = [(100 * trial.score.top1, tuning.uncertainty(trial.score)) for trial in tuning.trials]
    values = [100 * tuning.reference.top1, *(top1 + side * error for top1, error in spread for side in (-1, 1))]
    half, middle = max((max(values) - min(values)) * 0.55, LEAST), (max(values) + min(values)) / 2
    return Axis(middle - half, middle + half, BOTTOM, TOP)


def _captions() -> str:
    return (
        f'<text class="tick" x="{RIGHT}" y="{BOTTOM + 42}" text-anchor="end">'
        "Convs' multiply-accumulates in INT8, % (thin lines: one standard error of the difference to fp32)</text>"
        f'<text class="tick" x="16" y="{TOP - 18}">top-1 accuracy, %</text>\n'
    )


def _references(tuning: Tuning, y_axis: Axis) -> str:
    """fp32's accuracy, and the least that the budget allows where it lies in the picture."""
    top1, drop = 100 * tuning.reference.top1, tuning.budget.max_drop
    y = y_axis.at(top1)
    text = f'<path class="fp32" d="M{LEFT} {y:.1f}H{RIGHT}"/>'
    name = f"fp32 {top1:.2f}"
    if drop and y_axis.low < top1 - drop:
        text += f'<path class="budget" d="M{LEFT} {y_axis.at(top1 - drop):.1f}H{RIGHT}"/>'
        name += f"; dashed: the budget, {top1 - drop:.2f}"
    box = _reference_boxes(y)[0]
    return f'{text}<text class="label fp32-text" x="{box.left}" y="{box.bottom - 4:.1f}">{name}</text>\n'


def _reference_boxes(y: float) -> tuple[Box, Box]:
    """Where the name of fp32's line at `y` stands, above it, and the line."""
    return Box(LEFT + 190, y - 3 - LINE, LEFT + 460, y - 3), Box(LEFT, y - 2, RIGHT, y + 2)


def _points(tuning: Tuning, x_axis: Axis, y_axis: Axis) -> str:
    def at(trial: Trial) -> Point:
        return x_axis.at(100 * trial.int8_share), y_axis.at(100 * trial.score.top1)

    ladder = tuning.ladder
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in map(at, ladder))
    parts = [f'<path class="ladder" d="M{line}"/>']
    for trial in tuning.frontier:
        x, (y, error) = at(trial)[0], (100 * trial.score.top1, tuning.uncertainty(trial.score))
        parts.append(f'<path class="whisker" d="M{x:.1f} {y_axis.at(y - error):.1f}V{y_axis.at(y + error):.1f}"/>')
    others = [trial for trial in tuning.trials if trial not in ladder]
    parts += [_dot(at(trial), "tried", 3) for trial in others if trial != tuning.chosen]
    parts += [_dot(at(trial), "step", 4.5) for trial in ladder if trial != tuning.chosen]
    if tuning.chosen is not None:
        x, y = at(tuning.chosen)
        parts.append(f'<path class="chosen" d="{DIAMOND}" transform="translate({x:.1f} {y:.1f})"/>')
    named, fp32 = tuning.frontier, y_axis.at(100 * tuning.reference.top1)
    parts += _labels([_name(trial, tuning) for trial in named], [at(trial) for trial in named], _reference_boxes(fp32))
    return "".join(parts)


def _name(trial: Trial, tuning: Tuning) -> str:
    count = len(trial.float_convs)
    if trial == tuning.chosen:
        return f"chosen: {count} of {len(tuning.layers)} Convs in fp16"
    return "all in fp16" if count == len(tuning.layers) else "all in INT8" if count == 0 else f"{count} in fp16"


def _dot(point: Point, kind: str, radius: float) -> str:
    return f'<circle class="{kind}" cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="{radius}"/>'


def _labels(names: Sequence[str], points: Sequence[Point], taken: Sequence[Box]) -> Iterable[str]:
    widths = [len(name) * LETTER + 2 * MARGIN for name in names]
    marks = [Box(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in points]
    boxes = place_labels(points, widths, [*marks, *taken], Box(LEFT, TOP - 14, WIDTH - 2, BOTTOM - 2))
    for name, point, box in zip(names, points, boxes, strict=True):
        strong = " strong" if name.startswith("chosen") else ""
        side = "start" if box.left >= point[0] else "end" if box.right <= point[0] else "middle"
        x = {"start": box.left + MARGIN, "end": box.right - MARGIN, "middle": (box.left + box.right) / 2}[side]
        y = (box.top + box.bottom) / 2 + 4
        yield f'<text class="label{strong}" x="{x:.1f}" y="{y:.1f}" text-anchor="{side}">{html.escape(name)}</text>'
