"""Texts from outside, in every place of a report: no rendering has a control character, a formula, a link or markup."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from tests.bench.hostile_report import make_hostile_report
from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import one_line
from wrn_deploy.rendering.csv_file import to_csv
from wrn_deploy.rendering.html import to_html
from wrn_deploy.rendering.markdown import _escape, to_markdown
from wrn_deploy.rendering.pictures.svg import Picture, path, text
from wrn_deploy.rendering.text import print_report

EVIL = (
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "]]><svg onload=alert(1)>", "</style><b>x</b>",
    "\x1b]0;P\x07\x9b31m\x7f\x00", "\u202egnp.exe\u2066\u200b\ufeff", "caf\udce9\u2028x\x85y\r\n",
    "=cmd|' /C calc'!A0", "\t=1+1", "\r@x", " +1", "'=1", "\" -1", "\uff1d1+1", " \uff20x", "\ufe62\uff0b1",
    "a\n# H\n\n![x](http://e/x.png) [a](http://e)\n| x |", "[x][y]\n\n[y]: http://e", "[y]: javascript:x", "# H", "> x",
    "- x", "1. x", "12) x", "```", "~~~", "---", "* * *", "http://e.example/x", "WWW.e.example", "me@e.example",
    "@somebody", "<http://e>", "<me@e.example>", "&lt;b&gt;", "$\\href{http://e}{x}$", "\\", "`", "``@`",
    "_a_ **b** ~c~",
)  # fmt: skip


def to_text(report: Report) -> str:
    file = io.StringIO()
    print_report(report, Console(file=file, width=100))
    return file.getvalue()


def is_harmless(letter: str) -> bool:
    return letter.isprintable() or letter in "\n\t" or unicodedata.category(letter) == "Zs"


RENDERINGS: dict[str, Callable[[Report], str]] = {
    "text": to_text, "markdown": to_markdown, "html": to_html, "csv": to_csv,
}  # fmt: skip


@pytest.mark.parametrize("rendering", RENDERINGS)
@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_nothing_that_a_terminal_obeys_or_hides(evil: str, rendering: str) -> None:
    report = make_hostile_report(evil)
    for each in (report, dataclasses.replace(report, reference=evil, baseline=evil)):
        shown = RENDERINGS[rendering](each)
        assert not [letter for letter in shown.replace("\r\n", "") if not is_harmless(letter)]
        shown.encode("utf-8")


@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_no_cell_of_the_csv_is_a_formula(evil: str) -> None:
    lines = list(csv.reader(io.StringIO(to_csv(make_hostile_report(evil)), newline="")))
    for cell in (cell for line in lines[1:] for cell in line if not cell.startswith("'")):
        assert not re.match("[ \"']*[=+@-]", unicodedata.normalize("NFKC", cell))
    numbers = [cell for line in lines[1:] for cell in line if re.fullmatch(r"[\d.]+", cell)]
    assert len(numbers) > 20, "numbers stay numbers"


# What plain text may become, in the places that reports have for it.
PLACES = {
    "item": "- {}",
    "next item": "- x\n- {}",
    "cell": "| a | b |\n|---|---|\n| x | {} |",
    "title": "# of {} on {}",
}
PLAIN = {"text", "code_inline", "inline"}
BLOCKS = {"bullet_list", "list_item", "paragraph", "heading", "table", "thead", "tbody", "tr", "th", "td"}
GITHUB = MarkdownIt("commonmark").enable(["table", "strikethrough"])
SIGNS = "[]()!*_`~#-+=.)|\\<>&;@:/^{}w1a $\"'\n\t"


def assert_plain(outside: str, place: str) -> None:
    tokens = GITHUB.parse(PLACES[place].replace("{}", _escape(outside)))
    found = {token.type for token in tokens} | {child.type for token in tokens for child in token.children or ()}
    assert {kind.removesuffix("_open").removesuffix("_close") for kind in found} <= PLAIN | BLOCKS
    last = [token for token in tokens if token.type == "inline"][-1]
    shown = "".join(child.content for child in last.children or ())
    wanted = f"of {one_line(outside)} on {one_line(outside)}" if place == "title" else one_line(outside)
    assert shown == wanted.strip()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_markdown_shows_a_text_as_it_is(evil: str, place: str) -> None:
    assert_plain(evil, place)


@settings(max_examples=500)
@given(
    st.text(st.one_of(st.sampled_from(SIGNS), st.characters())).filter(lambda outside: bool(one_line(outside))),
    st.sampled_from(sorted(PLACES)),
)
def test_markdown_shows_any_text_as_it_is(outside: str, place: str) -> None:
    assert_plain(outside, place)


@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_github_finds_no_address_in_markdown(evil: str) -> None:
    """It makes links of addresses after the rest, in the finished text: only what is code is left alone."""
    tokens = GITHUB.parse(to_markdown(make_hostile_report(evil)))
    texts = [child.content for token in tokens for child in token.children or () if child.type != "code_inline"]
    assert not [shown for shown in texts if re.search(r"://|www\.|@", shown, re.IGNORECASE)]


def test_the_check_itself_sees_markup() -> None:
    assert {"link_open", "em_open"} < {child.type for child in GITHUB.parse("*a* [b](c)")[1].children or ()}


@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_a_picture_has_texts_alone(evil: str) -> None:
    body = [text(0, 0, evil), path("a", "M0 0", evil, style=evil)]
    picture = Picture(title=evil, described=evil, width=10, height=10, body=body)
    for shown in (picture.to_file(), picture.inline("a")):
        assert not re.search(r"<(?!/?(svg|title|desc|style|rect|text|path)\b)", shown)
        assert not [letter for letter in shown if not is_harmless(letter)]
