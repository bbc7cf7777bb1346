"""Prints what is in a bundle, a graph or a plan, as tables or as JSON, on stdout."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wrn_deploy.formatting import file_size, one_line
from wrn_deploy.pipeline.engines.proof import PROVED_HOW, as_percent
from wrn_deploy.pipeline.inspection.inspect import BundleView, EntryView, GraphView, PlanView
from wrn_deploy.rendering.table import RANDOM_WEIGHTS

__all__ = ["show_inspection"]

SHOWN = 4  # options of an artifact; --json has all of them


def show_inspection(view: BundleView | GraphView | PlanView, *, as_json: bool) -> None:
    """Prints the view."""
    if as_json:
        what = {BundleView: "bundle", GraphView: "graph", PlanView: "plan"}[type(view)]
        typer.echo(json.dumps({"what": what, **dataclasses.asdict(view)}, indent=1))
        return
    console = Console()
    match view:
        case BundleView():
            _show_bundle(console, view)
        case GraphView():
            _show_graph(console, view)
        case PlanView():
            _show_plan(console, view)


def _show_bundle(console: Console, view: BundleView) -> None:
    _line(console, f"{view.model} in {view.folder}", "bold")
    if view.random_weights:
        _line(console, RANDOM_WEIGHTS, "bold red")
    table = _table("file", "precision", "size", "state", "made with", right=("size",))
    for entry in view.artifacts:
        state = Text("ok") if entry.problem is None else Text(_state(entry.problem), "red")
        table.add_row(entry.path, entry.precision, file_size(entry.size_bytes), state, _brief(entry))
    console.print(table, "", sep="\n")
    problems = [entry.problem for entry in view.artifacts if entry.problem is not None]
    for problem in problems:
        _line(console, problem, "red")
    total = file_size(sum(entry.size_bytes for entry in view.artifacts))
    bad = f"; {len(problems)} cannot be used" if problems else ", all whole"
    _line(console, f"{len(view.artifacts)} artifacts, {total}{bad}")


def _state(problem: str) -> str:
    if " was made from " in problem:
        return "stale"
    return "missing" if " is missing " in problem else "damaged"


def _brief(entry: EntryView) -> str:
    told = {name: value for name, value in entry.options.items() if isinstance(value, str | int | float)}
    texts = [
        _option(name, value) for name, value in told.items() if value != "" and (value is not False or _asked(name))
    ]
    profiles = entry.options.get("profiles")
    if isinstance(profiles, list):
        texts.insert(0, f"batches {', '.join(map(_profile, profiles))}")
    return ", ".join(texts[:SHOWN]) + (", ..." if len(texts) > SHOWN else "")


def _asked(name: str) -> bool:
    """Whether that it is off says something: calibration's techniques are on unless turned off."""
    return name in ("equalize", "exact_input")


def _option(name: str, value: object) -> str:
    name = name.replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return one_line(f"{name} {value}")


def _profile(profile: object) -> str:
    if not isinstance(profile, Mapping):
        return str(profile)
    return ":".join(str(profile.get(key, "?")) for key in ("minimum", "optimum", "maximum"))


def _show_graph(console: Console, view: GraphView) -> None:
    producer = f", written by {view.producer}" if view.producer else ""
    _line(console, one_line(f"{view.file}: ONNX, opset {view.opset}, {file_size(view.size_bytes)}{producer}"), "bold")
    for direction, tensors in (("input", view.inputs), ("output", view.outputs)):
        for name, dtype, shape in tensors:
            _line(console, f"{direction:<11}{one_line(f'{name}: {dtype} {shape}')}")
    _line(console, f"parameters {view.parameters:,}")
    if view.macs is None:
        _line(console, "MACs       not known: the file does not give the shapes")
    elif view.macs == 0:
        _line(console, "MACs       none: no Conv, Gemm or MatMul")
    else:
        shares = as_percent(view.shares)
        _line(console, f"MACs       {view.macs:,} for one image: {shares} (what the graph promises)")
    count = sum(view.nodes.values())
    _line(console, f"nodes      {count}: " + ", ".join(f"{number} {kind}" for kind, number in view.nodes.items()))


def _show_plan(console: Console, view: PlanView) -> None:
    flavor = view.flavor or "no known TensorRT, or damaged"
    _line(console, f"{view.file}: plan of {flavor}, {file_size(view.size_bytes)}", "bold")
    if view.problem is not None:
        _line(console, view.problem, "red")
    for name, text in _facts(view.facts).items():
        _line(console, f"{name:<12}{one_line(text)}")
    if view.facts:
        source = str(view.proof.get("source"))
        shares = as_percent(view.proof.get("shares", {}))
        reformats = view.proof.get("reformats")
        counts = "" if reformats is None else f"; {view.proof.get('layers')} layers, {reformats} of them reformats"
        _line(console, f"MACs        {shares} ({PROVED_HOW.get(source, source)}{counts})")
    if view.layers:
        _show_layers(console, view)
    if view.missing is not None:
        _line(console, f"not shown   {view.missing}")


def _facts(facts: Mapping[str, Any]) -> dict[str, str]:
    """What a manifest tells of a plan, in words; what it does not tell is left out."""
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
        "built for": f"compute capability {targets}" if targets else "those that TensorRT chooses: no GPU was there",
        "GPU": facts.get("gpu"),
        "batches": ", ".join(map(_profile, profiles)) if isinstance(profiles, list) else None,
        **tensors,
        "memory": ", ".join(f"{name.removesuffix('_bytes')} {file_size(size)}" for name, size in memory.items()),
        "built in": f"{facts['seconds']} s" if "seconds" in facts else None,
    }
    return {name: str(text) for name, text in found.items() if text}


def _tensor(told: Any) -> str:
    if not isinstance(told, Mapping) or not isinstance(told.get("shape"), list):
        return str(told)
    return f"{told.get('name')}: {told.get('dtype')} " + " x ".join(map(str, ("batch", *told["shape"])))


def _show_layers(console: Console, view: PlanView) -> None:
    kinds = Counter(layer.kind for layer in view.layers).most_common()
    _line(console, f"layers      {len(view.layers)}: " + ", ".join(f"{number} {kind}" for kind, number in kinds))
    table = _table("layer", "kind", "reads", "writes")
    for layer in view.layers:
        table.add_row(Text(layer.name), layer.kind, " ".join(layer.reads), " ".join(layer.writes))
    console.print(table)


def _table(*headers: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", overflow="fold")
    return table


def _line(console: Console, text: str, style: str = "") -> None:
    """One line, whatever the width: it can be searched and copied."""
    console.print(Text(text, style), soft_wrap=True)
