r"""Measures what a Runner costs the CPU for each call of a plan, and what it overlaps; its engine computes nothing.

    python -m tests.driver.environment python -m benchmarks.overhead.plan_calls [--gpu-ms 10.9] [--out FILE]

It needs PyCUDA, cuda-bindings and a driver, real or a stand-in. On a stand-in, whose copies are made by the CPU, it
says nothing about a GPU: only the time of our own code, and which copies run beside which inference.

- A call: `Runner.predict` on images of 224x224, at batch 1 and 256: normalised float32, the same in a slot, uint8 that
  the CPU normalises, uint8 for a graph that normalises, and the same in a slot. Outputs are 1000 logits an image.
- Overlap: `Runner.predict` on 1024 images in pieces of 256, with an engine that keeps its stream busy for `--gpu-ms` a
  piece. Four times that is what a call takes at least; what it takes more did not run beside an inference.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.backends.plan.backend import PlanBackend
from wrn_deploy.backends.plan.engine import Expected, SharedEngine
from wrn_deploy.bundle import Bundle
from wrn_deploy.runtime.gpu import on_gpu
from wrn_deploy.runtime.pool import Pool
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.spec import Interface, ModelSpec, Precision, Preprocessing

SIDE, CLASSES, LARGEST, PIECES = 224, 1000, 256, 4
STANDIN = "stand-in driver, not a GPU"
CALLS = {1: 1000, LARGEST: 25}


def main() -> None:
    """Measures both, writes the raw numbers, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu-ms", type=float, default=10.9, help="what the engine takes for a piece of 256 images")
    parser.add_argument("--driver", default=STANDIN, help="which driver this is, for the record")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/plan-calls.json"))
    given = parser.parse_args()
    calls = {
        f"batch {batch}, {name}": _samples(batch, **options)
        for batch in CALLS
        for name, options in {
            "float32": {},
            "float32 in a slot": {"slot": True},
            "uint8, normalised on the CPU": {"uint8": True},
            "pixels": {"uint8": True, "pixels": True},
            "pixels in a slot": {"uint8": True, "pixels": True, "slot": True},
        }.items()
    }
    overlap = {
        name: _overlap(given.gpu_ms, pixels=pixels) for name, pixels in {"float32": False, "pixels": True}.items()
    }
    record = {
        **start_record("plan-calls", "numpy", "pycuda", "cuda-bindings"),
        "conditions": {
            "driver": given.driver,
            "variables": {
                name: value for name, value in os.environ.items() if name.startswith(("FAKECUDA", "STANDIN"))
            },
            "load": os.getloadavg(),
            "gpu_ms_of_a_piece": given.gpu_ms,
        },
        "calls_us": calls,
        "overlap_ms": overlap,
    }
    if given.driver == STANDIN:
        record["machine"]["gpu"] = None  # what the stand-in calls itself
    write_record(given.out, record)
    table = make_table("", "minimum, us", "median, us", "us per image", caption=given.driver)
    for name, samples in calls.items():
        images = int(name.split(",")[0].removeprefix("batch "))
        median = statistics.median(samples)
        table.add_row(name, f"{min(samples):.1f}", f"{median:.1f}", f"{median / images:.2f}")
    console = Console(width=120)
    console.print(table)
    for name, taken in overlap.items():
        console.print(
            f"{PIECES * LARGEST} images, {name}: minimum {min(taken):.1f} ms, median "
            f"{statistics.median(taken):.1f} ms; the engine alone {PIECES * given.gpu_ms:.1f} ms"
        )


def _samples(batch: int, *, uint8: bool = False, pixels: bool = False, slot: bool = False) -> list[float]:
    """Microseconds of each call."""
    with _opened(0.0, pixels=pixels) as runner:
        images = np.zeros((batch, SIDE, SIDE, 3), np.uint8) if uint8 else np.zeros((batch, 3, SIDE, SIDE), np.float32)
        if slot:
            with runner.slot(batch) as lent:
                lent[:] = images
                return _time(lambda: runner.predict(lent), CALLS[batch])
        return _time(lambda: runner.predict(images), CALLS[batch])


