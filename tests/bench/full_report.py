"""A report with everything in it, as a run on a machine with a GPU could give: random numbers, always the same."""

from __future__ import annotations

import base64
import dataclasses
import io
import random

import numpy as np
import numpy.typing as npt
from PIL import Image

from wrn_deploy.bench.measuring.loadgen import Scenario
from wrn_deploy.bench.report.environment import Conditions, Snapshot
from wrn_deploy.bench.report.report import Boundary, Latency, LayerTime, LoadResult, Report, Row, Settings, WarmUp
from wrn_deploy.bench.report.scores import Accuracy, ChangedImage, ClassScore
from wrn_deploy.data import Role, open_data
from wrn_deploy.machine import Gpu, Machine
from wrn_deploy.spec import Precision

__all__ = ["make_full_report"]

LABELS = (
    "tench", "great white shark", "house finch", "American alligator", "ruffed grouse", "English springer",
    "Pembroke Welsh corgi", "tiger cat", "leafhopper", "black-footed ferret", "assault rifle", "cassette player",
    "maillot", "notebook computer", "sunglass", "sunglasses", "missile", "projectile", "screen", "desktop computer",
)  # fmt: skip
IMAGES, EACH = 1000, 50
BATCHES = (1, 8, 32)
# Title, precision, ms at batch 1, how much cheaper an image is in a batch, noise, top-1, top-5, file, peak memory
CONTENDERS = (
    ("PyTorch", Precision.FP32, 169.0, 0.86, 0.060, 0.8120, 0.9530, 275_600_000, 1_310_000_000),
    ("PyTorch channels_last", Precision.BF16, 81.3, 0.80, 0.050, 0.8110, 0.9530, 275_600_000, 1_180_000_000),
    ("PyTorch torch.compile", Precision.FP32, 106.0, 0.90, 0.035, 0.8120, 0.9530, 275_600_000, 1_640_000_000),
    ("ONNX Runtime", Precision.FP32, 109.0, 0.88, 0.030, 0.8120, 0.9530, 275_500_000, 712_000_000),
    ("ONNX Runtime", Precision.FP16, 168.4, 0.99, 0.060, 0.8120, 0.9530, 137_800_000, 980_000_000),
    ("ONNX Runtime", Precision.INT8, 50.8, 0.93, 0.025, 0.8070, 0.9500, 69_300_000, 391_000_000),
    ("OpenVINO", Precision.FP32, 129.0, 0.90, 0.028, 0.8120, 0.9530, 275_500_000, 820_000_000),
    ("OpenVINO", Precision.INT8, 26.5, 0.95, 0.022, 0.8060, 0.9510, 69_300_000, 402_000_000),
    ("TensorRT", Precision.FP16, 1.12, 0.35, 0.012, 0.8120, 0.9530, 138_100_000, 1_010_000_000),
    ("TensorRT CUDA graph", Precision.INT8, 0.61, 0.30, 0.010, 0.8080, 0.9500, 77_200_000, 960_000_000),
)
SKIPPED = (
    (("TensorRT-RTX", Precision.FP16), ("TensorRT-RTX", Precision.INT8), ("TensorRT-RTX CUDA graph", Precision.FP16)),
    (("ONNX Runtime CUDA", Precision.FP32), ("ONNX Runtime CUDA", Precision.FP16)),
)
REASONS = (
    "TensorRT-RTX builds for SM75 80 86 89 120 121, and this GPU is SM90: its plans cannot be opened here",
    "onnxruntime has no CUDAExecutionProvider: expected onnxruntime-gpu (pip install 'wrn-deploy[gpu]')",
)
MACHINE = Machine(
    system="Linux x86_64",
    cpu="AMD EPYC 9R14",
    cores=16,
    memory_mib=131072,
    python="3.12.11",
    gpu=Gpu("NVIDIA H200", "9.0", 143771, "580.95.05"),
    load_1min=0.42,
)
STATES = (
    Snapshot(0.42, "performance", 3702.4, 1980.0, 3201.0, 34.0, 118.4, ()),
    Snapshot(9.87, "performance", 3688.1, 1755.0, 3201.0, 61.0, 512.9, ("SwPowerCap", "HwThermalSlowdown")),
)
WARNINGS = (
    "The GPU lowered its clock from 1980 to 1755 MHz while it was measured (SwPowerCap, HwThermalSlowdown); later "
    "rounds may be slower.",
)


def make_full_report() -> Report:
    """Ten contenders at three batch sizes with everything that a row can have, and five that were skipped."""
    source = random.Random(5)
    rows = tuple(_row(index, source) for index in range(len(CONTENDERS)))
    skipped = tuple(
        Row(title.lower(), title, precision, skipped=reason, size_bytes=138_000_000 if "RTX" in title else None)
        for reason, names in zip(REASONS, SKIPPED, strict=True)
        for title, precision in names
    )
    return Report(
        model="wide_resnet50_2",
        random_weights=False,
        created="2026-11-20T10:00:00+00:00",
        data="imagenet-val-1000",
        data_digest="5f1c0c3f7b9e4a52",
        corrupt=("n01440764/ILSVRC2012_val_00009111.JPEG",),
        reference="PyTorch fp32",
        baseline="PyTorch fp32",
        machine=MACHINE,
        versions={"numpy": "2.4.6", "onnxruntime": "1.31.1", "tensorrt": "11.4.0.106", "torch": "2.13.0"},
        settings=Settings(BATCHES, 30, 6.0, 20, 16, 1, Boundary.TRANSFER),
        rows=rows + skipped,
        conditions=Conditions(*STATES, energy_j=48211.0, git_revision="993c8b4+", warnings=WARNINGS),
    )


