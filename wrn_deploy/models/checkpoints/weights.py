"""Reads and writes weights: safetensors, `.pth`, `.npz` and HDF5 files, never code; accounts for each tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.formats.safetensors_header import read_header
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.files.regular import open_regular
from wrn_deploy.files.text import parse_json
from wrn_deploy.models import layouts
from wrn_deploy.models.checkpoints.checks import check_keys, check_values, shapes_of
from wrn_deploy.models.checkpoints.foreign_files import EXPECTED, check_kind, check_names
from wrn_deploy.models.checkpoints.formats.array_pickles import read_arrays
from wrn_deploy.models.checkpoints.formats.hdf5 import HDF5, read_hdf5
from wrn_deploy.models.checkpoints.formats.npz import is_npz, read_npz
from wrn_deploy.models.checkpoints.formats.pickled import read_pickled, refuse_code
from wrn_deploy.models.checkpoints.match import Match, find_match
from wrn_deploy.models.checkpoints.states import State, state_dicts
from wrn_deploy.spec import ModelSpec

__all__ = ["Checkpoint", "apply_match", "match_weights", "read_weights", "write_weights"]

METADATA = "wrn_deploy"  # the one metadata entry of our safetensors files: with several their order would vary


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
    check_kind(file)
    size = file.stat().st_size
    if size < 8:
        raise DamagedFile(f"{file} contains {size} bytes: {EXPECTED}; copy it again")
    with open_regular(file) as stream:
        start = stream.read(9)
    if start[8:9] == b"{":  # 8 bytes of header length, then the header's JSON
        return _read_safetensors(file)
    if start.startswith(HDF5) or is_npz(file):
        arrays = read_hdf5(file) if start.startswith(HDF5) else read_npz(file)
        if not arrays:
            raise DeployError(f"{file} contains no arrays: expected a network's weights by name")
        check_names(file, arrays)
        return Checkpoint(file, {"": arrays})
    loaded, passed_over = read_pickled(file)
    states = state_dicts(loaded)
    if not states and passed_over:  # the weights may be NumPy arrays
        loaded, passed_over = read_arrays(file)
        states = state_dicts(loaded)
    if not states and passed_over:
        raise refuse_code(file, passed_over[0])
    if not states:
        raise DeployError(
            f"{file} contains a {type(loaded).__name__} that is not a state dict: expected names and tensors only"
        )
    return Checkpoint(file, states, passed_over=passed_over)


def write_weights(network: nn.Module, spec: ModelSpec, file: Path) -> None:
    """Replaces `file` with the network's state dict and description as safetensors; a crash leaves the old file."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    # safetensors' save_file hides a full disk in its own error, and makes files that only their owner can read.
    write_whole(file, save(tensors, metadata={METADATA: json.dumps(spec.to_json(), sort_keys=True)}))


def match_weights(checkpoint: Checkpoint, spec: ModelSpec, key: str = "") -> Match:
    """Finds the network in the checkpoint (state dict, prefix and layout) and checks the tensors.

    Args:
        checkpoint: the contents of a file.
        spec: the network's description.
        key: the name of the state dict to take, if the file has several; "": the preferred one.

    Raises:
        DeployError: a tensor is missing, left over, of another shape, not of floating-point numbers, or not finite in
            fp32; the first keys are named.
        UsageError: the file has nothing called `key`, or two networks and no `key` to choose by.
    """
    own = shapes_of(spec)
    try:
        match = find_match(checkpoint.states, own, layouts(spec.family), key)
    except DeployError as error:
        raise type(error)(f"{checkpoint.file}: {error}") from error
    check_keys(match, own, checkpoint.file, spec, checkpoint.states)
    check_values({key: match.state[key] for key in match.pairs.values()}, checkpoint.file)
    return match


def apply_match(network: nn.Module, match: Match) -> None:
    """Loads the tensors of a checked match into the network in fp32."""
    values = {own: match.state[key].to(torch.float32) for own, key in match.pairs.items()}
    for own, tensor in network.state_dict().items():
        constant = match.layout.constant(own)
        if constant is not None:
            values[own] = torch.full(tensor.shape, constant)
    network.load_state_dict(values, strict=False)


def _read_safetensors(file: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    metadata = read_header(file)
    try:
        described = metadata.get(METADATA)
        spec = None if described is None else ModelSpec.from_json(parse_json(described, "its description"))
        with safe_open(file, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError, DeployError) as error:
        raise DamagedFile(f"{file} is damaged or truncated ({error}): expected an intact .safetensors file") from error
    return Checkpoint(file, {"": tensors}, spec)
