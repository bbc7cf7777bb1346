"""The nodes of a Ray cluster: what room each has for workers, and whether it has the driver's versions."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wrn_deploy.cluster.options import ClusterOptions
from wrn_deploy.cluster.pool import Node
from wrn_deploy.errors import MachineError
from wrn_deploy.machine import package_versions
from wrn_deploy.progress import Progress
from wrn_deploy.version import __version__

__all__ = ["Nodes", "claim", "describe_difference", "room_of", "versions_here"]

# What decides the bits of a result: the same on every node as here.
PACKAGES = (
    "ray", "numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "openvino", "pyarrow", "torch", "tensorrt",
    "tensorrt-lean-cu13",
)  # fmt: skip
ANSWER_S = 30.0  # for a node to start a process, which imports nothing of ours


class Nodes:
    """The nodes that are alive, and of them those that were found to have the driver's versions.

    Args:
        ray: the module, connected.
        options: what a worker claims.
        progress: warned of nodes that joined later with other versions.
    """

    def __init__(self, ray: Any, options: ClusterOptions, progress: Progress) -> None:
        self._ray, self._options, self._progress = ray, options, progress
        self._differing: dict[str, str | None] = {}  # by id: how its versions differ; None: they do not
        self._resources: dict[str, Mapping[str, float]] = {}

    def usable(self) -> list[Node]:
        """The living nodes with the driver's versions; asks new ones.

        Raises:
            MachineError: a node that was there from the beginning has other versions; or none has room for a worker.
        """
        alive = [record for record in self._ray.nodes() if record["Alive"]]
        first = not self._differing
        new = [record for record in alive if record["NodeID"] not in self._differing]
        for record, found in zip(new, self._ask(new), strict=True):
            different = describe_difference(found, versions_here())
            self._differing[record["NodeID"]] = different
            if different is not None and found is not None and first:
                raise MachineError(f"the node {_name(record)} {different}: expected the versions of this machine")
            if different is not None:
                self._progress.warn(f"the node {_name(record)} {different}: it gets no work")
        if first:
            self._check_room(alive)
        self._resources = {record["NodeID"]: record["Resources"] for record in alive}
        return [
            Node(record["NodeID"], _name(record), room_of(record["Resources"], self._options))
            for record in alive
            if self._differing[record["NodeID"]] is None
        ]

    def resources(self, node: str) -> Mapping[str, float]:
        """The resources of a node that `usable` returned last."""
        return self._resources[node]

    def _check_room(self, alive: Sequence[Mapping[str, Any]]) -> None:
        if any(room_of(record["Resources"], self._options) for record in alive):
            return
        cpus, gpus = claim({}, self._options)
        found = "; ".join(f"{_name(record)} has {_shown(record['Resources'])}" for record in alive)
        raise MachineError(
            f"no node has the {cpus:g} CPUs and {gpus} GPUs that a worker claims ({found}): expected at least one; "
            "lower --cpus-per-worker or --gpus-per-worker"
        )

    def _ask(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, str] | None]:
        """The versions on each node; None: it did not answer."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ask = self._ray.remote(num_cpus=0, max_retries=0)(_asking(PACKAGES))
        on = [NodeAffinitySchedulingStrategy(node_id=record["NodeID"], soft=False) for record in records]
        asked = [ask.options(scheduling_strategy=strategy).remote() for strategy in on]
        if asked:
            self._ray.wait(asked, num_returns=len(asked), timeout=ANSWER_S)
        return [self._answer(one) for one in asked]

    def _answer(self, asked: Any) -> dict[str, str] | None:
        try:
            found: dict[str, str] = self._ray.get(asked, timeout=0)
        except self._ray.exceptions.RayError:  # the node is gone, or hangs
            return None
        return found


def versions_here() -> dict[str, str]:
    """The versions on this machine that a node's are compared with."""
    return {"Python": platform.python_version(), "wrn-deploy": __version__, **package_versions(*PACKAGES)}


def describe_difference(found: Mapping[str, str] | None, ours: Mapping[str, str]) -> str | None:
    """How versions differ, as in "has numpy 2.3.0 (here 2.4.6)"; None: they do not."""
    if found is None:
        return "does not answer"
    names = dict.fromkeys((*ours, *found))
    texts = [
        f"{name} {found[name]} (here {ours.get(name, 'none')})" if name in found else f"no {name} (here {ours[name]})"
        for name in names
        if found.get(name) != ours.get(name)
    ]
    return f"has {', '.join(texts)}" if texts else None


def claim(resources: Mapping[str, float], options: ClusterOptions) -> tuple[float, int]:
    """CPUs and GPUs that a worker claims on a node with these resources."""
    cpus = resources.get("CPU", 1.0) if options.cpus_per_worker is None else float(options.cpus_per_worker)
    return max(1.0, cpus), options.gpus_per_worker


def room_of(resources: Mapping[str, float], options: ClusterOptions) -> int:
    """The number of workers that fit on a node with these resources."""
    cpus, gpus = claim(resources, options)
    room = int(resources.get("CPU", 0.0) // cpus)
    return min(room, int(resources.get("GPU", 0.0) // gpus)) if gpus else room


def _asking(packages: Sequence[str]) -> Callable[[], dict[str, str]]:
    """What a node is asked. A function inside a function travels as code, so that it runs without our package."""

    def ask() -> dict[str, str]:
        import contextlib
        import importlib
        import importlib.metadata
        import platform

        found = {"Python": platform.python_version()}
        with contextlib.suppress(ImportError):
            found["wrn-deploy"] = importlib.import_module("wrn_deploy.version").__version__
        for package in packages:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[package] = importlib.metadata.version(package)
        return found

    return ask


def _name(record: Mapping[str, Any]) -> str:
    return f"{record['NodeManagerHostname']} ({record['NodeManagerAddress']})"


def _shown(resources: Mapping[str, float]) -> str:
    return f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
