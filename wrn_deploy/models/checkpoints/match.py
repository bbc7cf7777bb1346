"""Recognises which state dict of a checkpoint, behind which prefix and in which layout, is a network; torch only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from wrn_deploy.errors import UsageError
from wrn_deploy.models.checkpoints.layout import KeyLayout
from wrn_deploy.models.checkpoints.state_dicts import State, preference

__all__ = ["Match", "find_match", "is_count"]

Shapes = Mapping[str, torch.Size]

COUNTS = ("num_batches_tracked", "n_averaged", "steps")  # of BN, of torch's averaged models, of mmengine's
NORMALIZER = {
    "mean": re.compile(r"(.*\.)?_?(mean|mu|image_mean)"),
    "std": re.compile(r"(.*\.)?_?(std|sigma|image_std)"),
}


@dataclass(frozen=True, slots=True)
class Match:
    """The part of a checkpoint that is taken for a network.

    Args:
        layout: how its tensors are named.
        path: of the state dict in the file, as in "state_dict"; "" where it is the file itself.
        prefix: of all its keys, as in "module.".
        pairs: key of ours -> key in the state dict, whether or not it is there.
        state: the state dict.
        others: names of other state dicts in the file that are such a network too, as `--weights-key` takes them.
        left_over: keys that belong to none of this.
    """

    layout: KeyLayout
    path: str
    prefix: str
    pairs: Mapping[str, str]
    state: State
    others: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What `--weights-key` takes for it: path and prefix; "" for a bare state dict."""
        return _name(self.path, self.prefix)

    def normalizer(self) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
        """Mean and deviation of a normalising layer before the network, as RobustBench's have one; None without."""
        found = {what: _three(self.state, pattern) for what, pattern in NORMALIZER.items()}
        mean, std = found["mean"], found["std"]
        return None if mean is None or std is None else (mean, std)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A guess: `fitting` tensors are there in the right shape, `found` in any, of `expected`."""

    layout: KeyLayout
    path: str
    prefix: str
    fitting: int
    found: int
    expected: int

    @property
    def whole(self) -> bool:
        return self.found == self.expected


def find_match(states: Mapping[str, State], own: Shapes, layouts: Sequence[KeyLayout], wanted: str = "") -> Match:
    """The likeliest place, prefix and layout: the one with most of the network's tensors in the right shapes.

    Args:
        states: state dicts by path, in the order of preference.
        own: the shapes of the network's tensors by their keys here, without counts.
        layouts: those to try.
        wanted: what `Match.name` must be, or begin with; "": any.

    Raises:
        UsageError: nothing in the file is called `wanted`; the text has the names.
    """
    candidates = [one for path in states for layout in layouts for one in _guesses(path, states[path], own, layout)]
    named = [one for one in candidates if _is_called(one, wanted)]
    if not named:
        names = ", ".join(dict.fromkeys(_name(one.path, one.prefix) for one in candidates if one.whole)) or "no others"
        raise UsageError(f"--weights-key {wanted!r}: no such weights in the file; there are {names}")
    order = {path: place for place, path in enumerate(states)}
    best = max(named, key=lambda one: (one.fitting, one.found, -order[one.path], -preference(one.prefix)))
    return _match(best, states, own, candidates)


def is_count(key: str) -> bool:
    """Whether a key is that of a number of batches or steps, which no inference needs."""
    return key.rpartition(".")[2] in COUNTS


def _guesses(path: str, state: State, own: Shapes, layout: KeyLayout) -> Iterator[_Candidate]:
    """One for each prefix with which any key of the layout occurs."""
    expected = {layout.key(key): shape for key, shape in own.items() if layout.constant(key) is None}
    found, fitting = Counter[str](), Counter[str]()
    for key, tensor in state.items():
        for prefix, rest in _splits(key):
            if rest in expected:
                found[prefix] += 1
                fitting[prefix] += tensor.shape == expected[rest]
    for prefix in sorted(found, key=len) or [""]:
        yield _Candidate(layout, path, prefix, fitting[prefix], found[prefix], len(expected))


def _splits(key: str) -> Iterator[tuple[str, str]]:
    yield "", key
    for place in (index + 1 for index, letter in enumerate(key) if letter == "."):
        yield key[:place], key[place:]


def _match(best: _Candidate, states: Mapping[str, State], own: Shapes, candidates: list[_Candidate]) -> Match:
    state, layout, prefix = states[best.path], best.layout, best.prefix
    pairs = {key: prefix + layout.key(key) for key in own if layout.constant(key) is None}
    whole = [one for one in candidates if one.whole and (one.path, one.prefix) != (best.path, best.prefix)]
    beside = tuple(one.prefix for one in whole if one.path == best.path and one.prefix)
    taken = set(pairs.values())
    left_over = tuple(
        key
        for key in state
        if key not in taken
        and not is_count(key)
        and not (key.startswith(prefix) and layout.leaves_out(key.removeprefix(prefix)))
        and not (beside and key.startswith(beside))
        and not _is_normalizer(key, state[key])
    )
    others = tuple(dict.fromkeys(_name(one.path, one.prefix) for one in whole))
    return Match(layout, best.path, prefix, pairs, state, others, left_over)


def _name(path: str, prefix: str) -> str:
    return ".".join(filter(None, (path, prefix.removesuffix("."))))


def _is_called(one: _Candidate, wanted: str) -> bool:
    name = _name(one.path, one.prefix)
    return not wanted or name == wanted or name.startswith(wanted + ".")


def _is_normalizer(key: str, tensor: torch.Tensor) -> bool:
    return tensor.numel() == 3 and any(pattern.fullmatch(key) for pattern in NORMALIZER.values())


def _three(state: State, pattern: re.Pattern[str]) -> tuple[float, float, float] | None:
    keys = [key for key, tensor in state.items() if tensor.numel() == 3 and pattern.fullmatch(key)]
    if len(keys) != 1:
        return None
    # Seven digits are what fp32 keeps of the numbers that were written in code.
    red, green, blue = (float(f"{value:.7g}") for value in state[keys[0]].flatten().tolist())
    return red, green, blue
