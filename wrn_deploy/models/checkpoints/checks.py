"""Checks that what was found in a checkpoint is the network, and says what it is and what to do if it is not."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from wrn_deploy.errors import DeployError
from wrn_deploy.formatting import count, first_names
from wrn_deploy.models import build_model, describe_model, layouts
from wrn_deploy.models.catalog import read_catalog
from wrn_deploy.models.checkpoints.match import Match, find_match, is_count
from wrn_deploy.models.checkpoints.states import State
from wrn_deploy.spec import ModelSpec

__all__ = ["check_keys", "check_values", "fitting_networks", "shapes_of"]


DEPTHS, WIDEST = range(10, 59, 6), 64 * 32  # of WRN-d-k: d, and the most channels

# Why a checkpoint does not fit, and what to do, if any key that is left over matches.
LEFT_OVER = {
    re.compile(
        r"(.*\.)?_?flat_param.*"
    ): "These are flat parameters of FSDP, one part per process: save the full state "
    "dict there (StateDictType.FULL_STATE_DICT)",
    re.compile(
        r"(.*[._])(zero_point|fake_quant\..+|activation_post_process\..+|_packed_params.*|qweight|qzeros)"
    ): "It is quantized: give the checkpoint from before any quantization",
    re.compile(r"(.*\.)lora_(A|B|up|down)\b.*"): "It has LoRA weights next to the network's: merge them there "
    "(merge_and_unload) and save again",
}
# The same, if all keys that are missing match, and none is left over.
MISSING = {
    re.compile(r".+\.running_(mean|var)"): "It has no statistics of BN: save state_dict(), not parameters(); a network "
    "with another normalisation is not supported",
    re.compile(
        r"(.*\.)?(fc|head\.fc|linear|output|classifier|logits)\.(weight|bias)"
    ): "It has no classifier: save the whole network there",
}


def check_keys(
    match: Match, own: Mapping[str, torch.Size], file: Path, spec: ModelSpec, states: Mapping[str, State]
) -> None:
    """Raises DeployError if a tensor is missing, left over or of another shape, with the keys and the likely remedy."""
    missing = [key for key in match.pairs.values() if key not in match.state]
    differing = _differing(match, own)
    if match.layout.refused and len(missing) < len(match.pairs) / 2 and not any(fitting_networks(states)):
        raise DeployError(f"{file} has the layout of {match.layout.name}: {match.layout.refused}")
    if match.problems:
        raise DeployError(
            f"{file} has {count(len(match.problems), 'weight')} that cannot be combined: {match.problems[0]}"
        )
    shapes = [f"{key} {tuple(match.state[key].shape)} instead of {tuple(own[name])}" for name, key in differing.items()]
    found = _other_classes(match, own, spec)
    if found and not missing and not match.left_over:
        raise DeployError(
            f"{file} has {found} classes, {spec.name} expects {spec.classes} ({shapes[0]}): pass --classes {found}"
        )
    problems = [
        f"{len(keys)} {problem}: {first_names(keys)}"
        for problem, keys in (("missing", missing), ("unexpected", match.left_over), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise DeployError(
            f"{file} is not a checkpoint of {spec.name} ({spec.classes} classes), read in the layout of "
            f"{match.layout.name}{f' in {match.name}' if match.name else ''}: {'; '.join(problems)}. "
            f"{_remedy(missing, match.left_over, file, states)}"
        )


def check_values(tensors: State, file: Path) -> None:
    """Raises DeployError if a tensor is not of plain floating-point numbers, or not finite in fp32."""
    odd = [
        f"{key} ({str(tensor.dtype).removeprefix('torch.')}, {tensor.device.type})"
        for key, tensor in tensors.items()
        if not tensor.is_floating_point() or tensor.layout is not torch.strided or tensor.is_meta
    ]
    if odd:
        raise DeployError(
            f"{file} has {len(odd)} tensors that are not plain floating-point numbers: {first_names(odd)}: "
            "expected fp32, fp16 or bf16 weights; give the checkpoint from before any quantization"
        )
    bad = [key for key, tensor in tensors.items() if not bool(torch.isfinite(tensor.to(torch.float32)).all())]
    if bad:
        raise DeployError(
            f"{file} has NaN or infinite values in {len(bad)} tensors: {first_names(bad)}: expected finite "
            "weights; its training diverged or the file is damaged"
        )


def shapes_of(spec: ModelSpec) -> dict[str, torch.Size]:
    """The names and shapes of the network's tensors, without counts; makes none of them."""
    with torch.device("meta"):
        empty = build_model(spec)
    return {name: tensor.shape for name, tensor in empty.state_dict().items() if not is_count(name)}


