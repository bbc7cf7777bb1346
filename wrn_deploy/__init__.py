"""Wide Residual Networks from weights to a measured, proved engine. Importing it loads neither torch nor onnx."""

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
from wrn_deploy.runtime.runner import Runner

__all__ = [
    "DamagedFile",
    "DeployError",
    "GateError",
    "MachineError",
    "MissingArtifact",
    "Runner",
    "StaleArtifact",
    "UsageError",
    "__version__",
    "extract_feat",
    "get_model",
    "list_models",
    "predict",
]

__version__ = "0.1.0"
