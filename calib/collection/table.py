"""The calibration table: the range of every quantized tensor, and what it was measured on; no onnx."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from wrn_deploy.errors import DamagedFile, DeployError, OverLimit, StaleArtifact
from wrn_deploy.files.text import read_json

__all__ = ["CalibrationTable", "Equalization", "TensorRange", "read_table"]

FORMAT = 2
NARROWEST = 255 * 2.0**-126  # a narrower range has no normal float32 for its 255th part


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRange:
    """The range of one tensor: exact `low` and `high`, the chosen threshold `amax`, the fraction of values it clips."""

    low: float
    high: float
    amax: float
    clipped: float

    @property
    def possible(self) -> bool:
        """Whether such a range and threshold can exist."""
        finite = all(map(math.isfinite, (self.low, self.high, self.amax)))
        return finite and self.low <= self.high and self.amax >= 0.0 and 0.0 <= self.clipped <= 1.0

    def scale_to(self, largest: float) -> float:
        """Zero point 0: the scale that maps the code `largest` (int8: 127) to amax, or to 1 if that is zero."""
        return (self.amax or 1.0) / largest

    @property
    def asymmetric(self) -> tuple[float, int]:
        """uint8: the value of one step and the zero point, for the range clipped at `amax` and including zero."""
        low = min(0.0, max(self.low, -self.amax))
        high = max(0.0, min(self.high, self.amax))
        scale = (high - low) / 255.0 if high - low >= NARROWEST else 1.0 / 255.0
        return scale, max(0, min(255, round(-low / scale)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Equalization:
    """Factors by class of tensors and shifts by tensor, one per channel: the input of `equalize`."""

    factors: Mapping[str, list[float]] = field(default_factory=dict)
    shifts: Mapping[str, list[float]] = field(default_factory=dict)

    @property
    def possible(self) -> bool:
        """Whether it can be applied and undone: finite, with positive factors."""
        factors, shifts = (list(chain(*values.values())) for values in (self.factors, self.shifts))
        return all(map(math.isfinite, factors + shifts)) and all(factor > 0.0 for factor in factors)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationTable:
    """Ranges by tensor name of the fp32 graph, with the method and digests of the data and of the graph.

    `data_digest` does not depend on the order of the images. The ranges are those of the graph after `equalization`. A
    table is independent of how Q/DQ are written from it.
    """

    method: str
    percentile: float | None
    data: str
    data_digest: str
    images: int
    graph_sha256: str
    tensors: Mapping[str, TensorRange]
    equalization: Equalization = field(default_factory=Equalization)

    def __getitem__(self, tensor: str) -> TensorRange:
        if tensor not in self.tensors:
            raise StaleArtifact(
                f"the calibration table has no range for {tensor}: it is for another graph; calibrate again"
            )
        return self.tensors[tensor]

    def to_json(self) -> str:
        """The table as a JSON text."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1) + "\n"


def read_table(file: Path) -> CalibrationTable:
    """Reads a table that `to_json` wrote.

    Raises:
        DeployError: the file is damaged, or has an impossible range.
    """
    try:
        record: dict[str, Any] = read_json(file)
        if record.pop("format") != FORMAT:
            raise DeployError(f"{file} has another format: expected {FORMAT}; calibrate again")
        tensors = {name: TensorRange(**values) for name, values in record.pop("tensors").items()}
        impossible = [name for name, found in tensors.items() if not found.possible]
        equalization = Equalization(**record.pop("equalization"))
        if not equalization.possible:
            impossible.append("the equalization")
        table = CalibrationTable(**record, tensors=tensors, equalization=equalization)
        problem = next(_odd_types(table), None)
    except OverLimit:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, DamagedFile) as error:
        raise DeployError(f"{file} is not a calibration table ({error!r}): calibrate again") from error
    if problem is not None:
        raise DeployError(f"{file} is not a calibration table ({problem} is of another type): calibrate again")
    if impossible:
        name = impossible[0]
        raise DamagedFile(f"{file} has an impossible range for {name} ({tensors.get(name)}): calibrate again")
    return table


def _odd_types(table: CalibrationTable) -> Iterator[str]:
    """The fields that hold something else than they should."""
    texts = {name: getattr(table, name) for name in ("method", "data", "data_digest", "graph_sha256")}
    yield from (name for name, value in texts.items() if type(value) is not str)
    if type(table.images) is not int or type(table.percentile) not in (int, float, type(None)):
        yield "images or percentile"
    numbers = {
        "a range": (value for found in table.tensors.values() for value in dataclasses.astuple(found)),
        "a factor": chain(*table.equalization.factors.values()),
        "a shift": chain(*table.equalization.shifts.values()),
    }
    for name, values in numbers.items():
        if any(type(value) not in (int, float) for value in values):
            yield name
