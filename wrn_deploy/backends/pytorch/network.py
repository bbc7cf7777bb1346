"""PyTorch networks: a bundle's, with the interface of its graphs, and a caller's own, opened as a backend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from safetensors.torch import load_file
from torch import nn

from wrn_deploy.backends.pytorch.backend import TorchBackend
from wrn_deploy.backends.pytorch.device import CpuDevice
from wrn_deploy.bundle import Bundle
from wrn_deploy.data.preprocess import scale_and_shift
from wrn_deploy.manifest import Artifact
from wrn_deploy.plugins import load_plugin
from wrn_deploy.spec import ModelSpec, Precision

__all__ = ["load_network", "open_module"]

DTYPES = {Precision.FP32: torch.float32, Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}


def load_network(
    bundle: Bundle, weights: Artifact, precision: Precision, device: str, *, channels_last: bool
) -> nn.Module:
    """A module from images (N, *input's shape) to a tuple of the bundle's outputs, in eval mode.

    Args:
        bundle: the bundle.
        weights: its fp32 weights.
        precision: of weights and activations; inputs and outputs are those of the bundle at every precision.
        device: torch's name.
        channels_last: the memory layout of weights and activations.
    """
    network = load_plugin("wrn_deploy.models.families", bundle.spec.family).build(bundle.spec)
    load_plugin("wrn_deploy.models", "whitening").add_whitening(network, bundle.spec)
    network.load_state_dict(load_file(bundle.file(weights)))
    classifier = _take_classifier(network) if bundle.spec.interface.features else nn.Identity()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for part in (network, classifier):
        part.to(device=device, dtype=DTYPES[precision], memory_format=layout)  # type: ignore[call-overload]
    return _Network(network, classifier, bundle.spec, DTYPES[precision], layout).to(device=device).eval()


@contextlib.contextmanager
def open_module(parts: tuple[nn.Module, ...], spec: ModelSpec) -> Iterator[TorchBackend]:
    """Opens the caller's own network as a backend for the block, in eval mode; its weights are not copied.

    Inputs and outputs are float32 on the CPU, whatever the network's device and dtype. On a GPU, fp32 is fp32 and not
    TF32, as in every graph of a bundle.

    Args:
        parts: the network; or the part before its classifier, and the classifier.
        spec: its outputs are those of the parts, the last part's first, then feature maps of the first part.
    """
    parameter, shapes = next(parts[0].parameters()), [each.shape for each in spec.feature_maps]
    dtype = parameter.dtype if spec.whitening is None else torch.float32  # as in `_Network`

    def run(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values, results = images.to(device=parameter.device, dtype=dtype), list[torch.Tensor]()
        maps: list[torch.Tensor] = []
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for part in parts:
                values = part(values, maps=maps) if part is parts[0] and shapes else part(values)
                results.append(values)
        wanted = (each for each in maps if tuple(each.shape[1:]) in shapes)
        return tuple(result.float().cpu() for result in (*reversed(results), *wanted))

    with contextlib.ExitStack() as stack:
        for part in parts:
            stack.enter_context(_evaluating(part))
        yield stack.enter_context(TorchBackend(run, spec, CpuDevice))


class _Network(nn.Module):
    """The network, with its classifier apart if features are an output, inside the bundle's interface."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        classifier: nn.Module,
        spec: ModelSpec,
        dtype: torch.dtype,
        layout: torch.memory_format,
    ) -> None:
        super().__init__()
        self.network, self.classifier = network, classifier
        self._interface, self._layout = spec.interface, layout
        self._dtype = dtype if spec.whitening is None else torch.float32  # whitening computes in float32, then rounds
        self._names, self._maps = tuple(output.name for output in spec.outputs), spec.feature_maps
        for name, values in zip(("scale", "shift"), scale_and_shift(spec.preprocessing), strict=True):
            self.register_buffer(name, torch.from_numpy(values))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self._interface.pixels:
            images = (images.float() * self.scale + self.shift).permute(0, 3, 1, 2)
        images = images.to(self._dtype).contiguous(memory_format=self._layout)
        maps: list[torch.Tensor] = []
        features = self.network(images, maps=maps)  # see the contract of `models`
        logits = self.classifier(features).float()
        results = {"logits": logits, "features": features.float()}
        of_size = {each.shape[1:]: each for each in maps}
        results |= {spec.name: of_size[torch.Size(spec.shape)].float() for spec in self._maps}
        if self._interface.top_k is not None:
            # Equal logits: the lower class first, as in ONNX's TopK; torch.topk promises no order.
            order = logits.argsort(dim=1, descending=True, stable=True)[:, : self._interface.top_k]
            results |= {"top_logits": logits.gather(1, order), "top_classes": order}
        return tuple(results[name] for name in self._names)


def _take_classifier(network: nn.Module) -> nn.Module:
    """Takes the last linear layer out of the network, which then returns the features that the layer reads.

    A hook instead would see the calls of all threads that share the network.
    """
    *_, (name, classifier) = ((name, part) for name, part in network.named_modules() if isinstance(part, nn.Linear))
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    return classifier


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """In eval mode: otherwise BN would update its statistics and dropout would be active."""
    training = [part for part in network.modules() if part.training]
    network.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
