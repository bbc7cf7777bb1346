"""What a cluster of Ray is asked for: where it is, its workers, and when a shard has failed; standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wrn_deploy.errors import UsageError

__all__ = ["AUTO", "LOCAL", "ClusterOptions"]

LOCAL, AUTO = "local", "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """How the shards of a job run on Ray.

    Args:
        address: "local" starts a cluster on this machine and ends it afterwards; "auto" is the cluster that this
            machine is a node of; HOST:PORT is that of a cluster's head.
        workers: workers at a time; None: as many as the nodes have room for.
        cpus_per_worker: CPUs that a worker claims, and its threads; None: the whole node.
        gpus_per_worker: GPUs that a worker claims, and sees.
        shard_timeout_s: seconds after which a shard's worker is killed; None: no limit.
        retries: further attempts for a shard whose worker was lost or took too long.
    """

    address: str = LOCAL
    workers: int | None = None
    cpus_per_worker: int | None = 1
    gpus_per_worker: int = 0
    shard_timeout_s: float | None = None
    retries: int = 3

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        if self.address not in (LOCAL, AUTO) and (not host or "/" in host or not port.isdecimal()):
            raise UsageError(
                f"Ray address {self.address!r}: expected {LOCAL}, {AUTO}, or HOST:PORT of a cluster's head, such as "
                "10.0.0.1:6379"
            )
        for name, value, least in (
            ("workers", self.workers, 1),
            ("CPUs per worker", self.cpus_per_worker, 1),
            ("GPUs per worker", self.gpus_per_worker, 0),
            ("retries", self.retries, 0),
        ):
            if value is not None and value < least:
                raise UsageError(f"{value} {name}: expected at least {least}")
        if self.shard_timeout_s is not None and not 0 < self.shard_timeout_s < math.inf:
            raise UsageError(f"a time limit of {self.shard_timeout_s} s for a shard: expected more than 0 s")
