"""MkDocs' hooks: the pages made from the code, and links from docs/ to files of the repository outside of it."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import Any

import wrn_deploy
from wrn_deploy.cli.app import GROUPS, load_command
from wrn_deploy.cli.examples import EXAMPLES

__all__ = ["api_page", "command_page", "on_files", "on_page_markdown", "with_repository_links"]

ROOT = Path(__file__).resolve().parents[1]
FILES = "https://github.com/wrn-deploy/wrn-deploy/blob/main"
LINK = re.compile(r"(\]\()([^)\s:#]+)((?:#[^)\s]*)?\))")
COMMANDS_PAGE, API_PAGE = "reference/commands.md", "reference/api.md"


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that are made from the code."""
    from mkdocs.structure.files import File

    for path, text in ((COMMANDS_PAGE, command_page()), (API_PAGE, api_page())):
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_given: Any) -> str:
    """Replaces links that lead out of docs/."""
    return with_repository_links(markdown, page.file.src_uri)


def with_repository_links(markdown: str, page: str) -> str:
    """`markdown` with links to files outside docs/ as addresses in the repository; `page` is its path in docs/."""

    def replaced(found: re.Match[str]) -> str:
        file = os.path.normpath(Path("docs", page).parent / found[2])
        outside = not file.startswith("docs/") and (ROOT / file).exists()
        return f"{found[1]}{FILES}/{file}{found[3]}" if outside else found[0]

    return LINK.sub(replaced, markdown)


def command_page() -> str:
    """Every command with its help, arguments, options and examples, as --help has them."""
    parts = [
        "# Commands",
        "Made from the commands themselves: the same as `wrn-deploy COMMAND --help`. Options of the program itself, "
        "exit codes and environment variables: [the command line](command-line.md).",
    ]
    for group, commands in GROUPS.items():
        parts.append(f"## {group.capitalize()}")
        parts += [_command(name) for name in commands]
    return "\n\n".join(parts) + "\n"


def api_page() -> str:
    """Every public name of the package, by kind, for mkdocstrings to document."""
    functions, classes, errors = list[Any](), list[Any](), list[Any]()
    for name in wrn_deploy.__all__:
        value = getattr(wrn_deploy, name)
        if inspect.isclass(value):
            (errors if issubclass(value, Exception) else classes).append(value)
        elif inspect.isfunction(value):
            functions.append(value)
    parts = [
        "# API",
        "Made from the docstrings of the public names. [The Python API](python.md) shows how they work together.",
    ]
    for title, values in (("Functions", functions), ("Classes", classes), ("Errors", errors)):
        parts.append(f"## {title}")
        parts += [f"::: {value.__module__}.{value.__qualname__}" for value in values]
    return "\n\n".join(parts) + "\n"


def _command(name: str) -> str:
    command = load_command(name)
    rows = [_parameter(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
    usage = " ".join(
        [
            f"wrn-deploy {name}",
            "[OPTIONS]",
            *(_metavar(one) for one in command.params if one.param_type_name == "argument"),
        ]
    )
    return "\n\n".join(
        (
            f"### {name}",
            _escaped(command.help or ""),
            f"    {usage}",
            "\n".join(("| parameter | value | meaning |", "|---|---|---|", *rows)),
            "\n".join(f"    {example}" for example in EXAMPLES[name]),
        )
    )


def _parameter(parameter: Any) -> str:
    value = " or ".join(f"`{one}`" for one in _metavar(parameter).split("|") if one)  # a bar would end the cell
    named = parameter.param_type_name == "option"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts)) if named else value
    default = _text(parameter.default) if parameter.show_default else ""
    about = " ".join(filter(None, (_escaped(parameter.help or ""), f"Default: `{default}`." if default else "")))
    return f"| {names} | {value if named else ''} | {about} |"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or ("" if parameter.param_type_name == "option" else parameter.name.upper()))


def _text(default: Any) -> str:
    if default is None or isinstance(default, bool) or callable(default):
        return ""
    return ",".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)


def _escaped(text: str) -> str:
    return re.sub(r"([|<\[*])", r"\\\1", text)
