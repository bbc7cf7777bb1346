"""The fine-tuning step: trains the calibrated int8 graphs as they are deployed, and writes those that got better."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.bench.report.finetuning import Finetuned, Finetuning, Standing, read_finetuning
from wrn_deploy.bundle import Artifact, Bundle, Kind, Recipe
from wrn_deploy.calib.qat.schedule import Loss, Schedule
from wrn_deploy.errors import DeployError, GateError, UsageError, missing_package
from wrn_deploy.machine import package_versions
from wrn_deploy.pipeline.finetuning.images import FinetuneImages, FinetuneOptions
from wrn_deploy.pipeline.finetuning.judge import Judge, Watcher, check_arithmetic
from wrn_deploy.pipeline.quantization.base_graph import core_file, read_core, write_graph
from wrn_deploy.pipeline.quantization.state import BEFORE, OPTION, RECORD, add_trained_images, before_finetuning
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.sessions import infer_with, open_session
from wrn_deploy.spec import Precision
from wrn_deploy.version import __version__

__all__ = ["FinetuneOptions", "Loss", "Schedule", "check_finetuning", "finetune_bundle"]

PACKAGES = ("torch", "onnxruntime", "onnxruntime-gpu", "numpy")
FILE = "finetuning.json"
CHECKED = 64  # images that PyTorch's and ONNX Runtime's arithmetic are compared on


def finetune_bundle(bundle: Bundle, options: FinetuneOptions, progress: Progress) -> Finetuning:
    """Trains the bundle's int8 graphs, and writes those that got better on held-out images; returns what it measured.

    The nodes of the graphs stay as they are, those that `tune` keeps in fp16 too; the graphs of before are kept beside
    them. Where none got better the bundle stays as it was.

    Raises:
        UsageError: the bundle is not calibrated.
        DeployError: images are unreadable or lack labels, or the training diverged.
        GateError: a written graph computes something else than was trained.
        MachineError: torch is missing.
    """
    if importlib.util.find_spec("torch") is None:
        raise missing_package("torch", "export", "fine-tuning")
    made = {f"onnx-int8-{target}": _calibrated(bundle, f"onnx-int8-{target}") for target in options.targets}
    images = FinetuneImages(bundle.spec, options)
    images.read(progress)
    schedule = images.schedule
    told = {**dataclasses.asdict(schedule), **images.described}
    recipes = {key: _recipe(graph, key, told) for key, graph in made.items()}
    there = _current(bundle, recipes)
    if there is not None:
        progress.note(f"{bundle.folder}: the fine-tuned int8 graphs are up to date")
        return there
    with _threads(options.threads), tempfile.TemporaryDirectory(prefix="wrn-deploy-") as folder:
        work = _Work(bundle, images, schedule, Path(folder), options.threads)
        judge = work.judge(progress)
        graphs = tuple(work.train(key, graph, judge, progress) for key, graph in made.items())
        described = images.described
        result = Finetuning(
            model=bundle.spec.name,
            random_weights=bundle.random_weights,
            data=described["train"]["data"],
            images=described["train"]["images"],
            held_out=described["held_out"]["data"],
            schedule=dataclasses.asdict(schedule),
            reference=judge.reference,
            graphs=graphs,
        )
        if result.improved:
            _write(work, made, recipes, result)
    for graph in graphs:
        if graph.kept is None and result.improved:
            progress.warn(f"{graph.key} did not get better on the held-out images: it is as it was")
    return result


def check_finetuning(result: Finetuning) -> None:
    """The gate: raises GateError if no graph got better."""
    if result.improved:
        return
    stood = "; ".join(
        f"{graph.key}: loss {graph.before.loss:.4g} before, "
        f"{min((look.standing.loss for look in graph.looks), default=graph.after.loss):.4g} at best, "
        f"{100 * graph.before.agreement:.2f} % as fp32 before"
        for graph in result.graphs
    )
    raise GateError(
        f"no graph got better on {result.reference.images} held-out images ({stood}): expected a lower loss and no "
        "fewer right answers; calibration may be as good as it gets, else try more steps, another --lr or more "
        "images. The bundle is as it was"
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """What training a graph takes, and the folder that the trained cores are in."""

    bundle: Bundle
    images: FinetuneImages
    schedule: Schedule
    folder: Path
    threads: int | None

    def core(self, key: str) -> Path:
        """Where the trained core of a graph is."""
        return self.folder / f"{key}.onnx"

    def judge(self, progress: Progress) -> Judge:
        """Asks fp32 for its answers to the held-out images."""
        batches = self.images.judged_by(self._size)
        fp32 = self.bundle.file(self.bundle.artifacts["onnx-fp32"])
        with (
            progress.task(f"Answers of fp32 on {len(batches)} held-out images", len(batches)) as advance,
            core_file(fp32, self.bundle.spec) as core,
        ):
            return Judge(batches, self.schedule.loss, infer_with(open_session(core, self.threads)), advance)

    def train(self, key: str, made: Artifact, judge: Judge, progress: Progress) -> Finetuned:
        """Trains one graph, and leaves its core in the folder; it is judged by ONNX Runtime before and after."""
        import onnx_ir as ir

        from wrn_deploy.calib.qat.loop import answer_with, finetune_graph
        from wrn_deploy.calib.rounding.execute import TorchGraph

        model = read_core(self.bundle.file(made))
        fp32 = read_core(self.bundle.file(self.bundle.artifacts["onnx-fp32"]))
        core = self.core(key)
        ir.save(model, core)
        before = self._stands(core, key, judge)
        start = judge.judge(answer_with(TorchGraph(model)))
        title = f"Fine-tuning {key} on {len(self.images.train)} images"
        with progress.task(title, self.schedule.steps) as advance:
            watcher = Watcher(key, judge, start, self.schedule.loss, advance)
            finetune_graph(model, fp32, self.images.batches(self.schedule), self.schedule, watcher)
        watcher.tell(progress)
        ir.save(model, core)
        difference = check_arithmetic(
            key, answer_with(TorchGraph(model)), self._answer(core, key), self._some_images(), core
        )
        after, kept = self._stands(core, key, judge), watcher.kept
        if not after.is_better_than(before, by_labels=self.schedule.loss.needs_labels):
            after, kept = before, None
        return Finetuned(key, before, tuple(watcher.looks), kept, after, difference)

    def _stands(self, core: Path, key: str, judge: Judge) -> Standing:
        return judge.judge(self._answer(core, key))

    def _answer(self, core: Path, key: str) -> Any:
        return infer_with(open_session(core, self.threads, fuses_qdq=not key.endswith("-tensorrt")))

    def _some_images(self) -> Any:
        from wrn_deploy.data.preprocess import normalize

        batch = next(iter(self.images.judged_by(CHECKED if self._size > 8 else 8)))
        return normalize(batch.images, self.images.how)

    @property
    def _size(self) -> int:
        """Images that are judged at a time."""
        return 64 if self.bundle.spec.preprocessing.height < 64 else 8


def _calibrated(bundle: Bundle, key: str) -> Artifact:
    remedy = f"wrn-deploy calibrate {bundle.folder} --calib-data DATA"
    try:
        for needed in ("calibration", "onnx-fp32"):
            bundle.find(needed, remedy)
        return before_finetuning(bundle, key, remedy)
    except DeployError as error:
        raise UsageError(f"{error}: fine-tuning starts from a calibrated bundle") from error


def _recipe(made: Artifact, key: str, told: dict[str, Any]) -> Recipe:
    """The recipe of the graph of before, that graph, and what fine-tuning was told."""
    parents = {**made.recipe.parents, BEFORE[key]: made.sha256}
    tools = {**made.recipe.tools, "wrn-deploy": __version__, **package_versions(*PACKAGES)}
    return Recipe(parents, {**made.recipe.options, OPTION: told}, tools)


def _record_recipe(recipes: dict[str, Recipe]) -> Recipe:
    """What the report is of: every graph's recipe."""
    parents = {BEFORE[key]: recipe.parents[BEFORE[key]] for key, recipe in recipes.items()}
    one = next(iter(recipes.values()))
    return Recipe(parents, {OPTION: one.options[OPTION], "graphs": list(recipes)}, one.tools)


