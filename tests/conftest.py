"""What the tests share: a small network trained on real digits with everything made from it, and the shared data."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.answering import Answer, answered_by
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions
from wrn_deploy.machine import find_gpu
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.training.train import TrainOptions, train_model
from wrn_deploy.progress import Silent
from wrn_deploy.spec import Precision
from wrn_deploy.training.recipe import TrainRecipe

# One thread: with more, torch's threads wait for each other whenever another process has a core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Property tests try the same examples in every run, however slow the machine is.
settings.register_profile("repeatable", max_examples=40, deadline=None, derandomize=True)
settings.load_profile("repeatable")

# A shell that starts the tests in the background has Ctrl-C ignored, and so would every program that they interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, and no deadline: other processes use the cores, too.
settings.register_profile("wrn-deploy", derandomize=True, deadline=None)
settings.load_profile("wrn-deploy")

SHARED = Path(os.environ.get("WRN_DEPLOY_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and checkpoints that are not part of the project; WRN_DEPLOY_SHARED names another place."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared data at {SHARED}")
    return SHARED


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], str]]:
    """Starts a server whose every request a function answers, and returns its address; no proxy is used."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with contextlib.ExitStack() as servers:
        yield lambda answer: servers.enter_context(answered_by(answer))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run of wrn-10-1 on digits, good to about 95 %: random networks are chaotic and show nothing."""
    out = tmp_path_factory.mktemp("training") / "run"
    train_model(
        TrainOptions(model="wrn-10-1", data="digits", out=out, recipe=TrainRecipe(epochs=6, batch_size=32)), Silent()
    )
    return out


@pytest.fixture(scope="session")
def made_bundle(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bundle, with int8 graphs and, with TensorRT-RTX, both plans; a test that changes it takes `bundle`."""
    folder = tmp_path_factory.mktemp("made") / "bundle"
    bundle = export_bundle(
        ExportOptions(model="wrn-10-1", out=folder, weights=trained / "weights.safetensors"), Silent()
    )
    calibrate_bundle(bundle, CalibrateOptions(data="digits", size=128), Silent())
    if Flavor.RTX in installed_flavors():
        for precision in (Precision.FP16, Precision.INT8):
            build_engine(bundle, BuildOptions(precision=precision, engine=EngineOptions(), flavor=Flavor.RTX), Silent())
    return folder


@pytest.fixture(scope="session")
def made_interface_bundle(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as `made_bundle` has, with pixels in, and the top three classes and the features out."""
    folder = tmp_path_factory.mktemp("made-interface") / "bundle"
    weights = trained / "weights.safetensors"
    options = ExportOptions(model="wrn-10-1", out=folder, weights=weights, pixels=True, top_k=3, features=True)
    bundle = export_bundle(options, Silent())
    calibrate_bundle(bundle, CalibrateOptions(data="digits", size=128), Silent())
    if Flavor.RTX in installed_flavors():
        for precision in (Precision.FP16, Precision.INT8):
            build_engine(bundle, BuildOptions(precision=precision, engine=EngineOptions(), flavor=Flavor.RTX), Silent())
    return folder


@pytest.fixture
def interface_bundle(made_interface_bundle: Path, tmp_path: Path) -> Bundle:
    """A copy of it that a test may change."""
    shutil.copytree(made_interface_bundle, tmp_path / "interface")
    return Bundle.open(tmp_path / "interface")


@pytest.fixture
def bundle(made_bundle: Path, tmp_path: Path) -> Bundle:
    """A copy of the bundle that a test may change."""
    shutil.copytree(made_bundle, tmp_path / "bundle")
    return Bundle.open(tmp_path / "bundle")


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """Opening the PyTorch backend sets torch's threads for the process, and sums depend on their number."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a GPU where there is none."""
    if find_gpu() is None:
        for item in items:
            if item.get_closest_marker("gpu") is not None:
                item.add_marker(pytest.mark.skip(reason="no CUDA GPU on this machine"))
