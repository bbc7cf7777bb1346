"""The commands that make a network and its bundle: demo, models, train, export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.declare import choice, either, flag, one_of, option, takes_groups, values
from wrn_deploy.cli.options.shared import RECIPE
from wrn_deploy.cli.progress import new_progress
from wrn_deploy.training.execution.options import Amp, Device, ExecutionOptions
from wrn_deploy.training.recipe import DEFAULT, RECIPES

__all__ = ["app"]

INTERFACE = "Interface of the graphs"

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFlags:
    """A recipe by name, and changes to its numbers; None: the recipe's own."""

    PANEL: ClassVar[str] = RECIPE

    recipe: Annotated[str, one_of([*RECIPES], more="; the options below change single values")] = DEFAULT
    epochs: Annotated[int | None, option("N", "Passes over the data; the schedule scales with it.", minimum=1)] = None
    batch_size: Annotated[int | None, option("N", "Images per step, over all processes.", minimum=2)] = None
    learning_rate: Annotated[float | None, option("X", "Initial learning rate; one-cycle: highest.", name="--lr")] = (
        None
    )
    momentum: Annotated[float | None, option("X", "Nesterov momentum.")] = None
    weight_decay: Annotated[float | None, option("X", "L2 penalty on the weights.")] = None
    decay_norms: Annotated[bool | None, either("decay-norms", "L2 penalty on BN and biases too.")] = None
    label_smoothing: Annotated[float | None, option("X", "Fraction of the target spread over all classes.")] = None
    warm_up: Annotated[float | None, option("X", "Fraction of the run in which one-cycle's rate rises.")] = None
    dropout: Annotated[float | None, option("X", "Probability, between the convolutions of a block.")] = None
    mirror: Annotated[bool | None, either("mirror", "Mirror half of the images, if the data allows it.")] = None
    shift: Annotated[int | None, option("N", "Shift images by up to N pixels.", minimum=0)] = None
    whiten: Annotated[bool, flag("--whiten", "Whiten images, by GCN and ZCA, in the network.")] = False
    seed: Annotated[int, option("N", "Seed of weights, order and augmentation.", minimum=0)] = 0

    def changes(self) -> dict[str, Any]:
        """The recipe's numbers by its own names."""
        return {name: value for name, value in values(self).items() if name not in ("recipe", "dropout", "whiten")}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFlags:
    """How the run is carried out; the fields are those of `ExecutionOptions`."""

    PANEL: ClassVar[str] = "Execution"

    device: Annotated[Device | None, choice(Device, "Where to train; the GPU by default, if PyTorch sees one:")] = None
    amp: Annotated[Amp | None, choice(Amp, "Mixed precision; fp32 throughout by default:")] = None
    compiled: Annotated[bool, flag("--compile", "Use torch.compile.")] = False
    channels_last: Annotated[bool, flag("--channels-last/--channels-first", "Order of activations in memory.")] = True
    checkpointing: Annotated[bool, flag("--checkpointing", "Recompute activations to save memory.")] = False
    accumulate: Annotated[int, option("N", "Split each batch into N parts, to save memory.", minimum=1)] = 1
    sync_norms: Annotated[
        bool, flag("--sync-bn/--local-bn", "With several processes: BN over the whole batch, or each part.")
    ] = True
    deterministic: Annotated[
        bool, flag("--deterministic/--fastest", "On a GPU: exact resumption, or the fastest kernels.")
    ] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFlags:
    """What is exported; the fields are those of `ExportOptions`."""

    model: opt.Model
    out: Annotated[Path, option("BUNDLE", "Folder for the bundle.")]
    weights: Annotated[
        str | None, option("FILE|NAME", "File (its code is never run), or a name as in timm/wide_resnet50_2.racm_in1k.")
    ] = None
    weights_key: opt.WeightsKey = ""
    random_weights: Annotated[
        bool, flag("--random-weights", "For speed tests only: marks the bundle and all reports.")
    ] = False
    seed: Annotated[int, option("N", "Seed of the random weights.", minimum=0)] = 0
    replace: Annotated[bool, flag("--replace", "Replace the bundle of another network.")] = False
    bf16: Annotated[bool, flag("--bf16", "Experimental. Write a bf16 graph too.")] = False
    pixels: Annotated[bool, flag("--pixels", "Graphs take pixels (uint8, NHWC) and normalise them.", INTERFACE)] = False
    top_k: Annotated[
        int | None, option("N", "Graphs output the N best classes instead of all logits.", INTERFACE, minimum=1)
    ] = None
    features: Annotated[bool, flag("--features", "Graphs output the pooled features too.", INTERFACE)] = False
    feature_maps: Annotated[
        bool, flag("--feature-maps", "Graphs output the last tensor of each resolution too.", INTERFACE)
    ] = False


