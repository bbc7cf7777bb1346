"""What every page has: its templates, pictures for desk and phone, and the policy that lets it load and run nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from wrn_deploy.formatting import count, one_line, printable
from wrn_deploy.rendering.pictures.svg import TEMPLATES, Picture

if TYPE_CHECKING:
    import jinja2

__all__ = ["Figure", "draw_figure", "open_templates", "page_of"]

DESK, PHONE = 900, 336  # pixels of a picture; the latter fits a phone of 360
PNG = b"\x89PNG\r\n\x1a\n"  # how every PNG file begins (ISO/IEC 15948, 5.2); the size is in bytes 16 to 23


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A picture drawn for a desk and for a phone, of which the style sheet shows one; `name` is unique on the page."""

    name: str
    wide: Picture
    narrow: Picture
    title: str = ""
    caption: str = ""


def open_templates(*folders: Path) -> jinja2.Environment:
    """The templates in `folders`, then those of reports; each text is escaped and printable."""
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,  # always: texts from outside are on every page
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters.update(one_line=one_line, count_of=count, png_size=_png_size)
    return templates


def page_of(templates: jinja2.Environment, name: str, style_sheet: str = "style.css", **values: object) -> str:
    """The template `name` filled in, with the style sheet, and the policy that allows that alone."""
    style = templates.get_template(style_sheet).render()
    return templates.get_template(name).render(
        style=Markup(style),  # noqa: S704 -- the project's own files
        policy=Markup(_policy(style)),  # noqa: S704 -- it has no text from outside
        **values,
    )


def _policy(style: str) -> str:
    """A page's Content-Security-Policy: its own style sheet and pictures inside it, and nothing else, no script."""
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def draw_figure(name: str, draw: Callable[[int], Picture | None], title: str = "", caption: str = "") -> list[Figure]:
    """The picture at both widths; empty: it has nothing to show."""
    wide, narrow = draw(DESK), draw(PHONE)
    if wide is None or narrow is None:
        return []
    return [Figure(name=name, wide=wide, narrow=narrow, title=title, caption=caption)]


def _png_size(png: str) -> tuple[int, int]:
    """Width and height in pixels of a PNG file in base64; (0, 0): not a PNG, so not shown."""
    try:
        data = base64.b64decode(png, validate=True)
    except ValueError:
        return 0, 0
    shown = data.startswith(PNG) and len(data) >= 24
    return (int.from_bytes(data[16:20]) or 1, int.from_bytes(data[20:24]) or 1) if shown else (0, 0)
