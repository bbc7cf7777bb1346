"""Describes the images that a row gives another class than the reference row does; checks that pictures are PNG."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from wrn_deploy.bench.report.report import Report
from wrn_deploy.bench.report.scores import ChangedImage
from wrn_deploy.formatting import count, one_line

__all__ = ["ChangedRow", "ShownImage", "changed_images"]

SHOWN = 96  # pixels: the longer side as it is shown
SMALL = 48  # pixels: images up to here are shown with their pixels as squares
SIGNATURE = b"\x89PNG\r\n\x1a\n"  # of every PNG file (ISO/IEC 15948, 5.2); the size is in bytes 16 to 23


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownImage:
    """One image in words; `png` is base64 and empty if it is no PNG; the size is that on the page."""

    label: str
    before: str
    after: str
    outcome: str
    described: str
    png: str
    width: int
    height: int
    squares: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedRow:
    """A row with the images that it changed."""

    name: str
    caption: str
    images: tuple[ShownImage, ...]


def changed_images(report: Report) -> list[ChangedRow]:
    """The rows that changed images, with those that are kept in the report."""
    found = []
    for row in report.rows:
        accuracy = row.accuracy
        if accuracy is None or not accuracy.changed:
            continue
        kept = len(accuracy.changed)
        whole = max(accuracy.changed_count, kept)
        shown = "" if whole == kept else f"; {kept} of them are shown"
        caption = f"{count(whole, 'image')} of {accuracy.images} got another class than from the reference{shown}."
        images = tuple(map(_show, accuracy.changed))
        found.append(ChangedRow(name=one_line(row.name), caption=caption, images=images))
    return found


def _show(image: ChangedImage) -> ShownImage:
    label, before, after = (one_line(text) for text in (image.label, image.before, image.after))
    width, height = _size(image.png)
    scale = SHOWN / max(width, height, 1)
    return ShownImage(
        label=label,
        before=before,
        after=after,
        outcome="now right" if after == label else "now wrong" if before == label else "wrong both times",
        described=f"{one_line(image.name)}: {label}, before {before}, now {after}",
        png=image.png if width and height else "",
        width=max(1, round(width * scale)),
        height=max(1, round(height * scale)),
        squares=max(width, height) <= SMALL,
    )


def _size(png: str) -> tuple[int, int]:
    """Width and height of a PNG in base64; (0, 0) if it is none."""
    try:
        data = base64.b64decode(png, validate=True)
    except (binascii.Error, ValueError):
        return 0, 0
    if not data.startswith(SIGNATURE) or len(data) < 24:
        return 0, 0
    return int.from_bytes(data[16:20]) or 1, int.from_bytes(data[20:24]) or 1
