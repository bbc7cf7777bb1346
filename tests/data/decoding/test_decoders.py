"""Decoding in processes of their own: the same batches, the same errors, and nothing left behind."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.made import PLAIN, RESIZED, WRITTEN, Made, Pixels, be_corrupt, blunder, die, process_ids, shade
from wrn_deploy.data import ImageSource, Role, open_data
from wrn_deploy.data.corrupt import Percent
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.preprocess import Batch, Batches
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.files.budget import raised
from wrn_deploy.spec import Preprocessing


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders(2) as two:
        yield two


def _same(left: list[Batch], right: list[Batch]) -> None:
    assert [batch.names for batch in left] == [batch.names for batch in right]
    for first, second in zip(left, right, strict=True):
        np.testing.assert_array_equal(first.images, second.images)
        np.testing.assert_array_equal(first.labels, second.labels)


@pytest.mark.parametrize("fixture", ["digits", *WRITTEN])
@pytest.mark.parametrize("seed", [None, 5])
def test_every_format_gives_the_same_batches(
    fixture: str, seed: int | None, decoders: Decoders, request: pytest.FixtureRequest
) -> None:
    name = fixture if fixture == "digits" else str(request.getfixturevalue(fixture))
    source = open_data(name, Role.TRAIN)
    passes = []
    for used in (None, decoders):
        order = None if seed is None else np.random.default_rng(seed)
        passes.append(list(Batches(source, RESIZED, 17, order=order, decoders=used)))
    _same(*passes)


def test_real_images_are_the_same_to_the_last_bit(shared_data: Path, decoders: Decoders) -> None:
    source = open_data(str(shared_data / "imagenet"), Role.TEST)
    preprocessing = Preprocessing(height=64, width=64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resize=72)
    _same(
        list(Batches(source, preprocessing, 7, limit=40)),
        list(Batches(source, preprocessing, 7, limit=40, decoders=decoders)),
    )


def test_the_caller_draws_the_same_numbers_between_batches(npz_file: Path, decoders: Decoders) -> None:
    """Augmentation may draw from the generator that the order was drawn from, however far ahead images are taken."""
    drawn = []
    for used in (None, decoders):
        random = np.random.default_rng(7)
        source = open_data(str(npz_file), Role.TRAIN)
        drawn.append([int(random.integers(1000)) for _ in Batches(source, PLAIN, 5, order=random, decoders=used)])
    assert drawn[0] == drawn[1]


def test_corrupt_images_are_left_out_and_named_alike(decoders: Decoders) -> None:
    loads = [partial(be_corrupt, f"bad {n}") if n % 50 == 3 else partial(shade, n) for n in range(200)]
    straight = Batches(Made(loads), RESIZED, 16, max_corrupt=4)
    parallel = Batches(Made(loads), RESIZED, 16, max_corrupt=4, decoders=decoders)
    _same(list(straight), list(parallel))
    assert parallel.corrupt == straight.corrupt == ["image 3", "image 53", "image 103", "image 153"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_percentage_of_corrupt_images_is_allowed_and_no_more(workers: int, decoders: Decoders) -> None:
    loads = [partial(be_corrupt, f"bad {n}") if n in (20, 90, 120) else partial(shade, n) for n in range(200)]
    used = decoders if workers else None
    batches = Batches(Made(loads), RESIZED, 16, max_corrupt=Percent(1.5), decoders=used)
    assert sum(len(batch.names) for batch in batches) == 197
    with pytest.raises(DeployError, match=r"bad 120; 3 corrupt, 2 allowed of 200: fix or remove it"):
        list(Batches(Made(loads), RESIZED, 16, max_corrupt=Percent(1.0), decoders=used))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_limit_counts_good_images_and_ignores_those_after_it(workers: int, decoders: Decoders) -> None:
    loads = [partial(be_corrupt, "bad") if n in (2, 30) else partial(shade, n) for n in range(40)]
    source = Made([*loads, *[partial(shade, 0, 5)] * 8], broken=DeployError("damaged behind it"))
    batches = Batches(source, RESIZED, 10, limit=25, max_corrupt=1, decoders=decoders if workers else None)
    assert [len(batch.names) for batch in batches] == [10, 10, 5]
    assert batches.corrupt == ["image 2"]
    assert source.taken <= 26


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_where_it_stands(workers: int, decoders: Decoders) -> None:
    """Behind the images before it, though these are still being decoded when it is met."""
    loads = [partial(shade, n) for n in range(100)]
    for source, text in (
        (Made(loads, broken=DeployError("the file is damaged")), "the file is damaged"),
        (Made([*loads, partial(shade, 0, 30)]), None),
    ):
        preprocessing = RESIZED if text else Preprocessing(height=40, width=40, mean=RESIZED.mean, std=RESIZED.std)
        batches = iter(Batches(source, preprocessing, 10, decoders=decoders if workers else None))
        assert [len(next(batches).names) for _ in range(10)] == [10] * 10
        with pytest.raises(DeployError, match=text or "image 100 is 30x30 pixels: expected 40x40"):
            next(batches)


def test_an_error_of_the_program_is_shown_with_its_place(decoders: Decoders) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug") as caught:
        list(Batches(Made([blunder]), RESIZED, 1, decoders=decoders))
    assert "in blunder" in "".join(caught.value.__notes__)


CAUSES = [(7, "exit code 7"), (-9, "SIGKILL"), (-11, "SIGSEGV")]


@pytest.mark.parametrize(("code", "cause"), CAUSES)
def test_an_image_that_ends_its_process_is_named(code: int, cause: str) -> None:
    loads = [partial(die, code) if n == 21 else partial(shade, n) for n in range(40)]
    with Decoders(1) as single:
        with pytest.raises(DeployError, match=rf"image 21 crashed the process that decoded it \({cause}\)"):
            list(Batches(Made(loads), RESIZED, 1, decoders=single))
        assert len(list(Batches(Made([partial(shade, 0)]), RESIZED, 1, decoders=single))) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_images_that_end_their_process_can_be_left_out(count: int) -> None:
    bad = {0: -11, 21: 7, 22: -6, 69: -11}
    loads = [partial(die, bad[n]) if n in bad else partial(shade, n) for n in range(70)]
    with Decoders(count) as some:
        batches = Batches(Made(loads), RESIZED, 7, max_corrupt=4, decoders=some)
        expected = Batches(
            Made([partial(be_corrupt, "x") if n in bad else partial(shade, n) for n in range(70)]),
            RESIZED,
            7,
            max_corrupt=4,
        )
        _same(list(batches), list(expected))
        assert batches.corrupt == [f"image {n}" for n in bad]


def test_an_image_that_takes_too_long_is_named() -> None:
    with raised("seconds=1"), Decoders(1) as single:
        loads: list[Any] = [partial(shade, 0), partial(time.sleep, 600), partial(shade, 2)]
        batches = Batches(Made(loads), RESIZED, 2, max_corrupt=1, decoders=single)
        assert sum(len(batch.names) for batch in batches) == 2
        with pytest.raises(
            DeployError, match="image 1 takes more than 1 seconds to decode: the limit is seconds=1; if"
        ):
            list(Batches(Made(loads), RESIZED, 2, decoders=single))


def test_without_workers_an_encoded_image_cannot_end_this_process(
    tmp_path: Path, digit_images: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder of the process that is started crashes, as native code could; arrays need no process."""
    for index in range(3):
        Image.fromarray(digit_images[index]).save(tmp_path / f"{index}.png")
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes\nfrom PIL import Image\nopened = Image.open\n"
        "def crash(stream, **options):\n"
        "    image = opened(stream, **options)\n"
        "    return image if image.getpixel((0, 0)) != (1, 2, 3) else ctypes.string_at(0)\n"
        "Image.open = crash\n"
    )
    marked = digit_images[1].copy()
    marked[0, 0] = 1, 2, 3
    Image.fromarray(marked).save(tmp_path / "1.png")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with Decoders(0) as guard:
        batches = Batches(open_data(str(tmp_path), Role.TEST), PLAIN, 8, max_corrupt=1, decoders=guard)
        assert [batch.names for batch in batches] == [("0.png", "2.png")]
        with pytest.raises(DeployError, match=r"1\.png crashed the process that decoded it \(SIGSEGV\)"):
            list(Batches(open_data(str(tmp_path), Role.TEST), PLAIN, 8, decoders=guard))


