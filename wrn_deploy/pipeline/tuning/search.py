"""The search for the fewest layers to keep in fp16; knows no graphs and no images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["find_fewest"]


def find_fewest(ranked: Sequence[str], meets: Callable[[frozenset[str]], bool]) -> frozenset[str] | None:
    """The layers to keep in fp16; None if no set meets the budget, or only that of all layers.

    First the costliest 0, 1, 2, 4, 8, ... and all layers are measured in any case: they are the frontier. Between the
    first of these that meets the budget and the one before it, bisection finds the smallest, assuming that more layers
    in fp16 lose no more. Then each kept layer goes back to int8 if the rest still meets the budget, the cheapest first,
    until none can. So the set is minimal: no kept layer can be left out. It need not be the best: another set with
    fewer MACs may meet the budget too.

    Args:
        ranked: all layers, by the error per MAC that fp16 avoids, the largest first.
        meets: whether the graph with these layers in fp16 meets the budget; called with the same set more than once.
    """
    count = len(ranked)
    sizes = [0, *(2**power for power in range(count.bit_length()) if 2**power < count), count]
    good = [size for size in sizes if meets(frozenset(ranked[:size]))]
    if not good:
        return None
    high = good[0]
    low = max((size for size in sizes if size < high), default=-1)
    while high - low > 1:
        middle = (low + high) // 2
        if meets(frozenset(ranked[:middle])):
            high = middle
        else:
            low = middle
    kept = _minimal(ranked[:high], meets)
    return kept if len(kept) < len(ranked) else None


def _minimal(ranked: Sequence[str], meets: Callable[[frozenset[str]], bool]) -> frozenset[str]:
    """Drops layers that are not needed, the last of the ranking first, until every layer is needed."""
    kept, changed = list(ranked), True
    while changed:
        changed = False
        for name in reversed(ranked):
            rest = [other for other in kept if other != name]
            if name in kept and meets(frozenset(rest)):
                kept, changed = rest, True
    return frozenset(kept)
