"""Plain English in what users read: errors, reports, public docstrings and pages, by a list of phrases."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import wrn_deploy
from tests.word_list import PHRASES, find_phrases

ROOT = Path(__file__).resolve().parents[1]
CODE = ("wrn_deploy", "export", "calib", "engines", "benchmarks")
TEMPLATES = sorted((ROOT / "wrn_deploy" / "rendering" / "templates").glob("*.html"))

# (file, phrase): why it is right there.
ALLOWED: dict[tuple[str, str], str] = {}


def _python_files() -> list[Path]:
    found = (path for folder in CODE for path in (ROOT / folder).rglob("*.py"))
    return sorted({path.resolve() for path in found})


def _pages() -> list[Path]:
    return [
        *(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")),
        ROOT / "native" / "include" / "wrn_runner.h",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "examples").rglob("*.md")),
        *sorted((ROOT / "examples").rglob("*.ipynb")),
    ]


def _strings(source: str) -> Iterator[tuple[int, str]]:
    """The line and the text of each string that reads as a text; not docstrings. Placeholders are shown as {}."""
    tree = ast.parse(source)
    passed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if id(node) in passed:
            continue
        if isinstance(node, ast.JoinedStr):
            passed |= {id(inner) for inner in ast.walk(node)}
            yield node.lineno, "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value


def _prose(markdown: str) -> str:
    """The text without its code, line by line in the same places."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", "~", found[0])

    for code in (r"^```.*?^```", r"(?<=\n\n)(?: {4}[^\n]*\n)+", r"`[^`\n]*`", r"\]\([^)\n]*\)", r"<!--.*?-->"):
        markdown = re.sub(code, blank, markdown, flags=re.DOTALL | re.MULTILINE)
    return markdown


def _newest(changelog: str) -> str:
    """The changes of the top version."""
    return "## ".join(changelog.split("\n## ")[:2])


def _complaints(name: str, texts: Iterator[tuple[int, str]]) -> list[str]:
    return [
        f"{name}:{line + hit.line - 1}: {hit.phrase!r}: write {hit.better}"
        for line, text in texts
        for hit in find_phrases(text)
        if (name, hit.phrase.lower()) not in ALLOWED
    ]


def _check(path: Path) -> list[str]:
    name, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return _complaints(name, _strings(text))
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        return _complaints(name, ((1, _prose("".join(cell["source"]))) for cell in cells))
    shown = _prose(_newest(text) if path.name == "CHANGELOG.md" else text)
    return _complaints(name, iter([(1, shown)]))


@pytest.mark.parametrize("folder", CODE)
def test_texts_in_the_code(folder: str) -> None:
    files = [path for path in _python_files() if path.is_relative_to(ROOT / folder)]
    assert files
    complaints = [complaint for path in files for complaint in _check(path)]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("path", [*TEMPLATES, *_pages()], ids=lambda path: path.name)
def test_pages_and_templates(path: Path) -> None:
    complaints = _check(path)
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("name", [name for name in wrn_deploy.__all__ if not name.startswith("_")])
def test_docstrings_of_public_names(name: str) -> None:
    public = getattr(wrn_deploy, name)
    members = [public]
    if inspect.isclass(public) and not issubclass(public, Exception):
        members += [member for key, member in vars(public).items() if not key.startswith("_") and member.__doc__]
    texts = ((1, inspect.getdoc(member) or "") for member in members)
    complaints = _complaints(f"docstrings of wrn_deploy.{name}", texts)
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
    ("text", "phrase", "better"),
    [
        ("how to mend it", "mend", "fix"),
        ("bundel is no bundle", "is no bundle", '"is not a ...", or "has no ..."'),
        ("Leave out up to so many corrupt images", "so many", "N"),
        ("all of them are whole", "are whole", "intact"),
        ("expected a whole ONNX\nfile", "a whole ONNX file", "an intact ..."),
        ("Milliseconds a run, ms a run", "ms a run", '"per", as in "ms per run"'),
        ("One scale, quantize behind its ReLU.", "behind its ReLU", "after"),
        ("What a time takes in.", "takes in", '"includes", or "covers"'),
        ("how contenders take turns", "contenders", "candidate"),
        ("it is told which images", "is told", '"is given", or "is reported"'),
        ("the state dict, where it has several", "where it has", '"if ..."'),
        ("there is no bundle, and a.onnx is no longer there", "", ""),
        ("the wholesaler behind a link recommends it", "", ""),
    ],
)
def test_the_list_finds_what_it_should(text: str, phrase: str, better: str) -> None:
    found = [(hit.phrase, hit.better) for hit in find_phrases(text)]
    assert found[:1] == ([(phrase, better)] if phrase else [])


def test_lines_are_those_of_the_file() -> None:
    page = "# Title\n\n```\nit is no code\n```\n\n`mend` and [this](mend.md)\nis no\nlink\n"
    assert [(hit.line, hit.phrase) for hit in find_phrases(_prose(page))] == [(8, "is no link")]
    code = '"""It is no text."""\nx = "a b"\nraise ValueError(f"{x!r} is no "\n    "bundle")\n'
    assert [*_strings(code)] == [(2, "a b"), (3, "{} is no bundle")]


def test_no_phrase_is_listed_twice_and_no_allowance_is_unused() -> None:
    assert len({phrase for phrase, _ in PHRASES}) == len(PHRASES)
    for (name, phrase), reason in ALLOWED.items():
        assert reason
        text = (ROOT / name).read_text(encoding="utf-8")
        assert any(hit.phrase.lower() == phrase for hit in find_phrases(text)), f"{name} has no {phrase!r}"
