"""The Python Runner as one of the programs of native.py: it prints and reads the lines of embedding.cpp.

python -m benchmarks.overhead.asked BUNDLE PRECISION
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn_deploy import Runner

__all__: list[str] = []

Images = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


def main() -> None:
    """Opens the bundle, says how long each stage took, and answers line by line."""
    start = time.perf_counter_ns()
    with Runner.open(sys.argv[1], precision=sys.argv[2], backend="onnxruntime", threads=1) as runner:
        opened = time.perf_counter_ns()
        spec = runner.bundle.spec.preprocessing
        runner.predict(np.zeros((1, spec.height, spec.width, 3), np.uint8))
        first = time.perf_counter_ns()
        for stage, took in {"program": 0, "python": 0, "opened": opened - start, "first": first - opened}.items():
            print(stage, took, _resident_bytes())  # noqa: T201
        print("crossing", 0, _resident_bytes(), flush=True)  # noqa: T201
        for line in sys.stdin:
            threads, calls, pixels, batch = map(int, line.split())
            shape = (batch, spec.height, spec.width, 3) if pixels else (batch, 3, spec.height, spec.width)
            images: Images = np.zeros(shape, np.uint8) if pixels else np.zeros(shape, np.float32)
            print(*_answer(runner, images, threads, calls), flush=True)  # noqa: T201


def _answer(runner: Runner, images: Images, threads: int, calls: int) -> list[int]:
    """Nanoseconds of all calls together, then of each call of the first thread."""
    outs = [np.empty((len(images), *runner.outputs[0].shape), np.float32) for _ in range(threads)]

    def work(out: npt.NDArray[np.float32]) -> None:
        for _ in range(calls):
            runner.predict_into(images, out)

    others = [threading.Thread(target=work, args=(out,)) for out in outs[1:]]
    samples, start = list[int](), time.perf_counter_ns()
    for other in others:
        other.start()
    for _ in range(calls):
        begin = time.perf_counter_ns()
        runner.predict_into(images, outs[0])
        samples.append(time.perf_counter_ns() - begin)
    for other in others:
        other.join()
    return [time.perf_counter_ns() - start, *samples]


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
