"""Prints what tuning a plan measured, as a table or as JSON, on stdout."""

from __future__ import annotations

from wrn_deploy.cli.show.tables import new_table, print_heading, print_json_text, print_line, print_table
from wrn_deploy.pipeline.tuning.engine_trials import EngineTuning

__all__ = ["show_engine_tuning"]


def show_engine_tuning(tuning: EngineTuning, *, as_json: bool) -> None:
    """Prints each build with its times, and which one is kept."""
    if as_json:
        print_json_text(tuning.to_json())
        return
    about = f"{tuning.model} {tuning.precision} on {tuning.gpu}, batch {tuning.batch} of {tuning.data}"
    print_heading(about, random_weights=tuning.random_weights)
    right = ("p50 ms", "times as long", "95 % interval", "build s")
    table = new_table("build", *right, "", right=right)
    for index, trial in enumerate(tuning.trials):
        ratio, p50 = tuning.ratio(index), trial.p50_ms
        table.add_row(
            f"{trial}" if index else f"{trial} (existing plan)",
            "" if p50 is None else f"{p50:.3f}",
            "" if ratio is None else f"{ratio.value:.3f}",
            "" if ratio is None else f"{ratio.low:.3f} to {ratio.high:.3f}",
            f"{trial.build_s:.1f}",
            "<- kept" if index == tuning.chosen else trial.skipped or "",
        )
    print_table(table)
    if tuning.chosen == 0:
        print_line("no build is faster than the existing plan, which is kept")
    else:
        print_line(f"kept: {tuning.trials[tuning.chosen]}")
