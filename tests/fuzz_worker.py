"""A process that opens and runs mutants of a bundle, and tells of each on stdout; it dies where native code crashes.

python -m tests.fuzz_worker BUNDLE FOLDER FIRST END: of a copy in FOLDER it makes the mutants FIRST to END - 1, printing
a line of JSON before and after each. A mutant that hangs ends the process.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.mutants import Mutant, make_mutant
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.errors import DeployError
from wrn_deploy.pipeline.quantization.lint import lint_file
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.spec import Preprocessing

PATIENCE_S = 20
MEMORY = 6 << 30  # bytes of address space: a graph that asks for petabytes is refused by this machine, too
CLASSES = 10

Floats = npt.NDArray[np.float32]


def main() -> None:
    """Runs the mutants, and puts the files back after each."""
    bundle, folder = Path(sys.argv[1]), Path(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    shutil.copytree(bundle, folder)
    with Runner.open(bundle, backend="onnxruntime", precision="fp32", threads=1) as runner:
        images = _images(runner.bundle.spec.preprocessing)
        wanted = runner.predict(images)
    for number in range(int(sys.argv[3]), int(sys.argv[4])):
        mutant = make_mutant(number, bundle)
        _tell(number=number, what=mutant.what)
        for path, content in mutant.files.items():
            (folder / path).write_bytes(content)
        before = _state(folder)
        faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
        outcome, problems = _outcome(folder, mutant, images, wanted)
        problems += _lint(folder, mutant) if number % 2 == 0 else ()  # half of the graphs: it takes longer than a run
        faulthandler.cancel_dump_traceback_later()
        problems += ["files of the bundle were changed"] if _state(folder) != before else []
        _tell(number=number, what=mutant.what, outcome=outcome, problems=problems)
        for path in mutant.files:
            shutil.copyfile(bundle / path, folder / path)


def _images(how: Preprocessing) -> Floats:
    return normalize(next(iter(Batches(open_data("digits", Role.TEST), how, 3))).images, how)


def _outcome(folder: Path, mutant: Mutant, images: Floats, wanted: Floats) -> tuple[str, list[str]]:
    """The kind of error or "answered"; and what must not be."""
    problems: list[str] = []
    outcome = "answered"
    try:
        with Runner.open(folder, precision=mutant.precision, backend=mutant.backend, threads=1, contexts=1) as runner:
            got = runner.predict(images)
        if not mutant.trusted and mutant.precision == "fp32" and not np.array_equal(got, wanted):
            problems.append(f"other logits than those of the whole bundle: {got}")
        if got.dtype != np.float32 or got.shape != (len(images), CLASSES):
            problems.append(f"it gives {got.dtype} {got.shape}")
    except DeployError as error:
        outcome = type(error).__name__
        problems += _silent(error)
    except BaseException as error:  # noqa: BLE001 (whatever it is, it must not be)
        outcome = "escaped"
        problems.append(repr(error)[:2000])
    return outcome, problems


def _lint(folder: Path, mutant: Mutant) -> Iterator[str]:
    for path in mutant.files:
        if path.endswith(".onnx"):
            try:
                lint_file(folder / path, None)
            except DeployError as error:
                yield from _silent(error)
            except BaseException as error:  # noqa: BLE001 (whatever it is, it must not be)
                yield f"lint: {error!r}"[:2000]


def _silent(error: DeployError) -> Iterator[str]:
    if len(str(error)) < 20:
        yield f"an error that says nothing: {error!r}"


def _state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What a file would differ in if it had been written to, or replaced."""
    files = {path: path.stat() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    return {str(path): (stat.st_size, stat.st_mtime_ns, stat.st_ino) for path, stat in files.items()}


def _tell(**record: Any) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
