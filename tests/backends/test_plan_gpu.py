"""Plans on a real GPU, with every TensorRT that is installed: built there, opened, compared, closed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy import Runner
from wrn_deploy.backend import Backend, examine, open_backend
from wrn_deploy.bench.latency import measure_latency
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import find_gpu
from wrn_deploy.pipeline.build import BuildOptions, build_engine
from wrn_deploy.progress import Silent
from wrn_deploy.sessions import infer_with, open_session
from wrn_deploy.spec import Precision

pytestmark = pytest.mark.gpu

Images = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def digits(made_bundle: Path) -> Images:
    how = Bundle.open(made_bundle).spec.preprocessing
    return normalize(next(iter(Batches(open_data("digits", Role.TEST), how, 64))).images, how)


class Built(NamedTuple):
    bundle: Bundle
    flavor: Flavor


@pytest.fixture(scope="module", params=[*Flavor])
def built(request: pytest.FixtureRequest, made_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A bundle whose fp16 and int8 plans were built on this GPU, for batches of 2 to 16."""
    if request.param not in installed_flavors():
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp("gpu") / "bundle"
    shutil.copytree(made_bundle, folder)
    bundle = Bundle.open(folder)
    for precision in (Precision.FP16, Precision.INT8):
        build_engine(bundle, BuildOptions(precision, EngineOptions((Profile(2, 8, 16),)), request.param), Silent())
    return Built(bundle, request.param)


@pytest.fixture(params=[Precision.FP16, Precision.INT8])
def opened(request: pytest.FixtureRequest, built: Built) -> Iterator[Backend]:
    with open_backend(built.bundle, built.flavor, request.param) as backend:
        yield backend


def run(backend: Backend, batch: Images) -> Images:
    backend.upload(batch)
    backend.execute()
    backend.synchronize()
    return backend.download()[0]


def test_the_manifest_names_the_gpu(built: Built) -> None:
    gpu = find_gpu()
    assert gpu is not None
    facts = built.bundle.artifacts[f"plan-fp16-{built.flavor}"].facts
    assert (facts["gpu"], facts["compute_capability"]) == (gpu.name, gpu.compute_capability)


def test_logits_are_those_of_onnxruntime(built: Built, opened: Backend, digits: Images) -> None:
    wanted = infer_with(open_session(built.bundle.folder / "fp32.onnx"))(digits)
    found = np.concatenate([run(opened, digits[start : start + 16]) for start in range(0, 64, 16)])
    cosine = (wanted * found).sum(axis=1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(found, axis=1)
    assert cosine.min() > 0.98
    assert (found.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= 0.95


def test_every_batch_of_the_profile_runs_and_no_other(opened: Backend, digits: Images) -> None:
    whole = run(opened, digits[:16])
    for size in (2, 16, 3, 8):
        np.testing.assert_allclose(run(opened, digits[:size]), whole[:size], atol=0.05)
    for size in (1, 17):
        with pytest.raises(DeployError, match="outside the plan's profile"):
            opened.upload(digits[:size])


def test_the_uploaded_array_may_be_reused(opened: Backend, digits: Images) -> None:
    batch = digits[:8].copy()
    kept = run(opened, batch)
    opened.upload(batch)
    batch[:] = np.nan
    opened.execute()
    opened.synchronize()
    np.testing.assert_array_equal(opened.download()[0], kept)


def test_closing_twice_and_opening_again(built: Built, digits: Images) -> None:
    answers = []
    for _ in range(3):
        backend = open_backend(built.bundle, built.flavor, Precision.FP16)
        answers.append(run(backend, digits[:4]))
        backend.close()
        backend.close()
        with pytest.raises(DeployError, match="this backend is closed"):
            backend.execute()
    np.testing.assert_array_equal(answers[0], answers[2])


def test_latencies_are_those_of_finished_inferences(opened: Backend, digits: Images) -> None:
    """A thousand times an enqueue alone would be less than a hundredth of a millisecond each."""
    assert 0.01 < float(np.median(measure_latency(opened, digits[:16], 50))) < 100


def test_threads_share_a_runner(built: Built, digits: Images) -> None:
    assert examine(built.bundle, built.flavor, Precision.FP16).skipped is None
    with Runner.open(built.bundle.folder, "fp16", built.flavor) as runner, ThreadPoolExecutor(4) as pool:
        wanted = runner.predict(digits[:4])
        for answer in [pool.submit(runner.predict, digits[:4]) for _ in range(40)]:
            np.testing.assert_array_equal(answer.result(), wanted)
