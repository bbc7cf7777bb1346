"""Makes the tables of docs/explanation/int8.md from the results; a few cells are medians and ratios of costs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.int8.rows import FLOORS, FRONTIER, LADDER, PEERS
from benchmarks.pages.int8_results import (
    DEFAULT,
    EXACT,
    JPEG,
    ONNXRUNTIME,
    Results,
    read_results,
    unbeaten,
)
from benchmarks.pages.markdown import machine, safe, table
from benchmarks.pages.results_tables import CALIBRATED, int8_file
from wrn_deploy.formatting import count, digits, file_size, percent

__all__ = ["costs_table", "frontier_table", "ladder_table", "peers_table"]

UP = "../.."  # from the page to the results

Cell = Callable[[Results, str], str]


def ladder_table(root: Path) -> str:
    """Our techniques one by one, for TensorRT's graph, and the default for both runtimes."""
    names = {
        "fp32": "fp32",
        **{row.name: row.name for row in LADDER},
        DEFAULT: "**default**: and feedback rounding",
        ONNXRUNTIME: "ONNX Runtime's graph, default",
    }
    columns = {"agreement": _agreement, "top-1": _top1, "logit error": _logit_error}
    return _table(root, "technique", names, columns, [row.name for row in LADDER])


def frontier_table(root: Path) -> str:
    """The default with one thing changed at a time; bold: nothing beats it."""
    names = {DEFAULT: "**default**", **{row.name: row.name.removeprefix("ours, ") for row in FRONTIER}}
    columns = {"CPU s": _cpu, "peak memory": _memory, "logit error": _frontier_error, "agreement": _agreement}
    return _table(root, "changed", names, columns, [row.name for row in FRONTIER])


def peers_table(root: Path) -> str:
    """The quantizers of others beside ours."""
    names = {DEFAULT: f"**{DEFAULT}**", ONNXRUNTIME: f"**{ONNXRUNTIME}**", **{row.name: row.name for row in PEERS}}
    columns = {"agreement": _agreement, "top-1": _top1, "logit error": _logit_error}
    return _table(root, "quantizer", names, columns, [row.name for row in PEERS])


def costs_table(root: Path) -> str:
    """What each way to calibrate costs, by network: medians over the rounds, and the largest memory."""
    file = int8_file(root, "calibration")
    record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if "networks" not in record:
        return f"*Not measured yet: `{file.relative_to(root)}`.*"
    parts = []
    for model, described in record["networks"].items():
        runs = [run for run in record["runs"] if run["network"] == model]
        parts += [f"**{model}**, {count(described['images'], 'image')}", _costs(runs)]
    raw = f"[Raw]({UP}/{file.relative_to(root)})"
    return "\n\n".join([*parts, f"{machine(record['machine'])}. {raw}."])


def _costs(runs: Sequence[Mapping[str, Any]]) -> str:
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["candidate"], run["images"]), []).append(run["cost"])
    floors = [_each(groups, floor.name) for floor in FLOORS]
    lines = []
    for (candidate, images), costs in groups.items():
        error = next((cost["error"] for cost in costs if cost["error"]), "")
        if error:
            lines.append([safe(candidate), str(images), safe(error), "", "", ""])
            continue
        cpu = statistics.median(cost["cpu_s"] for cost in costs)
        ratios = [digits(cpu / images / floor) if floor else "" for floor in floors]
        memory = file_size(max(cost["peak_rss_bytes"] for cost in costs))
        lines.append([safe(candidate), str(images), digits(cpu), *ratios, memory])
    return table(["", "images", "CPU s", *(f"over {floor.name}" for floor in FLOORS), "peak memory"], lines)


def _each(groups: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]], name: str) -> float:
    """CPU seconds for each image; 0 if there are none."""
    found = ((images, costs) for (candidate, images), costs in groups.items() if candidate == name)
    return next((statistics.median(cost["cpu_s"] for cost in costs) / images for images, costs in found), 0.0)


def _table(root: Path, first: str, names: Mapping[str, str], columns: Mapping[str, Cell], wanted: Sequence[str]) -> str:
    """A line for each measured row, and `columns` for each network; `wanted` are the rows that choose the files."""
    results = read_results(root, wanted)
    measured = [one.model for one in results]
    missing = [f"*Not measured yet: {model}.*" for model in CALIBRATED if model not in measured]
    if not results:
        return "\n\n".join(missing)
    headers = [first, *(f"{one.model}: {column}" for one in results for column in columns)]
    lines = [
        [safe(shown).replace(r"\*\*", "**"), *(cell for one in results for cell in _cells(one, name, columns))]
        for name, shown in names.items()
        if any(name in one.rows for one in results)
    ]
    return "\n\n".join([table(headers, lines), _about(root, results, costs="CPU s" in columns), *missing])


def _cells(results: Results, name: str, columns: Mapping[str, Cell]) -> list[str]:
    """The cells of one network; if the row failed, the first one has the reason."""
    row = results.rows.get(name)
    if row is None:
        return [""] * len(columns)
    if row["cost"]["error"]:
        return [safe(row["cost"]["error"]), *[""] * (len(columns) - 1)]
    return [cell(results, name) for cell in columns.values()]


def _about(root: Path, results: Sequence[Results], *, costs: bool) -> str:
    calibrated = " and ".join(dict.fromkeys(str(one.record["calibration"]["images"]) for one in results))
    sizes = {data: score["images"] for data, score in next(iter(results[0].rows.values()))["accuracy"].items()}
    sets = f"{sizes.get(JPEG, 0):,} JPEG / {sizes.get(EXACT, 0):,} exact test images"
    raw = ", ".join(f"[{one.model}]({UP}/{one.file.relative_to(root)})" for one in results)
    machines = "; ".join(dict.fromkeys(machine(one.record["machine"]) for one in results))
    return (
        f"Agreement with fp32's argmax and top-1 in percent, on {sets}; logit error: mean squared, on the JPEG "
        f"images{'; CPU s and peak memory: of the whole process' if costs else ''}. {calibrated} calibration images "
        f"unless stated otherwise. {machines}. Raw: {raw}."
    )


def _scores(results: Results, name: str, part: str) -> str:
    accuracy = results.rows[name]["accuracy"]
    found = (accuracy[data] for data in (JPEG, EXACT) if data in accuracy)
    return " / ".join(percent(one[part] / one["images"]).removesuffix(" %") for one in found)


def _agreement(results: Results, name: str) -> str:
    return "" if name == "fp32" else _scores(results, name, "agreeing")


def _top1(results: Results, name: str) -> str:
    return _scores(results, name, "correct")


def _logit_error(results: Results, name: str) -> str:
    found = results.rows[name]["accuracy"].get(JPEG)
    return "" if name == "fp32" or found is None else digits(found["logit_error"])


def _frontier_error(results: Results, name: str) -> str:
    text = _logit_error(results, name)
    return f"**{text}**" if name in {row.name for row in unbeaten(results.frontier)} else text


def _cpu(results: Results, name: str) -> str:
    seconds = results.rows[name]["cost"]["cpu_s"]
    return digits(seconds) if seconds else ""


def _memory(results: Results, name: str) -> str:
    return file_size(results.rows[name]["cost"]["peak_rss_bytes"] or None)
