"""The parameters of a Q/DQ graph for fine-tuning, rounded as they are stored, with straight-through gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import onnx_ir as ir
import torch

from wrn_deploy.calib.qat.parameters import BiasNames, codes_of, floats_of, integer_biases_of, scales_of, tied_scales
from wrn_deploy.calib.rounding.execute import TorchGraph, round_through
from wrn_deploy.calib.writing.for_onnxruntime import LARGEST_BIAS
from wrn_deploy.calib.writing.qdq import SMALLEST

__all__ = ["Trainable"]

# Learning rates relative to that of the weights' codes. Parameters have no unit: a code changes by steps of int8, a
# scale by its logarithm, any other number by its own magnitude.
SCALES, FLOATS = 0.1, 0.02

Values = dict[str, torch.Tensor]


class _Trained(Protocol):
    """Initializers that are computed from one tensor, `parameter`, which is zero at the start: no change."""

    parameter: torch.Tensor
    relative_rate: float

    def constants(self, made: Mapping[str, torch.Tensor]) -> Values:
        """The initializers by name, rounded as they are stored; `made` has those that were computed before."""


class Trainable:
    """The parameters of one graph: weights, biases, BN, classifier and, with `scales`, scales.

    The values of `constants` are those that `store` writes: int8 codes are whole numbers within -127..127, fp16 numbers
    are rounded to fp16, an int32 bias is a whole number of (scale of the input) x (scale of the weights). The gradient
    of rounding is 1 (straight-through, Bengio et al., arXiv:1308.3432), that of clipped values 0. So an activation's
    scale gets the gradient of LSQ (Esser et al., arXiv:1902.08153); its normalisation by the tensor's size is left out,
    since Adam divides by the gradient's magnitude.

    Not trained: zero points, the exact scale of pixels, weights that are zero for every output channel (zeros that
    stand between the weights of a folded stride), and the lone weight of a BN that has become a Conv, whose scale is
    the factor. Scales on both sides of a MaxPool stay equal.
    """

    def __init__(self, model: ir.Model, graph: TorchGraph, *, scales: bool) -> None:
        self._model, self._given = model, graph.constants
        tied = tied_scales(model.graph)
        found = dict.fromkeys(scales_of(model.graph, everything=scales))
        groups = dict.fromkeys(tied.get(name, (name,)) for name in found)
        self._scales = [_Scale(names, self._value(names[0]), self._is_half(names[0])) for names in groups]
        self._parts: list[_Trained] = [*self._scales]  # first: integer biases are made of them
        self._parts += [
            _Codes(name, self._value(name)) for name in codes_of(model.graph) if self._value(name)[0].numel() > 1
        ]
        self._parts += [
            _Float(name, self._value(name), self._is_half(name)) for name in dict.fromkeys(floats_of(model.graph))
        ]
        self._parts += [_IntegerBias(names, graph.constants) for names in integer_biases_of(model.graph)]

    @property
    def activation_scales(self) -> list[str]:
        """The trained scales of activations that belong to one tensor."""
        return [scale.names[0] for scale in self._scales if scale.parameter.ndim == 0 and len(scale.names) == 1]

    def rescale(self, factors: Mapping[str, float]) -> None:
        """Multiplies these scales."""
        for scale in self._scales:
            if scale.names[0] in factors:
                scale.multiply(factors[scale.names[0]])

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """The parameters with their learning rates, as groups of an optimizer."""
        rates = dict.fromkeys(part.relative_rate for part in self._parts)
        return [
            {
                "params": [part.parameter for part in self._parts if part.relative_rate == relative],
                "lr": rate * relative,
            }
            for relative in rates
        ]

    def constants(self) -> Values:
        """The graph's initializers as computed from the parameters, with gradients."""
        made: Values = dict(self._given)
        changed: Values = {}
        for part in self._parts:
            new = part.constants(made)
            made |= new
            changed |= new
        return changed

    def state(self) -> list[torch.Tensor]:
        """A copy of the parameters, for `restore`."""
        return [part.parameter.detach().clone() for part in self._parts]

    def restore(self, state: Sequence[torch.Tensor]) -> None:
        """Sets the parameters to those of `state`."""
        with torch.no_grad():
            for part, saved in zip(self._parts, state, strict=True):
                part.parameter.copy_(saved)

    def store(self) -> None:
        """Writes the initializers into the model, in its own types."""
        with torch.no_grad():
            values = self.constants()
        for name, tensor in values.items():
            initializer = self._model.graph.initializers[name]
            assert initializer.const_value is not None
            stored = initializer.const_value.numpy()
            array = tensor.numpy().reshape(stored.shape).astype(stored.dtype)
            initializer.const_value = ir.Tensor(array, name=name)

    def _value(self, name: str) -> torch.Tensor:
        return self._given[name].float()

    def _is_half(self, name: str) -> bool:
        stored = self._model.graph.initializers[name].const_value
        return stored is not None and stored.dtype == ir.DataType.FLOAT16


