"""The eval step: the accuracy of a bundle's candidates, or of weights alone in PyTorch, without a bundle."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from wrn_deploy.bench.measuring.accuracy import ask
from wrn_deploy.bench.measuring.scoring import score
from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.classes import match_classes
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.data.sources import report_notes
from wrn_deploy.errors import MachineError, UsageError
from wrn_deploy.machine import describe_machine, package_versions
from wrn_deploy.models.checkpoints.preprocessing import describe_preprocessing
from wrn_deploy.models.checkpoints.sources import read_sources
from wrn_deploy.models.published import percent_text
from wrn_deploy.pipeline.inference.models import BundleOrWeights, images_together, open_network
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, check_labelled, evaluate_bundle, settings_of
from wrn_deploy.pipeline.networks.network import LoadedWeights, load_network
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.backend import find_runtime
from wrn_deploy.spec import Precision
from wrn_deploy.version import __version__

__all__ = ["evaluate_target", "open_bundle"]

DEVICES = {"torch": "cpu", "torch_cuda": "cuda"}  # what runs weights alone: backends, and torch's names of devices


def evaluate_target(
    target: BundleOrWeights, options: MeasureOptions, progress: Progress, *, gated: bool = False
) -> Report:
    """Measures the accuracy of each candidate of a bundle, or of weights in one row.

    `gated`: an accuracy gate will compare the rows with fp32, which needs a bundle.

    Raises:
        UsageError: options for a bundle with weights.
        DeployError: unusable data or weights, or as `evaluate_bundle`.
        MachineError: nothing that was asked for can run here.
    """
    if target.is_bundle:
        return evaluate_bundle(Bundle.open(target.path), options, progress)
    backend_name = _backend(target, options, gated=gated)
    loaded = load_network(target.network, progress)
    weights = loaded.weights
    assert weights is not None, "weights are what is evaluated"
    import torch

    with open_network(loaded.network.to(DEVICES[backend_name])) as (spec, backend):
        source = match_classes(open_data(options.data, Role.TEST), spec)
        report_notes(source, progress)
        check_labelled(source, spec.classes)
        machine = describe_machine()
        settings = settings_of(options, machine)
        torch.set_num_threads(settings.threads)
        size = images_together(spec)
        batches = Batches(source, spec.preprocessing, size, limit=options.limit, max_corrupt=options.max_corrupt)
        _describe_weights(weights, progress)
        workers = choose_workers(options.workers, batches.preprocessing, len(batches))
        task = progress.task(f"Accuracy of {spec.name} in {find_runtime(backend_name).title}", len(batches))
        with task as advance, Decoders(workers) as batches.decoders:
            answers = ask(backend, batches, spec, advance)
    file = weights.checkpoint.file
    row = Row(
        backend=backend_name,
        title=find_runtime(backend_name).title,
        precision=Precision.FP32,
        artifact=weights.origin.get("published", file.name),
        sha256=weights.origin["file_sha256"],
        size_bytes=file.stat().st_size,
        accuracy=score(answers, None, spec),
    )
    return Report(
        model=spec.name,
        random_weights=False,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        data=Path(options.data).name,
        data_digest=answers.digest,
        corrupt=answers.corrupt,
        reference=None,
        baseline=None,
        machine=machine,
        versions={"wrn-deploy": __version__, **package_versions("numpy", "torch")},
        settings=settings,
        rows=(row,),
    )


def open_bundle(target: BundleOrWeights, option: str) -> Bundle:
    """Opens the bundle that `option` needs.

    Raises:
        UsageError: the target is weights.
        DeployError: it is not an intact bundle.
    """
    if not target.is_bundle:
        raise UsageError(f"{option} with {target.path}: expected the folder of a bundle; `wrn-deploy export` makes one")
    return Bundle.open(target.path)


def _backend(target: BundleOrWeights, options: MeasureOptions, *, gated: bool) -> str:
    """Returns the one of PyTorch's backends that evaluates the weights."""
    named = options.backends or ("torch",)
    alone = len(named) == 1 and named[0] in DEVICES and options.precision in (None, Precision.FP32)
    if not alone or options.everything or gated:
        raise UsageError(
            f"{target.path} is not the folder of a bundle: weights run in PyTorch alone, in fp32 (--backend torch or "
            "torch_cuda), and --all and --max-drop compare a bundle's candidates; `wrn-deploy export` makes a bundle"
        )
    runtime = find_runtime(named[0])
    reason = runtime.unfit(None)
    if reason is not None:
        raise MachineError(f"{runtime.title} cannot run {target.path}: {reason}")
    return named[0]


def _describe_weights(weights: LoadedWeights, progress: Progress) -> None:
    """Notes what loading the weights does not: the preprocessing, and the accuracy that others published."""
    if weights.checkpoint.spec is not None:
        progress.note(f"preprocessing: {describe_preprocessing(weights.spec.preprocessing)} (from the weights)")
    published = read_sources().get(weights.origin.get("published", ""))
    if published is not None:
        found = published.accuracy
        progress.note(
            f"published: top-1 {percent_text(found.top1)}, top-5 {percent_text(found.top5)} on ImageNet at "
            f"{found.size} pixels ({found.published_in})"
        )
