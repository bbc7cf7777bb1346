"""Draws a report's headline, tiles and one bar chart as a PNG of the size that social networks show."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from wrn_deploy.bench.report.derived import Ranked
from wrn_deploy.bench.report.environment import Severity
from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import digits, one_line
from wrn_deploy.rendering.notes import heading
from wrn_deploy.rendering.pictures.svg import TEMPLATES, short
from wrn_deploy.rendering.remarks import MARKS, headline
from wrn_deploy.rendering.sharing import Tile, best_of_each, tiles
from wrn_deploy.rendering.table import RANDOM_WEIGHTS

__all__ = ["HEIGHT", "WIDTH", "draw_summary"]

WIDTH, HEIGHT = 1200, 630  # pixels: 1.91 to 1, as Open Graph previews are cut
EDGE, INSIDE = 56, 22  # pixels: around everything, and within a tile
LINES = 2  # of the headline
TILE_TOP, TILE_HEIGHT, GAP = 210, 150, 20
BARS_TOP, BAR, STEP = 400, 20, 36  # the first bar's top, its thickness, and from one to the next
NAMES, VALUES = 300, 130  # pixels beside the bars
BARS_SHOWN = 5


def draw_summary(report: Report) -> bytes:
    """The picture as a PNG file, in the light colours of the palette."""
    image = Image.new("RGB", (WIDTH, HEIGHT), _colour("page"))
    draw = ImageDraw.Draw(image)
    model, data = heading(report)
    date = one_line(report.created).partition("T")[0]
    first = headline(report)
    draw.text((EDGE, 42), _cut(draw, model, 38, WIDTH - 2 * EDGE), _colour("ink"), _font(38))
    draw.text((EDGE, 92), _cut(draw, f"{data}, {date}", 19, WIDTH - 2 * EDGE), _colour("muted"), _font(19))
    distrust = first.severity is Severity.DISTRUST
    words = f"{MARKS[first.severity]}. {first.text}" if distrust else first.text
    if report.random_weights:
        words = f"{RANDOM_WEIGHTS}. {words}"
    alarming = distrust or report.random_weights
    for number, line in enumerate(_wrap(draw, words, 20, WIDTH - 2 * EDGE)):
        draw.text((EDGE, 136 + 28 * number), line, _colour("warn" if alarming else "ink"), _font(20))
    _draw_tiles(draw, tiles(report))
    _draw_bars(draw, () if distrust else best_of_each(report)[:BARS_SHOWN])
    where = _cut(draw, f"wrn-deploy bench · {one_line(report.machine.cpu)}", 17, WIDTH - 2 * EDGE)
    draw.text((EDGE, HEIGHT - 44), where, _colour("muted"), _font(17))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _draw_tiles(draw: ImageDraw.ImageDraw, shown: Sequence[Tile]) -> None:
    if not shown:
        return
    wide = (WIDTH - 2 * EDGE - GAP * (len(shown) - 1)) / len(shown)
    for index, tile in enumerate(shown):
        left = EDGE + index * (wide + GAP)
        box = (left, TILE_TOP, left + wide, TILE_TOP + TILE_HEIGHT)
        draw.rounded_rectangle(box, 12, _colour("soft"), _colour("rule"), 2)
        x, room = left + INSIDE, wide - 2 * INSIDE
        draw.text((x, TILE_TOP + 14), _cut(draw, tile.value, 48, room), _colour("ink"), _font(48))
        draw.text((x, TILE_TOP + 76), _cut(draw, tile.label, 21, room), _colour("ink"), _font(21))
        for number, line in enumerate(_wrap(draw, tile.detail, 14, room)):
            draw.text((x, TILE_TOP + 106 + 18 * number), line, _colour("muted"), _font(14))


def _draw_bars(draw: ImageDraw.ImageDraw, ranking: Sequence[Ranked]) -> None:
    if len(ranking) < 2:
        return
    left, right = EDGE + NAMES, WIDTH - EDGE - VALUES
    longest = max(one.latency.median_ms for one in ranking)
    for index, one in enumerate(ranking):
        top = BARS_TOP + index * STEP
        end = left + max(2.0, (right - left) * one.latency.median_ms / longest)
        name = _cut(draw, short(one.row.name), 18, NAMES - 16)
        draw.text((EDGE, top + BAR / 2), name, _colour("ink"), _font(18), anchor="lm")
        draw.rounded_rectangle((left, top, end, top + BAR), 4, _colour(one.row.precision))
        value = f"{digits(one.latency.median_ms)} ms"
        draw.text((end + 10, top + BAR / 2), value, _colour("ink"), _font(18), anchor="lm")


def _wrap(draw: ImageDraw.ImageDraw, words: str, size: int, room: float) -> list[str]:
    """Up to LINES lines of the words, the last one cut."""
    lines, rest = list[str](), words.split()
    while rest and len(lines) < LINES - 1:
        taken = 1
        while taken < len(rest) and draw.textlength(" ".join(rest[: taken + 1]), _font(size)) <= room:
            taken += 1
        lines.append(_cut(draw, " ".join(rest[:taken]), size, room))
        rest = rest[taken:]
    return [*lines, _cut(draw, " ".join(rest), size, room)] if rest else lines


def _cut(draw: ImageDraw.ImageDraw, words: str, size: int, room: float) -> str:
    """The words, or as many letters as fit, and dots."""
    if draw.textlength(words, _font(size)) <= room:
        return words
    kept = len(words)
    while kept and draw.textlength(f"{words[:kept].rstrip()} ...", _font(size)) > room:
        kept -= 1
    return f"{words[:kept].rstrip()} ..."


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that Pillow brings along, so that the picture is the same on each machine."""
    return ImageFont.load_default(size)


@cache
def _colour(name: str) -> str:
    """A light colour of the palette."""
    found = re.search(rf"--{name}: (#[0-9a-f]+);", (TEMPLATES / "palette.css").read_text(encoding="utf-8"))
    assert found is not None, name
    return found.group(1)
