"""Pieces of the GPU report's experiments that need no GPU: steps, tests' results, profiles in time, limits, images."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from benchmarks.gpu import prepare
from benchmarks.gpu.experiments import bundles, tests
from benchmarks.gpu.experiments.steps import run_python
from benchmarks.gpu.experiments.timing import HEADERS, cells_of
from benchmarks.gpu.limits import KNOWN, find_limits
from benchmarks.gpu.outcome import Outcome, State, Verdict, file_of, write_outcome
from benchmarks.gpu.prepare import make_images
from benchmarks.gpu.task import OutOfTime, Skip, Task
from wrn_deploy.bench.report.report import Latency, Row, WarmUp
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.engines.flavor import Flavor
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.pipeline.engines.build import BuildOptions
from wrn_deploy.spec import Precision


def a_task(out: Path, part: str = "part", seconds: float = 100.0, batches: tuple[int, ...] = (1, 16, 64, 256)) -> Task:
    outcome = Outcome(part=part, state=State.FAILED)
    return Task(out=out, networks=("wrn-16-1",), batches=batches, seconds=seconds, outcome=outcome)


def test_steps_say_how_they_ended() -> None:
    well = run_python("-c", "import sys; print(1); print('a', file=sys.stderr)", seconds=30)
    assert (well.out, well.last, well.ending) == ("1\n", "a", "")
    assert run_python("-c", "raise ValueError('b')", seconds=30).why == "exit code 1: ValueError: b"
    crash = f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})"
    assert run_python("-c", crash, seconds=30).why == "its process died (SIGSEGV)"
    assert run_python("-c", "import time; time.sleep(9)", seconds=1).why == "it did not end within 1 s"


PYTEST = """\
tests/a.py::test_one[fp16-a b] PASSED                                    [ 25%]
tests/a.py::test_two FAILED                                              [ 50%]
tests/backends/plan/test_plan_gpu.py::test_three SKIPPED (no such GPU)   [ 75%]
=========================== short test summary info ============================
FAILED tests/a.py::test_two - AssertionError: 1 is not 2
"""


def test_results_of_tests_are_read_and_named(tmp_path: Path) -> None:
    task = a_task(tmp_path, "gpu-tests")
    with pytest.raises(DeployError, match="1 of 3 tests failed"):
        tests.record(task, PYTEST.splitlines(), code=1, ended=True)
    counted, failed = task.outcome.findings
    assert counted.text == "1 passed, 1 failed, 1 skipped"
    assert (failed.text, failed.verdict) == ("tests/a.py::test_two: AssertionError: 1 is not 2", Verdict.WRONG)
    with pytest.raises(Skip, match="they are among the tests above; finished: 1 skipped"):
        tests.run_plan_tests(a_task(tmp_path, "plan-tests"))


def test_tests_that_were_stopped_count_as_far_as_they_came(tmp_path: Path) -> None:
    task = a_task(tmp_path)
    with pytest.raises(OutOfTime, match="stopped when its time was up: 1 passed"):
        tests.record(task, PYTEST.splitlines()[:1], code=-9, ended=False)
    assert task.outcome.raw["ended"] is False
    with pytest.raises(DeployError, match="pytest ended with 2: no tests ran"):
        tests.record(task, ["no tests ran"], code=2, ended=True)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[BuildOptions]:
    """What is built, in the place of building; nothing is built before."""
    built: list[BuildOptions] = []

    def build(_bundle: object, options: BuildOptions, _progress: object) -> None:
        if options.precision is Precision.INT8 and options.flavor is Flavor.RTX:
            raise MachineError("no int8 here")
        built.append(options)

    monkeypatch.setattr(bundles, "build_engine", build)
    monkeypatch.setattr(bundles, "examine", lambda *_: SimpleNamespace(obstacle="none", artifact=None))
    monkeypatch.setattr(bundles, "timing_cache", lambda *_: None)
    return built


A_BUNDLE: Any = SimpleNamespace(spec=SimpleNamespace(name="wrn-16-1"))


def test_a_plan_has_a_profile_for_each_batch_size(builds: list[BuildOptions], tmp_path: Path) -> None:
    task = a_task(tmp_path, seconds=1000)
    assert bundles.build_all(task, A_BUNDLE, Flavor.TENSORRT) == {}
    assert [options.precision for options in builds] == [Precision.FP16, Precision.INT8]
    assert [profile.optimum for profile in builds[0].engine.profiles] == [1, 16, 64, 256]
    assert "for 1:1:1, 16:16:16, 64:64:64, 256:256:256 in 0.0 s" in task.outcome.findings[0].text


def test_or_one_for_all_if_time_is_short(builds: list[BuildOptions], tmp_path: Path) -> None:
    """An earlier part built a profile in 20 s: two plans of four profiles take 160 s."""
    earlier = Outcome(part="graphs", state=State.RAN, raw={bundles.PROFILE_S: 20.0})
    write_outcome(file_of(tmp_path, "graphs"), earlier)
    bundles.build_all(a_task(tmp_path, "bench", seconds=250), A_BUNDLE, Flavor.TENSORRT)
    first = builds[0].engine.profiles
    assert [(each.minimum, each.optimum, each.maximum) for each in first] == [(1, 64, 256)]
    assert len(builds[1].engine.profiles) == 4, "the first one was built in no time"


def test_a_plan_that_cannot_be_built_is_named(builds: list[BuildOptions], tmp_path: Path) -> None:
    task = a_task(tmp_path)
    assert bundles.build_all(task, A_BUNDLE, Flavor.RTX) == {Precision.INT8: "no int8 here"}
    assert len(builds) == 1
    assert task.outcome.findings[-1].verdict is Verdict.WRONG


def test_no_build_starts_when_time_is_up(builds: list[BuildOptions], tmp_path: Path) -> None:
    with pytest.raises(OutOfTime):
        bundles.build_all(a_task(tmp_path, seconds=-1), A_BUNDLE, Flavor.TENSORRT)
    assert builds == []


def test_limits_are_known_by_name_with_their_source() -> None:
    assert find_limits("NVIDIA H200") is KNOWN[0]
    assert find_limits("NVIDIA H2000") is None
    for limits in KNOWN:
        assert limits.bytes_per_s < limits.fp16_ops < limits.int8_ops
        assert "NVIDIA's" in limits.source


def test_the_roofline_stands_beside_each_number(made_bundle: Path) -> None:
    bundle = Bundle.open(made_bundle)
    latency = Latency(4, ((2.0, 4.0), (2.0,)), WarmUp(0.5, 3, steady=True), ((1.0, 1.0), (1.5,)))
    row = Row(backend="tensorrt", title="TensorRT", precision=Precision.FP16, latencies=(latency,))
    (cells,) = cells_of(bundle, row, find_limits("NVIDIA H200"))
    found = dict(zip(HEADERS, cells, strict=True))
    assert (found["Batch"], found["median"], found["device"], found["images/s"]) == ("4", "2.00", "1.00", "2000")
    assert 0 < float(found["roofline"]) < 2
    assert found["of roofline"].endswith("%")
    (cells,) = cells_of(bundle, row, None)
    assert cells[-2:] == ("", ""), "an unknown GPU has no roofline"


def test_images_are_the_same_each_time_and_can_be_opened(made_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(made_bundle)
    folder = make_images(bundle, tmp_path, 6)
    first = (folder / "0000.jpg").read_bytes()
    assert make_images(bundle, tmp_path, 6) == folder
    assert make_images(bundle, tmp_path / "other", 6).joinpath("0000.jpg").read_bytes() == first
    with Image.open(folder / "0005.jpg") as image:
        assert image.size == (bundle.spec.preprocessing.width, bundle.spec.preprocessing.height)
    assert [item.label for item in open_data(str(folder), Role.TEST).items()] == [0] * 6


def test_what_needs_no_gpu_is_made_beforehand_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["prepare", "--out", str(tmp_path), "--networks", "wrn-10-1"])
    prepare.main()
    bundle = Bundle.open(tmp_path / "bundles" / "wrn-10-1")
    assert set(bundles.GRAPHS) <= set(bundle.artifacts)
    assert len(list((tmp_path / "images").rglob("*.jpg"))) == prepare.PHOTOS
    capsys.readouterr()
    prepare.main()
    assert capsys.readouterr().err.count("are up to date") == 2
    task = a_task(tmp_path)
    bundles.make_bundle(task, "wrn-10-1")
    assert "the bundle of wrn-10-1 was prepared" in task.outcome.findings[0].text
