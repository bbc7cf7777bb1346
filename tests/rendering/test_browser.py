"""The page in headless Chromium: no console message, nothing cut or covered, text alternatives, light and dark."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.bench.full_report import make_full_report
from tests.bench.sample_reports import FULL, HOSTILE, INT8, NO_ACCURACY, SKIPPED, make_report
from wrn_deploy.bench.report.report import Report
from wrn_deploy.rendering.html import to_html

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("no chromium, chromium-browser or google-chrome on the PATH", allow_module_level=True)
FLAGS = (
    "--headless", "--hide-scrollbars", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"
WHOLE = make_full_report()
CPU_ALONE = dataclasses.replace(WHOLE, rows=WHOLE.rows[:8])  # within a factor of 30: other axes than with a GPU
REPORTS = {
    "whole": WHOLE,
    "cpu alone": CPU_ALONE,
    "few": dataclasses.replace(WHOLE, rows=WHOLE.rows[4:8], baseline="ONNX Runtime fp16"),
    "small": FULL,
    "no accuracy": NO_ACCURACY,
    "skipped": make_report(SKIPPED),
    "hostile": make_report(*FULL.rows, dataclasses.replace(INT8, title=HOSTILE * 3)),
}

# Looks at the page as it is laid out. Only the tests' copies of a page have a script; pages themselves have none.
PROBE = """<script>addEventListener("load", () => {
const found = {width: innerWidth, wide: document.documentElement.scrollWidth, outside: [], covered: [], silent: []};
const shown = [...document.querySelectorAll("svg")].filter(svg => svg.getClientRects().length);
for (const svg of shown) {
  const frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
  for (const [words, box] of texts)
    if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
        || box.bottom > frame.bottom + 1) found.outside.push(svg.id + words);
  texts.forEach(([words, box], index) => { for (const [others, other] of texts.slice(index + 1))
    if (Math.min(box.right, other.right) - Math.max(box.left, other.left) > 1
        && Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top) > 3)
      found.covered.push([words, others]); });
  const named = svg.getAttribute("aria-labelledby").split(" ").map(id => document.getElementById(id).textContent);
  const silent = svg.getAttribute("role") !== "img" || named.length !== 2 || !named.every(Boolean);
  if (silent) found.silent.push(svg.outerHTML);
}
for (const img of document.images) if (!img.alt || !img.naturalWidth) found.silent.push(img.outerHTML);
found.pictures = shown.length + document.images.length;
const result = parent.document.createElement("pre");
result.id = "probe";
result.textContent = JSON.stringify(found);
parent.document.body.append(result);
});</script></body>"""


def browse(folder: Path, text: str, *flags: str) -> tuple[str, str]:
    """Opens the page and gives what Chromium prints on stdout and stderr."""
    page = folder / "page.html"
    page.write_text(text, encoding="utf-8")
    shutil.rmtree(folder / "profile", ignore_errors=True)
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, page.as_uri()]
    done = subprocess.run(command, check=True, capture_output=True, timeout=120)
    return done.stdout.decode(), done.stderr.decode(errors="replace")


def probe(folder: Path, report: Report, width: int) -> dict[str, Any]:
    """In a frame, since a window has at least 500 pixels."""
    page, replaced = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", to_html(report))
    assert replaced == 1, "it would keep the script from running"
    text = escape(page.replace("</body>", PROBE))
    frame = f'<!doctype html><iframe srcdoc="{text}" style="width:{width}px; height:900px; border:0"></iframe>'
    dom, _ = browse(folder, frame, "--window-size=1400,1000", "--dump-dom")
    found = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None
    record: dict[str, Any] = json.loads(unescape(found.group(1)))
    assert record["width"] == width
    return record


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("name", REPORTS)
def test_nothing_is_cut_or_covered_and_every_picture_has_a_text(tmp_path: Path, name: str, width: int) -> None:
    found = probe(tmp_path, REPORTS[name], width)
    assert found["wide"] <= width, "the page itself must not scroll sideways"
    assert (found["outside"], found["covered"], found["silent"]) == ([], [], [])
    assert (found["pictures"] > 0) is (name != "skipped")


def test_the_console_stays_empty(tmp_path: Path) -> None:
    logging = ("--enable-logging=stderr", "--v=0", "--dump-dom")
    dom, messages = browse(tmp_path, to_html(WHOLE), *logging)
    assert "wide_resnet50_2" in dom
    assert "CONSOLE" not in messages
    _, messages = browse(tmp_path, "<script>console.error('heard')</script>", *logging)
    assert "CONSOLE" in messages, "a message would be seen"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_follows_the_readers_colours(tmp_path: Path, dark: bool) -> None:
    shot = tmp_path / "page.png"
    browse(tmp_path, to_html(FULL), f"--screenshot={shot}", "--window-size=1000,1200", *([DARK] if dark else []))
    with Image.open(shot) as image:
        assert image.size == (1000, 1200)
        colours = {colour for _, colour in image.convert("RGB").getcolors(2**24) or []}
        page = image.convert("RGB").getpixel((2, 2))
    marks = {(0x82, 0xB1, 0xEE), (0xF2, 0x9B, 0x63)} if dark else {(0x3D, 0x6F, 0xB4), (0xC0, 0x5A, 0x1C)}
    assert marks <= colours  # of fp32 and int8, as the style says
    assert page == ((0x14, 0x17, 0x1B) if dark else (0xFF, 0xFF, 0xFF))


def test_the_page_can_be_printed(tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    browse(tmp_path, to_html(WHOLE), "--no-pdf-header-footer", f"--print-to-pdf={paper}", DARK)
    assert paper.read_bytes().startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", paper.read_bytes())) in range(8, 20)
