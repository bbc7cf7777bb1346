"""The wheel holds what the tree holds, and runs where nothing but numpy and Pillow is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import PIL
import pytest

import wrn_deploy

pytest.importorskip("build", reason="the `build` package makes the wheel")
pytest.importorskip("setuptools", minversion="77", reason="pyproject.toml needs setuptools 77")

ROOT = Path(__file__).resolve().parents[1]
SUBPACKAGES = ("export", "calib", "engines", "native")  # top-level folders of the tree, subpackages of the wheel
DATA_FILES = {
    "wrn_deploy/py.typed",
    "wrn_deploy/serving/model_config.json",
    *(f"wrn_deploy/models/{name}" for name in ("catalog.json", "published.toml", "checkpoints/sources.toml")),
    *(f"wrn_deploy/data/{name}" for name in ("digits.npz", "digits.LICENSE")),
    *(f"wrn_deploy/data/imagenet_classes.{suffix}" for suffix in ("txt", "LICENSE")),
}
DATA_FOLDERS = (
    "wrn_deploy/data/example", "wrn_deploy/embed/loader", "wrn_deploy/embed/example", "wrn_deploy/rendering/templates",
)  # fmt: skip
LICENCES = {"LICENSE", "NOTICE", "wrn_deploy/data/digits.LICENSE", "wrn_deploy/data/imagenet_classes.LICENSE"}
FOR_DISTRIBUTORS = ("CHANGELOG.md", "Makefile", "constraints.txt", "benchmarks/output.py", "docs/architecture.md")
METADATA = f"wrn_deploy-{wrn_deploy.__version__}.dist-info"


def _build(tree: Path, what: str, out: Path) -> Path:
    command = [sys.executable, "-m", "build", f"--{what}", "--no-isolation", "--outdir", str(out), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.iterdir())


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, links as links: a build leaves files beside what it builds, and takes older ones up."""
    copy = tmp_path_factory.mktemp("packaging") / "tree"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "demo", "*.egg-info", "__pycache__")
    return shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tree, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel, numpy and Pillow alone (the latter two as links to ours)."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    # With the checkout on PYTHONPATH, pip finds its egg-info there and would take the wheel as installed.
    flags = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--ignore-installed")
    install = ["install", *flags, str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    (folder / "light").mkdir()
    for package in (Path(np.__file__).parent, Path(PIL.__file__).parent):
        for part in (package, package.with_name(f"{package.name}.libs"), package.with_name("pillow.libs")):
            if part.exists() and not (folder / "light" / part.name).exists():
                (folder / "light" / part.name).symlink_to(part)
    (_site_packages(python) / "light.pth").write_text(f"{folder / 'light'}\n", encoding="utf-8")
    return python


def _site_packages(python: Path) -> Path:
    return next(python.parents[1].glob("lib/python*/site-packages"))


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as opened:
        return opened.namelist()


def _expected() -> set[str]:
    """Where each source of the tree is in the wheel."""
    sources = {path for path in (ROOT / "wrn_deploy").rglob("*.py") if not any(map(Path.is_symlink, path.parents))}
    names = {str(path.relative_to(ROOT)) for path in sources}
    for folder in SUBPACKAGES:
        names |= {f"wrn_deploy/{path.relative_to(ROOT)}" for path in (ROOT / folder).rglob("*.py")}
    for folder in DATA_FOLDERS:
        names |= {str(path.relative_to(ROOT)) for path in (ROOT / folder).iterdir()}
    sources = {path for path in (ROOT / "native").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    names |= {f"wrn_deploy/{path.relative_to(ROOT)}" for path in sources}
    return names | DATA_FILES


@pytest.mark.skipif((ROOT / "PKG-INFO").exists(), reason="a source archive has no links")
def test_the_tree_links_to_the_folders_that_it_maps() -> None:
    for folder in SUBPACKAGES:
        link = ROOT / "wrn_deploy" / folder
        assert link.is_symlink()
        assert link.readlink() == Path("..", folder)


def test_the_wheel_has_every_source_once_and_nothing_else(wheel: Path) -> None:
    names = _names(wheel)
    assert len(names) == len(set(names))
    assert {name for name in names if not name.startswith(f"{METADATA}/")} == _expected()
    assert len(_expected()) > 80


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        metadata = opened.read(f"{METADATA}/METADATA").decode()
        entry_points = opened.read(f"{METADATA}/entry_points.txt").decode().split()
        licences = {name for name in opened.namelist() if name.startswith(f"{METADATA}/licenses/")}
    assert licences == {f"{METADATA}/licenses/{name}" for name in LICENCES}
    assert f"\nVersion: {wrn_deploy.__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0 AND CC-BY-4.0\n" in metadata
    urls = re.findall(r"^Project-URL: (\w+), https://", metadata, re.MULTILINE)
    assert set(urls) == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert " ".join(entry_points) == "[console_scripts] wrn-deploy = wrn_deploy.cli:main"
    for extra in ("cpu", "gpu", "rtx", "export", "parquet", "embed"):
        assert f"\nProvides-Extra: {extra}\n" in metadata


@pytest.fixture(scope="module")
def unpacked(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, unpacked."""
    folder = tmp_path_factory.mktemp("archive")
    with tarfile.open(_build(tree, "sdist", folder / "archive")) as opened:
        opened.extractall(folder, filter="data")
    return folder / f"wrn_deploy-{wrn_deploy.__version__}"


def test_the_source_archive_builds_the_same_wheel(unpacked: Path, wheel: Path, tmp_path: Path) -> None:
    assert sorted(_names(_build(unpacked, "wheel", tmp_path / "again"))) == sorted(_names(wheel))


def test_a_distributor_can_test_the_source_archive(unpacked: Path, tmp_path: Path) -> None:
    """As `make test` does: installed in place, in an environment that has the other packages as links to ours."""
    assert not [name for name in (*FOR_DISTRIBUTORS, *LICENCES) if not (unpacked / name).is_file()]
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    (_site_packages(python) / "ours.pth").write_text(f"{Path(np.__file__).parents[1]}\n", encoding="utf-8")
    flags = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--ignore-installed")
    install = ["install", *flags, "--no-build-isolation", "--editable", str(unpacked)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    tests = ["tests/test_formatting.py", "tests/engines/test_options.py", "tests/engines/test_layers.py"]
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=unpacked, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b\d+ passed", done.stdout)


def test_without_posix_file_locks_there_is_one_sentence() -> None:
    """As on Windows, whose Python has no fcntl."""
    code = "import sys; sys.modules['fcntl'] = None; import wrn_deploy.cli"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: wrn-deploy runs on Linux and macOS: ")
    assert "WSL" in done.stderr


def test_site_packages_get_one_package_and_its_metadata(installed: Path) -> None:
    there = {path.name for path in _site_packages(installed).iterdir()}
    assert there == {"wrn_deploy", METADATA, "light.pth"}


def test_a_service_needs_numpy_alone(installed: Path, tmp_path: Path) -> None:
    code = """
import importlib.util, sys
for package in ("torch", "onnx", "onnxruntime", "typer", "rich"):
    assert importlib.util.find_spec(package) is None, package
from wrn_deploy import Runner
from wrn_deploy.data import Role, open_data
assert len(open_data("digits", Role.TEST)) == 359
from wrn_deploy.errors import DeployError
try:
    Runner.open("nowhere")
except DeployError as error:
    print(error)
print(sys.modules["wrn_deploy"].__file__)
"""
    done = subprocess.run([installed, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    message, where = done.stdout.splitlines()
    assert message.startswith("nowhere is not a bundle")
    assert Path(where) == _site_packages(installed) / "wrn_deploy" / "__init__.py"


def test_a_step_without_its_package_says_what_to_install(installed: Path, tmp_path: Path) -> None:
    code = """
from wrn_deploy.errors import DeployError
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.progress import Silent
from pathlib import Path
try:
    export_bundle(ExportOptions(model="wrn-16-2", out=Path("bundle"), random_weights=True), Silent())
except DeployError as error:
    print(error.exit_code, error)
"""
    done = subprocess.run([installed, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 ")
    assert "pip install 'torch>=2.9'" in done.stdout
