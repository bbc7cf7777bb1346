"""The commands that look at what was made, and at this machine: inspect, explain, plot-training, plot-model, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.declare import choice, flag, option
from wrn_deploy.cli.options.shared import TIMING
from wrn_deploy.cli.progress import new_progress
from wrn_deploy.spec import Precision

__all__ = ["app"]

app = typer.Typer()


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A bundle, an ONNX graph, or a plan.")],
    as_json: opt.AsJson = False,
) -> None:
    """Show what is in a bundle, a graph or a plan: precisions, layers, profiles, sizes.

    Exit code 3 if an artifact of the bundle, or the plan, cannot be used: it is missing, damaged or stale.
    """
    from wrn_deploy.cli.show.inspection import show_inspection
    from wrn_deploy.pipeline.inspection.inspect import inspect_path
    from wrn_deploy.pipeline.inspection.views import check_view

    view = inspect_path(path, new_progress())
    show_inspection(view, as_json=as_json)
    check_view(view)


@app.command()
def explain(
    a: Annotated[Path, typer.Argument(metavar="A", help="An ONNX graph, or a plan of a bundle.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another graph or plan of the same network.")],
    batch: Annotated[int, option("N", "Images per run.", TIMING, minimum=1)] = 1,
    rounds: Annotated[int, option("N", "Rounds; each is three runs of A and of B.", TIMING, minimum=1)] = 10,
    threads: opt.Threads = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show which layers of B are slower or faster than A's, and which lint rules explain it.

    Graphs run in ONNX Runtime on this CPU, plans on this GPU.
    """
    from wrn_deploy.cli.show.inspection import show_explanation
    from wrn_deploy.pipeline.inspection.explain import ExplainOptions, TimingOptions
    from wrn_deploy.pipeline.inspection.explain import explain as explain_files

    options = ExplainOptions(a=a, b=b, timing=TimingOptions(batch=batch, rounds=rounds, threads=threads))
    show_explanation(explain_files(options, new_progress()), as_json=as_json)


@app.command("plot-training")
def plot_training_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders from `wrn-deploy train`.")],
    out: Annotated[Path | None, option("FILE", "SVG file to write. Default: training.svg in the first RUN.")] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Draw the curves of training runs: error, loss and learning rate."""
    from wrn_deploy.cli.show.plots import show_curves
    from wrn_deploy.pipeline.inspection.plots import plot_training

    show_curves(plot_training(runs, out, new_progress()), as_json=as_json)


@app.command("plot-model")
def plot_model_command(
    what: Annotated[
        str, typer.Argument(metavar="MODEL", help="A bundle, an ONNX graph, or a network's name, such as wrn-16-2.")
    ],
    precision: Annotated[Precision | None, choice(Precision, "Which graph of a bundle; fp32 by default:")] = None,
    unfold: Annotated[bool, flag("--unfold", "Draw every repeated block.")] = False,
    out: Annotated[
        Path | None, option("FILE", "SVG file to write. Default: in BUNDLE/reports, or next to the graph.")
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Draw a network: blocks, layers, skips, shapes, costs, and precisions."""
    from wrn_deploy.cli.show.plots import show_network
    from wrn_deploy.pipeline.inspection.plots import PlotOptions, plot_model

    network = plot_model(PlotOptions(target=what, out=out, precision=precision, unfold=unfold), new_progress())
    show_network(network, fold=not unfold, as_json=as_json)


@app.command()
def doctor(as_json: opt.AsJson = False) -> None:
    """Show this machine's hardware and packages, and which steps it can run."""
    from wrn_deploy.cli.show.results import show_diagnosis
    from wrn_deploy.pipeline.inspection.doctor import diagnose

    show_diagnosis(diagnose(), as_json=as_json)
