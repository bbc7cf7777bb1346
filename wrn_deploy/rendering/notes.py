"""Describes in words a report's numbers, warnings and environment."""

from __future__ import annotations

from dataclasses import dataclass

from wrn_deploy.bench.report.environment import GPU_IDLE, Environment, Snapshot
from wrn_deploy.bench.report.ratios import CONFIDENCE, MIN_ROUNDS
from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import count, digits, file_size, one_line, percent
from wrn_deploy.rendering.table import RANDOM_WEIGHTS, Line, Table

__all__ = ["Skip", "environment", "heading", "machine_state", "notes", "skips", "warnings"]

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


def heading(report: Report) -> tuple[str, str]:
    """The model, and the data with the number of images, as in ("wrn-16-4", "digits, 360 images")."""
    images = max((row.accuracy.images for row in report.rows if row.accuracy is not None), default=None)
    data = report.data if images is None else f"{report.data}, {count(images, 'image')}"
    return one_line(report.model), one_line(data)


def skips(report: Report) -> tuple[Skip, ...]:
    """The skipped rows by reason, in the report's order; files that were built have their size."""
    found: dict[str, list[str]] = {}
    for row in report.rows:
        if row.skipped is not None:
            size = f" (built, {file_size(row.size_bytes)})" if row.size_bytes is not None else ""
            found.setdefault(one_line(row.skipped), []).append(one_line(row.name) + size)
    return tuple(Skip(tuple(names), reason) for reason, names in found.items())


def warnings(report: Report) -> tuple[str, ...]:
    """What makes the numbers doubtful, in sentences."""
    machine, found = report.machine, list[str]()
    if report.environment is not None:
        found += [one_line(warning) for warning in report.environment.warnings]
    elif report.timed and machine.load_1min > machine.cores:
        load = f"load {machine.load_1min:g} on {count(machine.cores, 'core')} before measuring"
        found.append(f"Busy machine: {load}; the times may be too long.")
    restless = [row for row in report.rows if any(not latency.warm_up.steady for latency in row.latencies)]
    if restless:
        found.append(f"Times had not settled after warming up: {', '.join(one_line(row.name) for row in restless)}.")
    invalid = [(row, load) for row in report.rows for load in row.loads if not load.valid]
    for row, run in invalid:
        reason = one_line(run.reason or "it gives no reason").rstrip(".")
        found.append(f"LoadGen calls {one_line(run.scenario)} of {one_line(row.name)} invalid: {reason}.")
    return tuple(found)


def notes(report: Report) -> tuple[str, ...]:
    """The meaning of the columns, and what was left out."""
    found = [f"{RANDOM_WEIGHTS}."] if report.random_weights else []
    if report.timed:
        found.append(f"Timed section: {report.settings.boundary.meaning}; the same for every row.")
        found.append("images/s is images a run / median; 1 MB is 10^6 bytes.")
        if report.baseline is not None:
            found.append(_note_on_ratios(one_line(report.baseline), report.settings.rounds))
    if report.reference is not None:
        name = one_line(report.reference)
        found.append(f"Agreement: the fraction of images with the same top class as {name}.")
        if any(row.accuracy is not None and row.accuracy.max_error is not None for row in report.rows):
            found.append(f"Max and mean error: of the logits, against those of {name}.")
    corrupt = [one_line(name) for name in report.corrupt]
    if corrupt:
        more = f" and {len(corrupt) - NAMES_SHOWN} more" if len(corrupt) > NAMES_SHOWN else ""
        found.append(f"{count(len(corrupt), 'corrupt image')} left out: {', '.join(corrupt[:NAMES_SHOWN])}{more}.")
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


def _note_on_ratios(baseline: str, rounds: int) -> str:
    if rounds < MIN_ROUNDS:
        return f"Ratios to {baseline} need at least {MIN_ROUNDS} rounds; there were {rounds}."
    return (
        f"Time ratio: the median over the rounds of the time over {baseline}'s in the same round, with its bootstrap "
        f"{100 * CONFIDENCE:.0f} % interval; no difference is shown if that holds 1."
    )


def _cpu_time(found: Environment) -> tuple[tuple[str, str], ...]:
    stolen = "" if found.steal is None else f"; {percent(found.steal)} of the time went to other machines"
    return (
        ("CPU limit", _known(found.cpu_limit, "{:g} cores' worth of time")),
        ("Other programs", _known(found.others_cores, "{:.2f} cores' worth of time while measuring") + stolen),
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