def test_arrays_start_no_process() -> None:
    with Decoders(0) as guard:
        assert len(list(Batches(Made([partial(shade, n) for n in range(5)]), RESIZED, 1, decoders=guard))) == 5
        assert guard._pool is None


def test_what_cannot_be_sent_is_an_error(decoders: Decoders) -> None:
    with pytest.raises(DeployError, match=r"image 0 cannot be sent to a decoding process .*--workers 0"):
        list(Batches(Made([lambda: shade(0)]), RESIZED, 1, decoders=decoders))


def test_a_pass_that_was_left_does_not_disturb_the_next(decoders: Decoders) -> None:
    loads: Any = [partial(shade, n) for n in range(300)]
    for _ in range(3):
        first = next(iter(Batches(Made(loads), RESIZED, 8, decoders=decoders)))
        assert first.labels.tolist() == list(range(8))
    pairs = zip(*(Batches(Made(loads), RESIZED, 30, decoders=decoders) for _ in range(2)), strict=True)
    assert all(one.names == other.names for one, other in pairs)


def test_images_are_taken_only_so_far_ahead(decoders: Decoders) -> None:
    """Whatever the data's size, only three chunks per process and the batch are in memory."""
    loads: Any = [partial(shade, n, 300) for n in range(2000)]
    preprocessing = Preprocessing(height=256, width=256, mean=RESIZED.mean, std=RESIZED.std, resize=256)
    source = Made(loads)
    for count, _ in enumerate(Batches(source, preprocessing, 4, limit=200, decoders=decoders), 1):
        chunk = 2**20 // (3 * 256 * 256)
        assert source.taken <= 4 * count + 2 * 3 * chunk + chunk


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().split()[2]


