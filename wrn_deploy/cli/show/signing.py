"""Prints what `verify` checked, on stdout."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from wrn_deploy.cli.show.tables import print_json, print_line
from wrn_deploy.formatting import file_size

if TYPE_CHECKING:
    from wrn_deploy.pipeline.signing.verify import Verified

__all__ = ["show_verified"]

NAMED = 5  # unlisted files


def show_verified(verified: Verified, *, as_json: bool) -> None:
    """Prints a checked bundle."""
    if as_json:
        print_json(dataclasses.asdict(verified))
        return
    print_line(f"{verified.bundle}: {verified.files} files, {file_size(verified.size_bytes)}, all intact")
    if verified.signed_by is None:
        print_line("signature: not checked (give --require-signature PEM)")
    else:
        print_line(f"signature: valid, by {verified.signed_by}")
    if verified.unlisted:
        more = "" if len(verified.unlisted) <= NAMED else f" and {len(verified.unlisted) - NAMED} more"
        print_line(f"not listed in the manifest, so not used: {', '.join(verified.unlisted[:NAMED])}{more}")
