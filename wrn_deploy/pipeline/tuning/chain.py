"""Runs the parts of mixed graphs one after the other; sessions are opened once for each part, and not for each graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce

from wrn_deploy.pipeline.tuning.graphs import GraphParts
from wrn_deploy.pipeline.tuning.reference import Floats
from wrn_deploy.runtime.sessions import infer_with, open_session

__all__ = ["Chain", "run_through"]

Infer = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The parts of a bundle's graphs, and the sessions of the graph that was asked for last: one net's weights."""

    parts: GraphParts
    threads: int | None
    _opened: dict[tuple[int, frozenset[str]], Infer] = field(default_factory=dict)

    def open_part(self, index: int, float_convs: frozenset[str]) -> Infer:
        """A new session of one part, with these of its Convs in fp16."""
        part = self.parts.make(index, float_convs)
        return infer_with(open_session(part, self.threads, fuses_qdq=False, spins=False))

    def open_graph(self, float_convs: frozenset[str]) -> list[Infer]:
        """The parts of the graph with these Convs in fp16; those that the graph before did not have are opened."""
        wanted = [(index, float_convs.intersection(convs)) for index, convs in enumerate(self.parts.convs)]
        for key in self._opened.keys() - {*wanted}:
            del self._opened[key]
        for index, kept in wanted:
            if (index, kept) not in self._opened:
                self._opened[index, kept] = self.open_part(index, kept)
        return [self._opened[key] for key in wanted]

    def measure_alone(self, batches: Iterable[Floats]) -> Iterator[tuple[str, Iterator[Floats]]]:
        """Yields each Conv with the logits of the graph in which it alone is int8, of batches (N, 3, H, W).

        What comes before the Conv's part is computed once for all of them. Read the logits before the next Conv. Keeps
        one tensor of all batches, and the sessions of the graph with all Convs in fp16.
        """
        names = [frozenset(convs) for convs in self.parts.convs]
        graph = self.open_graph(frozenset().union(*names))
        reached = [*batches]
        for index, part in enumerate(graph):
            for name in self.parts.convs[index]:
                changed = [self.open_part(index, names[index] - {name}), *graph[index + 1 :]]
                yield name, run_through(changed, reached)
            for number, values in enumerate(reached):
                reached[number] = part(values)


def run_through(parts: Iterable[Infer], batches: Iterable[Floats]) -> Iterator[Floats]:
    """Yields what the last part gives for each batch."""
    chain = [*parts]
    return (reduce(lambda values, part: part(values), chain, batch) for batch in batches)
