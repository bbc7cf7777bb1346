"""Draws what tuning found: the share of MACs in INT8 against top-1 accuracy."""

from __future__ import annotations

from markupsafe import Markup

from wrn_deploy.bench.report.tuning import Trial, Tuning
from wrn_deploy.formatting import percent
from wrn_deploy.rendering.pictures.axis import Axis, rules, scale
from wrn_deploy.rendering.pictures.label_placement import LINE, Box, Label, Point, around, draw_labels
from wrn_deploy.rendering.pictures.svg import Picture, circle, path, text
from wrn_deploy.rendering.table import RANDOM_WEIGHTS

__all__ = ["draw_tuning"]

WIDTH, HEIGHT = 900, 460
LEFT, RIGHT, TOP, BOTTOM = 56, WIDTH - 20, 92, HEIGHT - 62
DIAMOND = "M0-8 8 0 0 8-8 0z"


def draw_tuning(tuning: Tuning) -> Picture:
    """Every set of Convs that was tried, with names for those of the frontier."""
    spread = [(100 * trial.score.top1, tuning.uncertainty(trial.score)) for trial in tuning.trials]
    values = [100 * tuning.reference.top1, *(top1 + side * error for top1, error in spread for side in (-1, 1))]
    x_axis, y_axis = Axis(0.0, 100.0, LEFT, RIGHT), Axis.of_percents(values, BOTTOM, TOP, room=0.55)
    title = f"{tuning.model}: accuracy against the share of work in int8"
    about = f"{tuning.reference.images} images of {tuning.data}; budget {tuning.budget}"
    caption = "Convs' multiply-accumulates in int8, % (thin lines: one standard error of the difference to fp32)"
    warning = [text(RIGHT, 28, RANDOM_WEIGHTS, "warn", "end")] if tuning.random_weights else []
    return Picture(
        title=title,
        described=_describe(tuning),
        width=WIDTH,
        height=HEIGHT,
        body=[
            text(16, 28, title, "title"),
            text(16, 48, about, "about"),
            *warning,
            *rules(y_axis, LEFT, RIGHT, (0, 100)),
            *scale(x_axis, BOTTOM, width=WIDTH),
            text(RIGHT, BOTTOM + 42, caption, anchor="end"),
            text(16, TOP - 18, "top-1 accuracy, %"),
            *_reference(tuning, y_axis),
            *_points(tuning, x_axis, y_axis),
        ],
    )


def _describe(tuning: Tuning) -> str:
    parts = [f"Top-1 of fp32 on {tuning.reference.images} images: {percent(tuning.reference.top1)}"]
    for trial in tuning.frontier:
        chosen = " (chosen)" if trial == tuning.chosen else ""
        parts.append(f"{100 * trial.int8_share:.1f} % of MACs in int8: {percent(trial.score.top1)}{chosen}")
    return "; ".join(parts if tuning.chosen else [*parts, f"no set met {tuning.budget}"])


def _reference(tuning: Tuning, y_axis: Axis) -> list[Markup]:
    """fp32's accuracy, and the minimum that the budget allows, if it is in the picture."""
    top1, drop = 100 * tuning.reference.top1, tuning.budget.max_drop
    y, words = y_axis.at(top1), f"fp32 {top1:.2f}"
    parts = [path("reference", f"M{LEFT} {y:.1f}H{RIGHT}")]
    if drop and y_axis.low < top1 - drop:
        parts.append(path("budget", f"M{LEFT} {y_axis.at(top1 - drop):.1f}H{RIGHT}"))
        words += f"; dashed: the budget, {top1 - drop:.2f}"
    box = _reference_boxes(y)[0]
    return [*parts, text(box.left, box.bottom - 4, words, "label reference-text")]


def _reference_boxes(y: float) -> tuple[Box, Box]:
    """Where the name of fp32's line at `y` stands, above it, and the line."""
    return Box(LEFT + 190, y - 3 - LINE, LEFT + 460, y - 3), Box(LEFT, y - 2, RIGHT, y + 2)


def _points(tuning: Tuning, x_axis: Axis, y_axis: Axis) -> list[Markup]:
    """The trials with their errors, and the names of those of the frontier, the chosen one's first."""

    def at(trial: Trial) -> Point:
        return x_axis.at(100 * trial.int8_share), y_axis.at(100 * trial.score.top1)

    ladder = tuning.ladder
    parts = [path("ladder", "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in map(at, ladder)))]
    for trial in tuning.frontier:
        x, (y, error) = at(trial)[0], (100 * trial.score.top1, tuning.uncertainty(trial.score))
        parts.append(path("error", f"M{x:.1f} {y_axis.at(y - error):.1f}V{y_axis.at(y + error):.1f}"))
    others = [trial for trial in tuning.trials if trial != tuning.chosen]
    parts += [circle("tried", *at(trial), 3) for trial in others if trial not in ladder]
    parts += [circle("step", *at(trial), 4.5) for trial in others if trial in ladder]
    named = sorted(tuning.frontier, key=lambda trial: trial != tuning.chosen)
    styles = ["label strong" if trial == tuning.chosen else "label" for trial in named]
    labels = [Label(at(trial), _name(trial, tuning), style) for trial, style in zip(named, styles, strict=True)]
    taken = [*(around(at(trial), 6.0) for trial in named), *_reference_boxes(y_axis.at(100 * tuning.reference.top1))]
    parts += draw_labels(labels, taken, Box(LEFT, TOP - 14, WIDTH - 2, BOTTOM - 2))
    if tuning.chosen is not None:
        x, y = at(tuning.chosen)
        parts.append(path("chosen", DIAMOND, transform=f"translate({x:.1f} {y:.1f})"))
    return parts


def _name(trial: Trial, tuning: Tuning) -> str:
    count = len(trial.float_convs)
    if trial == tuning.chosen:
        return f"chosen: {count} of {len(tuning.layers)} Convs in fp16"
    return "all in fp16" if count == len(tuning.layers) else "all in int8" if count == 0 else f"{count} in fp16"