def test_processes_end_with_what_started_them() -> None:
    closed, dropped = Decoders(1), Decoders(1)
    pids = process_ids(closed) + process_ids(dropped)
    assert all(map(_alive, pids))
    closed.close()
    del dropped
    gc.collect()
    assert not any(map(_alive, pids))


PROGRAM = """
import sys, time
from functools import partial
from tests.data.made import RESIZED, Made, process_ids, shade
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.data.preprocess import Batches
decoders = Decoders(2)
print(*process_ids(decoders), 'torch' in sys.modules, flush=True)
for batch in Batches(Made([partial(shade, n, 500) for n in range(10000)]), RESIZED, 2, decoders=decoders):
    print('.', end='', flush=True)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_in_the_middle_leaves_no_process_behind(sent: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert started.stdout is not None
    *pids, torch = started.stdout.readline().split()
    assert torch == "False"
    assert started.stdout.read(3) == "..."
    started.send_signal(sent)
    started.communicate(timeout=120)
    assert started.returncode == -sent
    end = time.monotonic() + 60
    while any(_alive(int(pid)) for pid in pids):
        assert time.monotonic() < end, "a decoding process lives on"
        time.sleep(0.02)


def test_the_processes_load_neither_torch_nor_the_command_line() -> None:
    code = (
        "import sys, wrn_deploy.data.decoding.process; print(*{'torch', 'typer', 'rich', 'pyarrow'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_the_number_of_processes() -> None:
    photographs = Preprocessing(height=224, width=224, mean=RESIZED.mean, std=RESIZED.std, resize=256)
    assert choose_workers(3, PLAIN, 1) == 3
    assert choose_workers(0, photographs, 10_000) == 0
    assert choose_workers(None, photographs, 10_000) == len(os.sched_getaffinity(0))
    assert choose_workers(None, PLAIN, 10_000) == 0
    assert choose_workers(None, photographs, 10) == 0
    with pytest.raises(UsageError, match="-1 decoding processes: expected 0"):
        Decoders(-1)


def test_warnings_about_an_image_do_not_matter(tmp_path: Path, decoders: Decoders) -> None:
    for index in range(3):
        Image.new("RGB", (40, 40), (index, 0, 0)).save(tmp_path / f"{index}.png")
    (tmp_path / "2.png").write_bytes(b"none")
    source: ImageSource = open_data(str(tmp_path), Role.TEST)
    with pytest.raises(DeployError, match=re.escape(f"{tmp_path}/2.png cannot be decoded (no known image format)")):
        list(Batches(source, RESIZED, 8, decoders=decoders))
