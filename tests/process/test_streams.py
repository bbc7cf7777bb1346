"""What libraries print to file descriptor 2 is kept off the terminal, from several threads too."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wrn_deploy.process.streams import quiet_stderr

PROGRAM = """
import os, subprocess, sys
from wrn_deploy.process.streams import quiet_stderr
captured = []
sys.stderr.write("before\\n")
try:
    with quiet_stderr(captured):
        os.write(2, b"a library\\n")
        subprocess.run(["sh", "-c", "echo a child >&2"])
        sys.stderr.write("progress\\n")
        if sys.argv[1:]:
            raise ValueError("inside")
except ValueError:
    pass
sys.stderr.write("after\\n")
os.write(2, b"a library again\\n")
print(captured)
"""


@pytest.mark.parametrize("arguments", [[], ["fail"]])
def test_libraries_are_silenced_and_python_is_not(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr == "before\nprogress\nafter\na library again\n"
    assert done.stdout == "['a library', 'a child']\n"


def test_no_file_descriptor_is_left_open() -> None:
    captured: list[str] = []
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(5):
        with quiet_stderr(captured):
            os.write(2, b"x\n")
    assert len([*Path("/proc/self/fd").iterdir()]) == before
    assert captured == ["x"] * 5


def test_threads_take_turns_and_leave_the_descriptor_as_it_was() -> None:
    kept: dict[int, list[str]] = {number: [] for number in range(4)}
    target = os.fstat(2)

    def work(number: int) -> None:
        for _ in range(20):
            with quiet_stderr(kept[number]):
                os.write(2, f"{number}\n".encode())

    threads = [threading.Thread(target=work, args=(number,)) for number in kept]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == {number: [str(number)] * 20 for number in kept}
    assert (os.fstat(2).st_dev, os.fstat(2).st_ino) == (target.st_dev, target.st_ino)
