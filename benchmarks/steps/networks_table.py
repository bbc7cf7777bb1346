"""Prints the table of `networks.py`: each network's counts beside the published ones, errors, and plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

__all__ = ["print_networks"]

HEADERS = (
    "network", "input", "parameters", "published", "GMACs", "published", "fp32 error", "fp16 error", "int8 Convs",
    "cosine int8", "plan fp16", "plan int8", "s",
)  # fmt: skip


def print_networks(rows: Sequence[dict[str, Any]]) -> None:
    """Prints a row per network; a dash stands for a figure that is not published."""
    table = Table(box=SIMPLE_HEAD)
    for at, header in enumerate(HEADERS):
        table.add_column(header, justify="left" if at < 2 else "right", no_wrap=at == 0)
    for row in rows:
        table.add_row(*_cells(row))
    Console(width=200).print(table)


def _cells(row: dict[str, Any]) -> list[str]:
    if "error" in row:
        return [row["network"], "", row["error"]]
    graphs = row["int8"].values()
    return [
        row["network"],
        "x".join(map(str, row["input"])),
        f"{row['parameters']:,}",
        _published(row, "parameters", "{:,.0f}", 1),
        f"{row['macs'] / 1e9:.3f}",
        _published(row, "macs", "{:.2f}", 1e9),
        f"{row['parity']['fp32']['error']:.1e}",
        f"{row['parity']['fp16']['error']:.1e}",
        " ".join(f"{graph['int8_convs']}/{graph['int8_convs'] + graph['float_convs']}" for graph in graphs),
        f"{min(graph['cosine'] for graph in graphs):.4f}",
        _plan(row, "fp16"),
        _plan(row, "int8"),
        f"{row['wall_s']:.0f}",
    ]


def _published(row: dict[str, Any], quantity: str, form: str, scale: float) -> str:
    count = row["published"].get(quantity)
    if count is None:
        return "-"
    if quantity == "parameters" and count["unit"] > 1:
        return f"{count['value'] / 1e6:.1f} M"
    return form.format(count["value"] / scale)


def _plan(row: dict[str, Any], precision: str) -> str:
    plan = row["plans"][precision]
    return f"{plan['share']:.3%}, {plan['size_bytes'] / 1e6:.1f} MB"
