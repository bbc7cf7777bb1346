"""Runs every command under strace and lists the sockets it opens beyond this machine: `python -m ... [FOLDER]`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from wrn_deploy.cli.app import GROUPS

__all__ = ["commands", "remote_addresses", "trace_commands"]

NET = "wrn-10-1"
ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
CALLS = "trace=socket,connect,sendto,sendmsg,sendmmsg,bind,listen,accept,accept4"
SECONDS = 900  # for one command; strace makes it several times slower


def commands(folder: Path) -> Mapping[str, Sequence[object]]:
    """Name -> the arguments of a small run of each command, in an order in which each finds what it needs."""
    bundle, trained, picture = folder / "bundle", folder / "trained", folder / "picture.png"
    Image.new("RGB", (32, 32), (90, 120, 60)).save(picture)
    key, public, reports = folder / "private.pem", folder / "public.pem", folder / "reports"
    for command in (
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key],
        ["openssl", "ec", "-in", key, "-pubout", "-out", public],
    ):
        subprocess.run([str(each) for each in command], check=True, capture_output=True)
    few = ["--limit", "32"]
    bench = ["--data", "digits", *few, "--duration", "0.1", "--rounds", "1", "--batches", "1", "--iterations", "10"]
    return {
        "doctor": [],
        "models": [],
        "train": [NET, "--data", "digits", "--recipe", "one-cycle", "--epochs", "1", "--out", trained],
        "plot-training": [trained],
        "export": [NET, "--weights", trained / "weights.safetensors", "--out", bundle],
        "calibrate": [bundle, "--calib-data", "digits", "--calib-size", "16"],
        "tune": [bundle, "--data", "digits", *few, "--max-drop", "5"],
        "finetune": [bundle, "--data", "digits", *few, "--epochs", "1"],
        "lint": [bundle / "int8-tensorrt.onnx"],
        "build-engine": [bundle, "--int8"],
        "inspect": [bundle],
        "plot-model": [bundle, "--out", folder / "model.svg"],
        "explain": [bundle / "fp32.onnx", bundle / "int8-onnxruntime.onnx"],
        "eval": [bundle, "--data", "digits", *few],
        "bench": [bundle, *bench, "--backend", "onnxruntime", "--precision", "int8", "--out", reports],
        "compare": [reports / "bench.json", reports / "bench.json"],
        "predict": [bundle, picture],
        "score": [bundle, "--data", "digits", "--out", folder / "scores"],
        "sign": [bundle, "--key", key],
        "verify": [bundle, "--require-signature", public],
        "embed": ["--out", folder / "c"],
        "demo": ["--out", folder / "demo", "--epochs", "1"],
    }


def trace_commands(folder: Path) -> dict[str, dict[str, object]]:
    """Command -> its exit code, and the addresses beyond this machine that it used, of real runs in `folder`."""
    listed = commands(folder)
    left_out = {name for group in GROUPS.values() for name in group} - set(listed)
    assert not left_out, f"no run of {left_out} here"
    found = dict[str, dict[str, object]]()
    for name, arguments in listed.items():
        trace = folder / "trace"
        program = [sys.executable, "-c", "from wrn_deploy.cli import main; main()", name, *map(str, arguments)]
        strace = ["strace", "-f", "-qq", "-e", CALLS, "-o", str(trace)]
        done = subprocess.run(
            [*strace, *program], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        remote = remote_addresses(trace.read_text(errors="replace"))
        found[name] = {
            "exit_code": done.returncode,
            "remote": remote,
            "error": done.stderr[-200:] * bool(done.returncode),
        }
        sys.stderr.write(f"{name}: exit code {done.returncode}, beyond this machine: {remote or 'nothing'}\n")
    return found


def remote_addresses(trace: str) -> list[str]:
    """The addresses in a trace that are not of this machine alone."""
    addresses = {first or second for first, second in ADDRESS.findall(trace)}
    return sorted(each for each in addresses if not each.startswith("127.") and each not in ("::1", "::ffff:127.0.0.1"))


if __name__ == "__main__":
    if shutil.which("strace") is None:
        sys.exit("strace is not installed: apt-get install strace")
    with tempfile.TemporaryDirectory() as made:
        results = trace_commands(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(made))
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
    sys.exit(any(entry["remote"] or entry["exit_code"] not in (0, 3) for entry in results.values()))
