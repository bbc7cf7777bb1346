"""Gradient checkpointing: a residual block keeps only its input, and is computed again in the backward pass."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from wrn_deploy.errors import UsageError

__all__ = ["blocks_of", "checkpoint_blocks"]


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The residual blocks of any family: the parts of a Sequential that have at least two Convs."""
    return [
        part
        for module in network.modules()
        if isinstance(module, nn.Sequential)
        for part in module
        if not isinstance(part, nn.Sequential) and sum(isinstance(inner, nn.Conv2d) for inner in part.modules()) > 1
    ]


def checkpoint_blocks(network: nn.Module) -> None:
    """Makes each residual block of `network` compute its activations again in training, with the same results.

    Dropout draws the same numbers again, and BN's running statistics count each image once.

    Raises:
        UsageError: the network has no residual blocks.
    """
    blocks = blocks_of(network)
    if not blocks:
        raise UsageError("--checkpointing: this network has no residual blocks: expected one with some; leave it out")
    for block in blocks:
        block.forward = functools.partial(_forward, block, block.forward)


def _forward(block: nn.Module, inner: Any, *inputs: torch.Tensor) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return inner(*inputs)
    contexts = functools.partial(_contexts, block)
    return checkpoint(inner, *inputs, use_reentrant=False, context_fn=contexts)


def _contexts(block: nn.Module) -> tuple[Any, Any]:
    return contextlib.nullcontext(), _frozen_statistics(block)


@contextlib.contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Within it, BN updates copies of its running statistics."""
    norms = [module for module in block.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001
    kept = [dict(norm._buffers) for norm in norms]  # noqa: SLF001 (the one place that holds them)
    for norm, buffers in zip(norms, kept, strict=True):
        norm._buffers.update({name: value.clone() for name, value in buffers.items() if value is not None})  # noqa: SLF001
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)  # noqa: SLF001
