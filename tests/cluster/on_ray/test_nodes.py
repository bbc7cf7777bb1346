"""How many workers fit on a node, and how its versions differ from the driver's."""

from __future__ import annotations

import pytest

from wrn_deploy.cluster.on_ray.nodes import describe_difference, room_of, versions_here
from wrn_deploy.cluster.options import ClusterOptions


@pytest.mark.parametrize(
    ("resources", "options", "room"),
    [
        ({"CPU": 8.0}, {}, 8),
        ({"CPU": 8.0}, {"cpus_per_worker": 3}, 2),
        ({"CPU": 8.0}, {"cpus_per_worker": None}, 1),
        ({"CPU": 8.0, "GPU": 2.0}, {"gpus_per_worker": 1}, 2),
        ({"CPU": 1.0, "GPU": 2.0}, {"gpus_per_worker": 1}, 1),
        ({"CPU": 8.0}, {"gpus_per_worker": 1}, 0),
        ({}, {}, 0),
        ({}, {"cpus_per_worker": None}, 0),
    ],
)
def test_a_node_has_room_for_what_workers_claim(
    resources: dict[str, float], options: dict[str, int], room: int
) -> None:
    assert room_of(resources, ClusterOptions(**options)) == room  # type: ignore[arg-type]


def test_a_difference_names_both_versions() -> None:
    ours = {"Python": "3.11.7", "numpy": "2.4.6", "onnxruntime": "1.32.0"}
    assert describe_difference(ours, ours) is None
    assert describe_difference({**ours, "numpy": "2.3.0"}, ours) == "has numpy 2.3.0 (here 2.4.6)"
    assert describe_difference({"Python": "3.11.7", "numpy": "2.4.6", "ray": "2.60.0"}, ours) == (
        "has no onnxruntime (here 1.32.0), ray 2.60.0 (here none)"
    )
    assert describe_difference(None, ours) == "does not answer"


def test_here_has_python_and_this_package() -> None:
    assert {"Python", "wrn-deploy", "numpy", "pillow"} <= versions_here().keys()
