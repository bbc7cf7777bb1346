"""The fine-tuning step: trains the calibrated int8 graphs as they are deployed, and writes those that improve."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.bench.report.finetuning import Finetuned, Finetuning, read_finetuning
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.options import Loss, Schedule
from wrn_deploy.errors import GateError, missing_package
from wrn_deploy.formatting import count, percent
from wrn_deploy.machine import package_versions
from wrn_deploy.manifest import Artifact, Kind, Recipe
from wrn_deploy.pipeline.finetuning.images import FinetuneImages, FinetuneOptions
from wrn_deploy.pipeline.finetuning.judge import Judge, Watcher, check_arithmetic
from wrn_deploy.pipeline.inference.models import images_together
from wrn_deploy.pipeline.networks.checks import check_bundle_room
from wrn_deploy.pipeline.quantization.base_graph import read_equalized, read_unwrapped, unwrapped_file, write_wrapped
from wrn_deploy.pipeline.quantization.overlap import FINETUNING
from wrn_deploy.pipeline.quantization.state import BEFORE, FINETUNE, RECORD, before_finetuning, find_calibrated
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Progress, Silent
from wrn_deploy.runtime.sessions import infer_with, open_session
from wrn_deploy.spec import Precision
from wrn_deploy.version import __version__

if TYPE_CHECKING:
    from wrn_deploy.training.execution.processes import ProcessGroup

__all__ = ["FinetuneOptions", "Loss", "Schedule", "check_finetuning", "finetune_bundle", "open_finetuning"]

PACKAGES = ("torch", "onnxruntime", "onnxruntime-gpu", "numpy")
FILE = "finetuning.json"
FINETUNED_SHARE = 1.1  # of the fp32 graph's size: two int8 graphs, and those from before, a quarter each


def finetune_bundle(bundle: Bundle, options: FinetuneOptions, progress: Progress) -> Finetuning:
    """Trains the bundle's int8 graphs, and writes those that improve on held-out images; returns the measurements.

    The nodes of the graphs stay as they are, including those that `tune` keeps in fp16. The graphs from before are kept
    beside the new ones. If no graph improves, the bundle stays as it was. Each image is decoded once; its
    pixels are kept, up to `data.cached_batches.CACHE_BYTES`, and those of held-out images up to as many bytes again.
    Several processes that torchrun started train together: each takes a part of each batch, and the first one writes.

    Example:
        >>> from pathlib import Path
        >>> from wrn_deploy.bundle import Bundle
        >>> from wrn_deploy.progress import Silent
        >>> from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions, Schedule, finetune_bundle
        >>> bundle = Bundle.open(Path("bundle"))  # as `calibrate_bundle` leaves it
        >>> options = FinetuneOptions(data="digits", schedule=Schedule(steps=5))
        >>> result = finetune_bundle(bundle, options, Silent())  # `check_finetuning(result)` is the gate
        >>> [graph.key for graph in result.graphs]
        ['onnx-int8-tensorrt', 'onnx-int8-onnxruntime']

    Raises:
        UsageError: the bundle is not calibrated.
        DeployError: images are unreadable or lack labels, or the training diverged.
        GateError: a written graph does not compute what was trained.
        MachineError: torch is missing.
    """
    made, images = open_finetuning(bundle, options)
    from wrn_deploy.training.execution.processes import find_processes, lost_is_named

    processes = find_processes(os.environ, on_cpu=True)
    if processes.shard.rank:
        progress = Silent()
    with lost_is_named(processes):
        result = _finetune(bundle, options, progress, made, images, processes)
        processes.close()
    return result


def _finetune(
    bundle: Bundle,
    options: FinetuneOptions,
    progress: Progress,
    made: dict[str, Artifact],
    images: FinetuneImages,
    processes: ProcessGroup,
) -> Finetuning:
    images.read(progress)
    schedule = images.schedule
    asked = {**dataclasses.asdict(schedule), **images.described}
    recipes = {key: _recipe(graph, key, asked) for key, graph in made.items()}
    there = _current(bundle, recipes)
    if there is not None:
        progress.note(f"{bundle.folder}: the fine-tuned int8 graphs are up to date")
        return there
    with _threads(options.threads), scratch_folder() as folder:
        work = _Work(
            bundle=bundle,
            images=images,
            schedule=schedule,
            folder=folder,
            threads=options.threads,
            processes=processes,
        )
        judge = work.judge(progress)
        graphs = tuple(work.train(key, graph, judge, progress) for key, graph in made.items())
        result = Finetuning(
            model=bundle.spec.name,
            random_weights=bundle.random_weights,
            data=asked["train"]["data"],
            images=asked["train"]["images"],
            held_out=asked["held_out"]["data"],
            schedule=dataclasses.asdict(schedule),
            reference=judge.reference,
            graphs=graphs,
        )
        if result.improved and processes.shard.rank == 0:
            _write(work, made, recipes, result)
    for graph in graphs:
        if graph.kept is None and result.improved:
            progress.warn(f"{graph.key} did not improve on the held-out images: it is unchanged")
    return result


def open_finetuning(bundle: Bundle, options: FinetuneOptions) -> tuple[dict[str, Artifact], FinetuneImages]:
    """The graphs to train by artifact key, and the images, not read yet; raises as `finetune_bundle`."""
    if importlib.util.find_spec("torch") is None:
        raise missing_package("torch", "export", "fine-tuning")
    made = {}
    for key in (f"onnx-int8-{target}" for target in options.targets):
        advice = ": fine-tuning starts from a calibrated bundle"
        made[key] = find_calibrated(bundle, "onnx-fp32", key, before_finetuning(bundle, key), advice=advice)
    images = FinetuneImages(bundle.spec, options)
    check_bundle_room(bundle, FINETUNED_SHARE, "fine-tuning")
    return made, images


def check_finetuning(result: Finetuning) -> None:
    """The gate: raises GateError if no graph got better."""
    if result.improved:
        return
    measured = "; ".join(
        f"{graph.key}: loss {graph.before.loss:.4g} before, "
        f"{min((look.standing.loss for look in graph.looks), default=graph.after.loss):.4g} at best, "
        f"{percent(graph.before.agreement)} as fp32 before"
        for graph in result.graphs
    )
    raise GateError(
        f"no graph improved on {result.reference.images} held-out images ({measured}): expected a lower loss and no "
        "fewer correct predictions; calibration may already be as good as it gets; else try more steps, another --lr "
        "or more images. The bundle is unchanged"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """The inputs of training, and the folder for the trained graphs, which have no interface."""

    bundle: Bundle
    images: FinetuneImages
    schedule: Schedule
    folder: Path
    threads: int | None
    processes: ProcessGroup

    def judge(self, progress: Progress) -> Judge:
        """Computes fp32's answers to the held-out images."""
        batches = self.images.judged_by(images_together(self.bundle.spec))
        fp32 = self.bundle.file(self.bundle.find("onnx-fp32"))
        with (
            progress.task(f"Running fp32 on {len(batches)} held-out images", len(batches)) as advance,
            unwrapped_file(fp32, self.bundle.spec) as graph,
        ):
            return Judge(batches, self.schedule.loss, infer_with(open_session(graph, self.threads)), advance)

    def train(self, key: str, made: Artifact, judge: Judge, progress: Progress) -> Finetuned:
        """Trains one graph and writes it to the folder; ONNX Runtime judges it before and after."""
        import onnx_ir as ir

        from wrn_deploy.calib.qat.execute import TorchGraph
        from wrn_deploy.calib.qat.loop import answer_with, finetune_graph

        model = read_unwrapped(self.bundle.file(made))
        fp32 = read_unwrapped(self.bundle.file(self.bundle.find("onnx-fp32")))
        file = self.folder / f"{key}.onnx"
        ir.save(model, file)
        before = judge.judge(self._answer(file, key))
        start = judge.judge(answer_with(TorchGraph(model)))
        title = f"Fine-tuning {key} on {count(len(self.images.train), 'image')}"
        with progress.task(title, self.schedule.steps) as advance:
            watcher = Watcher(key=key, judge=judge, start=start, count=advance)
            batches = self.images.batches(self.schedule)
            finetune_graph(model, fp32, batches, self.schedule, watcher, self.processes)
        watcher.report(progress)
        ir.save(model, file)
        trained, written = answer_with(TorchGraph(model)), self._answer(file, key)
        difference = check_arithmetic(key, trained, written, judge.first_images, file)
        after, kept = judge.judge(self._answer(file, key)), watcher.kept
        if not after.is_better_than(before, by_labels=self.schedule.loss.needs_labels):
            after, kept = before, None
        return Finetuned(
            key=key, before=before, looks=tuple(watcher.looks), kept=kept, after=after, difference=difference
        )

    def _answer(self, file: Path, key: str) -> Any:
        return infer_with(open_session(file, self.threads, fuses_qdq=not key.endswith("-tensorrt")))


