"""Reads and writes weights: safetensors, `.pth`, `.npz` and HDF5 files, never code; accounts for each tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.regular import open_regular
from wrn_deploy.files.safetensors_header import read_header
from wrn_deploy.files.text import parse_json
from wrn_deploy.models import layouts
from wrn_deploy.models.checkpoints.formats.hdf5 import HDF5, read_hdf5
from wrn_deploy.models.checkpoints.formats.npz import is_npz, read_npz
from wrn_deploy.models.checkpoints.formats.pickled import read_pickled, refuse_code
from wrn_deploy.models.checkpoints.match import Match, State, find_match, is_count, state_dicts
from wrn_deploy.spec import ModelSpec

__all__ = ["Checkpoint", "apply_match", "match_weights", "read_weights", "write_weights"]

METADATA = "wrn_deploy"  # the one metadata entry of our safetensors files: with several their order would vary
EXPECTED = "expected a .safetensors, .pth, .npz or HDF5 file"
MAX_NAMED = 4  # keys in an error


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state dicts in a file by their path in it, the preferred one first.

    `spec` is set if the file describes its network; `passed_over` names the classes of ignored objects.
    """

    file: Path
    states: Mapping[str, State]
    spec: ModelSpec | None = None
    passed_over: tuple[str, ...] = ()

    @property
    def tensors(self) -> State:
        """The preferred state dict."""
        return next(iter(self.states.values()))


def read_weights(file: Path) -> Checkpoint:
    """Reads a file by its content, not its suffix; code in a `.pth` file is never run.

    Example:
        >>> sorted(read_weights(Path("run/weights.safetensors")).tensors)[0]
        'block1.0.bn1.bias'

    Raises:
        DeployError: the file is missing, empty, truncated, of an unknown format, or without tensors.
        MachineError: the package that reads its format is not installed.
    """
    if not file.is_file():
        found = f"{file} is a folder" if file.is_dir() else f"no weights at {file}"
        raise DeployError(f"{found}: {EXPECTED}")
    size = file.stat().st_size
    if size < 8:
        raise DamagedFile(f"{file} holds {size} bytes: {EXPECTED}; copy it again")
    with open_regular(file) as stream:
        start = stream.read(9)
    if start[8:9] == b"{":  # 8 bytes of header length, then the header's JSON
        return _read_safetensors(file)
    if start.startswith(HDF5) or is_npz(file):
        arrays = read_hdf5(file) if start.startswith(HDF5) else read_npz(file)
        if not arrays:
            raise DeployError(f"{file} holds no arrays: expected a network's weights by name")
        return Checkpoint(file, {"": arrays})
    loaded, passed_over = read_pickled(file)
    states = state_dicts(loaded)
    if not states and passed_over:
        raise refuse_code(file, passed_over[0])
    if not states:
        raise DeployError(
            f"{file} holds a {type(loaded).__name__} that is not a state dict: expected names and tensors only"
        )
    return Checkpoint(file, states, passed_over=passed_over)


