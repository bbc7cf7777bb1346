"""Recognises which state dict of a checkpoint, under which prefix and in which layout, is a network; torch only."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The part of a checkpoint that fits a network best.

    Args:
        layout: how its tensors are named.
        path: of the state dict in the file, as in "state_dict"; "" if it is the file itself.
        prefix: of all its keys, as in "module.".
        pairs: our key -> key in the state dict, whether or not it is there.
        state: the state dict.
        others: names of other state dicts in the file that are such a network too, as `--weights-key` takes them.
        left_over: keys that belong to none of these.
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
        """Mean and deviation of a normalising layer before the network, as in RobustBench's; None without one."""
        mean, std = (_three(self.state, NORMALIZER[name]) for name in ("mean", "std"))
        return None if mean is None or std is None else (mean, std)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A guess: of the tensors with `names` (ours -> the file's), `found` are there, `fitting` in the right shape."""

    layout: KeyLayout
    names: Mapping[str, str]
    path: str
    prefix: str
    fitting: int
    found: int

    @property
    def whole(self) -> bool:
        return self.found == len(self.names)

    @property
    def name(self) -> str:
        return _name(self.path, self.prefix)

    def is_called(self, wanted: str) -> bool:
        return not wanted or self.name == wanted or self.name.startswith(wanted + ".")


def find_match(states: Mapping[str, State], own: Shapes, layouts: Sequence[KeyLayout], wanted: str = "") -> Match:
    """The best state dict, prefix and layout: the one with the most tensors of the network in the right shapes.

    Args:
        states: state dicts by path, in order of preference.
        own: the shapes of the network's tensors by our keys, without counts.
        layouts: those to try.
        wanted: what `Match.name` must be, or begin with; "": any.

    Raises:
        UsageError: nothing in the file is called `wanted`; the text has the names.
    """
    names = {layout: layout.names(own) for layout in layouts}
    candidates = [guess for path, state in states.items() for guess in _guesses(path, state, own, names)]
    named = [guess for guess in candidates if guess.is_called(wanted)]
    if not named:
        known = ", ".join(dict.fromkeys(guess.name for guess in candidates if guess.whole)) or "no others"
        raise UsageError(f"--weights-key {wanted!r}: no such weights in the file; there are {known}")
    order = {path: rank for rank, path in enumerate(states)}
    best = max(named, key=lambda guess: (guess.fitting, guess.found, -order[guess.path], -preference(guess.prefix)))
    return _match(best, states[best.path], candidates)


def is_count(key: str) -> bool:
    """Whether a key names a number of batches or steps, which inference does not need."""
    return key.rpartition(".")[2] in COUNTS


def _guesses(
    path: str, state: State, own: Shapes, names: Mapping[KeyLayout, Mapping[str, str]]
) -> Iterator[_Candidate]:
    """For each layout, one guess for each prefix with which any of its keys occurs."""
    splits = [(tensor.shape, list(_splits(key))) for key, tensor in state.items()]
    for layout, theirs in names.items():
        expected = {key: own[ours] for ours, key in theirs.items()}
        found, fitting = Counter[str](), Counter[str]()
        for shape, parts in splits:
            for prefix, rest in parts:
                if rest in expected:
                    found[prefix] += 1
                    fitting[prefix] += shape == expected[rest]
        for prefix in sorted(found, key=len) or [""]:
            yield _Candidate(
                layout=layout, names=theirs, path=path, prefix=prefix, fitting=fitting[prefix], found=found[prefix]
            )


def _splits(key: str) -> Iterator[tuple[str, str]]:
    yield "", key
    for start in (index + 1 for index, letter in enumerate(key) if letter == "."):
        yield key[:start], key[start:]


def _match(best: _Candidate, state: State, candidates: list[_Candidate]) -> Match:
    layout, prefix = best.layout, best.prefix
    pairs = {ours: prefix + key for ours, key in best.names.items()}
    whole = [guess for guess in candidates if guess.whole and (guess.path, guess.prefix) != (best.path, best.prefix)]
    beside = tuple(guess.prefix for guess in whole if guess.path == best.path and guess.prefix)
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
    return Match(
        layout=layout,
        path=best.path,
        prefix=prefix,
        pairs=pairs,
        state=state,
        others=tuple(dict.fromkeys(guess.name for guess in whole)),
        left_over=left_over,
    )


def _name(path: str, prefix: str) -> str:
    return ".".join(filter(None, (path, prefix.removesuffix("."))))


def _is_normalizer(key: str, tensor: torch.Tensor) -> bool:
    return tensor.numel() == 3 and any(pattern.fullmatch(key) for pattern in NORMALIZER.values())


def _three(state: State, pattern: re.Pattern[str]) -> tuple[float, float, float] | None:
    keys = [key for key, tensor in state.items() if tensor.numel() == 3 and pattern.fullmatch(key)]
    if len(keys) != 1:
        return None
    # Seven digits are what fp32 keeps of the numbers that were written in code.
    red, green, blue = (float(f"{value:.7g}") for value in state[keys[0]].flatten().tolist())
    return red, green, blue
