"""Chooses the backend and precision of a Runner whose caller names none; the standard library only."""

from __future__ import annotations

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import MachineError, UsageError
from wrn_deploy.runtime.backend import examine, find_runtime
from wrn_deploy.spec import Precision

__all__ = ["PREFERRED", "choose", "parse_precision"]

# Without a backend, `Runner.open` takes the first of these that the bundle has and this machine can run. No int8: it
# changes answers, so the caller must name it.
PREFERRED = {
    "tensorrt": Precision.FP16,
    "tensorrt_rtx": Precision.FP16,
    "onnxruntime_cuda": Precision.FP16,
    "onnxruntime": Precision.FP32,
}


def parse_precision(name: Precision | str | None) -> Precision | None:
    """The precision called `name`; raises UsageError if there is none."""
    if name is None:
        return None
    try:
        return Precision(name)
    except ValueError as error:
        raise UsageError(f"precision {name!r}: expected one of {', '.join(Precision)}") from error


def choose(bundle: Bundle, backend: str | None, precision: Precision | None) -> tuple[str, Precision]:
    """The backend and precision to open: those given, completed by the first of PREFERRED that can run."""
    if backend is not None and precision is not None:
        return backend, precision
    if backend is not None:
        return backend, PREFERRED.get(backend) or find_runtime(backend).precisions[0]
    reasons = []
    for name, preferred in PREFERRED.items():
        wanted = precision or preferred
        if wanted not in find_runtime(name).precisions:
            continue
        found = examine(bundle, name, wanted)
        if found.obstacle is None:
            return name, wanted
        reasons.append(f"{found.runtime.title} {wanted}: {found.obstacle}")
    raise MachineError(f"nothing here can run {bundle.folder}: {'; '.join(reasons)}")
