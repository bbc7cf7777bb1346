"""Wide Residual Networks from weights to a measured, proved engine. Importing it loads no numpy, torch or onnx."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

if find_spec("fcntl") is None:
    raise ImportError(
        "wrn-deploy runs on Linux and macOS: it locks files with fcntl, which this Python does not have. On Windows, "
        "install it in WSL (https://learn.microsoft.com/windows/wsl)"
    )

from wrn_deploy.api.engines import build_engine
from wrn_deploy.api.inspecting import doctor, explain, inspect, plot_model, plot_training
from wrn_deploy.api.making import deploy, example, export_model, import_model
from wrn_deploy.api.measuring import bench_model, compare, evaluate
from wrn_deploy.api.networks import extract_feat, get_model, list_models, predict, read_image
from wrn_deploy.api.quantizing import calibrate, finetune, lint, tune
from wrn_deploy.api.scoring import merge_scores, score
from wrn_deploy.api.serving import check_repository, write_repository
from wrn_deploy.api.sharding import calibrate_shard, evaluate_shard, merge_calibration, merge_evaluation
from wrn_deploy.api.shipping import embed_library, sign, verify
from wrn_deploy.api.training import train
from wrn_deploy.cluster.options import ClusterOptions
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
    "Batcher", "ClusterOptions", "DamagedFile", "DeployError", "GateError", "MachineError", "MissingArtifact",
    "Overloaded", "Runner", "StaleArtifact", "UsageError", "__version__", "bench_model", "build_engine", "calibrate",
    "calibrate_shard", "check_repository", "compare", "deploy", "doctor", "embed_library", "evaluate",
    "evaluate_shard", "example", "explain", "export_model", "extract_feat", "finetune", "get_model", "import_model",
    "inspect", "lint", "list_models", "merge_calibration", "merge_evaluation", "merge_scores", "plot_model",
    "plot_training", "predict", "read_image", "score", "sign", "train", "tune", "verify", "write_repository",
]  # fmt: skip

if TYPE_CHECKING:
    from wrn_deploy.runtime.batcher import Batcher, Overloaded
    from wrn_deploy.runtime.runner import Runner
else:  # hidden from type checkers, which would take any name for an attribute
    _LAZY = {"Batcher": "batcher", "Overloaded": "batcher", "Runner": "runner"}

    def __getattr__(name: str) -> object:
        """Imports what a service needs, and numpy with it, when it is asked for."""
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"wrn_deploy.runtime.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return __all__
