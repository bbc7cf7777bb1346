"""A process that used a plan ends in silence, and the timer of layers leaves the thread as it found it."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.driver import standin
from wrn_deploy.engines.flavor import Flavor, find_flavor
from wrn_deploy.engines.inspector import LayerTimer, describe_engine
from wrn_deploy.errors import DeployError

Run = Callable[..., "subprocess.CompletedProcess[str]"]

USE = """
import sys
import numpy as np
from wrn_deploy import Runner
runner = Runner.open(sys.argv[1], precision="fp16", backend="tensorrt", contexts=1)
for _ in range(3):
    runner.predict(np.zeros((4, 3, 8, 8), np.float32))
if sys.argv[2] == "closed":
    runner.close()
print("done")
"""
TIME = """
import pathlib, sys
from wrn_deploy.engines.flavor import Flavor, find_flavor
from wrn_deploy.engines.inspector import LayerTimer
plan = (pathlib.Path(sys.argv[1]) / "fp16-tensorrt.plan").read_bytes()
with LayerTimer(find_flavor(Flavor.TENSORRT).module, plan, 1) as timer:
    timer.run()
print("done")
"""


@pytest.mark.parametrize(("program", "how"), [(USE, "closed"), (USE, "not closed"), (TIME, "")])
def test_a_process_ends_without_a_word_and_without_a_wrong_call(
    python: Run, bundle_folder: Path, tmp_path: Path, program: str, how: str
) -> None:
    """PyCUDA's destructor of a primary context would call cuCtxDetach, which is for other contexts."""
    report = tmp_path / "report"
    done = python(program, str(bundle_folder), how, STANDIN_REPORT=str(report))
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
    assert report.read_text().splitlines()[1:] == []


def plan_of(folder: Path) -> bytes:
    return (folder / "fp16-tensorrt.plan").read_bytes()


def test_layers_are_timed_and_the_threads_contexts_stay_as_they_were(bundle_folder: Path) -> None:
    trt, before = find_flavor(Flavor.TENSORRT).module, standin.counts()
    with LayerTimer(trt, plan_of(bundle_folder), 1) as timer:
        total, layers = timer.run()
        assert total > 0
        assert layers == {"first half": 0.25, "second half": 0.25}
    del timer
    gc.collect()
    assert standin.counts().since(before).stack == 0


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_layers_are_timed_in_the_profile_that_takes_the_batch(bundle_folder: Path, batch: int) -> None:
    with LayerTimer(find_flavor(Flavor.TENSORRT).module, plan_of(bundle_folder), batch) as timer:
        assert timer.run()[1] == {"first half": 0.25 * batch, "second half": 0.25 * batch}
        assert f'"Batch": {batch}' in timer.description


def test_a_batch_that_no_profile_takes_is_refused_and_nothing_is_left(bundle_folder: Path) -> None:
    before = standin.counts()
    with pytest.raises(DeployError, match="17"):
        LayerTimer(find_flavor(Flavor.TENSORRT).module, plan_of(bundle_folder), 17)
    gc.collect()
    assert standin.counts().since(before).stack == 0


def test_an_engine_is_described(gpu: Any, bundle_folder: Path) -> None:
    del gpu  # its context is current
    first, second = describe_engine(find_flavor(Flavor.TENSORRT).module, plan_of(bundle_folder))
    assert '"Batch": 1' in first
    assert '"Batch": 8' in second
