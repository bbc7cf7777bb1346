"""Describes a report in words: a summary, what was skipped, notes, and the environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wrn_deploy.bench.report.derived import Ranked
from wrn_deploy.bench.report.environment import GPU_IDLE, Environment, Snapshot
from wrn_deploy.bench.report.ratios import CONFIDENCE, MIN_ROUNDS
from wrn_deploy.bench.report.report import SERVED, Report
from wrn_deploy.bench.report.verdicts import Conclusion, Verdict
from wrn_deploy.formatting import count, digits, file_size, multiple, one_line, percent
from wrn_deploy.rendering.table import RANDOM_WEIGHTS, Line, Table

__all__ = [
    "NAMES_SHOWN",
    "Compared",
    "Skip",
    "compared",
    "environment",
    "heading",
    "left_out",
    "machine_state",
    "notes",
    "skips",
    "summary",
]

NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Skip:
    """Candidates that did not run, all for one reason."""

    names: tuple[str, ...]
    reason: str

    @property
    def sentence(self) -> str:
        """As in "TensorRT fp16 (built, 5.50 MB), TensorRT int8 skipped: no GPU"."""
        return f"{', '.join(self.names)} skipped: {self.reason}"


@dataclass(frozen=True, slots=True)
class Compared:
    """The two rows that a report is about: the one with the lowest median, and the one it is compared with.

    The latter is the reference, or the next in the ranking; `lead` is the verdict on the first one's time over its.
    """

    first: Ranked
    other: Ranked
    lead: Verdict


def compared(report: Report) -> Compared | None:
    """The two rows of the headline; None: fewer than two were timed."""
    ranking = report.derived.ranking
    if len(ranking) < 2:
        return None
    other = next((one for one in ranking[1:] if one.row.name == report.reference), ranking[1])
    assert other.lead is not None, "the first row alone has none"
    return Compared(ranking[0], other, other.lead)


def heading(report: Report) -> tuple[str, str]:
    """The model, and the data with the number of images, as in ("wrn-16-4", "digits, 360 images")."""
    images = max((row.accuracy.images for row in report.rows if row.accuracy is not None), default=None)
    data = report.data if images is None else f"{report.data}, {count(images, 'image')}"
    return one_line(report.model), one_line(data)


def summary(report: Report) -> str:
    """As in "ONNX Runtime int8 is the fastest of 3 measured candidates at batch 1: 1.20 ms median, ...".

    One that is not shown to be faster than each other has "the lowest median".
    """
    ranking = report.derived.ranking
    if not ranking:
        return _untimed(report)
    first = ranking[0]
    name, median, batch = one_line(first.row.name), f"{digits(first.latency.median_ms)} ms", first.latency.batch
    pair = compared(report)
    if pair is None:
        return (
            f"{name} is the only candidate measured at batch {batch}: {median} median{_accuracy(report, first, None)}."
        )
    leads = {one.row.name: one.lead for one in ranking if one.lead is not None}
    other, lead = pair.other, pair.lead
    than, theirs = one_line(other.row.name), f"{digits(other.latency.median_ms)} ms"
    among = f"of {len(ranking)} measured candidates at batch {batch}: {median}"
    if lead.conclusion is Conclusion.TOO_NOISY:
        claim = f"Too noisy to conclude: {name} has the lowest median {among} ({than}: {theirs})"
        return f"{claim}{_accuracy(report, first, other)}."
    fastest = all(one.faster for one in leads.values())
    claim = f"{name} is the fastest {among} median, " if fastest else f"{name} has the lowest median {among}, "
    claim += f"{lead.about(than)} ({theirs}{_interval(lead)})"
    for conclusion in (Conclusion.NO_DIFFERENCE, Conclusion.TOO_NOISY):
        alike = [one for one in ranking[1:] if one is not other and leads[one.row.name].conclusion is conclusion]
        if alike:
            claim += f" ({leads[alike[0].row.name].about(_names(alike))})"
    return f"{claim}{_accuracy(report, first, other)}."


def _interval(lead: Verdict) -> str:
    """What the verdict rests on, as in "; 95 % interval 2.0x to 2.2x"; empty: only a bound, or nothing, is quoted."""
    if lead.ratio is None or not lead.faster or lead.low is None or lead.high is None:
        return ""
    return f"; {100 * CONFIDENCE:.0f} % interval {multiple(1 / lead.high)} to {multiple(1 / lead.low)}"


def skips(report: Report) -> tuple[Skip, ...]:
    """The skipped rows by reason, in the report's order; files that were built have their size."""
    found: dict[str, list[str]] = {}
    for row in report.rows:
        if row.skipped is not None:
            size = f" (built, {file_size(row.size_bytes)})" if row.size_bytes is not None else ""
            found.setdefault(one_line(row.skipped), []).append(one_line(row.name) + size)
    return tuple(Skip(tuple(names), reason) for reason, names in found.items())


