"""Between the graphs that a bundle keeps, with its interface around them, and the cores that steps reason about."""

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

__all__ = ["core_file", "read_core", "write_graph"]


def read_core(file: Path) -> ir.Model:
    """The graph in `file` without an interface: normalised images in, logits out."""
    import onnx_ir as ir

    from wrn_deploy.export.interface import unwrap

    return unwrap(ir.load(file))


@contextlib.contextmanager
def core_file(file: Path, spec: ModelSpec) -> Iterator[Path]:
    """A file with the core of the graph in `file`: the file itself, or a temporary one where there is an interface."""
    if spec == spec.core:
        yield file
        return
    import onnx_ir as ir

    with tempfile.TemporaryDirectory(prefix="wrn-deploy-") as folder:
        core = Path(folder, file.name)
        ir.save(read_core(file), core)
        yield core


def write_graph(
    core: ir.Model, file: Path, spec: ModelSpec, source: tuple[ir.Model, Equalization] | None = None
) -> None:
    """Writes a core graph with the bundle's interface around it.

    Args:
        core: of any precision.
        file: where to.
        spec: which interface.
        source: the fp32 core that `core` was made from, before equalisation or after it, and how it was equalised,
            which may have rescaled the pooled features; None: it was not equalised.
    """
    import numpy as np
    import onnx_ir as ir

    from wrn_deploy.calib.equalization.equalize import classifier_factors
    from wrn_deploy.export.interface import wrap

    if spec == spec.core:
        ir.save(core, file)
        return
    factors = None if source is None else classifier_factors(source[0].graph, source[1])
    units = None if factors is None else np.asarray(factors, dtype=np.float32)
    ir.save(wrap(core, spec, units, _map_units(core, source)), file)


def _map_units(core: ir.Model, source: tuple[ir.Model, Equalization] | None) -> dict[str, Units]:
    """What equalisation did to the core's feature maps, by the names of their tensors, which all precisions share."""
    import numpy as np

    from wrn_deploy.calib.equalization.equalize import tensor_units
    from wrn_deploy.export.feature_maps import find_feature_maps
    from wrn_deploy.export.interface import Units

    if source is None:
        return {}
    found = {}
    for value in find_feature_maps(core.graph):
        units = tensor_units(source[0].graph, source[1], value.name or "")
        factors, shifts = (None if one is None else np.asarray(one, dtype=np.float32) for one in units)
        found[value.name or ""] = Units(factors, shifts)
    return found
