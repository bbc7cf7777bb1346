"""The gate for graphs with an interface: each output that is not PyTorch's is stopped, with the figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy.errors import GateError
from wrn_deploy.export.check import TOLERANCES, Computed, check_outputs
from wrn_deploy.spec import Precision

Array = npt.NDArray[Any]
Outputs = dict[str, Array]

RANDOM = np.random.default_rng(0)
COMPUTED = Computed(RANDOM.normal(size=(5, 10)).astype(np.float32) * 4, RANDOM.uniform(size=(5, 6)).astype(np.float32))
PIXELS = np.zeros((5, 4, 4, 3), dtype=np.uint8)
LIMIT = TOLERANCES[Precision.FP32].relative


def right() -> Outputs:
    best = np.argsort(-COMPUTED.logits, axis=1, kind="stable")[:, :3]
    top = np.take_along_axis(COMPUTED.logits, best, axis=1)
    features = COMPUTED.features.copy()
    return {"logits": COMPUTED.logits.copy(), "top_logits": top, "top_classes": best, "features": features}


def check(outputs: Outputs) -> list[tuple[str, int]]:
    found = check_outputs(lambda _images: outputs, [(PIXELS, COMPUTED)], Precision.FP32)
    return [(parity.output, parity.batch) for parity in found]


def test_what_pytorch_computes_passes_and_every_output_is_looked_at() -> None:
    assert check(right()) == [("logits", 5), ("top_logits", 5), ("top_classes", 5), ("features", 5)]
    assert check({"features": right()["features"]}) == [("features", 5)]


def test_errors_within_the_tolerance_pass() -> None:
    outputs = right()
    outputs["features"] += 0.5 * LIMIT * COMPUTED.features.max()
    check(outputs)


def _wrong_logit(outputs: Outputs) -> None:
    outputs["logits"][2, 3] += 2 * LIMIT * np.abs(COMPUTED.logits).max()


def _wrong_feature(outputs: Outputs) -> None:
    outputs["features"][4, 0] -= 2 * LIMIT * COMPUTED.features.max()


def _not_a_number(outputs: Outputs) -> None:
    outputs["features"][0, 0] = np.nan


def _worst_instead_of_best(outputs: Outputs) -> None:
    worst = np.argsort(COMPUTED.logits, axis=1)[:, :3]
    outputs["top_classes"], outputs["top_logits"] = worst, np.take_along_axis(COMPUTED.logits, worst, axis=1)


def _classes_of_another_image(outputs: Outputs) -> None:
    outputs["top_classes"] = np.roll(outputs["top_classes"], 1, axis=0)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (_wrong_logit, "logits"),
        (_wrong_feature, "features"),
        (_not_a_number, "features"),
        (_worst_instead_of_best, "top_logits"),
        (_classes_of_another_image, "top_classes"),
    ],
)
def test_anything_else_is_stopped_with_the_figures(change: Callable[[Outputs], None], name: str) -> None:
    outputs = right()
    change(outputs)
    with pytest.raises(GateError, match=f"the fp32 graph does not give PyTorch's {name} at batch 5: largest") as error:
        check(outputs)
    assert error.value.exit_code == 3
    assert "Nothing was written" in str(error.value)


@pytest.mark.parametrize("value", [-1, 10])
def test_classes_that_there_are_not_are_stopped(value: int) -> None:
    outputs = right()
    outputs["top_classes"][1, 1] = value
    with pytest.raises(GateError, match=r"top classes are .*: expected different ones"):
        check(outputs)


def test_a_class_that_is_named_twice_is_stopped() -> None:
    outputs = right()
    outputs["top_classes"][:, 1] = outputs["top_classes"][:, 0]
    with pytest.raises(GateError, match=r"top classes are .*: expected different ones"):
        check(outputs)


def test_nearly_equal_logits_may_change_places() -> None:
    logits = np.array([[3.0, 2.9999, 1.0]], dtype=np.float32)
    outputs = {"top_logits": logits[:, :2], "top_classes": np.array([[1, 0]])}
    check_outputs(lambda _images: outputs, [(PIXELS[:1], Computed(logits, logits))], Precision.FP32)
