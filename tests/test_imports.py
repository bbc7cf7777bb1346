"""The house rules that a machine can check: which floor imports which, no circles, small folders, what stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import wrn_deploy

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {
    "onnx", "onnx_ir", "onnxruntime", "onnxscript", "pyarrow", "pycuda", "ray", "safetensors", "tensorrt",
    "tensorrt_rtx", "torch",
}  # fmt: skip
MAX_FILES = 12  # in one folder, beside its __init__.py
GROUPS = (
    "engines",
    "inference",
    "inspection",
    "measuring",
    "networks",
    "quantization",
    "scoring",
    "serving",
    "signing",
)  # of commands

# Layer -> the layers it may import. A layer is the first part below wrn_deploy; it may always import itself.
GROUND = {
    "bundle", "constants", "errors", "files", "formatting", "graph", "machine", "manifest", "plugins",
    "process", "progress", "spec", "version",
}  # fmt: skip
BASE = GROUND | {"data", "runtime"}
LIBRARIES = {"models", "training", "export", "calib", "engines", "backends", "bench"}  # never one another
MAY_IMPORT: dict[str, set[str]] = {
    **dict.fromkeys(GROUND, GROUND),
    "data": GROUND,
    "runtime": GROUND | {"data"},
    "embed": GROUND | {"runtime"},
    "serving": BASE,
    **dict.fromkeys(LIBRARIES, BASE),
    "bench": BASE | {"serving"},  # a server's models are measured as backends
    "cluster": GROUND,
    "shards": GROUND | {"data"},
    "rendering": GROUND | {"bench"},
    "pipeline": BASE | LIBRARIES | {"cluster", "embed", "rendering", "serving", "shards"},
    "api": BASE
    | LIBRARIES - {"export", "backends"}
    | {"cluster", "embed", "rendering", "pipeline", "serving", "shards"},
    "cli": BASE
    | LIBRARIES - {"export", "backends"}
    | {"cluster", "embed", "rendering", "pipeline", "serving", "shards"},
    "__init__": {"api", "cluster", "errors", "runtime", "version"},
}


@cache
def _sources() -> tuple[Path, ...]:
    folders = ("wrn_deploy", "export", "calib", "engines")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if not path.is_symlink()]
    return tuple(sorted(path for path in found if not any(part.is_symlink() for part in path.parents)))


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "wrn_deploy" else ("wrn_deploy", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _layer(path: Path) -> str:
    return (*_module(path).split("."), "__init__")[1]


def _imported(path: Path) -> set[str]:
    """Modules of ours that the file imports, at its top, inside functions or for type checkers alone."""
    modules = {_module(source) for source in _sources()}
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {
            name if name in modules else name.rpartition(".")[0] for name in names if name.startswith("wrn_deploy")
        }
    return found


def test_no_import_goes_up() -> None:
    assert {_layer(path) for path in _sources()} == set(MAY_IMPORT), "every layer has its row in the table"
    offenders = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _sources()
        for name in sorted(_imported(path))
        if not _may_import(_layer(path), name)
    ]
    assert not offenders


def _may_import(layer: str, module: str) -> bool:
    target = (*module.split("."), "__init__")[1]
    return target in MAY_IMPORT[layer] | {layer, "__init__"}


@pytest.mark.parametrize(
    ("layer", "module"),
    [
        ("data", "wrn_deploy.runtime.runner"),
        ("calib", "wrn_deploy.export.graph"),
        ("bench", "wrn_deploy.rendering.html"),
    ],
)
def test_the_table_forbids(layer: str, module: str) -> None:
    assert not _may_import(layer, module)


def _loaded_with(path: Path) -> set[str]:
    """Modules of ours that are imported when the file is: not inside functions, not for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) or _for_types(node)]
    inside = {id(child) for node in lazy for child in ast.walk(node)}
    modules = {_module(source) for source in _sources()}
    names = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and id(node) not in inside
        for alias in node.names
    }
    return {name if name in modules else name.rpartition(".")[0] for name in names} & modules


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_there_are_no_circles() -> None:
    imports = {_module(path): _loaded_with(path) for path in _sources()}
    while True:  # takes away what imports nothing that is left; what stays is a circle
        free = {name for name, wanted in imports.items() if not wanted & imports.keys()}
        if not free:
            break
        imports = {name: wanted for name, wanted in imports.items() if name not in free}
    assert not imports, f"import circles among {sorted(imports)}"


def test_folders_are_small_and_say_their_job() -> None:
    folders = {path.parent for path in _sources()}
    crowded = {
        str(folder.relative_to(ROOT)): count
        for folder in folders
        if (count := sum(path.parent == folder and path.name != "__init__.py" for path in _sources())) > MAX_FILES
    }
    assert not crowded
    silent = [path for path in _sources() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent, "every file, a folder's __init__.py too, opens with a sentence on its job"


def test_tests_mirror_the_tree() -> None:
    """A folder of tests has the name of a folder of sources, but for those that are about the whole."""
    own = {
        "tests",
        "tests/benchmarks",
        "tests/driver",
        "tests/driver/library",
        "tests/examples",
        "tests/fuzzing",
        "tests/native",
    }
    sources = {str(path.parent.relative_to(ROOT)).removeprefix("wrn_deploy/") for path in _sources()}
    folders = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")} - own
    assert {folder for folder in folders if folder.removeprefix("tests/") not in sources} <= {
        f"tests/cli/{group}" for group in GROUPS
    }


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
        f"from wrn_deploy.cli.commands import {', '.join(GROUPS)}",
        "import wrn_deploy.graph",
        "import wrn_deploy.bench.measuring.worker, wrn_deploy.bench.measuring.isolate",
    ],
)
def test_nothing_heavy_is_loaded(statement: str) -> None:
    assert not _loaded(statement) & set(HEAVY)


def test_the_public_functions_load_nothing_before_they_are_called() -> None:
    functions = ", ".join(name for name in wrn_deploy.__all__ if name.islower() and not name.startswith("_"))
    loaded = _loaded(f"from wrn_deploy import {functions}")
    assert "numpy" not in loaded
    assert not {name for name in loaded if name.startswith(("wrn_deploy.pipeline", "wrn_deploy.models"))}


def test_a_module_of_the_package_loads_no_numpy() -> None:
    assert "numpy" not in _loaded("import wrn_deploy.errors")


def test_runner_loads_no_terminal_package() -> None:
    assert not _loaded("from wrn_deploy import Runner") & {"typer", "rich"}


def test_the_check_itself_sees_torch() -> None:
    assert "torch" in _loaded("import wrn_deploy.models.families.wrn")
