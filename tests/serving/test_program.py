"""Where a server listens, and which releases must not listen to others."""

from __future__ import annotations

import pytest

from wrn_deploy.errors import UsageError
from wrn_deploy.serving.program import Addresses, is_safe


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("host.example.org", False),
    ],
)
def test_only_loopback_addresses_are_local(host: str, local: bool) -> None:
    assert Addresses(host=host).is_local is local


@pytest.mark.parametrize(
    ("version", "safe"), [("2.51.0", False), ("2.59.1", False), ("2.60.0", True), ("2.71.0", True)]
)
def test_old_releases_are_unsafe(version: str, safe: bool) -> None:
    assert is_safe(version) is safe


@pytest.mark.parametrize("ports", [(0, 1, 2), (1, 1, 2), (1, 2, 65536)])
def test_ports_that_cannot_be_are_refused(ports: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="three different ones"):
        Addresses(http=ports[0], grpc=ports[1], metrics=ports[2])


def test_a_client_of_all_addresses_connects_to_this_machine() -> None:
    assert Addresses(host="0.0.0.0").url == "http://127.0.0.1:8000"
