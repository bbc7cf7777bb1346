"""Loads a network in PyTorch: finds its weights by file or name, matches them, and chooses the preprocessing."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.bundle import sha256_of
from wrn_deploy.errors import DeployError, UsageError, missing_package
from wrn_deploy.formatting import first_names
from wrn_deploy.models import Overrides, build_model, describe_model
from wrn_deploy.models.checkpoints.preprocessing import describe_preprocessing, find_preprocessing, published_as
from wrn_deploy.models.checkpoints.sources import WeightsSource, find_source, read_sources
from wrn_deploy.progress import Progress
from wrn_deploy.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from wrn_deploy.models.checkpoints.match import Match
    from wrn_deploy.models.checkpoints.weights import Checkpoint

__all__ = [
    "LoadedNetwork", "LoadedWeights", "NetworkOptions", "load_network", "load_weights", "network_of",
    "published_weights",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """Which network, with which weights, and what is changed of its description.

    Args:
        model: its name, as in "wrn-50-2"; None: the one that the weights name, or that alone fits their tensors.
        weights: a file, or a name as in "timm/wide_resnet50_2.racm_in1k"; None: untrained.
        overrides: changes to the description.
        seed: of untrained weights, 0 to 2**63 - 1.
        key: the state dict to take, if the file has several; "": the preferred one.
    """

    model: str | None = None
    weights: str | os.PathLike[str] | None = None
    overrides: Overrides = field(default_factory=Overrides)
    seed: int = 0
    key: str = ""

    def __post_init__(self) -> None:
        if self.model is None and self.weights is None:
            raise UsageError("neither a network nor weights: expected the name of a network, weights, or both")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed {self.seed}: expected 0 to 2**63 - 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedWeights:
    """A checkpoint, its match with the network of `spec`, and where it came from: `origin`, in JSON types."""

    spec: ModelSpec
    checkpoint: Checkpoint
    match: Match
    origin: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A network in eval mode with its description as the attribute `spec`, and its weights; None if it is untrained."""

    network: nn.Module
    weights: LoadedWeights | None


def load_network(options: NetworkOptions, progress: Progress) -> LoadedNetwork:
    """The network, with its weights if any are given.

    Example:
        >>> loaded = load_network(NetworkOptions(model="wrn-16-2", seed=1), Silent())
        >>> loaded.network.spec.classes
        10

    Raises:
        MachineError: torch or safetensors is missing.
        DeployError: no such network; or as `load_weights`.
    """
    if importlib.util.find_spec("safetensors") is None:
        raise missing_package("safetensors", "export", "loading weights")
    usual = None if options.model is None else describe_model(options.model)  # reports a missing torch
    import torch

    loaded = None if options.weights is None else load_weights(options, progress)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        if loaded is not None:
            spec, network = loaded.spec, network_of(loaded)
        else:
            assert usual is not None
            spec = options.overrides.apply(usual)
            network = build_model(spec).eval()
    network.__dict__["spec"] = spec  # a plain attribute: not part of the state dict, and kept by copies and pickles
    return LoadedNetwork(network, loaded)


