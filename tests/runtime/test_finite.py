"""NaN and infinite values: an error that counts them, on every path, unless they are allowed; nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy import Runner
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.finite import check_finite

TOO_LARGE = 3e38  # finite, and beyond float32 after the first Conv
NAMES = ("top_logits", "top_classes", "features")


def batch_of(value: float, rows: tuple[int, ...] = (1, 3), count: int = 5) -> npt.NDArray[np.float32]:
    images = np.zeros((count, 3, 32, 32), np.float32)
    images[list(rows)] = value
    return images


def test_finite_arrays_and_integers_pass() -> None:
    big = np.full((2, 3), np.finfo(np.float32).max, np.float32)
    check_finite({"big": big, "classes": np.array([[1], [2]])}, subject="it gives", remedy="-")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_each_value_and_image_is_counted(dtype: Any, value: float) -> None:
    arrays = {"logits": np.zeros((4, 3), dtype), "features": np.zeros((4, 2, 2), dtype)}
    arrays["features"][2] = value
    arrays["features"][3, 1, 0] = value
    text = (
        r"^it gives NaN or infinite features: 5 of 16 values, in 2 of 4 images, the first of which is image 2, counted "
        "from 0; expected finite ones: do this$"
    )
    with pytest.raises(DeployError, match=text):
        check_finite(arrays, subject="it gives", remedy="do this")
    with pytest.raises(DeployError, match=r"the first of which is c\.png; expected"):
        check_finite(arrays, subject="it gives", remedy="do this", names=("a.png", "b.png", "c.png", "d.png"))


def test_both_infinities_in_one_row_do_not_cancel() -> None:
    with pytest.raises(DeployError, match="2 of 2 values"):
        check_finite({"logits": np.array([[np.inf, -np.inf]])}, subject="it gives", remedy="-")


Call = Callable[[Runner, npt.NDArray[np.float32]], Any]
CALLS: dict[str, Call] = {
    "predict": lambda runner, images: runner.predict(images),
    "run": lambda runner, images: runner.run(images)["logits"],
    "predict_into": lambda runner, images: written(runner, images, {"logits": np.zeros((len(images), 10), np.float32)}),
    "predict_into one": lambda runner, images: written(runner, images, np.zeros((len(images), 10), np.float32)),
}


def written(runner: Runner, images: npt.NDArray[np.float32], out: Any) -> Any:
    runner.predict_into(images, out)
    return out["logits"] if isinstance(out, dict) else out


@pytest.mark.parametrize("call", CALLS)
def test_logits_are_checked_on_every_path(made_bundle: Path, call: str) -> None:
    text = (
        r"^onnxruntime fp32 gives NaN or infinite logits: \d+ of 50 values, in 2 of 5 images, the first of which is "
        "image 1, counted from 0; expected finite ones: run another precision, such as fp32, or allow them with the "
        "option allow_nonfinite$"
    )
    given = {"backend": "onnxruntime", "precision": "fp32"}
    with Runner.open(made_bundle, **given) as runner:  # type: ignore[arg-type]
        assert not runner.allow_nonfinite
        with pytest.raises(DeployError, match=text):
            CALLS[call](runner, batch_of(TOO_LARGE))
        runner.batches = range(1, 3)  # in parts, of which the first has none
        with pytest.raises(DeployError, match=r"in 1 of 5 images, the first of which is image 4,"):
            CALLS[call](runner, batch_of(TOO_LARGE, rows=(4,)))
        assert np.isfinite(CALLS[call](runner, batch_of(0.0))).all()
    with Runner.open(made_bundle, allow_nonfinite=True, **given) as runner:  # type: ignore[arg-type]
        finite = np.isfinite(CALLS[call](runner, batch_of(TOO_LARGE))).all(axis=1)
        assert finite.tolist() == [True, False, True, False, True]


def test_nothing_is_written_then(made_bundle: Path) -> None:
    out = np.full((5, 10), -7.0, np.float32)
    with Runner.open(made_bundle, backend="onnxruntime", precision="fp32") as runner:
        runner.batches = range(1, 3)
        with pytest.raises(DeployError, match="NaN or infinite logits"):
            runner.predict_into(batch_of(TOO_LARGE, rows=(4,)), out)
    assert (out == -7.0).all()


@pytest.mark.parametrize("output", ["top_logits", "features"])
def test_every_output_is_checked(made_interface_bundle: Path, output: str) -> None:
    """Where only the first output is asked for, too."""
    pixels = np.zeros((4, 32, 32, 3), np.uint8)
    with Runner.open(made_interface_bundle, backend="onnxruntime", precision="int8") as runner:
        download = runner._pool.first.download

        def broken() -> tuple[Any, ...]:
            results = download()
            results[NAMES.index(output)][2, 1] = np.nan
            return results

        runner._pool.first.download = broken  # type: ignore[method-assign]
        text = f"onnxruntime int8 gives NaN or infinite {output}: 1 of .* values, in 1 of 4 images"
        with pytest.raises(DeployError, match=text):
            runner.run(pixels)
        out = np.zeros((4, 3), np.float32)
        with pytest.raises(DeployError, match=text):
            runner.predict_into(pixels, out)
        assert not out.any()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_are_checked_since_int8_answers_nan_with_numbers(
    made_bundle: Path, precision: str, value: float
) -> None:
    text = (
        r"^the batch has NaN or infinite images: 6144 of 15360 values, in 2 of 5 images, .*: check how they were norm"
    )
    with (
        Runner.open(made_bundle, backend="onnxruntime", precision=precision) as runner,
        pytest.raises(DeployError, match=text),
    ):
        runner.predict(batch_of(value))
    with Runner.open(made_bundle, backend="onnxruntime", precision=precision, allow_nonfinite=True) as runner:
        assert runner.predict(batch_of(value)).shape == (5, 10)
