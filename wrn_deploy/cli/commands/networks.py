"""The commands that make a network and its bundle: demo, models, train, export, deploy, import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.declare import choice, either, flag, one_of, option, takes_groups, values
from wrn_deploy.cli.options.shared import RECIPE
from wrn_deploy.cli.progress import new_progress
from wrn_deploy.spec import Precision
from wrn_deploy.training.execution.options import Amp, Device, ExecutionOptions
from wrn_deploy.training.recipe import DEFAULT, RECIPES

__all__ = ["app"]

INTERFACE = "Interface of the graphs"
WEIGHTS = option("FILE|NAME", "File (its code is never run), or a name such as timm/wide_resnet50_2.racm_in1k.")

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFlags:
    """A recipe by name, and changes to its numbers; None: the recipe's own."""

    PANEL: ClassVar[str] = RECIPE

    recipe: Annotated[str, one_of([*RECIPES], more="; the options below override single values")] = DEFAULT
    epochs: Annotated[int | None, option("N", "Epochs; the learning-rate schedule scales with them.", minimum=1)] = None
    batch_size: Annotated[int | None, option("N", "Images per step, in all processes together.", minimum=2)] = None
    learning_rate: Annotated[
        float | None, option("X", "Initial learning rate; one-cycle: the maximum.", name="--lr")
    ] = None
    momentum: Annotated[float | None, option("X", "Nesterov momentum.")] = None
    weight_decay: Annotated[float | None, option("X", "L2 penalty on the weights.")] = None
    decay_norms: Annotated[bool | None, either("decay-norms", "Apply the L2 penalty to BN and biases too.")] = None
    label_smoothing: Annotated[float | None, option("X", "Label smoothing, from 0 up to 1.")] = None
    warm_up: Annotated[float | None, option("X", "Warm-up of one-cycle, as a fraction of the run.")] = None
    dropout: Annotated[float | None, option("X", "Dropout probability between the convolutions of a block.")] = None
    mirror: Annotated[bool | None, either("mirror", "Mirror half of the images, if the data allows it.")] = None
    shift: Annotated[int | None, option("N", "Shift images by up to N pixels.", minimum=0)] = None
    whiten: Annotated[bool, flag("--whiten", "Whiten images (GCN and ZCA) in the network.")] = False
    seed: Annotated[int, option("N", "Random seed for weights, order and augmentation.", minimum=0)] = 0

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
    channels_last: Annotated[bool, flag("--channels-last/--channels-first", "Memory layout of activations.")] = True
    checkpointing: Annotated[bool, flag("--checkpointing", "Recompute activations to save memory.")] = False
    accumulate: Annotated[int, option("N", "Gradient accumulation: split each batch into N parts.", minimum=1)] = 1
    sync_norms: Annotated[
        bool,
        flag("--sync-bn/--local-bn", "With several processes: BN statistics over the whole batch, or per process."),
    ] = True
    deterministic: Annotated[
        bool, flag("--deterministic/--fastest", "On a GPU: reproducible kernels, or the fastest ones.")
    ] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFlags:
    """The network, its weights, and the bundle for both; the fields are those of `ExportOptions`."""

    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Network, such as wrn-16-2 or wide_resnet50_2; see `wrn-deploy models`. Not needed if the weights "
            "name it.",
        ),
    ] = None
    out: Annotated[Path, option("BUNDLE", "Folder for the bundle.")]
    weights: Annotated[str | None, WEIGHTS] = None
    weights_key: opt.WeightsKey = ""
    replace: Annotated[bool, flag("--replace", "Replace an existing bundle of another network.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFlags(WeightsFlags):
    """What is exported; the fields are those of `ExportOptions`."""

    random_weights: Annotated[
        bool, flag("--random-weights", "For speed tests only; the bundle and all reports say so.")
    ] = False
    seed: Annotated[int, option("N", "Seed for the random weights.", minimum=0)] = 0
    bf16: Annotated[bool, flag("--bf16", "Experimental. Also write a bf16 graph.")] = False
    pixels: Annotated[bool, flag("--pixels", "Graphs take pixels (uint8, NHWC) and normalise them.", INTERFACE)] = False
    top_k: Annotated[
        int | None, option("N", "Graphs output the N best classes instead of all logits.", INTERFACE, minimum=1)
    ] = None
    features: Annotated[bool, flag("--features", "Graphs also output the pooled features.", INTERFACE)] = False
    feature_maps: Annotated[
        bool, flag("--feature-maps", "Graphs also output the last tensor of each resolution.", INTERFACE)
    ] = False


@app.command()
def demo(
    out: Annotated[Path, option("FOLDER", "Folder for the training run, bundle and reports.")] = Path("demo"),
    epochs: Annotated[int, option("N", "Training epochs.", minimum=1)] = 12,
    as_json: opt.AsJson = False,
) -> None:
    """Run the whole pipeline on real handwritten digits: train, export, calibrate, build, bench."""
    from wrn_deploy.cli.show.results import show_report
    from wrn_deploy.pipeline.demo import DemoOptions, run_demo

    report = run_demo(DemoOptions(out=out, epochs=epochs), new_progress())
    show_report(report, as_json=as_json)


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Network to show in detail. Default: list all.")
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """List the networks: parameters, MACs, published accuracy, weights available by name."""
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
    out: Annotated[Path, option("FOLDER", "Folder for the weights, checkpoint and log.")],
    recipe: RecipeFlags,
    execution: ExecutionFlags,
    network: opt.NetworkFlags,
    data: opt.Data = "digits",
    test_data: Annotated[str | None, option("DATA", "Test images. Default: the data's own test split.")] = None,
    resume: Annotated[bool, flag("--resume", "Continue the run in FOLDER after its last complete epoch.")] = False,
    decoding: opt.DecodingFlags,
    dry_run: opt.DryRun = False,
    as_json: opt.AsJson = False,
) -> None:
    """Train a network with the WRN paper's recipe, or another one."""
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
    if dry_run:
        from wrn_deploy.cli.show.forecast import show_forecast
        from wrn_deploy.pipeline.forecast.making import forecast_training

        show_forecast(forecast_training(options), as_json=as_json)
        return
    show_training(train_model(options, new_progress()), as_json=as_json)


@app.command()
@takes_groups
def export(
    flags: ExportFlags, network: opt.NetworkFlags, dry_run: opt.DryRun = False, as_json: opt.AsJson = False
) -> None:
    """Make a bundle: fp32 and fp16 ONNX graphs, checked against PyTorch."""
    from wrn_deploy.cli.show.results import show_artifacts
    from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle

    options = ExportOptions(**values(flags), overrides=network.overrides())
    if dry_run:
        from wrn_deploy.cli.show.forecast import show_forecast
        from wrn_deploy.pipeline.forecast.making import forecast_export

        show_forecast(forecast_export(options), as_json=as_json)
        return
    bundle = export_bundle(options, new_progress())
    graphs = ["onnx-fp32", "onnx-fp16", *(["onnx-bf16"] if flags.bf16 else [])]
    show_artifacts(bundle, ["weights", *graphs], as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployFlags(WeightsFlags):
    """What is deployed, and how its accuracy is judged."""

    weights: Annotated[str, WEIGHTS]
    calib_data: Annotated[str, option("DATA", f"Calibration images, labelled or not: {opt.DATA}.")]
    data: Annotated[str | None, option("DATA", "Labelled images to measure accuracy on. Default: do not measure.")] = (
        None
    )
    int8: Annotated[bool, flag("--int8", "Build and measure int8 only. Default: fp16 and int8.")] = False
    max_drop: Annotated[
        float, option("X", "Exit code 3 if a candidate loses more than X points of top-1 against fp32.", minimum=0)
    ] = 0.5
    limit: opt.Limit = None
    threads: opt.Threads = None


@app.command()
@takes_groups
def deploy(
    flags: DeployFlags,
    calibration: opt.CalibrationFlags,
    network: opt.NetworkFlags,
    decoding: opt.DecodingFlags,
    dry_run: opt.DryRun = False,
    as_json: opt.AsJson = False,
) -> None:
    """Export, calibrate, build and evaluate weights in one step.

    Builds the plans that this machine can build, and skips what is up to date. Exit code 3 if a gate fails: a graph
    that differs from PyTorch, a plan that misses its precision, or too much accuracy lost.
    """
    from wrn_deploy.cli.show.deploy import show_deployment
    from wrn_deploy.pipeline.deploy import PLANS, DeployOptions, check_deployment, deploy_weights
    from wrn_deploy.pipeline.measuring.measure import MeasureOptions
    from wrn_deploy.pipeline.networks.export import ExportOptions

    decoded, threads = decoding.options(), flags.threads
    only = Precision.INT8 if flags.int8 else None
    export_options = ExportOptions(
        model=flags.model,
        out=flags.out,
        weights=flags.weights,
        weights_key=flags.weights_key,
        replace=flags.replace,
        overrides=network.overrides(),
    )
    measure = None
    if flags.data is not None:
        measure = MeasureOptions(data=flags.data, precision=only, limit=flags.limit, threads=threads, **decoded)
    options = DeployOptions(
        export=export_options,
        calibrate=calibration.options(flags.calib_data, threads=threads, **decoded),
        plans=PLANS if only is None else (only,),
        measure=measure,
        max_drop=flags.max_drop,
    )
    if dry_run:
        from wrn_deploy.cli.show.forecast import show_forecast
        from wrn_deploy.pipeline.forecast.making import forecast_deployment

        show_forecast(forecast_deployment(options), as_json=as_json)
        return
    made = deploy_weights(options, new_progress())
    show_deployment(made, as_json=as_json)
    check_deployment(made)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFlags:
    """The file, and what it does not say; the fields are those of `ImportOptions`, but for the parsed ones."""

    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="A convolutional classifier from another tool.")]
    out: Annotated[Path, option("BUNDLE", "Folder for the bundle.")]
    mean: Annotated[str, option("R,G,B", "Normalisation mean of a 0..1 image; 0,0,0 if the graph normalises.")]
    std: Annotated[str, option("R,G,B", "Normalisation std of a 0..1 image; 1,1,1 if the graph normalises.")]
    labels: Annotated[Path | None, option("FILE", "Class names: one per line, or a JSON class index.")] = None
    name: Annotated[str | None, option("NAME", "Name of the network. Default: the file's.")] = None
    resize: Annotated[int | None, option("N", "Resize the shorter side to N pixels before cropping.", minimum=1)] = None
    crop: Annotated[
        int | None, option("N", "Height and width of the input, if the graph does not fix them.", minimum=1)
    ] = None
    interpolation: Annotated[str, one_of(["bilinear", "bicubic"])] = "bilinear"
    replace: Annotated[bool, flag("--replace", "Replace an existing bundle of another network.")] = False


@app.command("import")
@takes_groups
def import_command(flags: ImportFlags, as_json: opt.AsJson = False) -> None:
    """Make a bundle from another tool's ONNX classifier, and check it against the file.

    The graph has one float32 RGB input, NCHW or NHWC, and gives logits or probabilities. A fixed batch becomes dynamic.
    An operator that cannot be taken is named.
    """
    from wrn_deploy.cli.show.results import show_artifacts
    from wrn_deploy.pipeline.networks.importing import ImportOptions, import_onnx
    from wrn_deploy.pipeline.networks.labels import read_labels

    mean, std = opt.parse_three("--mean", flags.mean), opt.parse_three("--std", flags.std)
    labels = read_labels(flags.labels) if flags.labels else ()
    options = ImportOptions(**{**values(flags), "mean": mean, "std": std, "labels": labels})
    show_artifacts(import_onnx(options, new_progress()), ["onnx-fp32", "onnx-fp16"], as_json=as_json)