def _recipe(made: Artifact, key: str, asked: dict[str, Any]) -> Recipe:
    """The recipe of the graph from before, with that graph and the options of fine-tuning."""
    parents = {**made.recipe.parents, BEFORE[key]: made.sha256}
    tools = {**made.recipe.tools, "wrn-deploy": __version__, **package_versions(*PACKAGES)}
    return Recipe(parents=parents, options={**made.recipe.options, FINETUNE: asked}, tools=tools)


def _record_recipe(recipes: dict[str, Recipe]) -> Recipe:
    """The recipe of the report, from those of all graphs."""
    parents = {BEFORE[key]: recipe.parents[BEFORE[key]] for key, recipe in recipes.items()}
    first = next(iter(recipes.values()))
    return Recipe(
        parents=parents, options={FINETUNE: first.options[FINETUNE], "graphs": list(recipes)}, tools=first.tools
    )


def _current(bundle: Bundle, recipes: dict[str, Recipe]) -> Finetuning | None:
    """The result of the same fine-tuning, if all its graphs are there."""
    record = bundle.current(RECORD, _record_recipe(recipes))
    if record is None:
        return None
    result = read_finetuning(bundle.file(record))
    wanted = {graph.key for graph in result.improved}
    return result if all(bundle.current(key, recipes[key]) is not None for key in wanted) else None


