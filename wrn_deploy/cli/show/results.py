"""Prints what single steps made or found, as a table or as JSON, on stdout."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.cli.options.everywhere import Verbosity, verbosity
from wrn_deploy.cli.show.tables import (
    cell,
    new_table,
    print_heading,
    print_json,
    print_json_text,
    print_line,
    print_table,
)
from wrn_deploy.cli.terminal import TerminalConsole
from wrn_deploy.formatting import count, digits, file_size, percent

if TYPE_CHECKING:
    from rich.table import Table

    from wrn_deploy.bench.report.report import Report
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.cluster.summary import ClusterSummary
    from wrn_deploy.data.sampling.shard_set import ShardResult
    from wrn_deploy.embed.package import Embedded
    from wrn_deploy.pipeline.inference.example import Example
    from wrn_deploy.pipeline.inference.predict import Predictions
    from wrn_deploy.pipeline.inspection.doctor import Diagnosis
    from wrn_deploy.pipeline.scoring.score import Scored
    from wrn_deploy.pipeline.scoring.summary import Summary
    from wrn_deploy.pipeline.training.train import TrainResult

__all__ = [
    "show_artifacts", "show_cluster", "show_diagnosis", "show_embedded", "show_example", "show_predictions",
    "show_report", "show_scored", "show_shard", "show_summary", "show_training",
]  # fmt: skip

# What runs plans -> the variable that names the file of its TensorRT.
PLAN_LIBRARIES = {
    "libwrn_runner_tensorrt.so.1": "WRN_RUNNER_TENSORRT",
    "libwrn_runner_tensorrt_rtx.so.1": "WRN_RUNNER_TENSORRT_RTX",
}


def show_report(report: Report, *, as_json: bool) -> None:
    """Prints a benchmark's report."""
    from wrn_deploy.rendering.text import print_report

    if as_json:
        print_json_text(report.to_json())
    else:
        print_report(report, TerminalConsole(), details=verbosity() is Verbosity.VERBOSE)


def show_artifacts(bundle: Bundle, keys: Sequence[str], *, as_json: bool) -> None:
    """Prints artifacts that a step made: file, size and digest."""
    artifacts = [bundle.artifacts[key] for key in keys]
    if as_json:
        about = {"bundle": str(bundle.folder), "model": bundle.spec.name, "random_weights": bundle.random_weights}
        print_json({**about, "artifacts": [dataclasses.asdict(artifact) for artifact in artifacts]})
        return
    table = new_table("artifact", "file", "size", "sha256", right=("size",))
    for artifact in artifacts:
        table.add_row(artifact.key, artifact.path, file_size(artifact.size_bytes), artifact.sha256[:12])
    print_heading(f"{bundle.spec.name} in {bundle.folder}", random_weights=bundle.random_weights)
    print_table(table, gap=False)


def show_shard(shard: ShardResult, *, as_json: bool) -> None:
    """Prints the file of a shard, and how many images it has."""
    if as_json:
        print_json(
            {
                "file": str(shard.file),
                "shard": shard.block.index,
                "shards": shard.block.count,
                "images": shard.images,
                "corrupt": list(shard.corrupt),
            }
        )
        return
    size = file_size(shard.file.stat().st_size)
    print_line(f"{shard.file}: shard {shard.block}, {count(shard.images, 'image')}, {size}")
    if shard.corrupt:
        print_line(f"  left out: {count(len(shard.corrupt), 'corrupt image')}")
    print_line("When all shards are done, the same command with --merge joins them.")


