"""Searches for files that break a reader, with atheris: python -m tests.fuzzing.search [--seconds N] [TARGET ...].

Each target runs in a process of its own, for N seconds and in 1 GB of memory, and ends at its first find, which is kept
in build/fuzz/TARGET/. A find is anything but a DeployError: another error, a signal, a hang, too much memory.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzzing.targets import LIMITS, load_target, target_names
from wrn_deploy.files.budget import VARIABLE

MEMORY_MB, PATIENCE_S = 1024, 20
ROOT = Path(__file__).parents[2]


def main() -> None:
    """Runs the targets one after another; the exit code is 1 if one of them found anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    options = parser.parse_args()
    if options.one:
        _search(options.one, options.seconds)
    else:
        results = [_run(target, options.seconds) for target in options.targets or target_names()]
        sys.exit(1 if any(results) else 0)


def _run(target: str, seconds: int) -> bool:
    """Searches in a child, prints a line of what it did, and returns whether it found anything."""
    place = ROOT / "build" / "fuzz" / target
    (place / "corpus").mkdir(parents=True, exist_ok=True)
    log = place / "log.txt"
    environment = {**os.environ, VARIABLE: LIMITS, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.fuzzing.search", "--one", target, "--seconds", str(seconds)]
    with log.open("w") as stream:
        code = subprocess.run(command, stdout=stream, stderr=stream, env=environment, cwd=ROOT, check=False).returncode
    text = log.read_text(errors="replace")
    runs = max(map(int, re.findall(r"^#(\d+)\s", text, re.MULTILINE)), default=0)
    sys.stdout.write(f"{target:10} {runs:9,} runs, {f'FOUND, exit code {code}: {log}' if code else 'no find'}\n")
    sys.stdout.flush()
    return code != 0


def _search(name: str, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["wrn_deploy", "tarfile", "zipfile", "gzip"]):
        from wrn_deploy import data  # noqa: F401 (instruments what the target imports from here on)

        with tempfile.TemporaryDirectory() as folder:
            target = load_target(name, Path(folder))
            corpus = ROOT / "build" / "fuzz" / name / "corpus"
            for file, content in target.files.items():
                (corpus / file).write_bytes(content)
            options = (
                f"-max_total_time={seconds}", f"-rss_limit_mb={MEMORY_MB}", f"-timeout={PATIENCE_S}", "-max_len=65536",
                f"-artifact_prefix={corpus.parent}/",
            )  # fmt: skip
            atheris.Setup([sys.argv[0], *options, str(corpus)], target.read, enable_python_coverage=True)
            atheris.Fuzz()


if __name__ == "__main__":
    main()
