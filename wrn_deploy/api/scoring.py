"""The step that scores images shard by shard, as functions; their defaults are those of the options' dataclass."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.api.shared import BundleLike, StrPath, engine_of, member, opened, shown

if TYPE_CHECKING:
    from wrn_deploy.cluster.options import ClusterOptions
    from wrn_deploy.data.corrupt import MaxCorrupt
    from wrn_deploy.pipeline.scoring.score import Scored
    from wrn_deploy.pipeline.scoring.summary import Summary
    from wrn_deploy.progress import Progress
    from wrn_deploy.spec import Precision

__all__ = ["merge_scores", "score"]


def score(
    bundle: BundleLike,
    data: str,
    out: StrPath,
    *,
    shard: tuple[int, int] = (0, 1),
    top_k: int | None = None,
    logits: bool = False,
    features: bool = False,
    backend: str | None = None,
    precision: Precision | str | None = None,
    batch: int | None = None,
    images_per_shard: int = 1000,
    threads: int | None = None,
    max_corrupt: MaxCorrupt = 0,
    max_damaged: int = 0,
    workers: int | None = None,
    cluster: ClusterOptions | None = None,
    progress: Progress | None = None,
) -> Scored:
    """Scores any number of images, each shard to a parquet part: `wrn-deploy score`.

    The same call continues after an interruption: shards that the ledger in `out` has are skipped.

    Args:
        bundle: a bundle, or its folder.
        data: a data set, a list of paths and addresses (.txt), or an address; labels are not needed.
        out: a folder, or an address such as "s3://bucket/scores", for the parts and the ledger.
        shard: I and N: only the shards whose number modulo N is I.
        top_k: classes per image; None: 5, or all if there are fewer.
        logits: also write all logits.
        features: also write the features.
        backend: None: the first that can run.
        precision: None: the backend's preferred one.
        batch: images per inference; None: 64 small images or 8 large ones.
        images_per_shard: for data that is not in .tar or parquet files.
        threads: CPU threads; None: all cores.
        max_corrupt: how many corrupt images of a shard to skip at most.
        max_damaged: how many damaged shards to skip at most.
        workers: processes that decode images.
        cluster: run the shards on Ray; None: here.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        UsageError: options that do not fit, or `out` has the parts of another job.
        DeployError: bad data, or too many corrupt images or damaged shards.
        MachineError: this machine cannot run it, or a package is missing.

    Example:
        >>> import wrn_deploy
        >>> scored = wrn_deploy.score("bundle", "digits", "scores", images_per_shard=100, backend="onnxruntime")
        >>> scored.total, scored.images
        (4, 359)
    """
    from wrn_deploy.data.sampling.block import Block
    from wrn_deploy.pipeline.scoring.job import ScoreOptions
    from wrn_deploy.pipeline.scoring.score import score_data
    from wrn_deploy.spec import Precision

    options = ScoreOptions(
        data=data,
        out=os.fspath(out),
        block=Block(index=shard[0], count=shard[1]),
        top_k=top_k,
        logits=logits,
        features=features,
        backend=backend,
        precision=None if precision is None else member(Precision, precision),
        batch=batch,
        images_per_shard=images_per_shard,
        threads=threads,
        max_corrupt=max_corrupt,
        max_damaged=max_damaged,
        workers=workers,
    )
    return score_data(opened(bundle), options, shown(progress), engine=engine_of(cluster))


def merge_scores(
    bundle: BundleLike,
    data: str,
    out: StrPath,
    *,
    into: StrPath | None = None,
    top_k: int | None = None,
    logits: bool = False,
    features: bool = False,
    backend: str | None = None,
    precision: Precision | str | None = None,
    batch: int | None = None,
    images_per_shard: int = 1000,
    max_corrupt: MaxCorrupt = 0,
    max_damaged: int = 0,
    progress: Progress | None = None,
) -> Summary:
    """Checks that all parts of `score` are there and unchanged, and sums up: `wrn-deploy score --merge`.

    It writes summary.json into `out`. Memory does not grow with the number of images.

    Args:
        bundle: this and all others but `into` as they were given to `score`.
        data: the data set.
        out: the folder or the address of the parts.
        into: a parquet file for the scores of all images; None: none is written.
        top_k: classes per image.
        logits: whether the parts have all logits.
        features: whether the parts have the features.
        backend: what ran.
        precision: its precision.
        batch: images per inference.
        images_per_shard: for data that is not in .tar or parquet files.
        max_corrupt: how many corrupt images to allow in total.
        max_damaged: how many damaged shards to allow in total.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        GateError: a shard is missing, doubled, of another job, changed or damaged, or more are left out than allowed.
        UsageError: `out` has the parts of another job.
        DeployError: the data cannot be listed.

    Example:
        >>> import wrn_deploy
        >>> scored = wrn_deploy.score("bundle", "digits", "scores", backend="onnxruntime")
        >>> summary = wrn_deploy.merge_scores("bundle", "digits", "scores", backend="onnxruntime")
        >>> summary.images, summary.correct > 300
        (359, True)
    """
    from wrn_deploy.pipeline.scoring.job import ScoreOptions
    from wrn_deploy.pipeline.scoring.merge import merge_scores as merge
    from wrn_deploy.spec import Precision

    options = ScoreOptions(
        data=data,
        out=os.fspath(out),
        top_k=top_k,
        logits=logits,
        features=features,
        backend=backend,
        precision=None if precision is None else member(Precision, precision),
        batch=batch,
        images_per_shard=images_per_shard,
        max_corrupt=max_corrupt,
        max_damaged=max_damaged,
    )
    return merge(opened(bundle), options, shown(progress), None if into is None else Path(into))