def left_out(report: Report) -> str | None:
    """The corrupt images that were not measured, by name."""
    corrupt = [one_line(name) for name in report.corrupt]
    if not corrupt:
        return None
    more = f" and {len(corrupt) - NAMES_SHOWN} more" if len(corrupt) > NAMES_SHOWN else ""
    return f"{count(len(corrupt), 'corrupt image')} skipped: {', '.join(corrupt[:NAMES_SHOWN])}{more}."


def notes(report: Report) -> tuple[str, ...]:
    """The meaning of the columns, and what was left out."""
    found = [f"{RANDOM_WEIGHTS}."] if report.random_weights else []
    if report.timed:
        served = any(row.backend == SERVED for row in report.rows)
        which = "but for Triton's, which time the client's round trip" if served else "the same for every row"
        found.append(f"Timed section: {report.settings.boundary.meaning}; {which}.")
        found.append("images/s is images per run / median; 1 MB is 10^6 bytes.")
        if report.earlier:
            found.append(_note_on_sittings(report))
        if report.baseline is not None:
            found.append(_note_on_ratios(one_line(report.baseline), report.settings.rounds))
    if report.reference is not None:
        name = one_line(report.reference)
        found.append(f"Agreement: the fraction of images with the same top class as {name}.")
        if any(row.accuracy is not None and row.accuracy.max_error is not None for row in report.rows):
            found.append(f"Max and mean error: of the logits, against those of {name}.")
    missing = left_out(report)
    if missing is not None:
        found.append(missing)
    logs = [one_line(load.log) for row in report.rows for load in row.loads]
    if logs:
        found.append(f"LoadGen's logs, beside this report: {', '.join(logs)}.")
    return tuple(found)


def environment(report: Report) -> tuple[tuple[str, str], ...]:
    """What was measured, on which machine and with which options, as (name, value)."""
    machine, settings, gpu = report.machine, report.settings, report.machine.gpu
    found = report.environment
    turns = f"{count(settings.rounds, 'round')} of at most {count(settings.iterations, 'iteration')}"
    pairs = (
        ("CPU", f"{machine.cpu}, {count(machine.cores, 'core')}"),
        ("Memory", f"{digits(machine.memory_mib / 1024)} GiB"),
        ("GPU", "none" if gpu is None else f"{gpu.name}, {digits(gpu.memory_mib / 1024)} GiB"),
        ("GPU details", "" if gpu is None else f"compute capability {gpu.compute_capability}, driver {gpu.driver}"),
        ("System", f"{machine.system}, Python {machine.python}"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in sorted(report.versions.items()))),
        ("Git revision", (found.git_revision if found else None) or ""),
        ("Threads", str(settings.threads)),
        ("Streams", str(settings.streams) if settings.streams > 1 else ""),
        ("Boundary", settings.boundary.value if report.timed else ""),
        ("Load", f"{machine.load_1min:g} before measuring (average of one minute)"),
        *(_cpu_time(found) if found else ()),
        ("Samples", f"{turns}, candidates interleaved" if report.timed else ""),
        ("Energy", f"{digits(found.energy_j)} J, the GPU" if found and found.energy_j is not None else ""),
        ("Data", f"{report.data}, digest {report.data_digest[:12]}" if report.data_digest else report.data),
        ("Created", report.created),
    )
    return tuple((name, one_line(value)) for name, value in pairs if value)


def _note_on_sittings(report: Report) -> str:
    """As in "Measured in 2 sittings, since it was interrupted: 12 rounds from 2026-..., the rest up to 2026-..."."""
    parts = [f"{sum(each.rounds.values())} rounds from {one_line(each.began)}" for each in report.earlier]
    total = len(report.earlier) + 1
    return (
        f"Measured in {total} sessions, since it was interrupted: {', '.join(parts)}, the rest up to "
        f"{one_line(report.created)}."
    )


