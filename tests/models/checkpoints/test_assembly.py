"""Weights in parts: those that PyTorch's pruning, weight and spectral normalisation save give the same network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from tests.models.fitting import fit_weights
from wrn_deploy.errors import DeployError
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.models.checkpoints.assembly import assemble
from wrn_deploy.models.checkpoints.match import Match
from wrn_deploy.models.checkpoints.weights import Checkpoint

WHOLE = torch.ones(16, 3, 3, 3)
PRUNE: Any = prune  # without types
SPEC = describe_model("wrn-10-1")
Apply = Callable[[Any], Any]


def _pruned_norm(layer: Any) -> None:
    weight_norm(layer)
    PRUNE.l1_unstructured(layer, "weight_v", 0.3)


APPLIED: dict[str, Apply] = {
    "pruned": lambda layer: PRUNE.l1_unstructured(layer, "weight", 0.5),
    "pruned in structure": lambda layer: PRUNE.ln_structured(layer, "weight", 0.5, 2, 0),
    "weight norm": weight_norm,
    "weight norm, inputs": lambda layer: weight_norm(layer, dim=1),
    "weight norm, whole": lambda layer: weight_norm(layer, dim=cast("int", None)),
    "weight norm, new": parametrizations.weight_norm,
    "weight norm, new, inputs": lambda layer: parametrizations.weight_norm(layer, dim=1),
    "spectral norm": spectral_norm,
    "spectral norm, new": parametrizations.spectral_norm,
    "pruned weight norm": _pruned_norm,
}


def _network() -> nn.Module:
    torch.manual_seed(3)
    network = build_model(SPEC)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape).abs() + 0.1)
    return network


def _layers(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def _fit(state: dict[str, torch.Tensor]) -> tuple[nn.Module, Match]:
    fresh = build_model(SPEC)
    return fresh.eval(), fit_weights(fresh, Checkpoint(Path("w.pth"), {"": state}), SPEC)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("apply", APPLIED.values(), ids=APPLIED.keys())
def test_the_network_answers_as_torch_s_own(apply: Apply) -> None:
    network, images = _network(), torch.rand(4, 3, 32, 32)
    for layer in _layers(network):
        apply(layer)
    for _ in range(3):  # spectral norm learns u and v
        network.train()(images)
    state = dict(network.state_dict())
    assert "conv1.weight" not in state
    fresh, match = _fit({f"module.{key}": value for key, value in state.items()})
    assert match.assembled[0].startswith(f"{len(_layers(network))} ")
    for ours, theirs in zip(_layers(fresh), _layers(network.eval()), strict=True):
        network(images[:1])  # the older functions compute the weight in forward
        torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-6, atol=1e-7)
    with torch.inference_mode():
        torch.testing.assert_close(fresh(images), network(images), rtol=1e-5, atol=1e-4)


def test_values_by_hand() -> None:
    direction = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    made = assemble({"a.weight_g": torch.tensor([[10.0], [1.0]]), "a.weight_v": direction, "b": torch.zeros(1)})
    assert made.state["a.weight"].tolist() == [[6.0, 8.0], [0.0, 1.0]]
    assert made.state.keys() == {"a.weight", "b"}
    halves = assemble({"w_orig": direction.half(), "w_mask": torch.tensor([[1, 0], [0, 1]])})
    assert halves.state["w"].tolist() == [[3.0, 0.0], [0.0, 2.0]]
    assert halves.state["w"].dtype == torch.float32
    parts = {"w_orig": torch.diag(torch.tensor([4.0, 1.0])), "w_u": torch.tensor([1.0, 0.0])}
    assert assemble({**parts, "w_v": parts["w_u"]}).state["w"].tolist() == [[1.0, 0.0], [0.0, 0.25]]


def _parts(**changed: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """A whole network's weights but the first Conv's, of which there are these parts."""
    state = dict(_network().state_dict())
    del state["conv1.weight"]
    named = {f"conv1.{role}": part for role, part in changed.items()}
    return {**state, **{key: part for key, part in named.items() if part is not None}}


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"weight_orig": WHOLE}, "expected conv1.weight_orig with conv1.weight_mask; or"),
        ({"weight_mask": WHOLE}, "conv1.weight is in parts, conv1.weight_mask, and expected"),
        ({"weight_g": torch.ones(16, 1, 1, 1), "weight_mask": WHOLE}, "expected conv1.weight_orig"),
        ({"weight_orig": WHOLE, "weight_u": torch.ones(16)}, "expected conv1.weight_orig"),
        ({"weight_orig": WHOLE, "weight_mask": torch.ones(3)}, "the mask is (3,): expected (16, 3, 3"),
        ({"weight_g": torch.ones(3), "weight_v": WHOLE}, "the lengths are (3,): expected one for eac"),
        ({"weight_g": torch.ones(1, 1, 1, 1), "weight_v": WHOLE}, "the lengths are (1, 1, 1, 1)"),
        ({"weight_orig": WHOLE, "weight_u": torch.ones(3), "weight_v": torch.ones(27)}, "u and v are"),
        ({"weight": WHOLE, "weight_g": torch.ones(16, 1, 1, 1), "weight_v": WHOLE},
         "the combined weight is also present"),
        ({"parametrizations.weight.original": WHOLE}, "parametrize.remove_parametrizations"),
        ({"weight_g": torch.ones(16, 1, 1, 1), "weight_v": WHOLE.to(torch.int8)}, "floating-point"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_an_error_with_the_remedy(parts: dict[str, torch.Tensor], text: str) -> None:
    with pytest.raises(DeployError) as error:
        _fit(_parts(**parts))
    assert text in str(error.value)
    assert "w.pth has 1 weight that cannot be combined" in str(error.value)
    assert "save again" in str(error.value)


def test_parts_beside_the_network_do_not_matter() -> None:
    state = {
        **{f"net.{key}": value for key, value in _network().state_dict().items()},
        "critic.weight_orig": torch.ones(2),
    }
    assert _fit(state)[1].outside == ("critic.weight_orig",)
