"""The tuning step: which Convs cost accuracy in int8, and the fewest MACs in fp16 that keep within a budget."""

from __future__ import annotations

import contextlib
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.bench.report.scores import exceeds
from wrn_deploy.bench.report.tuning import Budget, Tuning, read_tuning
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.cached_batches import CachedBatches
from wrn_deploy.data.classes import match_classes
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.decoding.kept import KeptDecoders
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.data.sampling.subset import even_sample
from wrn_deploy.errors import GateError, UsageError
from wrn_deploy.formatting import describe_loss, digits, percent
from wrn_deploy.machine import package_versions
from wrn_deploy.manifest import Kind, Recipe
from wrn_deploy.pipeline.inference.models import images_together
from wrn_deploy.pipeline.networks.checks import check_bundle_room
from wrn_deploy.pipeline.output_files import write_svg
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.images import check_labels, describe_images, read_images
from wrn_deploy.pipeline.quantization.state import GRAPH, TUNE, UNTUNED, find_all_int8, is_finetuned, is_tuned, made_by
from wrn_deploy.pipeline.tuning.graphs import MixedGraphs
from wrn_deploy.pipeline.tuning.scratch_copy import WithoutNotes, copy_new, scratch_copy
from wrn_deploy.pipeline.tuning.tuner import Tuner
from wrn_deploy.progress import Progress
from wrn_deploy.rendering.pictures.tuning import draw_tuning
from wrn_deploy.spec import ModelSpec, Precision

__all__ = ["TuneOptions", "check_tunable", "check_tuning", "sample_size", "tune_bundle", "write_picture"]

RECORD = "tuning"
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "numpy")
TUNED_SHARE = 1.2  # of the fp32 graph's size: a mixed graph, half of it at most, the one from before, new int8 graphs
SAMPLE = 128  # images for the cost of a layer: the ranks correlate to 0.96 to 0.99 with those of 256
SAMPLE_PIXELS, MIN_SAMPLE = 2**21, 32  # of larger images fewer, 41 of 224x224: 41 of 32x32 still correlate to 0.95
SAMPLE_TOGETHER = 16  # at a time: more take more memory, and no less time (measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions:
    """The budget, the labelled images to measure it on, and how to calibrate.

    Attributes:
        data: images with labels.
        max_drop: how many points of top-1 may be lost against fp32.
        min_agreement: how many images must keep fp32's argmax, in percent.
        calibrate: how to calibrate first (None: use the bundle's own table).
        threads: CPU threads (None: one per core).
        limit: use the first `limit` images of `data` (None: all).
        max_corrupt: how many corrupt images may be left out.
        workers: decoding processes (None: one per core where images are resized).
    """

    data: str
    max_drop: float | None = None
    min_agreement: float | None = None
    calibrate: CalibrateOptions | None = None
    threads: int | None = None
    limit: int | None = None
    max_corrupt: MaxCorrupt = 0
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.max_drop is None and self.min_agreement is None:
            raise UsageError("no budget: expected --max-drop X, in points of top-1, or --min-agreement X, in percent")
        if self.max_drop is not None and not 0.0 <= self.max_drop < math.inf:
            raise UsageError(f"--max-drop {self.max_drop}: expected at least 0 points of top-1, such as 0.1")
        if self.min_agreement is not None and not 0.0 <= self.min_agreement <= 100.0:
            raise UsageError(f"--min-agreement {self.min_agreement}: expected 0 to 100 percent, such as 99.5")


