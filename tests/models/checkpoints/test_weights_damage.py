"""Files that are no weights: each is refused with a clear text, and code in a pickle is never run."""

from __future__ import annotations

import json
import os
import pickle
import random
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from wrn_deploy.errors import DeployError
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.models.checkpoints.weights import METADATA, read_weights

EXPECTED = r"expected a \.safetensors, \.pth, \.npz or HDF5 file"


class _Command:
    """Unpickled with trust, this runs a command of the shell."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def _saved(content: object, kind: str) -> bytes:
    if kind == "safetensors":
        assert isinstance(content, dict)
        return save(content)
    if kind == "pickle":
        return pickle.dumps(content)
    stream = BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=kind == "zip")
    return stream.getvalue()


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    state = build_model(describe_model("wrn-10-1")).state_dict()
    return {kind: _saved(state, kind) for kind in ("safetensors", "zip", "legacy")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=rf"no weights at '.*absent\.pth': {EXPECTED}"):
        read_weights(tmp_path / "absent.pth")


def test_a_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=rf"{tmp_path} is an empty folder: {EXPECTED}"):
        read_weights(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 7])
def test_an_empty_file_is_reported_with_its_size(file: Path, size: int) -> None:
    file.write_bytes(bytes(size))
    with pytest.raises(DeployError, match=rf"weights contains {size} bytes: {EXPECTED}; copy it again"):
        read_weights(file)


@pytest.mark.parametrize("cut", [8, 9, 16, 100, 1000, 0.1, 0.5, 0.9, -100, -1])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_truncated_file_is_reported(whole: dict[str, bytes], kind: str, cut: float, file: Path) -> None:
    content = whole[kind]
    file.write_bytes(content[: int(cut * len(content)) if isinstance(cut, float) else cut])
    with pytest.raises(DeployError, match=r"weights is damaged(, | or )truncated.*: expected an? "):
        read_weights(file)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_damage_anywhere_never_ends_in_another_error(whole: dict[str, bytes], kind: str, file: Path) -> None:
    chance = random.Random(0)
    texts = []
    for _ in range(150):
        content = bytearray(whole[kind])
        for _ in range(chance.choice([1, 3, 10])):
            content[chance.randrange(chance.choice([60, 1000, len(content)]))] = chance.randrange(256)
        file.write_bytes(content)
        try:
            read_weights(file)
        except DeployError as error:
            texts.append(str(error))
    assert len(texts) > 30
    assert all("weights" in text and "expected" in text for text in texts)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("place", ["alone", "beside", "wrapped"])
def test_code_is_refused_and_not_run(kind: str, place: str, file: Path, tmp_path: Path) -> None:
    command = _Command(f"touch {tmp_path}/ran")
    tensors = {"conv1.weight": torch.zeros(2)}
    content = {"alone": command, "beside": {**tensors, "x": command}, "wrapped": {"state_dict": tensors, "x": command}}
    file.write_bytes(_saved(content[place], kind))
    with pytest.raises(DeployError, match=r"never run here|not a checkpoint"):
        read_weights(file)
    assert not (tmp_path / "ran").exists()


def test_the_trap_of_this_test_does_run_where_pickles_are_trusted(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(_Command(f"touch {tmp_path}/ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_what_was_not_run_is_named(kind: str, file: Path) -> None:
    file.write_bytes(_saved(build_model(describe_model("wrn-10-1")), kind))
    with pytest.raises(
        DeployError, match=r"contains pickled code \(wrn_deploy\.models\.families\.wrn\.WideResNet\)"
    ) as error:
        read_weights(file)
    assert "save model.state_dict()" in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(2)],
        torch.zeros(2),
        {},
        {"conv1.weight": 1.0},
        {1: torch.zeros(2)},
        {("a", "b"): torch.zeros(2)},
        {"state_dict": {}},
        {"state_dict": [torch.zeros(2)]},
        "wrn-16-2",
        None,
    ],
    ids=repr,
)
def test_what_is_not_a_state_dict_is_refused(content: object, file: Path) -> None:
    file.write_bytes(_saved(content, "zip"))
    with pytest.raises(DeployError, match="that is not a state dict: expected names and tensors only"):
        read_weights(file)


@pytest.mark.parametrize(
    "content",
    [bytes(1000), bytes(range(1, 255)), b"PK\x03\x04" + bytes(100)],
    ids=["zeros", "all bytes", "zip"],
)
def test_bytes_of_no_known_kind_are_no_checkpoint(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(DeployError, match=r"weights is damaged(, | or )truncated.*: expected an? ") as error:
        read_weights(file)
    assert "pickled code" not in str(error.value)


@pytest.mark.parametrize("described", ["{", "[]", "{}", '{"name": "wrn-10-1"}', "3", "null"])
def test_a_damaged_description_in_a_safetensors_file_is_reported(described: str, file: Path) -> None:
    file.write_bytes(save({"conv1.weight": torch.zeros(2)}, metadata={METADATA: described}))
    with pytest.raises(DeployError, match="weights is damaged or truncated"):
        read_weights(file)


def test_a_description_that_cannot_be_is_reported_with_the_file(file: Path) -> None:
    record = {**describe_model("wrn-10-1").to_json(), "classes": 1}
    file.write_bytes(save({"conv1.weight": torch.zeros(2)}, metadata={METADATA: json.dumps(record)}))
    with pytest.raises(DeployError, match=r"weights is damaged or truncated \(.*1 classes: expected at least 2"):
        read_weights(file)


def test_a_foreign_safetensors_file_has_no_description(file: Path) -> None:
    file.write_bytes(save({"conv1.weight": torch.zeros(2)}, metadata={"format": "pt"}))
    assert read_weights(file).spec is None
