"""Measures images per second of decoding and preprocessing, beside Pillow in a plain loop, in one process and in two.

    python -m benchmarks.steps.input FOLDER_OF_IMAGES [--rounds 9] [--images N] [--out benchmarks/results/NAME.json]

All make the same batches: shorter side resized to 256 pixels, centre crop of 224 x 224, normalised, float32 NCHW, 8
images per batch. The plain loop does with Pillow and numpy what torchvision's Resize, CenterCrop, ToTensor and
Normalize do. First the pixels of all candidates are compared, in a pass that is not timed; then they take turns, and
each round begins with another candidate. Processes are started before anything is timed.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.bench.measuring.watch import git_revision, watch_machine
from wrn_deploy.bench.report.ratios import paired_ratio
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.containers.listing import is_image
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.machine import usable_cores
from wrn_deploy.spec import Preprocessing

PREPROCESSING = Preprocessing(height=224, width=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize=256)
BATCH = 8
PLAIN, OURS, PLAIN_2, OURS_2 = "Pillow, plain loop", "wrn-deploy", "Pillow, a pool of 2", "wrn-deploy, --workers 2"

Floats = npt.NDArray[np.float32]
Candidate = Callable[[], Iterator[Floats]]


@dataclasses.dataclass(frozen=True, slots=True)
class Passes:
    """Seconds of each pass over all images, by the clock and of this process's CPU."""

    wall: list[float] = dataclasses.field(default_factory=list)
    own_cpu: list[float] = dataclasses.field(default_factory=list)


def main() -> None:
    """Measures, writes the raw numbers, and prints the table."""
    given, watch = _arguments(), watch_machine()
    files = sorted(path for path in given.folder.iterdir() if is_image(path))[: given.images]
    with multiprocessing.get_context("spawn").Pool(2) as pool, Decoders(2) as two:
        candidates: dict[str, Candidate] = {
            PLAIN: partial(_plain, files),
            OURS: partial(_ours, given.folder, len(files), None),
            PLAIN_2: partial(_pooled, files, pool),
            OURS_2: partial(_ours, given.folder, len(files), two),
        }
        errors = {name: _largest_error(candidates[PLAIN], candidate) for name, candidate in candidates.items()}
        passes = _time_passes(candidates, given.rounds, watch.look)
    rows = [_row(name, len(files), passes) for name in candidates]
    record = {
        **start_record("input", "numpy", "pillow"),
        "images": len(files),
        "batch": BATCH,
        "preprocessing": dataclasses.asdict(PREPROCESSING),
        "environment": dataclasses.asdict(watch.end(usable_cores(), git_revision())),
        "largest_error_to_plain": errors,
        "table": rows,
        "rounds_s": {name: dataclasses.asdict(found) for name, found in passes.items()},
    }
    write_record(given.out, record)
    Console(width=120).print(_table(rows, len(files)))


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, help="images of a pass (default: all)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/input.json"))
    return parser.parse_args()


def _load_plainly(path: Path) -> Floats:
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    image = image.resize((image.width * 256 // short, image.height * 256 // short), Image.Resampling.BILINEAR)
    left, top = round((image.width - 224) / 2.0), round((image.height - 224) / 2.0)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), dtype=np.float32) / np.float32(255)
    normalized = (pixels - np.asarray(PREPROCESSING.mean, dtype=np.float32)) / np.asarray(
        PREPROCESSING.std, dtype=np.float32
    )
    return np.ascontiguousarray(normalized.transpose(2, 0, 1))


def _plain(files: list[Path]) -> Iterator[Floats]:
    for start in range(0, len(files), BATCH):
        yield np.stack([_load_plainly(path) for path in files[start : start + BATCH]])


def _pooled(files: list[Path], pool: Any) -> Iterator[Floats]:
    images = pool.imap(_load_plainly, files, chunksize=BATCH)
    for start in range(0, len(files), BATCH):
        yield np.stack([next(images) for _ in files[start : start + BATCH]])


def _ours(folder: Path, count: int, decoders: Decoders | None) -> Iterator[Floats]:
    source = open_data(str(folder), Role.TEST)
    for batch in Batches(source, PREPROCESSING, BATCH, limit=count, decoders=decoders):
        yield normalize(batch.images, PREPROCESSING)


def _largest_error(plain: Candidate, candidate: Candidate) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(plain(), candidate(), strict=True))


def _time_passes(candidates: dict[str, Candidate], rounds: int, look: Callable[[], None]) -> dict[str, Passes]:
    passes = {name: Passes() for name in candidates}
    names = list(candidates)
    for index in range(rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            start, start_cpu = time.perf_counter(), time.process_time()
            for _ in candidates[name]():
                pass
            passes[name].wall.append(time.perf_counter() - start)
            passes[name].own_cpu.append(time.process_time() - start_cpu)
        look()
    return passes


def _row(name: str, images: int, passes: dict[str, Passes]) -> dict[str, Any]:
    wall = passes[name].wall
    ratios = {
        other: paired_ratio([[each] for each in passes[other].wall], [[each] for each in wall])
        for other in (PLAIN, OURS)
        if other != name
    }
    return {
        "candidate": name,
        "max_per_s": images / min(wall),
        "median_per_s": images / float(np.median(wall)),
        "own_cpu_ms": 1000 * float(np.median(passes[name].own_cpu)) / images,
        "times_as_fast_as": {other: ratio and [ratio.value, ratio.low, ratio.high] for other, ratio in ratios.items()},
    }


def _table(rows: list[dict[str, Any]], images: int) -> Table:
    table = make_table(
        "candidate", "median images/s", "max images/s", "own CPU ms", "x plain loop", "x one process",
        caption=f"{images} images per pass; own CPU: ms per image of the process that takes the batches; "
        "x: times as fast as, paired, 95 % interval",
    )  # fmt: skip
    for row in rows:
        ratios = [row["times_as_fast_as"].get(other) for other in (PLAIN, OURS)]
        shown = [f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})" if found else "" for found in ratios]
        rates = (f"{row['median_per_s']:.0f}", f"{row['max_per_s']:.0f}", f"{row['own_cpu_ms']:.2f}")
        table.add_row(row["candidate"], *rates, *shown)
    return table


if __name__ == "__main__":
    main()
