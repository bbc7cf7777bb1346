"""How long steps take, roughly: rates that were measured on two cores of an AMD EPYC, times MACs and images."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wrn_deploy.bundle import Bundle
from wrn_deploy.manifest import Kind
from wrn_deploy.models.aliases import own_name
from wrn_deploy.models.catalog import list_network, read_catalog

__all__ = [
    "Estimate", "calibration_time", "evaluation_time", "export_time", "finetuning_time", "macs_of_bundle",
    "macs_of_network", "parameters_in", "plan_time", "timing_time", "training_time", "tuning_time",
]  # fmt: skip

GIGA, MEGA = 1e9, 1e6
MACHINE = "measured on 2 cores of an AMD EPYC"

# Seconds, fitted to benchmarks/results: networks-, calibration-, imagenet- and training-*-2core-epyc.json, docs/tune.md
# and docs/qat.md. "Per image" is for each image and each 1e9 MACs of the network.
EXPORT_S, EXPORT_PER_MILLION = 4.0, 0.21  # parameters
CALIBRATE_S, CALIBRATE_PER_MILLION, CALIBRATE_PER_IMAGE = 3.0, 0.17, 0.02
PLAN_S, PLAN_PER_MILLION = 0.3, 0.02
TRAIN_PER_IMAGE = 0.039
INFER_PER_IMAGE = 0.02
FINETUNE_S, FINETUNE_PER_IMAGE = 5.0, 0.062
TUNE_SAMPLE_PER_IMAGE = 0.014  # for each Conv: half a run
START_S, WARM_UP_S = 3.0, 1.0  # a candidate's process; a candidate at a batch size


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A time, and where it comes from; `seconds` None: nothing is known, and `basis` says why."""

    seconds: float | None
    basis: str


def macs_of_network(name: str) -> int:
    """The MACs for one image of a network; one that is not listed is built and counted, which needs PyTorch."""
    return list_network(name).macs


def macs_of_bundle(bundle: Bundle) -> int | None:
    """The MACs for one image: of the listed network, or counted in the fp32 graph; None if onnx is missing."""
    listed = read_catalog().get(own_name(bundle.spec.name))
    if listed is not None and listed.input == bundle.spec.core.input.shape:
        return listed.macs
    from wrn_deploy.errors import MachineError
    from wrn_deploy.graph import macs_of
    from wrn_deploy.pipeline.read_graph import read_graph

    try:
        graph = read_graph(bundle.file(bundle.find("onnx-fp32"))).graph
    except MachineError:
        return None
    counted = [macs_of(node) for node in graph if node.op_type in ("Conv", "Gemm", "MatMul")]
    return sum(macs for macs in counted if macs is not None)


def export_time(parameters: int) -> Estimate:
    """For both graphs with their checks."""
    millions = parameters / MEGA
    return Estimate(
        seconds=EXPORT_S + EXPORT_PER_MILLION * millions, basis=f"{millions:.3g} million parameters; {MACHINE}"
    )


def calibration_time(parameters: int, macs: int | None, images: int) -> Estimate:
    """With the graphs and their comparison."""
    return _by_macs(macs, images, CALIBRATE_PER_IMAGE, extra=CALIBRATE_S + CALIBRATE_PER_MILLION * parameters / MEGA)


def plan_time(parameters: int, *, on_gpu: bool) -> Estimate:
    """Of one plan; TensorRT times kernels on the GPU, which takes what it takes."""
    if on_gpu:
        return Estimate(seconds=None, basis="TensorRT times kernels on this GPU: seconds to minutes")
    millions = parameters / MEGA
    return Estimate(seconds=PLAN_S + PLAN_PER_MILLION * millions, basis=f"{millions:.3g} million parameters; {MACHINE}")


def training_time(macs: int, images: int, epochs: int, *, on_gpu: bool) -> Estimate:
    """On the CPU."""
    if on_gpu:
        return Estimate(seconds=None, basis="depends on this GPU; the first epoch prints its speed")
    return _by_macs(macs, images * epochs, TRAIN_PER_IMAGE)


def evaluation_time(macs: int | None, images: int, candidates: int) -> Estimate:
    """Of all candidates, one after another."""
    return _by_macs(macs, images * candidates, INFER_PER_IMAGE, extra=START_S * candidates)


def timing_time(candidates: int, batches: int, duration_s: float, limit_s: float | None) -> Estimate:
    """Of the rounds of `bench` with their warm-ups; a slow candidate takes longer, since a turn has a whole run."""
    seconds = candidates * batches * (duration_s + WARM_UP_S)
    basis = f"{candidates} candidates x {batches} batch sizes x ({duration_s:g} s + {WARM_UP_S:g} s warm-up)"
    if limit_s is not None and limit_s < seconds:
        return Estimate(seconds=limit_s, basis="--time-limit")
    return Estimate(seconds=seconds, basis=basis)


def tuning_time(macs: int | None, convs: int, sample: int, images: int) -> Estimate:
    """Of the costs of all Convs, and of the sets that are tried: about as many as doublings and bisections."""
    if macs is None:
        return _by_macs(None, images, 0.0)
    sets = 2 * math.ceil(math.log2(max(2, convs))) + 1
    seconds = macs / GIGA * (convs * sample * TUNE_SAMPLE_PER_IMAGE + sets * images * INFER_PER_IMAGE)
    basis = (
        f"{convs} Convs on {sample} images, about {sets} sets on {images} images, {macs / GIGA:.3g} GMACs; {MACHINE}"
    )
    return Estimate(seconds=seconds, basis=basis)


def finetuning_time(macs: int | None, images: int) -> Estimate:
    """Of `images` in all steps, for all graphs."""
    return _by_macs(macs, images, FINETUNE_PER_IMAGE, extra=FINETUNE_S)


def parameters_in(bundle: Bundle) -> int:
    """About the number of parameters of a bundle's network."""
    graph = bundle.artifacts.get("onnx-fp32")
    return 0 if graph is None or graph.kind is not Kind.ONNX else graph.size_bytes // 4


def _by_macs(macs: int | None, images: int, per_image: float, *, extra: float = 0.0) -> Estimate:
    if macs is None:
        return Estimate(seconds=None, basis="the network's MACs are not known without onnx")
    basis = f"{images:,} images of {macs / GIGA:.3g} GMACs; {MACHINE}"
    return Estimate(seconds=extra + per_image * images * macs / GIGA, basis=basis)
