"""Finds the state dicts in a loaded checkpoint and orders them by preference; which of them is a network is not asked.

If a file has a network and the moving average (EMA) of its weights, the average comes first: timm's, torchvision's and
most training scripts report its accuracy. Two write it under the network's own name: mmengine's hook swaps the two
before it saves (`ema_state_dict` has the network as it was trained), mmcv's keeps the trained values in `ema_...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

__all__ = ["State", "preference", "rank_of", "state_dicts"]

State = Mapping[str, torch.Tensor]

MAX_DEPTH = 8  # levels of wrappers
AVERAGED = re.compile(r"(^|[._])(ema|swa|average[d]?|avg)($|[._])", re.IGNORECASE)
NOT_FIRST = re.compile(r"(^|[._])(teacher|unaveraged|old)($|[._])", re.IGNORECASE)
SWAPPED = "ema_state_dict"  # of mmengine, if it has a count `steps`
BUFFER = "ema_"  # of mmcv


def state_dicts(loaded: Any) -> dict[str, State]:
    """All state dicts in a loaded file by their path ("" is the whole file), the preferred ones first."""
    return dict(sorted(dict(_walk(loaded, (), 0)).items(), key=lambda found: rank_of(*found)))


def preference(path: str) -> int:
    """The rank of a path, lowest first: 0 for an average of weights, 1 for a network, 2 for a teacher and the like."""
    if NOT_FIRST.search(path):
        return 2
    return 0 if AVERAGED.search(path) else 1


def rank_of(path: str, state: State) -> int:
    """The rank of a state dict, as `preference`, except where a project writes the average under another name."""
    last = path.rpartition(".")[2]
    trained = last == BUFFER + "*" or (last == SWAPPED and "steps" in state)
    return 2 if trained else preference(path)


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
