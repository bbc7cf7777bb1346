"""Rounds the Convs' weights of a Q/DQ graph with error feedback (GPTQ), and corrects biases; closed forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir
import torch
from torch.nn import functional

from wrn_deploy.calib.rounding.execute import GraphStep, Inputs, TorchGraph
from wrn_deploy.calib.writing.int8_weights import find_int8_weights
from wrn_deploy.calib.writing.qdq import weights_of

__all__ = ["correct"]

LARGEST = 2304  # weights of an output channel that compensate each other (256 channels of 3x3): moments are K x K
DAMPING = 1e-3  # added to the diagonal of the moments, as a fraction of its mean
COLUMNS = 128  # weights whose errors reach the later ones in one matrix product
POSITIONS = 65536  # positions of the input per matrix product


def correct(
    qdq: ir.Model, fp32: ir.Model, images: torch.Tensor, advance: Callable[[], None], *, feedback: bool, bias: bool
) -> None:
    """Changes codes and biases of the Q/DQ graph, in place.

    Convs are handled in the graph's order, each with the inputs that the quantized layers before it give: those are
    the inputs that it will get. With `feedback`, its weights are rounded so that its output changes least on the
    images (GPTQ, Frantar et al., arXiv:2210.17323, here for convolutions; see `_round_block`). With `bias`, its bias
    takes the difference of each output channel's mean to that of the fp32 graph (Nagel et al., arXiv:1906.04721); this
    comes second, since rounding changes the mean.

    `qdq` has int8 weights stored with a DQ, and was made from `fp32`, whose Convs have the same names. `images` are
    normalised, (N, 3, H, W); they and their activations are in memory at once. `advance` is called after each Conv.
    """
    graph = TorchGraph(qdq)
    means = _channel_means(TorchGraph(fp32), images) if bias else {}
    stored = find_int8_weights(qdq)

    def before(step: GraphStep, inputs: Inputs) -> Inputs:
        conv = stored.get(step.name)
        if step.op_type != "Conv" or conv is None:
            return inputs
        values = inputs[0]
        assert values is not None
        if feedback:
            weights = torch.from_numpy(weights_of(fp32.graph, step.name))
            moments = _input_moments(values, weights.shape[2:], step, centred=bias)
            codes = _round_with_feedback(weights, torch.from_numpy(conv.scale), moments)
            conv.set_codes(codes.to(torch.int8).numpy())
        inputs = [values, torch.from_numpy(conv.weights), torch.from_numpy(conv.bias)]
        if bias:
            mean = _channel_mean(step, inputs)
            conv.set_bias(conv.bias + (means[step.name] - mean).numpy().astype(np.float32))
            inputs[2] = torch.from_numpy(conv.bias)
        advance()
        return inputs

    with torch.no_grad():
        graph.run(images, before=before)


def _channel_means(graph: TorchGraph, images: torch.Tensor) -> dict[str, torch.Tensor]:
    means: dict[str, torch.Tensor] = {}

    def before(step: GraphStep, inputs: Inputs) -> Inputs:
        if step.op_type == "Conv":
            means[step.name] = _channel_mean(step, inputs)
        return inputs

    with torch.no_grad():
        graph.run(images, before=before)
    return means


def _channel_mean(step: GraphStep, inputs: Inputs) -> torch.Tensor:
    """The mean of a Conv's output, (O,), in double: mean(W x + b) = W mean(x) + b over its input's windows x."""
    values, weights, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    assert values is not None
    assert weights is not None
    total, count = torch.zeros(weights[0].numel(), dtype=torch.float64), 0
    for windows in _windows(values, weights.shape[2:], step):
        total += windows.sum(dim=0, dtype=torch.float64)
        count += len(windows)
    mean = weights.reshape(len(weights), -1).double() @ (total / count)
    return mean if bias is None else mean + bias.double()


def _windows(values: torch.Tensor, kernel: torch.Size, step: GraphStep) -> Iterator[torch.Tensor]:
    """Yields the inputs of each output position, (positions, I * kh * kw), a few images at a time."""
    top, left = tuple(step.attributes.get("pads", (0,) * 4))[:2]
    strides = tuple(step.attributes.get("strides", (1, 1)))
    for image in torch.split(values, max(1, POSITIONS // (values.shape[2] * values.shape[3]))):
        columns = functional.unfold(image, tuple(kernel), padding=(top, left), stride=strides)
        yield columns.transpose(1, 2).reshape(-1, columns.shape[1])


def _input_moments(values: torch.Tensor, kernel: torch.Size, step: GraphStep, *, centred: bool) -> list[torch.Tensor]:
    """The second moments E[x x^T] of the Conv's windows x, in double: one (K, K) per block of input channels.

    With `centred`, the covariance: a bias that is corrected afterwards absorbs every change of the mean.
    """
    size = max(1, LARGEST // kernel.numel())
    moments = []
    for channels in torch.split(values, size, dim=1):
        width = channels.shape[1] * kernel.numel()
        total, mean, count = torch.zeros(width, width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64), 0
        for windows in _windows(channels, kernel, step):
            total += (windows.T @ windows).double()
            mean += windows.sum(dim=0, dtype=torch.float64)
            count += len(windows)
        mean /= count
        moments.append(total / count - (torch.outer(mean, mean) if centred else 0.0))
    return moments


def _round_with_feedback(weights: torch.Tensor, scale: torch.Tensor, moments: list[torch.Tensor]) -> torch.Tensor:
    """The codes, of the weights' shape (O, I, kh, kw); `scale` is (O,)."""
    blocks = torch.split(weights, [len(moment) // weights[0, 0].numel() for moment in moments], dim=1)
    rounded = [
        _round_block(block.reshape(len(block), -1).double() / scale.double()[:, None], moment).reshape(block.shape)
        for block, moment in zip(blocks, moments, strict=True)
    ]
    return torch.cat(rounded, dim=1)


def _round_block(steps: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Rounds the weights of a block with error feedback.

    For each output channel, the integers q minimise the output's squared error (w - q) H (w - q)^T, H = E[x x^T],
    greedily. Rounding weight j costs least if the weights k that are still free change by
        -(w_j - q_j) [H^-1]_jk / [H^-1]_jj,
    where H has only j and the free weights left (optimal brain surgeon, Hassibi and Stork, NIPS 1992; OBQ, Frantar et
    al., arXiv:2208.11580). In GPTQ (arXiv:2210.17323) all channels have one order, so that H does too.

    Args:
        steps: weights in units of their scale, (O, K).
        moment: H, (K, K), positive semidefinite.

    Returns:
        Integers -127..127 as floats, (O, K).
    """
    # Strongest inputs first, whose errors cost most: they are rounded while most weights are free to compensate.
    order = torch.argsort(torch.diag(moment), descending=True, stable=True)
    steps, moment = steps[:, order].clone(), moment[order][:, order]
    # Few images leave H singular: damping makes it invertible, and bounds compensations
    # along directions that no image shows.
    damping = DAMPING * torch.diag(moment).mean() + torch.finfo(torch.float64).tiny
    damped = moment + damping * torch.eye(len(moment), dtype=torch.float64)
    # Row j of U, where H^-1 = U^T U, is row j of the inverse with weights 0 .. j-1 eliminated, over the square root of
    # its diagonal element: one factorisation replaces K eliminations, and is stable where they are not.
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    codes = torch.empty_like(steps)
    for start in range(0, len(moment), COLUMNS):
        end = min(start + COLUMNS, len(moment))
        errors = torch.empty(len(steps), end - start, dtype=torch.float64)
        for column in range(start, end):
            codes[:, column] = torch.clamp(torch.round(steps[:, column]), -127, 127)
            error = (steps[:, column] - codes[:, column]) / factor[column, column]
            steps[:, column:end] -= torch.outer(error, factor[column, column:end])
            errors[:, column - start] = error
        steps[:, end:] -= errors @ factor[start:end, end:]
    unordered = torch.empty_like(codes)
    unordered[:, order] = codes
    return unordered