def _overlap(gpu_ms: float, *, pixels: bool) -> list[float]:
    """Milliseconds of each call with several pieces."""
    with _opened(gpu_ms, pixels=pixels) as runner:
        shape, dtype = runner.inputs[0].shape, runner.inputs[0].dtype
        images = np.zeros((PIECES * LARGEST, *shape), dtype)
        return [taken / 1000 for taken in _time(lambda: runner.predict(images), 6)]


def _time(work: Callable[[], object], calls: int) -> list[float]:
    """Microseconds of each of `calls`, after as many as capture the graphs."""
    for _ in range(4):
        work()
    gc.collect()
    taken = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        work()
        taken.append((time.perf_counter_ns() - start) / 1000)
    return taken


@contextmanager
def _opened(gpu_ms: float, *, pixels: bool) -> Iterator[Runner]:
    """A runner of one context over an engine that computes nothing."""
    how = Preprocessing(height=SIDE, width=SIDE, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    spec = ModelSpec(
        name="wrn-16-2",
        family="cifar_wrn",
        depth=16,
        widen=2,
        classes=CLASSES,
        preprocessing=how,
        interface=Interface(pixels=pixels),
    )
    facts = {"flavor": "tensorrt", "profiles": [{"minimum": 1, "optimum": LARGEST, "maximum": LARGEST}]}
    with tempfile.TemporaryDirectory() as folder:
        bundle = Bundle.create(Path(folder) / "bundle", spec, random_weights=True)
        expected = Expected(source=spec.input, results=spec.outputs, facts=facts)
        with on_gpu():
            engine = SharedEngine(_tensorrt(spec, gpu_ms), b"plan", expected)
        named: dict[str, Any] = {"backend": "tensorrt", "precision": Precision.FP16, "fell_back": None}
        with Runner(bundle, Pool(PlanBackend(engine), 1), allow_nonfinite=False, **named) as runner:
            yield runner


def _tensorrt(spec: ModelSpec, gpu_ms: float) -> Any:
    """A module in the place of TensorRT's; its engine keeps the stream busy for `gpu_ms` and writes zeros."""
    driver = ctypes.CDLL("libcuda.so.1")
    wait = ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p)
    shapes = {tensor.name: (-1, *tensor.shape) for tensor in (spec.input, *spec.outputs)}
    types = {"float32": "FLOAT", "uint8": "UINT8"}
    dtypes = {tensor.name: types[tensor.dtype] for tensor in (spec.input, *spec.outputs)}

    class Context:
        def __init__(self) -> None:
            self.batch, self.addresses = 0, dict[str, int]()

        def set_optimization_profile_async(self, _profile: int, _stream: int) -> bool:
            return True

        def set_device_memory(self, _memory: int, _size: int) -> None:
            pass

        def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
            self.batch = shape[0]
            return True

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self.addresses[name] = memory
            return True

        def execute_async_v3(self, stream: int) -> bool:
            failed = 0
            if gpu_ms:
                microseconds = ctypes.c_void_p(int(1000 * gpu_ms * self.batch / LARGEST))
                failed = driver.cuLaunchHostFunc(ctypes.c_void_p(stream), wait, microseconds)
            for output in spec.outputs:
                size = ctypes.c_size_t(self.batch * CLASSES * np.dtype(output.dtype).itemsize)
                target = ctypes.c_uint64(self.addresses[output.name])
                failed |= driver.cuMemsetD8Async(target, ctypes.c_ubyte(0), size, ctypes.c_void_p(stream))
            return not failed

    names = list(shapes)
    engine = SimpleNamespace(
        num_io_tensors=len(names),
        device_memory_size_v2=1 << 20,
        get_tensor_name=names.__getitem__,
        get_tensor_mode=lambda name: "input" if name == spec.input.name else "output",
        get_tensor_dtype=lambda name: SimpleNamespace(name=dtypes[name]),
        get_tensor_shape=shapes.__getitem__,
        create_execution_context=lambda _strategy=None: Context(),
    )
    return SimpleNamespace(
        Logger=type("Logger", (), {"ERROR": 0, "__init__": lambda _self, _severity: None}),
        Runtime=lambda _logger: SimpleNamespace(deserialize_cuda_engine=lambda _plan: engine),
        TensorIOMode=SimpleNamespace(INPUT="input", OUTPUT="output"),
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED=2),
    )


if __name__ == "__main__":
    main()
