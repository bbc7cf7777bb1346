"""Prints what `--dry-run` foresees: each step, whether it is up to date, its files, its time and where that is from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from wrn_deploy.cli.show.tables import print_heading, print_json, print_line
from wrn_deploy.formatting import file_size

if TYPE_CHECKING:
    from wrn_deploy.pipeline.forecast.forecast import Forecast, Step

__all__ = ["duration", "show_forecast"]


def show_forecast(found: Forecast, *, as_json: bool) -> None:
    """Prints a forecast, or its JSON."""
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    print_heading(f"dry run in {found.folder}: nothing is written", random_weights=False)
    for step in found.steps:
        print_line(f"  {step.name:<10} {_state(step)}; {step.about}")
        if step.runs:
            if step.files:
                written = ", ".join(f"{name} {file_size(size)}" for name, size in step.files.items())
                print_line(f"  {'':<10} about {written}")
            print_line(f"  {'':<10} {_time(step)}")
    more = f", and the unknown time of {', '.join(found.unknown)}" if found.unknown else ""
    sizes = f"{file_size(found.size_bytes)} to write, {file_size(found.free_bytes)} free"
    print_line(f"  {'all':<10} about {duration(found.seconds)}{more}; {sizes}")


def duration(seconds: float) -> str:
    """A time as people say it: 4 s, 12 min, 3 h; two digits, since it is a guess."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s" if seconds else "0 s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.0f} h"


def _state(step: Step) -> str:
    if step.not_here is not None:
        return f"not here ({step.not_here})"
    if step.up_to_date is None:
        return "runs unless it is up to date"
    return "up to date" if step.up_to_date else "runs"


def _time(step: Step) -> str:
    seconds = step.time.seconds
    if seconds is None:
        return f"time not known: {step.time.basis}"
    return f"about {duration(seconds)}: {step.time.basis}"
