"""The table of the listed networks: what it says is what building and counting each network gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.pages import catalog as command
from wrn_deploy.errors import DeployError
from wrn_deploy.models import catalog, listed_models
from wrn_deploy.models.catalog import count_network, read_catalog


def test_every_entry_is_what_the_network_counts() -> None:
    counted = {name: count_network(name) for name in listed_models()}
    assert dict(read_catalog()) == counted, "run `python -m benchmarks.pages.catalog`"
    assert list(read_catalog()) == listed_models()
    assert len(counted) > 30


def test_the_command_writes_the_committed_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "count_network", read_catalog().__getitem__)
    assert command.catalog_text() == catalog.FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["models", "wrn-50-2"]])
def test_listing_loads_no_torch(arguments: list[str]) -> None:
    code = f"""
import sys
from wrn_deploy.cli import main
sys.argv = ["wrn-deploy", *{arguments}]
try:
    main()
except SystemExit as end:
    assert not end.code
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "wrn-50-2" in done.stdout


def test_a_damaged_table_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "catalog.json"
    monkeypatch.setattr(catalog, "FILE", damaged)
    for text in ("", "[]", '{"families": {}, "networks": {"x": {"parameters": 1, "macs": 1, "spec": {}}}}'):
        damaged.write_text(text, encoding="utf-8")
        with pytest.raises(DeployError, match=r"catalog\.json cannot be read .*: install wrn-deploy again"):
            read_catalog.__wrapped__()