@app.command()
def demo(
    out: Annotated[Path, option("FOLDER", "For training, bundle and reports.")] = Path("demo"),
    epochs: Annotated[int, option("N", "Passes over the data in training.", minimum=1)] = 12,
    as_json: opt.AsJson = False,
) -> None:
    """Run the whole pipeline on real handwritten digits: train, export, calibrate, build, bench."""
    from wrn_deploy.cli.show.results import show_report
    from wrn_deploy.pipeline.demo import DemoOptions, run_demo

    report = run_demo(DemoOptions(out=out, epochs=epochs), new_progress())
    show_report(report, as_json=as_json)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(metavar="MODEL", help="Show one in detail. Default: all.")] = None,
    as_json: opt.AsJson = False,
) -> None:
    """List the networks: parameters, MACs, published accuracy, weights known by name."""
    from wrn_deploy.cli.show.models import show_model, show_models
    from wrn_deploy.models.catalog import list_models, list_network

    if name is None:
        show_models(list_models(), as_json=as_json)
    else:
        show_model(list_network(name), as_json=as_json)


@app.command()
@takes_groups
def train(
    *,
    model: opt.Model,
    out: Annotated[Path, option("FOLDER", "For weights, checkpoint and log.")],
    recipe: RecipeFlags,
    execution: ExecutionFlags,
    network: opt.NetworkFlags,
    data: opt.Data = "digits",
    test_data: Annotated[str | None, option("DATA", "Test images. Default: the data's own.")] = None,
    resume: Annotated[bool, flag("--resume", "Continue the run in FOLDER after its last complete epoch.")] = False,
    decoding: opt.DecodingFlags,
    as_json: opt.AsJson = False,
) -> None:
    """Train a network with a recipe: the WRN paper's, or another by name."""
    from wrn_deploy.cli.show.results import show_training
    from wrn_deploy.pipeline.training.spec import plan_training
    from wrn_deploy.pipeline.training.train import TrainOptions, train_model

    plan = plan_training(recipe.recipe, recipe.changes(), network.overrides(dropout=recipe.dropout))
    options = TrainOptions(
        model=model,
        data=data,
        out=out,
        recipe=plan.recipe,
        test_data=test_data,
        overrides=plan.overrides,
        resume=resume,
        execution=ExecutionOptions(**values(execution)),
        whiten=recipe.whiten,
        **decoding.options(),
    )
    show_training(train_model(options, new_progress()), as_json=as_json)


@app.command()
@takes_groups
def export(flags: ExportFlags, network: opt.NetworkFlags, as_json: opt.AsJson = False) -> None:
    """Make a bundle: fp32 and fp16 ONNX graphs, checked against PyTorch."""
    from wrn_deploy.cli.show.results import show_artifacts
    from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle

    bundle = export_bundle(ExportOptions(**values(flags), overrides=network.overrides()), new_progress())
    graphs = ["onnx-fp32", "onnx-fp16", *(["onnx-bf16"] if flags.bf16 else [])]
    show_artifacts(bundle, ["weights", *graphs], as_json=as_json)
