"""The part of docs/reference/models.md on training and fine-tuning, from the committed results that exist."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.pages.markdown import machine, safe, table
from benchmarks.pages.results_tables import DATA, RESULTS
from wrn_deploy.formatting import count, digits, percent

__all__ = ["fine_tuned", "trained"]

UP = "../.."  # from the page to the results


def trained(root: Path) -> str:
    """Time and memory of a training step, by network and way; empty if nothing was measured."""
    records = _results(root, "training")
    times = [line for record in records.values() for line in _times(record)]
    memory = [line for record in records.values() for line in _memory(record)]
    parts = []
    if times:
        headers = ["network", "way", "a step, s (median)", "images/s (best)"]
        parts.append(f"A step of {_batches(records.values())}.\n\n{table(headers, times)}")
    if memory:
        headers = ["network", "way", "kept for the backward pass", "memory at the peak"]
        parts.append(f"Memory of a step.\n\n{table(headers, memory)}")
    if not parts:
        return ""
    here = dict.fromkeys(machine(record["machine"]) for record in records.values())
    raw = ", ".join(f"[{file.name}]({UP}/{file.relative_to(root)})" for file in records)
    return "\n\n".join(("### Training", *parts, f"{'; '.join(here)}. Raw: {raw}."))


def fine_tuned(root: Path) -> str:
    """Top-1 before and after fine-tuning; empty if it was not measured."""
    records = _results(root, "qat")
    lines = [line for record in records.values() for row in record["rows"] for line in _changes(row)]
    if not lines:
        return ""
    about = (
        "Calibrations, some of them poor on purpose, before and after `finetune`: top-1, and the share of images that "
        "get fp32's class. How it was done: [fine-tuning](../how-to/qat.md)."
    )
    headers = ["network", "calibration", "graph", "images", "top-1, fp32", "int8, before to after", "as fp32"]
    here = dict.fromkeys(machine(record["machine"]) for record in records.values())
    raw = ", ".join(f"[{file.name}]({UP}/{file.relative_to(root)})" for file in records)
    return f"### Fine-tuned int8\n\n{about}\n\n{table(headers, lines)}\n\n{'; '.join(here)}. Raw: {raw}."


def _results(root: Path, benchmark: str) -> dict[Path, Any]:
    """Reads the results of one benchmark, by file."""
    files = sorted((root / RESULTS).glob(f"{benchmark}*.json"))
    records = {file: json.loads(file.read_text(encoding="utf-8")) for file in files}
    return {file: record for file, record in records.items() if record.get("benchmark") == benchmark}


def _batches(records: Any) -> str:
    found = dict.fromkeys(
        f"{record['batch']} images on {record['device']} with {count(record['threads'], 'thread')}"
        for record in records
        if "steps" in record
    )
    return "; ".join(found)


def _times(record: Mapping[str, Any]) -> list[list[str]]:
    lines = []
    for way, steps in record.get("steps", {}).items():
        seconds = [sum(step.values()) for step in steps]
        best = digits(record["batch"] / min(seconds))
        lines.append([f"`{record['model']}`", safe(way), digits(statistics.median(seconds)), best])
    return lines


def _memory(record: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            f"`{record['model']}`, batch {record['batch']}",
            safe(row["way"]),
            f"{row['kept'] / 1e9:.2f} GB",
            f"{row['peak'] / 1e9:.2f} GB",
        ]
        for row in record.get("memory", ())
    ]


def _changes(row: Mapping[str, Any]) -> list[list[str]]:
    lines = []
    for name, score in row["data"].items():
        images = score["images"]
        right, same = (
            " to ".join(percent(score[kind][when] / images) for when in ("before", "after"))
            for kind in ("correct", "same")
        )
        graph = row["graph"].removeprefix("onnx-int8-")
        shown = [f"`{row['model']}`", safe(row["row"]), graph, f"{images:,} {DATA.get(name, safe(name))}"]
        lines.append([*shown, percent(score["fp32"] / images), right, same])
    return lines
