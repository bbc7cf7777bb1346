"""The option that names a backend; only commands that run a network import it, since listing backends loads them."""

from __future__ import annotations

from typing import Annotated

from wrn_deploy.cli.options.declare import one_of
from wrn_deploy.runtime.backend import runtimes

__all__ = ["Backend", "Backends"]

NAMES = list(runtimes())

Backend = Annotated[str | None, one_of(NAMES)]
Backends = Annotated[list[str] | None, one_of(NAMES, name="--backend", more="; repeatable")]