def _note_on_ratios(baseline: str, rounds: int) -> str:
    if rounds < MIN_ROUNDS:
        return f"Ratios to {baseline} need at least {MIN_ROUNDS} rounds; there were {rounds}."
    return (
        f"Time ratio: the median over the rounds of the time over {baseline}'s in the same round, with its bootstrap "
        f"{100 * CONFIDENCE:.0f} % interval; no difference is shown if that contains 1. If the times vary too much, "
        "its end nearest 1 is quoted, or nothing."
    )


def _cpu_time(found: Environment) -> tuple[tuple[str, str], ...]:
    stolen = "" if found.steal is None else f"; {percent(found.steal)} of the time went to other machines"
    return (
        ("CPU limit", _known(found.cpu_limit, "{:g} cores of CPU time")),
        ("Other programs", _known(found.others_cores, "{:.2f} cores used while measuring") + stolen),
    )


def machine_state(report: Report) -> Table | None:
    """The machine before and after measuring; None: not known."""
    if report.environment is None:
        return None
    before, after = _state(report.environment.before), _state(report.environment.after)
    lines = tuple(Line((name, before[name], after[name])) for name in before if before[name] or after[name])
    headers = ("State", "before", "after")
    about = "The machine's state before the first round and after the last."
    shown = Table(name="state", title="Before and after", about=about, headers=headers, lines=lines)
    return shown if lines else None


def _state(snapshot: Snapshot) -> dict[str, str]:
    found = snapshot.throttle_reasons
    reasons = "" if found is None else one_line(", ".join(name for name in found if name != GPU_IDLE)) or "no"
    return {
        "Load (1 minute)": _known(snapshot.load_1min, "{:.2f}"),
        "CPU governor": one_line(snapshot.governor or ""),
        "CPU clock": _known(snapshot.cpu_mhz, "{:.0f} MHz"),
        "CPU clock allowed": _known(snapshot.cpu_max_mhz, "{:.0f} MHz"),
        "GPU clock": _known(snapshot.gpu_mhz, "{:.0f} MHz"),
        "GPU memory clock": _known(snapshot.gpu_memory_mhz, "{:.0f} MHz"),
        "GPU temperature": _known(snapshot.temperature_c, "{:.0f} °C"),
        "GPU power": _known(snapshot.power_w, "{:.0f} W"),
        "GPU throttled": reasons,
    }


def _known(value: float | None, shown: str) -> str:
    return "" if value is None else shown.format(value)


def _names(rows: Sequence[Ranked]) -> str:
    """Up to two names, and the number of others."""
    *names, last = [one_line(one.row.name) for one in rows[:2]] + [f"{len(rows) - 2} more"] * (len(rows) > 2)
    return f"{', '.join(names)} and {last}" if names else last


def _accuracy(report: Report, first: Ranked, other: Ranked | None) -> str:
    if report.random_weights:
        return "; the weights are random, so accuracy means nothing"
    if first.row.accuracy is None:
        return ""
    text = f", with top-1 {percent(first.row.accuracy.top1)}"
    if other is not None and other.row.accuracy is not None:
        text += f" ({one_line(other.row.name)}: {percent(other.row.accuracy.top1)})"
    return text


def _untimed(report: Report) -> str:
    """As in "PyTorch fp32: top-1 93.90 % (955 of 1,017 images), top-5 99.80 %."."""
    answered = [] if report.random_weights else [(row.name, row.accuracy) for row in report.rows if row.accuracy]
    if len(answered) == 1:
        name, found = answered[0]
        top5 = "" if found.top5 is None else f", top-5 {percent(found.top5)}"
        images = f"{found.correct:,} of {found.images:,} images"
        return f"{one_line(name)}: top-1 {percent(found.top1)} ({images}){top5}."
    if answered:
        return f"Top-1: {', '.join(f'{one_line(name)} {percent(found.top1)}' for name, found in answered)}."
    skipped = sum(row.skipped is not None for row in report.rows)
    return f"Nothing was measured{f': {skipped} of {len(report.rows)} candidates skipped' if skipped else ''}."
