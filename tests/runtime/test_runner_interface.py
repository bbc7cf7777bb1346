"""The Runner on bundles whose graphs take pixels and give top classes and features: all outputs, by name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy import Runner
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.errors import DeployError

INTERFACE = ("top_logits", "top_classes", "features")


@pytest.fixture(scope="module")
def images(made_bundle: Path) -> npt.NDArray[np.uint8]:
    """Sixteen digits that the network was not trained on."""
    how = Bundle.open(made_bundle).spec.preprocessing
    return next(iter(Batches(open_data("digits", Role.TEST), how, 16))).images


def test_all_outputs_come_by_name_in_every_runtime(
    made_bundle: Path, made_interface_bundle: Path, images: npt.NDArray[np.uint8]
) -> None:
    with Runner.open(made_bundle, precision="fp32", backend="onnxruntime") as runner:
        logits = runner.predict(images)
        assert list(runner.run(images)) == ["logits"]
        np.testing.assert_array_equal(runner.run(images)["logits"], logits)
    for backend in ("onnxruntime", "torch"):
        with Runner.open(made_interface_bundle, precision="fp32", backend=backend) as runner:
            found = runner.run(images)
        assert tuple(found) == INTERFACE
        assert [one.shape for one in found.values()] == [(16, 3), (16, 3), (16, 64)]
        assert [str(one.dtype) for one in found.values()] == ["float32", "int64", "float32"]
        np.testing.assert_array_equal(found["top_classes"], np.argsort(-logits, axis=1, kind="stable")[:, :3])
        np.testing.assert_allclose(found["top_logits"], -np.sort(-logits, axis=1)[:, :3], atol=1e-4)


def test_a_bundle_without_logits_says_what_it_gives(made_interface_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    expected = (
        "this bundle outputs top_logits and top_classes and features, not logits: call `run` instead of `predict`"
    )
    with (
        Runner.open(made_interface_bundle, backend="onnxruntime") as runner,
        pytest.raises(DeployError, match=expected),
    ):
        runner.predict(images)


def test_outputs_are_written_into_the_callers_arrays(
    made_interface_bundle: Path, images: npt.NDArray[np.uint8]
) -> None:
    with Runner.open(made_interface_bundle, backend="onnxruntime") as runner:
        wanted = runner.run(images)
        out = {output.name: np.zeros((16, *output.shape), output.dtype) for output in runner.outputs}
        out["features"] = np.zeros((16, 128), np.float32)[:, ::2]
        runner.predict_into(images, out)
        for name in INTERFACE:
            np.testing.assert_array_equal(out[name], wanted[name])
        first = np.zeros((16, 3), np.float32)
        runner.predict_into(images, first)
        np.testing.assert_array_equal(first, wanted["top_logits"])


def test_logits_are_written_into_the_callers_array(made_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    with Runner.open(made_bundle, backend="onnxruntime") as runner:
        for out in (np.zeros((16, 10), np.float32), {"logits": np.zeros((16, 10), np.float32)}):
            runner.predict_into(images, out)
            found = out["logits"] if isinstance(out, dict) else out
            np.testing.assert_array_equal(found, runner.predict(images))


WRONG_TARGETS: dict[str, tuple[Any, str]] = {
    "one is missing": (
        {"top_logits": np.zeros((2, 3), np.float32)},
        "out has top_logits: expected top_logits and top_classes and features",
    ),
    "another type": (np.zeros((2, 3)), r"out for top_logits is float64 \(2, 3\): expected a numpy array, float32"),
    "all logits": (np.zeros((2, 10), np.float32), r"out for top_logits is float32 \(2, 10\): expected a numpy array"),
}


@pytest.mark.parametrize("case", WRONG_TARGETS)
def test_other_targets_are_refused_and_nothing_is_written(
    made_interface_bundle: Path, images: npt.NDArray[np.uint8], case: str
) -> None:
    out, text = WRONG_TARGETS[case]
    with Runner.open(made_interface_bundle, backend="onnxruntime") as runner, pytest.raises(DeployError, match=text):
        runner.predict_into(images[:2], out)
    for one in out.values() if isinstance(out, dict) else [out]:
        assert not one.any()


def test_a_bundle_that_takes_pixels_takes_no_normalised_images(
    made_interface_bundle: Path, images: npt.NDArray[np.uint8]
) -> None:
    with Runner.open(made_interface_bundle, backend="onnxruntime") as runner:
        floats = normalize(images, runner.bundle.spec.preprocessing)
        expected = r"images are float32 \(16, 3, 32, 32\): expected uint8 \(N, 32, 32, 3\), RGB, N at least 1$"
        with pytest.raises(DeployError, match=expected):
            runner.run(floats)
        strided = np.repeat(images, 2, axis=2)[:, :, ::2]
        np.testing.assert_array_equal(runner.run(strided)["features"], runner.run(images)["features"])


def test_several_threads_get_the_features_of_their_own_images(
    made_interface_bundle: Path, images: npt.NDArray[np.uint8]
) -> None:
    """PyTorch's contexts share one network."""
    with Runner.open(made_interface_bundle, precision="fp32", backend="torch", threads=1, contexts=3) as runner:
        runner.warmup((1, 2))
        wanted = [runner.run(images[index : index + 2])["features"] for index in range(8)]
        with ThreadPoolExecutor(6) as pool:
            asked = [
                (index, pool.submit(runner.run, images[index : index + 2])) for _ in range(10) for index in range(8)
            ]
            for index, answer in asked:
                np.testing.assert_allclose(answer.result()["features"], wanted[index], atol=1e-5)
