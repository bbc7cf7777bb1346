"""Images through a bundle: what is said of them, and that one preprocessing serves prediction and accuracy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wrn_deploy.data import Role, open_data
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.pipeline.inference.predict import PredictOptions, predict_images
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.spec import Precision

CPU: dict[str, Any] = {"backend": "onnxruntime", "precision": Precision.FP32}


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    Image.fromarray(next(iter(open_data("digits", Role.TEST).items())).load()).save(tmp_path / "digit.png")
    return tmp_path / "digit.png"


def test_scores_are_the_softmax_of_the_runners_logits(made_bundle: Path, digit: Path) -> None:
    found = predict_images(
        made_bundle,
        PredictOptions(images=(digit,), top_k=10, backend="onnxruntime", precision=Precision.FP32),
        Silent(),
    )
    with Runner.open(made_bundle, precision="fp32", backend="onnxruntime") as runner:
        logits = runner.predict(np.asarray(Image.open(digit))[None])[0].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    best = found.images[0].best
    assert [scored.index for scored in best] == [*np.argsort(-expected, kind="stable")]
    assert [scored.score for scored in best] == pytest.approx(sorted(expected, reverse=True))
    assert [scored.label for scored in best] == [str(scored.index) for scored in best]


def test_it_says_what_ran(made_bundle: Path, digit: Path) -> None:
    found = predict_images(
        made_bundle, PredictOptions(images=(digit,), top_k=1, backend="onnxruntime", precision=Precision.INT8), Silent()
    )
    assert (found.model, found.random_weights, found.backend, found.precision) == (
        *("wrn-10-1", False),
        *("onnxruntime", Precision.INT8),
    )


def test_images_keep_their_order_and_names(made_bundle: Path, digit: Path) -> None:
    turned = digit.with_name("turned.png")
    Image.open(digit).rotate(90).save(turned)
    files = (turned, digit, turned)
    found = predict_images(made_bundle, PredictOptions(images=files, top_k=1, backend="onnxruntime"), Silent())
    assert [image.image for image in found.images] == [str(file) for file in files]
    assert found.images[0].best == found.images[2].best


@pytest.mark.parametrize("top_k", [0, 11])
def test_as_many_classes_as_there_are(made_bundle: Path, digit: Path, top_k: int) -> None:
    with pytest.raises(UsageError, match=f"top-k {top_k}: expected 1 to 10, the number of classes"):
        predict_images(made_bundle, PredictOptions(images=(digit,), top_k=top_k, backend="onnxruntime"), Silent())


def test_logits_that_are_not_finite_are_no_prediction(
    made_bundle: Path, digit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing: Callable[..., object] = lambda _self, images: {"logits": np.full((len(images), 10), np.nan)}  # noqa: E731
    monkeypatch.setattr(Runner, "run", nothing)
    with pytest.raises(DeployError, match=r"NaN or infinite logits: .* the first of which is .*digit\.png"):
        predict_images(made_bundle, PredictOptions(images=(digit,), top_k=1, backend="onnxruntime"), Silent())


def test_of_a_bundle_with_top_classes_the_logits_are_reported(made_interface_bundle: Path, digit: Path) -> None:
    found = predict_images(made_interface_bundle, PredictOptions(images=(digit,), top_k=None, **CPU), Silent())
    with Runner.open(made_interface_bundle, **CPU) as runner:
        results = runner.run(np.asarray(Image.open(digit))[None])
    assert found.scores == "logit"
    assert [scored.index for scored in found.images[0].best] == results["top_classes"][0].tolist()
    assert [scored.score for scored in found.images[0].best] == results["top_logits"][0].tolist()


def test_a_bundle_with_top_classes_names_the_same_class_as_one_with_logits(
    made_bundle: Path, made_interface_bundle: Path, digit: Path
) -> None:
    first, second = (
        predict_images(folder, PredictOptions(images=(digit,), top_k=2, **CPU), Silent())
        for folder in (made_bundle, made_interface_bundle)
    )
    assert (first.scores, second.scores) == ("softmax", "logit")
    assert [one.label for one in first.images[0].best] == [one.label for one in second.images[0].best]


def test_no_more_classes_than_the_bundle_gives(made_interface_bundle: Path, digit: Path) -> None:
    with pytest.raises(UsageError, match="top-k 4: expected 1 to 3, the classes this bundle gives"):
        predict_images(made_interface_bundle, PredictOptions(images=(digit,), top_k=4, **CPU), Silent())
