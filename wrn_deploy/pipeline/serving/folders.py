"""What is in a model repository: folders of models with their configurations, versions, and the bundles in those."""

from __future__ import annotations

from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError
from wrn_deploy.files.text import read_text
from wrn_deploy.files.trust import Trust
from wrn_deploy.serving.config import parameter_of
from wrn_deploy.serving.text_format import Config, parse_config

__all__ = ["CONFIG", "bundle_in", "config_of", "is_ours", "models_in", "newest_version", "versions_of"]

CONFIG = "config.pbtxt"


def models_in(repository: Path) -> list[Path]:
    """The folders of models, sorted by name; empty: there is no repository."""
    found = repository.iterdir() if repository.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def config_of(model: Path) -> Config:
    """The configuration of a model.

    Raises:
        FileNotFoundError: it has none.
        DeployError, OSError: it cannot be read.
    """
    return parse_config(read_text(model / CONFIG), CONFIG)


def is_ours(config: Config) -> bool:
    """Whether wrn-deploy wrote a configuration."""
    return parameter_of(config, "model") is not None


def versions_of(model: Path) -> list[int]:
    """The versions of a model, sorted."""
    if not model.is_dir():
        return []
    return sorted(int(path.name) for path in model.iterdir() if path.is_dir() and path.name.isdecimal())


def newest_version(model: Path) -> int | None:
    """The newest version of a model, which Triton serves; None: there is none."""
    return max(versions_of(model), default=None)


def bundle_in(version: Path, trusted: Trust) -> Bundle | None:
    """The bundle in a version's folder; None: there is none that may be used."""
    try:
        return Bundle.open(version, trust=trusted)
    except DeployError:
        return None
