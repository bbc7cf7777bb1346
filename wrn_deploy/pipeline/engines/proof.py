"""Proves the precision of a plan that was just built: compares the graph with the layers of the engine."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.calib.guard import join_names
from wrn_deploy.errors import DeployError, how_to_install
from wrn_deploy.machine import find_gpu
from wrn_deploy.progress import Progress

if TYPE_CHECKING:
    from wrn_deploy.engines.build import BuiltPlan
    from wrn_deploy.engines.flavor import TensorRT
    from wrn_deploy.engines.layers import EngineLayer
    from wrn_deploy.engines.proof import Source

__all__ = ["NO_PROOF", "PROVED_HOW", "as_percent", "prove_plan"]

NO_PROOF: dict[str, Any] = {"source": "none", "shares": {}, "expected": {}}
PROVED_HOW = {
    "inspector": "proved by the engine's inspector",
    "builder log": "proved by the layers that the builder printed",
    "graph": "requested by the graph, not proved: the engine's layers cannot be read here",
    "none": "not known",
}


def prove_plan(trt: TensorRT, built: BuiltPlan, graph: Path, progress: Progress) -> dict[str, Any]:
    """Notes the arithmetic of the plan's multiplications, and returns it as the manifest keeps it.

    The layers come from the engine if a GPU can open it, else from the builder's log; without either, the result is
    what the graph asks for. A plan for several targets or profiles is as good as the worst of them.

    Raises:
        GateError: the engine computes a layer in more bits than the graph asks for.
    """
    if importlib.util.find_spec("onnx_ir") is None:
        progress.warn(f"precision not proved: reading the graph needs onnx-ir; {how_to_install('export', 'onnx-ir')}")
        return dict(NO_PROOF)
    from wrn_deploy.engines.promise import expected_precisions
    from wrn_deploy.engines.proof import check_precision, prove, unproved
    from wrn_deploy.pipeline.read_graph import read_graph

    expected = expected_precisions(read_graph(graph))
    source, engines = _engines(trt, built, progress)
    reports = [prove(expected, layers, source) for layers in engines] or [unproved(expected)]
    worst = max(reports, key=lambda report: (len(report.higher_precision), len(report.unknown)))
    check_precision(worst, str(graph))
    reformats = "" if worst.reformats is None else f"; {worst.layers} layers, {worst.reformats} of them reformats"
    progress.note(f"MACs of one image: {as_percent(worst.shares)} ({PROVED_HOW[worst.source]}{reformats})")
    if worst.unknown:
        progress.warn(f"not found in the engine, so not proved: {join_names(worst.unknown)}")
    return worst.to_json()


def as_percent(shares: Mapping[str, float]) -> str:
    """Fractions as a text, the largest first, as in "99.3 % int8, 0.7 % fp16"; never 100 % if there are others."""
    ordered = sorted(shares.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{_percent(fraction)} {kind}" for kind, fraction in ordered) or "not known"


def _percent(fraction: float) -> str:
    text = f"{100 * fraction:.1f} %"
    if text == "100.0 %" and fraction < 1:
        return ">99.9 %"
    return "<0.1 %" if text == "0.0 %" and fraction > 0 else text


def _engines(trt: TensorRT, built: BuiltPlan, progress: Progress) -> tuple[Source, list[list[EngineLayer]]]:
    from wrn_deploy.engines.inspector import describe_engine
    from wrn_deploy.engines.layers import parse_json, parse_log
    from wrn_deploy.engines.proof import Source

    if find_gpu() is not None:
        try:
            return Source.INSPECTOR, [parse_json(text) for text in describe_engine(trt.module, built.plan)]
        except DeployError as error:  # a plan for another GPU
            progress.note(f"the engine cannot be inspected here: {error}")
    return Source.LOG, [parse_log(message) for message in built.layer_lists]
