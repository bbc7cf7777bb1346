"""The import rules: which layer may import which, and what stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "onnxscript",
    "pyarrow",
    "pycuda",
    "safetensors",
    "tensorrt",
    "tensorrt_rtx",
    "torch",
)

# Layer -> the layers it may import. A layer is the first part below wrn_deploy; it may always import itself.
FACTS = {"errors", "formatting", "spec", "bundle", "graph", "machine", "plugins", "progress", "staging", "version"}
BASE = FACTS | {"data", "runtime"}
MAY_IMPORT: dict[str, set[str]] = {
    **dict.fromkeys(FACTS, FACTS),
    "data": FACTS,
    "runtime": FACTS | {"data"},
    "embed": FACTS | {"runtime"},
    **dict.fromkeys(("models", "training", "export", "calib", "engines", "backends", "bench"), BASE),
    "rendering": FACTS | {"bench"},
    "pipeline": BASE | {"models", "training", "export", "calib", "engines", "backends", "bench", "embed", "rendering"},
    "cli": FACTS
    | {
        "calib",
        "data",
        "runtime",
        "embed",
        "pipeline",
        "bench",
        "models",
        "training",
        "engines",
        "rendering",
    },
    "api": BASE | {"models", "pipeline"},
    "__init__": {"errors", "runtime", "version", "api"},
}


def _sources() -> list[Path]:
    folders = ("wrn_deploy", "export", "calib", "engines")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if not path.is_symlink()]
    return sorted(path for path in found if not any(part.is_symlink() for part in path.parents))


def _layer(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    inside = parts[1:] if parts[0] == "wrn_deploy" else parts
    return inside[0].removesuffix(".py")


def _imported_layers(path: Path) -> set[str]:
    layers = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "wrn_deploy" else [module]
        layers |= {name.split(".")[1] for name in names if name.startswith("wrn_deploy.")}
    return layers


@pytest.mark.parametrize("path", _sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_layer_imports_only_what_it_may(path: Path) -> None:
    layer = _layer(path)
    forbidden = _imported_layers(path) - MAY_IMPORT[layer] - {layer}
    assert not forbidden, f"{path.relative_to(ROOT)} is in layer {layer}, which may not import {sorted(forbidden)}"


def test_every_source_is_looked_at() -> None:
    layers = {_layer(path) for path in _sources()}
    assert {"bundle", "export", "calib", "engines", "cli", "pipeline", "backends"} <= layers
    assert layers <= set(MAY_IMPORT)


def _loaded(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import wrn_deploy",
        "from wrn_deploy import Runner",
        "import wrn_deploy.pipeline.measuring.measure, wrn_deploy.pipeline.engines.build, wrn_deploy.pipeline.demo",
        "from wrn_deploy.cli.commands import engines, inference, inspection, measuring, networks, quantization",
        "import wrn_deploy.graph",
        "import wrn_deploy.bench.measuring.worker, wrn_deploy.bench.measuring.isolate",
    ],
)
def test_nothing_heavy_is_loaded(statement: str) -> None:
    assert not _loaded(statement) & set(HEAVY)


def test_the_public_functions_load_nothing_before_they_are_called() -> None:
    loaded = _loaded("from wrn_deploy import extract_feat, get_model, list_models, predict")
    assert not {name for name in loaded if name.startswith(("wrn_deploy.pipeline", "wrn_deploy.models"))}


def test_a_module_of_the_package_loads_no_numpy() -> None:
    assert "numpy" not in _loaded("import wrn_deploy.errors")


def test_runner_loads_no_terminal_package() -> None:
    assert not _loaded("from wrn_deploy import Runner") & {"typer", "rich"}


def test_the_check_itself_sees_torch() -> None:
    assert "torch" in _loaded("import wrn_deploy.models.families.wrn")
