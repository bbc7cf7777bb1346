"""Rounds a Conv's weights so that the errors of its output cancel (GPTQ), from the second moments of its input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["round_with_feedback"]

DAMPING = 1e-3  # added to the diagonal of the moments, as a fraction of its mean
COLUMNS = 16  # weights whose errors reach the later ones in one matrix product
TOGETHER = 2**20  # weights that are rounded at once, a few MB in float32
LARGEST = 127  # the largest code

Floats = npt.NDArray[np.float32]


def round_with_feedback(
    weights: Sequence[npt.NDArray[np.floating]],
    scales: Sequence[npt.NDArray[np.floating]],
    moments: npt.NDArray[np.integer],
) -> list[npt.NDArray[np.int8]]:
    """Rounds weights so that the Conv's output changes least on the inputs that the moments stand for.

    For each output channel, the integers q minimise the squared error of the output, (w - q) H (w - q)^T, H = E[x x^T],
    greedily. Rounding weight j costs least if the weights k that are still free change by
        -(w_j - q_j) [H^-1]_jk / [H^-1]_jj,
    where H has only j and the free weights left (optimal brain surgeon, Hassibi and Stork, NIPS 1992; OBQ, Frantar et
    al., arXiv:2208.11580). In GPTQ (arXiv:2210.17323) all output channels have one order, so that H does too. Here the
    weights of a block of input channels compensate each other: blocks are independent, and rounded together.

    Args:
        weights: those of Convs that read the same input, (O, I, kh, kw) each: most of the work is the same for all.
        scales: the value of a step for each of their output channels, (O,) each.
        moments: H of each block of input channels in any unit, (blocks, rows, rows), as `Moments.sums` has it.

    Returns:
        The codes -127..127 of each Conv, of its weights' shape.
    """
    blocks, rows = moments.shape[:2]
    ends = np.cumsum([0, *map(len, weights)])
    steps = np.zeros((blocks * rows, ends[-1]), dtype=np.float32)
    for own, scale, start, end in zip(weights, scales, ends, ends[1:], strict=False):
        np.divide(own.reshape(len(own), -1).T, scale, out=steps[: own[0].size, start:end], casting="same_kind")
    steps = steps.reshape(blocks, rows, -1)
    together = max(1, TOGETHER // steps[0].size)
    for first in range(0, blocks, together):
        part = slice(first, first + together)
        steps[part] = _round_blocks(steps[part], moments[part].astype(np.float64))
    codes = steps.reshape(blocks * rows, -1)
    return [
        codes[: own[0].size, start:end].T.astype(np.int8).reshape(own.shape)
        for own, start, end in zip(weights, ends, ends[1:], strict=False)
    ]


def _round_blocks(steps: Floats, moments: npt.NDArray[np.float64]) -> Floats:
    """The codes of weights in units of their scale, (blocks, rows, O) both; `moments` (blocks, rows, rows)."""
    block = np.arange(len(steps))[:, None]
    # Strongest inputs first, whose errors cost most: they are rounded while most weights are free to compensate.
    order = np.argsort(-np.diagonal(moments, axis1=1, axis2=2), axis=1, kind="stable")
    left = steps[block, order]
    feedback = _feedback(moments[block[:, :, None], order[:, :, None], order[:, None, :]])
    rows = left.shape[1]
    codes = np.empty_like(left)
    for start in range(0, rows, COLUMNS):
        end = min(start + COLUMNS, rows)
        for row in range(start, end):
            np.rint(left[:, row], out=codes[:, row])
            np.clip(codes[:, row], -LARGEST, LARGEST, out=codes[:, row])
            left[:, row] -= codes[:, row]  # from here on the error
            left[:, row + 1 : end] -= feedback[:, row, row + 1 : end, None] * left[:, row, None]
        left[:, end:] -= np.matmul(feedback[:, start:end, end:].swapaxes(1, 2), left[:, start:end])
    unordered = np.empty_like(codes)
    unordered[block, order] = codes
    return unordered


def _feedback(moments: npt.NDArray[np.float64]) -> Floats:
    """What the error of weight j adds to each later weight k, [H^-1]_jk / [H^-1]_jj with 0 .. j-1 eliminated.

    Row j of U, where H^-1 = U^T U, is row j of the inverse with weights 0 .. j-1 eliminated, over the square root of
    its diagonal element: one factorisation replaces all eliminations, and is stable where they are not. Few windows
    leave H singular: damping makes it invertible, and bounds compensations along directions that no window shows.
    """
    diagonal = np.diagonal(moments, axis1=1, axis2=2)
    damping = DAMPING * diagonal.mean(axis=1) + np.finfo(np.float64).tiny
    damped = moments + damping[:, None, None] * np.eye(moments.shape[1])
    lower = np.linalg.cholesky(damped)
    inverse = np.linalg.inv(lower)
    upper = np.linalg.cholesky(inverse.swapaxes(1, 2) @ inverse).swapaxes(1, 2)
    return (upper / np.diagonal(upper, axis1=1, axis2=2)[:, :, None]).astype(np.float32)
