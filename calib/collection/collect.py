"""Runs the fp32 graph on calibration images and keeps the ranges of its tensors: one pass, bounded memory."""

from __future__ import annotations

import gc
import math
import shutil
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from wrn_deploy.calib.collection.ranges import Histogram, Part, Range, split_of
from wrn_deploy.calib.placement import calibrated_tensors
from wrn_deploy.errors import DeployError
from wrn_deploy.graph import producer, shape_of, value_name, values_of
from wrn_deploy.machine import usable_cores
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.runtime.sessions import open_session

__all__ = ["collect_ranges"]

# Bytes of activations in memory at the same time: sets how many images run at once.
WORKING_SET = 512 * 2**20

HIGHS, LOWS, MEANS = "calibration/highs", "calibration/lows", "calibration/means"

Images = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """A tensor to observe: its size for one image, and whether its values can be negative."""

    name: str
    channels: int
    size: int
    signed: bool


def collect_ranges(
    graph: Path, batches: Iterable[Images], *, histograms: bool, threads: int | None
) -> dict[str, Range]:
    """Collects the range of every tensor that a placement needs.

    Each image goes through the graph alone and on one thread, so that its activations depend on nothing else: ONNX
    Runtime does not promise the same last bits for another batch size or number of threads. What is kept of them merges
    exactly. So the ranges are bit-identical for every order and batch size of the images and every number of threads
    (on one machine, with one version of ONNX Runtime). Threads work on different images, which takes less CPU time.

    Args:
        graph: the fp32 ONNX file, without external data.
        batches: normalised images, (N, 3, H, W), in any batches; iterated once.
        histograms: whether the method needs them.
        threads: CPU threads (None: one per core).

    Raises:
        DeployError: an activation is not finite, or their sum over a channel is not.
    """
    with scratch_folder() as folder:
        probed = folder / "probed.onnx"  # a file, so that there are not several copies of it in memory
        tensors = _add_probes(graph, probed, histograms)
        gc.collect()  # the loaded graph has cycles: its weights would stay in memory beside the session's
        session = open_session(probed, 1, plans_memory=False)
    fitting = WORKING_SET // sum(4 * tensor.size for tensor in tensors)
    workers = [_Worker(session, tensors, histograms) for _ in range(max(1, min(threads or usable_cores(), fitting)))]
    _observe_all(workers, batches)
    ranges = {}
    for index, tensor in enumerate(tensors):
        first, second = (reduce(Part.merged, (worker.splits[split][index] for worker in workers)) for split in (0, 1))
        ranges[tensor.name] = Range((first, second))
    if not any(found.whole.values for found in ranges.values()):
        raise DeployError("calibration saw no image: expected at least one")
    return ranges


class _Worker:
    """Runs the graph on one image at a time; has its own histograms and extremes, for each split."""

    def __init__(self, session: Any, tensors: list[_Tensor], histograms: bool) -> None:
        self.session = session
        self.tensors = tensors
        self.source = session.get_inputs()[0].name
        self.exposed = [tensor.name for tensor in tensors if histograms and tensor.name != self.source]
        self.splits = [[Part(histogram=Histogram() if histograms else None) for _ in tensors] for _ in (0, 1)]
        # The outputs of the probes are concatenated over all tensors.
        counts = [tensor.channels for tensor in tensors]
        ends = np.cumsum(counts)
        self.channels = [slice(end - count, end) for count, end in zip(counts, ends, strict=True)]
        self.signed = np.repeat([tensor.signed for tensor in tensors], counts)

    def observe(self, image: Images) -> None:
        """Adds the activations of one image, (1, 3, H, W)."""
        highs, negated, means, *outputs = self.session.run([HIGHS, LOWS, MEANS, *self.exposed], {self.source: image})
        highs = highs.ravel() + np.float32(0.0)  # makes 0 of -0, of which the order would choose one
        lows = np.zeros_like(highs)
        lows[self.signed] = np.float32(0.0) - negated.ravel()
        self._check(np.isfinite(highs) & np.isfinite(lows) & np.isfinite(means.ravel()))
        values = {self.source: image, **dict(zip(self.exposed, outputs, strict=True))}
        split = self.splits[split_of(image)]
        for tensor, own, part in zip(self.tensors, self.channels, split, strict=True):
            part.observe(lows[own], highs[own], tensor.size, values.get(tensor.name))

    def _check(self, finite: npt.NDArray[np.bool_]) -> None:
        if finite.all():
            return
        broken = next(tensor for tensor, own in zip(self.tensors, self.channels, strict=True) if not finite[own].all())
        raise DeployError(f"{broken.name} has NaN or infinite values during calibration: expected finite activations")


def _observe_all(workers: list[_Worker], batches: Iterable[Images]) -> None:
    """Gives each image to a worker; keeps few more images than there are workers."""
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def observe(image: Images) -> None:
        worker = idle.get()
        try:
            worker.observe(image)
        finally:
            idle.put(worker)

    with ThreadPoolExecutor(len(workers)) as pool:
        pending: deque[Future[None]] = deque()
        for batch in batches:
            for index in range(len(batch)):
                pending.append(pool.submit(observe, np.ascontiguousarray(batch[index : index + 1])))
                if len(pending) > len(workers):
                    pending.popleft().result()
        for last in pending:
            last.result()


def _add_probes(file: Path, copy: Path, histograms: bool) -> list[_Tensor]:
    """Writes a copy of the graph that also gives the extremes and means of every channel of the tensors needed.

    The maxima, the maxima of the negated tensors and the means of all tensors are three outputs; with `histograms`, the
    tensors themselves are outputs too. A mean shows NaN, which a maximum can pass over.

    The copy is the file with a few bytes appended: messages of protobuf that follow each other are merged, so that the
    weights need not be written anew (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
    """
    graph = ir.load(file).graph
    names, values = calibrated_tensors(graph), values_of(graph)
    tensors = [_describe(values[name]) for name in names]
    signed = [tensor.name for tensor in tensors if tensor.signed]
    known = {value_name(value) for value in (*graph.inputs, *graph.outputs)}
    probes = onnx.ModelProto()
    node = onnx.helper.make_node
    probes.graph.node.extend(
        [
            *(node("GlobalMaxPool", [name], [f"{name}/high"]) for name in names),
            *(node("GlobalAveragePool", [name], [f"{name}/mean"]) for name in names),
            *(node("Neg", [name], [f"{name}/negated"]) for name in signed),
            *(node("GlobalMaxPool", [f"{name}/negated"], [f"{name}/low"]) for name in signed),
            node("Concat", [f"{name}/high" for name in names], [HIGHS], axis=1),
            node("Concat", [f"{name}/mean" for name in names], [MEANS], axis=1),
            node("Concat", [f"{name}/low" for name in signed], [LOWS], axis=1),
        ]
    )
    outputs = [HIGHS, LOWS, MEANS, *(name for name in names if histograms and name not in known)]
    probes.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs
    )
    shutil.copyfile(file, copy)
    with copy.open("ab") as stream:
        stream.write(probes.SerializeToString())
    return tensors


def _describe(value: ir.Value) -> _Tensor:
    """All dimensions but the batch are known; the exporter infers every shape."""
    sizes = [size for size in (shape_of(value) or ())[1:] if size is not None]
    assert sizes, f"{value_name(value)} has no shape"
    return _Tensor(
        name=value_name(value), channels=sizes[0], size=math.prod(sizes), signed=producer(value, "Relu") is None
    )
