"""Learns how to round the Convs' weights of a Q/DQ graph, all together, from the calibration images only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from wrn_deploy.calib.rounding.execute import TorchGraph, round_through
from wrn_deploy.calib.writing.int8_weights import Int8Weights, find_int8_weights
from wrn_deploy.graph import value_name

__all__ = ["Learning", "learn_rounding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """Length and rates of learning the rounding."""

    steps: int = 600
    batch: int = 32
    weight_rate: float = 0.005  # in steps of int8
    bias_rate: float = 0.0005  # in the mean magnitude of a layer's biases
    seed: int = 0


def learn_rounding(
    qdq: ir.Model, fp32: ir.Model, images: torch.Tensor, learning: Learning, advance: Callable[[], None]
) -> None:
    """Changes codes and biases of the Q/DQ graph, in place, so that its logits come nearer to those of the fp32 graph.

    Each weight is scale * clamp(round(code + v), -127, 127); v starts at 0 and minimises the mean squared error of the
    logits by Adam, with the straight-through gradient of rounding (Bengio et al., arXiv:1308.3432). AdaRound (Nagel et
    al., arXiv:2004.10568) instead learns h(v) in 0..1 in floor(w / scale) + h(v), a layer at a time. Here all layers
    learn together, and a weight may move further than to its neighbour, since it also compensates the rounding of the
    activations. It starts from the codes of the error feedback, which is near: so it comes after `correct`.

    No label is used. Images are mirrored and mixed in pairs (mixup, arXiv:1710.09412): mixtures lie between classes,
    where the network is easily moved, and few images then last for many steps.

    Args:
        qdq: a graph with int8 weights stored with a DQ.
        fp32: the graph that `qdq` was made from.
        images: normalised, (N, 3, H, W).
        learning: length, batch size and rates.
        advance: called after each step.
    """
    student, teacher = TorchGraph(qdq), TorchGraph(fp32)
    convs = [_Learned(conv, student) for conv in find_int8_weights(qdq).values()]
    optimizer = torch.optim.Adam(
        [
            {"params": [conv.weight_change for conv in convs], "lr": learning.weight_rate},
            {"params": [conv.bias_change for conv in convs], "lr": learning.bias_rate},
        ]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, learning.steps)
    generator = torch.Generator().manual_seed(learning.seed)
    for _ in range(learning.steps):
        batch = _mixed(images, learning.batch, generator)
        with torch.no_grad():
            wanted = teacher.run(batch)
        constants = {name: value for conv in convs for name, value in conv.constants().items()}
        loss = ((student.run(batch, constants) - wanted) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        advance()
    for conv in convs:
        conv.store()


class _Learned:
    """The parameters of one Conv: the changes of its codes and of its bias, zero at the start."""

    def __init__(self, conv: Int8Weights, graph: TorchGraph) -> None:
        self.conv = conv
        self.codes_name, self.bias_name = value_name(conv.codes_value), value_name(conv.bias_value)
        self.codes = torch.from_numpy(conv.codes.astype(np.float32))
        self.bias = graph.constants[self.bias_name].float()
        self.unit = float(self.bias.abs().mean()) or 1.0
        self.weight_change = torch.zeros_like(self.codes, requires_grad=True)
        self.bias_change = torch.zeros_like(self.bias, requires_grad=True)

    def constants(self) -> dict[str, torch.Tensor]:
        """The graph's initializers with these changes; integer biases are not rounded here."""
        codes = torch.clamp(round_through(self.codes + self.weight_change), -127, 127)
        return {self.codes_name: codes, self.bias_name: self.bias + self.bias_change * self.unit}

    def store(self) -> None:
        """Writes them into the graph."""
        with torch.no_grad():
            now = self.constants()
        self.conv.set_codes(now[self.codes_name].numpy().astype(np.int8))
        scale = 1.0 if self.conv.bias_scale is None else self.conv.bias_scale
        self.conv.set_bias(now[self.bias_name].numpy() * scale)


def _mixed(images: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """`size` images, each mixed with another one in a random proportion; half of the batches are mirrored."""
    first, second = (images[torch.randint(len(images), (size,), generator=generator)] for _ in range(2))
    fraction = torch.rand(size, 1, 1, 1, generator=generator)
    mixed = fraction * first + (1.0 - fraction) * second
    return mixed.flip(3) if torch.rand(1, generator=generator) < 0.5 else mixed