def _differing(match: Match, own: Mapping[str, torch.Size]) -> dict[str, str]:
    return {
        name: key for name, key in match.pairs.items() if key in match.state and match.state[key].shape != own[name]
    }


def _other_classes(match: Match, own: Mapping[str, torch.Size], spec: ModelSpec) -> int:
    """The number of classes in the file if it differs in nothing else; else 0."""
    differing = _differing(match, own)
    owners = {name.rpartition(".")[0] for name in differing}
    there = {match.state[key].shape[:1] for key in differing.values()}
    here = {own[name][:1] for name in differing}
    rest = all(match.state[key].shape[1:] == own[name][1:] for name, key in differing.items())
    alone = len(differing) == 2 and len(owners) == len(there) == 1 and here == {torch.Size([spec.classes])}
    return next(iter(there))[0] if alone and rest else 0


def _remedy(missing: list[str], left_over: tuple[str, ...], file: Path, states: Mapping[str, State]) -> str:
    """What to do: the first cause that the keys show; else the networks that the file fits."""
    if missing and re.search(r"-\d{5}-of-\d{5}\.", file.name):
        return "It is one of several shards: put the tensors of all into one dictionary, and save that"
    for pattern, remedy in LEFT_OVER.items():
        if any(map(pattern.fullmatch, left_over)):
            return remedy
    for pattern, remedy in MISSING.items():
        if missing and not left_over and all(map(pattern.fullmatch, missing)):
            return remedy
    fitting = [_named(spec) for spec in fitting_networks(states)]
    if fitting:
        return f"It matches {' and '.join(fitting)}: use that name"
    if not missing and left_over:
        return "If its network does not need the unexpected weights (a loss, a metric), save it there without them"
    return "It matches no known network: `wrn-deploy models` lists them"


def fitting_networks(states: Mapping[str, State]) -> Iterator[ModelSpec]:
    """The networks whose weights are in the file, with nothing missing or left over; with the file's number of classes.

    They are the listed ones, and WRN-d-k with a depth up to 58.
    """
    for spec in _plausible(states):
        own = shapes_of(spec)
        try:
            match = find_match(states, own, layouts(spec.family))
        except DeployError:  # two of one network
            continue
        if match.left_over or match.layout.refused or any(key not in match.state for key in match.pairs.values()):
            continue
        classes = _other_classes(match, own, spec)
        if classes or not _differing(match, own):
            yield dataclasses.replace(spec, classes=classes) if classes else spec


def _named(spec: ModelSpec) -> str:
    usual = describe_model(spec.name).classes
    return spec.name if spec.classes == usual else f"{spec.name} with --classes {spec.classes}"


def _plausible(states: Mapping[str, State]) -> Iterator[ModelSpec]:
    """Networks that are not too large for the file; of WRN-d-k, also unlisted ones, those whose classifier it may have.

    Building all of them would take seconds.
    """
    size = max((sum(tensor.numel() for tensor in state.values()) for state in states.values()), default=0)
    for name, listed in read_catalog().items():
        if listed.family != "wrn" and listed.parameters < 2 * size:  # a classifier may be much smaller
            yield describe_model(name)
    matrices = {tensor.shape for state in states.values() for tensor in state.values() if tensor.dim() == 2}
    for widen in sorted({shape[1] // 64 for shape in matrices if shape[1] % 64 == 0 and 64 <= shape[1] <= WIDEST}):
        for depth in DEPTHS:
            yield describe_model(f"wrn-{depth}-{widen}-cifar")