def show_example(example: Example, *, as_json: bool) -> None:
    """Prints what was copied, how good it is, and what to do next."""
    bundle = example.bundle
    if as_json:
        accuracy = {key: dataclasses.asdict(figures) for key, figures in example.accuracy.items()}
        print_json({"bundle": str(bundle.folder), "picture": str(example.picture), "accuracy": accuracy})
        return
    print_heading(f"{bundle.spec.name} in {bundle.folder}", random_weights=False)
    for key, figures in example.accuracy.items():
        artifact = bundle.artifacts[key]
        right = f"{figures.correct} of {figures.images} test images of {figures.data} correct"
        print_line(f"  {artifact.path:<22} {file_size(artifact.size_bytes):>7}  {right}")
    folder, picture = shlex.quote(str(bundle.folder)), shlex.quote(str(example.picture))
    print_line("Next:")
    print_line(f"  wrn-deploy predict {folder} {picture}")
    print_line(f"  wrn-deploy bench {folder} --data digits --duration 1")


def show_predictions(predictions: Predictions, *, as_json: bool) -> None:
    """Prints the best classes of each image, an image's name on a line of its own, since names may be long."""
    if as_json:
        print_json(dataclasses.asdict(predictions))
        return
    images = count(len(predictions.images), "image")
    each = f"{digits(1000 * predictions.seconds / max(1, len(predictions.images)))} ms per image"
    about = f"{predictions.model} on {predictions.backend} {predictions.precision}: {images}, {each}"
    print_heading(about, random_weights=predictions.random_weights)
    if predictions.scores == "logit":
        print_line("Scores are logits: this bundle outputs only its best classes, and a softmax needs all of them.")
    for prediction in predictions.images:
        print_line(prediction.image)
        for scored in prediction.best:
            print_line(f"  {scored.score:.4f}  {scored.label}")


def show_scored(scored: Scored, *, as_json: bool) -> None:
    """Prints what a run has scored, and what is left to do."""
    if as_json:
        print_json(dataclasses.asdict(scored))
        return
    rate = f", {scored.images / scored.seconds:.0f} images/s" if scored.images else ""
    now = scored.share - scored.before - len(scored.damaged)
    before = f", {scored.before} done before" if scored.before else ""
    print_line(
        f"{scored.out}: {count(now, 'shard')} of {scored.total} scored on {scored.backend} {scored.precision}{before}"
    )
    print_line(f"  {count(scored.images, 'image')} in {scored.seconds:.1f} s{rate}")
    if scored.corrupt or scored.damaged:
        print_line(
            f"  left out: {count(len(scored.corrupt), 'corrupt image')}, {count(len(scored.damaged), 'damaged shard')}"
        )
    print_line("When all shards are done, the same command with --merge checks and summarises them.")


def show_summary(summary: Summary, folder: Path, out: str, *, as_json: bool) -> None:
    """Prints what all parts have together, with the most frequent classes."""
    if as_json:
        print_json(dataclasses.asdict(summary))
        return
    recipe = summary.recipe
    about = f"{recipe['model']} in {folder} on {recipe['backend']} {recipe['precision']}"
    print_heading(f"{about}: {count(summary.images, 'image')}", random_weights=summary.random_weights)
    shards = f"{summary.shards} of {count(recipe['shards'], 'shard')} intact"
    print_line(f"{out}: {shards}, {file_size(summary.size_bytes)}, parts {summary.parts[:12]}")
    if summary.labelled:
        top1 = f"{percent(summary.correct / summary.labelled)} top-1"
        print_line(f"{top1}: {summary.correct} of {summary.labelled} images with a label")
    if summary.corrupt or summary.damaged:
        print_line(
            f"left out: {count(summary.corrupt, 'corrupt image')}, {count(len(summary.damaged), 'damaged shard')}"
        )
    if summary.merged is not None:
        print_line(f"{summary.merged.path}: all scores, {file_size(summary.merged.size_bytes)}")
    shown = 20 if verbosity() is not Verbosity.VERBOSE else len(summary.classes)
    table = new_table("class", "images", "share", right=("images", "share"))
    classes = sorted(summary.classes, key=lambda one: -one.images)
    for one in classes[:shown]:
        table.add_row(cell(one.label), str(one.images), percent(one.images / summary.images))
    print_table(table, gap=False)
    if len(classes) > shown:
        print_line(f"... and {len(classes) - shown} more classes (-v shows all)")


