"""Puts weights together that a state dict has in parts: pruned, weight-normed and spectral-normed ones.

PyTorch keeps such a weight as what it is computed from, in two notations: `weight_g` and `weight_v` by
`torch.nn.utils.weight_norm`, `parametrizations.weight.original0` and `original1` by its successor. The results are
those of the network in eval mode. What cannot be put together stays as it is, and is described.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from wrn_deploy.models.checkpoints.states import State

__all__ = ["Assembled", "assemble"]

OLD = re.compile(r"(?P<whole>.+)_(?P<role>orig|mask|g|v|u)")
NEW = re.compile(r"(?P<owner>(?:.*\.)?)parametrizations\.(?P<name>\w+)\.(?P<role>original\d*|\d+\..+)")
REMEDY = (
    "where it was made, call torch.nn.utils.prune.remove, remove_weight_norm, remove_spectral_norm or "
    "parametrize.remove_parametrizations on the layer, and save again"
)

Parts = Mapping[str, torch.Tensor]  # by role


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """A state dict with its weights put together.

    Args:
        state: the tensors, without the parts that were used.
        made: key of a weight that was put together -> how, as in "pruned: weight_orig x weight_mask".
        problems: key of a part that was not used -> why.
    """

    state: State
    made: Mapping[str, str]
    problems: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Form:
    """How a weight of one kind is computed from its parts; `compute` raises ValueError if they do not belong together.

    It gets the parts in the order of `roles`, in fp32 or fp64.
    """

    how: str
    roles: tuple[str, ...]
    compute: Callable[..., torch.Tensor]


def assemble(state: State) -> Assembled:
    """Puts together what can be: also a pruned part of a weight-normed weight, the innermost first."""
    whole, made, problems = dict(state), dict[str, str](), dict[str, str]()
    while True:
        problems.clear()
        done = False
        for key, parts in _groups(whole).items():
            try:
                form, value = _compute(key, {role: whole[part] for role, part in parts.items()}, key in whole)
            except ValueError as error:
                text = f"{key} is in parts, {', '.join(sorted(parts.values()))}, and {error}: {REMEDY}"
                problems.update(dict.fromkeys((key, *parts.values()), text))
                continue
            for part in parts.values():
                del whole[part]
            whole[key], made[key], done = value, form.how, True
        if not done:
            return Assembled(state=whole, made=made, problems=problems)


def _groups(state: State) -> dict[str, dict[str, str]]:
    """The keys of the parts by role, for each weight that is in parts."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for key in state:
        new, old = NEW.fullmatch(key), OLD.fullmatch(key)
        if new is not None:
            found[new["owner"] + new["name"]][new["role"]] = key
        elif old is not None:
            found[old["whole"]][old["role"]] = key
    return found


def _compute(key: str, parts: Parts, already: bool) -> tuple[_Form, torch.Tensor]:
    form = next((form for form in FORMS if set(form.roles) == parts.keys()), None)
    if form is None:
        expected = "; or ".join(" with ".join(f"{key}_{role}" for role in known.roles) for known in FORMS[:3])
        raise ValueError(f"expected {expected}; or the same as parametrizations.*.original...")
    if already:
        raise ValueError("the combined weight is also present: expected one of the two")
    ordered = [parts[role].detach() for role in form.roles]
    plain = all(part.layout is torch.strided and not part.is_meta for part in ordered)
    if not plain or not all(part.is_floating_point() for role, part in parts.items() if role != "mask"):
        raise ValueError("they are not plain floating-point numbers")
    kind = torch.promote_types(ordered[0].dtype, torch.float32)
    return form, form.compute(*(part.to(kind) for part in ordered))


def _pruned(original: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if original.shape != mask.shape:
        raise ValueError(f"the mask is {tuple(mask.shape)}: expected {tuple(original.shape)}")
    return mask * original


def _weight_normed(length: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """The direction v at length g, for each index of one dimension, or as a whole (Salimans and Kingma, 2016)."""
    kept = [
        tuple(size if at == dim else 1 for at, size in enumerate(direction.shape)) for dim in range(direction.dim())
    ]
    if length.shape and tuple(length.shape) not in kept:
        raise ValueError(
            f"the lengths are {tuple(length.shape)}: expected one for each row of {tuple(direction.shape)}"
        )
    dims = [at for at in range(direction.dim()) if not length.shape or length.shape[at] == 1]
    if not dims:  # a vector
        return length * torch.sign(direction)
    norms: torch.Tensor = torch.linalg.vector_norm(direction, dim=dims, keepdim=bool(length.shape))
    return direction * (length / norms)


def _spectral_normed(original: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """W / sigma with sigma = u^T W v, W a matrix with a row for each output (Miyato et al., 2018), which is dim 0."""
    rows = original.shape[0] if original.dim() > 1 else 0
    if not rows or left.shape != (rows,) or right.shape != (original.numel() // rows,):
        raise ValueError(
            f"u and v are {tuple(left.shape)} and {tuple(right.shape)} for {tuple(original.shape)}: expected the "
            "singular vectors of a matrix with a row for each output"
        )
    sigma: torch.Tensor = torch.dot(left, torch.mv(original.reshape(rows, -1), right))
    return original / sigma


FORMS = (
    _Form("pruned, weight_orig x weight_mask", ("orig", "mask"), _pruned),
    _Form("weight-normed, from weight_g and weight_v", ("g", "v"), _weight_normed),
    _Form("spectral-normed, from weight_orig, weight_u and weight_v", ("orig", "u", "v"), _spectral_normed),
    _Form("weight-normed, from parametrizations", ("original0", "original1"), _weight_normed),
    _Form("spectral-normed, from parametrizations", ("original", "0._u", "0._v"), _spectral_normed),
)
