"""The parameters of a Q/DQ graph for fine-tuning, rounded as they are stored, with straight-through gradients."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch

from wrn_deploy.calib.qat.execute import TorchGraph
from wrn_deploy.calib.qat.operators import round_through
from wrn_deploy.calib.qat.parameters import BiasNames, codes_of, floats_of, integer_biases_of, scales_of, tied_scales
from wrn_deploy.calib.writing.for_onnxruntime import LARGEST_BIAS
from wrn_deploy.calib.writing.qdq import SMALLEST
from wrn_deploy.graph import array_of

__all__ = ["Trainable"]

# Learning rates relative to that of the weights' codes. Parameters have no unit: a code changes by steps of int8, a
# scale by its logarithm, any other number by its own magnitude.
SCALES, FLOATS = 0.1, 0.02

Values = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """Initializers that are computed from one tensor, `parameter`, which is zero at the start: no change.

    `constants` takes the initializers that were computed before, and returns these by name, rounded as they are stored.
    """

    parameter: torch.Tensor
    relative_rate: float
    constants: Callable[[Mapping[str, torch.Tensor]], Values]


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
        groups = dict.fromkeys(tied.get(name, (name,)) for name in scales_of(model.graph, everything=scales))
        self._scales = {names: _scale(names, self._value(names[0]), self._is_half(names[0])) for names in groups}
        codes = [name for name in codes_of(model.graph) if self._value(name)[0].numel() > 1]
        floats = dict.fromkeys(floats_of(model.graph))
        self._parts = [
            *self._scales.values(),  # first: integer biases are made of them
            *(_codes(name, self._value(name)) for name in codes),
            *(_float(name, self._value(name), self._is_half(name)) for name in floats),
            *(_integer_bias(names, graph.constants) for names in integer_biases_of(model.graph)),
        ]

    @property
    def activation_scales(self) -> list[str]:
        """The trained scales of activations that belong to one tensor."""
        return [names[0] for names, scale in self._scales.items() if scale.parameter.ndim == 0 and len(names) == 1]

    def rescale(self, factors: Mapping[str, float]) -> None:
        """Multiplies these scales."""
        with torch.no_grad():
            for names, scale in self._scales.items():
                if names[0] in factors:
                    scale.parameter.add_(math.log(factors[names[0]]))

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """The parameters with their learning rates, as groups of an optimizer."""
        parts: dict[float, list[torch.Tensor]] = {}
        for part in self._parts:
            parts.setdefault(part.relative_rate, []).append(part.parameter)
        return [{"params": parameters, "lr": rate * relative} for relative, parameters in parts.items()]

    def constants(self) -> Values:
        """Computes the graph's initializers from the parameters, with gradients."""
        changed: Values = {}
        made = ChainMap(changed, self._given)
        for part in self._parts:
            changed.update(part.constants(made))
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
            stored = array_of(initializer)
            array = tensor.numpy().reshape(stored.shape).astype(stored.dtype)
            initializer.const_value = ir.Tensor(array, name=name)

    def _value(self, name: str) -> torch.Tensor:
        return self._given[name].float()

    def _is_half(self, name: str) -> bool:
        return bool(array_of(self._model.graph.initializers[name]).dtype == "float16")


def _zeros(values: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(values, requires_grad=True)


def _codes(name: str, codes: torch.Tensor) -> _Trained:
    """The int8 weights of a Conv, (O, I, kh, kw): the parameter is in steps of int8."""
    parameter, free = _zeros(codes), (codes != 0).any(dim=0, keepdim=True)

    def constants(_made: Mapping[str, torch.Tensor]) -> Values:
        return {name: torch.clamp(round_through(codes + parameter * free), -127, 127)}

    return _Trained(parameter=parameter, relative_rate=1.0, constants=constants)


def _scale(names: tuple[str, ...], scale: torch.Tensor, is_half: bool) -> _Trained:
    """A scale, one number or one per output channel, under all its names: the parameter is added to its logarithm."""
    parameter = _zeros(scale)

    def constants(_made: Mapping[str, torch.Tensor]) -> Values:
        changed = torch.clamp(scale * torch.exp(parameter), min=SMALLEST)
        return dict.fromkeys(names, _as_stored(changed, is_half))

    return _Trained(parameter=parameter, relative_rate=SCALES, constants=constants)


def _float(name: str, value: torch.Tensor, is_half: bool) -> _Trained:
    """Any other parameter in float: a bias, the factors of a BN, a classifier, a Conv that is not int8."""
    parameter, unit = _zeros(value), _unit(value)

    def constants(_made: Mapping[str, torch.Tensor]) -> Values:
        return {name: _as_stored(value + parameter * unit, is_half)}

    return _Trained(parameter=parameter, relative_rate=FLOATS, constants=constants)


def _integer_bias(names: BiasNames, given: Mapping[str, torch.Tensor]) -> _Trained:
    """An int32 bias (O,): the parameter changes its value; the codes follow from it and the scales."""
    bias = given[names.codes].float() * given[names.scale]
    parameter, unit = _zeros(bias), _unit(bias)

    def constants(made: Mapping[str, torch.Tensor]) -> Values:
        scale = made[names.input_scale] * made[names.weight_scale]
        steps = round_through((bias + parameter * unit) / scale)
        return {names.scale: scale, names.codes: torch.clamp(steps, -LARGEST_BIAS, LARGEST_BIAS)}

    return _Trained(parameter=parameter, relative_rate=FLOATS, constants=constants)


def _as_stored(values: torch.Tensor, is_half: bool) -> torch.Tensor:
    return round_through(values, lambda exact: exact.half().float()) if is_half else values


def _unit(values: torch.Tensor) -> torch.Tensor:
    """The unit of each number's parameter: its own magnitude, or its tensor's median one if that is larger."""
    magnitudes = values.abs()
    return torch.maximum(magnitudes, magnitudes.median()).clamp(min=SMALLEST)
