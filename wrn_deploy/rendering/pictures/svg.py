"""The SVG toolkit's ground: escaped elements, texts, marks of the precisions, and a whole picture; knows no report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup

from wrn_deploy.formatting import one_line, printable
from wrn_deploy.spec import Precision

__all__ = ["LETTER", "TEMPLATES", "WIDE", "Picture", "circle", "element", "mark", "path", "rect", "short", "text"]

LETTER = 7.2  # pixels: an upper bound for a letter of the 12 px labels
WIDE = 600  # pixels: pictures from here on are for a desk, narrower ones for a phone
LONGEST_NAME = 30
SHAPES = {
    Precision.FP32: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    Precision.FP16: "M-4.5-4.5h9v9h-9z",
    Precision.INT8: "M0-6.2 6.2 0 0 6.2-6.2 0z",
    Precision.BF16: "M0-6 6 5h-12z",
    Precision.FP8: "M0 6-6-5h12z",
}
TEMPLATES = Path(__file__).parents[1] / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A drawn picture: what it shows (`title`), the same in words (`described`), its size in pixels, its elements."""

    title: str
    described: str
    width: float
    height: float
    body: Sequence[Markup]

    def inline(self, name: str) -> Markup:
        """An `<svg>` for a page, which brings the style; `name` is unique on that page."""
        return self._draw(name, border=0.0, before=(), xmlns="")

    def to_file(self, border: float = 0.0) -> str:
        """A file of its own, ready to be written as UTF-8: light and dark, no script, nothing loaded.

        Args:
            border: pixels of background around the picture.
        """
        page = rect("page", -border, -border, self.width + 2 * border, self.height + 2 * border)
        before = (element("style", _style()), page)
        return self._draw("picture", border, before, "http://www.w3.org/2000/svg") + "\n"

    def _draw(self, name: str, border: float, before: Sequence[Markup], xmlns: str) -> Markup:
        width, height = self.width + 2 * border, self.height + 2 * border
        return element(
            "svg",
            element("title", self.title, id=f"{name}-title"),
            element("desc", self.described, id=f"{name}-desc"),
            *before,
            *self.body,
            xmlns=xmlns,
            role="img",
            aria_labelledby=f"{name}-title {name}-desc",
            viewBox=f"{-border:g} {-border:g} {width:g} {height:g}",
            width=width,
            height=height,
        )


def element(tag: str, *children: str, **attributes: str | float) -> Markup:
    """An element; texts are escaped and printable, Markup is as it is.

    Args:
        tag: its name.
        children: what stands inside.
        attributes: by name, `class_` for class and `_` for a hyphen; an empty text is left out, numbers are rounded to
            a tenth. `tooltip` is none, but words that a browser shows beside the pointer and a screen reader reads.
    """
    tooltip = str(attributes.pop("tooltip", ""))
    written = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _attribute(value))
        for name, value in attributes.items()
        if value != ""  # 0 is a value
    )
    shown = (child if isinstance(child, Markup) else printable(child) for child in children)
    inside = Markup("").join((element("title", tooltip), *shown) if tooltip else shown)
    start = Markup("<{}{}").format(tag, written)
    return start + (Markup(">{}</{}>").format(inside, tag) if inside else Markup("/>"))


def path(kind: str, d: str, tooltip: str = "", **attributes: str | float) -> Markup:
    """A line or a shape; `kind` are CSS classes."""
    return element("path", class_=kind, d=d, tooltip=tooltip, **attributes)


def rect(kind: str, x: float, y: float, width: float, height: float, **attributes: str | float) -> Markup:
    """A rectangle; `rx` rounds its corners."""
    return element("rect", class_=kind, x=x, y=y, width=width, height=height, **attributes)


def circle(kind: str, x: float, y: float, r: float, **attributes: str | float) -> Markup:
    """A circle around (x, y)."""
    return element("circle", class_=kind, cx=x, cy=y, r=r, **attributes)


def text(
    x: float, y: float, words: str, kind: str = "tick", anchor: str = "start", **attributes: str | float
) -> Markup:
    """One line of text; (x, y) is its start, middle or end on the base line."""
    return element("text", words, class_=kind, x=x, y=y, text_anchor=anchor, **attributes)


def mark(precision: Precision, x: float, y: float, tooltip: str) -> Markup:
    """The precision's shape, with what it stands for as a tooltip."""
    return path(f"mark {precision}", SHAPES[precision], tooltip, transform=f"translate({x:.1f} {y:.1f})")


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """The name on one line, cut in its middle if it is too long: both ends distinguish names."""
    name = one_line(name)
    if len(name) <= longest:
        return name
    head = (longest - 1) // 2
    return f"{name[:head]}…{name[len(name) - (longest - 1 - head) :]}"


def _attribute(value: str | float) -> str:
    return printable(value) if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


@cache
def _style() -> Markup:
    """The colours and rules that pictures share with the page."""
    files = (TEMPLATES / name for name in ("palette.css", "pictures.css"))
    return Markup("".join(file.read_text(encoding="utf-8") for file in files))  # noqa: S704 -- the project's own files
