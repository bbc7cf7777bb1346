"""Children end with their parent, however it ends and whatever they are doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wrn_deploy.process.children import Child, run_child

PROMISED_S = 2.0
BUSY = "while True: pass"  # holds the interpreter's lock all the time
DEAF = "import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 13, 15, 29)]\n" + BUSY
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel of another system does not watch")


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone_after(*processes: int) -> float:
    """Seconds until all have ended; kills those that stay."""
    start = time.monotonic()
    while any(map(is_alive, processes)) and time.monotonic() - start < 5 * PROMISED_S:
        time.sleep(0.01)
    took = time.monotonic() - start
    for process in filter(is_alive, processes):
        os.kill(process, signal.SIGKILL)
    return took


def parent_of(start_child: str) -> tuple[subprocess.Popen[str], int]:
    """A process that runs `start_child`, which makes `child`, and then waits; and the child's number."""
    program = f"import sys, time\nfrom wrn_deploy.process.children import Child\n{start_child}\n"
    program += "print(child.pid, flush=True)\ntime.sleep(3600)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@linux_only
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGABRT])
@pytest.mark.parametrize("child", [BUSY, DEAF, "import time; time.sleep(3600)"], ids=["busy", "deaf", "asleep"])
def test_a_child_ends_with_its_parent(child: str, sent: signal.Signals) -> None:
    parent, number = parent_of(f"child = Child([sys.executable, '-c', {child!r}])")
    time.sleep(0.2)
    assert is_alive(number)
    parent.send_signal(sent)
    parent.wait()
    assert gone_after(number) < PROMISED_S


@linux_only
def test_the_children_of_a_child_end_too(tmp_path: Path) -> None:
    """As a compiler's own programs."""
    file = tmp_path / "inner"
    parent, number = parent_of(f"child = Child(['sh', '-c', 'sleep 3600 & echo $! > {file}; wait'])")
    while not file.exists() or not file.read_text():
        time.sleep(0.01)
    inner = int(file.read_text())
    assert is_alive(inner)
    parent.kill()
    parent.wait()
    assert gone_after(number, inner) < PROMISED_S


def test_a_child_outlives_the_thread_that_started_it() -> None:
    started: list[Child] = []
    thread = threading.Thread(target=lambda: started.append(Child(["sleep", "3600"])))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert started[0].poll() is None
    started[0].kill()
    assert started[0].wait() == -signal.SIGKILL


def test_a_child_that_ends_is_not_disturbed() -> None:
    assert Child([sys.executable, "-c", "raise SystemExit(7)"]).wait(60) == 7


def test_what_a_program_prints() -> None:
    done = run_child(["sh", "-c", "echo $NAME; echo oh >&2; exit 3"], env={"NAME": "value", "PATH": os.environ["PATH"]})
    assert (done.returncode, done.stdout, done.stderr) == (3, "value\n", "oh\n")


def test_a_program_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/number; exec sleep 3600"
    with pytest.raises(subprocess.TimeoutExpired):
        run_child(["sh", "-c", script], timeout_s=0.5)
    assert not is_alive(int((tmp_path / "number").read_text()))


def test_a_program_that_is_not_there() -> None:
    before = len([*Path("/dev/fd").iterdir()])
    with pytest.raises(FileNotFoundError):
        run_child(["/no/such/program"])
    assert len([*Path("/dev/fd").iterdir()]) <= before


def test_a_process_follows_a_parent_that_did_not_start_it_as_a_child() -> None:
    """As one of several that a launcher started to train together."""
    follower = "from wrn_deploy.process.children import follow_parent; follow_parent(); import time; time.sleep(3600)"
    start = f"import subprocess; child = subprocess.Popen([sys.executable, '-c', {follower!r}])"
    parent, number = parent_of(start)
    time.sleep(1.5)
    assert is_alive(number)
    parent.kill()
    parent.wait()
    assert gone_after(number) < PROMISED_S
