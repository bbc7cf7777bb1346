"""The measured part of docs/reference/models.md: accuracy, latency, the paper's table, from the committed results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.pages.markdown import environment, machine, safe, table
from benchmarks.pages.models_trained import fine_tuned, trained
from benchmarks.pages.results_tables import (
    CALIBRATED,
    DATA,
    GRAPHS,
    MACHINE,
    RESULTS,
    bench_file,
    int8_file,
    paper_table,
)
from wrn_deploy.bench.report.derived import summarize
from wrn_deploy.bench.report.report import Row, read_report
from wrn_deploy.formatting import digits, percent

__all__ = ["measured_sections"]

TIMED = ("wrn-16-2", "wrn-40-1", "wrn-50-2")
UP = "../.."  # from the page to the results


def measured_sections(root: Path) -> list[str]:
    """The sections that have results."""
    sections = (_accuracies(root), fine_tuned(root), _latencies(root), _paper(root), trained(root), _networks(root))
    return [section for section in sections if section]


def _accuracies(root: Path) -> str:
    """Top-1 of real checkpoints, in fp32 and calibrated for int8."""
    lines, raw = [], []
    for model in CALIBRATED:
        file = int8_file(root, f"int8-{model}")
        if not file.exists():
            continue
        record = json.loads(file.read_text(encoding="utf-8"))
        rows = {row["name"]: row["accuracy"] for row in record["models"][model]}
        for data, shown in DATA.items():
            lines.append([f"`{model}`", shown, *(_right(rows.get(name, {}).get(data)) for name in GRAPHS)])
        raw.append(f"[{model}]({UP}/{file.relative_to(root)})")
    if not lines:
        return ""
    about = (
        "CIFAR-10 checkpoints that others trained: the exact test images are the first 1,017 of the official ones, the "
        "JPEG test images all 10,000, compressed with quality 75 by their publisher."
    )
    return (
        f"### Accuracy\n\n{about}\n\n{table(['network', 'images', *GRAPHS.values()], lines)}\n\nRaw: {', '.join(raw)}."
    )


def _right(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    return f"{percent(found['correct'] / found['images'])} ({found['correct']:,} of {found['images']:,})"


def _latencies(root: Path) -> str:
    """Median latency of one image, of each candidate that was measured with every network."""
    files = {model: bench_file(root, model) for model in TIMED}
    reports = {model: read_report(file) for model, file in files.items() if file.exists()}
    if not reports:
        return ""
    rows = {model: {row.name: row for row in report.rows if row.latencies} for model, report in reports.items()}
    first, *others = rows.values()
    shared = [name for name in first if all(name in other for other in others)]
    fastest = {model: min((_median(own[name]), name) for name in shared)[1] for model, own in rows.items()}
    lines = [
        [safe(name), *(_time(own[name], strong=fastest[model] == name) for model, own in rows.items())]
        for name in shared
    ]
    machines = "; ".join(dict.fromkeys(environment(report) for report in reports.values()))
    raw = ", ".join(f"[{model}]({UP}/{files[model].relative_to(root)})" for model in reports)
    marked = [f"`{model}`" for model, report in reports.items() if report.random_weights]
    random = f" {', '.join(marked)}: with random weights; times do not depend on the values." if marked else ""
    times = table(["batch 1, ms", *(f"`{model}`" for model in reports)], lines)
    return (
        "### Latency\n\nMedian milliseconds for one image: inference only, with the input already in place; the "
        f"fastest in bold. {machines}.{random}\n\n{times}\n\nOther batch sizes, intervals, memory and what could "
        f"not run here: [results](../results.md) and {raw}."
    )


def _median(row: Row) -> float:
    return next(summarize(latency).median_ms for latency in row.latencies if latency.batch == 1)


def _time(row: Row, *, strong: bool) -> str:
    text = digits(_median(row))
    return f"**{text}**" if strong else text


def _paper(root: Path) -> str:
    """The paper's table of times, measured again."""
    if not (root / RESULTS / f"paper-table-{MACHINE}.json").exists():
        return ""
    about = "Inference, on another machine than the paper's: only the ratio to ResNet-50 can be compared."
    return f"### The paper's table of times\n\n{about}\n\n{paper_table(root, UP)}"


def _networks(root: Path) -> str:
    """The whole pipeline for every network, with random weights."""
    file = next(iter(sorted((root / RESULTS).glob("networks*.json"))), None)
    if file is None:
        return ""
    record = json.loads(file.read_text(encoding="utf-8"))
    lines = [_whole_way(row) for row in record["networks"] if "error" not in row]
    failed = [f"`{row['network']}` failed: {safe(row['error'])}." for row in record["networks"] if "error" in row]
    headers = ["network", "fp32 error", "fp16 error", "int8 Convs", "cosine of int8", "fp16 plan", "int8 plan"]
    about = (
        "Each listed network with random weights: exported, compared with PyTorch (largest error of a logit over "
        "the largest logit), calibrated, and built with TensorRT-RTX, which proves the share of MACs in the expected "
        "precision. int8 Convs: in TensorRT's graph, of all Convs; the cosine is the minimum over both int8 graphs' "
        "logits compared with fp32's, which is harder with random weights than with trained ones."
    )
    parts = (
        f"### The whole way\n\n{about}",
        table(headers, lines),
        *failed,
        f"{machine(record['machine'])}; {safe(record['calibration'])}. [Raw]({UP}/{file.relative_to(root)}).",
    )
    return "\n\n".join(parts)


def _whole_way(row: Mapping[str, Any]) -> list[str]:
    graph = row["int8"]["onnx-int8-tensorrt"]
    plans = [row["plans"][precision] for precision in ("fp16", "int8")]
    return [
        f"`{row['network']}`",
        *(f"{row['parity'][precision]['error']:.1e}" for precision in ("fp32", "fp16")),
        f"{graph['int8_convs']} of {graph['int8_convs'] + graph['float_convs']}",
        f"{min(graph['cosine'] for graph in row['int8'].values()):.4f}",
        *(f"{percent(plan['share'])}, {plan['size_bytes'] / 1e6:.1f} MB" for plan in plans),
    ]
