"""What `score` is asked for, and the job that it becomes: a recipe, the shards, and how a worker is opened."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.data.decoding.decoders import MIN_IMAGES, Decoders, choose_workers
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.machine import describe_machine, package_versions
from wrn_deploy.pipeline.inference.models import images_together
from wrn_deploy.pipeline.scoring.worker import ScoreWorker
from wrn_deploy.runtime.backend import choose, find_runtime, parse_precision
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.shards.find import find_shards
from wrn_deploy.shards.found import ShardSet
from wrn_deploy.shards.ledger import Ledger
from wrn_deploy.shards.parts import check_pyarrow
from wrn_deploy.shards.reader import open_reader
from wrn_deploy.shards.recipe import Recipe
from wrn_deploy.shards.store import open_store
from wrn_deploy.spec import ModelSpec, Precision
from wrn_deploy.version import __version__

__all__ = ["ScoreJob", "ScoreOptions", "plan_scores"]

DEFAULT_TOP_K = 5
# Numbers depend on what decodes and runs, the bytes of a part on what writes it.
PACKAGES = ("numpy", "pillow", "pyarrow")
BACKEND_PACKAGES = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "torch": ("torch",),
    "tensorrt": ("tensorrt", "tensorrt-lean-cu13", "tensorrt-rtx"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """Which images are scored, how, and where the parts go.

    Args:
        data: a data set, a list of images, or an address; labels are not needed.
        out: a folder, or an address, for the parts and the ledger.
        block: the shards of this process: those whose number modulo `count` is `index`.
        top_k: classes per image; None: 5, or all if there are fewer.
        logits: also write all logits.
        features: also write the features.
        backend: None: the Runner chooses.
        precision: likewise.
        batch: images per inference; None: 64 small images or 8 large ones.
        images_per_shard: for data that is not in shards itself.
        threads: CPU threads; None: all cores.
        max_corrupt: corrupt images to leave out at most, per shard and, when merged, in total.
        max_damaged: damaged shards to leave out at most, in total.
        workers: processes that decode images.
    """

    data: str
    out: str
    block: Block = field(default_factory=Block)
    top_k: int | None = None
    logits: bool = False
    features: bool = False
    backend: str | None = None
    precision: Precision | str | None = None
    batch: int | None = None
    images_per_shard: int = 1000
    threads: int | None = None
    max_corrupt: MaxCorrupt = 0
    max_damaged: int = 0
    workers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreJob:
    """Scores shards on any machine that sees the bundle, the data and the folder of the parts; a `cluster.work.Job`."""

    title: str
    shards: tuple[int, ...]
    bundle: Path
    found: ShardSet
    ledger: Ledger
    options: ScoreOptions

    def describe(self, shard: int) -> str:
        """The shard's number and name."""
        return f"shard {shard} ({self.found.shards[shard].name})"

    @contextlib.contextmanager
    def open(self, threads: int | None) -> Iterator[ScoreWorker]:
        """Opens the bundle, the data and the decoding processes for the block.

        Raises:
            DeployError: the bundle or the data is not what the job was made for.
            MachineError: this machine cannot run it.
        """
        recipe, options = self.ledger.recipe, self.options
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(self.ledger.store.scratch())
            spec = Bundle.open(self.bundle).spec
            workers = choose_workers(options.workers, spec.preprocessing, MIN_IMAGES)
            decoders = stack.enter_context(Decoders(workers))
            decoders.start()  # while the bundle is opened
            runner = stack.enter_context(
                Runner.open(
                    self.bundle,
                    precision=recipe.precision,
                    backend=recipe.backend,
                    threads=threads if threads is not None else options.threads,
                    contexts=1,
                    allow_nonfinite=True,  # checked with the images' names
                )
            )
            artifact = find_runtime(runner.backend).find_artifact(runner.bundle, runner.precision)
            if (artifact.sha256, _spec_digest(runner.bundle.spec)) != (recipe.artifact, recipe.spec):
                raise DeployError(
                    f"{self.bundle} has {artifact.key} {artifact.sha256[:12]}: expected {recipe.artifact[:12]}, for "
                    "which the job was made; use the same bundle on every machine, unchanged during the run"
                )
            yield ScoreWorker(
                runner=runner,
                decoders=decoders,
                reader=stack.enter_context(open_reader(self.found, scratch)),
                ledger=self.ledger,
                found=self.found,
                scratch=scratch,
                max_corrupt=options.max_corrupt,
                keep_damaged=options.max_damaged > 0,
                machine=_name_machine(recipe.backend),
            )


