"""Which node of a cluster did what, as data; the standard library only."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

__all__ = ["ClusterSummary", "NodeSummary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSummary:
    """One node's share.

    Args:
        node: its host and address.
        workers: workers that were started on it, those that replaced others too.
        shards: shards that it finished.
        images: images in them.
        corrupt: images that were left out as corrupt.
        seconds: that its workers took for them, all workers together.
        retries: attempts at shards that were lost there.
    """

    node: str
    workers: int = 0
    shards: int = 0
    images: int = 0
    corrupt: int = 0
    seconds: float = 0.0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSummary:
    """A finished job: its wall-clock time, and each node's share in the order in which nodes got work."""

    seconds: float
    nodes: tuple[NodeSummary, ...]

    def total(self) -> NodeSummary:
        """All nodes together."""
        names = [field.name for field in dataclasses.fields(NodeSummary) if field.name != "node"]
        sums = {name: sum(getattr(node, name) for node in self.nodes) for name in names}
        return NodeSummary(node="all", **sums)
