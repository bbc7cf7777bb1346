"""A process forked from the one that opened a runner: every call is refused, nothing of the parent's is freed."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from wrn_deploy import Runner
from wrn_deploy.errors import UsageError
from wrn_deploy.pipeline.inference.predict import PredictOptions, predict_images
from wrn_deploy.progress import Silent

IMAGES = np.zeros((2, 32, 32, 3), np.uint8)
WAIT_S = 20  # after which a child hangs
REFUSED = "this runner was opened in process {}, called in process {} after fork: open the bundle again in the child, "

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


@pytest.fixture(params=["alone", "busy"])
def runner(request: pytest.FixtureRequest, made_bundle: Path) -> Iterator[Runner]:
    """One whose only context is in use by another thread nearly all of the time, or by none."""
    stop = threading.Event()
    with Runner.open(made_bundle, backend="onnxruntime", precision="fp32", threads=2, contexts=1) as opened:
        expected = opened.predict(IMAGES)

        def work() -> None:
            while not stop.is_set():
                opened.predict(IMAGES)

        thread = threading.Thread(target=work)
        if request.param == "busy":
            thread.start()
            time.sleep(0.05)
        try:
            yield opened
        finally:
            stop.set()
            if thread.is_alive():
                thread.join()
        np.testing.assert_array_equal(opened.predict(IMAGES), expected)


def in_child(work: Callable[[], object]) -> str:
    """What the work raises in a forked child, as text; "nothing"; or "hangs"."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(here)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(WAIT_S)
        try:
            work()
            text = "nothing"
        except BaseException as error:  # noqa: BLE001 (it is the result)
            text = f"{type(error).__name__}: {error}"
        os.write(there, text.encode())
        os._exit(0)
    os.close(there)
    with os.fdopen(here, "rb") as stream:
        text = stream.read().decode()
    _, status = os.waitpid(child, 0)
    return text if status == 0 else "hangs"


CALLS: dict[str, Callable[[Runner], object]] = {
    "predict": lambda runner: runner.predict(IMAGES),
    "run": lambda runner: runner.run(IMAGES),
    "predict_into": lambda runner: runner.predict_into(IMAGES, np.zeros((2, 10), np.float32)),
    "predict_on_device": lambda runner: runner.predict_on_device(IMAGES, IMAGES),
    "warmup": lambda runner: runner.warmup(),
    "close": lambda runner: runner.close(),
}


@pytest.mark.parametrize("call", CALLS)
def test_every_call_is_refused_with_both_processes(runner: Runner, call: str) -> None:
    text = in_child(lambda: CALLS[call](runner))
    assert text.startswith("UsageError: this runner was opened in process "), text
    child = text.split("called in process ")[1].split()[0]
    assert text == f"UsageError: {REFUSED.format(os.getpid(), child)}or use spawn"
    assert int(child) != os.getpid()


def test_a_child_may_leave_the_block_drop_it_and_say_what_it_is(runner: Runner) -> None:
    def leave() -> None:
        with runner:
            pass
        assert repr(runner).endswith(f"opened in process {os.getppid()}>")
        references = sys.getrefcount(runner._pool.first)
        runner._pool.__del__()
        assert sys.getrefcount(runner._pool.first) > references, "the backend can be freed"

    assert in_child(leave) == "nothing"


def test_a_child_opens_the_bundle_again(runner: Runner) -> None:
    def again() -> None:
        with Runner.open(runner.bundle.folder, backend="onnxruntime", precision="fp32", threads=2) as own:
            own.predict(IMAGES)

    assert in_child(again) == "nothing"


def test_what_predicts_with_a_runner_is_refused_too(runner: Runner) -> None:
    options = PredictOptions(images=(IMAGES[0],))
    assert "after fork" in in_child(lambda: predict_images(runner, options, Silent()))


PROGRAM = """
import gc, multiprocessing, os, signal, sys, threading, time
import numpy as np
from wrn_deploy import Runner, UsageError

images = np.zeros((2, 32, 32, 3), np.uint8)
runner = Runner.open(sys.argv[1], backend=sys.argv[2], precision="fp32", threads=2, contexts=2)
runner.predict(images)
stop = threading.Event()


def work():
    while not stop.is_set():
        runner.predict(images)


def ask(_=None):
    signal.alarm(20)
    try:
        runner.predict(images)
    except UsageError as error:
        return str(error)


thread = threading.Thread(target=work)
thread.start()
time.sleep(0.05)
kind = sys.argv[3]
if kind == "Pool":
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        assert all("after fork" in text for text in pool.map(ask, range(4)))
        pool.close()
        pool.join()
elif kind == "Process":
    processes = [multiprocessing.get_context("fork").Process(target=ask) for _ in range(4)]
    [process.start() for process in processes]
    [process.join() for process in processes]
    assert [process.exitcode for process in processes] == [0] * 4
else:
    for _ in range(4):
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            if kind == "drop":
                del runner
                gc.collect()
            sys.exit(0)  # the interpreter ends, with all its destructors
        assert os.waitpid(child, 0)[1] == 0, "the child hangs"
stop.set()
thread.join()
runner.predict(images)
runner.close()
"""


@pytest.mark.parametrize(
    ("backend", "kind"),
    [*itertools.product(["onnxruntime", "openvino"], ["Pool", "Process", "exit", "drop"]), ("torch", "exit")],
)
def test_children_of_a_busy_parent_end(made_bundle: Path, backend: str, kind: str) -> None:
    """The libraries' destructors would wait for threads that only the parent has."""
    pytest.importorskip(backend)
    # Since Python 3.12, a fork in a process with threads warns; this test is about such a fork.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM, str(made_bundle), backend, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")


def test_collecting_garbage_in_the_opener_frees_the_backends(made_bundle: Path) -> None:
    """What children keep for ever, the parent does not."""
    runner = Runner.open(made_bundle, backend="onnxruntime", precision="fp32")
    gone = weakref.ref(runner._pool.first)
    runner._pool.check_process()
    del runner
    gc.collect()
    assert gone() is None


def test_the_error_is_a_usage_error(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: here + 1)
    with pytest.raises(UsageError) as error:
        runner.close()
    monkeypatch.undo()
    assert str(error.value).startswith(REFUSED.format(here, here + 1))
