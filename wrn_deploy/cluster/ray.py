"""Runs a job's shards on Ray: on this machine, or on the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Callable

from wrn_deploy.cluster.on_ray.actors import Actors
from wrn_deploy.cluster.on_ray.session import connected
from wrn_deploy.cluster.options import ClusterOptions
from wrn_deploy.cluster.run import run_shards
from wrn_deploy.cluster.summary import ClusterSummary
from wrn_deploy.cluster.work import Finished, Job
from wrn_deploy.progress import Progress

__all__ = ["run_on_ray"]


def run_on_ray(
    job: Job, options: ClusterOptions, take: Callable[[Finished], None], progress: Progress
) -> ClusterSummary:
    """Runs all shards of the job in any order, and calls `take` in this process for each, one at a time.

    Workers on other nodes open files by the paths and addresses that the job has: nodes share a file system, or the
    data is in a storage service.

    Raises:
        MachineError: Ray is missing, the cluster cannot be started or joined, or its nodes have other versions.
        DeployError: a worker's own error, which is about the input; a shard that failed in every attempt; no node is
            left; or the cluster does not take the token.
    """
    with connected(options) as ray:
        actors = Actors(ray, job, options, progress)
        try:
            summary = run_shards(job, actors, options, take, progress)
            actors.close()
        finally:
            actors.kill_all()
    return summary
