"""Prints which node of a cluster did what, on stderr: results stay the same wherever they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wrn_deploy.cli.options.everywhere import Verbosity, verbosity
from wrn_deploy.cli.show.tables import cell, new_table
from wrn_deploy.cli.terminal import TerminalConsole

if TYPE_CHECKING:
    from wrn_deploy.cluster.summary import ClusterSummary

__all__ = ["show_cluster"]


def show_cluster(summary: ClusterSummary) -> None:
    """Prints a row for each node, and one for all if there are several."""
    if verbosity() is Verbosity.QUIET:
        return
    columns = ("workers", "shards", "images", "corrupt", "worker seconds", "images/s", "retries")
    table = new_table("node", *columns, right=columns)
    rows = [*summary.nodes, *([summary.total()] if len(summary.nodes) > 1 else [])]
    for row in rows:
        rate = f"{row.images / row.seconds:.0f}" if row.seconds else ""
        counts = (row.workers, row.shards, row.images, row.corrupt)
        table.add_row(cell(row.node), *map(str, counts), f"{row.seconds:.1f}", rate, str(row.retries))
    TerminalConsole(stderr=True).print(table)
