"""Finds which state dict of a checkpoint, under which prefix and in which layout, is a network, and its keys there.

Names of wrappers (`torch.compile`, DataParallel, FSDP ...) are no part of a key, wherever they stand in it. In front,
they count as a prefix too, so that what is outside it can be told from the network.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.models.checkpoints.assembly import Assembled, assemble
from wrn_deploy.models.checkpoints.layout import KeyLayout
from wrn_deploy.models.checkpoints.states import State, preference, rank_of

__all__ = ["Match", "find_match", "is_count"]

Shapes = Mapping[str, torch.Size]
Three = tuple[float, float, float]

BARE = "."  # what --weights-key takes for a state dict without path and prefix
COUNTS = ("num_batches_tracked", "n_averaged", "steps")  # of BN, of torch's averaged models, of mmengine's
NORMALIZER = (re.compile(r"(.*\.)?_?(mean|mu|image_mean)"), re.compile(r"(.*\.)?_?(std|sigma|image_std)"))
# torch.compile; DataParallel and DDP; FSDP, and older; activation checkpointing; Lightning Fabric; Opacus.
WRAPPERS = re.compile(
    r"((?<=\.)|^)"
    r"(_orig_mod|module|_fsdp_wrapped_module|_fpw_module|_checkpoint_wrapped_module|_forward_module|_module)\."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The part of a checkpoint that fits a network best.

    Args:
        layout: how its tensors are named.
        name: what `--weights-key` takes for it, path and prefix of the state dict; "" for a bare one.
        pairs: our key -> key in the state dict, whether or not it is there.
        state: the state dict, with the weights put together that the file has in parts.
        others: names of other state dicts in the file that are such a network too, as `--weights-key` takes them.
        left_over: keys that belong to none of these.
        outside: keys that lie outside of the prefix of a network that is whole; nothing reads them.
        assembled: how weights were put together, with the number of them.
        problems: why weights could not be put together.
    """

    layout: KeyLayout
    name: str
    pairs: Mapping[str, str]
    state: State
    others: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    assembled: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def normalizer(self) -> tuple[Three, Three] | None:
        """Mean and deviation of a normalising layer before the network, as in RobustBench's; None without one.

        Raises:
            DeployError: there are several, and they differ.
        """
        mean, std = (_three(self.state, pattern) for pattern in NORMALIZER)
        return None if mean is None or std is None else (mean, std)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guess:
    """Of the tensors with `names` (ours -> the file's), those in `keys` are there, `fitting` in the right shape.

    `keys` has all keys of the state dict that mean the same tensor: more than one differ in wrappers only.
    """

    layout: KeyLayout
    names: Mapping[str, str]
    path: str
    prefix: str
    keys: Mapping[str, Sequence[str]]
    fitting: int
    rank: tuple[int, int]

    @property
    def whole(self) -> bool:
        return len(self.keys) == len(self.names)

    @property
    def name(self) -> str:
        return ".".join(filter(None, (self.path, self.prefix.removesuffix("."))))

    @property
    def taken(self) -> frozenset[str]:
        return frozenset(key for keys in self.keys.values() for key in keys)

    def key(self, ours: str) -> str:
        """The file's key of our tensor `ours`, whether or not it is there."""
        theirs = self.names[ours]
        return self.keys[theirs][0] if theirs in self.keys else self.prefix + theirs


def find_match(states: Mapping[str, State], own: Shapes, layouts: Sequence[KeyLayout], wanted: str = "") -> Match:
    """The best state dict, prefix and layout: the one with the most tensors of the network in the right shapes.

    Args:
        states: state dicts by path, in order of preference.
        own: the shapes of the network's tensors by our keys, without counts.
        layouts: those to try.
        wanted: what `Match.name` must be, or begin with, "." being the bare one; "": any.

    Raises:
        UsageError: nothing in the file is called `wanted`, or two networks are there and nothing says which is meant;
            the text has the names.
        DeployError: two keys of the network differ in the names of wrappers only.
    """
    names = {layout: layout.names(own) for layout in layouts}
    assembled = {path: assemble(state) for path, state in states.items()}
    guesses = [guess for path, found in assembled.items() for guess in _guesses(path, found.state, own, names)]
    named = [guess for guess in guesses if _is_named(guess, wanted)]
    if not named:
        known = ", ".join(dict.fromkeys(guess.name or BARE for guess in guesses if guess.whole)) or "no others"
        raise UsageError(f"--weights-key {wanted!r}: no such weights in the file; there are {known}")
    order = [*states]
    best = max(
        named,
        key=lambda guess: (
            guess.fitting, len(guess.keys), [-rank for rank in guess.rank], -order.index(guess.path), len(guess.prefix)
        ),
    )  # fmt: skip
    _check_choice(best, named, assembled)
    return _match(best, assembled[best.path], guesses)


def is_count(key: str) -> bool:
    """Whether a key names a number of batches or steps, which inference does not need."""
    return key.rpartition(".")[2] in COUNTS


