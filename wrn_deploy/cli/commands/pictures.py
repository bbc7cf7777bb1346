"""The commands that draw: plot-training, plot-model; at most 15 lines each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.cli import options as opt
from wrn_deploy.cli.commands.app import app, new_progress
from wrn_deploy.cli.options import option
from wrn_deploy.cli.show_plots import show_curves
from wrn_deploy.pipeline.plot_training import plot_training

__all__ = ["plot_training_command"]


@app.command("plot-training")
def plot_training_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that `wrn-deploy train` made.")],
    out: Annotated[
        Path | None, option("FILE", "For the picture, SVG; training.svg in the first RUN if not given.")
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Draw the curves of training runs: error, loss and learning rate."""
    show_curves(plot_training(runs, out, new_progress()), as_json=as_json)
