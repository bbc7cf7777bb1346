"""What a class index may be, whichever format it comes from; the standard library only."""

from __future__ import annotations

from wrn_deploy.errors import DeployError

__all__ = ["check_label"]

LAST_LABEL = 2**31 - 1


def check_label(label: int, where: str) -> int:
    """Returns `label` if it can be a class index; `where` names its image in the error.

    Raises:
        DeployError: it is negative or past 2^31 - 1.
    """
    if not 0 <= label <= LAST_LABEL:
        raise DeployError(
            f"{where} has label {label}: expected a class index from 0 to {LAST_LABEL}; leave unlabelled images out, "
            "or give the whole set without labels"
        )
    return label
