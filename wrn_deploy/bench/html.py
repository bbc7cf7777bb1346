"""Writes a report as one self-contained page: no script, nothing loaded, every text from outside escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from wrn_deploy.bench.report import Report
from wrn_deploy.bench.summary import sentence
from wrn_deploy.bench.svg import picture
from wrn_deploy.bench.table import (
    MEDIAN,
    RANDOM_WEIGHTS,
    SIZE,
    Line,
    Table,
    cells,
    conditions,
    file_size,
    heading,
    one_line,
)

__all__ = ["to_html"]

WIDE, NARROW = 900, 360  # pixels of the picture on a desk and on a phone
SHORT_SHA256 = 12

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --muted: #59626c; --rule: #e1e4e8; --soft: #f6f7f9;
  --fp32: #3d6fb4; --fp16: #23866f; --int8: #c05a1c;
  --bf16: #7b4fa3; --fp8: #8a6d00; --warn: #b42318; }
@media screen and (prefers-color-scheme: dark) {
  :root { --page: #14171b; --ink: #e4e7eb; --muted: #98a2ad; --rule: #2c3239; --soft: #1b1f25;
    --fp32: #82b1ee; --fp16: #5fc7ae; --int8: #f29b63;
    --bf16: #c3a0e6; --fp8: #d9bb4a; --warn: #ff8a7a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 58.75rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -.02em; overflow-wrap: anywhere; }
h2 { margin: 3rem 0 .75rem; font-size: 1.05rem; font-weight: 600; }
p, ul { max-width: 44rem; }
.about, caption, figcaption, .notes, dt { color: var(--muted); }
.about, caption, figcaption, .notes, dl { font-size: .875rem; }
.about { margin: .35rem 0 0; }
.summary { margin: 1.75rem 0 0; font-size: 1.2rem; line-height: 1.5; }
.warning { margin: 1.75rem 0 0; padding: .7rem 1rem; border-left: 4px solid var(--warn); background: var(--soft);
  color: var(--warn); font-weight: 600; }
figure { margin: 2.5rem 0 0; }
figcaption { max-width: 44rem; margin-top: .75rem; }
svg { display: block; max-width: 100%; height: auto; overflow: visible; }
svg text { font-size: 12px; fill: var(--ink); }
svg .label { stroke: var(--page); stroke-width: 4px; stroke-linejoin: round; paint-order: stroke; }
svg .tick { fill: var(--muted); font-variant-numeric: tabular-nums; }
svg .grid, svg .axis, svg .leader { fill: none; stroke: var(--rule); }
svg .axis, svg .leader { stroke: var(--muted); stroke-width: .75; }
svg .whisker { stroke: var(--ink); stroke-width: 1.5; }
svg .fp32 { fill: var(--fp32); } svg .fp16 { fill: var(--fp16); } svg .int8 { fill: var(--int8); }
svg .bf16 { fill: var(--bf16); } svg .fp8 { fill: var(--fp8); }
svg .mark { stroke: var(--page); }
.narrow { display: none; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--fp32); outline-offset: 4px; }
table { border-collapse: collapse; min-width: 100%; font-size: .8125rem; font-variant-numeric: tabular-nums; }
caption { padding-bottom: .6rem; text-align: left; }
caption span { display: block; max-width: min(44rem, calc(100vw - 2.5rem)); }
th, td { padding: .45rem .5rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
thead th { color: var(--muted); font-weight: 500; vertical-align: bottom; white-space: normal; }
tbody th { font-weight: 500; }
th:first-child { position: sticky; left: 0; padding-left: 0; background: var(--page); text-align: left; }
td:last-child, th:last-child { padding-right: 0; }
.more th { color: var(--muted); font-weight: 400; }
.text { text-align: left; }
.skipped { color: var(--muted); text-align: left; white-space: normal; }
.skipped span { display: block; min-width: 14rem; overflow-wrap: anywhere; }
.notes { padding-left: 1.1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1.5rem; margin: 0; }
dd { margin: 0; overflow-wrap: anywhere; }
code { font: .8125rem ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
@media screen and (max-width: 47rem) {
  main { padding-top: 1.75rem; } h1 { font-size: 1.6rem; } .summary { font-size: 1.08rem; }
  .wide { display: none; } .narrow { display: block; max-width: 30rem; } .narrow svg { width: 100%; }
  tbody th { min-width: 7.2rem; white-space: normal; }
  .skipped span { position: sticky; left: 8.2rem; min-width: 0; max-width: calc(100vw - 11rem); }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .6rem; } }
@media print {
  main { max-width: none; padding: 0; } body { font-size: 10pt; } .scroll { overflow: visible; }
  table { font-size: 7pt; } th, td { padding: 2pt 3pt; } th:first-child { position: static; } h2 { break-after: avoid; }
  tr, figure { break-inside: avoid; } }
"""


