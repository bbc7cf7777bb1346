"""Describes why two reports may not be compared, and what makes a comparison doubtful, in sentences."""

from __future__ import annotations

from collections.abc import Callable

from wrn_deploy.bench.report.report import Boundary, Report, RowKey
from wrn_deploy.formatting import one_line
from wrn_deploy.rendering.remarks import warnings

__all__ = ["SEPARATE", "comparison_warnings", "obstacles"]

SEPARATE = "A and B are separate runs: the intervals do not cover changes of the machine's load or clock between them."

Facts = dict[str, Callable[[Report], str]]

# What must be the same in both: times in another environment answer another question.
SAME: Facts = {
    "model": lambda report: report.model,
    "weights": lambda report: "random" if report.random_weights else "trained",
    "CPU": lambda report: report.machine.cpu,
    "cores": lambda report: str(report.machine.cores),
    "GPU": lambda report: report.machine.gpu.name if report.machine.gpu else "none",
    "timed section": lambda report: report.settings.boundary.value,
    "threads": lambda report: str(report.settings.threads),
    "streams": lambda report: str(report.settings.streams),
}
# What is often the point of comparing, and belongs beside the result.
OFTEN_THE_POINT: Facts = {
    "Python": lambda report: report.machine.python,
    "system": lambda report: report.machine.system,
    "driver": lambda report: report.machine.gpu.driver if report.machine.gpu else "none",
    "git revision": lambda report: (report.environment.git_revision if report.environment else None) or "not known",
}


def obstacles(before: Report, after: Report, baseline: RowKey | None = None) -> tuple[str, ...]:
    """Why the two may not be compared, as in "other CPU: A and B"; empty: they may."""
    found = _differences(SAME, before, after)
    if before.settings.boundary == after.settings.boundary == Boundary.E2E and before.data_digest != after.data_digest:
        found.append(f"different images, which the timed section decodes: {_images(before)} and {_images(after)}")
    timed = [{row.key for row in report.rows if row.latencies} for report in (before, after)]
    if baseline is not None and not all(baseline in keys for keys in timed):
        found.append(f"the baseline {'-'.join(baseline)} has no times in one of them")
    return tuple(found)


def comparison_warnings(before: Report, after: Report) -> tuple[str, ...]:
    """What else differs, and what makes either report doubtful, in sentences; A is the older report."""
    changed, old, new = _differences(OFTEN_THE_POINT, before, after), before.versions, after.versions
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            changed.append(one_line(f"{name} {old.get(name, 'none')} and {new.get(name, 'none')}"))
    found = [f"Also different: {'; '.join(changed)}."] if changed else []
    measured = {row.key: row.sha256 for row in before.rows if row.skipped is None}
    again = [row for row in after.rows if row.skipped is None and row.key in measured]
    files = [one_line(row.name) for row in again if row.sha256 != measured[row.key]]
    if files:
        found.append(f"Measured from other files: {', '.join(files)}.")
    if before == after:
        found.append("A and B are the same report.")
    elif before.timed and after.timed:
        found.append(SEPARATE)
    found += [f"{name}: {one.text}" for name, report in (("A", before), ("B", after)) for one in warnings(report)]
    return tuple(found)


def _differences(facts: Facts, before: Report, after: Report) -> list[str]:
    values = [(name, one_line(fact(before)), one_line(fact(after))) for name, fact in facts.items()]
    return [f"other {name}: {old} and {new}" for name, old, new in values if old != new]


def _images(report: Report) -> str:
    return one_line(f"{report.data} ({report.data_digest[:12] or 'no digest'})")
