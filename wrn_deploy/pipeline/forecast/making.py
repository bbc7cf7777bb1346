"""Forecasts of the commands that make a network and its bundle: train, export, calibrate, build-engine, deploy."""

from __future__ import annotations

import os
from collections.abc import Iterator

from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.errors import DeployError, MachineError, how_to_install
from wrn_deploy.machine import find_gpu
from wrn_deploy.models.catalog import read_catalog
from wrn_deploy.pipeline.deploy import DeployOptions, check_before
from wrn_deploy.pipeline.engines.build import PLAN_SHARE, BuildOptions, is_built
from wrn_deploy.pipeline.forecast import estimates
from wrn_deploy.pipeline.forecast.forecast import Forecast, Step, forecast
from wrn_deploy.pipeline.networks.checks import EXPORTED_BYTES, check_export, count_parameters
from wrn_deploy.pipeline.networks.export import ExportOptions, is_exported
from wrn_deploy.pipeline.networks.network import published_weights
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, is_calibrated
from wrn_deploy.pipeline.training.train import BEST, STATE, WEIGHTS, TrainOptions, open_images
from wrn_deploy.progress import Silent
from wrn_deploy.spec import Precision

__all__ = ["forecast_build", "forecast_calibration", "forecast_deployment", "forecast_export", "forecast_training"]


def forecast_training(options: TrainOptions) -> Forecast:
    """What `train_model` would do; raises as it does before it trains."""
    train, test = open_images(options)
    model = estimates.macs_of_network(options.model)
    size, epochs = 4 * (count_parameters(options.model, None)), options.recipe.epochs
    on_gpu = find_gpu() is not None and options.execution.device != "cpu"
    step = Step(
        name="train",
        about=f"{options.model} on {len(train):,} images of {train.name}, {epochs} epochs, {len(test):,} test images",
        files={WEIGHTS: size, BEST: size, STATE: 2 * size},
        time=estimates.training_time(model, len(train), epochs, on_gpu=on_gpu),
    )
    return forecast(options.out, [step])


def forecast_export(options: ExportOptions) -> Forecast:
    """What `export_bundle` would do; raises as it does before it exports."""
    return forecast(options.out, [_export(options)])


def forecast_calibration(bundle: Bundle, options: CalibrateOptions) -> Forecast:
    """What `calibrate_bundle` would do; reads the images, to see whether all is up to date."""
    return forecast(bundle.folder, [_calibrate(bundle, options)])


def forecast_build(bundle: Bundle, options: BuildOptions) -> Forecast:
    """What `build_engine` would do; raises as it does before it builds."""
    if options.calibrate is None:
        return forecast(bundle.folder, [_plan_now(bundle, options)])
    calibrated = _calibrate(bundle, options.calibrate)
    after = (
        _plan_now(bundle, options) if calibrated.up_to_date else _plan_later(options, estimates.parameters_in(bundle))
    )
    return forecast(bundle.folder, [calibrated, after])


def forecast_deployment(options: DeployOptions) -> Forecast:
    """What `deploy_weights` would do; raises as it does before it exports."""
    check_before(options)
    export = _export(options.export)
    return forecast(options.export.out, [export, *_after_export(options, export)])


def _after_export(options: DeployOptions, export: Step) -> Iterator[Step]:
    from wrn_deploy.engines.flavor import installed_flavors
    from wrn_deploy.engines.options import EngineOptions

    parameters = sum(export.files.values()) // EXPORTED_BYTES
    bundle = Bundle.open(options.export.out) if export.up_to_date else None
    calibrate = _calibrate(bundle, options.calibrate) if bundle else _calibrate_later(options, parameters)
    yield calibrate
    if not installed_flavors():
        hint = how_to_install("rtx", "tensorrt-rtx")
        yield Step(name="build", about="no plan", not_here=f"no TensorRT is installed: {hint}")
    for flavor in installed_flavors():
        for precision in options.plans:
            build = BuildOptions(precision=precision, engine=EngineOptions(), flavor=flavor)
            known = bundle is not None and (calibrate.up_to_date or precision is not Precision.INT8)
            try:
                yield _plan_now(bundle, build) if bundle is not None and known else _plan_later(build, parameters)
            except MachineError as error:
                yield Step(name="build", about=f"{flavor} {precision} plan", not_here=str(error))
    if options.measure is not None:
        images = len(open_data(options.measure.data, Role.TEST))
        images = min(images, options.measure.limit or images)
        candidates = 2 + 2 * len(options.plans)
        yield Step(
            name="evaluate",
            about=f"accuracy of about {candidates} candidates on {images:,} images",
            time=estimates.evaluation_time(_macs(options, bundle), images, candidates),
        )


