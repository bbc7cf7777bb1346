"""Reads and writes graphs between a bundle, which keeps them with its interface, and the steps, which work without."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.bundle import Bundle
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.spec import ModelSpec

if TYPE_CHECKING:
    import onnx_ir as ir

    from wrn_deploy.calib.collection.table import CalibrationTable, Equalization

__all__ = ["read_equalized", "read_unwrapped", "unwrapped_file", "write_wrapped"]


def read_unwrapped(file: Path) -> ir.Model:
    """The graph in `file`, of a bundle, without an interface: normalised images in, logits out."""
    import onnx_ir as ir

    from wrn_deploy.export.interface import unwrap

    return unwrap(ir.load(file))


def read_equalized(bundle: Bundle) -> tuple[ir.Model, CalibrationTable]:
    """The fp32 graph of a calibrated bundle without an interface, equalized by the table, and the table."""
    from wrn_deploy.calib.collection.table import read_table
    from wrn_deploy.calib.equalization.equalize import equalize

    fp32, table = (bundle.file(bundle.find(key)) for key in ("onnx-fp32", "calibration"))
    found = read_table(table)
    return equalize(read_unwrapped(fp32), found.equalization), found


@contextlib.contextmanager
def unwrapped_file(file: Path, spec: ModelSpec) -> Iterator[Path]:
    """A file with the graph in `file` without an interface: `file` itself if it has none, else a temporary one."""
    if spec == spec.core:
        yield file
        return
    import onnx_ir as ir

    with scratch_folder() as folder:
        unwrapped = folder / file.name
        ir.save(read_unwrapped(file), unwrapped)
        yield unwrapped


def write_wrapped(
    model: ir.Model,
    file: Path,
    spec: ModelSpec,
    *,
    fp32: ir.Model | None = None,
    equalization: Equalization | None = None,
) -> None:
    """Writes an unwrapped graph with the bundle's interface around it.

    Args:
        model: the unwrapped graph, of any precision.
        file: the file to write.
        spec: the interface.
        fp32: the unwrapped fp32 graph that `model` was made from, equalized or not; None: it was not equalized.
        equalization: how it was equalized: the interface undoes what this did to features and feature maps.
    """
    import numpy as np
    import onnx_ir as ir

    from wrn_deploy.calib.equalization.equalize import classifier_factors, tensor_units
    from wrn_deploy.export.interface import Units, find_feature_maps, wrap

    if spec == spec.core:
        ir.save(model, file)
    elif fp32 is None or equalization is None:
        ir.save(wrap(model, spec), file)
    else:
        factors, maps = classifier_factors(fp32.graph, equalization), {}
        for name in (value.name or "" for value in find_feature_maps(model.graph)):  # all precisions share these names
            units = tensor_units(fp32.graph, equalization, name)
            maps[name] = Units(*(None if unit is None else np.asarray(unit, dtype=np.float32) for unit in units))
        ir.save(wrap(model, spec, None if factors is None else np.asarray(factors, dtype=np.float32), maps), file)
