"""What the machine has: the doctor's answers, the driver, and whether each library can be imported."""

from __future__ import annotations

import subprocess

from benchmarks.gpu.experiments.steps import run_python
from benchmarks.gpu.task import Task
from wrn_deploy.machine import find_gpu
from wrn_deploy.pipeline.inspection.doctor import diagnose
from wrn_deploy.process.children import run_child

__all__ = ["examine_host", "try_imports"]

DRIVER = 580  # the first of CUDA 13
NEEDED = {  # what must be importable, and how it tells its version
    "pycuda.driver": "pycuda.driver.get_version(), pycuda.VERSION_TEXT",
    "cuda.bindings.runtime": "cuda.bindings.__version__",
    "tensorrt": "tensorrt.__version__",
}
WANTED = {
    "pynvml": "pynvml.__version__",
    "tensorrt_rtx": "tensorrt_rtx.__version__",
    "onnxruntime": "onnxruntime.__version__, onnxruntime.get_available_providers()",
    "torch": "torch.__version__, torch.version.cuda, torch.cuda.is_available()",
}
IMPORT_S = 20.0


def examine_host(task: Task) -> None:
    """What `wrn-deploy doctor` says."""
    task.note("wrn-deploy doctor")
    diagnosis = diagnose()
    task.keep("found", diagnosis.found)
    task.keep("steps", diagnosis.steps)
    steps = [(step, "yes" if reason is None else reason) for step, reason in diagnosis.steps.items()]
    task.table("What this machine can do.", ("Step", "Can it"), steps)
    task.table("What is here.", ("What", "Found"), list(diagnosis.found.items()))
    obstacle = diagnosis.steps.get("run with TensorRT")
    task.found(f"run with TensorRT: {obstacle or 'yes'}", right=obstacle is None)


def try_imports(task: Task) -> None:
    """The driver's version, and each library in a process of its own."""
    gpu = find_gpu()
    assert gpu is not None
    major = gpu.driver.partition(".")[0]
    if major.isdecimal():
        task.found(f"driver {gpu.driver}: expected {DRIVER} or later, of CUDA 13", right=int(major) >= DRIVER)
    else:
        task.found(f"driver {gpu.driver!r}: not a version that is known")
    try:
        shown = run_child(["nvidia-smi"], timeout_s=20).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        shown = str(error)
    task.keep("nvidia_smi", shown)
    for modules, right in ((NEEDED, False), (WANTED, None)):
        for module, version in modules.items():
            step = run_python("-c", f"import {module}; print({version})", seconds=min(IMPORT_S, task.left_s))
            task.keep(module, {"out": step.out, "err": step.err, "ending": step.ending})
            if step.ending:
                task.found(f"import {module}: {step.why}", right=None if step.late else right)
            else:
                task.found(f"import {module}: {step.out.strip()}", right=True)
