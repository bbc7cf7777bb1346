"""Loads weights by file or by name for a network: finds the file, matches it, and chooses the preprocessing."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.bundle import sha256_of
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.models import Overrides, build_model, describe_model
from wrn_deploy.models.checkpoints.preprocessing import (
    WeightsPreprocessing,
    describe_preprocessing,
    find_preprocessing,
    published_as,
)
from wrn_deploy.models.checkpoints.sources import WeightsSource, find_source, read_sources
from wrn_deploy.progress import Progress
from wrn_deploy.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from wrn_deploy.models.checkpoints.match import Match
    from wrn_deploy.models.checkpoints.weights import Checkpoint

__all__ = ["LoadedWeights", "WeightsRequest", "load_weights", "network_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRequest:
    """Which weights, and for what.

    Args:
        model: the network, as in "wrn-50-2"; None: the one that the weights are of, if they say so.
        weights: a file, or a name as in "timm/wide_resnet50_2.racm_in1k".
        key: which state dict of the file, if it has several; "": the preferred one.
        overrides: what to change of the network's description.
    """

    model: str | None
    weights: Path | str
    key: str = ""
    overrides: Overrides = field(default_factory=Overrides)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedWeights:
    """A checkpoint, its match with the network of `spec`, and where it came from: `origin`, in JSON types."""

    spec: ModelSpec
    checkpoint: Checkpoint
    match: Match
    origin: dict[str, Any]


def load_weights(request: WeightsRequest, progress: Progress) -> LoadedWeights:
    """Finds the weights, downloads them if they are known by name, and matches them to the network.

    Notes report which state dict was taken in which layout, and which preprocessing was chosen and why.

    Example:
        >>> loaded = load_weights(WeightsRequest(model="wrn-50-2", weights="wide_resnet50_2.pth"), Silent())
        >>> network_of(loaded)(torch.zeros(1, *loaded.spec.input.shape))

    Raises:
        UsageError: the file has no state dict of that key, or does not name its network and none is given.
        DeployError: no such file or name, weights of another network, or a file that is not a checkpoint of it.
        MachineError: a package is missing, or the download needs a network and there is none.
    """
    from wrn_deploy.models.checkpoints.weights import match_weights, read_weights

    named = None if request.model is None else describe_model(request.model)
    file, source = _find(request.weights, named, progress)
    checkpoint, digest = read_weights(file), sha256_of(file)
    described = checkpoint.spec
    usual = named or described or _network_of_published(source or published_as(digest), file)
    if described is not None and described.name != usual.name:
        raise DeployError(f"{file} holds {described.name}: expected {usual.name}; give it its own name")
    spec = request.overrides.apply(described or usual)
    match = match_weights(_empty(spec), checkpoint, spec, request.key)
    origin: dict[str, Any] = {"file_sha256": digest, "layout": match.layout.name, "key": match.name}
    if described is None:
        found = find_preprocessing(usual, file, digest, source=source, normalizer=match.normalizer())
        spec = request.overrides.apply(dataclasses.replace(spec, preprocessing=found.preprocessing))
        _report(match, checkpoint, spec, found, progress)
        origin["preprocessing"] = found.why
        if found.source is not None:
            origin["published"] = found.source.name
    return LoadedWeights(spec=spec, checkpoint=checkpoint, match=match, origin=origin)


def network_of(loaded: LoadedWeights) -> nn.Module:
    """The network with its weights, in eval mode, on the CPU."""
    from wrn_deploy.models.checkpoints.weights import apply_match

    network = build_model(loaded.spec)
    apply_match(network, loaded.match)
    return network.eval()


def _find(weights: Path | str, network: ModelSpec | None, progress: Progress) -> tuple[Path, WeightsSource | None]:
    from wrn_deploy.models.checkpoints.fetch import fetch_weights

    file, name = Path(weights), str(weights)
    publishers = {known.partition("/")[0] for known in read_sources()}
    if file.exists() or name.partition("/")[0] not in publishers:
        return file, None
    source = find_source(name)
    if network is not None and source.network != network.name:
        raise DeployError(
            f"{name} are weights of {source.network}, not of {network.name}: expected one of {network.name}'s, or the "
            f"model {source.network}"
        )
    return fetch_weights(source, progress), source


def _network_of_published(source: WeightsSource | None, file: Path) -> ModelSpec:
    if source is None:
        raise UsageError(f"{file} does not say which network it is of: expected --model, as in wrn-16-2")
    return describe_model(source.network)


def _empty(spec: ModelSpec) -> nn.Module:
    """The network without values: the names and shapes of its tensors."""
    import torch

    with torch.device("meta"):
        return build_model(spec)


def _report(
    match: Match, checkpoint: Checkpoint, spec: ModelSpec, found: WeightsPreprocessing, progress: Progress
) -> None:
    place = f", from {match.name} in it" if match.name else ""
    progress.note(f"{checkpoint.file}: layout of {match.layout.name}{place}")
    if match.others:
        others = " and ".join(name or "a bare state dict" for name in match.others)
        progress.note(f"the file has {others} too: --weights-key NAME takes another")
    if match.layout.note:
        progress.warn(f"{match.layout.name}: {match.layout.note}")
    if checkpoint.passed_over:
        progress.note(f"ignored, since they are not tensors: {', '.join(checkpoint.passed_over)}")
    changed = ", with your changes" if spec.preprocessing != found.preprocessing else ""
    progress.note(f"preprocessing: {describe_preprocessing(spec.preprocessing)} ({found.why}{changed})")
