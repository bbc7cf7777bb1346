"""Codes, scales and biases of one Q/DQ graph are copied to another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from tests.calib.quantized import logits, quantized, with_biases
from wrn_deploy.calib.writing.int8_weights import copy_rounding, find_int8_weights

Images = npt.NDArray[np.float32]


@pytest.mark.parametrize("per_channel", [True, False])
def test_rounding_is_copied_with_the_scales(
    trained_graph: ir.Model, digits: Images, tmp_path: Path, per_channel: bool
) -> None:
    _, other = quantized(with_biases(trained_graph), digits, tmp_path, per_channel=per_channel)
    for conv in find_int8_weights(other).values():
        conv.set_codes(np.clip(conv.codes.astype(np.int64) + 1, -127, 127))
        conv.set_bias(conv.bias * 1.5)
    _, target = quantized(with_biases(trained_graph), digits, tmp_path)
    before = logits(target, digits)
    copy_rounding(other, target)
    assert np.array_equal(logits(target, digits), logits(other, digits))
    assert not np.array_equal(logits(target, digits), before)
