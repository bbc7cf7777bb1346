"""The commands of `wrn-deploy`, in the order of `--help`: each parses, calls one function, and prints."""

from __future__ import annotations

from wrn_deploy.cli.commands import networks, quantization, inspection, measuring, comparing, inference, pictures  # isort: skip
from wrn_deploy.cli.commands.app import app

__all__ = ["app", "comparing", "inference", "inspection", "measuring", "networks", "pictures", "quantization"]
