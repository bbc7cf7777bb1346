"""The errors a user can meet, and the exit code of each; the standard library only.

    DeployError              1  bad input, or a step that failed
    ├── MissingArtifact      1  the bundle does not have it yet
    ├── StaleArtifact        1  its inputs have changed since it was made
    ├── DamagedFile          1  a file that cannot be read as what it should be
    │   ├── CorruptImage     1  an image (in `data`), which --max-corrupt can leave out
    │   └── OverLimit        1  a file that needs more than `budget` allows
    ├── UsageError           2  options that contradict each other, or a call that is not allowed there
    ├── GateError            3  a gate failed: parity, precision, accuracy, whole files
    └── MachineError         4  this machine cannot do it

Each text says what was wrong, with the value, what was expected, and what to do.
"""

from __future__ import annotations

from wrn_deploy.formatting import printable

__all__ = [
    "DamagedFile", "DeployError", "GateError", "MachineError", "MissingArtifact", "OverLimit", "StaleArtifact",
    "UsageError", "missing_package",
]  # fmt: skip


class DeployError(Exception):
    """Bad input or a failed step (exit code 1); the base of all others."""

    exit_code = 1

    def __str__(self) -> str:
        """The text, printable: it may quote names and texts from outside."""
        return printable(super().__str__())


class MissingArtifact(DeployError):  # noqa: N818 (it names what was met)
    """The bundle lacks an artifact; the text has the command that makes it (exit code 1)."""


class StaleArtifact(DeployError):  # noqa: N818 (it names what was met)
    """An artifact does not belong to the rest of its bundle, whose files have changed since (exit code 1)."""


class DamagedFile(DeployError):  # noqa: N818 (it names what was met)
    """A file cannot be read as what it should be, or is not the file its digest describes (exit code 1)."""


class OverLimit(DamagedFile):
    """A file needs more bytes, pixels, members, nesting or seconds than the budget allows (exit code 1)."""


class UsageError(DeployError):
    """Options that contradict each other, or a call that is not allowed there, as after a fork (exit code 2)."""

    exit_code = 2


class GateError(DeployError):
    """A gate failed: parity, precision, accuracy, or a bundle whose files `inspect` finds unusable (exit code 3)."""

    exit_code = 3


class MachineError(DeployError):
    """This machine cannot do it: a package, a GPU or a driver is missing (exit code 4)."""

    exit_code = 4


def missing_package(package: str, extra: str, purpose: str) -> MachineError:
    """The error for an optional package that is not installed.

    Args:
        package: the name users know it by, as in "torch".
        extra: the extra of this project that brings it, as in "export".
        purpose: what needs it, as in "exporting a model".
    """
    return MachineError(f"{purpose} needs {package}, which is not installed: pip install 'wrn-deploy[{extra}]'")
