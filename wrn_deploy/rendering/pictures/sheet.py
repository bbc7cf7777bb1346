"""A picture that is a file of its own: one SVG with its style, light and dark; no script, nothing loaded."""

from __future__ import annotations

import html

__all__ = ["sheet"]

# The colours of the benchmark's page.
STYLE = """
svg { --page: #fff; --ink: #1b1f24; --muted: #59626c; --rule: #e1e4e8; --soft: #f6f7f9; --fp32: #3d6fb4;
  --fp16: #23866f; --int8: #c05a1c; --bf16: #7b4fa3; --fp8: #8a6d00; --warn: #b42318; background: var(--page);
  font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
@media screen and (prefers-color-scheme: dark) {
  svg { --page: #14171b; --ink: #e4e7eb; --muted: #98a2ad; --rule: #2c3239; --soft: #1b1f25; --fp32: #82b1ee;
    --fp16: #5fc7ae; --int8: #f29b63; --bf16: #c3a0e6; --fp8: #d9bb4a; --warn: #ff8a7a; } }
text { fill: var(--ink); }
.page { fill: var(--page); } .title { font-size: 17px; font-weight: 600; } .about, .tick { fill: var(--muted); }
.tick { font-variant-numeric: tabular-nums; } .warn { fill: var(--warn); font-weight: 600; }
.label { stroke: var(--page); stroke-width: 4px; stroke-linejoin: round; paint-order: stroke; }
.strong { font-weight: 600; }
.grid, .axis { fill: none; stroke: var(--rule); }
.axis { stroke: var(--muted); stroke-width: .75; }
"""


def sheet(titles: tuple[str, str], size: tuple[float, float], style: str, body: str) -> str:
    """The whole file, ready to be written as UTF-8.

    Args:
        titles: what the picture shows, and the same in words for those who do not see it; neither escaped yet.
        size: width and height in pixels.
        style: CSS rules besides the common ones.
        body: SVG elements.
    """
    (title, told), (width, height) = titles, size
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">\n'
        f'<title id="title">{html.escape(title)}</title>\n<desc id="desc">{html.escape(told)}'
        f"</desc>\n<style>{STYLE}{style.lstrip()}</style>\n"
        f'<rect class="page" width="{width:g}" height="{height:g}"/>\n{body}\n</svg>\n'
    )
