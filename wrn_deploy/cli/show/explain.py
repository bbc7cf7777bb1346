"""Prints where two graphs or plans spend their time, as a table or as JSON, on stdout."""

from __future__ import annotations

import dataclasses

from rich.table import Table
from rich.text import Text

from wrn_deploy.cli.show.tables import new_table, print_json, print_line, print_table
from wrn_deploy.pipeline.inspection.explain import BETWEEN, Explanation

__all__ = ["show_explanation"]

SHOWN = 25  # rows; --json has all of them
UNSTEADY = 0.1  # fraction of a run that neither rows nor the runtime account for: a sign of runs that differ
NOISE = 0.05  # fraction of A's time from which on a layer counts as slower or faster


def show_explanation(explanation: Explanation, *, as_json: bool) -> None:
    """Prints the sum, the layers with the largest differences, and the lint rules that name them."""
    if as_json:
        rows = [{**dataclasses.asdict(row), "difference_ms": row.difference_ms} for row in explanation.rows]
        print_json({**dataclasses.asdict(explanation), "rows": rows})
        return
    print_line(f"A {explanation.a}", "bold")
    print_line(f"B {explanation.b}", "bold")
    print_line(
        f"batch {explanation.batch}, {explanation.runtime}, {explanation.runs} interleaved runs of each, random inputs "
        "(times do not depend on the pixels); medians of the faster half; profiling itself costs time"
    )
    print_table(_table(explanation))
    rest = explanation.rows[SHOWN:]
    if rest:
        more = sum(row.difference_ms for row in rest)
        print_line(f"{len(rest)} more rows, {more:+.3f} ms in all; --json has them")
    for text in (_unaccounted(explanation), *_rules(explanation), "", summary(explanation)):
        print_line(text)


def summary(explanation: Explanation) -> str:
    """One sentence: how much faster or slower B is, and where most of that comes from."""
    a, b = explanation.totals_ms
    word = "faster" if b < a else "slower"
    ratio = max(a, b) / min(a, b) if min(a, b) > 0 else float("inf")
    layers = [row for row in explanation.rows if not row.name.startswith(BETWEEN) and row.a.nodes and row.b.nodes]
    slower = sum(row.difference_ms > NOISE * row.a.ms for row in layers)
    faster = sum(row.difference_ms < -NOISE * row.a.ms for row in layers)
    text = (
        f"B is {ratio:.2f} times {word} than A ({b:.3f} ms, {a:.3f} ms): {faster} of {len(layers)} layers faster, "
        f"{slower} slower (by more than {100 * NOISE:.0f} %)"
    )
    lost = max(explanation.rows, key=lambda row: row.difference_ms, default=None)
    won = min(explanation.rows, key=lambda row: row.difference_ms, default=None)
    if won is not None and won.difference_ms < 0:
        text += f"; most is won in {won.name} ({won.difference_ms:+.3f} ms)"
    if lost is not None and lost.difference_ms > 0:
        text += f"; most is lost in {lost.name} ({lost.difference_ms:+.3f} ms)"
    return text + "."


def _table(explanation: Explanation) -> Table:
    times = ("A ms", "B ms", "B-A ms", "B/A")
    headers = ("layer, or all other nodes of a kind (in A, in B)", *times, "A in", "B in", "lint of B")
    table = new_table(*headers, right=times)
    for row in explanation.rows[:SHOWN]:
        counts = f" ({row.a.nodes}, {row.b.nodes})" if row.name.startswith(BETWEEN) else ""
        a_ms, b_ms = (f"{side.ms:.3f}" if side.nodes else "-" for side in (row.a, row.b))
        ratio = f"{row.b.ms / row.a.ms:.2f}" if row.a.ms > 0 and row.b.nodes else "-"
        cells = (a_ms, b_ms, f"{row.difference_ms:+.3f}", ratio, row.a.arithmetic, row.b.arithmetic)
        style = "yellow" if row.difference_ms > max(NOISE * row.a.ms, 0.001) else None
        table.add_row(Text(row.name + counts), *cells, " ".join(row.rules), style=style)
    return table


def _unaccounted(explanation: Explanation) -> str:
    sides = [*zip("AB", explanation.unaccounted_ms, explanation.between_ms, explanation.totals_ms, strict=True)]
    rest = [f"{ms:.3f} ms of {side} ({100 * ms / total if total else 0:.0f} %)" for side, ms, _, total in sides]
    own = " and ".join(f"{between:.3f}" for _, _, between, _ in sides)
    text = f"unaccounted for: {', '.join(rest)}; {own} ms pass between nodes, and medians do not quite add up"
    if any(abs(ms - between) > UNSTEADY * total for _, ms, between, total in sides):
        text += (
            ". The runs differ much: this machine does other work too; --threads 1 and more --rounds give better times"
        )
    return text


def _rules(explanation: Explanation) -> list[str]:
    if not explanation.rules:
        return ["lint of B: no rule names a layer"]
    about = dict.fromkeys(explanation.graph_rules, " (the graph as a whole)")
    return [f"{rule}{about.get(rule, '')}: {title}. {fix}" for rule, (title, fix) in explanation.rules.items()]
