"""What happens at the end of a process that used the GPU's primary context: PyCUDA's own way, and the project's.

    python -m benchmarks.gpu.experiments.leaving BUNDLE

runs a plan of the bundle and ends without closing it.
"""

from __future__ import annotations

import sys

from benchmarks.gpu.experiments.bundles import open_bundle
from benchmarks.gpu.experiments.images import answer_of, random_pixels
from benchmarks.gpu.experiments.steps import run_python
from benchmarks.gpu.task import Skip, Task
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor
from wrn_deploy.runtime.backend import examine, open_backend
from wrn_deploy.spec import Precision

__all__ = ["leave"]

# The destructor of PyCUDA's context calls cuCtxDetach, which CUDA's documentation does not allow on a primary context.
PYCUDA = (
    "import pycuda.driver as cuda; cuda.init(); context = cuda.Device(0).retain_primary_context(); context.push(); "
    "cuda.Context.pop()"
)
STEP_S, STOP_S = 20.0, 2.0  # of each process at most; kept to record the last


def leave(task: Task) -> None:
    """Records what each way prints on stderr, and how its process ends."""
    _one(task, "PyCUDA alone, with the context retained and released", "-c", PYCUDA)
    bundle = open_bundle(task, task.networks[0])
    found = examine(bundle, Flavor.TENSORRT, Precision.FP16)
    if found.obstacle is not None:
        raise Skip(f"wrn-deploy has no plan to leave with: {found.obstacle}")
    arguments = ("-m", "benchmarks.gpu.experiments.leaving", str(bundle.folder))
    _one(task, "wrn-deploy, with a plan left open", *arguments, expected=True)


def _one(task: Task, name: str, *arguments: str, expected: bool = False) -> None:
    step = run_python(*arguments, seconds=min(STEP_S, task.left_s - STOP_S))
    task.keep(name, {"err": step.err, "ending": step.ending})
    quiet = not step.err.strip() and not step.ending
    printed = " / ".join(line.strip() for line in step.err.splitlines() if line.strip())
    said = "ends and prints nothing" if quiet else f"{step.ending or 'ends'}, and prints: {printed}"
    task.found(f"{name}: {said}", right=quiet if expected and not step.late else None)


def main() -> None:
    """Runs the plan once."""
    bundle = Bundle.open(sys.argv[1])
    backend = open_backend(bundle, backend=Flavor.TENSORRT, precision=Precision.FP16)
    answer_of(backend, bundle, random_pixels(bundle, 1))


if __name__ == "__main__":
    main()
