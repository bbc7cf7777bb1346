"""The commands that make a network and its bundle: demo, models, train, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.declare import flag, option, takes_groups
from wrn_deploy.cli.options.training import ExecutionFlags, RecipeFlags
from wrn_deploy.cli.progress import new_progress

__all__ = ["app"]

INTERFACE = "Interface of the graphs"

app = typer.Typer()


@app.command()
def demo(
    out: Annotated[Path, option("FOLDER", "For training, bundle and reports.")] = Path("demo"),
    epochs: Annotated[int, option("N", "Passes over the data in training.", least=1)] = 12,
    as_json: opt.AsJson = False,
) -> None:
    """Run the whole pipeline on real handwritten digits: train, export, calibrate, build, bench."""
    from wrn_deploy.cli.show.results import show_report
    from wrn_deploy.pipeline.demo import DemoOptions, run_demo

    report = run_demo(DemoOptions(out=out, epochs=epochs), new_progress())
    show_report(report, as_json=as_json)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Show one in detail. Default: all.")] = None,
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
    model: opt.Model,
    out: Annotated[Path, option("FOLDER", "For weights, checkpoint and log.")],
    recipe: RecipeFlags,
    execution: ExecutionFlags,
    network: opt.NetworkFlags,
    data: opt.Data = "digits",
    test_data: Annotated[str | None, option("DATA", "Test images. Default: the data's own.")] = None,
    resume: Annotated[bool, flag("--resume", "Continue the run in FOLDER after its last complete epoch.")] = False,
    workers: opt.Workers = None,
    max_corrupt: opt.MaxCorrupt = "0",
    as_json: opt.AsJson = False,
) -> None:
    """Train a network with a recipe: the WRN paper's, or another by name."""
    from wrn_deploy.cli.show.results import show_training
    from wrn_deploy.data.corrupt import parse_max_corrupt
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
        execution=execution.execution(),
        max_corrupt=parse_max_corrupt(max_corrupt),
        workers=workers,
        whiten=recipe.whiten,
    )
    show_training(train_model(options, new_progress()), as_json=as_json)


@app.command()
@takes_groups
def export(
    model: opt.Model,
    out: Annotated[Path, option("BUNDLE", "Folder for the bundle.")],
    network: opt.NetworkFlags,
    weights: Annotated[
        str | None,
        option("FILE|NAME", "File (its code is never run), or a name as in timm/wide_resnet50_2.racm_in1k."),
    ] = None,
    weights_key: opt.WeightsKey = "",
    random_weights: Annotated[
        bool, flag("--random-weights", "For speed tests only: marks the bundle and all reports.")
    ] = False,
    seed: Annotated[int, option("N", "Seed of the random weights.", least=0)] = 0,
    bf16: Annotated[bool, flag("--bf16", "Experimental. Write a bf16 graph too.")] = False,
    pixels: Annotated[
        bool, flag("--pixels", "Graphs take pixels (uint8, NHWC) and normalise them.", INTERFACE)
    ] = False,
    top_k: Annotated[
        int | None, option("N", "Graphs output the N best classes instead of all logits.", INTERFACE, least=1)
    ] = None,
    features: Annotated[bool, flag("--features", "Graphs output the pooled features too.", INTERFACE)] = False,
    feature_maps: Annotated[
        bool, flag("--feature-maps", "Graphs output the last tensor of each resolution too.", INTERFACE)
    ] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Make a bundle: fp32 and fp16 ONNX graphs, checked against PyTorch."""
    from wrn_deploy.cli.show.results import show_artifacts
    from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle

    options = ExportOptions(
        model=model,
        out=out,
        weights=weights,
        random_weights=random_weights,
        seed=seed,
        overrides=network.overrides(),
        bf16=bf16,
        pixels=pixels,
        top_k=top_k,
        features=features,
        weights_key=weights_key,
        feature_maps=feature_maps,
    )
    bundle = export_bundle(options, new_progress())
    graphs = ["onnx-fp32", "onnx-fp16"] + (["onnx-bf16"] if bf16 else [])
    show_artifacts(bundle, ["weights", *graphs], as_json=as_json)
