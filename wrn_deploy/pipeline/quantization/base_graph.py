"""Reads and writes graphs between a bundle, which keeps them with its interface, and the steps, which work without."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.spec import ModelSpec

if TYPE_CHECKING:
    import onnx_ir as ir

    from wrn_deploy.calib.collection.table import Equalization
    from wrn_deploy.export.interface import Units

__all__ = ["read_unwrapped", "unwrapped_file", "write_wrapped"]


def read_unwrapped(file: Path) -> ir.Model:
    """The graph in `file` without an interface: normalised images in, logits out."""
    import onnx_ir as ir

    from wrn_deploy.export.interface import unwrap

    return unwrap(ir.load(file))


@contextlib.contextmanager
def unwrapped_file(file: Path, spec: ModelSpec) -> Iterator[Path]:
    """A file with the graph in `file` without an interface: `file` itself if it has none, else a temporary one."""
    if spec == spec.core:
        yield file
        return
    import onnx_ir as ir

    with tempfile.TemporaryDirectory(prefix="wrn-deploy-") as folder:
        unwrapped = Path(folder, file.name)
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

    from wrn_deploy.calib.equalization.equalize import classifier_factors
    from wrn_deploy.export.interface import wrap

    if spec == spec.core:
        ir.save(model, file)
    elif fp32 is None or equalization is None:
        ir.save(wrap(model, spec), file)
    else:
        factors = classifier_factors(fp32.graph, equalization)
        units = None if factors is None else np.asarray(factors, dtype=np.float32)
        ir.save(wrap(model, spec, units, _map_units(model, fp32, equalization)), file)


def _map_units(model: ir.Model, fp32: ir.Model, equalization: Equalization) -> dict[str, Units]:
    """What equalization did to the feature maps, by the names of their tensors, which all precisions share."""
    import numpy as np

    from wrn_deploy.calib.equalization.equalize import tensor_units
    from wrn_deploy.export.interface import Units, find_feature_maps

    found = {}
    for value in find_feature_maps(model.graph):
        units = tensor_units(fp32.graph, equalization, value.name or "")
        factors, shifts = (None if one is None else np.asarray(one, dtype=np.float32) for one in units)
        found[value.name or ""] = Units(factors, shifts)
    return found
