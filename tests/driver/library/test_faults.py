"""Every call of the driver that the C++ library makes fails once: the answer is right or the error is clear."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.driver import standin
from tests.driver.bundles import OnGpu, answer_to, some_images
from tests.driver.library.calls import CallError, Library, OurTensorRT
from tests.driver.library.conftest import MakeBundle
from wrn_deploy.backends.plan.cuda import NON_BLOCKING
from wrn_deploy.runtime.gpu import on_gpu

MOST = 1000  # calls that the work below may need
CLEAR = r"4: (CUDA failed|the plan cannot|TensorRT(-RTX)? (cannot|could))"


def attempt(library: Library, bundle: Path, flavor: str, source: OnGpu, out: OnGpu, stream: Any) -> str | None:
    """Runs sizes until their graphs run, runs on the caller's stream, lends memory; the error, if there was one."""
    try:
        with library.open(bundle, backend=flavor, contexts=1) as runner:
            for count in (1, 1, 1, 4, 4, 4, 1, 40, 20):
                images = some_images(count, count)
                np.testing.assert_allclose(runner.predict(images), answer_to(images), rtol=1e-4, atol=1e-4)
            for _ in range(3):
                runner.infer_device(int(source.memory), 4, int(out.memory), stream.handle)
            with runner.slot(2) as memory:
                memory[:] = some_images(2)
                runner.predict(memory)
    except CallError as failure:
        return str(failure)
    return None


def test_any_call_may_fail_once(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make()
    monkeypatch.setenv("STANDIN_KERNEL_US", "1000")  # so that what does not wait is noticed
    with on_gpu() as cuda:
        caller = [OnGpu.of(cuda, some_images(4)), OnGpu(cuda, (4, 10)), cuda.Stream(NON_BLOCKING)]
    problems: list[str] = []
    failed: list[str] = []
    for n in itertools.count(1):
        before = standin.counts()
        standin.fail(n)
        error = attempt(library, bundle, flavor, *caller)
        name = standin.failed()
        standin.fail(0)
        if not name:
            assert error is None
            break
        failed.append(name)
        left, broken = standin.counts().since(before).left(), standin.violations()
        if (error is not None and not re.match(CLEAR, error)) or left or broken or ours.alive() != (0, 0):
            problems.append(f"{n} {name}: {error}; left {left}; {broken}")
        assert n < MOST
    with on_gpu():
        caller.clear()
    assert not problems, "\n".join(problems)
    wanted = {"cuMemAlloc_v2", "cuMemHostAlloc", "cuMemcpyHtoDAsync_v2", "cuStreamWaitEvent", "cuStreamSynchronize"}
    wanted |= {"cuEventRecord", "cuEventSynchronize"}
    if flavor == "tensorrt":
        wanted |= {"cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphLaunch"}
    assert wanted <= set(failed)
