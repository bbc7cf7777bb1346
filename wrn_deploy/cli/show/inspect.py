"""Prints what is in a bundle, a graph or a plan, as tables or as JSON, on stdout."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.text import Text

from wrn_deploy.cli.show.tables import new_table, print_heading, print_json, print_line, print_table
from wrn_deploy.formatting import file_size, one_line
from wrn_deploy.pipeline.engines.proof import PROVED_HOW, as_percent
from wrn_deploy.pipeline.inspection.inspect import BundleView, EntryView, GraphView, PlanView

__all__ = ["show_inspection"]

SHOWN = 4  # options of an artifact; --json has all of them


def show_inspection(view: BundleView | GraphView | PlanView, *, as_json: bool) -> None:
    """Prints the view."""
    if as_json:
        what = {BundleView: "bundle", GraphView: "graph", PlanView: "plan"}[type(view)]
        print_json({"what": what, **dataclasses.asdict(view)})
        return
    match view:
        case BundleView():
            _show_bundle(view)
        case GraphView():
            _show_graph(view)
        case PlanView():
            _show_plan(view)


def _show_bundle(view: BundleView) -> None:
    print_heading(f"{view.model} in {view.folder}", random_weights=view.random_weights)
    table = new_table("file", "precision", "size", "state", "made with", right=("size",))
    for entry in view.artifacts:
        state = Text("ok") if entry.problem is None else Text(_state(entry.problem), "red")
        table.add_row(entry.path, entry.precision, file_size(entry.size_bytes), state, _brief(entry))
    print_table(table)
    problems = [entry.problem for entry in view.artifacts if entry.problem is not None]
    for problem in problems:
        print_line(problem, "red")
    total = file_size(sum(entry.size_bytes for entry in view.artifacts))
    bad = f"; {len(problems)} cannot be used" if problems else ", all whole"
    print_line(f"{len(view.artifacts)} artifacts, {total}{bad}")


def _state(problem: str) -> str:
    if " was made from " in problem:
        return "stale"
    return "missing" if " is missing " in problem else "damaged"


def _brief(entry: EntryView) -> str:
    options = {name: value for name, value in entry.options.items() if isinstance(value, str | int | float)}
    shown = {
        name: value for name, value in options.items() if value != "" and (value is not False or _default_on(name))
    }
    texts = [_option(name, value) for name, value in shown.items()]
    profiles = entry.options.get("profiles")
    if isinstance(profiles, list):
        texts.insert(0, f"batches {', '.join(map(_profile, profiles))}")
    return ", ".join(texts[:SHOWN]) + (", ..." if len(texts) > SHOWN else "")


def _default_on(name: str) -> bool:
    """Whether to show it when it is off: techniques of calibration that are on by default."""
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
        shares = as_percent(view.fractions)
        print_line(f"MACs       {view.macs:,} for one image: {shares} (what the graph promises)")
    count = sum(view.nodes.values())
    print_line(f"nodes      {count}: " + ", ".join(f"{number} {kind}" for kind, number in view.nodes.items()))


def _show_plan(view: PlanView) -> None:
    flavor = view.flavor or "an unknown TensorRT, or damaged"
    print_line(f"{view.file}: plan of {flavor}, {file_size(view.size_bytes)}", "bold")
    if view.problem is not None:
        print_line(view.problem, "red")
    for name, text in _facts(view.facts).items():
        print_line(f"{name:<12}{one_line(text)}")
    if view.facts:
        source = str(view.proof.get("source"))
        shares = as_percent(view.proof.get("shares", {}))
        reformats = view.proof.get("reformats")
        counts = "" if reformats is None else f"; {view.proof.get('layers')} layers, {reformats} of them reformats"
        print_line(f"MACs        {shares} ({PROVED_HOW.get(source, source)}{counts})")
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
        "built for": f"compute capability {targets}" if targets else "those that TensorRT chooses: no GPU was present",
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


def _show_layers(view: PlanView) -> None:
    kinds = Counter(layer.kind for layer in view.layers).most_common()
    print_line(f"layers      {len(view.layers)}: " + ", ".join(f"{number} {kind}" for kind, number in kinds))
    table = new_table("layer", "kind", "reads", "writes")
    for layer in view.layers:
        reads, writes = (" ".join(tensor.type for tensor in side) for side in (layer.inputs, layer.outputs))
        table.add_row(Text(layer.name), layer.kind, reads, writes)
    print_table(table, gap=False)
