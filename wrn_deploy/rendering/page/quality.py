"""The section about accuracy: shares with intervals, the classes that lose most, the images that changed class."""

from __future__ import annotations

import base64
import binascii
from html import escape

from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.bench.report.scores import Accuracy, ChangedImage
from wrn_deploy.formatting import count, one_line
from wrn_deploy.rendering.drops import ClassDrop, worst_classes
from wrn_deploy.rendering.page.parts import Section, grid, named_lines, table
from wrn_deploy.rendering.table import Table

__all__ = ["quality_section"]

WORST = 5  # classes of a row
SMALL = 48  # pixels: images up to here are shown with their pixels as squares
SHOWN = 96  # pixels: the longer side as it is shown
SIGNATURE = b"\x89PNG\r\n\x1a\n"  # of every PNG file (ISO/IEC 15948, 5.2); the size is in bytes 16 to 23


def quality_section(report: Report, answers: Table | None) -> Section | None:
    """The section, or None where no row has anything of it."""
    if answers is None:
        return None
    body = [table(answers), _classes(report), *(_changed(row) for row in report.rows)]
    return Section("accuracy", answers.title, "\n".join(part for part in body if part))


def _classes(report: Report) -> str:
    """The classes that lose most, for each row that loses any."""
    names: list[str | None] = []
    rests = []
    for row in report.rows:
        for index, drop in enumerate(worst_classes(report, row, WORST)):
            names.append(None if index else one_line(row.name))
            rests.append(_cells(drop))
    if not rests:
        return ""
    reference = one_line(report.reference or "")
    caption = f"Right answers by class: up to {WORST} classes of each contender that lose most against {reference}."
    headers = ("Contender", "class", "images", reference, "this one", "points lost")
    return "<h3>Classes that lose most</h3>\n" + grid("classes", caption, headers, named_lines(names, rests), (1,))


def _cells(drop: ClassDrop) -> str:
    numbers = (drop.images, drop.before, drop.after, f"{100 * drop.lost:.1f}")
    label = f'<td class="text long">{escape(one_line(drop.label))}</td>'
    return label + "".join(f"<td>{number}</td>" for number in numbers)


def _changed(row: Row) -> str:
    """The images that a row gives another class than the reference row does, as pictures."""
    found = row.accuracy
    if found is None or not found.changed:
        return ""
    items = "\n".join(_image(image) for image in found.changed)
    return (
        f'<h3>Changed by {escape(one_line(row.name))}</h3>\n<p class="caption">{_caption(found)}</p>\n'
        f'<ul class="changed">\n{items}\n</ul>'
    )


def _caption(found: Accuracy) -> str:
    whole = max(found.changed_count, len(found.changed))
    shown = "" if whole == len(found.changed) else f"; {len(found.changed)} of them are shown"
    return f"{count(whole, 'image')} of {found.images} got another class than from the reference{shown}."


def _image(image: ChangedImage) -> str:
    label, before, after = (one_line(text) for text in (image.label, image.before, image.after))
    outcome = "now right" if after == label else "now wrong" if before == label else "wrong both times"
    told = f"{one_line(image.name)}: {label}, before {before}, now {after}"
    return (
        f"<li>{_pixels(image, told)}<span><b>{escape(label)}</b> <small>{outcome}</small>"
        f'{escape(before)} <span aria-hidden="true">→</span><span class="hidden"> became </span> {escape(after)}'
        f"</span></li>"
    )


def _pixels(image: ChangedImage, told: str) -> str:
    """The picture; what is no PNG is not shown."""
    try:
        data = base64.b64decode(image.png, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data.startswith(SIGNATURE) or len(data) < 24:
        return f'<span class="missing">no picture<span class="hidden"> of {escape(told)}</span></span>'
    width, height = (int.from_bytes(data[start : start + 4]) or 1 for start in (16, 20))
    scale = SHOWN / max(width, height)
    size = f'width="{max(1, round(width * scale))}" height="{max(1, round(height * scale))}"'
    squares = ' class="squares"' if max(width, height) <= SMALL else ""
    return f'<img{squares} alt="{escape(told)}" {size} src="data:image/png;base64,{escape(image.png)}">'
