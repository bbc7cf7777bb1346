"""Measures each Conv alone in int8 by running the parts of graphs one after the other, the common ones once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce

from wrn_deploy.pipeline.tuning.graphs import GraphParts
from wrn_deploy.pipeline.tuning.reference import Floats
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.runtime.sessions import infer_with, open_session

__all__ = ["open_part", "run_alone"]

Infer = Callable[[Floats], Floats]


def open_part(parts: GraphParts, index: int, float_convs: Iterable[str], threads: int | None) -> Infer:
    """A new session of one part, with these of its Convs in fp16."""
    with scratch_folder() as folder:  # a session of a serialized model would keep that, too
        file = folder / "part.onnx"
        parts.write(index, frozenset(float_convs), file)
        return infer_with(open_session(file, threads, fuses_qdq=False, spins=False, keeps_memory=False))


def run_alone(
    parts: GraphParts, batches: Iterable[Floats], threads: int | None
) -> Iterator[tuple[str, Iterator[Floats]]]:
    """Yields each Conv with the logits of the graph in which it alone is int8, for batches (N, 3, H, W).

    What comes before the Conv's part is computed once for all Convs: on average half of a graph is run for each of
    them. Read the logits before the next Conv. Keeps one tensor of all batches, and a session for each part that is
    still needed: together the weights of one graph in fp32.
    """
    later = [open_part(parts, index, convs, threads) for index, convs in enumerate(parts.convs)]
    reached = [*batches]
    for index, convs in enumerate(parts.convs):
        part = later.pop(0)
        for name in convs:
            changed = open_part(parts, index, {*convs} - {name}, threads)
            yield name, _run([changed, *later], reached)
        for number, values in enumerate(reached):
            reached[number] = part(values)


def _run(parts: Sequence[Infer], batches: Iterable[Floats]) -> Iterator[Floats]:
    return (reduce(lambda values, part: part(values), parts, batch) for batch in batches)
