"""Measures images a second of decoding and preprocessing, beside Pillow in a plain loop, in one process and in two.

    python -m benchmarks.steps.input FOLDER_OF_IMAGES [--rounds 9] [--images N] [--out benchmarks/results/NAME.json]

All give the same batches: the shorter side to 256 pixels, the centre of 224 x 224, normalised, float32 NCHW, 8 images a
batch. The plain loop is what torchvision does for Resize, CenterCrop, ToTensor and Normalize, in Pillow and numpy.
Before anything is timed the pixels of all contenders are compared; then they take turns, and each round begins with
another one. Processes are started before they are timed. The first pass of each is not counted.
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
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from wrn_deploy.bench.measuring.revision import git_revision

from benchmarks.compact_json import to_compact_json
from wrn_deploy import __version__
from wrn_deploy.bench.measuring.watch import watch_machine
from wrn_deploy.bench.report.ratios import paired_ratio
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.data.formats.folder import is_image
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.machine import describe_machine, package_versions
from wrn_deploy.spec import Preprocessing

HOW = Preprocessing(224, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), resize=256)
BATCH = 8
PLAIN, OURS, PLAIN_2, OURS_2 = "Pillow, plain loop", "wrn-deploy", "Pillow, a pool of 2", "wrn-deploy, --workers 2"

Floats = npt.NDArray[np.float32]
Contender = Callable[[], Iterator[Floats]]


def main() -> None:
    """Measures, writes the raw numbers, and prints the table."""
    given, watch = _arguments(), watch_machine()
    files = sorted(path for path in given.folder.iterdir() if is_image(path))[: given.images]
    with multiprocessing.get_context("spawn").Pool(2) as pool, Decoders(2) as two:
        contenders: dict[str, Contender] = {
            PLAIN: partial(_plain, files),
            OURS: partial(_ours, given.folder, len(files), None),
            PLAIN_2: partial(_pooled, files, pool),
            OURS_2: partial(_ours, given.folder, len(files), two),
        }
        errors = {name: _largest_error(contenders[PLAIN], contender) for name, contender in contenders.items()}
        rounds = _rounds(contenders, given.rounds, watch.look)
    machine = describe_machine()
    rows = [_row(name, len(files), rounds) for name in contenders]
    record = {
        "benchmark": "input",
        "images": len(files),
        "batch": BATCH,
        "preprocessing": dataclasses.asdict(HOW),
        "machine": dataclasses.asdict(machine),
        "conditions": dataclasses.asdict(watch.end(machine.cores, git_revision())),
        "versions": {"wrn-deploy": __version__, **package_versions("numpy", "pillow")},
        "largest_error_to_plain": errors,
        "table": rows,
        "rounds_s": {name: {"wall": wall, "own_cpu": cpu} for name, (wall, cpu) in rounds.items()},
    }
    given.out.write_text(to_compact_json(record) + "\n", encoding="utf-8")
    Console(width=120).print(_table(rows, len(files)))


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, help="of a pass; all if not given")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/input.json"))
    return parser.parse_args()


def _load_plainly(path: Path) -> Floats:
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    image = image.resize((image.width * 256 // short, image.height * 256 // short), Image.Resampling.BILINEAR)
    left, top = round((image.width - 224) / 2.0), round((image.height - 224) / 2.0)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), dtype=np.float32) / np.float32(255)
    normalized = (pixels - np.asarray(HOW.mean, dtype=np.float32)) / np.asarray(HOW.std, dtype=np.float32)
    return np.ascontiguousarray(normalized.transpose(2, 0, 1))


def _plain(files: list[Path]) -> Iterator[Floats]:
    for start in range(0, len(files), BATCH):
        yield np.stack([_load_plainly(path) for path in files[start : start + BATCH]])


def _pooled(files: list[Path], pool: Any) -> Iterator[Floats]:
    images = pool.imap(_load_plainly, files, chunksize=BATCH)
    for start in range(0, len(files), BATCH):
        yield np.stack([next(images) for _ in files[start : start + BATCH]])


def _ours(folder: Path, count: int, decoders: Decoders | None) -> Iterator[Floats]:
    for batch in Batches(open_data(str(folder), Role.TEST), HOW, BATCH, limit=count, decoders=decoders):
        yield normalize(batch.images, HOW)


def _largest_error(plain: Contender, contender: Contender) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(plain(), contender(), strict=True))


def _rounds(
    contenders: dict[str, Contender], count: int, look: Callable[[], None]
) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds of each pass, by the clock and of this process's CPU."""
    rounds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contenders}
    names = list(contenders)
    for index in range(count):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            start, start_cpu = time.perf_counter(), time.process_time()
            for _ in contenders[name]():
                pass
            rounds[name][0].append(time.perf_counter() - start)
            rounds[name][1].append(time.process_time() - start_cpu)
        look()
    return rounds


def _row(name: str, images: int, rounds: dict[str, tuple[list[float], list[float]]]) -> dict[str, Any]:
    wall, cpu = rounds[name]
    ratios = {
        other: paired_ratio([[each] for each in rounds[other][0]], [[each] for each in wall])
        for other in (PLAIN, OURS)
        if other != name
    }
    return {
        "contender": name,
        "most_per_s": images / min(wall),
        "median_per_s": images / float(np.median(wall)),
        "own_cpu_ms": 1000 * float(np.median(cpu)) / images,
        "times_as_fast_as": {other: ratio and [ratio.value, ratio.low, ratio.high] for other, ratio in ratios.items()},
    }


def _table(rows: list[dict[str, Any]], images: int) -> Table:
    caption = (
        f"{images} images a pass; own CPU: of the process that takes the batches; as fast as: paired, 95 % interval"
    )
    table = Table(box=SIMPLE_HEAD, caption=caption)
    headers = ("contender", "median images/s", "most images/s", "own CPU ms", "x plain loop", "x one process")
    for header in headers:
        table.add_column(header, justify="left" if header == "contender" else "right")
    for row in rows:
        ratios = [row["times_as_fast_as"].get(other) for other in (PLAIN, OURS)]
        shown = [f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})" if found else "" for found in ratios]
        rates = (f"{row['median_per_s']:.0f}", f"{row['most_per_s']:.0f}", f"{row['own_cpu_ms']:.2f}")
        table.add_row(row["contender"], *rates, *shown)
    return table


if __name__ == "__main__":
    main()
