"""The errors a user can meet, the exit code of each, and what to install for a missing package; standard library only.

    DeployError              1  bad input, or a step that failed
    ├── MissingArtifact      1  the bundle does not have it yet
    ├── StaleArtifact        1  its inputs have changed since it was made
    ├── DamagedFile          1  a file that cannot be read as what it should be
    │   ├── CorruptImage     1  an image (in `data`), which --max-corrupt can leave out
    │   └── OverLimit        1  a file that needs more than `budget` allows
    ├── UsageError           2  options that contradict each other, or a call that is not allowed there
    ├── GateError            3  a gate failed: parity, precision, accuracy, whole files
    └── MachineError         4  this machine cannot do it

Each text says what was wrong, with the value, what was expected, and what to do. `--json` prints an error's `code`,
which stays the same if the text changes.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from typing import TYPE_CHECKING

from wrn_deploy.formatting import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "REQUIREMENTS", "DamagedFile", "DeployError", "GateError", "MachineError", "MissingArtifact", "OverLimit",
    "StaleArtifact", "UsageError", "how_to_install", "missing_package",
]  # fmt: skip

CUDA = ("pycuda>=2025.1", "cuda-bindings>=13", "nvidia-ml-py>=13")
# What to install, by the extras of pyproject.toml, which a test compares with it. The project is on no index, so a hint
# names the packages themselves.
REQUIREMENTS: Mapping[str, tuple[str, ...]] = {
    "cpu": ("onnxruntime>=1.24",),
    "cuda": CUDA,
    "gpu": (*CUDA, "onnxruntime-gpu[cuda,cudnn]>=1.28", "tensorrt>=10.13.3"),
    "lean": (*CUDA, "tensorrt-lean-cu13>=11.0"),
    "rtx": ("tensorrt-rtx>=1.7",),
    "ort-rtx": ("onnxruntime>=1.24", "onnxruntime-ep-nv-tensorrt-rtx>=0.4"),
    "export": (
        "torch>=2.9", "onnx>=1.20", "onnx-ir>=0.1.12", "onnxscript>=0.5.6", "safetensors>=0.5", "threadpoolctl>=3.5",
    ),
    "parquet": ("pyarrow>=18",),
    "storage": ("fsspec>=2025.3", "s3fs>=2025.3"),
    "multi-gpu": ("accelerate>=1.10",),
    "hub": ("huggingface-hub>=0.30",),
    "hdf5": ("h5py>=3.12",),
    "embed": ("cffi>=1.17",),
    "sign": ("model-signing>=1.1", "pyopenssl>=24.2"),
    "openvino": ("openvino>=2026.0",),
    "loadgen": ("mlcommons-loadgen>=6.0",),
    "cluster": ("ray>=2.59",),
}  # fmt: skip
# These write the same files: one is installed, never both. A hint names one only if it is what is missing.
EXCLUSIVE = ("onnxruntime", "onnxruntime-gpu")


class DeployError(Exception):
    """Bad input or a failed step (exit code 1); the base of all others."""

    exit_code = 1
    code = "failed"

    def __str__(self) -> str:
        """The text, printable: it may quote names and texts from outside."""
        return printable(super().__str__())


class MissingArtifact(DeployError):  # noqa: N818 (it names what was met)
    """The bundle lacks an artifact; the text has the command that makes it (exit code 1)."""

    code = "missing"


class StaleArtifact(DeployError):  # noqa: N818 (it names what was met)
    """An artifact does not belong to the rest of its bundle, whose files have changed since (exit code 1)."""

    code = "stale"


class DamagedFile(DeployError):  # noqa: N818 (it names what was met)
    """A file cannot be read as what it should be, or is not the file its digest describes (exit code 1)."""

    code = "damaged"


class OverLimit(DamagedFile):
    """A file needs more bytes, pixels, members, nesting or seconds than the budget allows (exit code 1)."""

    code = "over-limit"


class UsageError(DeployError):
    """Options that contradict each other, or a call that is not allowed there, as after a fork (exit code 2)."""

    exit_code = 2
    code = "usage"


class GateError(DeployError):
    """A gate failed: parity, precision, accuracy, or a bundle whose files `inspect` finds unusable (exit code 3)."""

    exit_code = 3
    code = "gate"


class MachineError(DeployError):
    """This machine cannot do it: a package, a GPU or a driver is missing (exit code 4)."""

    exit_code = 4
    code = "machine"


def how_to_install(extras: str | Sequence[str], *packages: str) -> str:
    """The command that installs what is missing here, as in "pip install 'onnxruntime>=1.24'".

    Args:
        extras: keys of REQUIREMENTS: what the job needs. What is installed already is left out.
        packages: those that are known to be missing, although their files may be there.
    """
    wanted = {_plain(package) for package in packages}
    needed = [one for extra in ([extras] if isinstance(extras, str) else extras) for one in REQUIREMENTS[extra]]
    named = [one for one in dict.fromkeys(needed) if _name(one) in wanted or _is_missing(_name(one))]
    asked = [one for one in named if _name(one) not in EXCLUSIVE or _name(one) in wanted] or named
    others = [
        other for one in asked if _name(one) in EXCLUSIVE for other in EXCLUSIVE if other != _name(one)
    ]  # fmt: skip
    instead = [f"pip uninstall {other} && " for other in others if not _is_missing(other)]
    return f"{''.join(instead)}pip install {' '.join(map(shlex.quote, asked))}"


def missing_package(package: str, extra: str, purpose: str) -> MachineError:
    """The error for an optional package that is not installed.

    Args:
        package: the name users know it by, as in "torch".
        extra: the key of REQUIREMENTS that brings it, as in "export".
        purpose: what needs it, as in "exporting a model".
    """
    return MachineError(f"{purpose} needs {package}, which is not installed: {how_to_install(extra, package)}")


def _name(requirement: str) -> str:
    """As in "onnxruntime" of "onnxruntime>=1.24"."""
    return _plain(re.split(r"[<>=!~ \[]", requirement, maxsplit=1)[0])


def _plain(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub("[-_.]+", "-", name).lower()


def _is_missing(package: str) -> bool:
    import importlib.metadata
    import importlib.util

    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        if package in EXCLUSIVE:  # both bring the module onnxruntime
            return True
        module = package.replace("-", "_")  # as tensorrt-cu13 brings tensorrt
        with contextlib.suppress(ValueError):  # a module without a spec is there
            return importlib.util.find_spec(module) is None
    return False
