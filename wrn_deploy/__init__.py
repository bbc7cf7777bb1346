"""Wide Residual Networks from weights to a measured, proved engine. Importing it loads no numpy, torch or onnx."""

from typing import TYPE_CHECKING

from wrn_deploy.api import extract_feat, get_model, list_models, predict
from wrn_deploy.errors import (
    DamagedFile,
    DeployError,
    GateError,
    MachineError,
    MissingArtifact,
    StaleArtifact,
    UsageError,
)
from wrn_deploy.version import __version__

__all__ = [
    "DamagedFile", "DeployError", "GateError", "MachineError", "MissingArtifact", "Runner", "StaleArtifact",
    "UsageError", "__version__", "extract_feat", "get_model", "list_models", "predict",
]  # fmt: skip

if TYPE_CHECKING:
    from wrn_deploy.runtime.runner import Runner
else:  # hidden from type checkers, which would take any name for an attribute

    def __getattr__(name: str) -> object:
        """Imports `Runner`, and numpy with it, when it is asked for."""
        if name != "Runner":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from wrn_deploy.runtime.runner import Runner

        return Runner


def __dir__() -> list[str]:
    return __all__