def _current(bundle: Bundle, recipes: dict[str, Recipe]) -> Finetuning | None:
    """What the same fine-tuning gave, if its graphs are all there."""
    record = bundle.current(RECORD, _record_recipe(recipes))
    if record is None:
        return None
    result = read_finetuning(bundle.file(record))
    wanted = {graph.key for graph in result.improved}
    return result if all(bundle.current(key, recipes[key]) is not None for key in wanted) else None


def _write(work: _Work, made: dict[str, Artifact], recipes: dict[str, Recipe], result: Finetuning) -> None:
    """Writes the better graphs, those of before, the report, and the list of images, all or nothing."""
    import onnx_ir as ir

    from wrn_deploy.calib.collection.table import read_table

    bundle = work.bundle
    fp32, table = (bundle.file(bundle.artifacts[key]) for key in ("onnx-fp32", "calibration"))
    source = (read_core(fp32), read_table(table).equalization)
    with bundle.transaction() as step:
        for graph in result.improved:
            before, path = made[graph.key], bundle.artifacts[graph.key].path
            kept = path.replace(".onnx", "-ptq.onnx")
            shutil.copyfile(bundle.file(before), step.file(kept))
            step.add(BEFORE[graph.key], (Kind.ONNX, Precision.INT8), kept, before.recipe, before.facts)
            write_graph(ir.load(work.core(graph.key)), step.file(path), bundle.spec, source)
            facts = {**before.facts, **_facts(graph)}
            step.add(graph.key, (Kind.ONNX, Precision.INT8), path, recipes[graph.key], facts)
        step.file(FILE).write_text(result.to_json(), encoding="utf-8")
        record = step.add(RECORD, (Kind.REPORT, Precision.INT8), FILE, _record_recipe(recipes), {})
        add_trained_images(step, record, work.images.trained)


def _facts(graph: Finetuned) -> dict[str, Any]:
    return {
        "finetuned_steps": graph.kept,
        "agreement_before": graph.before.agreement,
        "agreement": graph.after.agreement,
        "top1_before": graph.before.top1,
        "top1_finetuned": graph.after.top1,
    }


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """PyTorch with so many threads, and afterwards with as many as before."""
    import torch

    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
