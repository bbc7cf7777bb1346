"""The calibration table: scales from ranges, its JSON, and damaged files."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wrn_deploy.calib.collection.table import CalibrationTable, TensorRange, read_table
from wrn_deploy.errors import DeployError

TABLE = CalibrationTable(
    method="percentile", percentile=99.99, data="digits", data_digest="ab" * 32, images=128, graph_sha256="cd" * 32,
    tensors={
        "images": TensorRange(low=-1.5, high=2.25, amax=2.0, clipped=1e-4),
        "conv1.relu": TensorRange(low=0.0, high=1 / 3, amax=0.1 + 0.2, clipped=0.0),
    },
)  # fmt: skip


def test_a_table_survives_its_json_to_the_last_bit(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(TABLE.to_json())
    assert read_table(file) == TABLE
    assert read_table(file).to_json() == TABLE.to_json()


def test_an_unknown_tensor_says_what_to_do() -> None:
    with pytest.raises(DeployError, match=r"no range for conv9: it is for another graph; calibrate again"):
        TABLE["conv9"]


def test_symmetric_scale_puts_the_threshold_at_127() -> None:
    assert TensorRange(low=-1.0, high=3.0, amax=2.54, clipped=0.0).scale_to(127.0) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("low", "high", "amax", "scale", "zero_point"),
    [
        (0.0, 2.55, 2.55, 0.01, 0),  # behind a ReLU
        (-1.0, 1.55, 2.0, 0.01, 100),
        (-2.55, 0.0, 2.55, 0.01, 255),
        (-9.0, 9.0, 1.275, 0.01, 128),  # both sides clipped; 127.5 is rounded to even
        (1.0, 5.1, 5.1, 0.02, 0),  # widened to hold zero
        (-5.1, -1.0, 5.1, 0.02, 255),
    ],
)
def test_asymmetric_range_is_clipped_and_holds_zero(
    low: float, high: float, amax: float, scale: float, zero_point: int
) -> None:
    found = TensorRange(low=low, high=high, amax=amax, clipped=0.0).asymmetric
    assert found[0] == pytest.approx(scale)
    assert found[1] == zero_point


@pytest.mark.parametrize("low", [-1e-45, -1e-39, -1e-20, -0.3, -1e30, 0.0])
@pytest.mark.parametrize("high", [0.0, 1e-45, 1e-38, 1e-36, 0.7, 1e30])
def test_every_scale_is_a_number_that_can_divide(low: float, high: float) -> None:
    found = TensorRange(low=low, high=high, amax=max(-low, high), clipped=0.0)
    scale, zero_point = found.asymmetric
    for value in (np.float32(scale), np.float32(found.scale_to(127.0))):
        assert np.isfinite(value)
        assert value >= 0
    assert np.float32(scale) >= np.finfo(np.float32).tiny
    assert 0 <= zero_point <= 255


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no tensors": lambda record: record.pop("tensors"),
    "tensors of another type": lambda record: record.update(tensors=3),
    "an unknown field": lambda record: record.update(extra=1),
    "a range without a threshold": lambda record: record["tensors"]["images"].pop("amax"),
    "a range of another type": lambda record: record["tensors"].update(images=[1, 2]),
    "a NaN": lambda record: record["tensors"]["images"].update(low=float("nan")),
    "an infinity": lambda record: record["tensors"]["images"].update(high=float("inf")),
    "a text for a number": lambda record: record["tensors"]["images"].update(amax="2"),
    "a number beyond all floats": lambda record: record["tensors"]["images"].update(amax=10**400),
    "a negative threshold": lambda record: record["tensors"]["images"].update(amax=-1.0),
    "a minimum above the maximum": lambda record: record["tensors"]["images"].update(low=3.0),
    "a fraction above one": lambda record: record["tensors"]["images"].update(clipped=1.5),
    "another format": lambda record: record.update(format=3),
    "no equalization": lambda record: record.pop("equalization"),
    "a factor of zero": lambda record: record["equalization"]["factors"].update(conv1=[1.0, 0.0]),
    "a shift that is not finite": lambda record: record["equalization"]["shifts"].update(conv1=[float("nan")]),
    "factors of another type": lambda record: record["equalization"].update(factors=[1.0]),
    "no format": lambda record: record.pop("format"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_refused_with_the_remedy(tmp_path: Path, damage: str) -> None:
    record = json.loads(TABLE.to_json())
    DAMAGES[damage](record)
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(record))
    with pytest.raises(DeployError, match=r"calibration\.json .*calibrate again"):
        read_table(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "[" * 100_000, TABLE.to_json()[:-40]])
def test_other_texts_are_no_table(tmp_path: Path, text: str) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(text)
    with pytest.raises(DeployError, match="is not a calibration table"):
        read_table(file)


def test_a_missing_file_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="is not a calibration table"):
        read_table(tmp_path / "absent.json")


def test_damaged_bytes_give_nothing_but_our_own_errors(tmp_path: Path) -> None:
    dice, file, text = random.Random(3), tmp_path / "calibration.json", TABLE.to_json().encode()
    refused = 0
    for _ in range(200):
        damaged = bytearray(text)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        file.write_bytes(damaged)
        try:
            read_table(file)
        except DeployError:
            refused += 1
    assert refused > 100