def plan_scores(bundle: Bundle, options: ScoreOptions) -> ScoreJob:
    """The job for all shards of the share, done or not; writes nothing.

    Raises:
        UsageError: options that the bundle does not fit; an address that cannot be used.
        DeployError: the bundle lacks the artifact or an output, or the data is missing.
        MachineError: a package is missing, or no backend can run here and none is named.
    """
    check_pyarrow()
    spec = bundle.spec
    if options.batch is not None and options.batch < 1:
        raise UsageError(f"batch {options.batch}: expected at least 1")
    if options.max_damaged < 0:
        raise UsageError(f"{options.max_damaged} damaged shards: expected 0 or more")
    top_k = _check_outputs(bundle, options)
    backend, precision = choose(bundle, options.backend, parse_precision(options.precision))
    runtime = find_runtime(backend)
    if precision not in runtime.precisions:
        raise UsageError(f"{runtime.title} does not run {precision}: expected one of {', '.join(runtime.precisions)}")
    artifact = runtime.find_artifact(bundle, precision)
    store = open_store(options.out)
    found = find_shards(options.data, options.images_per_shard)
    packages = next((names for start, names in BACKEND_PACKAGES.items() if backend.startswith(start)), ())
    recipe = Recipe(
        model=spec.name,
        spec=_spec_digest(spec),
        artifact=artifact.sha256,
        backend=backend,
        precision=precision,
        scores=_what_scores_are(spec),
        top_k=top_k,
        logits=options.logits,
        features=options.features,
        batch=options.batch or images_together(spec),
        images_per_shard=options.images_per_shard if found.images else 0,
        data=found.digest,
        shards=len(found.shards),
        versions={"wrn-deploy": __version__, **package_versions(*PACKAGES, *packages)},
    )
    own = range(options.block.index, len(found.shards), options.block.count)
    return ScoreJob(
        title=f"Scoring with {runtime.title} {precision}",
        shards=tuple(own),
        bundle=bundle.folder,
        found=found,
        ledger=Ledger(store=store, recipe=recipe),
        options=options,
    )


def _check_outputs(bundle: Bundle, options: ScoreOptions) -> int:
    """The number of classes per image."""
    spec = bundle.spec
    given = spec.interface.top_k
    limit, name = (spec.classes, "the number of classes") if given is None else (given, "the classes this bundle gives")
    if options.top_k is not None and not 1 <= options.top_k <= limit:
        raise UsageError(f"top-k {options.top_k}: expected 1 to {limit}, {name}")
    if options.logits and given is not None:
        raise DeployError(
            f"{bundle.folder} gives only its best {given} classes, not all logits: expected a bundle exported without "
            "--top-k; leave out --logits"
        )
    if options.features and not spec.interface.features:
        raise DeployError(
            f"{bundle.folder} gives no features: expected a bundle exported with --features, such as "
            f"`wrn-deploy export {spec.name} --weights FILE --features --out FOLDER`"
        )
    return options.top_k or min(DEFAULT_TOP_K, limit)


def _what_scores_are(spec: ModelSpec) -> str:
    if spec.interface.top_k is None:
        return f"probabilities: softmax over the logits of {spec.classes} classes"
    return "logits: the bundle gives only its best classes"


def _spec_digest(spec: ModelSpec) -> str:
    return hashlib.sha256(json.dumps(spec.to_json(), sort_keys=True).encode("ascii")).hexdigest()


def _name_machine(backend: str) -> str:
    machine = describe_machine()
    on_gpu = backend.startswith("tensorrt") or "cuda" in backend
    return machine.gpu.name if on_gpu and machine.gpu is not None else machine.cpu
