"""The command that scores images in any number, shard by shard: score."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.backends import Backend
from wrn_deploy.cli.options.cluster import ClusterFlags
from wrn_deploy.cli.options.declare import choice, flag, option, takes_groups, values
from wrn_deploy.cli.progress import new_progress
from wrn_deploy.cluster.print_job import Scheduler

if TYPE_CHECKING:
    from wrn_deploy.pipeline.scoring.job import ScoreOptions

__all__ = ["app"]

app = typer.Typer()

DATA = "digits, a path, a list (.txt) of paths and addresses, or an address: s3://, gs://, hf://"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFlags:
    """What runs, and what the parts have: all that must be the same in every task of a job."""

    backend: Backend = None
    precision: opt.PrecisionOf = None
    top_k: Annotated[int | None, option("K", "Classes per image. Default: 5.", minimum=1)] = None
    logits: Annotated[bool, flag("--logits", "Also write all logits.")] = False
    features: Annotated[bool, flag("--features", "Also write the features.")] = False
    batch: Annotated[
        int | None, option("N", "Images per inference. Default: 64 small images or 8 large ones.", minimum=1)
    ] = None
    images_per_shard: Annotated[
        int, option("N", "Shard size of data that is not in .tar or parquet files.", minimum=1)
    ] = 1000
    threads: opt.Threads = None
    max_damaged: Annotated[int, option("N", "Skip up to N damaged shards, and list them.", minimum=0)] = 0

    def options(self, data: str, out: str, **more: Any) -> ScoreOptions:
        """The options that the pipeline takes; those not in `more` have their defaults."""
        from wrn_deploy.pipeline.scoring.job import ScoreOptions

        return ScoreOptions(data=data, out=out, **values(self), **more)


@app.command()
@takes_groups
def score(
    bundle: opt.BundlePath,
    data: Annotated[str, option("DATA", f"Images: {DATA}.")],
    out: Annotated[str, option("FOLDER", "Folder or address for the parts and the ledger.")],
    flags: ScoreFlags,
    decoding: opt.DecodingFlags,
    cluster: ClusterFlags,
    shard: Annotated[
        str | None, option("I/N", "Only the shards whose number modulo N is I: one of N tasks. Default: all.")
    ] = None,
    merge: Annotated[
        bool, flag("--merge", "Check that all parts are there and unchanged, and summarise; exit code 3 if not.")
    ] = False,
    into: Annotated[Path | None, option("FILE", "With --merge: also write all scores to one parquet file.")] = None,
    print_job: Annotated[
        Scheduler | None, choice(Scheduler, "Print a script that runs this command as tasks, for:")
    ] = None,
    tasks: Annotated[int, option("N", "Tasks of the script.", minimum=1)] = 4,
    as_json: opt.AsJson = False,
) -> None:
    """Score any number of images, shard by shard; resumable, and on many machines.

    A shard is a .tar or parquet file, or N images of anything else. Each becomes a parquet part with a row per image:
    id, source, label if known, best classes and their scores. After an interruption, the same command continues.
    """
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.cli.show.results import show_scored, show_summary
    from wrn_deploy.cli.show.tables import print_line
    from wrn_deploy.cluster.print_job import write_job
    from wrn_deploy.data.sampling.block import Block, parse_block
    from wrn_deploy.files.new_file import check_target
    from wrn_deploy.pipeline.scoring.merge import merge_scores
    from wrn_deploy.pipeline.scoring.score import score_data
    from wrn_deploy.shards.address import check_address, is_address

    for text in (data, out):
        if is_address(text):
            check_address(text)
    block = Block() if shard is None else parse_block(shard)
    options = flags.options(data, out, block=block, **decoding.options())
    if print_job is not None:
        command = ["wrn-deploy", "score", str(bundle), "--data", data, "--out", out, *_given(flags), *_given(decoding)]
        for line in write_job(print_job, command, tasks, flags.threads).splitlines():
            print_line(line)
        return
    opened, progress = Bundle.open(bundle), new_progress()
    if merge:
        if into is not None:
            check_target(into)
        show_summary(merge_scores(opened, options, progress, into), opened.folder, out, as_json=as_json)
        return
    show_scored(score_data(opened, options, progress, engine=cluster.run), as_json=as_json)


def _given(group: Any) -> list[str]:
    """The options of a group that do not have their defaults, as they are typed."""
    words: list[str] = []
    for field in dataclasses.fields(group):
        value, name = getattr(group, field.name), f"--{field.name.replace('_', '-')}"
        if value != field.default:
            words += [name] if value is True else [name, str(value)]
    return words
