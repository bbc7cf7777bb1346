"""The options of commands whose shards can run on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from wrn_deploy.cli.options.declare import option

if TYPE_CHECKING:
    from wrn_deploy.cluster.options import ClusterOptions
    from wrn_deploy.cluster.work import Finished, Job
    from wrn_deploy.progress import Progress

__all__ = ["ClusterFlags", "SpreadFlags"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFlags:
    """Whether shards run on Ray, and how."""

    PANEL: ClassVar[str] = "Cluster"

    ray: Annotated[
        str | None,
        option("ADDRESS", "Run on Ray: local starts a cluster on this machine; auto or HOST:PORT joins one."),
    ] = None
    ray_workers: Annotated[
        int | None, option("N", "Workers at a time. Default: as many as the nodes have room for.", minimum=1)
    ] = None
    cpus_per_worker: Annotated[
        int | None,
        option("N", "CPUs, and threads, of a worker. Default: 1; of bench and tune: the whole node.", minimum=1),
    ] = None
    gpus_per_worker: Annotated[int, option("N", "GPUs of a worker.", minimum=0)] = 0
    shard_timeout_s: Annotated[
        float | None,
        option(
            "SECONDS",
            "Kill a worker whose shard takes longer, and try again. Default: no limit.",
            name="--shard-timeout",
        ),
    ] = None
    retries: Annotated[int, option("N", "Further attempts for a shard whose worker was lost.", minimum=0)] = 3

    def options(self, *, whole_nodes: bool = False) -> ClusterOptions | None:
        """The options that the cluster takes; None without --ray. Raises UsageError if a value makes no sense."""
        from wrn_deploy.cluster.options import ClusterOptions

        if self.ray is None:
            return None
        return ClusterOptions(
            address=self.ray,
            workers=self.ray_workers,
            cpus_per_worker=self.cpus_per_worker or (None if whole_nodes else 1),
            gpus_per_worker=self.gpus_per_worker,
            shard_timeout_s=self.shard_timeout_s,
            retries=self.retries,
        )

    def run(self, job: Job, take: Callable[[Finished], None], progress: Progress, *, whole_nodes: bool = False) -> None:
        """Runs the job's shards on Ray, and shows what each node did; without --ray, in this process."""
        options = self.options(whole_nodes=whole_nodes)
        if options is None:
            from wrn_deploy.cluster.here import run_here

            run_here(job, take, progress)
            return
        from wrn_deploy.cli.show.results import show_cluster
        from wrn_deploy.cluster.ray import run_on_ray

        show_cluster(run_on_ray(job, options, take, progress))


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadFlags(ClusterFlags):
    """The same, of commands whose data is divided for the cluster."""

    ray_shards: Annotated[
        int, option("N", "Shards that the images are divided into; the result does not depend on it.", minimum=1)
    ] = 16
