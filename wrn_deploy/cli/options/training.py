"""The options of `train` only: what the recipe's numbers become, and how the run is carried out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from wrn_deploy.cli.options.declare import choice, either, flag, one_of, option
from wrn_deploy.cli.options.shared import RECIPE
from wrn_deploy.training.execution.options import Amp, Device, ExecutionOptions
from wrn_deploy.training.recipe import DEFAULT, RECIPES

__all__ = ["ExecutionFlags", "RecipeFlags"]

EXECUTION = "Execution"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFlags:
    """A recipe by name, and changes to its numbers; None: the recipe's own."""

    recipe: Annotated[str, one_of([*RECIPES], RECIPE, more="; the options below change single values")] = DEFAULT
    epochs: Annotated[
        int | None, option("N", "Passes over the data; steps of the learning rate scale with it.", RECIPE, least=1)
    ] = None
    batch_size: Annotated[int | None, option("N", "Images per step, over all processes.", RECIPE, least=2)] = None
    lr: Annotated[float | None, option("X", "Initial learning rate; one-cycle: the highest.", RECIPE)] = None
    momentum: Annotated[float | None, option("X", "Nesterov momentum.", RECIPE)] = None
    weight_decay: Annotated[float | None, option("X", "L2 penalty on the weights.", RECIPE)] = None
    decay_norms: Annotated[bool | None, either("decay-norms", "L2 penalty on BN and biases too.", RECIPE)] = None
    label_smoothing: Annotated[float | None, option("X", "Fraction of the target spread over all classes.", RECIPE)] = (
        None
    )
    warm_up: Annotated[
        float | None, option("X", "Fraction of the run in which one-cycle's learning rate rises.", RECIPE)
    ] = None
    dropout: Annotated[float | None, option("X", "Probability, between the convolutions of a block.", RECIPE)] = None
    mirror: Annotated[bool | None, either("mirror", "Mirror half of the images, if the data allows it.", RECIPE)] = None
    shift: Annotated[int | None, option("N", "Shift images by up to N pixels.", RECIPE, least=0)] = None
    whiten: Annotated[bool, flag("--whiten", "Whiten images, by GCN and ZCA, in the network.", RECIPE)] = False
    seed: Annotated[int, option("N", "Seed of weights, order and augmentation.", RECIPE, least=0)] = 0

    def changes(self) -> dict[str, Any]:
        """The recipe's numbers by its own names."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.lr,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
            "decay_norms": self.decay_norms,
            "label_smoothing": self.label_smoothing,
            "warm_up": self.warm_up,
            "mirror": self.mirror,
            "shift": self.shift,
            "seed": self.seed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFlags:
    """How the run is carried out."""

    device: Annotated[
        Device | None,
        choice(Device, "Where to train; the GPU by default, if PyTorch sees one:", EXECUTION),
    ] = None
    amp: Annotated[Amp | None, choice(Amp, "Mixed precision; fp32 throughout by default:", EXECUTION)] = None
    compile: Annotated[bool, flag("--compile", "Use torch.compile.", EXECUTION)] = False
    channels_last: Annotated[
        bool, flag("--channels-last/--channels-first", "Order of activations in memory.", EXECUTION)
    ] = True
    checkpointing: Annotated[
        bool, flag("--checkpointing", "Recompute activations to save memory; same result.", EXECUTION)
    ] = False
    accumulate: Annotated[int, option("N", "Split each batch into N parts, to save memory.", EXECUTION, least=1)] = 1
    sync_bn: Annotated[
        bool, flag("--sync-bn/--local-bn", "With several processes: BN over the whole batch, or a share.", EXECUTION)
    ] = True
    deterministic: Annotated[
        bool, flag("--deterministic/--fastest", "On a GPU: exact resumption, or the fastest kernels.", EXECUTION)
    ] = True

    def execution(self) -> ExecutionOptions:
        """How the run is carried out, as training takes it."""
        return ExecutionOptions(
            device=self.device,
            amp=self.amp,
            channels_last=self.channels_last,
            compiled=self.compile,
            checkpointing=self.checkpointing,
            accumulate=self.accumulate,
            sync_norms=self.sync_bn,
            deterministic=self.deterministic,
        )