def tune_bundle(bundle: Bundle, options: TuneOptions, progress: Progress) -> Tuning:
    """Writes the int8 graph for TensorRT with the fewest MACs in fp16 that meets the budget; returns every trial.

    If no trial meets it (`chosen` is None), the bundle stays as it was, without the new calibration. Images are decoded
    once, and kept up to `data.cached_batches.CACHE_BYTES` each for the labelled ones and the sample.

    Example:
        >>> from pathlib import Path
        >>> from wrn_deploy.bundle import Bundle
        >>> from wrn_deploy.progress import Silent
        >>> from wrn_deploy.pipeline.tuning.tune import TuneOptions, check_tuning, tune_bundle
        >>> bundle = Bundle.open(Path("bundle"))  # as `calibrate_bundle` leaves it
        >>> tuning = tune_bundle(bundle, TuneOptions(data="digits", max_drop=5.0), Silent())
        >>> check_tuning(tuning)  # raises GateError if no trial met the budget

    Raises:
        UsageError: the bundle is not calibrated, and there is no data to calibrate it on.
        DeployError: the bundle lacks graphs, or images are unreadable or have no labels.
    """
    check_tunable(bundle, options)
    labelled, sample = _images(bundle, options, progress)
    sampled = read_images(sample, progress)
    images = read_images(labelled, progress)
    check_labels(images, bundle.spec.classes, " to measure accuracy")
    asked: dict[str, Any] = {
        "max_drop": options.max_drop,
        "min_agreement": options.min_agreement,
        "labelled": describe_images(images, labelled.source, labels=True),
        "sample": describe_images(sampled, sample.source, labels=False),
    }
    budget = Budget(options.max_drop, options.min_agreement)
    if options.max_drop is not None and exceeds(1, len(images), options.max_drop):
        progress.warn(
            f"one of {len(images)} images is {digits(100 / len(images))} points of top-1, more than --max-drop "
            f"{options.max_drop:g}: no image may be lost; use more images to measure such a drop"
        )
    with contextlib.ExitStack() as stack:
        work = bundle
        if options.calibrate is not None:
            work = stack.enter_context(scratch_copy(bundle))
            _untune(work)
            calibrate_bundle(work, options.calibrate, WithoutNotes(progress))
        base = find_all_int8(work)
        made, tools = base.recipe, package_versions(*PACKAGES)
        recipe = Recipe(parents=made.parents, options={**made.options, TUNE: asked}, tools={**made.tools, **tools})
        if made_by(bundle, GRAPH, recipe) and (there := bundle.current(RECORD, recipe)):
            progress.note(f"{bundle.folder}: the tuned int8 graph is up to date")
            return read_tuning(bundle.file(there))
        graphs = MixedGraphs(work, base)
        tuner = Tuner(graphs=graphs, labelled=labelled, sample=sample, threads=options.threads, progress=progress)
        tuning = tuner.tune(budget)
        if tuning.chosen is not None:
            _write(bundle, graphs, recipe, tuning, progress)
    return tuning


def check_tunable(bundle: Bundle, options: TuneOptions) -> None:
    """Checks what can be refused before images are read; raises as `tune_bundle`."""
    for key in ("onnx-fp32", "onnx-fp16"):
        bundle.find(key)
    if options.calibrate is None:
        find_all_int8(bundle)
    check_bundle_room(bundle, TUNED_SHARE, "tuning")


