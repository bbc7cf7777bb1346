"""Says what makes a report's numbers doubtful, each remark with how much it matters: the severities of a page."""

from __future__ import annotations

from wrn_deploy.bench.report.environment import Remark, Severity, find_warnings
from wrn_deploy.bench.report.ratios import MIN_ROUNDS
from wrn_deploy.bench.report.report import Report
from wrn_deploy.bench.report.verdicts import BUSY, TAKEN, Conclusion
from wrn_deploy.formatting import count, one_line
from wrn_deploy.rendering.notes import NAMES_SHOWN, compared, summary

__all__ = ["MARKS", "doubts", "headline", "warnings"]

MARKS = {Severity.NOTE: "Note", Severity.CAUTION: "Warning", Severity.DISTRUST: "Do not trust these times"}
SEVEREST = tuple(reversed(Severity))


def warnings(report: Report) -> tuple[Remark, ...]:
    """What makes the numbers doubtful, in sentences, the severest first."""
    machine, found = report.machine, list[Remark]()
    if report.environment is not None:
        known = {remark.text: remark.severity for remark in find_warnings(report.environment, machine.cores)}
        texts = report.environment.warnings
        found += [Remark(known.get(text, Severity.CAUTION), one_line(text)) for text in texts]
    elif report.timed and machine.load_1min > machine.cores:
        load = f"load {machine.load_1min:g} on {count(machine.cores, 'core')} before measuring"
        found.append(Remark(Severity.CAUTION, f"Busy machine: {load}; the times may be too long."))
    for sitting in report.earlier:
        found += [
            Remark(Severity.CAUTION, f"In the session of {one_line(sitting.began)}: {one_line(text)}")
            for text in sitting.environment.warnings
        ]
    found += doubts(report)
    fp32 = report.reference_accuracy
    if fp32 is not None and not fp32.beats_guessing and not report.random_weights:
        right = f"{one_line(report.reference or '')} is correct on {fp32.correct} of {count(fp32.images, 'image')}"
        check = "check the weights, the order of the labels, and the preprocessing"
        found.append(Remark(Severity.CAUTION, f"{right}, not shown to be better than guessing: {check}."))
    invalid = [(row, load) for row in report.rows for load in row.loads if not load.valid]
    for row, run in invalid:
        reason = one_line(run.reason or "it gives no reason").rstrip(".")
        text = f"LoadGen calls {one_line(run.scenario)} of {one_line(row.name)} invalid: {reason}."
        found.append(Remark(Severity.CAUTION, text))
    return tuple(sorted(found, key=lambda remark: SEVEREST.index(remark.severity)))


def headline(report: Report) -> Remark:
    """What the report says first: its summary, or, with DISTRUST, why no time of it is to be trusted."""
    reasons = [remark.text for remark in warnings(report) if remark.severity is Severity.DISTRUST]
    return Remark(Severity.DISTRUST, " ".join(reasons)) if reasons else Remark(Severity.NOTE, summary(report))


def doubts(report: Report) -> tuple[Remark, ...]:
    """Why ratios of times are not quoted or only as bounds, and what else was not quiet while timing, in sentences."""
    if not report.timed:
        return ()
    found, open_ratios, severity = list[Remark](), _open_ratios(report), _of_headline(report)
    for (batch, conclusion, because), names in open_ratios.items():
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        what = "Only a bound of the ratio is quoted" if conclusion is Conclusion.BOUND else "No ratio is quoted"
        since = f", since {one_line(because)}" if because else f", since that needs at least {MIN_ROUNDS} rounds"
        text = f"{what} at batch {batch}{since}: {', '.join([*names][:NAMES_SHOWN])}{more}."
        found.append(Remark(severity if conclusion is Conclusion.TOO_NOISY else Severity.CAUTION, text))
    told = {batch for batch, _, _ in open_ratios}
    timed = [(row, latency) for row in report.rows for latency in row.latencies if latency.batch not in told]
    restless = dict.fromkeys(one_line(row.name) for row, latency in timed if not latency.warm_up.steady)
    if restless:
        found.append(Remark(Severity.CAUTION, f"Times had not settled after warming up: {', '.join(restless)}."))
    for batch in dict.fromkeys(latency.batch for _, latency in timed):
        if (taken := report.taken(batch)) > TAKEN:
            text = f"Other programs used {100 * taken:.0f} % of the CPU time at batch {batch}."
            found.append(Remark(Severity.DISTRUST if taken > BUSY else Severity.CAUTION, text))
    return tuple(found)


def _of_headline(report: Report) -> Severity:
    """What it means that a ratio is too noisy to conclude: nothing is to be trusted if the headline's is."""
    pair = compared(report)
    noisy = pair is not None and pair.lead.conclusion is Conclusion.TOO_NOISY
    return Severity.DISTRUST if noisy else Severity.CAUTION


def _open_ratios(report: Report) -> dict[tuple[int, Conclusion, str], dict[str, None]]:
    """The rows whose time over the baseline's does not hold, and pairs with the lowest median, by the reason."""
    ranking = report.derived.ranking
    verdicts = [(batch, row.row, one) for row in report.derived.rows for batch, one in row.ratios.items()]
    verdicts += [
        (one.latency.batch, f"{ranking[0].row.name} against {one.row.name}", one.lead)
        for one in ranking
        if one.row.name != report.baseline
    ]
    found: dict[tuple[int, Conclusion, str], dict[str, None]] = {}
    for batch, name, verdict in sorted(verdicts, key=lambda found: found[0]):
        if verdict is not None and not verdict.holds:
            key = (batch, verdict.conclusion, verdict.because or "")
            found.setdefault(key, {})[one_line(name)] = None
    return found