def write_weights(network: nn.Module, spec: ModelSpec, file: Path) -> None:
    """Replaces `file` with the network's state dict and description as safetensors; a crash leaves the old file."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    # safetensors' save_file hides a full disk in its own error, and makes files that only their owner can read.
    written = file.with_suffix(".tmp")
    written.write_bytes(save(tensors, metadata={METADATA: json.dumps(spec.to_json(), sort_keys=True)}))
    written.replace(file)


def match_weights(network: nn.Module, checkpoint: Checkpoint, spec: ModelSpec, key: str = "") -> Match:
    """Finds the network in the checkpoint (state dict, prefix and layout) and checks the tensors.

    Args:
        network: the network of `spec`, which is not changed; its tensors may be on torch's meta device.
        checkpoint: the contents of a file.
        spec: the network's description.
        key: the name of the state dict to take, if the file has several; "": the preferred one.

    Raises:
        DeployError: a tensor is missing, left over, of another shape, not of floating-point numbers, or not finite in
            fp32; the first keys are named.
        UsageError: the file has nothing called `key`.
    """
    own = {name: tensor.shape for name, tensor in network.state_dict().items() if not is_count(name)}
    match = find_match(checkpoint.states, own, layouts(spec.family), key)
    _check_keys(match, own, checkpoint.file, spec)
    _check_values({key: match.state[key] for key in match.pairs.values()}, checkpoint.file)
    return match


def apply_match(network: nn.Module, match: Match) -> None:
    """Loads the tensors of a checked match into the network in fp32."""
    values = {own: match.state[key].to(torch.float32) for own, key in match.pairs.items()}
    for own, tensor in network.state_dict().items():
        constant = match.layout.constant(own)
        if constant is not None:
            values[own] = torch.full(tensor.shape, constant)
    network.load_state_dict(values, strict=False)


def _check_keys(match: Match, own: Mapping[str, torch.Size], file: Path, spec: ModelSpec) -> None:
    missing = [key for key in match.pairs.values() if key not in match.state]
    differing = {
        name: key for name, key in match.pairs.items() if key in match.state and match.state[key].shape != own[name]
    }
    if match.layout.refused and len(missing) < len(match.pairs) / 2:
        raise DeployError(f"{file} has the layout of {match.layout.name}: {match.layout.refused}")
    shapes = [f"{key} {tuple(match.state[key].shape)} instead of {tuple(own[name])}" for name, key in differing.items()]
    found = _other_classes(match, differing, own, spec)
    if found and not missing and not match.left_over:
        raise DeployError(
            f"{file} has {found} classes, {spec.name} expects {spec.classes} ({shapes[0]}): pass --classes {found}"
        )
    problems = [
        f"{len(keys)} {problem}: {', '.join(keys[:MAX_NAMED])}{', ...' if len(keys) > MAX_NAMED else ''}"
        for problem, keys in (("missing", missing), ("left over", match.left_over), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise DeployError(
            f"{file} is not a checkpoint of {spec.name} ({spec.classes} classes), taken for the layout of "
            f"{match.layout.name}{f' in {match.name}' if match.name else ''}: {'; '.join(problems)}. "
            "Give the model name that these weights belong to"
        )


def _other_classes(match: Match, differing: Mapping[str, str], own: Mapping[str, torch.Size], spec: ModelSpec) -> int:
    """The number of classes in the file if it differs in nothing else; else 0."""
    owners = {name.rpartition(".")[0] for name in differing}
    there = {match.state[key].shape[:1] for key in differing.values()}
    here = {own[name][:1] for name in differing}
    rest = all(match.state[key].shape[1:] == own[name][1:] for name, key in differing.items())
    alone = len(differing) == 2 and len(owners) == len(there) == 1 and here == {torch.Size([spec.classes])}
    return next(iter(there))[0] if alone and rest else 0


def _check_values(tensors: State, file: Path) -> None:
    odd = [
        f"{key} ({str(tensor.dtype).removeprefix('torch.')}, {tensor.device.type})"
        for key, tensor in tensors.items()
        if not tensor.is_floating_point() or tensor.layout is not torch.strided or tensor.is_meta
    ]
    if odd:
        raise DeployError(
            f"{file} has {len(odd)} tensors that are not plain floating-point numbers: {', '.join(odd[:MAX_NAMED])}: "
            "expected fp32, fp16 or bf16 weights; give the checkpoint from before any quantization"
        )
    bad = [key for key, tensor in tensors.items() if not bool(torch.isfinite(tensor.to(torch.float32)).all())]
    if bad:
        raise DeployError(
            f"{file} has NaN or infinite values in {len(bad)} tensors: {', '.join(bad[:MAX_NAMED])}: expected finite "
            "weights; its training diverged or the file is damaged"
        )


def _read_safetensors(file: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    metadata = read_header(file)
    try:
        described = metadata.get(METADATA)
        spec = None if described is None else ModelSpec.from_json(parse_json(described, "its description"))
        with safe_open(file, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError, DeployError) as error:
        raise DamagedFile(f"{file} is damaged or truncated ({error}): expected a whole .safetensors file") from error
    return Checkpoint(file, {"": tensors}, spec)
