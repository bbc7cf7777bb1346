"""Weights in and out: safetensors and .pth state dicts, never code; each tensor accounted for."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wrn_deploy.errors import DeployError
from wrn_deploy.models import layouts
from wrn_deploy.spec import ModelSpec

__all__ = ["Checkpoint", "fit_weights", "read_weights", "write_weights"]

METADATA = "wrn_deploy"  # the one metadata entry of our safetensors files: with several their order would vary
WRAPPERS = ("state_dict", "model")
SHOWN = 4  # how many keys an error names


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state dict as it stands in a file; `spec` is there where the file says what the network is."""

    file: Path
    tensors: Mapping[str, torch.Tensor]
    spec: ModelSpec | None = None


def read_weights(file: Path) -> Checkpoint:
    """Reads a safetensors file or a state dict of `torch.save` (with `weights_only`: pickled code is refused).

    Raises:
        DeployError: the file is missing, empty, truncated, of no such format, or holds anything but tensors.
    """
    if not file.is_file():
        found = f"{file} is a folder" if file.is_dir() else f"no weights at {file}"
        raise DeployError(f"{found}: expected a .safetensors or a .pth file")
    size = file.stat().st_size
    if size < 8:
        raise DeployError(f"{file} holds {size} bytes: expected a .safetensors or a .pth file; copy it again")
    with file.open("rb") as stream:
        start = stream.read(9)
    is_safetensors = start[8:9] == b"{"  # 8 bytes of header length, then the header's JSON
    return _read_safetensors(file) if is_safetensors else _read_pth(file)


def write_weights(network: nn.Module, spec: ModelSpec, file: Path) -> None:
    """Writes the network's state dict with its description as safetensors."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    # Its save_file hides a full disk in an error of its own, and makes files that only their owner may read.
    file.write_bytes(save(tensors, metadata={METADATA: json.dumps(spec.to_json(), sort_keys=True)}))


def fit_weights(network: nn.Module, checkpoint: Checkpoint, spec: ModelSpec) -> None:
    """Puts the checkpoint into the network, after bringing its keys into the network's layout.

    Raises:
        DeployError: a tensor is missing, left over, of another shape, not of floating-point numbers, or not finite in
            fp32; the first keys are named.
    """
    tensors = {key: tensor for key, tensor in checkpoint.tensors.items() if not key.endswith("num_batches_tracked")}
    if all(key.startswith("module.") for key in tensors):  # DataParallel
        tensors = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    own = {key: tensor for key, tensor in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    tensors = _best_layout(tensors, own, spec.family)
    _check_keys(tensors, own, checkpoint.file, spec)
    _check_kinds(tensors, checkpoint.file)
    values = {key: tensor.to(torch.float32) for key, tensor in tensors.items()}
    _check_values(values, checkpoint.file)
    network.load_state_dict(values, strict=False)


def _best_layout(
    tensors: dict[str, torch.Tensor], own: Mapping[str, torch.Tensor], family: str
) -> dict[str, torch.Tensor]:
    candidates = [tensors]
    for rules in layouts(family).values():
        renamed = {}
        for key, tensor in tensors.items():
            rule = next((rule for rule in rules if re.search(rule[0], key)), None)
            renamed[key if rule is None else re.sub(rule[0], rule[1], key)] = tensor
        candidates.append(renamed)
    return max(candidates, key=lambda candidate: len(candidate.keys() & own.keys()))


def _check_keys(
    tensors: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], file: Path, spec: ModelSpec
) -> None:
    missing = [key for key in own if key not in tensors]
    left_over = [key for key in tensors if key not in own]
    differing = [key for key in own if key in tensors and tensors[key].shape != own[key].shape]
    if not (missing or left_over or differing):
        return
    shapes = [f"{key} {tuple(tensors[key].shape)} instead of {tuple(own[key].shape)}" for key in differing]
    if not missing and not left_over and differing == ["fc.weight", "fc.bias"]:
        found = tensors["fc.bias"].numel()
        raise DeployError(
            f"{file} has {found} classes, {spec.name} expects {spec.classes} ({shapes[0]}): pass --classes {found}"
        )
    found_wrong = [
        f"{len(keys)} {what}: {', '.join(keys[:SHOWN])}{', ...' if len(keys) > SHOWN else ''}"
        for what, keys in (("missing", missing), ("left over", left_over), ("of another shape", shapes))
        if keys
    ]
    raise DeployError(
        f"{file} is no checkpoint of {spec.name} ({spec.classes} classes): {'; '.join(found_wrong)}. "
        "Give the model name that these weights belong to"
    )


def _check_kinds(tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    odd = [
        f"{key} ({str(tensor.dtype).removeprefix('torch.')}, {tensor.device.type})"
        for key, tensor in tensors.items()
        if not tensor.is_floating_point() or tensor.layout is not torch.strided or tensor.is_meta
    ]
    if odd:
        raise DeployError(
            f"{file} has {len(odd)} tensors that are not plain floating-point numbers: {', '.join(odd[:SHOWN])}: "
            "expected fp32, fp16 or bf16 weights; give the checkpoint from before any quantization"
        )


def _check_values(tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    bad = [key for key, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise DeployError(
            f"{file} has NaN or infinite values in {len(bad)} tensors: {', '.join(bad[:SHOWN])}: expected finite "
            "weights; its training diverged or the file is damaged"
        )


def _read_safetensors(file: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
        spec = ModelSpec.from_json(json.loads(metadata[METADATA])) if METADATA in metadata else None
    except (SafetensorError, OSError, ValueError, DeployError) as error:
        raise DeployError(f"{file} is damaged or truncated ({error}): expected a whole .safetensors file") from error
    return Checkpoint(file, tensors, spec)


def _read_pth(file: Path) -> Checkpoint:
    try:
        # By its path, torch would judge a file by its suffix. Its warnings are on pickles that end in an error below.
        with file.open("rb") as stream, warnings.catch_warnings(action="ignore"):
            loaded: Any = torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # damage can end in any error of the unpickler
        raise DeployError(_unreadable(file, error)) from error
    for wrapper in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not _is_state_dict(loaded):
        raise DeployError(
            f"{file} holds a {type(loaded).__name__} that is no state dict: expected names and tensors only"
        )
    return Checkpoint(file, loaded)


def _is_state_dict(loaded: Any) -> bool:
    if not isinstance(loaded, dict) or not loaded:
        return False
    return all(isinstance(key, str) and torch.is_tensor(value) for key, value in loaded.items())


def _unreadable(file: Path, error: Exception) -> str:
    code = re.search(r"GLOBAL (\S+)", str(error))  # how torch names what it did not run
    if code is not None:
        return (
            f"{file} holds pickled code ({code[1]}), which is never run here: expected a state dict of tensors; load "
            "it where it was made and save model.state_dict(), best as safetensors"
        )
    first = ": ".join(filter(None, (type(error).__name__, re.split(r"\.\s|\n", str(error))[0])))
    return f"{file} is damaged, truncated or no checkpoint ({first}): expected a .safetensors or a .pth file"
