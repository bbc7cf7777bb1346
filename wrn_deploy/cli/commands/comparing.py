"""The command that compares reports: compare; at most 15 lines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.cli.commands.app import app
from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.shared import flag, option
from wrn_deploy.cli.show.compare import show_comparison
from wrn_deploy.pipeline.measuring.compare import Limits, check_comparison, compare_files

__all__ = ["compare"]


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="A.json", help="The report to compare with.")],
    after: Annotated[Path, typer.Argument(metavar="B.json", help="The report that is asked about.")],
    max_regress: Annotated[
        str | None, option("X%", "Exit code 3 if one is shown to take more than so much longer.")
    ] = None,
    max_drop: Annotated[
        float | None, option("X", "Exit code 3 if one loses more points of top-1 on the same images.", least=0)
    ] = None,
    strict: Annotated[
        bool, flag("--strict", "A slower time counts even where the interval does not show it, and a missing row too.")
    ] = False,
    yardstick: Annotated[
        str | None, option("BACKEND-PRECISION", "Divide the times of each round by this contender's first.")
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Compare two reports of bench, with a gate: what is slower, faster, or less accurate."""
    limits = Limits(opt.parse_percent("--max-regress", max_regress), max_drop, strict)
    found, notes = compare_files(before, after, opt.parse_contender(yardstick, "--yardstick"))
    show_comparison(found, notes, as_json=as_json)
    check_comparison(found, limits)
