"""Markdown that the generated documents share: places for results, tables, escaped text, a machine in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import count, digits, one_line

__all__ = ["BLOCK", "environment", "machine", "safe", "table"]

# A place for a table: its first line, its name, what stands there, its last line.
BLOCK = re.compile(r"(<!-- results:(\S+) begin[^>]*-->\n)(.*?)(<!-- results:\2 end -->)", re.DOTALL)


def table(headers: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table; its cells are Markdown already."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, ["---"] * len(headers), *lines))


def safe(text: str) -> str:
    """The text on one line, with Markdown's special characters escaped."""
    return re.sub(r"([\\|\[\]`*<])", r"\\\1", one_line(text))


def machine(record: Mapping[str, Any]) -> str:
    """Describes a machine as "AMD EPYC, 2 cores, 23.5 GiB, no GPU"."""
    gpu = safe(record["gpu"]["name"]) if record["gpu"] else "no GPU"
    memory = f"{digits(record['memory_mib'] / 1024)} GiB"
    return f"{safe(record['cpu'])}, {count(record['cores'], 'core')}, {memory}, {gpu}"


def environment(report: Report) -> str:
    """Describes the machine of a benchmark, and the threads it used."""
    gpu = {"name": report.machine.gpu.name} if report.machine.gpu else None
    found = {"cpu": report.machine.cpu, "cores": report.machine.cores, "memory_mib": report.machine.memory_mib}
    return f"{machine({**found, 'gpu': gpu})}, {count(report.settings.threads, 'thread')}"
