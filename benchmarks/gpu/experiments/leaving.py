"""What happens at the end of a process that used the GPU's primary context: PyCUDA's own way, and the project's."""

from __future__ import annotations

from benchmarks.gpu.experiments.bundles import open_bundle
from benchmarks.gpu.experiments.steps import run_python
from benchmarks.gpu.task import Skip, Task
from wrn_deploy.engines.flavor import Flavor
from wrn_deploy.runtime.backend import examine
from wrn_deploy.spec import Precision

__all__ = ["leave"]

# The destructor of PyCUDA's context calls cuCtxDetach, which CUDA's documentation does not allow on a primary context.
PYCUDA = (
    "import pycuda.driver as cuda; cuda.init(); context = cuda.Device(0).retain_primary_context(); context.push(); "
    "cuda.Context.pop()"
)
OURS = (
    "import sys; from wrn_deploy import Runner; from benchmarks.gpu.experiments.images import random_pixels; "
    "from wrn_deploy.bundle import Bundle; images = random_pixels(Bundle.open(sys.argv[1]), 1); "
    "runner = Runner.open(sys.argv[1], precision='fp16', backend='tensorrt'); runner.predict(images)"
)
STEP_S = 20.0


def leave(task: Task) -> None:
    """Records what each way prints on stderr, and how its process ends."""
    _one(task, "PyCUDA alone, with the context retained and given up", "-c", PYCUDA)
    bundle = open_bundle(task, task.networks[0])
    found = examine(bundle, Flavor.TENSORRT, Precision.FP16)
    if found.obstacle is not None:
        raise Skip(f"wrn-deploy has no plan to leave with: {found.obstacle}")
    _one(task, "wrn-deploy, with a Runner left open", "-c", OURS, str(bundle.folder), expected=True)


def _one(task: Task, name: str, *arguments: str, expected: bool = False) -> None:
    step = run_python(*arguments, seconds=min(STEP_S, task.left_s))
    task.keep(name, {"err": step.err, "ending": step.ending})
    quiet = not step.err.strip() and not step.ending
    printed = " / ".join(line.strip() for line in step.err.splitlines() if line.strip())
    said = "ends and prints nothing" if quiet else f"{step.ending or 'ends'}, and prints: {printed}"
    task.found(f"{name}: {said}", right=quiet if expected and not step.late else None)
