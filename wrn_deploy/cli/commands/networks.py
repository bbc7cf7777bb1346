"""The commands that make a network and its bundle: models, doctor, train, export; at most 15 lines each."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from wrn_deploy.cli import options as opt
from wrn_deploy.cli import show
from wrn_deploy.cli.commands.app import app, new_progress
from wrn_deploy.cli.options import flag, option
from wrn_deploy.pipeline.doctor import diagnose
from wrn_deploy.pipeline.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.listing import list_models
from wrn_deploy.pipeline.train import TrainOptions, train_model
from wrn_deploy.training.recipe import Recipe

__all__ = ["doctor", "export", "models", "train"]


@app.command()
def models(as_json: opt.AsJson = False) -> None:
    """List the networks: input, parameters, multiply-accumulates."""
    show.show_models(list_models(), as_json=as_json)


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
    epochs: Annotated[int, option("N", "Passes over the data.", opt.RECIPE, least=1)] = 200,
    batch_size: Annotated[int, option("N", "Images a step.", opt.RECIPE, least=2)] = 128,
    lr: Annotated[float, option("X", "Learning rate; x 0.2 at 30, 60 and 80 % of the epochs.", opt.RECIPE)] = 0.1,
    weight_decay: Annotated[float, option("X", "L2 penalty on the weights.", opt.RECIPE)] = 5e-4,
    dropout: Annotated[float, option("X", "Probability, between the convolutions of a block.", opt.RECIPE)] = 0.0,
    mirror: Annotated[bool, option("", "Mirror half of the images, where the data allows it.", opt.RECIPE)] = True,
    shift: Annotated[int, option("N", "Shift images by up to so many pixels.", opt.RECIPE, least=0)] = 4,
    seed: Annotated[int, option("N", "Of weights, order and augmentation.", opt.RECIPE, least=0)] = 0,
    classes: opt.Classes = None,
    labels: opt.Labels = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    resize: opt.Resize = None,
    as_json: opt.AsJson = False,
) -> None:
    """Train a network with the WRN paper's recipe."""
    changes = opt.overrides_of(classes, labels, mean, std, resize)
    recipe = Recipe(epochs, batch_size, lr, weight_decay=weight_decay, shift=shift, mirror=mirror, seed=seed)
    options = TrainOptions(model, data, out, recipe, test_data, dataclasses.replace(changes, dropout=dropout), resume)
    result = train_model(options, new_progress())
    show.show_training(result, as_json=as_json)


@app.command()
def export(
    model: opt.Model,
    out: Annotated[Path, option("BUNDLE", "Folder for the bundle.")],
    weights: Annotated[Path | None, option("FILE", ".safetensors or .pth state dict; code in it is never run.")] = None,
    random_weights: Annotated[
        bool, flag("--random-weights", "For speed work only: marks the bundle and all reports.")
    ] = False,
    seed: Annotated[int, option("N", "Of the random weights.", least=0)] = 0,
    bf16: Annotated[bool, flag("--bf16", "Write a bf16 graph too; experimental.")] = False,
    pixels: opt.Pixels = False,
    top_k: opt.TopK = None,
    features: opt.Features = False,
    classes: opt.Classes = None,
    labels: opt.Labels = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    resize: opt.Resize = None,
    as_json: opt.AsJson = False,
) -> None:
    """Make a bundle: fp32 and fp16 ONNX graphs, checked against PyTorch."""
    changes = opt.overrides_of(classes, labels, mean, std, resize)
    options = ExportOptions(model, out, weights, random_weights, seed, changes, bf16, pixels, top_k, features)
    bundle = export_bundle(options, new_progress())
    graphs = ("onnx-fp32", "onnx-fp16", *(("onnx-bf16",) if bf16 else ()))
    show.show_artifacts(bundle, ("weights", *graphs), as_json=as_json)
