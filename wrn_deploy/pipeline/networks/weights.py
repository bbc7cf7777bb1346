"""Takes weights by file or by name for a network: where they are, what is in them, and the preprocessing with them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.bundle import sha256_of
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.models import Overrides, build_model, describe_model
from wrn_deploy.models.checkpoints.preprocessing import Preparation, find_preparation, published_as, tell_preprocessing
from wrn_deploy.models.checkpoints.sources import SOURCES, Source, find_source
from wrn_deploy.progress import Progress
from wrn_deploy.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from wrn_deploy.models.checkpoints.match import Match
    from wrn_deploy.models.checkpoints.weights import Checkpoint

__all__ = ["Taken", "Wanted", "network_of", "take_weights"]

PUBLISHERS = frozenset(name.partition("/")[0] for name in SOURCES)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which weights, and for what.

    Args:
        model: the network, as in "wrn-50-2"; None: the one that the weights say they are of.
        weights: a file, or a name as in "timm/wide_resnet50_2.racm_in1k".
        key: which state dict of the file, where it has several; "": the preferred one.
        overrides: what to change of the network's description.
    """

    model: str | None
    weights: Path | str
    key: str = ""
    overrides: Overrides = field(default_factory=Overrides)


@dataclass(frozen=True, slots=True)
class Taken:
    """A checkpoint that fits the network of `spec`, and where it came from: `origin`, in JSON types."""

    spec: ModelSpec
    checkpoint: Checkpoint
    key: str
    origin: dict[str, Any]


def take_weights(wanted: Wanted, progress: Progress) -> Taken:
    """Finds the weights, downloads them where they are known by name, and recognises what is in them.

    Notes say what was taken: which state dict in which layout, and which preprocessing why.

    Raises:
        UsageError: the file has no state dict of that key, or does not say what it is of and no network is named.
        DeployError: no such file or name, weights of another network, or a file that is no checkpoint of it.
        MachineError: a package is missing, or the network that the download needs.
    """
    from wrn_deploy.models.checkpoints.weights import match_weights, read_weights

    named = None if wanted.model is None else describe_model(wanted.model)
    file, source = _find(wanted.weights, named, progress)
    checkpoint, digest = read_weights(file), sha256_of(file)
    described = checkpoint.spec
    usual = named or described or _network_of_published(source or published_as(digest), file)
    if described is not None and described.name != usual.name:
        raise DeployError(f"{file} holds {described.name}: expected {usual.name}; give it its own name")
    spec = wanted.overrides.apply(described or usual)
    match = match_weights(_empty(spec), checkpoint, spec, wanted.key)
    origin: dict[str, Any] = {"file_sha256": digest, "layout": match.layout.name, "key": match.name}
    if described is None:
        found = find_preparation(usual, file, digest, source=source, normalizer=match.normalizer())
        prepared = wanted.overrides.apply(dataclasses.replace(spec, preprocessing=found.preprocessing))
        _tell(match, checkpoint, prepared, found, progress)
        spec, origin = prepared, {**origin, "preprocessing": found.why}
        if found.source is not None:
            origin["published"] = found.source.name
    return Taken(spec, checkpoint, match.name, origin)


def network_of(taken: Taken) -> nn.Module:
    """The network with its weights, in eval mode, on the CPU; raises DeployError for values that are no weights."""
    from wrn_deploy.models.checkpoints.weights import fit_weights

    network = build_model(taken.spec)
    fit_weights(network, taken.checkpoint, taken.spec, taken.key)
    return network.eval()


def _find(weights: Path | str, network: ModelSpec | None, progress: Progress) -> tuple[Path, Source | None]:
    from wrn_deploy.models.checkpoints.fetch import fetch_weights

    file, name = Path(weights), str(weights)
    if file.exists() or name.partition("/")[0] not in PUBLISHERS:
        return file, None
    source = find_source(name)
    if network is not None and source.network != network.name:
        raise DeployError(
            f"{name} are weights of {source.network}, not of {network.name}: expected one of {network.name}'s, or the "
            f"model {source.network}"
        )
    return fetch_weights(source, progress), source


def _network_of_published(source: Source | None, file: Path) -> ModelSpec:
    if source is None:
        raise UsageError(f"{file} does not say which network it is of: expected --model, as in wrn-16-2")
    return describe_model(source.network)


def _empty(spec: ModelSpec) -> nn.Module:
    """The network without values: what its tensors are called and their shapes."""
    import torch

    with torch.device("meta"):
        return build_model(spec)


def _tell(match: Match, checkpoint: Checkpoint, spec: ModelSpec, found: Preparation, progress: Progress) -> None:
    place = f", from {match.name} in it" if match.name else ""
    progress.note(f"{checkpoint.file}: layout of {match.layout.name}{place}")
    if match.others:
        others = " and ".join(name or "a bare state dict" for name in match.others)
        progress.note(f"the file has {others} too: --weights-key NAME takes another")
    if match.layout.note:
        progress.warn(f"{match.layout.name}: {match.layout.note}")
    if checkpoint.passed_over:
        progress.note(f"passed over, as no tensors: {', '.join(checkpoint.passed_over)}")
    changed = ", with what was given" if spec.preprocessing != found.preprocessing else ""
    progress.note(f"preprocessing: {tell_preprocessing(spec.preprocessing)} ({found.why}{changed})")
