"""Clusters that cannot be joined: the error says why, before anything starts."""

from __future__ import annotations

import importlib.util
import socket
import sys
from pathlib import Path

import pytest

from wrn_deploy.cluster.on_ray.session import TOKEN_VARIABLES, connected, load_ray
from wrn_deploy.cluster.options import ClusterOptions
from wrn_deploy.errors import MachineError, UsageError

NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


def test_without_ray_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MachineError, match=r"running on a cluster \(--ray\) needs ray, .*: pip install 'ray>="):
        load_ray()


@pytest.fixture
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in TOKEN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("HOME", str(tmp_path))


@NEEDS_RAY
@pytest.mark.usefixtures("no_token")
@pytest.mark.parametrize("address", ["auto", "127.0.0.1:6379"])
def test_a_cluster_is_not_joined_without_a_token(address: str) -> None:
    with (
        pytest.raises(MachineError, match=f"no token for the Ray cluster at {address}: expected"),
        connected(ClusterOptions(address=address)),
    ):
        pass


@NEEDS_RAY
@pytest.mark.usefixtures("no_token")
def test_an_address_where_nothing_listens_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 32)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        pytest.raises(MachineError, match=f"no Ray cluster answers at 127.0.0.1:{port}"),
        connected(ClusterOptions(address=f"127.0.0.1:{port}")),
    ):
        pass


@pytest.mark.parametrize("address", ["", "head", "ray://head:10001", "head:", ":6379", "head:port"])
def test_an_address_that_cannot_be_one_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="expected local, auto, or HOST:PORT"):
        ClusterOptions(address=address)


@pytest.mark.parametrize(
    "options",
    [{"workers": 0}, {"cpus_per_worker": 0}, {"gpus_per_worker": -1}, {"retries": -1}, {"shard_timeout_s": 0.0}],
)
def test_numbers_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        ClusterOptions(**options)  # type: ignore[arg-type]
