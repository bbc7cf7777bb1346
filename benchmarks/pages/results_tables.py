"""Makes the tables of docs/results.md as Markdown from `benchmarks/results/*.json`; computes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages.markdown import environment, machine, safe, table
from wrn_deploy.bench.report.derived import DerivedRow, LatencySummary
from wrn_deploy.bench.report.ratios import Ratio
from wrn_deploy.bench.report.report import Report, Row, read_report
from wrn_deploy.bench.report.verdicts import Verdict
from wrn_deploy.formatting import count, digits, file_size, one_line, percent
from wrn_deploy.rendering.notes import heading, skips, summary
from wrn_deploy.rendering.remarks import MARKS, warnings
from wrn_deploy.rendering.table import RANDOM_WEIGHTS

__all__ = [
    "CALIBRATED", "DATA", "GRAPHS", "MACHINE", "RESULTS", "bench_file", "bench_table", "calibration_table", "int8_file",
    "paper_table", "steps_table",
]  # fmt: skip

RESULTS, MACHINE = "benchmarks/results", "2core-epyc"
UP = ".."  # from the page to the results
CALIBRATED = ("wrn-16-2", "wrn-40-1")
# The rows of int8-*.json that are shown, and their names here; the others are in docs/explanation/int8.md.
GRAPHS = {
    "fp32": "fp32",
    "ours, default, for TensorRT": "int8 for TensorRT",
    "ours, default, for ONNX Runtime": "int8 for ONNX Runtime",
}
DATA = {"test-exact-1017.npz": "exact test images", "test-jpeg.parquet": "JPEG test images"}
CALIBRATE = re.compile(r"calibrate (\w+), (\d+) images")


def int8_file(root: Path, name: str) -> Path:
    """The file of results called `name` of whatever machine it was measured on; it may be missing.

    Raises:
        ValueError: there are two.
    """
    found = sorted((root / RESULTS).glob(f"{name}-2core-*.json"))
    if len(found) > 1:
        raise ValueError(f"{name} was measured on two machines: {', '.join(file.name for file in found)}; keep one")
    return found[0] if found else root / RESULTS / f"{name}-{MACHINE}.json"


def bench_file(root: Path, model: str) -> Path:
    """The file of a model's benchmark."""
    return root / RESULTS / f"bench-{model}-{MACHINE}.json"


def bench_table(root: Path, model: str, picture: str) -> str:
    """A benchmark: its result in a sentence, its environment, a line per candidate, its picture, what was skipped."""
    file = bench_file(root, model)
    if not file.exists():
        return _missing(root, file)
    report = read_report(file)
    batches = sorted({latency.batch for row in report.rows for latency in row.latencies})
    answers = not report.random_weights and any(row.accuracy is not None for row in report.rows)
    times = [f"batch {batch}, ms" for batch in batches]
    against = f"time / {one_line(report.baseline)}'s at batch {batches[0]}" if report.baseline and batches else ""
    headers = ["candidate", *times, against, *(["top-1", "agreement"] if answers else []), "file", "peak memory"]
    derived = zip(report.rows, report.derived.rows, strict=True)
    lines = [_bench_line(report, row, own, batches, answers=answers) for row, own in derived if row.skipped is None]
    kept = [index for index, header in enumerate(headers) if header and any(line[index] for line in lines)]
    name, data = heading(report)
    rounds = f"{count(report.settings.rounds, 'round')} with the candidates interleaved"
    about = [
        f"**{safe(name)}** on {safe(data)}: {safe(summary(report))}",
        *([f"**{RANDOM_WEIGHTS}.**"] if report.random_weights else []),
        f"Median (min); {safe(report.settings.boundary.meaning)}; {environment(report)}; {rounds}. {_raw(root, file)}",
    ]
    return "\n\n".join(
        block
        for block in (
            "\n".join(about),
            table([headers[index] for index in kept], ([line[index] for index in kept] for line in lines)),
            f"![{safe(name)}: the measured candidates of the table as a picture]({picture})",
            _skipped(report),
            *(f"{MARKS[remark.severity]}: {safe(remark.text)}" for remark in warnings(report)),
        )
        if block
    )


def _skipped(report: Report) -> str:
    """How many candidates could not run; the reasons are in the report."""
    found = sum(len(skip.names) for skip in skips(report))
    return f"{count(found, 'more candidate')} could not run here; the raw file has the reasons." if found else ""


def calibration_table(root: Path) -> str:
    """Right answers of the default int8 graphs and their agreement with fp32, by data set."""
    lines: list[list[str]] = []
    missing, files = [], []
    for model in CALIBRATED:
        file = int8_file(root, f"int8-{model}")
        if not file.exists():
            missing.append(_missing(root, file))
            continue
        record = json.loads(file.read_text(encoding="utf-8"))
        rows = {row["name"]: row["accuracy"] for row in record["models"][model]}
        lines += [[model, shown, *_cells_of_answers(rows[name])] for name, shown in GRAPHS.items() if name in rows]
        files.append(f"[{model}]({UP}/{file.relative_to(root)}): {record['calibration']['images']} calibration images")
    headers = ["network", "graph", *(part for name in DATA.values() for part in (name, "agreement with fp32"))]
    raw = f"Raw: {', '.join(files)}." if files else ""
    return "\n\n".join(filter(None, (table(headers, lines) if lines else "", raw, *missing)))