def show_training(result: TrainResult, *, as_json: bool) -> None:
    """Prints where the weights are and how good they are; of several processes, only the first one prints."""
    if result.process:
        return
    if as_json:
        print_json({**dataclasses.asdict(result), "weights": str(result.weights), "best": str(result.best)})
        return
    top1 = f"{100 * result.test_top1:.2f} % top-1 on {result.test_images} test images"
    print_line(f"{result.weights}: {top1} after {count(result.epochs, 'epoch')}, {result.seconds:.1f} s")
    if result.best_top1 > result.test_top1:
        chosen = "selected on these test images, so optimistic"
        print_line(f"{result.best}: {100 * result.best_top1:.2f} % after epoch {result.best_epoch + 1}, {chosen}")


def show_diagnosis(diagnosis: Diagnosis, *, as_json: bool) -> None:
    """Prints what this machine has, and what it can do."""
    if as_json:
        print_json(dataclasses.asdict(diagnosis))
        return
    found = new_table("what", "here")
    for row in diagnosis.found.items():
        found.add_row(*row)
    print_table(found)
    if diagnosis.gpu:
        print_table(_table_of_reasons("for the GPU", "can be used here", diagnosis.gpu))
    print_table(_table_of_reasons("step", "can be done here", diagnosis.steps), gap=False)


def _table_of_reasons(what: str, answer: str, reasons: dict[str, str | None]) -> Table:
    table = new_table(what, answer)
    for name, reason in reasons.items():
        table.add_row(name, "yes" if reason is None else f"no: {reason}", style=None if reason is None else "yellow")
    return table


def show_embedded(embedded: Embedded, *, as_json: bool) -> None:
    """Prints the files, what the library needs, and the compiler's options."""
    folder, environment = embedded.folder.resolve(), embedded.environment
    if as_json:
        python = None
        if environment is not None:
            python = {"version": environment.version, "prefix": str(environment.prefix)}
        print_json({"folder": str(folder), "files": embedded.files, "python": python, "packaged": embedded.packaged})
        return
    for file in embedded.files:
        print_line(str(embedded.folder / file))
    print_line()
    if environment is not None:
        linked = "a part of the library" if environment.shared is None else str(environment.shared)
        print_line(f"Starts Python {environment.version} in {environment.prefix} ({linked}).")
    else:
        print_line(f"The library {'came with the package' if embedded.packaged else 'was built on this machine'}.")
        if "lib/libonnxruntime.so.1" not in embedded.files:
            print_line("Needs libonnxruntime.so.1: put it into lib/, or name it in WRN_RUNNER_ONNXRUNTIME.")
    for name, variable in PLAN_LIBRARIES.items():
        if f"lib/{name}" in embedded.files:
            print_line(f"{name} loads TensorRT where the loader finds it; {variable} names another file.")
    prefix = shlex.quote(f"-DCMAKE_PREFIX_PATH={folder}")
    options = shlex.join([f"-I{folder}/include", f"-L{folder}/lib", "-Xlinker", "-rpath", "-Xlinker", f"{folder}/lib"])
    print_line(f"CMake:  find_package(wrn_runner) with {prefix}, then link wrn::runner")
    print_line(f"g++:    {options} -lwrn_runner")


def show_cluster(summary: ClusterSummary) -> None:
    """Prints what each node did, on stderr: results on stdout are the same wherever they are made."""
    if verbosity() is Verbosity.QUIET:
        return
    columns = ("workers", "shards", "images", "corrupt", "seconds", "images/s", "retries")
    table = new_table("node", *columns, right=columns)
    rows = [*summary.nodes, *([summary.total()] if len(summary.nodes) > 1 else [])]
    for row in rows:
        rate = f"{row.images / row.seconds:.0f}" if row.seconds else ""
        counts = (row.workers, row.shards, row.images, row.corrupt)
        table.add_row(cell(row.node), *map(str, counts), f"{row.seconds:.1f}", rate, str(row.retries))
    TerminalConsole(stderr=True).print(table)