class _Codes:
    """The int8 weights of a Conv, (O, I, kh, kw): the parameter is in steps of int8."""

    relative_rate = 1.0

    def __init__(self, name: str, codes: torch.Tensor) -> None:
        self.parameter = torch.zeros_like(codes, requires_grad=True)
        self._name, self._codes = name, codes
        self._free = (codes != 0).any(dim=0, keepdim=True)

    def constants(self, made: Mapping[str, torch.Tensor]) -> Values:
        del made
        return {self._name: torch.clamp(round_through(self._codes + self.parameter * self._free), -127, 127)}


class _Scale:
    """A scale, one number or one per output channel, under all its names: the parameter is added to its logarithm."""

    relative_rate = SCALES

    def __init__(self, names: tuple[str, ...], scale: torch.Tensor, is_half: bool) -> None:
        self.parameter = torch.zeros_like(scale, requires_grad=True)
        self.names, self._scale, self._is_half = names, scale, is_half

    def multiply(self, factor: float) -> None:
        """Multiplies the scale by a factor."""
        with torch.no_grad():
            self.parameter += math.log(factor)

    def constants(self, made: Mapping[str, torch.Tensor]) -> Values:
        del made
        scale = torch.clamp(self._scale * torch.exp(self.parameter), min=SMALLEST)
        return dict.fromkeys(self.names, _as_stored(scale, self._is_half))


class _Float:
    """Any other parameter in float: a bias, the factors of a BN, a classifier, a Conv that is not int8."""

    relative_rate = FLOATS

    def __init__(self, name: str, value: torch.Tensor, is_half: bool) -> None:
        self.parameter = torch.zeros_like(value, requires_grad=True)
        self._name, self._value, self._unit, self._is_half = name, value, _unit(value), is_half

    def constants(self, made: Mapping[str, torch.Tensor]) -> Values:
        del made
        return {self._name: _as_stored(self._value + self.parameter * self._unit, self._is_half)}


class _IntegerBias:
    """An int32 bias (O,): the parameter changes its value; the codes follow from it and the scales."""

    relative_rate = FLOATS

    def __init__(self, names: BiasNames, given: Mapping[str, torch.Tensor]) -> None:
        self._names = names
        self._bias = given[names.codes].float() * given[names.scale]
        self._unit = _unit(self._bias)
        self.parameter = torch.zeros_like(self._bias, requires_grad=True)

    def constants(self, made: Mapping[str, torch.Tensor]) -> Values:
        scale = made[self._names.input_scale] * made[self._names.weight_scale]
        steps = round_through((self._bias + self.parameter * self._unit) / scale)
        return {self._names.scale: scale, self._names.codes: torch.clamp(steps, -LARGEST_BIAS, LARGEST_BIAS)}


class _HalfThrough(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, values: torch.Tensor) -> torch.Tensor:
        return values.half().float()

    @staticmethod
    def backward(_context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0]


def _as_stored(values: torch.Tensor, is_half: bool) -> torch.Tensor:
    if not is_half:
        return values
    rounded: torch.Tensor = _HalfThrough.apply(values)  # type: ignore[no-untyped-call]
    return rounded


def _unit(values: torch.Tensor) -> torch.Tensor:
    """The unit of each number's parameter: its own magnitude, or its tensor's median one if that is larger."""
    magnitudes = values.abs()
    return torch.maximum(magnitudes, magnitudes.median()).clamp(min=SMALLEST)
