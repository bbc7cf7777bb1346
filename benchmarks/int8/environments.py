"""Lists the environments of other quantizers with their pinned requirements, and makes them; quantizes nothing.

    python -m benchmarks.int8.environments FOLDER [PEER ...]

makes a virtual environment FOLDER/PEER for each peer, all by default, and prints its commands. NNCF, ModelOpt and AIMET
need other versions of their libraries than this project, so each runs in its own environment. This project is not
installed there: `PYTHONPATH` makes its code importable, which needs numpy and Pillow to read images.

torch is pinned because only its CPU build is used: an index that serves CUDA builds can be replaced with pip's own
options, as in `PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.int8.rows import Maker
from wrn_deploy.files.new_file import write_whole

__all__ = ["ENVIRONMENTS", "Environment", "installed", "make_command"]

ONNX_STACK = ("onnx==1.23.2", "onnxruntime==1.31.1", "numpy==2.4.6", "pillow==13.0.0")  # this project's own versions
TORCH = "torch==2.13.0"
MADE = "requirements.txt"  # in an environment: what it was made with, written last
LIST_VERSIONS = (
    "import importlib.metadata, json; "
    "print(json.dumps({one.name.replace('_', '-'): one.version for one in importlib.metadata.distributions()}))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The virtual environment of one peer; `folder` arguments are the folder that holds all environments.

    Attributes:
        peer: its name on the command line, and that of its folder.
        requirements: what pip installs.
    """

    peer: str
    requirements: tuple[str, ...]

    def python(self, folder: Path) -> Path:
        """The environment's interpreter."""
        return folder.absolute() / self.peer / "bin" / "python"

    def commands(self, folder: Path) -> list[list[str]]:
        """What makes the environment: a new one replaces an old one."""
        own = folder.absolute() / self.peer
        return [
            [sys.executable, "-m", "venv", "--clear", str(own)],
            [str(self.python(folder)), "-m", "pip", "install", *self.requirements],
        ]

    def is_made(self, folder: Path) -> bool:
        """Whether it was made with these requirements, to the end."""
        made = folder / self.peer / MADE
        return made.exists() and made.read_text(encoding="utf-8") == self._listed()

    def make(self, folder: Path) -> None:
        """Runs the commands, and prints each first.

        Raises:
            subprocess.CalledProcessError: one of them failed.
        """
        for command in self.commands(folder):
            sys.stderr.write(f"{shlex.join(command)}\n")
            subprocess.run(command, check=True)
        write_whole(folder / self.peer / MADE, self._listed())

    def versions(self, folder: Path) -> dict[str, str]:
        """Versions of the required distributions, by name, as they are installed."""
        listed = [str(self.python(folder)), "-c", LIST_VERSIONS]
        found = json.loads(subprocess.run(listed, check=True, capture_output=True, text=True).stdout)
        names = [requirement.partition("==")[0] for requirement in self.requirements]
        return {name: found[name] for name in names if name in found}

    def _listed(self) -> str:
        return "".join(f"{requirement}\n" for requirement in self.requirements)


ENVIRONMENTS: Mapping[Maker, Environment] = {
    Maker.NNCF: Environment(peer="nncf", requirements=("nncf==3.4.0", *ONNX_STACK)),
    Maker.MODELOPT: Environment(
        peer="modelopt",
        requirements=(
            "nvidia-modelopt==0.47.0", TORCH, "onnx==1.21.0", "onnxruntime==1.24.4", "numpy==2.4.6", "pillow==13.0.0",
            "onnx-graphsurgeon==0.6.1", "onnxconverter-common==1.16.0", "onnxslim==0.1.98", "onnxscript==0.7.2",
            "polygraphy==0.53.6", "lief==1.0.0", "cppimport==26.4.17",
        ),
    ),
    Maker.AIMET: Environment(peer="aimet", requirements=("aimet-onnx==2.42.0", TORCH, *ONNX_STACK)),
}  # fmt: skip


def make_command(maker: Maker, folder: Path | None) -> str:
    """The command that makes a peer's environment; without a `folder`, FOLDER stands for it."""
    return f"python -m benchmarks.int8.environments {folder or 'FOLDER'} {ENVIRONMENTS[maker].peer}"


def installed(folder: Path | None) -> dict[str, dict[str, str]]:
    """The versions in each environment of `folder` that is made, by peer."""
    if folder is None:
        return {}
    return {one.peer: one.versions(folder) for one in ENVIRONMENTS.values() if one.is_made(folder)}


def main() -> None:
    """Makes the environments that the arguments name; one that fails does not keep the others from being made."""
    by_name = {environment.peer: environment for environment in ENVIRONMENTS.values()}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"{', '.join(by_name)}; all if not given")
    given = parser.parse_args()
    unknown = [name for name in given.peers if name not in by_name]
    if unknown:
        parser.error(f"unknown peer {unknown[0]}: expected one of {', '.join(by_name)}")
    failed = []
    for name in given.peers or by_name:
        try:
            by_name[name].make(given.folder)
        except subprocess.CalledProcessError as error:
            failed.append(f"{name}: {shlex.join(error.cmd)} failed with exit code {error.returncode}")
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
