"""Rounding with feedback, bias correction and learning: what they change, and that int8 loses less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
import torch
from wrn_deploy.calib.rounding.execute import TorchGraph
from wrn_deploy.calib.rounding.learned import Learning, learn_rounding

from tests.calib.quantized import error, logits, quantized, with_biases
from wrn_deploy.calib.rounding.feedback import LARGEST, correct
from wrn_deploy.calib.writing.int8_weights import copy_rounding, find_int8_weights
from wrn_deploy.errors import DeployError

Images = npt.NDArray[np.float32]


@pytest.fixture
def made(trained_graph: ir.Model, digits: Images, tmp_path: Path) -> tuple[ir.Model, ir.Model]:
    return quantized(with_biases(trained_graph), digits, tmp_path)


def nothing() -> None:
    """Ignores progress."""


def rounded(
    made: tuple[ir.Model, ir.Model], digits: Images, feedback: bool = True, bias: bool = False
) -> tuple[ir.Model, ir.Model]:
    source, int8 = made
    changed = int8.clone()
    # a clone shares its constants' values, which are replaced and never written to
    correct(changed, source, torch.from_numpy(digits[:32]), nothing, feedback=feedback, bias=bias)
    return source, changed


def test_pytorch_computes_what_onnx_runtime_does(made: tuple[ir.Model, ir.Model], digits: Images) -> None:
    source, int8 = made
    for model, tolerance in ((source, 1e-4), (int8, 0.05)):
        got = TorchGraph(model).run(torch.from_numpy(digits)).detach().numpy()
        assert np.abs(got - logits(model, digits)).max() <= tolerance * np.abs(got).max()


def test_an_unknown_operator_is_refused(made: tuple[ir.Model, ir.Model]) -> None:
    model = made[0].clone()
    model.graph[0].op_type = "Einsum"
    with pytest.raises(DeployError, match="Einsum"):
        TorchGraph(model)


def test_feedback_moves_codes_by_little_and_the_output_by_less(made: tuple[ir.Model, ir.Model], digits: Images) -> None:
    source, better = rounded(made, digits)
    before, after = find_int8_weights(made[1]), find_int8_weights(better)
    moved = np.concatenate([(after[name].codes.astype(int) - before[name].codes).ravel() for name in before])
    assert 0.05 < np.mean(moved != 0) < 0.6
    assert np.abs(moved).max() <= 12
    assert error(better, source, digits[32:]) < error(made[1], source, digits[32:])


def test_weights_in_several_blocks_are_all_rounded(
    made: tuple[ir.Model, ir.Model], digits: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wrn_deploy.calib.rounding.feedback.LARGEST", 9 * 8)
    source, better = rounded(made, digits)
    assert LARGEST > 9 * 8
    assert error(better, source, digits[32:]) < error(made[1], source, digits[32:])


def test_bias_correction_brings_back_a_mean(made: tuple[ir.Model, ir.Model], digits: Images) -> None:
    source, int8 = made
    wrong = int8.clone()
    conv = find_int8_weights(wrong)["block2.0.conv1"]
    conv.set_bias(conv.bias + 0.5)
    correct(wrong, source, torch.from_numpy(digits[:32]), nothing, feedback=False, bias=True)
    assert (
        np.abs(find_int8_weights(wrong)["block2.0.conv1"].bias - find_int8_weights(int8)["block2.0.conv1"].bias).max()
        < 0.1
    )
    assert all(
        np.array_equal(conv.codes, find_int8_weights(int8)[name].codes)
        for name, conv in find_int8_weights(wrong).items()
    )


def test_learning_brings_the_logits_nearer(made: tuple[ir.Model, ir.Model], digits: Images) -> None:
    source, int8 = made
    learned = int8.clone()
    steps: list[int] = []
    learn_rounding(learned, source, torch.from_numpy(digits[:48]), Learning(steps=60), lambda: steps.append(1))
    assert len(steps) == 60
    assert error(learned, source, digits[48:]) < error(int8, source, digits[48:])


def test_learning_is_repeatable(made: tuple[ir.Model, ir.Model], digits: Images) -> None:
    source, int8 = made
    first, second = int8.clone(), int8.clone()
    for model in (first, second):
        learn_rounding(model, source, torch.from_numpy(digits[:16]), Learning(steps=3), nothing)
    assert all(
        np.array_equal(conv.codes, find_int8_weights(second)[name].codes)
        for name, conv in find_int8_weights(first).items()
    )


def test_rounding_is_copied_to_a_graph_with_fewer_int8_convs(made: tuple[ir.Model, ir.Model], digits: Images) -> None:
    _, better = rounded(made, digits)
    target = made[1].clone()
    copy_rounding(better, target)
    assert np.array_equal(logits(target, digits), logits(better, digits))


def test_the_scales_of_the_codes_are_copied_with_them(trained_graph: ir.Model, digits: Images, tmp_path: Path) -> None:
    per_tensor = quantized(with_biases(trained_graph), digits, tmp_path, per_channel=False)
    _, better = rounded(per_tensor, digits)
    _, target = quantized(with_biases(trained_graph), digits, tmp_path)
    copy_rounding(better, target)
    assert np.array_equal(logits(target, digits), logits(better, digits))
