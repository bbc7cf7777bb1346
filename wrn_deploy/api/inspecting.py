"""What shows how a network, a graph, a plan, a training run or this machine is, as functions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.api.shared import StrPath, member, shown

if TYPE_CHECKING:
    from wrn_deploy.pipeline.inspection.doctor import Diagnosis
    from wrn_deploy.pipeline.inspection.explain import Explanation
    from wrn_deploy.pipeline.inspection.views import BundleView, GraphView, PlanView
    from wrn_deploy.progress import Progress
    from wrn_deploy.rendering.plots.network import Network
    from wrn_deploy.rendering.plots.training_log import Curves
    from wrn_deploy.spec import Precision

__all__ = ["doctor", "explain", "inspect", "plot_model", "plot_training"]


def inspect(path: StrPath, *, progress: Progress | None = None) -> BundleView | GraphView | PlanView:
    """Returns what is in a bundle, an ONNX graph or a plan: `wrn-deploy inspect`. What is stale or damaged is stated.

    Args:
        path: a bundle's folder, an ONNX file, or a plan.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        DeployError: the path is none of these.
        MachineError: a graph is given, and onnx is not installed.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.inspect("bundle").model
        'wrn-10-1'
    """
    from wrn_deploy.pipeline.inspection.inspect import inspect_path

    return inspect_path(Path(path), shown(progress))


def explain(
    a: StrPath,
    b: StrPath,
    *,
    batch: int = 1,
    rounds: int = 10,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Times two graphs or plans of one network layer by layer, with lint's reasons: `wrn-deploy explain`.

    Args:
        a: an ONNX graph, which ONNX Runtime runs on this CPU, or a plan of a bundle, which runs on this GPU.
        b: another one of the same kind.
        batch: images per run.
        rounds: each is three runs of both.
        threads: CPU threads; None: the runtime decides.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        DeployError: unusable files, or of different networks.
        MachineError: onnx or onnxruntime is missing, or there is no GPU for plans.

    Example:
        >>> import wrn_deploy
        >>> found = wrn_deploy.explain("bundle/fp32.onnx", "bundle/int8-onnxruntime.onnx", rounds=3)
        >>> len(found.rows) > 10
        True
    """
    from wrn_deploy.pipeline.inspection.explain import ExplainOptions, TimingOptions
    from wrn_deploy.pipeline.inspection.explain import explain as explain_files

    timing = TimingOptions(batch=batch, rounds=rounds, threads=threads)
    return explain_files(ExplainOptions(a=Path(a), b=Path(b), timing=timing), shown(progress))


def plot_model(
    target: StrPath,
    *,
    out: StrPath | None = None,
    precision: Precision | str | None = None,
    unfold: bool = False,
    progress: Progress | None = None,
) -> Network:
    """Draws a network as SVG, with shapes, costs and precisions: `wrn-deploy plot-model`.

    Args:
        target: a bundle's folder, an ONNX graph, or the name of a network, such as "wrn-16-2".
        out: the SVG file; None: in the bundle's reports, or next to the graph.
        precision: which graph of a bundle; None: fp32.
        unfold: draw every repeated block.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        DeployError: no such target, or a path that is not writable.
        MachineError: onnx, or torch for a network's name, is missing.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.plot_model("bundle", out="model.svg").macs > 10**6
        True
    """
    from wrn_deploy.pipeline.inspection.plots import PlotOptions
    from wrn_deploy.pipeline.inspection.plots import plot_model as draw
    from wrn_deploy.spec import Precision

    options = PlotOptions(
        target=os.fspath(target),
        out=None if out is None else Path(out),
        precision=None if precision is None else member(Precision, precision),
        unfold=unfold,
    )
    return draw(options, shown(progress))


def plot_training(
    runs: Sequence[StrPath], *, out: StrPath | None = None, progress: Progress | None = None
) -> list[Curves]:
    """Draws error, loss and learning rate of training runs as SVG: `wrn-deploy plot-training`.

    Args:
        runs: folders of `train`.
        out: the SVG file; None: training.svg in the first run.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        DeployError: a folder holds no run, or a path that is not writable.

    Example:
        >>> import wrn_deploy
        >>> curves = wrn_deploy.plot_training(["run"], out="training.svg")
        >>> len(curves)
        1
    """
    from wrn_deploy.pipeline.inspection.plots import plot_training as draw

    return draw([Path(run) for run in runs], None if out is None else Path(out), shown(progress))


def doctor() -> Diagnosis:
    """Returns this machine's hardware and packages, and which steps it can run: `wrn-deploy doctor`.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.doctor().steps["run with ONNX Runtime CPU"] is None
        True
    """
    from wrn_deploy.pipeline.inspection.doctor import diagnose

    return diagnose()
