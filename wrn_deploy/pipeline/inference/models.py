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
from wrn_deploy.manifest import MANIFEST
from wrn_deploy.models import Overrides
from wrn_deploy.models.checkpoints.foreign_files import check_folder
from wrn_deploy.models.checkpoints.sources import read_sources
from wrn_deploy.pipeline.networks.network import NetworkOptions
from wrn_deploy.plugins import near_names
from wrn_deploy.runtime.backend import Array, Backend
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.spec import Interface, ModelSpec, Precision

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "BundleOrWeights", "ExtraOutput", "LoadedModel", "ModelLike", "images_together", "open_model", "open_network",
]  # fmt: skip

ModelLike: TypeAlias = "str | os.PathLike[str] | Bundle | Runner | nn.Module"
EXPECTED = "expected the folder of a bundle, a Bundle, a Runner, or a network that `get_model` returns"


class ExtraOutput(StrEnum):
    """An output that a caller needs besides the logits, by the name of the option of `export` that adds it."""

    FEATURES = "features"
    FEATURE_MAPS = "feature-maps"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model that is ready to answer.

    Args:
        spec: the network's description.
        run: maps uint8 (N, H, W, 3), RGB, at the network's size, or what `spec.input` says, to the outputs by name,
            which the caller checks with `check_finite`: it knows the images' names.
        random_weights: whether it is a bundle that is marked so.
        backend: what runs it, as in "torch".
        precision: its precision.
    """

    spec: ModelSpec
    run: Callable[[Array], Mapping[str, Array]]
    random_weights: bool
    backend: str
    precision: Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleOrWeights:
    """The target of `eval` and `predict`: the folder of a bundle, or weights alone, which PyTorch runs.

    Args:
        path: the folder of a bundle; or a file of weights, or the name of published ones.
        model: the name of the weights' network; None: a bundle, or weights that name it themselves.
        overrides: changes to the description of the weights' network.
        key: which state dict of the weights' file, if it has several.

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
                f"nothing found at {name!r}{near_names(name, list(known))}: expected the folder of a bundle, "
                "which `wrn-deploy export` makes, or weights: a file or a name"
            )
        if (self.model is not None or self.overrides != Overrides() or self.key) and self.is_bundle:
            raise UsageError(
                f"{self.path} is a bundle, which has its own network and preprocessing: expected no "
                "--model, --classes, --labels, --mean, --std, --resize or --weights-key; they apply to weights only"
            )

    @property
    def is_bundle(self) -> bool:
        """Whether it is a bundle's folder; raises DeployError for a folder of something else."""
        if self.path.is_dir() and not (self.path / MANIFEST).is_file():
            check_folder(self.path)
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
    extra: ExtraOutput | None = None,
) -> Iterator[LoadedModel]:
    """Opens the model for the block; a Runner and a network stay as they are.

    Args:
        model: a bundle, or its folder; a Runner; or a network with its description in `.spec`.
        backend: for a bundle, as `Runner.open`.
        precision: likewise.
        extra: must be among the outputs.

    Raises:
        UsageError: `backend` or `precision` for something that is open already.
        DeployError: it is none of these, or lacks `extra`.
        MachineError: this machine cannot run it.
    """
    if isinstance(model, str | os.PathLike | Bundle):
        folder = model.folder if isinstance(model, Bundle) else Path(model)
        with Runner.open(folder, precision=precision, backend=backend, allow_nonfinite=True) as runner:
            yield _of_runner(runner, extra)
        return
    if backend is not None or precision is not None:
        raise UsageError(
            f"backend {backend}, precision {precision}: expected none with {type(model).__qualname__}, which runs as "
            "it is; give the bundle itself to choose"
        )
    if isinstance(model, Runner):
        yield _of_runner(model, extra)
        return
    with open_network(model, extra) as (spec, opened):
        run = functools.partial(_infer, opened, spec)
        yield LoadedModel(spec=spec, run=run, random_weights=False, backend="torch", precision=Precision.FP32)


@contextlib.contextmanager
def open_network(network: nn.Module, extra: ExtraOutput | None = None) -> Iterator[tuple[ModelSpec, Backend]]:
    """Opens a network in PyTorch, as it stands, as a backend for the block; yields it with its description.

    Raises:
        DeployError: it is not a network, or has no description that it fits.
    """
    spec = _spec_of(network)
    from wrn_deploy.backends.pytorch.network import open_module
    from wrn_deploy.models.cost import shape_feature_maps
    from wrn_deploy.models.image_classifier import split_classifier

    parts: tuple[nn.Module, ...] = (network,)
    if extra is ExtraOutput.FEATURES:
        parts = split_classifier(network)
        spec = dataclasses.replace(spec, interface=Interface(features=parts[1].in_features))
    elif extra is ExtraOutput.FEATURE_MAPS:
        spec = dataclasses.replace(spec, interface=Interface(feature_maps=shape_feature_maps(spec)))
    with open_module(parts, spec) as backend:
        yield spec, backend


def images_together(spec: ModelSpec) -> int:
    """Returns the batch size if nothing is timed: 64 small images or 8 large ones."""
    return 64 if spec.preprocessing.height < 64 else 8


def _of_runner(runner: Runner, extra: ExtraOutput | None) -> LoadedModel:
    bundle = runner.bundle
    if extra is not None and not getattr(bundle.spec.interface, extra.name.lower()):
        raise DeployError(
            f"{bundle.folder} gives no {extra}: expected a bundle exported with --{extra}, such as "
            f"`wrn-deploy export {bundle.spec.name} --weights FILE --{extra} --out FOLDER`"
        )
    return LoadedModel(
        spec=bundle.spec,
        run=runner.run,
        random_weights=bundle.random_weights,
        backend=runner.backend,
        precision=runner.precision,
    )


def _infer(backend: Backend, spec: ModelSpec, images: Array) -> Mapping[str, Array]:
    batch = as_input(images, spec.preprocessing, spec.input) if images.dtype == np.uint8 else images
    if (batch.dtype, batch.shape[1:]) != (np.dtype(spec.input.dtype), spec.input.shape):
        raise DeployError(
            f"images are {images.dtype} {images.shape}: expected normalised float32 (N, "
            f"{', '.join(map(str, spec.input.shape))}), N at least 1"
        )
    results: dict[str, Array] = {}
    for output, result in zip(backend.outputs, backend.infer(batch), strict=True):
        if result.shape != (len(batch), *output.shape):
            raise DeployError(
                f"the network gives {output.name} of shape {result.shape}: expected "
                f"{(len(batch), *output.shape)}, as its description says"
            )
        results[output.name] = result
    return results


def _spec_of(network: Any) -> ModelSpec:
    torch = sys.modules.get("torch")  # without it nobody can have a network
    if torch is None or not isinstance(network, torch.nn.Module):
        raise DeployError(f"this is a {type(network).__qualname__}: {EXPECTED}")
    spec = getattr(network, "spec", None)
    if not isinstance(spec, ModelSpec):
        raise DeployError(
            f"this {type(network).__qualname__} has no description: {EXPECTED}; or set its `spec` to a "
            "wrn_deploy.spec.ModelSpec"
        )
    return spec.core
