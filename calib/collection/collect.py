"""Runs the fp32 graph on calibration images and keeps the ranges of its tensors, in bounded memory."""

from __future__ import annotations

import gc
import math
import shutil
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from wrn_deploy.calib.collection.moments import Moments, Sampler
from wrn_deploy.calib.collection.ranges import Histogram, Part, Range, Unit, split_of
from wrn_deploy.calib.placement import calibrated_tensors, conv_inputs
from wrn_deploy.errors import DeployError
from wrn_deploy.graph import producer, shape_of, value_name, values_of
from wrn_deploy.machine import usable_cores
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.runtime.sessions import open_session

__all__ = ["ObservedGraph", "collect_ranges"]

# Bytes of activations in memory at the same time: sets how many images run at once.
WORKING_SET = 512 * 2**20

Images = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """A tensor to observe: its values for one image, and whether they can be negative."""

    name: str
    size: int
    signed: bool


class ObservedGraph:
    """An fp32 graph in a session of ONNX Runtime whose outputs are the logits and every tensor that calibration needs.

    One session serves all passes.

    Args:
        graph: the fp32 ONNX file, without external data.
    """

    def __init__(self, graph: Path) -> None:
        observed = ir.load(graph).graph
        values = values_of(observed)
        self.tensors = [_describe(values[name]) for name in calibrated_tensors(observed)]
        self.source, self.logits = value_name(observed.inputs[0]), value_name(observed.outputs[0])
        ranged = [tensor.name for tensor in self.tensors if tensor.name != self.source]
        self.outputs = list(dict.fromkeys([self.logits, *ranged, *conv_inputs(observed)]))
        self.outputs = [name for name in self.outputs if name != self.source]
        self.size = sum(math.prod(_sizes(values[name])) for name in self.outputs)
        del observed, values
        gc.collect()  # the loaded graph has cycles: its weights would stay in memory beside the session's
        with scratch_folder() as folder:
            exposed = folder / "observed.onnx"  # a file, so that there are not several copies of it in memory
            _add_outputs(graph, exposed, [name for name in self.outputs if name != self.logits])
            self.session = open_session(exposed, 1, plans_memory=False)


def collect_ranges(
    observed: ObservedGraph,
    batches: Iterable[Images],
    *,
    histograms: bool,
    threads: int | None,
    units: Mapping[str, Unit] | None = None,
    moments: Moments | None = None,
    answers: dict[int, Images] | None = None,
) -> dict[str, Range]:
    """Collects the range of every tensor that a placement needs.

    Each image goes through the graph alone and on one thread, so that its activations depend on nothing else: ONNX
    Runtime does not promise the same last bits for another batch size or number of threads. What is kept of them merges
    exactly. So the ranges are bit-identical for every order and batch size of the images and every number of threads
    (on one machine, with one version of ONNX Runtime). Threads work on different images, which takes less CPU time.

    Args:
        observed: the graph.
        batches: normalised images, (N, 3, H, W), in any batches; iterated once.
        histograms: whether the method needs them.
        threads: CPU threads (None: one per core).
        units: how tensors are rescaled and shifted before anything is kept of them, by name; others stay.
        moments: gets windows of every image too; None: none are wanted.
        answers: its entries, by the image's place, are replaced by the image's logits, (1, classes).

    Raises:
        DeployError: an activation is not finite.
    """
    fitting = WORKING_SET // (4 * observed.size)
    workers = [
        _Worker(observed, histograms, units or {}, moments)
        for _ in range(max(1, min(threads or usable_cores(), fitting)))
    ]
    _observe_all(workers, batches, {} if answers is None else answers)
    for worker in workers:
        if worker.sampler is not None:
            worker.sampler.flush()
    ranges = {}
    for index, tensor in enumerate(observed.tensors):
        first, second = (reduce(Part.merged, (worker.splits[split][index] for worker in workers)) for split in (0, 1))
        ranges[tensor.name] = Range((first, second))
    if not any(found.whole.values for found in ranges.values()):
        raise DeployError("calibration saw no image: expected at least one")
    return ranges


class _Worker:
    """Runs the graph on one image at a time; has its own histograms and extremes, for each split."""

    def __init__(
        self, observed: ObservedGraph, histograms: bool, units: Mapping[str, Unit], moments: Moments | None
    ) -> None:
        self.observed = observed
        self.units = units
        self.sampler = None if moments is None else Sampler(moments)
        self.splits = [[Part(histogram=Histogram() if histograms else None) for _ in observed.tensors] for _ in (0, 1)]

    def observe(self, image: Images) -> Images:
        """Adds the activations of one image, (1, 3, H, W); returns its logits."""
        observed = self.observed
        outputs = observed.session.run(observed.outputs, {observed.source: image})
        values: dict[str, Images] = dict(zip(observed.outputs, outputs, strict=True))
        logits = values.pop(observed.logits)
        values[observed.source] = image
        values.update((name, unit.applied(values[name])) for name, unit in self.units.items() if name in values)
        split = self.splits[split_of(image)]
        for tensor, part in zip(observed.tensors, split, strict=True):
            lows, highs = _extremes(tensor, values[tensor.name])
            part.observe(lows, highs, tensor.size, values[tensor.name])
        if self.sampler is not None:
            self.sampler.observe(image, values)
        return logits


def _extremes(tensor: _Tensor, values: Images) -> tuple[Images, Images]:
    """The least and the largest value of each channel, (C,); numpy's extremes are NaN if a value is."""
    channels = values.reshape(values.shape[1], -1)
    highs = channels.max(axis=1) + np.float32(0.0)  # makes 0 of -0, of which the order would choose one
    lows = channels.min(axis=1) + np.float32(0.0) if tensor.signed else np.zeros_like(highs)
    if not (np.isfinite(highs) & np.isfinite(lows)).all():
        raise DeployError(f"{tensor.name} has NaN or infinite values during calibration: expected finite activations")
    return lows, highs


def _observe_all(workers: list[_Worker], batches: Iterable[Images], answers: dict[int, Images]) -> None:
    """Gives each image to a worker; keeps few more images than there are workers."""
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def observe(place: int, image: Images) -> None:
        worker = idle.get()
        try:
            logits = worker.observe(image)
        finally:
            idle.put(worker)
        if place in answers:
            answers[place] = logits

    images = (np.ascontiguousarray(batch[index : index + 1]) for batch in batches for index in range(len(batch)))
    with ThreadPoolExecutor(len(workers)) as pool:
        pending: deque[Future[None]] = deque()
        for place, image in enumerate(images):
            pending.append(pool.submit(observe, place, image))
            if len(pending) > len(workers):
                pending.popleft().result()
        for last in pending:
            last.result()


def _add_outputs(file: Path, copy: Path, names: list[str]) -> None:
    """Writes a copy of the graph with these tensors as outputs too.

    The copy is the file with a few bytes appended: messages of protobuf that follow each other are merged, so that the
    weights need not be written anew (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
    """
    added = onnx.ModelProto()
    added.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    shutil.copyfile(file, copy)
    with copy.open("ab") as stream:
        stream.write(added.SerializeToString())


def _describe(value: ir.Value) -> _Tensor:
    return _Tensor(name=value_name(value), size=math.prod(_sizes(value)), signed=producer(value, "Relu") is None)


def _sizes(value: ir.Value) -> list[int]:
    """All dimensions but the batch; they are known, since the exporter infers every shape."""
    sizes = [size for size in (shape_of(value) or ())[1:] if size is not None]
    assert sizes, f"{value_name(value)} has no shape"
    return sizes