def to_html(report: Report) -> str:
    """The page, ready to be written as UTF-8; ends with a line break."""
    table, (model, data) = cells(report), heading(report)
    about = f"Benchmark on {data}, {one_line(report.created).partition('T')[0]}"
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Benchmark of {escape(model)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
            f'<h1>{escape(model)}</h1>\n<p class="about">{escape(about)}</p>',
            f'<p class="warning" role="note">{escape(RANDOM_WEIGHTS)}</p>' if report.random_weights else "",
            f'<p class="summary">{_unbroken(escape(sentence(report)))}</p>',
            _figure(report),
            _measurements(table),
            _conditions(report),
            _artifacts(report),
            "</main>\n</body>\n</html>\n",
        )
    )


def _figure(report: Report) -> str:
    wide = picture(report, WIDE)
    if not wide:
        return ""
    caption = "Colours show the precision; each thin line reaches from the minimum to the 90th percentile."
    return (
        f'<figure>\n<div class="wide">{wide}</div>\n<div class="narrow">{picture(report, NARROW)}</div>\n'
        f"<figcaption>{caption}</figcaption>\n</figure>"
    )


def _measurements(table: Table) -> str:
    caption = "One line a contender and batch size; bold: the lowest median of that batch size."
    notes = "\n".join(f"<li>{escape(note)}</li>" for note in table.notes)
    body = (_line(line) for line in table.lines)
    return (
        "<h2>Measurements</h2>\n"
        + _scrolling("measurements", caption, table.headers, body)
        + f'\n<ul class="notes">\n{notes}\n</ul>'
    )


def _line(line: Line) -> str:
    name, *texts = (escape(cell) for cell in line.cells)
    if line.skipped is not None:
        skipped = f'<td class="skipped" colspan="{SIZE - 1}"><span>{escape(line.skipped)}</span></td>'
        cells_left = "".join(f"<td>{text}</td>" for text in texts[SIZE - 1 :])
        return f'<tr class="more"><th scope="row">{name}</th>{skipped}{cells_left}</tr>'
    if line.best:
        texts[MEDIAN - 1] = f"<strong>{texts[MEDIAN - 1]}</strong>"
    row = "<tr>" if line.first else '<tr class="more">'
    return f'{row}<th scope="row">{name}</th>{"".join(f"<td>{text}</td>" for text in texts)}</tr>'


def _conditions(report: Report) -> str:
    pairs = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in conditions(report))
    return f"<h2>Conditions</h2>\n<dl>\n{pairs}\n</dl>"


def _artifacts(report: Report) -> str:
    lines = [
        f'<tr><th scope="row">{escape(one_line(row.name))}</th>'
        f'<td class="text"><code>{escape(one_line(row.artifact or ""))}</code></td><td>{file_size(row.size_bytes)}</td>'
        f"<td><code>{escape((row.sha256 or '')[:SHORT_SHA256])}</code></td></tr>"
        for row in report.rows
        if row.artifact is not None or row.sha256 is not None
    ]
    if not lines:
        return ""
    caption = f"The files that were measured, with the first {SHORT_SHA256} digits of their sha256."
    headers = ("Contender", "File", "Size", "sha256")
    return "<h2>Artifacts</h2>\n" + _scrolling("artifacts", caption, headers, lines)


def _scrolling(name: str, caption: str, headers: Iterable[str], lines: Iterable[str]) -> str:
    """A table that scrolls sideways by itself where the page is narrow, by keyboard too."""
    head = "".join(f'<th scope="col"{_side(text)}>{escape(text)}</th>' for text in headers)
    body = "\n".join(lines)
    return (
        f'<div class="scroll" role="region" aria-labelledby="{name}" tabindex="0">\n<table>\n'
        f'<caption id="{name}"><span>{escape(caption)}</span></caption>\n<thead>\n<tr>{head}</tr>\n</thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _side(header: str) -> str:
    return ' class="text"' if header == "File" else ""


def _unbroken(text: str) -> str:
    """Keeps numbers and their units on one line."""
    return text.replace(" ms", "&nbsp;ms").replace(" %", "&nbsp;%")