def sample_size(spec: ModelSpec) -> int:
    """How many images the cost of a layer is measured on."""
    pixels = spec.preprocessing.height * spec.preprocessing.width
    return min(SAMPLE, max(MIN_SAMPLE, SAMPLE_PIXELS // pixels))


def check_tuning(tuning: Tuning) -> None:
    """The gate: raises GateError if no set met the budget."""
    if tuning.chosen is not None:
        return
    fp16 = tuning.trials[-1].score
    if tuning.budget.met(fp16, tuning.reference):
        raise GateError(
            f"{tuning.budget} is met only with every Conv in fp16: expected it to be met with some in int8; use the "
            "fp16 plan (build-engine --fp16), or raise the budget. The bundle is unchanged"
        )
    best = max((trial.score for trial in tuning.trials), key=lambda score: (score.correct, score.same))
    raise GateError(
        f"no set of Convs meets {tuning.budget}: with all of them in fp16 {describe_loss(tuning.drop(fp16))} and "
        f"{percent(fp16.agreement)} agree with fp32, with the best set that was tried "
        f"{describe_loss(tuning.drop(best))}: expected less; raise the budget, or measure on more images. The bundle "
        "is unchanged"
    )


def write_picture(tuning: Tuning, file: Path, progress: Progress) -> None:
    """Draws the frontier as SVG."""
    write_svg(draw_tuning(tuning).to_file(), file, progress)


def _images(bundle: Bundle, options: TuneOptions, progress: Progress) -> tuple[CachedBatches, CachedBatches]:
    """The labelled images, and the sample for the costs of the layers: calibration images if data for them is given.

    Each is decoded once, since every trial reads all of them again. Of image files that are in both, too: the decoders
    keep the sample, which is read first.
    """
    preprocessing, size = bundle.spec.preprocessing, images_together(bundle.spec)
    labelled = match_classes(open_data(options.data, Role.TEST), bundle.spec)
    chosen = labelled if options.calibrate is None else open_data(options.calibrate.data, Role.TRAIN)
    for note in dict.fromkeys((*labelled.notes, *chosen.notes)):
        progress.warn(note)
    corrupt = options.max_corrupt if options.calibrate is None else options.calibrate.max_corrupt
    every = Batches(labelled, preprocessing, size, limit=options.limit, max_corrupt=options.max_corrupt)
    count = sample_size(bundle.spec)
    every.decoders = KeptDecoders(Decoders(choose_workers(options.workers, preprocessing, len(every))), room=count)
    sample = Batches(
        even_sample(chosen, count),
        preprocessing,
        min(size, SAMPLE_TOGETHER),
        max_corrupt=corrupt,
        decoders=every.decoders,
    )
    return CachedBatches(every), CachedBatches(sample)


def _untune(work: Bundle) -> None:
    """Restores the graph with every Conv in int8, so that calibration finds it up to date."""
    tuned, base = work.artifacts.get(GRAPH), work.artifacts.get(UNTUNED)
    if tuned is not None and is_tuned(tuned) and base is not None and work.file(base).is_file():
        with work.transaction() as step:
            shutil.copyfile(work.file(base), step.file(tuned.path))
            step.add(
                GRAPH, kind=base.kind, precision=base.precision, path=tuned.path, recipe=base.recipe, facts=base.facts
            )


def _write(bundle: Bundle, graphs: MixedGraphs, recipe: Recipe, tuning: Tuning, progress: Progress) -> None:
    """Copies new artifacts to the bundle, with the chosen graph, the all-int8 one and the report, all or nothing."""
    work = graphs.bundle
    assert tuning.chosen is not None
    facts = {
        "float_convs": list(tuning.chosen.float_convs),
        "int8_share": tuning.chosen.int8_share,
        "top1": tuning.chosen.score.top1,
        "top1_all_int8": tuning.trials[0].score.top1,
        "top1_fp32": tuning.reference.top1,
    }
    if is_finetuned(bundle.artifacts.get(GRAPH)):
        progress.warn(f"{bundle.folder}: this replaces the fine-tuned int8 graph; run `wrn-deploy finetune` again")
    path, untuned, record = work.artifacts[GRAPH].path, "int8-untuned.onnx", "tuning.json"
    with bundle.transaction() as step:
        copy_new(work, bundle, step, but=(GRAPH, UNTUNED, RECORD))
        graphs.write((), step.file(untuned))
        step.add(UNTUNED, kind=Kind.ONNX, precision=Precision.INT8, path=untuned, recipe=graphs.base.recipe)
        graphs.write(tuning.chosen.float_convs, step.file(path))
        step.add(GRAPH, kind=Kind.ONNX, precision=Precision.INT8, path=path, recipe=recipe, facts=facts)
        step.file(record).write_text(tuning.to_json(), encoding="utf-8")
        step.add(RECORD, kind=Kind.REPORT, precision=Precision.INT8, path=record, recipe=recipe)
