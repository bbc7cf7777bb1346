"""Calibration tables, as `calibrate` writes them into a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wrn_deploy.calib.collection.table import CalibrationTable, Equalization, TensorRange, read_table

__all__ = ["read", "seeds"]


def seeds(_folder: Path) -> Iterator[bytes]:
    """A table of two tensors, with an equalization."""
    yield (
        CalibrationTable(
            method="percentile",
            percentile=99.9,
            data="digits",
            data_digest="0" * 64,
            images=16,
            graph_sha256="1" * 64,
            tensors={
                "images": TensorRange(low=-1.0, high=2.5, amax=2.5, clipped=0.0),
                "conv1.relu": TensorRange(low=0.0, high=7.0, amax=6.0, clipped=0.001),
            },
            equalization=Equalization(factors={"conv1": [1.0, 0.5]}, shifts={"conv1": [0.0, -0.25]}),
        )
        .to_json()
        .encode()
    )


def read(path: Path) -> None:
    """Reads it, and uses every range."""
    for found in read_table(path).tensors.values():
        repr((found.asymmetric, found.scale_to(127)))
