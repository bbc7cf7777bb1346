"""Which network in a checkpoint is taken: wrappers inside keys, tensors outside of the network, two whole networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.fitting import fit_weights
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.models.checkpoints.match import Match
from wrn_deploy.models.checkpoints.weights import Checkpoint

State = dict[str, torch.Tensor]
SPEC = describe_model("wrn-10-1")
WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_module")


def _state(seed: int) -> State:
    torch.manual_seed(seed)
    made = build_model(SPEC).state_dict()
    return {key: torch.rand(value.shape) + 0.1 for key, value in made.items() if value.is_floating_point()}


WANTED, OTHER = _state(1), _state(2)


def _prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def _loaded(states: State | dict[str, State], key: str = "") -> tuple[State, Match]:
    """Loads state dicts by path, or a bare one."""
    network = build_model(SPEC)
    found: Any = states if all(isinstance(state, dict) for state in states.values()) else {"": states}
    match = fit_weights(network, Checkpoint(Path("w.pth"), found), SPEC, key)
    return dict(network.state_dict()), match


def _same(found: State, wanted: State) -> bool:
    return all(torch.equal(found[key], value) for key, value in wanted.items())


def _blocks(name: Callable[[str], str]) -> State:
    return {name(key) if key.startswith("block") else key: value for key, value in WANTED.items()}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("after", [1, 2, 3], ids=["group", "block", "layer"])
def test_a_wrapper_s_name_is_no_part_of_a_key_wherever_it_stands(wrapper: str, after: int) -> None:
    def wrapped(key: str) -> str:
        parts = key.split(".")
        return ".".join([*parts[:after], wrapper, *parts[after:]])

    found, match = _loaded(_blocks(wrapped))
    assert _same(found, WANTED)
    assert match.outside == match.left_over == ()


def test_wrappers_may_be_nested_in_any_order_and_differ_between_keys() -> None:
    first, second = "_fsdp_wrapped_module._checkpoint_wrapped_module", "_checkpoint_wrapped_module._orig_mod.module"
    mixed = _blocks(lambda key: key.replace(".0.", f".0.{first if 'block1' in key else second}."))
    found, match = _loaded(_prefixed("_orig_mod.module.", mixed))
    assert _same(found, WANTED)
    assert match.name == "_orig_mod.module"


def test_some_keys_alone_may_be_wrapped_in_front() -> None:
    found, _ = _loaded({f"module.{key}" if "conv" in key else key: value for key, value in WANTED.items()})
    assert _same(found, WANTED)


def test_two_keys_that_differ_in_wrappers_alone_are_named() -> None:
    both = {**_prefixed("model.", WANTED), "model.fc._orig_mod.bias": torch.ones(10)}
    with pytest.raises(
        DeployError, match=r"w\.pth: model\.fc\.bias and model\.fc\._orig_mod\.bias are the same tensor"
    ):
        _loaded(both)


def test_of_a_network_and_a_wrapped_one_the_wrapped_one_can_be_chosen() -> None:
    both = {**WANTED, **_prefixed("module.", OTHER)}
    with pytest.raises(DeployError, match=r"and module\.\S+ are the same tensor without the names of wrappers"):
        _loaded(both)
    assert _same(_loaded(both, "module")[0], OTHER)


@pytest.mark.parametrize("prefix", ["model.", "module.", "net._orig_mod."])
def test_what_lies_outside_of_a_whole_network_is_passed_over_and_named(prefix: str) -> None:
    beside = {"criterion.weight": torch.ones(10), "train_acc.correct": torch.tensor(3)}
    found, match = _loaded({**_prefixed(prefix, WANTED), **beside})
    assert _same(found, WANTED)
    assert match.outside == ("criterion.weight", "train_acc.correct")


@pytest.mark.parametrize(
    ("prefix", "extra"), [("model.", "model.attention.weight"), ("", "criterion.weight")], ids=["inside", "bare"]
)
def test_what_may_be_a_part_of_the_network_is_left_over(prefix: str, extra: str) -> None:
    with pytest.raises(
        DeployError, match=rf"1 unexpected: {extra}\. If its network does not need the unexpected weights"
    ):
        _loaded({**_prefixed(prefix, WANTED), extra: torch.ones(10)})


def test_nothing_is_passed_over_beside_a_network_that_is_not_whole() -> None:
    parts = {
        **_prefixed("backbone.", {key: v for key, v in WANTED.items() if "fc" not in key}),
        "x.bias": torch.ones(1),
    }
    with pytest.raises(DeployError, match=r"2 missing: backbone\.fc\.weight, .*\.fc\.bias; 1 unexpected: x\.bias"):
        _loaded(parts)


@pytest.mark.parametrize(
    ("states", "names"),
    [
        ({**_prefixed("net_a.", WANTED), **_prefixed("net_b.", OTHER)}, ("net_a", "net_b")),
        ({"state_dict": WANTED, "best_state_dict": OTHER}, ("state_dict", "best_state_dict")),
        ({"ema": WANTED, "swa_model": OTHER, "net": OTHER}, ("ema", "swa_model")),
        ({**WANTED, **_prefixed("key_encoder.", OTHER)}, (".", "key_encoder")),
    ],
    ids=["prefixes", "paths", "two averages", "bare"],
)
def test_two_networks_with_one_rank_are_an_error_that_names_both(
    states: State | dict[str, State], names: tuple[str, str]
) -> None:
    with pytest.raises(UsageError, match=r"the file has two networks, .* choose one with --weights-key") as error:
        _loaded(states)
    assert all(name in str(error.value) for name in names)
    assert _same(_loaded(states, names[0])[0], WANTED)
    assert _same(_loaded(states, names[1])[0], OTHER)


def test_two_equal_networks_are_one() -> None:
    """As a module keeps its network and the compiled one."""
    found, match = _loaded({**_prefixed("net.", WANTED), **_prefixed("compiled._orig_mod.", WANTED)})
    assert _same(found, WANTED)
    assert match.outside == ()


def test_several_normalising_layers_must_agree() -> None:
    layer = {"mean": torch.tensor([0.1, 0.2, 0.3]), "std": torch.tensor([0.4, 0.5, 0.6])}
    state = {**_prefixed("student.", WANTED), **_prefixed("a.", layer), **_prefixed("b.", layer)}
    assert _loaded(state)[1].normalizer() == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    state["b.mean"] = torch.tensor([0.0, 0.0, 0.0])
    with pytest.raises(DeployError, match=r"a\.mean and b\.mean differ: .* pass --mean and --std"):
        _loaded(state)[1].normalizer()