def _row(index: int, source: random.Random) -> Row:
    title, precision, once, share, noise, *_, size, peak = CONTENDERS[index]
    times = tuple(_latency(batch, once * (1 + (batch - 1) * share), noise, source) for batch in BATCHES)
    row = Row(
        title.lower().replace(" ", "-"),
        title,
        precision,
        artifact=f"onnx/{precision}.onnx",
        sha256=f"{source.getrandbits(256):064x}",
        size_bytes=size,
        peak_rss_bytes=peak,
        latencies=times,
        accuracy=_accuracy(index, source),
    )
    if title == "TensorRT CUDA graph":
        row = dataclasses.replace(row, layers=_layers(source), loads=_loads())
    return row


def _latency(batch: int, median: float, noise: float, source: random.Random) -> Latency:
    """Log-normal times, some turns disturbed as a whole, and now and then a straggler."""
    rounds = []
    for _ in range(30):
        turn = median * (1 + abs(source.gauss(0, noise)) * (source.random() < 0.3))
        straggler = (source.random() < 0.03) * 0.8 + 1
        rounds.append(tuple(turn * source.lognormvariate(0, noise) * straggler for _ in range(6)))
    return Latency(batch, tuple(rounds), WarmUp(1.4, 9, steady=True))


def _accuracy(index: int, source: random.Random) -> Accuracy:
    *_, top1, top5, _, _ = CONTENDERS[index]
    chance = random.Random(7)
    before = [min(EACH, max(20, round(chance.gauss(0.812, 0.08) * EACH))) for _ in LABELS]
    before[0] += round(0.812 * IMAGES) - sum(before)
    lost = round(0.812 * IMAGES) - round(top1 * IMAGES)
    now = list(before)
    for place in source.sample(range(1, 12), min(lost, 3)):
        now[place] -= lost // 3
    now[12] -= sum(now) - round(top1 * IMAGES)
    changed = 0 if index == 0 else 4 + 5 * lost
    return Accuracy(
        IMAGES,
        sum(now),
        1.0 if index == 0 else 1 - changed / IMAGES,
        round(top5 * IMAGES),
        None if index == 0 else 0.0031 * (1 + 40 * lost),
        None if index == 0 else 0.00042 * (1 + 40 * lost),
        tuple(ClassScore(label, EACH, right) for label, right in zip(LABELS, now, strict=True)),
        _changed(source, min(12, changed)) if lost else (),
        changed if lost else 0,
    )


def _changed(source: random.Random, count: int) -> tuple[ChangedImage, ...]:
    items = list(open_data("digits", Role.TEST).items())
    found = []
    for number in source.sample(range(len(items)), count):
        label, before, after = source.choice(LABELS), source.choice(LABELS), source.choice(LABELS)
        before, after = ((label, after), (before, label), (before, after))[source.choice((0, 0, 0, 1, 2))]
        if before != after:
            found.append(ChangedImage(f"val_{number:08}.JPEG", label, before, after, _png(items[number].load())))
    return tuple(found)


def _png(pixels: npt.NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _layers(source: random.Random) -> tuple[LayerTime, ...]:
    names = ["__mye1031-conv1.weight_QuantizeLinear + conv1 + relu + maxpool_QuantizeLinear"]
    names += [f"layer{stage}.{block}.conv{conv}" for stage in range(1, 5) for block in range(4) for conv in (1, 2, 3)]
    return tuple(
        LayerTime(name, 0.61 / len(names) * source.lognormvariate(0, 0.7), "int8" if number else "fp16")
        for number, name in enumerate([*names, "fc"])
    )


def _loads() -> tuple[LoadResult, ...]:
    return (
        _load(Scenario.SINGLE_STREAM, None, 1561.2, (0.632, 0.661, 0.702), 93671),
        _load(Scenario.MULTI_STREAM, None, 3302.4, (2.31, 2.42, 2.58), 24768),
        _load(Scenario.OFFLINE, None, 52110.0, (30124.0, 54223.0, 59646.0), 3177600),
        _load(Scenario.SERVER, 15.0, 31002.0, (8.02, 14.4, 19.7), 1860120),
    )


def _load(
    scenario: Scenario, target: float | None, rate: float, times: tuple[float, float, float], queries: int
) -> LoadResult:
    valid = target is None or times[2] <= target
    reason = None if valid else "Reduce target QPS to improve latency."
    log = f"tensorrt-cuda-graph-int8-{scenario}"
    return LoadResult(scenario.value, valid, target, rate, *times, queries, log, reason)