def load_weights(options: NetworkOptions, progress: Progress) -> LoadedWeights:
    """Finds the weights, downloads them if they are known by name, and matches them to the network.

    Notes report which state dict was taken in which layout, and which preprocessing was chosen and why.

    Example:
        >>> loaded = load_weights(NetworkOptions(model="wrn-50-2", weights="wide_resnet50_2.pth"), Silent())
        >>> network_of(loaded)(torch.zeros(1, *loaded.spec.input.shape))

    Raises:
        UsageError: the file has no state dict of that key, or no network is given and it is not clear which one it is.
        DeployError: no such file or name, weights of another network, or a file that is not a checkpoint of it.
        MachineError: a package is missing, or the download needs a network and there is none.
    """
    from wrn_deploy.models.checkpoints.weights import match_weights, read_weights

    assert options.weights is not None
    named = None if options.model is None else describe_model(options.model)
    file, source = _find(os.fspath(options.weights), named, progress)
    checkpoint, digest = read_weights(file), sha256_of(file)
    described = checkpoint.spec
    usual = named or described
    if usual is None:
        published = source or published_as(digest)
        usual = _recognised(checkpoint, progress) if published is None else describe_model(published.network)
    if described is not None and described.name != usual.name:
        raise DeployError(f"{file} contains {described.name}: expected {usual.name}; give it its own name")
    spec = options.overrides.apply(described or usual)
    match = match_weights(checkpoint, spec, options.key)
    origin: dict[str, Any] = {"file_sha256": digest, "layout": match.layout.name, "key": match.name}
    if described is None:
        _report(match, checkpoint, progress)
        given = options.overrides.mean is not None and options.overrides.std is not None
        normalizer = None if given else match.normalizer()
        plain = dataclasses.replace(usual, classes=spec.classes, labels=())
        found = find_preprocessing(plain, file, digest, source=source, normalizer=normalizer)
        spec = options.overrides.apply(dataclasses.replace(spec, preprocessing=found.preprocessing))
        changed = ", with your changes" if spec.preprocessing != found.preprocessing else ""
        for reason in found.not_taken:
            progress.warn(f"{reason}: it is ignored; if it belongs to the weights, pass --mean, --std and --resize")
        progress.note(f"preprocessing: {describe_preprocessing(spec.preprocessing)} ({found.why}{changed})")
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


def published_weights(name: str, network: str | None) -> WeightsSource | None:
    """The published weights called `name`; None if it is a path.

    Raises:
        DeployError: a publisher that we know has no such weights, or they are of another network than `network`.
    """
    publishers = {known.partition("/")[0] for known in read_sources()}
    if Path(name).exists() or name.partition("/")[0] not in publishers:
        return None
    source = find_source(name)
    if network is not None and source.network != network:
        raise DeployError(
            f"{name} are weights of {source.network}, not of {network}: expected one of {network}'s, or the "
            f"model {source.network}"
        )
    return source


def _recognised(checkpoint: Checkpoint, progress: Progress) -> ModelSpec:
    """The one network that the tensors fit."""
    from wrn_deploy.models.checkpoints.checks import fitting_networks

    fitting = [*fitting_networks(checkpoint.states)]
    if len(fitting) != 1:
        fits = f"its tensors match {' and '.join(spec.name for spec in fitting) or 'no known network'}"
        raise UsageError(
            f"{checkpoint.file} does not say which network it is for, and {fits}: expected --model (for export and "
            "deploy: MODEL), such as wrn-16-2"
        )
    progress.note(f"{checkpoint.file}: weights of {fitting[0].name}, the only known network that its tensors match")
    return fitting[0]


def _find(name: str, network: ModelSpec | None, progress: Progress) -> tuple[Path, WeightsSource | None]:
    from wrn_deploy.models.checkpoints.fetch import fetch_weights

    source = published_weights(name, None if network is None else network.name)
    return (Path(name), None) if source is None else (fetch_weights(source, progress), source)


def _report(match: Match, checkpoint: Checkpoint, progress: Progress) -> None:
    place = f", from {match.name} in it" if match.name else ""
    progress.note(f"{checkpoint.file}: layout of {match.layout.name}{place}")
    if match.others:
        others = " and ".join(name or "a bare state dict" for name in match.others)
        progress.note(f"the file also has {others}: choose with --weights-key NAME")
    for how in match.assembled:
        progress.note(f"combined: {how}")
    if match.outside:
        progress.note(f"ignored, since they are outside {match.name}: {first_names(match.outside)}")
    if match.layout.note:
        progress.warn(f"{match.layout.name}: {match.layout.note}")
    if checkpoint.passed_over:
        progress.note(f"ignored, since they are not tensors: {', '.join(checkpoint.passed_over)}")
