"""What the sections of the page are made of: sections, tables that scroll by themselves, figures of two widths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from wrn_deploy.rendering.table import Line, Table

__all__ = ["DESK", "PHONE", "Section", "figure", "grid", "named_lines", "table", "unbroken"]

DESK, PHONE = 900, 336  # pixels of a picture; a phone of 360 leaves as much


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page that the contents lead to; `body` is HTML, `title` plain text."""

    name: str
    title: str
    body: str

    def to_html(self) -> str:
        """The section with its heading."""
        name, title = escape(self.name), escape(self.title)
        return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n{self.body}\n</section>'


def figure(draw: Callable[[int], str], caption: str = "") -> str:
    """A picture drawn for a desk and for a phone, of which the style shows one; nothing where nothing is drawn."""
    wide = draw(DESK)
    if not wide:
        return ""
    told = f"<figcaption>{escape(caption)}</figcaption>\n" if caption else ""
    return f'<figure>\n<div class="wide">{wide}</div>\n<div class="narrow">{draw(PHONE)}</div>\n{told}</figure>'


def table(shown: Table) -> str:
    """A table of texts."""
    texts = [column for column in range(len(shown.headers)) if column and shown.is_text(column)]
    names = [line.cells[0] if line.first else None for line in shown.lines]
    rests = [_cells(line, texts) for line in shown.lines]
    return grid(shown.name, shown.about, shown.headers, named_lines(names, rests), texts)


def named_lines(names: Sequence[str | None], rests: Sequence[str]) -> list[str]:
    """Lines of a table; one name, plain text, may stand beside several lines: None is for those after the first."""
    lines = []
    for index, (name, rest) in enumerate(zip(names, rests, strict=True)):
        if name is None:
            lines.append(f'<tr class="more">{rest}</tr>')
            continue
        spanned = 1
        while index + spanned < len(names) and names[index + spanned] is None:
            spanned += 1
        span = f' rowspan="{spanned}"' if spanned > 1 else ""
        lines.append(f'<tr><th scope="row"{span}>{escape(name)}</th>{rest}</tr>')
    return lines


def grid(name: str, caption: str, headers: Sequence[str], lines: Iterable[str], texts: Sequence[int] = ()) -> str:
    """A table of lines that are HTML already, which scrolls sideways where the page is narrow, by keyboard too.

    Args:
        name: unique on the page.
        caption: what the table holds, plain text.
        headers: of the columns, plain text.
        lines: whole `<tr>` elements.
        texts: the columns that hold words, other than the first.
    """
    head = "".join(
        f'<th scope="col"{_side(index in texts)}>{escape(header)}</th>' for index, header in enumerate(headers)
    )
    body = "\n".join(lines)
    return (
        f'<div class="scroll" role="region" aria-labelledby="{name}-table" tabindex="0">\n<table>\n'
        f'<caption id="{name}-table"><span>{escape(caption)}</span></caption>\n<thead>\n<tr>{head}</tr>\n</thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def unbroken(text: str) -> str:
    """Keeps numbers and their units on one line."""
    return text.replace(" ms", "&nbsp;ms").replace(" %", "&nbsp;%")


def _cells(line: Line, texts: Sequence[int]) -> str:
    cells = [escape(cell) for cell in line.cells]
    if line.strong is not None:
        cells[line.strong] = f"<strong>{cells[line.strong]}</strong>"
    return "".join(f"<td{_side(index in texts)}>{cell}</td>" for index, cell in enumerate(cells[1:], 1))


def _side(words: bool) -> str:
    return ' class="text"' if words else ""
