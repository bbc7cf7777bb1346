"""The commands that make a network and its bundle: models, doctor, train, export; at most 15 lines each."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.cli.commands.app import app, new_progress
from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options import training as train_opt
from wrn_deploy.cli.options.shared import flag, option
from wrn_deploy.cli.show import tables as show
from wrn_deploy.cli.show.models import show_model, show_models
from wrn_deploy.pipeline.inspection.doctor import diagnose
from wrn_deploy.pipeline.networks.catalogue import list_models, list_network
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.training.spec import plan_training
from wrn_deploy.pipeline.training.train import TrainOptions, train_model
from wrn_deploy.training.execution.options import Execution
from wrn_deploy.training.recipes import DEFAULT

__all__ = ["doctor", "export", "models", "train"]


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="One in detail; all if not given.")] = None,
    as_json: opt.AsJson = False,
) -> None:
    """List the networks: parameters, MACs, published accuracy, weights known by name."""
    if name is None:
        show_models(list_models(), as_json=as_json)
    else:
        show_model(list_network(name), as_json=as_json)


@app.command()
def doctor(as_json: opt.AsJson = False) -> None:
    """Show what this machine has, and which steps it can do."""
    show.show_diagnosis(diagnose(), as_json=as_json)


@app.command()
def train(
    model: opt.Model,
    out: Annotated[Path, option("FOLDER", "For weights, checkpoint and log.")],
    data: opt.Data = "digits",
    test_data: Annotated[str | None, option("DATA", "Images to test on, if not the data's own test images.")] = None,
    resume: Annotated[bool, flag("--resume", "Go on with the run in FOLDER, after its last whole epoch.")] = False,
    recipe: train_opt.RecipeName = DEFAULT,
    epochs: train_opt.Epochs = None,
    batch_size: train_opt.BatchSize = None,
    lr: train_opt.LearningRate = None,
    momentum: train_opt.Momentum = None,
    weight_decay: train_opt.WeightDecay = None,
    decay_norms: train_opt.DecayNorms = None,
    label_smoothing: train_opt.LabelSmoothing = None,
    warm_up: train_opt.WarmUp = None,
    dropout: train_opt.Dropout = None,
    mirror: train_opt.Mirror = None,
    shift: train_opt.Shift = None,
    whiten: train_opt.Whiten = False,
    seed: Annotated[int, option("N", "Of weights, order and augmentation.", opt.RECIPE, least=0)] = 0,
    device: train_opt.OnDevice = None,
    amp: train_opt.Precision = None,
    compiled: train_opt.Compiled = False,
    channels_last: train_opt.ChannelsLast = True,
    checkpointing: train_opt.Checkpointing = False,
    accumulate: train_opt.Accumulate = 1,
    sync_bn: train_opt.SyncNorms = True,
    deterministic: train_opt.Deterministic = True,
    workers: opt.Workers = None,
    max_corrupt: opt.MaxCorrupt = "0",
    classes: opt.Classes = None,
    labels: opt.Labels = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    resize: opt.Resize = None,
    as_json: opt.AsJson = False,
) -> None:
    """Train a network with a recipe: the WRN paper's, or another by name."""
    changes = dataclasses.replace(opt.overrides_of(classes, labels, mean, std, resize), dropout=dropout)
    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": lr, "momentum": momentum, "seed": seed}
    given |= {"weight_decay": weight_decay, "decay_norms": decay_norms, "label_smoothing": label_smoothing}
    plan = plan_training(recipe, {**given, "warm_up": warm_up, "mirror": mirror, "shift": shift}, changes)
    how = Execution(device, amp, channels_last, compiled, checkpointing, accumulate, sync_bn, deterministic)
    allowed = opt.parse_allowance(max_corrupt)
    options = TrainOptions(
        model, data, out, plan.recipe, test_data, plan.overrides, resume, how, allowed, workers, whiten
    )
    result = train_model(options, new_progress())
    show.show_training(result, as_json=as_json)


@app.command()
def export(
    model: opt.Model,
    out: Annotated[Path, option("BUNDLE", "Folder for the bundle.")],
    weights: opt.Weights = None,
    weights_key: opt.WeightsKey = "",
    random_weights: Annotated[
        bool, flag("--random-weights", "For speed work only: marks the bundle and all reports.")
    ] = False,
    seed: Annotated[int, option("N", "Of the random weights.", least=0)] = 0,
    bf16: Annotated[bool, flag("--bf16", "Write a bf16 graph too; experimental.")] = False,
    pixels: opt.Pixels = False,
    top_k: opt.TopK = None,
    features: opt.Features = False,
    feature_maps: opt.FeatureMaps = False,
    classes: opt.Classes = None,
    labels: opt.Labels = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    resize: opt.Resize = None,
    as_json: opt.AsJson = False,
) -> None:
    """Make a bundle: fp32 and fp16 ONNX graphs, checked against PyTorch."""
    changes = opt.overrides_of(classes, labels, mean, std, resize)
    asked = (changes, bf16, pixels, top_k, features, weights_key, feature_maps)
    options = ExportOptions(model, out, weights, random_weights, seed, *asked)
    bundle = export_bundle(options, new_progress())
    graphs = ("onnx-fp32", "onnx-fp16", *(("onnx-bf16",) if bf16 else ()))
    show.show_artifacts(bundle, ("weights", *graphs), as_json=as_json)
