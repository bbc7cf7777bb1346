"""The CMake project builds against what `embed` writes, installs, and names the classes that the Runner names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wrn_deploy
from wrn_deploy import Runner
from wrn_deploy.data import Role, open_data
from wrn_deploy.embed.native import native_obstacle

if (obstacle := native_obstacle()) is not None:
    pytest.skip(f"the library cannot be built: {obstacle}", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
COMMAND = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"


def _run(*command: str | Path) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    items = list(open_data("digits", Role.TEST).items())[:5]
    for at, item in enumerate(items):
        Image.fromarray(item.load()).save(folder / f"{at}.ppm")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wrn_deploy.example(tmp_path_factory.mktemp("example") / "example").bundle.folder


@pytest.fixture(scope="module")
def program(bundle: Path, images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed program, after its own tests."""
    folder = tmp_path_factory.mktemp("cmake")
    _run(sys.executable, "-c", COMMAND, "embed", "--out", folder / "wrn-runner")
    source, build = ROOT / "examples" / "cmake", folder / "build"
    names = [f"-DBUNDLE={bundle}", f"-DIMAGE={images[0]}", f"-DCMAKE_CXX_FLAGS={STRICT}"]
    _run("cmake", "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={folder / 'wrn-runner'}", *names)
    _run("cmake", "--build", build)
    assert "100% tests passed, 0 tests failed out of 1" in _run("ctest", "--test-dir", build)
    _run("cmake", "--install", build, "--prefix", folder / "installed")
    return folder / "installed" / "bin" / "label_ppm"


def test_it_names_the_classes_of_the_runner(program: Path, bundle: Path, images: list[Path]) -> None:
    lines = _run(program, bundle, *images).splitlines()
    pixels = np.stack([np.asarray(Image.open(image)) for image in images])
    with Runner.open(bundle) as runner:
        logits = runner.predict(pixels).astype(np.float64)
        labels = runner.labels or tuple(map(str, range(logits.shape[1])))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for image, line, expected in zip(images, lines, scores, strict=True):
        pairs = re.findall(r" (\S+) (\d\.\d{4})", line.removeprefix(f"{image}:"))
        assert [label for label, _ in pairs] == [labels[index] for index in np.argsort(-expected)[:3]]
        np.testing.assert_allclose([float(score) for _, score in pairs], np.sort(expected)[:-4:-1], atol=1e-4)


def test_what_it_cannot_take_is_refused(program: Path, bundle: Path, tmp_path: Path) -> None:
    Image.new("RGB", (33, 32)).save(tmp_path / "large.ppm")
    (tmp_path / "text.ppm").write_text("no image")
    (tmp_path / "short.ppm").write_bytes(b"P6 32 32 255\n...")
    for name, reason in [
        ("large", "is 33x32: expected 32x32"), ("text", "is not a binary PPM"), ("short", "ends too early"),
    ]:  # fmt: skip
        command = [program, bundle, tmp_path / f"{name}.ppm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert reason in done.stderr
    done = subprocess.run([program, tmp_path, tmp_path / "text.ppm"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is not a bundle" in done.stderr
