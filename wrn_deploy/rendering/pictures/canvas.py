"""What the pictures share: the `<svg>` with its text alternative, the marks of the precisions, short names."""

from __future__ import annotations

import html

from wrn_deploy.formatting import one_line
from wrn_deploy.spec import Precision

__all__ = ["LETTER", "MARGIN", "SHAPES", "WIDE", "drawing", "mark", "short", "text"]

LETTER, MARGIN = 7.2, 3.0  # pixels: an upper bound for a letter of the 12 px labels; room at both ends of a label
WIDE = 600  # pixels: pictures from here on are for a desk, narrower ones for a phone
LONGEST_NAME = 30
SHAPES = {
    Precision.FP32: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    Precision.FP16: "M-4.5-4.5h9v9h-9z",
    Precision.INT8: "M0-6.2 6.2 0 0 6.2-6.2 0z",
    Precision.BF16: "M0-6 6 5h-12z",
    Precision.FP8: "M0 6-6-5h12z",
}


def drawing(name: str, titles: tuple[str, str], size: tuple[float, float], body: str) -> str:
    """An `<svg>` with a title and a description, neither escaped yet; `name` is unique on its page."""
    (title, told), (width, height) = titles, size
    return (
        f'<svg role="img" aria-labelledby="{name}-title {name}-desc" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}"><title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-desc">{html.escape(told)}</desc>{body}</svg>'
    )


def text(x: float, y: float, words: str, style: str = "tick", anchor: str = "start") -> str:
    """One line of text, escaped here."""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def mark(precision: Precision, x: float, y: float, told: str, style: str = "") -> str:
    """The precision's shape, with what it stands for as a tooltip."""
    return (
        f'<path class="mark {precision.value}{style}" d="{SHAPES[precision]}" '
        f'transform="translate({x:.1f} {y:.1f})"><title>{html.escape(told)}</title></path>'
    )


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """The name on one line, cut in its middle where it is too long: both ends tell names apart."""
    name = one_line(name)
    if len(name) <= longest:
        return name
    head = (longest - 1) // 2
    return f"{name[:head]}…{name[len(name) - (longest - 1 - head) :]}"
