"""What the functions of the API share: types of arguments, and how these become the pipeline's."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from wrn_deploy.errors import UsageError

if TYPE_CHECKING:
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.cluster.options import ClusterOptions
    from wrn_deploy.cluster.work import Engine, Finished, Job
    from wrn_deploy.progress import Progress

__all__ = ["BundleLike", "StrPath", "Three", "engine_of", "member", "opened", "shown"]

StrPath: TypeAlias = str | os.PathLike[str]
BundleLike: TypeAlias = "Bundle | StrPath"
Three: TypeAlias = tuple[float, float, float]

Member = TypeVar("Member", bound=StrEnum)


def member(kind: type[Member], name: str) -> Member:
    """The member called `name`; raises UsageError, which lists the names, if there is none."""
    try:
        return kind(name)
    except ValueError as error:
        raise UsageError(f"{kind.__name__.lower()} {name!r}: expected one of {', '.join(kind)}") from error


def opened(bundle: BundleLike) -> Bundle:
    """The bundle, opened if its folder is given."""
    from wrn_deploy.bundle import Bundle

    return bundle if isinstance(bundle, Bundle) else Bundle.open(os.fspath(bundle))


def shown(progress: Progress | None) -> Progress:
    """What a step reports to."""
    from wrn_deploy.progress import Silent

    return Silent() if progress is None else progress


def engine_of(cluster: ClusterOptions | None) -> Engine:
    """What runs the shards of a job: this process, or workers of a Ray cluster."""
    if cluster is None:
        from wrn_deploy.cluster.here import run_here

        return run_here

    def run(job: Job, take: Callable[[Finished], None], progress: Progress) -> None:
        from wrn_deploy.cluster.ray import run_on_ray

        run_on_ray(job, cluster, take, progress)

    return run
