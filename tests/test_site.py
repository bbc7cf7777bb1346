"""The site's pages made from the code name every command, option and public name; links out of docs/ are addresses."""

from __future__ import annotations

import re

import pytest

import wrn_deploy
from website.hooks import api_page, command_page, with_repository_links
from wrn_deploy.cli.app import GROUPS, load_command
from wrn_deploy.cli.examples import EXAMPLES

FILES = "https://github.com/wrn-deploy/wrn-deploy/blob/main"


@pytest.fixture(scope="module")
def commands() -> str:
    return command_page()


@pytest.mark.parametrize("name", [name for group in GROUPS.values() for name in group])
def test_every_command_has_its_options_and_examples(name: str, commands: str) -> None:
    section = commands.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    options = [option for one in load_command(name).params if one.param_type_name == "option" for option in one.opts]
    assert [option for option in options if f"`{option}`" not in section] == []
    assert f"    wrn-deploy {name} [OPTIONS]" in section
    assert [example for example in EXAMPLES[name] if f"    {example}\n" not in section] == []
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}, "a cell has a bar that is not escaped"


def test_every_public_name_is_documented() -> None:
    documented = re.findall(r"^::: [\w.]+\.(\w+)$", api_page(), re.MULTILINE)
    assert sorted([*documented, "__version__"]) == sorted(wrn_deploy.__all__)


def test_links_out_of_the_docs_become_addresses_in_the_repository() -> None:
    text = "[a](../../SECURITY.md), [b](../../benchmarks/results/x.json#y), [c](int8.md#z), [d](https://e.org/f)"
    assert with_repository_links(text, "explanation/trust.md") == text.replace(
        "../../SECURITY.md", f"{FILES}/SECURITY.md"
    )
    assert with_repository_links("[a](../LICENSE#b)", "faq.md") == f"[a]({FILES}/LICENSE#b)"
