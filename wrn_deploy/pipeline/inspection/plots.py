"""Draws a network (a bundle's graph, any ONNX graph, or a network known by name), and the curves of training runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DamagedFile, DeployError, UsageError
from wrn_deploy.manifest import MANIFEST
from wrn_deploy.models import describe_model
from wrn_deploy.pipeline.inspection.diagram import network_of
from wrn_deploy.pipeline.output_files import check_picture, reports_of, write_svg
from wrn_deploy.pipeline.read_graph import read_graph
from wrn_deploy.progress import Progress
from wrn_deploy.rendering.plots.network import Network
from wrn_deploy.rendering.plots.network_svg import draw_network
from wrn_deploy.rendering.plots.training_log import Curves, read_runs
from wrn_deploy.rendering.plots.training_svg import draw_training
from wrn_deploy.spec import Precision

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["PlotOptions", "plot_model", "plot_training"]

EXPECTED = "expected a bundle's folder, an ONNX graph, or the name of a network"
KEYS = {Precision.INT8: "onnx-int8-tensorrt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotOptions:
    """What to draw (a bundle, a graph or a network's name), and where; `precision` chooses a graph of a bundle."""

    target: str
    out: Path | None = None
    precision: Precision | None = None
    unfold: bool = False


def plot_model(options: PlotOptions, progress: Progress) -> Network:
    """Draws a network, and returns what was drawn.

    Raises:
        DeployError: there is no such bundle, graph or network, or the picture cannot be written.
        UsageError: a precision of something that is not a bundle.
        MachineError: torch or onnx is missing.
    """
    path = Path(options.target)
    if options.out is not None:
        check_picture(options.out)  # before the work
    if path.is_dir() or path.name == MANIFEST:
        network, picture = _of_bundle(path if path.is_dir() else path.parent, options)
    elif options.precision is not None:
        raise UsageError(f"--precision {options.precision} with {options.target}: expected it only with a bundle")
    elif path.is_file():
        network, picture = _read(read_graph(path, "drawing a graph", EXPECTED), path.name, ""), path.with_suffix(".svg")
    else:
        network, picture = _of_name(options.target, progress), Path(f"{options.target}.svg")
    out = check_picture(options.out or picture)
    write_svg(draw_network(network, fold=not options.unfold).to_file(), out, progress)
    return network


def plot_training(paths: Sequence[Path], out: Path | None, progress: Progress) -> list[Curves]:
    """Draws the runs (their folders, or logs) in one picture, and returns their curves.

    `out` None: training.svg beside the first run's log.

    Raises:
        DeployError: a log is missing or damaged, or the picture cannot be written.
        UsageError: too many runs for one picture.
    """
    runs = read_runs(paths)
    picture = check_picture(out or runs[0].file.parent / "training.svg")
    write_svg(draw_training(runs).to_file(), picture, progress)
    return runs


def _of_bundle(folder: Path, options: PlotOptions) -> tuple[Network, Path]:
    bundle = Bundle.open(folder)
    precision = options.precision or Precision.FP32
    key = KEYS.get(precision, f"onnx-{precision}")
    file = bundle.file(bundle.find(key))
    network = _read(read_graph(file, "drawing a graph", EXPECTED), bundle.spec.name, precision)
    return network, reports_of(folder) / f"model-{precision}.svg"


def _of_name(name: str, progress: Progress) -> Network:
    if "/" in name or name.endswith(".onnx"):
        raise DeployError(f"{name!r} does not exist: {EXPECTED}, such as wrn-16-2")
    spec = describe_model(name)
    from torch import nn

    from wrn_deploy.export.graph import export_graph
    from wrn_deploy.models import build_model

    with progress.task(f"Exporting {name}, to draw its graph"):
        network = build_model(spec)
        for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
            for values in norm.state_dict().values():  # of equal ones the exporter makes one, and names are lost
                if values.is_floating_point():
                    nn.init.uniform_(values, 0.5, 1.5)
        model = export_graph(network, spec)
    return _read(model, name, "")


def _read(model: ir.Model, name: str, precision: str) -> Network:
    try:
        return network_of(model, name, precision)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise DamagedFile(f"{name} is damaged ({error!r}): {EXPECTED}") from error
