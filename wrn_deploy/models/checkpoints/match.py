"""Finds the state dicts in a checkpoint, and which one, under which prefix and in which layout, is a network.

If a file has a network and the moving average (EMA) of its weights, the average comes first: timm's, torchvision's and
most training scripts report its accuracy. Two write it under the network's own name: mmengine's hook swaps the two
before it saves (`ema_state_dict` has the network as it was trained), mmcv's keeps the trained values in `ema_...`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from wrn_deploy.errors import UsageError
from wrn_deploy.models.checkpoints.layout import KeyLayout

__all__ = ["Match", "State", "find_match", "is_count", "state_dicts"]

State = Mapping[str, torch.Tensor]
Shapes = Mapping[str, torch.Size]

MAX_DEPTH = 8  # levels of wrappers
AVERAGED = re.compile(r"(^|[._])(ema|swa|average[d]?|avg)($|[._])", re.IGNORECASE)
NOT_FIRST = re.compile(r"(^|[._])(teacher|unaveraged|old)($|[._])", re.IGNORECASE)
SWAPPED = "ema_state_dict"  # of mmengine, if it has a count `steps`
BUFFER = "ema_"  # of mmcv
COUNTS = ("num_batches_tracked", "n_averaged", "steps")  # of BN, of torch's averaged models, of mmengine's
NORMALIZER = (re.compile(r"(.*\.)?_?(mean|mu|image_mean)"), re.compile(r"(.*\.)?_?(std|sigma|image_std)"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The part of a checkpoint that fits a network best.

    Args:
        layout: how its tensors are named.
        name: what `--weights-key` takes for it, path and prefix of the state dict; "" for a bare one.
        pairs: our key -> key in the state dict, whether or not it is there.
        state: the state dict.
        others: names of other state dicts in the file that are such a network too, as `--weights-key` takes them.
        left_over: keys that belong to none of these.
    """

    layout: KeyLayout
    name: str
    pairs: Mapping[str, str]
    state: State
    others: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()

    def normalizer(self) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
        """Mean and deviation of a normalising layer before the network, as in RobustBench's; None without one."""
        mean, std = (_three(self.state, pattern) for pattern in NORMALIZER)
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
        return ".".join(filter(None, (self.path, self.prefix.removesuffix("."))))


def state_dicts(loaded: Any) -> dict[str, State]:
    """All state dicts in a loaded file by their path ("" is the whole file), the preferred ones first."""
    return dict(sorted(dict(_walk(loaded, (), 0)).items(), key=lambda found: _order(*found)))


def _preference(path: str) -> int:
    """The rank of a path, lowest first: 0 for an average of weights, 1 for a network, 2 for a teacher and the like."""
    if NOT_FIRST.search(path):
        return 2
    return 0 if AVERAGED.search(path) else 1


def _order(path: str, state: State) -> int:
    last = path.rpartition(".")[2]
    trained = last == BUFFER + "*" or (last == SWAPPED and "steps" in state)
    return 2 if trained else _preference(path)


def _walk(value: Any, path: tuple[str, ...], depth: int) -> Iterator[tuple[str, State]]:
    if not isinstance(value, Mapping) or depth > MAX_DEPTH:
        return
    tensors = {key: item for key, item in value.items() if isinstance(key, str) and torch.is_tensor(item)}
    if tensors:
        yield from _unmixed(".".join(path), tensors)
    parts = _parts(value)
    if parts is not None:  # the authors' first PyTorch code saved parameters and BN statistics apart
        yield ".".join((*path, "params + stats")), parts
        return
    for key, item in value.items():
        if isinstance(key, str):
            yield from _walk(item, (*path, key), depth + 1)


def _parts(value: Mapping[Any, Any]) -> State | None:
    params, stats = value.get("params"), value.get("stats")
    if not isinstance(params, Mapping) or not isinstance(stats, Mapping):
        return None
    both = {**params, **stats}
    return both if both and all(isinstance(key, str) and torch.is_tensor(item) for key, item in both.items()) else None


def _unmixed(path: str, tensors: State) -> Iterator[tuple[str, State]]:
    """The state dict, and separately the buffers of mmcv's hook, which flattens their names."""
    flat = {BUFFER + key.replace(".", "_"): key for key in tensors}
    buffers = {flat[key]: tensor for key, tensor in tensors.items() if key in flat}
    yield path, {key: tensor for key, tensor in tensors.items() if key not in flat}
    if buffers:
        yield ".".join(filter(None, (path, BUFFER + "*"))), buffers


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
    named = [guess for guess in candidates if not wanted or f"{guess.name}.".startswith(f"{wanted}.")]
    if not named:
        known = ", ".join(dict.fromkeys(guess.name for guess in candidates if guess.whole)) or "no others"
        raise UsageError(f"--weights-key {wanted!r}: no such weights in the file; there are {known}")
    order = [*states]
    best = max(
        named, key=lambda guess: (guess.fitting, guess.found, -order.index(guess.path), -_preference(guess.prefix))
    )
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
        and not (state[key].numel() == 3 and any(pattern.fullmatch(key) for pattern in NORMALIZER))
    )
    return Match(
        layout=layout,
        name=best.name,
        pairs=pairs,
        state=state,
        others=tuple(dict.fromkeys(guess.name for guess in whole)),
        left_over=left_over,
    )


def _three(state: State, pattern: re.Pattern[str]) -> tuple[float, float, float] | None:
    keys = [key for key, tensor in state.items() if tensor.numel() == 3 and pattern.fullmatch(key)]
    if len(keys) != 1:
        return None
    # Seven digits are what fp32 keeps of the numbers that were written in code.
    red, green, blue = (float(f"{value:.7g}") for value in state[keys[0]].flatten().tolist())
    return red, green, blue