def _is_named(guess: _Guess, wanted: str) -> bool:
    return not wanted or (not guess.name if wanted == BARE else f"{guess.name}.".startswith(f"{wanted}."))


def _guesses(path: str, state: State, own: Shapes, names: Mapping[KeyLayout, Mapping[str, str]]) -> Iterator[_Guess]:
    """For each layout, one guess for each prefix with which any of its keys occurs; of equal ones, the longest."""
    splits = [(key, list(_splits(key))) for key in state]
    for layout, theirs in names.items():
        expected = {key: own[ours] for ours, key in theirs.items()}
        found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for key, parts in splits:
            for prefix, rest in parts:
                if rest in expected:
                    found[prefix][rest].append(key)
        seen = set[frozenset[str]]()
        for prefix in sorted(found, key=len, reverse=True) or [""]:
            keys = found[prefix]
            guess = _Guess(
                layout=layout,
                names=theirs,
                path=path,
                prefix=prefix,
                keys=keys,
                fitting=sum(state[same[0]].shape == expected[rest] for rest, same in keys.items()),
                rank=(rank_of(path, state), preference(prefix)),
            )
            if guess.taken not in seen:
                seen.add(guess.taken)
                yield guess


def _splits(key: str) -> Iterator[tuple[str, str]]:
    """Each prefix of a key, and the rest without the names of wrappers."""
    for start in (0, *(index + 1 for index, letter in enumerate(key) if letter == ".")):
        yield key[:start], WRAPPERS.sub("", key[start:])


def _check_choice(best: _Guess, named: Sequence[_Guess], assembled: Mapping[str, Assembled]) -> None:
    """Raises an error if another network in the file has as good a claim as `best`, and other values."""
    if not best.whole:
        return
    equal = [guess for guess in named if (guess.whole, guess.fitting, guess.rank) == (True, best.fitting, best.rank)]
    for guess in equal:
        same = next((keys for keys in guess.keys.values() if len(keys) > 1), None)
        if same is not None:
            raise DeployError(
                f"{same[0]} and {same[1]} are the same tensor without the names of wrappers: expected one of them; "
                "choose its network with --weights-key, such as module, or remove the other"
            )
    for guess in equal:
        if guess.taken != best.taken or guess.path != best.path:
            state, other = assembled[best.path].state, assembled[guess.path].state
            if any(not torch.equal(state[best.key(ours)], other[guess.key(ours)]) for ours in _shared(best, guess)):
                raise UsageError(
                    f"the file has two networks, {best.name or BARE} and {guess.name or BARE}, and does not say which "
                    f"to use: choose one with --weights-key, for example --weights-key {best.name or BARE}"
                )


def _shared(one: _Guess, other: _Guess) -> list[str]:
    return [ours for ours in one.names if ours in other.names]


def _match(best: _Guess, found: Assembled, guesses: Sequence[_Guess]) -> Match:
    state, prefix, taken = found.state, best.prefix, best.taken
    rivals = [guess for guess in guesses if guess.whole and (guess.path, guess.taken) != (best.path, taken)]
    others = tuple(guess.prefix for guess in rivals if guess.path == best.path and guess.prefix)

    def belongs(key: str) -> bool:
        rest = WRAPPERS.sub("", key.removeprefix(prefix))
        known = key in taken or is_count(key) or (key.startswith(prefix) and best.layout.leaves_out(rest))
        normalizes = state[key].numel() == 3 and any(pattern.fullmatch(key) for pattern in NORMALIZER)
        return known or normalizes or bool(others and key.startswith(others))

    rest = [key for key in state if not belongs(key)]
    outside = [key for key in rest if best.whole and not key.startswith(prefix)]
    left_over = [key for key in rest if not best.whole or key.startswith(prefix)]
    wanted = {best.key(ours) for ours in best.names}
    hows = [found.made[key] for key in wanted if key in found.made]
    return Match(
        layout=best.layout,
        name=best.name,
        pairs={ours: best.key(ours) for ours in best.names},
        state=state,
        others=tuple(dict.fromkeys(guess.name for guess in rivals)),
        left_over=tuple(left_over),
        outside=tuple(outside),
        assembled=tuple(f"{hows.count(how)} {how}" for how in dict.fromkeys(sorted(hows))),
        problems=tuple(
            dict.fromkeys(text for key, text in found.problems.items() if key in wanted - taken or key in left_over)
        ),
    )


def _three(state: State, pattern: re.Pattern[str]) -> Three | None:
    found = {}
    for key, tensor in state.items():
        if tensor.numel() == 3 and pattern.fullmatch(key):
            # Seven digits are what fp32 keeps of the numbers that were written in code.
            red, green, blue = (float(f"{value:.7g}") for value in tensor.flatten().tolist())
            found[red, green, blue] = key
    if len(found) > 1:
        raise DeployError(
            f"{' and '.join(found.values())} differ: expected one normalising layer; pass --mean and --std"
        )
    return next(iter(found), None)
