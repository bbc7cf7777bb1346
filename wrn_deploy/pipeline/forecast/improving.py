"""Forecasts of the commands that work on a calibrated bundle: bench, tune, finetune."""

from __future__ import annotations

import json
from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.classes import match_classes
from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions, open_finetuning
from wrn_deploy.pipeline.forecast import estimates
from wrn_deploy.pipeline.forecast.forecast import Forecast, Step, forecast
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, check_labelled, examine_candidates
from wrn_deploy.pipeline.tuning.tune import TuneOptions, check_tunable, sample_size

__all__ = ["forecast_bench", "forecast_finetuning", "forecast_tuning"]


def forecast_bench(bundle: Bundle, options: MeasureOptions, reports: Path) -> Forecast:
    """What `bench_bundle` would do, with its candidates; raises as it does before it measures."""
    source = match_classes(open_data(options.data, Role.TEST), bundle.spec)
    check_labelled(source, bundle.spec.classes)
    entries, _ = examine_candidates(bundle, options)
    running = [entry.name for entry in entries if entry.skipped is None]
    images = min(len(source), options.limit or len(source))
    macs = estimates.macs_of_bundle(bundle)
    timed = estimates.timing_time(len(running), len(options.batches), options.duration_s, options.time_limit_s)
    steps = [
        Step(
            name="time",
            about=f"{', '.join(running)} at batches {', '.join(map(str, options.batches))}, {options.rounds} rounds",
            time=timed,
        ),
        *(
            Step(
                name=load.scenario,
                about=f"LoadGen at batch {load.batch}",
                time=estimates.Estimate(
                    seconds=load.seconds * len(running), basis=f"{len(running)} candidates x {load.seconds:g} s"
                ),
            )
            for load in options.loads
        ),
        Step(
            name="accuracy",
            about=f"on {images:,} images",
            time=estimates.evaluation_time(macs, images, len(running)),
        ),
    ]
    return forecast(reports, steps)


def forecast_tuning(bundle: Bundle, options: TuneOptions) -> Forecast:
    """What `tune_bundle` would do; raises as it does before it reads images."""
    check_tunable(bundle, options)
    source = match_classes(open_data(options.data, Role.TEST), bundle.spec)
    images = min(len(source), options.limit or len(source))
    sample = min(sample_size(bundle.spec), images)
    convs, macs = _count_convs(bundle), estimates.macs_of_bundle(bundle)
    graph = bundle.artifacts["onnx-fp32"].size_bytes
    steps = [
        Step(
            name="tune",
            about=f"{convs} Convs on {sample} images, sets of them on {images:,} images of {options.data}",
            up_to_date=None,
            files={"int8-tensorrt.onnx": graph // 2, "int8-untuned.onnx": graph // 4},
            time=estimates.tuning_time(macs, convs, sample, images),
        )
    ]
    return forecast(bundle.folder, steps)


def forecast_finetuning(bundle: Bundle, options: FinetuneOptions) -> Forecast:
    """What `finetune_bundle` would do; raises as it does before it reads images."""
    made, _ = open_finetuning(bundle, options)
    source = open_data(options.data, Role.TRAIN)
    images = min(len(source), options.limit or len(source))
    schedule = options.schedule
    seen = schedule.steps * schedule.batch if options.epochs is None else int(options.epochs * images)
    step = Step(
        name="finetune",
        about=f"{' and '.join(made)} on {images:,} images of {options.data}, {seen:,} images each in all",
        up_to_date=None,
        files={graph.path: graph.size_bytes for graph in made.values()},
        time=estimates.finetuning_time(estimates.macs_of_bundle(bundle), seen * len(made)),
    )
    return forecast(bundle.folder, [step])


def _count_convs(bundle: Bundle) -> int:
    """The Convs that were calibrated: about one for each tensor of the table."""
    table = bundle.artifacts.get("calibration")
    return 0 if table is None else len(json.loads(bundle.file(table).read_text(encoding="utf-8"))["tensors"])
