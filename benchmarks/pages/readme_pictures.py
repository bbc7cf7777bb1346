"""Makes a standalone SVG file of a report's picture, with light and dark colours and a background."""

from __future__ import annotations

import re

from wrn_deploy.bench.page.style import STYLE
from wrn_deploy.bench.report.report import Report
from wrn_deploy.bench.svg import picture

__all__ = ["WIDTH", "standalone"]

WIDTH = 840  # pixels: about as wide as a README is shown
FONT = 'svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }'
BORDER = 16  # pixels of background around the picture
SIZE = re.compile(r'viewBox="0 0 (\S+) (\S+)" width="[^"]+" height="[^"]+"')


def standalone(report: Report) -> str:
    """The picture of latency against accuracy, to be written as UTF-8; ends with a line break.

    Raises:
        ValueError: nothing was measured.
    """
    drawn = picture(report, WIDTH)
    if not drawn:
        raise ValueError(f"the report of {report.model} has no times: expected a benchmark that measured something")
    size = SIZE.search(drawn)
    assert size, "a picture begins with its size"
    width, height = (float(side) + 2 * BORDER for side in size.groups())
    frame = f'viewBox="{-BORDER} {-BORDER} {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    start, end = drawn.index("<svg ") + 5, drawn.index(">") + 1
    attributes = drawn[start:end].replace(size[0], frame)
    style = f"<style><![CDATA[\n{_rules()}\n{FONT}\n]]></style>"
    paper = f'<rect x="{-BORDER}" y="{-BORDER}" width="{width:g}" height="{height:g}" style="fill: var(--page)"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}{style}{paper}{drawn[end:]}\n'


def _rules() -> str:
    """The colours and the rules for pictures of the page's style, which has one rule per line after the colours."""
    colours, mark, rest = STYLE.strip().partition("* { box-sizing")
    assert mark, "the page's style begins with its colours"
    return colours + "\n".join(line for line in rest.splitlines() if line.startswith("svg "))
