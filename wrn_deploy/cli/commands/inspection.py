"""The commands that look into what was made: inspect, explain; at most 15 lines each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.cli.commands.app import app, new_progress
from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.shared import option
from wrn_deploy.cli.show.explain import show_explanation
from wrn_deploy.cli.show.inspect import show_inspection
from wrn_deploy.pipeline.inspection.explain import ExplainOptions, Turns
from wrn_deploy.pipeline.inspection.explain import explain as explain_files
from wrn_deploy.pipeline.inspection.inspect import inspect_path

__all__ = ["explain", "inspect"]


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A bundle, an ONNX graph, or a plan.")],
    as_json: opt.AsJson = False,
) -> None:
    """Show what is in a bundle, a graph or a plan: precisions, layers, profiles, sizes."""
    show_inspection(inspect_path(path, new_progress()), as_json=as_json)


@app.command()
def explain(
    a: Annotated[Path, typer.Argument(metavar="A", help="An ONNX graph, or a plan of a bundle.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same network.")],
    batch: Annotated[int, option("N", "Images in a run.", opt.TIMING, least=1)] = 1,
    rounds: Annotated[int, option("N", "Turns of each; three runs in a turn.", opt.TIMING, least=1)] = 10,
    threads: opt.Threads = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show which layers of B are slower or faster than A's, and the lint rules behind it.

    Graphs run in ONNX Runtime on this CPU, plans on this GPU.
    """
    found = explain_files(ExplainOptions(a, b, Turns(batch, rounds, threads)), new_progress())
    show_explanation(found, as_json=as_json)
