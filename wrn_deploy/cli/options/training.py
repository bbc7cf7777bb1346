"""The options of `train` alone: their types, names and texts."""

from __future__ import annotations

from typing import Annotated

import typer

from wrn_deploy.cli.options.shared import RECIPE, flag, option
from wrn_deploy.plugins import near_names
from wrn_deploy.training.execution.options import Amp, Device
from wrn_deploy.training.recipes import RECIPES

__all__ = [
    "Accumulate", "BatchSize", "ChannelsLast", "Checkpointing", "Compiled", "DecayNorms", "Deterministic", "Dropout",
    "Epochs", "LabelSmoothing", "LearningRate", "Mirror", "Momentum", "OnDevice", "Precision", "RecipeName", "Shift",
    "SyncNorms", "WarmUp", "WeightDecay", "Whiten",
]  # fmt: skip

EXECUTION = "Execution"


def _known(name: str) -> str:
    if name not in RECIPES:
        raise typer.BadParameter(f"{name!r}{near_names(name, [*RECIPES])}; expected one of {', '.join(RECIPES)}.")
    return name


def _either(names: str, about: str, panel: str) -> object:
    return typer.Option(names, metavar="", help=about, rich_help_panel=panel)


RecipeName = Annotated[
    str,
    typer.Option(
        metavar="NAME", callback=_known, rich_help_panel=RECIPE,
        help=f"{', '.join([*RECIPES][:-1])} or {[*RECIPES][-1]}; the options below change single values.",
    ),
]  # fmt: skip
Epochs = Annotated[int | None, option("N", "Passes over the data; drops of the rate move along.", RECIPE, least=1)]
BatchSize = Annotated[int | None, option("N", "Images a step, of all processes together.", RECIPE, least=2)]
LearningRate = Annotated[float | None, option("X", "Learning rate: the first one, or one-cycle's highest.", RECIPE)]
Momentum = Annotated[float | None, option("X", "Nesterov's momentum.", RECIPE)]
WeightDecay = Annotated[float | None, option("X", "L2 penalty on the weights.", RECIPE)]
DecayNorms = Annotated[
    bool | None, _either("--decay-norms/--no-decay-norms", "L2 penalty on BN and biases too.", RECIPE)
]
LabelSmoothing = Annotated[float | None, option("X", "Share of the target that all classes have alike.", RECIPE)]
WarmUp = Annotated[float | None, option("X", "Share of the run in which one-cycle's rate rises.", RECIPE)]
Dropout = Annotated[float | None, option("X", "Probability, between the convolutions of a block.", RECIPE)]
Mirror = Annotated[
    bool | None, _either("--mirror/--no-mirror", "Mirror half of the images, where the data allows it.", RECIPE)
]
Shift = Annotated[int | None, option("N", "Shift images by up to so many pixels.", RECIPE, least=0)]
Whiten = Annotated[bool, flag("--whiten", "Whiten images, by GCN and ZCA, in the network.", rich_help_panel=RECIPE)]

OnDevice = Annotated[
    Device | None, typer.Option(rich_help_panel=EXECUTION, help="Where to train; the GPU if PyTorch sees one.")
]
Precision = Annotated[Amp | None, typer.Option(rich_help_panel=EXECUTION, help="Mixed precision; fp32 if not given.")]
Compiled = Annotated[bool, flag("--compile", "Use torch.compile.", rich_help_panel=EXECUTION)]
ChannelsLast = Annotated[
    bool, _either("--channels-last/--channels-first", "Order of activations in memory.", EXECUTION)
]
Checkpointing = Annotated[
    bool, flag("--checkpointing", "Compute activations again to save memory; same result.", rich_help_panel=EXECUTION)
]
Accumulate = Annotated[int, option("N", "Put each batch through in so many parts, to save memory.", EXECUTION, least=1)]
SyncNorms = Annotated[
    bool, _either("--sync-bn/--local-bn", "With several processes, BN over the whole batch or a share.", EXECUTION)
]
Deterministic = Annotated[
    bool, _either("--deterministic/--fastest", "On a GPU: exact resumption, or the fastest kernels.", EXECUTION)
]
