"""The commands that draw: plot-training, plot-model; at most 15 lines each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.cli.commands.app import app, new_progress
from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.shared import flag, option
from wrn_deploy.cli.show.plots import show_curves, show_network
from wrn_deploy.pipeline.inspection.plot_model import PlotOptions, plot_model
from wrn_deploy.pipeline.inspection.plot_training import plot_training
from wrn_deploy.spec import Precision

__all__ = ["plot_model_command", "plot_training_command"]


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


@app.command("plot-model")
def plot_model_command(
    what: Annotated[
        str, typer.Argument(metavar="MODEL", help="A bundle, an ONNX graph, or a network's name, as in wrn-16-2.")
    ],
    precision: Annotated[Precision | None, typer.Option(help="Which graph of a bundle; fp32 if not given.")] = None,
    unfold: Annotated[bool, flag("--unfold", "Draw each of several equal blocks.")] = False,
    out: Annotated[
        Path | None, option("FILE", "For the picture, SVG; in BUNDLE/reports or beside the graph if not given.")
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Draw a network: blocks, layers, skips, shapes, costs, and precisions."""
    network = plot_model(PlotOptions(what, out, precision, unfold), new_progress())
    show_network(network, fold=not unfold, as_json=as_json)
