"""PyTorch eager on a CPU: the network itself, with the bundle's weights; what the other rows are compared with.

Where the bundle's graphs have an interface, `execute` does what they do: pixels in, top classes and features out.
"""

from __future__ import annotations

import importlib.util
import sys
from types import TracebackType
from typing import Any, Self

from wrn_deploy.backend import Array
from wrn_deploy.bundle import Artifact, Bundle
from wrn_deploy.data.preprocess import scale_and_shift
from wrn_deploy.errors import DeployError
from wrn_deploy.plugins import load_plugin
from wrn_deploy.spec import ModelSpec, Precision

__all__ = ["PRECISIONS", "TITLE", "find_artifact", "open_backend", "unfit"]

TITLE = "PyTorch CPU"
PRECISIONS = (Precision.FP32,)


def find_artifact(bundle: Bundle, precision: Precision) -> Artifact:
    """The weights."""
    del precision  # there is one
    return bundle.find("weights", f"wrn-deploy export {bundle.spec.name} --weights FILE --out {bundle.folder}")


def unfit(_artifact: Artifact | None) -> str | None:
    """Needs torch."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("safetensors") is None:
        return "torch is not installed: pip install 'wrn-deploy[export]'"
    return None


def open_backend(bundle: Bundle, artifact: Artifact, threads: int | None) -> TorchBackend:
    """Builds the network and loads the weights into it."""
    import torch
    from safetensors.torch import load_file

    if threads is not None:
        torch.set_num_threads(threads)
    network = load_plugin("wrn_deploy.models.families", bundle.spec.family).build(bundle.spec)
    network.load_state_dict(load_file(bundle.file(artifact)))
    classifier = _take_classifier(network) if bundle.spec.interface.features else None
    return TorchBackend(network.eval(), classifier, bundle.spec)


class TorchBackend:
    """A network in inference mode, its classifier apart where features are asked for; see `backend.Backend`."""

    def __init__(self, network: Any, classifier: Any, spec: ModelSpec) -> None:
        self.inputs, self.outputs = (spec.input,), spec.outputs
        self.batches = range(1, sys.maxsize)
        self._network, self._classifier, self._spec = network, classifier, spec
        self._images: Any = None
        self._results: dict[str, Any] = {}

    def upload(self, batch: Array) -> None:
        self._check_open()
        import torch

        self._images = torch.from_numpy(batch.copy())

    def execute(self) -> None:
        self._check_open()
        import torch

        with torch.inference_mode():
            images = self._images
            if self._spec.interface.pixels:
                scale, shift = (torch.from_numpy(values) for values in scale_and_shift(self._spec.preprocessing))
                images = (images.float() * scale + shift).permute(0, 3, 1, 2).contiguous()
            features = self._network(images)
            logits = features if self._classifier is None else self._classifier(features)
            self._results = {"logits": logits, "features": features}
            if self._spec.interface.top_k is not None:
                # Of equal logits the lower class first, as TopK of ONNX has it; torch.topk promises no order.
                order = logits.argsort(dim=1, descending=True, stable=True)[:, : self._spec.interface.top_k]
                self._results |= {"top_logits": logits.gather(1, order), "top_classes": order}

    def synchronize(self) -> None:
        """Eager on a CPU is done when `execute` returns."""
        self._check_open()

    def download(self) -> tuple[Array, ...]:
        self._check_open()
        return tuple(self._results[output.name].numpy().copy() for output in self.outputs)

    def sibling(self) -> Self:
        self._check_open()
        return type(self)(self._network, self._classifier, self._spec)

    def close(self) -> None:
        self._network = self._classifier = self._images = None
        self._results = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._network is None:
            raise DeployError("this backend is closed: open it again")


def _take_classifier(network: Any) -> Any:
    """The last linear layer, whatever the family; the network is left with nothing there, and gives what it reads.

    A hook would see the calls of all threads that share the network.
    """
    from torch import nn

    *_, (name, classifier) = ((name, part) for name, part in network.named_modules() if isinstance(part, nn.Linear))
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    return classifier.eval()
