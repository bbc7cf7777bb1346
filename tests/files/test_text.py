"""JSON from outside: strict, and within the limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from wrn_deploy.errors import DamagedFile, OverLimit
from wrn_deploy.files.budget import raised
from wrn_deploy.files.text import parse_json, read_json, read_text


def test_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": [1, 2.5, null, {"b": "\xc3\xa9"}]}')
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, None, {"b": "é"}]}


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a": 1, "a": 2}', '{"x": {"a": 1, "a": 1}}', "[NaN]", "[Infinity]", "[-Infinity]", "[1e999]",
     "[" + "9" * 5000 + "]", "[1] [2]", "'a'"],
)  # fmt: skip
def test_anything_else_is_damage(text: str) -> None:
    with pytest.raises(DamagedFile, match=r"a\.json is damaged"):
        parse_json(text, "a.json")


@pytest.mark.parametrize("depth", [101, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_json_is_refused(depth: int, opening: str, closing: str) -> None:
    with pytest.raises(DamagedFile, match="nest"):
        parse_json(opening * depth + "1" + closing * depth, "a.json")


def test_a_large_text_is_refused_unless_allowed(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("x" * 100, encoding="utf-8")
    with raised("text_bytes=99"), pytest.raises(OverLimit, match="limit text_bytes=100"):
        read_text(file)
    assert len(read_text(file)) == 100


def test_a_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfea\x00")
    with pytest.raises(DamagedFile, match=r"a\.txt is not text in UTF-8"):
        read_text(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "text",
    ["[" + "[]," * 3_000_000 + "[]]", "[" + "{}," * 3_000_000 + "{}]", '["",' * 2_500_000, '{"a":{},' * 1_500_000],
)
def test_many_values_are_refused_before_they_are_made(text: str) -> None:
    with pytest.raises(OverLimit, match="parts to keep in memory"):
        parse_json(text, "x.json")
    with raised("members=1000"), pytest.raises(OverLimit, match="members"):
        parse_json("[" + "1," * 2000 + "1]", "x.json")


def test_a_long_list_of_numbers_is_read() -> None:
    assert len(parse_json("[" + "1.5," * 300_000 + "2]", "x.json")) == 300_001


def test_numbers_that_are_not_finite_are_read_for_readers_that_name_them() -> None:
    assert str(parse_json("[NaN, 1e999, -Infinity]", "x.json", finite=False)) == "[nan, inf, -inf]"
    with pytest.raises(DamagedFile, match="appears twice"):
        parse_json('{"a": NaN, "a": 1}', "x.json", finite=False)
