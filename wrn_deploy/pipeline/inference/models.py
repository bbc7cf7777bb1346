"""What answers images: a bundle by its Runner, a network in PyTorch, or the weights of one; opened for a block."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from wrn_deploy.bundle import Bundle
from wrn_deploy.data.preprocess import as_input
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.models import Overrides
from wrn_deploy.models.checkpoints.sources import read_sources
from wrn_deploy.pipeline.networks.network import NetworkOptions
from wrn_deploy.plugins import near_names
from wrn_deploy.runtime.backend import Array, Backend
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.spec import Interface, ModelSpec, Precision

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "BundleOrWeights",
    "ExtraOutput",
    "LoadedModel",
    "ModelLike",
    "images_together",
    "open_model",
    "open_network",
]

ModelLike: TypeAlias = "str | os.PathLike[str] | Bundle | Runner | nn.Module"
FP32 = Precision.FP32
EXPECTED = "expected the folder of a bundle, a Bundle, a Runner, or a network as `get_model` gives it"


class ExtraOutput(StrEnum):
    """What must be among the outputs besides the logits; the name of the option of `export` that puts it there."""

    FEATURES = "features"
    FEATURE_MAPS = "feature-maps"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What answers.

    Args:
        spec: the network's description.
        run: uint8 (N, H, W, 3), RGB, at the network's size; or what `spec.input` says: to the outputs by name.
        random_weights: whether it is a bundle that is marked so.
        backend: what runs it, as in "torch".
        precision: at which precision.
    """

    spec: ModelSpec
    run: Callable[[Array], Mapping[str, Array]]
    random_weights: bool
    backend: str
    precision: Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleOrWeights:
    """What `eval` and `predict` are about: the folder of a bundle, or weights alone, which PyTorch runs.

    Args:
        path: the folder of a bundle; or a file of weights, or the name of published ones.
        model: the name of the weights' network; None: a bundle, or weights that say it themselves.
        overrides: changes to the description of the weights' network.
        key: which state dict of the weights' file, where it has several.

    Raises:
        UsageError: a network, or changes, for a bundle.
        DeployError: there is nothing at the path, and no weights are known by that name.
    """

    path: Path
    model: str | None = None
    overrides: Overrides = field(default_factory=Overrides)
    key: str = ""

    def __post_init__(self) -> None:
        name, known = str(self.path), read_sources()
        if not self.path.exists() and name not in known:
            raise DeployError(
                f"there is nothing at {name}{near_names(name, list(known))}: expected the folder of a bundle, which "
                "`wrn-deploy export` makes, or weights: a file, or known by name"
            )
        if self.path.is_dir() and (self.model is not None or self.overrides != Overrides() or self.key):
            raise UsageError(
                f"{self.path} is a folder, and a bundle's network and preprocessing are kept in it: expected no "
                "--model, --classes, --labels, --mean, --std, --resize or --weights-key; they are for weights"
            )

    @property
    def is_bundle(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    @property
    def network(self) -> NetworkOptions:
        """The network of the weights."""
        return NetworkOptions(model=self.model, weights=self.path, overrides=self.overrides, key=self.key)


@contextlib.contextmanager
def open_model(
    model: ModelLike,
    backend: str | None = None,
    precision: Precision | str | None = None,
    also: ExtraOutput | None = None,
) -> Iterator[LoadedModel]:
    """Opens it for the block; a Runner and a network stay as they are.

    Args:
        model: a bundle, or its folder; a Runner; or a network with its description in `.spec`.
        backend: for a bundle, as `Runner.open`.
        precision: likewise.
        also: what must be among the outputs.

    Raises:
        UsageError: `backend` or `precision` for something that is open already.
        DeployError: it is nothing of these, or does not give what it must.
        MachineError: this machine cannot run it.
    """
    if isinstance(model, str | os.PathLike | Bundle):
        folder = model.folder if isinstance(model, Bundle) else Path(model)
        with Runner.open(folder, precision=precision, backend=backend) as runner:
            yield _of_runner(runner, also)
        return
    if backend is not None or precision is not None:
        raise UsageError(
            f"backend {backend}, precision {precision}: expected none with {_kind(model)}, which runs as it is; give "
            "the bundle itself to choose"
        )
    if isinstance(model, Runner):
        yield _of_runner(model, also)
        return
    with open_network(model, also) as (spec, opened):
        yield LoadedModel(
            spec, functools.partial(_ask, opened, spec), random_weights=False, backend="torch", precision=FP32
        )


@contextlib.contextmanager
def open_network(network: nn.Module, also: ExtraOutput | None = None) -> Iterator[tuple[ModelSpec, Backend]]:
    """A network in PyTorch, as it stands, as a backend for the block; and the description of what that gives.

    Raises:
        DeployError: it is no network, has no description, or none that it fits.
    """
    spec = _spec_of(network)
    from wrn_deploy.backends.pytorch.network import open_module
    from wrn_deploy.models.cost import shape_feature_maps
    from wrn_deploy.models.image_classifier import split_classifier

    parts: tuple[nn.Module, ...] = (network,)
    if also is ExtraOutput.FEATURES:
        parts = split_classifier(network)
        spec = dataclasses.replace(spec, interface=Interface(features=parts[1].in_features))
    elif also is ExtraOutput.FEATURE_MAPS:
        spec = dataclasses.replace(spec, interface=Interface(feature_maps=shape_feature_maps(spec)))
    with open_module(parts, spec) as backend:
        yield spec, backend


def images_together(spec: ModelSpec) -> int:
    """How many images are taken at once where nothing is timed: 64 small ones or 8 large ones."""
    return 64 if spec.preprocessing.height < 64 else 8


def _of_runner(runner: Runner, also: ExtraOutput | None) -> LoadedModel:
    bundle = runner.bundle
    gives = {
        ExtraOutput.FEATURES: bundle.spec.interface.features,
        ExtraOutput.FEATURE_MAPS: bundle.spec.interface.feature_maps,
    }
    if also is not None and not gives[also]:
        raise DeployError(
            f"{bundle.folder} gives no {also}: expected a bundle exported with --{also}, as in "
            f"`wrn-deploy export {bundle.spec.name} --weights FILE --{also} --out FOLDER`"
        )
    return LoadedModel(bundle.spec, runner.run, bundle.random_weights, runner.backend, runner.precision)


def _ask(backend: Backend, spec: ModelSpec, images: Array) -> Mapping[str, Array]:
    batch = as_input(images, spec) if images.dtype == np.uint8 else images
    if (batch.dtype, batch.shape[1:]) != (np.dtype(spec.input.dtype), spec.input.shape):
        raise DeployError(
            f"images are {images.dtype} {images.shape}: expected normalised float32 (N, "
            f"{', '.join(map(str, spec.input.shape))}), N at least 1"
        )
    backend.upload(batch)
    backend.execute()
    backend.synchronize()
    results = backend.download()
    for output, result in zip(backend.outputs, results, strict=True):
        if result.shape != (len(batch), *output.shape):
            raise DeployError(
                f"the network gives {output.name} of shape {result.shape}: expected "
                f"{(len(batch), *output.shape)}, as its description says"
            )
    return {output.name: result for output, result in zip(backend.outputs, results, strict=True)}


def _spec_of(what: Any) -> ModelSpec:
    torch = sys.modules.get("torch")  # without it nobody can have a network
    if torch is None or not isinstance(what, torch.nn.Module):
        raise DeployError(f"this is a {_kind(what)}: {EXPECTED}")
    spec = getattr(what, "spec", None)
    if not isinstance(spec, ModelSpec):
        raise DeployError(
            f"this {_kind(what)} has no description: {EXPECTED}; or set its `spec` to a wrn_deploy.spec.ModelSpec"
        )
    return spec.core


def _kind(what: object) -> str:
    return type(what).__qualname__
