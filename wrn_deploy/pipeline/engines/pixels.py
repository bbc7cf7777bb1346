"""The graph that a plan is built from: the bundle's own, or the same with pixels in and the normalisation inside."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.errors import MachineError, UsageError, how_to_install
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.spec import ModelSpec, TensorSpec

__all__ = ["PlanGraph", "check_pixels", "plan_graph"]


@dataclass(frozen=True, slots=True)
class PlanGraph:
    """A graph to build from, and its input."""

    file: Path
    source: TensorSpec


def check_pixels(spec: ModelSpec, *, pixels: bool) -> None:
    """Checks that a plan of this bundle can have such an input, before anything is calibrated or built.

    Raises:
        UsageError: the bundle's graphs take pixels, and the plan shall not.
        MachineError: onnx-ir is not installed, and the graph must be changed.
    """
    if spec.interface.pixels and not pixels:
        raise UsageError(
            f"--no-pixels with a bundle of {spec.name} that was exported with --pixels: its graphs take pixels, so its "
            "plans do; export it without"
        )
    if pixels and not spec.interface.pixels and importlib.util.find_spec("onnx_ir") is None:
        raise MachineError(
            f"a plan that takes pixels needs onnx-ir, which is not installed: {how_to_install('export', 'onnx-ir')}, "
            "or build a plan for normalised images with --no-pixels"
        )


@contextlib.contextmanager
def plan_graph(file: Path, spec: ModelSpec, *, pixels: bool) -> Iterator[PlanGraph]:
    """The graph of a bundle as the plan takes its images; exists for the block.

    With `pixels`, normalisation is put before a graph that lacks it, as `export --pixels` does: uint8 images have a
    quarter of the bytes, and nobody normalises them on the CPU.
    """
    if not pixels or spec.interface.pixels:
        yield PlanGraph(file, spec.input)
        return
    import onnx_ir as ir

    from wrn_deploy.export.interface import take_pixels

    with scratch_folder() as folder:
        changed = folder / file.name
        ir.save(take_pixels(ir.load(file), spec.preprocessing), changed)
        source = dataclasses.replace(spec, interface=dataclasses.replace(spec.interface, pixels=True)).input
        yield PlanGraph(changed, source)
