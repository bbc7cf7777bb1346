"""The commands of `wrn-deploy`, in the order of `--help`: each parses, calls one function, and prints."""

from __future__ import annotations

from wrn_deploy.cli.commands import networks, int8, engines, measuring, comparing, embedding, pictures  # isort: skip
from wrn_deploy.cli.commands.app import app

__all__ = ["app", "comparing", "embedding", "engines", "int8", "measuring", "networks", "pictures"]
