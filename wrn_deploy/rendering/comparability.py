"""Says why two reports may not be compared, and what makes a comparison doubtful; sentences from plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wrn_deploy.bench.report.compare import RowKey
from wrn_deploy.bench.report.report import Boundary, Report, Row
from wrn_deploy.formatting import one_line
from wrn_deploy.rendering.notes import warnings

__all__ = ["SEPARATE", "comparison_warnings", "obstacles"]

SEPARATE = "A and B are separate runs: another load or clock of the machine in one of them is not in the intervals."

# What must be the same in both: times under other conditions are answers to other questions.
SAME: dict[str, Callable[[Report], str]] = {
    "model": lambda report: report.model,
    "weights": lambda report: "random" if report.random_weights else "trained",
    "CPU": lambda report: report.machine.cpu,
    "cores": lambda report: str(report.machine.cores),
    "GPU": lambda report: report.machine.gpu.name if report.machine.gpu else "none",
    "timed section": lambda report: report.settings.boundary.value,
    "threads": lambda report: str(report.settings.threads),
    "streams": lambda report: str(report.settings.streams),
}
# What is often the very point of comparing, and belongs beside the result.
OFTEN_THE_POINT: dict[str, Callable[[Report], str]] = {
    "Python": lambda report: report.machine.python,
    "system": lambda report: report.machine.system,
    "driver": lambda report: report.machine.gpu.driver if report.machine.gpu else "none",
    "git revision": lambda report: (report.conditions.git_revision if report.conditions else None) or "not known",
}


def obstacles(before: Report, after: Report, yardstick: RowKey | None = None) -> tuple[str, ...]:
    """Why the two may not be compared, as in "other CPU: A and B"; empty: they may."""
    found = list(_differences(SAME, before, after))
    if before.settings.boundary == after.settings.boundary == Boundary.E2E and before.data_digest != after.data_digest:
        found.append(f"other images, which the timed section decodes: {_images(before)} and {_images(after)}")
    if yardstick is not None and not all(_is_timed(report.rows, yardstick) for report in (before, after)):
        found.append(f"the yardstick {'-'.join(yardstick)} has no times in one of them")
    return tuple(found)


def comparison_warnings(before: Report, after: Report) -> tuple[str, ...]:
    """What else differs, and what makes either report doubtful, in sentences; the older report is A."""
    changed = [*_differences(OFTEN_THE_POINT, before, after), *_versions(before, after)]
    found = [f"Also different: {'; '.join(changed)}."] if changed else []
    files = _changed_files(before.rows, after.rows)
    if files:
        found.append(f"Measured from other files: {', '.join(files)}.")
    if before == after:
        found.append("A and B are the same report.")
    elif before.timed and after.timed:
        found.append(SEPARATE)
    return (*found, *(f"{name}: {warning}" for name, one in (("A", before), ("B", after)) for warning in warnings(one)))


def _differences(facts: dict[str, Callable[[Report], str]], before: Report, after: Report) -> list[str]:
    values = [(name, one_line(fact(before)), one_line(fact(after))) for name, fact in facts.items()]
    return [f"other {name}: {old} and {new}" for name, old, new in values if old != new]


def _versions(before: Report, after: Report) -> list[str]:
    old, new = before.versions, after.versions
    changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    return [one_line(f"{name} {old.get(name, 'none')} and {new.get(name, 'none')}") for name in changed]


def _images(report: Report) -> str:
    return one_line(f"{report.data} ({report.data_digest[:12] or 'no digest'})")


def _is_timed(rows: Sequence[Row], key: RowKey) -> bool:
    return any((row.backend, row.precision) == key and row.latencies for row in rows)


def _changed_files(before: Sequence[Row], after: Sequence[Row]) -> list[str]:
    old = {(row.backend, row.precision): row.sha256 for row in before if row.skipped is None}
    kept = [row for row in after if row.skipped is None and (row.backend, row.precision) in old]
    return [one_line(row.name) for row in kept if row.sha256 != old[row.backend, row.precision]]
