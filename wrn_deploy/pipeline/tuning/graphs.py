"""The graphs for TensorRT of a calibrated bundle with some Convs in fp16: whole to write, in parts to measure."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.bundle import Bundle
from wrn_deploy.manifest import Artifact
from wrn_deploy.pipeline.quantization.base_graph import read_equalized, read_unwrapped, write_wrapped
from wrn_deploy.pipeline.quantization.quantize import mixed_graph, prepare_like
from wrn_deploy.spec import Preprocessing

if TYPE_CHECKING:
    import onnx_ir as ir

    from wrn_deploy.calib.collection.table import CalibrationTable

__all__ = ["GraphParts", "MixedGraphs"]


class MixedGraphs:
    """The graphs for TensorRT of a calibrated bundle with some Convs in fp16; `base` is the one with all in int8.

    `macs` are the multiply-accumulates of each Conv for one image, in the graph's order, as linting counts them.
    """

    def __init__(self, bundle: Bundle, base: Artifact) -> None:
        from wrn_deploy.calib.lint.facts import GraphFacts

        self.base = base
        self.file = bundle.file(base)
        self.bundle = bundle
        self._int8 = read_unwrapped(self.file)
        self._fp32, self._table = read_equalized(bundle)
        facts = GraphFacts(self._int8)
        self.macs = {conv.name or "": facts.macs[conv.outputs[0].name or ""] for conv in facts.convs}

    @property
    def parts(self) -> GraphParts:
        """The same graphs in parts; made anew at each call, since they hold the weights again."""
        return GraphParts(self._int8, self._fp32, self._table, self.bundle.spec.preprocessing)

    def _mixed(self, float_convs: Collection[str]) -> ir.Model:
        return mixed_graph(self._int8, float_convs, fp32=self._fp32, table=self._table, spec=self.bundle.spec)

    def write_unwrapped(self, float_convs: Collection[str], file: Path) -> None:
        """Writes the graph with these Convs in fp16 without the bundle's interface, to measure it."""
        import onnx_ir as ir

        ir.save(self._mixed(float_convs) if float_convs else self._int8, file)

    def write(self, float_convs: Collection[str], file: Path) -> None:
        """Writes the graph with these Convs in fp16 as the bundle keeps it."""
        if float_convs:
            graph, equalization = self._mixed(float_convs), self._table.equalization
            write_wrapped(graph, file, self.bundle.spec, fp32=self._fp32, equalization=equalization)
        else:
            shutil.copyfile(self.file, file)


class GraphParts:
    """The graphs that `mixed_graph` makes, divided at `find_cuts`; one part is made without the others.

    `convs` are the names of the Convs of each part, in order. A part has one input and one output.
    """

    def __init__(self, int8: ir.Model, fp32: ir.Model, table: CalibrationTable, preprocessing: Preprocessing) -> None:
        from wrn_deploy.export.half import convert_fp16
        from wrn_deploy.pipeline.tuning.segments import divide, find_cuts

        self._int8, self._prepared = int8, prepare_like(int8, fp32, table, preprocessing)
        source = self._prepared.fp32
        cuts = find_cuts(source.graph)
        self._sources, self._halves = divide(source, cuts), divide(convert_fp16(source), cuts)
        self.convs = [[node.name or "" for node in part.graph if node.op_type == "Conv"] for part in self._sources]

    def write(self, index: int, float_convs: Collection[str], file: Path) -> None:
        """Writes the part of that index with these of its Convs in fp16, to be computed in fp32."""
        import onnx_ir as ir

        from wrn_deploy.calib.writing.for_tensorrt import quantize_for_tensorrt
        from wrn_deploy.calib.writing.int8_weights import copy_rounding
        from wrn_deploy.pipeline.tuning.segments import compute_in_fp32

        part = quantize_for_tensorrt(
            self._sources[index],
            self._halves[index],
            self._prepared.table,
            float_convs,
            whole=self._prepared.fp32.graph,
        )
        copy_rounding(self._int8, part)
        ir.save(compute_in_fp32(part), file)
