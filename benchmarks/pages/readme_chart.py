"""Draws the README's chart: fp32 against int8 of the benchmarked networks, in light and in dark, and its caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from benchmarks.pages.markdown import environment
from wrn_deploy.bench.report.derived import Ranked
from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import digits, percent
from wrn_deploy.rendering.notes import heading
from wrn_deploy.rendering.pictures.svg import Picture, element, rect, text

__all__ = ["SHOWN", "Theme", "caption", "draw_chart"]

# Backend and precision of the bars, and what stands beside them: the reference, and both graphs in one runtime.
SHOWN = {
    ("torch", "fp32"): "PyTorch fp32",
    ("onnxruntime", "fp32"): "ONNX Runtime fp32",
    ("onnxruntime", "int8"): "ONNX Runtime int8",
}
WIDTH, LEFT, VALUES = 560, 152, 164  # pixels: narrow enough to read on a phone; for names; for values
TITLE, STEP, THICK, APART = 30, 30, 18, 18  # pixels: a network's name; a bar and its space, the bar; between networks
MEDIA = "screen and (prefers-color-scheme: dark)"
STYLE = Markup(
    "svg{background:none;font-size:14px}svg .page{fill:none}svg .tick{fill:var(--ink)}svg .label{stroke:none}"
)


@dataclass(frozen=True, slots=True)
class Theme:
    """A theme of a site: its name, and the media for which the palette's dark colours count."""

    name: str
    media: str


def draw_chart(reports: Sequence[Report], theme: Theme) -> str:
    """An SVG file of one theme: a page chooses by its own theme, which need not be the system's."""
    longest = max(one.latency.median_ms for report in reports for one in _ranked(report))
    body, words, top = [element("style", STYLE)], [], 0
    for report in reports:
        bars = _ranked(report)
        body += [text(0, top + 18, heading(report)[0], "title"), *_gain(bars, top)]
        top += TITLE
        for one in bars:
            name, length = SHOWN[one.row.key], (WIDTH - LEFT - VALUES) * one.latency.median_ms / longest
            value = _value(one)
            body += [
                text(0, top + 18, name, "label"),
                rect(one.row.precision, LEFT, top + (STEP - THICK) / 2 - 2, length, THICK, rx=2),
                text(LEFT + length + 8, top + 18, value, "strong" if one is bars[0] else "tick"),
            ]
            words.append(f"{heading(report)[0]}, {name}: {value}")
            top += STEP
        top += APART
    picture = Picture(
        title="Median latency of one image, and top-1 accuracy: fp32 against int8",
        described="; ".join(words),
        width=WIDTH,
        height=top - APART,
        body=body,
    )
    return picture.to_file().replace(MEDIA, theme.media)


def caption(reports: Sequence[Report]) -> str:
    """What was measured, on what, in one sentence."""
    first = reports[0]
    assert first.derived.ranking
    batch, rounds = first.derived.ranking[0].latency.batch, first.settings.rounds
    images = {one.row.accuracy.images for report in reports for one in _ranked(report) if one.row.accuracy}
    return (
        f"Median latency at batch {batch} over {rounds} interleaved rounds, and top-1 on "
        f"{' or '.join(f'{number:,}' for number in sorted(images))} CIFAR-10 test images; {environment(first)}."
    )


def _ranked(report: Report) -> list[Ranked]:
    """The bars, the fastest first.

    Raises:
        ValueError: one is missing, or has no accuracy.
    """
    found = [one for one in report.derived.ranking if one.row.key in SHOWN and one.row.accuracy is not None]
    if len(found) < len(SHOWN):
        raise ValueError(f"the README's chart of {heading(report)[0]} needs rows with accuracy for {[*SHOWN]}")
    return found


def _gain(bars: Sequence[Ranked], top: int) -> list[Markup]:
    """How much faster the first bar is than the last, at the right."""
    times = bars[-1].latency.median_ms / bars[0].latency.median_ms
    words = f"{bars[0].row.precision} is {times:.1f}x as fast as {SHOWN[bars[-1].row.key]}"
    return [text(WIDTH, top + 18, words, "strong", anchor="end")]


def _value(one: Ranked) -> str:
    assert one.row.accuracy is not None
    return f"{digits(one.latency.median_ms)} ms · {percent(one.row.accuracy.top1)}"