def _export(options: ExportOptions) -> Step:
    check_export(options.model, options.weights, options.out, bf16=options.bf16)
    parameters = count_parameters(options.model, options.weights)
    halves = ["fp16", "bf16"] if options.bf16 else ["fp16"]
    graphs = {"fp32.onnx": 4 * parameters, **{f"{name}.onnx": 2 * parameters for name in halves}}
    of = options.model or f"the network of {options.weights}"
    return Step(
        name="export",
        about=f"{of}; fp32 and {' and '.join(halves)} graphs, compared with PyTorch",
        up_to_date=_is_exported(options),
        files={"weights.safetensors": 4 * parameters, **graphs},
        time=estimates.export_time(parameters),
    )


def _is_exported(options: ExportOptions) -> bool:
    """Whether the bundle is there and up to date; of published weights only by name, since nothing is downloaded."""
    try:
        there = Bundle.open(options.out)
    except DeployError:
        return False
    published = None if options.weights is None else published_weights(os.fspath(options.weights), None)
    if published is None:
        return is_exported(options, Silent())
    made = there.artifacts.get("weights")
    return made is not None and made.recipe.options.get("published") == published.name


def _calibrate(bundle: Bundle, options: CalibrateOptions) -> Step:
    images = min(options.size, len(open_data(options.data, Role.TRAIN)))
    parameters = estimates.parameters_in(bundle)
    return Step(
        name="calibrate",
        about=_calibration(options, images),
        up_to_date=is_calibrated(bundle, options, Silent()),
        files=_int8_files(parameters),
        time=estimates.calibration_time(parameters, estimates.macs_of_bundle(bundle), images),
    )


def _calibrate_later(options: DeployOptions, parameters: int) -> Step:
    given = options.calibrate
    images = min(given.size, len(open_data(given.data, Role.TRAIN)))
    return Step(
        name="calibrate",
        about=_calibration(given, images),
        files=_int8_files(parameters),
        time=estimates.calibration_time(parameters, _macs(options, None), images),
    )


def _calibration(options: CalibrateOptions, images: int) -> str:
    return f"method {options.method} on {images} images of {options.data}; int8 graphs"


def _int8_files(parameters: int) -> dict[str, int]:
    return {"int8-tensorrt.onnx": parameters, "int8-onnxruntime.onnx": parameters}


def _plan_now(bundle: Bundle, options: BuildOptions) -> Step:
    done = is_built(bundle, options)
    later = _plan_later(options, estimates.parameters_in(bundle))
    return Step(name=later.name, about=later.about, up_to_date=done, files=later.files, time=later.time)


def _plan_later(options: BuildOptions, parameters: int) -> Step:
    from wrn_deploy.engines.flavor import Flavor, find_flavor

    found = find_flavor(options.flavor)
    size = int(4 * parameters * PLAN_SHARE[options.precision])
    return Step(
        name="build",
        about=f"{options.precision} plan by {found.flavor} {found.version}",
        files={f"{options.precision}-{found.flavor}.plan": size},
        time=estimates.plan_time(parameters, on_gpu=found.flavor is Flavor.TENSORRT),
    )


def _macs(options: DeployOptions, bundle: Bundle | None) -> int | None:
    """The network's MACs; None if neither its bundle nor the list of networks has them."""
    if bundle is not None:
        return estimates.macs_of_bundle(bundle)
    weights = options.export.weights
    source = None if weights is None else published_weights(os.fspath(weights), None)
    listed = read_catalog().get(source.network if source is not None else options.export.model or "")
    return None if listed is None else listed.macs
