"""Draws medians over several reports, in the order given: a line a candidate, each named at its end."""

from __future__ import annotations

from collections.abc import Sequence

from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import digits, one_line
from wrn_deploy.rendering.pictures.axis import Axis, rules, scale
from wrn_deploy.rendering.pictures.label_placement import LINE, Label, draw_end_labels
from wrn_deploy.rendering.pictures.svg import WIDE, Picture, mark, path, short, text
from wrn_deploy.spec import Precision

__all__ = ["draw_history", "medians"]

TOP, FOOT = 34.0, 46.0  # pixels: above and below
MIN_HEIGHT = 260.0  # pixels from top to bottom
LOG_FROM = 10.0

Series = dict[int, float]  # a candidate's median in ms by the number of its report, from 0


def medians(reports: Sequence[Report], batch: int) -> dict[str, Series]:
    """The medians of each candidate that two reports or more have timed at the batch size, by its name."""
    found: dict[str, Series] = {}
    for number, report in enumerate(reports):
        for row in report.derived.rows:
            for latency in row.latencies:
                if latency.batch == batch:
                    found.setdefault(one_line(row.row), {})[number] = latency.median_ms
    return {name: series for name, series in found.items() if len(series) > 1}


def draw_history(reports: Sequence[Report], batch: int, width: int) -> Picture | None:
    """The picture of `width` pixels, a place a report; None: no candidate was timed in two reports or more."""
    series = medians(reports, batch)
    if not series:
        return None
    precisions = {one_line(row.name): row.precision for report in reports for row in report.rows}
    wide, bottom = width >= WIDE, TOP + max(MIN_HEIGHT, LINE * len(series))
    x_axis = Axis(0.0, len(reports) - 1.0, 52, width - (236 if wide else 156))
    y_axis = _time_axis([time for times in series.values() for time in times.values()], bottom)
    body = [
        *rules(y_axis, x_axis.start, x_axis.end),
        *scale(x_axis, bottom, width=width, ticks=[(number, str(number + 1)) for number in range(len(reports))]),
        text((x_axis.start + x_axis.end) / 2, bottom + 40, "report", anchor="middle"),
        text(0, 14, y_axis.caption(f"median at batch {batch}, ms")),
    ]
    described, names = [], []
    for name, times in series.items():
        precision: Precision = precisions[name]
        described.append(f"{name}: {', '.join(f'{digits(ms)} ms in report {at + 1}' for at, ms in times.items())}")
        points = [(x_axis.at(number), y_axis.at(ms)) for number, ms in times.items()]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        body.append(path(f"curve {precision}", f"M{line}", described[-1]))
        body += [mark(precision, x, y, described[-1]) for x, y in points]
        names.append(Label(points[-1], short(name, 30 if wide else 17)))
    body += draw_end_labels(names, x_axis.end + 22, y_axis.end, y_axis.start)
    return Picture(
        title=f"Medians at batch {batch} over {len(reports)} reports",
        described="; ".join(described),
        width=width,
        height=bottom + FOOT,
        body=body,
    )


def _time_axis(times: Sequence[float], bottom: float) -> Axis:
    if max(times) > LOG_FROM * min(times):
        return Axis(min(times) / 1.4, max(times) * 1.2, bottom, TOP, log=True)
    return Axis(0.0, max(times) * 1.05, bottom, TOP)
