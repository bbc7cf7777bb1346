"""The wheel holds what the tree holds, and runs where nothing but numpy and Pillow is installed."""

from __future__ import annotations

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
SUBPACKAGES = ("export", "calib", "engines")  # top-level folders of the tree, subpackages of the wheel
DATA_FILES = {
    "wrn_deploy/py.typed",
    *(f"wrn_deploy/models/{name}" for name in ("catalog.json", "published.toml", "checkpoints/sources.toml")),
    *(f"wrn_deploy/data/{name}" for name in ("digits.npz", "digits.LICENSE", "imagenet_classes.txt")),
}
DATA_FOLDERS = (
    "wrn_deploy/data/example", "wrn_deploy/embed/native", "wrn_deploy/embed/example", "wrn_deploy/rendering/templates",
)  # fmt: skip
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
    return names | DATA_FILES


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
        opened.getinfo(f"{METADATA}/licenses/LICENSE")
    assert f"\nVersion: {wrn_deploy.__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert " ".join(entry_points) == "[console_scripts] wrn-deploy = wrn_deploy.cli:main"
    for extra in ("cpu", "gpu", "rtx", "export", "parquet", "embed"):
        assert f"\nProvides-Extra: {extra}\n" in metadata


def test_the_source_archive_builds_the_same_wheel(tree: Path, wheel: Path, tmp_path: Path) -> None:
    archive = _build(tree, "sdist", tmp_path / "archive")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    again = _build(tmp_path / f"wrn_deploy-{wrn_deploy.__version__}", "wheel", tmp_path / "again")
    assert sorted(_names(again)) == sorted(_names(wheel))


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
