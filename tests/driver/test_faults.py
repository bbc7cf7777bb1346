"""Every call of the driver fails once: the answer is right or the error is clear, and nothing is left."""

from __future__ import annotations

import gc
import itertools
import re
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.driver import standin
from tests.driver.bundles import OnGpu, answer_to, some_images
from wrn_deploy import Runner
from wrn_deploy.backends.plan.cuda import NON_BLOCKING
from wrn_deploy.runtime.gpu import on_gpu

MOST = 2000  # calls that the work below may need

# What a program below does with the GPU; argv: the bundle, and the number of the call from which on all fail.
LOST = """
import sys, warnings
import numpy as np
from tests.driver import standin
from wrn_deploy import Runner
from wrn_deploy.errors import DeployError
warnings.simplefilter("ignore")
folder, n = sys.argv[1], int(sys.argv[2])
images = np.zeros((4, 3, 8, 8), np.float32)
standin.fail(n, 700, for_ever=True)
try:
    with Runner.open(folder, precision="fp16", backend="tensorrt", contexts=1) as runner:
        for _ in range(4):
            runner.predict(images)
        print("answered")
except DeployError as error:
    print(type(error).__name__, error)
print("failed:", standin.failed())
"""


def work(folder: Path, source: OnGpu, out: OnGpu, stream: int) -> None:
    """Opens, runs all sizes until their graphs run, runs on the caller's stream, makes a sibling, closes."""
    with Runner.open(folder, precision="fp16", backend="tensorrt", contexts=2) as runner:
        for count in (1, 1, 1, 4, 4, 4, 1):
            images = some_images(count, count)
            np.testing.assert_allclose(runner.predict(images), answer_to(images), rtol=1e-4, atol=1e-4)
        runner.predict_on_device(source, out, stream)
        with runner._pool.first.sibling() as other:
            other.upload(some_images(2))
            other.execute()
            other.synchronize()


def test_any_call_may_fail_once(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed call is an error of MachineError's kind, or costs the graphs alone; nothing is left in any case.

    A call that gives something back still does so when it reports an error: the driver's documentation says that such
    calls "may also return error codes from previous, asynchronous launches".
    """
    monkeypatch.setenv("STANDIN_KERNEL_US", "1000")  # so that what does not wait is noticed
    with on_gpu() as cuda:
        caller = [OnGpu.of(cuda, some_images(4)), OnGpu(cuda, (4, 10)), cuda.Stream(NON_BLOCKING)]
    problems: list[str] = []
    failed: list[str] = []
    for n in itertools.count(1):
        before = standin.counts()
        standin.fail(n)
        error = attempt(bundle_folder, *caller)
        name = standin.failed()
        standin.fail(0)
        if not name:
            assert error is None
            break
        failed.append(name)
        clear = error is None or re.match(r"MachineError: (CUDA failed|the plan cannot|TensorRT (cannot|could))", error)
        left, broken = standin.counts().since(before).left(), standin.violations()
        if not clear or left or broken:
            problems.append(f"{n} {name}: {error}; left {left}; {broken}")
        assert n < MOST
    with on_gpu():
        caller.clear()
    assert not problems, "\n".join(problems)
    assert {"cuMemAlloc_v2", "cuStreamBeginCapture_v2", "cuGraphLaunch", "cuStreamWaitEvent"} <= set(failed)


def attempt(folder: Path, source: OnGpu, out: OnGpu, stream: Any) -> str | None:
    """Does the work, and gives up what is left of it; the error, if there was one."""
    error = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # that graphs are off
            work(folder, source, out, stream.handle)
    except Exception as raised:  # noqa: BLE001 (any other one is the defect)
        error = f"{type(raised).__name__}: {raised}"
    gc.collect()
    return error


@pytest.mark.parametrize("n", [1, 2, 3, 4, 12, 25, 40])
def test_a_gpu_that_is_lost_is_told_and_the_process_ends_without_a_crash(
    python: Callable[..., subprocess.CompletedProcess[str]], bundle_folder: Path, n: int
) -> None:
    done = python(LOST, str(bundle_folder), str(n))
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert last != "failed: ", "the call number is too high"
    if first != "answered":
        assert first.startswith("MachineError"), done.stdout
        assert "illegal memory access" in first
