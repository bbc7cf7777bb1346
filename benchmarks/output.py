"""What every benchmark writes: a JSON file of raw numbers with the machine and versions beside them, and a table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from wrn_deploy.files.new_file import write_whole
from wrn_deploy.machine import describe_machine, package_versions
from wrn_deploy.version import __version__

__all__ = ["make_table", "start_record", "write_record"]


def start_record(benchmark: str, *packages: str) -> dict[str, Any]:
    """The fields that every result has: the benchmark's name, this machine, versions of wrn-deploy and `packages`."""
    return {
        "benchmark": benchmark,
        "machine": dataclasses.asdict(describe_machine()),
        "versions": {"wrn-deploy": __version__, **package_versions(*packages)},
    }


def write_record(file: Path, record: dict[str, Any]) -> None:
    """Writes a result in one step: whoever reads `file` meanwhile finds the old result or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, _compact_json(record) + "\n")


def make_table(*headers: str, left: Collection[str] = (), title: str = "", caption: str = "") -> Table:
    """An empty table; the first column and those in `left` are aligned to the left, the others to the right."""
    table = Table(box=SIMPLE_HEAD, title=title or None, caption=caption or None)
    for index, header in enumerate(headers):
        table.add_column(header, justify="left" if index == 0 or header in left else "right")
    return table


def _compact_json(value: Any, depth: int = 0) -> str:
    """JSON with a line for each list or record that holds no other, so that a thousand raw samples are one line."""
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    if not any(isinstance(one, dict | list | tuple) for one in held):
        return json.dumps(value)
    parts = [_compact_json(one, depth + 1) for one in held]
    if isinstance(value, dict):
        parts = [f"{json.dumps(str(name))}: {text}" for name, text in zip(value, parts, strict=True)]
    start, end = "{}" if isinstance(value, dict) else "[]"
    indent = "\n" + " " * depth
    return start + ",".join(f"{indent} {text}" for text in parts) + indent + end
