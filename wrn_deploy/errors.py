"""The errors a user can meet and the exit code that each one means; the standard library only."""

from __future__ import annotations

__all__ = ["DeployError", "GateError", "MachineError", "UsageError", "missing_package"]


class DeployError(Exception):
    """Bad input or a failed step (exit code 1).

    The text says what was wrong (with the value), what was expected, and what to do.
    """

    exit_code = 1


class UsageError(DeployError):
    """Options that make no sense together (exit code 2)."""

    exit_code = 2


class GateError(DeployError):
    """A gate failed: parity, precision or accuracy (exit code 3)."""

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
