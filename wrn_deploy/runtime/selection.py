"""Which contender a service runs when it does not name one; the standard library only."""

from __future__ import annotations

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import MachineError, UsageError
from wrn_deploy.runtime.backend import examine, precisions_of, title_of
from wrn_deploy.spec import Precision

__all__ = ["PREFERRED", "choose", "parse_precision"]

# What `Runner.open` takes when it is not told: the first that this machine can run and the bundle has. int8 is not
# among them: it changes answers, and is taken only when it is named.
PREFERRED = (
    ("tensorrt", Precision.FP16),
    ("tensorrt_rtx", Precision.FP16),
    ("onnxruntime_cuda", Precision.FP16),
    ("onnxruntime", Precision.FP32),
)


def parse_precision(name: Precision | str | None) -> Precision | None:
    """The precision of that name; UsageError for another name."""
    if name is None:
        return None
    try:
        return Precision(name)
    except ValueError as error:
        raise UsageError(f"precision {name!r}: expected one of {', '.join(Precision)}") from error


def choose(bundle: Bundle, backend: str | None, precision: Precision | None) -> tuple[str, Precision]:
    """The contender to open; where neither is named, the first preferred one that can run."""
    if backend is not None and precision is not None:
        return backend, precision
    fitting = [
        (name, precision or preferred)
        for name, preferred in PREFERRED
        if backend in (None, name) and (precision is None or precision in precisions_of(name))
    ]
    if backend is not None:
        return fitting[0] if fitting else (backend, precisions_of(backend)[0])
    reasons = {}
    for name, wanted in fitting:
        obstacle = examine(bundle, name, wanted).obstacle
        if obstacle is None:
            return name, wanted
        reasons[f"{title_of(name)} {wanted}"] = str(obstacle)
    tried = "; ".join(f"{title}: {reason}" for title, reason in reasons.items())
    raise MachineError(f"nothing here can run {bundle.folder}: {tried}")