def steps_table(root: Path) -> str:
    """Time and memory of each step with the ImageNet networks: whole commands, including the start of Python."""
    file = root / RESULTS / f"imagenet-{MACHINE}.json"
    if not file.exists():
        return _missing(root, file)
    record = json.loads(file.read_text(encoding="utf-8"))
    models: dict[str, dict[str, dict[str, Any]]] = {}
    for step in record["steps"]:
        models.setdefault(step["model"], {})[step["step"]] = step
    columns = [_steps_of(steps) for steps in models.values()]
    names = list(dict.fromkeys(name for column in columns for name in column))
    lines = ([name, *(column.get(name, "") for column in columns)] for name in names)
    return f"{table(['', *models], lines)}\n\n{machine(record['machine'])}. {_raw(root, file)}"


def paper_table(root: Path, up: str = UP) -> str:
    """The paper's times beside ours: only the ratio to the first network can be compared; `up` leads to the root."""
    file = root / RESULTS / f"paper-table-{MACHINE}.json"
    if not file.exists():
        return _missing(root, file)
    record = json.loads(file.read_text(encoding="utf-8"))
    first, *_ = (network["paper_ms"] for network in record["networks"])
    lines = [
        [
            network["model"], f"{network['parameters'] / 1e6:.2f} M", f"{network['macs'] / 1e9:.2f} G",
            *_paper_times(network), f"{network['paper_ms'] / first:.2f}",
        ]
        for network in record["networks"]
    ]  # fmt: skip
    (batch,) = record["settings"]["batches"]
    headers = ["network", "parameters", "MACs", f"batch {batch}, ms", "ratio", "the paper's ratio"]
    rounds = f"{count(record['settings']['rounds'], 'round')} with the networks interleaved"
    raw = _raw(root, file, up)
    about = f"{safe(record['candidate'])}, median (min); {machine(record['machine'])}; {rounds}. {raw}"
    return f"{table(headers, lines)}\n\n{about}"


def _paper_times(network: Mapping[str, Any]) -> tuple[str, str]:
    if "skipped" in network:
        return safe(f"skipped: {network['skipped']}"), ""
    times, ratio = network["summary"], network["ratio"]
    return f"{digits(times['median_ms'])} ({digits(times['min_ms'])})", _ratio(Ratio(**ratio)) if ratio else "1"


def _bench_line(report: Report, row: Row, derived: DerivedRow, batches: Sequence[int], *, answers: bool) -> list[str]:
    found = {latency.batch: latency for latency in derived.latencies}
    times = [_time(found.get(batch)) for batch in batches]
    ratio = _verdict(derived.ratios.get(batches[0])) if batches else ""
    against = "1" if ratio == "" and row.name == report.baseline and row.latencies else ratio
    accuracy = row.accuracy
    agreement = "" if accuracy is None or accuracy.agreement is None else percent(accuracy.agreement)
    right = "" if accuracy is None else f"{percent(accuracy.top1)} ({accuracy.correct:,})"
    scores = [right, "reference" if row.name == report.reference else agreement] if answers else []
    return [safe(row.name), *times, against, *scores, file_size(row.size_bytes), file_size(row.peak_rss_bytes)]


def _time(found: LatencySummary | None) -> str:
    return "" if found is None else f"{digits(found.median_ms)} ({digits(found.min_ms)})"


def _verdict(found: Verdict | None) -> str:
    """The ratio with its interval if it may be quoted, else the verdict in words."""
    if found is None or found.ratio is None or found.low is None or found.high is None:
        return "" if found is None else found.words
    return _ratio(Ratio(found.ratio, found.low, found.high))


def _ratio(ratio: Ratio) -> str:
    return f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def _cells_of_answers(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Right answers and agreement, by data set."""
    cells = []
    for name in DATA:
        found = answers.get(name)
        if found is None:
            cells += ["", ""]
            continue
        images = found["images"]
        right = f"{found['correct']:,} of {images:,} = {percent(found['correct'] / images)}"
        cells += [right, percent(found["agreeing"] / images)]
    return cells


def _steps_of(steps: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The cells of one network by line; all calibrations with one method are one line."""
    groups: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    files: dict[str, int] = {}
    for name, step in steps.items():
        match = CALIBRATE.fullmatch(name)
        groups.setdefault(f"calibrate with {match[1]}" if match else name, []).append((match[2] if match else "", step))
        files |= step["files"]
    found = {}
    for name, runs in groups.items():
        images = ", ".join(number for number, _ in runs if number)
        times = ", ".join(f"{run['wall_s']:.1f}" for _, run in runs)
        peak = file_size(max(run["peak_rss_bytes"] for _, run in runs))
        found[f"{name} on {images} images" if images else name] = f"{times} s, {peak}"
    return {**found, **{f"`{name}`": file_size(size) for name, size in files.items() if not name.endswith(".json")}}


def _raw(root: Path, file: Path, up: str = UP) -> str:
    return f"[Raw]({up}/{file.relative_to(root)})."


def _missing(root: Path, file: Path) -> str:
    return f"*Not measured yet: there is no `{file.relative_to(root)}`.*"
