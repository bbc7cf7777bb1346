"""Prints what is in a bundle, a graph or a plan, and where two of them spend their time, on stdout."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from wrn_deploy.cli.show.tables import cell, new_table, print_heading, print_json, print_line, print_table
from wrn_deploy.formatting import count, file_size, one_line, signed
from wrn_deploy.pipeline.engines.proof import PROVED_HOW, as_percent
from wrn_deploy.pipeline.inspection.explain import BETWEEN, Explanation
from wrn_deploy.pipeline.inspection.views import BundleView, EntryView, GraphView, PlanView

__all__ = ["show_explanation", "show_inspection", "summary"]

SHOWN = 4  # options of an artifact; --json has all of them
SHOWN_ROWS = 25  # of an explanation; --json has all of them
UNSTEADY = 0.1  # fraction of a run that neither rows nor the runtime account for: a sign of runs that differ
NOISE = 0.05  # fraction of A's time from which on a layer counts as slower or faster
ON_BY_DEFAULT = ("equalize", "exact_input")  # techniques of calibration, shown if they are off


def show_inspection(view: BundleView | GraphView | PlanView, *, as_json: bool) -> None:
    """Prints the view."""
    if as_json:
        kind = {BundleView: "bundle", GraphView: "graph", PlanView: "plan"}[type(view)]
        print_json({"what": kind, **dataclasses.asdict(view)})
    elif isinstance(view, BundleView):
        _show_bundle(view)
    elif isinstance(view, GraphView):
        _show_graph(view)
    else:
        _show_plan(view)


def _show_bundle(view: BundleView) -> None:
    print_heading(f"{view.model} in {view.folder}", random_weights=view.random_weights)
    table = new_table("file", "precision", "size", "state", "made with", right=("size",))
    for entry in view.artifacts:
        state = cell(entry.state, "" if entry.problem is None else "red")
        table.add_row(entry.path, entry.precision, file_size(entry.size_bytes), state, _brief(entry))
    print_table(table)
    problems = [entry.problem for entry in view.artifacts if entry.problem is not None]
    for problem in dict.fromkeys(problems):  # several artifacts may have one cause
        print_line(problem, "red")
    total = file_size(sum(entry.size_bytes for entry in view.artifacts))
    bad = f"; {len(problems)} cannot be used" if problems else ", all intact"
    print_line(f"{count(len(view.artifacts), 'artifact')}, {total}{bad}")


def _brief(entry: EntryView) -> str:
    texts = [
        _option(name, value)
        for name, value in entry.options.items()
        if isinstance(value, str | int | float) and value != "" and (value is not False or name in ON_BY_DEFAULT)
    ]
    profiles = entry.options.get("profiles")
    if isinstance(profiles, list):
        texts.insert(0, f"batches {', '.join(map(_profile, profiles))}")
    return ", ".join(texts[:SHOWN]) + (", ..." if len(texts) > SHOWN else "")


def _option(name: str, value: object) -> str:
    name = name.replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return one_line(f"{name} {value}")


def _profile(profile: object) -> str:
    if not isinstance(profile, Mapping):
        return str(profile)
    return ":".join(str(profile.get(key, "?")) for key in ("minimum", "optimum", "maximum"))


def _show_graph(view: GraphView) -> None:
    producer = f", written by {view.producer}" if view.producer else ""
    print_line(one_line(f"{view.file}: ONNX, opset {view.opset}, {file_size(view.size_bytes)}{producer}"), "bold")
    for direction, tensors in (("input", view.inputs), ("output", view.outputs)):
        for name, dtype, shape in tensors:
            print_line(f"{direction:<11}{one_line(f'{name}: {dtype} {shape}')}")
    print_line(f"parameters {view.parameters:,}")
    if view.macs is None:
        print_line("MACs       not known: the file does not give the shapes")
    elif view.macs == 0:
        print_line("MACs       none: no Conv, Gemm or MatMul")
    else:
        fractions = as_percent(view.fractions)
        print_line(f"MACs       {view.macs:,} for one image: {fractions} (as the graph declares)")
    print_line(f"nodes      {_counts(view.nodes)}")


def _show_plan(view: PlanView) -> None:
    flavor = view.flavor or "an unknown TensorRT, or damaged"
    print_line(f"{view.file}: plan of {flavor}, {file_size(view.size_bytes)}", "bold")
    if view.problem is not None:
        print_line(view.problem, "red")
    for name, text in _facts(view.facts).items():
        print_line(f"{name:<12}{one_line(text)}")
    if view.facts:
        source = str(view.proof.get("source"))
        fractions = as_percent(view.proof.get("shares", {}))
        reformats = view.proof.get("reformats")
        counts = "" if reformats is None else f"; {view.proof.get('layers')} layers, {reformats} of them reformats"
        print_line(f"MACs        {fractions} ({PROVED_HOW.get(source, source)}{counts})")
    if view.layers:
        _show_layers(view)
    if view.missing is not None:
        print_line(f"not shown   {view.missing}")


def _facts(facts: Mapping[str, Any]) -> dict[str, str]:
    """What the manifest records about a plan, in words; leaves out what it does not record."""
    tensors = {
        way: "; ".join(map(_tensor, facts[key]))
        for way, key in (("input", "inputs"), ("output", "outputs"))
        if isinstance(facts.get(key), list)
    }
    profiles = facts.get("profiles", [facts["profile"]] if "profile" in facts else [])
    memory = dict(facts["memory"]) if isinstance(facts.get("memory"), Mapping) else {}
    targets = facts.get("compute_capabilities") or facts.get("compute_capability")
    targets = ", ".join(map(str, targets)) if isinstance(targets, list) else targets
    if not facts:
        return {}
    found = {
        "version": facts.get("version"),
        "built for": f"compute capability {targets}" if targets else "TensorRT's own choice: no GPU was present",
        "GPU": facts.get("gpu"),
        "batches": ", ".join(map(_profile, profiles)) if isinstance(profiles, list) else None,
        **tensors,
        "memory": ", ".join(f"{name.removesuffix('_bytes')} {file_size(size)}" for name, size in memory.items()),
        "built in": f"{facts['seconds']} s" if "seconds" in facts else None,
    }
    return {name: str(text) for name, text in found.items() if text}


def _tensor(tensor: Any) -> str:
    if not isinstance(tensor, Mapping) or not isinstance(tensor.get("shape"), list):
        return str(tensor)
    return f"{tensor.get('name')}: {tensor.get('dtype')} " + " x ".join(map(str, ("batch", *tensor["shape"])))


def _counts(kinds: Mapping[str, int]) -> str:
    return f"{sum(kinds.values())}: " + ", ".join(f"{number} {kind}" for kind, number in kinds.items())


def _show_layers(view: PlanView) -> None:
    print_line(f"layers      {_counts(dict(Counter(layer.kind for layer in view.layers).most_common()))}")
    table = new_table("layer", "kind", "reads", "writes")
    for layer in view.layers:
        reads, writes = (" ".join(tensor.type for tensor in side) for side in (layer.inputs, layer.outputs))
        table.add_row(cell(layer.name), layer.kind, reads, writes)
    print_table(table, gap=False)


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
    rest = explanation.rows[SHOWN_ROWS:]
    if rest:
        more = sum(row.difference_ms for row in rest)
        print_line(f"{len(rest)} more rows, {signed(more, 3)} ms in total; --json lists them")
    for text in (_unaccounted(explanation), *_rules(explanation), "", summary(explanation)):
        print_line(text)


def summary(explanation: Explanation) -> str:
    """One sentence: how much faster or slower B is, and where most of that comes from."""
    a, b = explanation.totals_ms
    layers = [row for row in explanation.rows if not row.name.startswith(BETWEEN) and row.a.nodes and row.b.nodes]
    slower = sum(row.difference_ms > NOISE * row.a.ms for row in layers)
    faster = sum(row.difference_ms < -NOISE * row.a.ms for row in layers)
    text = (
        f"B: {explanation.verdict.about('A')} ({b:.3f} ms, {a:.3f} ms): {faster} of {len(layers)} layers faster, "
        f"{slower} slower (by more than {100 * NOISE:.0f} %)"
    )
    lost = max(explanation.rows, key=lambda row: row.difference_ms, default=None)
    won = min(explanation.rows, key=lambda row: row.difference_ms, default=None)
    if won is not None and won.difference_ms < 0:
        text += f"; largest gain: {won.name} ({signed(won.difference_ms, 3)} ms)"
    if lost is not None and lost.difference_ms > 0:
        text += f"; largest loss: {lost.name} ({signed(lost.difference_ms, 3)} ms)"
    return text + "."


def _table(explanation: Explanation) -> Table:
    times = ("A ms", "B ms", "B-A ms", "B/A")
    headers = ("layer, or all other nodes of a kind (in A, in B)", *times, "A in", "B in", "lint of B")
    table = new_table(*headers, right=times)
    for row in explanation.rows[:SHOWN_ROWS]:
        counts = f" ({row.a.nodes}, {row.b.nodes})" if row.name.startswith(BETWEEN) else ""
        a_ms, b_ms = (f"{side.ms:.3f}" if side.nodes else "-" for side in (row.a, row.b))
        ratio = f"{row.b.ms / row.a.ms:.2f}" if row.a.ms > 0 and row.b.nodes else "-"
        cells = (a_ms, b_ms, signed(row.difference_ms, 3), ratio, row.a.arithmetic, row.b.arithmetic)
        style = "yellow" if row.difference_ms > max(NOISE * row.a.ms, 0.001) else None
        table.add_row(cell(row.name + counts), *cells, " ".join(row.rules), style=style)
    return table


def _unaccounted(explanation: Explanation) -> str:
    sides = [*zip("AB", explanation.unaccounted_ms, explanation.between_ms, explanation.totals_ms, strict=True)]
    rest = [f"{ms:z.3f} ms of {side} ({100 * ms / total if total else 0:z.0f} %)" for side, ms, _, total in sides]
    own = " and ".join(f"{between:z.3f}" for _, _, between, _ in sides)
    text = f"unaccounted for: {', '.join(rest)}; {own} ms between nodes; medians do not add up exactly"
    if any(abs(ms - between) > UNSTEADY * total for _, ms, between, total in sides):
        text += ". The runs vary a lot: this machine is busy; --threads 1 and more --rounds give better times"
    return text


def _rules(explanation: Explanation) -> list[str]:
    if not explanation.rules:
        return ["lint of B: no rule names a layer"]
    about = dict.fromkeys(explanation.graph_rules, " (the graph as a whole)")
    return [f"{rule}{about.get(rule, '')}: {title}. {fix}" for rule, (title, fix) in explanation.rules.items()]
