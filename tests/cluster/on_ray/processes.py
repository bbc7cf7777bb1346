"""The processes that a cluster started, found by a mark in their environment, and the addresses that they listen on."""

from __future__ import annotations

import ipaddress
import re
import struct
import time
from pathlib import Path

__all__ = ["MARK", "listening", "marked", "wait_until_gone"]

MARK = "WRN_DEPLOY_TEST_CLUSTER"
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
LISTEN = "0A"  # the state in /proc/net/tcp


def marked(value: str) -> dict[int, str]:
    """The living processes with the mark, and the starts of their command lines."""
    found, mark = {}, f"{MARK}={value}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
        except OSError:  # it has ended, or is another user's
            continue
    return found


def wait_until_gone(value: str, seconds: float) -> list[str]:
    """What is left of them after so long, but for Ray's agents: those of a killed cluster end within a minute."""
    end = time.monotonic() + seconds
    while left := [command for command in marked(value).values() if not command.startswith(AGENTS)]:
        if time.monotonic() > end:
            return left
        time.sleep(0.1)
    return []


def listening(processes: dict[int, str]) -> dict[str, str]:
    """The addresses, as in "127.0.0.1:6379", that the processes listen on, and their command lines."""
    owners = {}
    for process, command in processes.items():
        for file in Path("/proc", str(process), "fd").glob("*"):
            try:
                found = re.fullmatch(r"socket:\[(\d+)\]", str(file.readlink()))
            except OSError:
                continue
            if found:
                owners[found[1]] = command
    addresses = {}
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            _, local, _, state, *rest = line.split()
            if state == LISTEN and rest[5] in owners:
                addresses[_shown(local)] = owners[rest[5]]
    return addresses


def _shown(local: str) -> str:
    """Linux writes each word of an address in the machine's order."""
    words, port = local.split(":")
    packed = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    address = ipaddress.ip_address(packed)
    return f"{getattr(address, 'ipv4_mapped', None) or address}:{int(port, 16)}"