def _write(work: _Work, made: dict[str, Artifact], recipes: dict[str, Recipe], result: Finetuning) -> None:
    """Writes the improved graphs, those from before, the report and the list of images, all or nothing."""
    import onnx_ir as ir

    bundle = work.bundle
    fp32, table = read_equalized(bundle)
    with bundle.transaction() as step:
        for graph in result.improved:
            before, path = made[graph.key], bundle.artifacts[graph.key].path
            kept = path.replace(".onnx", "-ptq.onnx")
            shutil.copyfile(bundle.file(before), step.file(kept))
            step.add(
                BEFORE[graph.key],
                kind=Kind.ONNX,
                precision=Precision.INT8,
                path=kept,
                recipe=before.recipe,
                facts=before.facts,
            )
            trained = ir.load(work.folder / f"{graph.key}.onnx")
            write_wrapped(trained, step.file(path), bundle.spec, fp32=fp32, equalization=table.equalization)
            facts = {
                **before.facts,
                "finetuned_steps": graph.kept,
                "agreement_before": graph.before.agreement,
                "agreement": graph.after.agreement,
                "top1_before": graph.before.top1,
                "top1_finetuned": graph.after.top1,
            }
            step.add(
                graph.key, kind=Kind.ONNX, precision=Precision.INT8, path=path, recipe=recipes[graph.key], facts=facts
            )
        step.file(FILE).write_text(result.to_json(), encoding="utf-8")
        record = step.add(RECORD, kind=Kind.REPORT, precision=Precision.INT8, path=FILE, recipe=_record_recipe(recipes))
        FINETUNING.add(step, record, work.images.trained)


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Sets torch's thread count for the block, then restores it; None: leaves it."""
    import torch

    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
