"""Rounding with feedback: what each code minimises, what it never depends on, and that outputs lose less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from tests.calib.graphs import session_of
from tests.calib.quantized import error, quantized, ranges_of, with_biases
from wrn_deploy.calib.collection.moments import ConvInput, Moments, Sampler
from wrn_deploy.calib.rounding import feedback as module
from wrn_deploy.calib.rounding.feedback import DAMPING, round_with_feedback
from wrn_deploy.calib.rounding.inputs import find_conv_inputs
from wrn_deploy.calib.writing.int8_weights import find_int8_weights
from wrn_deploy.calib.writing.qdq import weights_of

Floats = npt.NDArray[np.floating]
Sums = npt.NDArray[np.integer]
Codes = npt.NDArray[np.int8]


def rounded(weights: Floats, scale: Floats, moments: Sums) -> Codes:
    """The codes of one Conv."""
    (codes,) = round_with_feedback([weights], [scale], moments)
    return codes


def nearest(weights: Floats, scale: Floats) -> npt.NDArray[np.float64]:
    codes: npt.NDArray[np.float64] = np.clip(np.rint(weights / scale.reshape(-1, 1, 1, 1)), -127, 127)
    return codes


def correlated(blocks: int, rows: int, seed: int, windows: int = 400) -> npt.NDArray[np.int64]:
    """Moments of codes that have much in common, as neighbouring pixels do; exact."""
    dice = np.random.default_rng(seed)
    found = []
    for _ in range(blocks):
        common = dice.normal(size=(windows, max(1, rows // 4))) @ dice.normal(size=(max(1, rows // 4), rows))
        codes = np.rint(20.0 * (common / common.std() + 0.5 * dice.normal(size=(windows, rows)))).clip(-127, 127)
        found.append((codes.T @ codes).astype(np.int64))
    return np.stack(found)


def made_up(outputs: int, channels: int, kernel: int, seed: int) -> tuple[Floats, Floats]:
    """Weights whose largest ones have the code 127, and their scales."""
    weights = np.random.default_rng(seed).normal(size=(outputs, channels, kernel, kernel))
    return weights, np.abs(weights).reshape(outputs, -1).max(axis=1) / 127.0


def step_by_step(steps: Floats, moments: Floats) -> npt.NDArray[np.float64]:
    """One output's codes by definition: each is the best if all later weights may then become any real numbers.

    With the free ones at their best, the error is that of the fixed ones alone with the Schur complement of the
    moments; every integer in reach is tried.
    """
    rows = len(steps)
    damped = moments + DAMPING * np.diagonal(moments).mean() * np.eye(rows)
    order = np.argsort(-np.diagonal(moments), kind="stable")
    codes = np.zeros(rows)
    for place, row in enumerate(order):
        fixed, free = order[: place + 1], order[place + 1 :]
        left = damped[np.ix_(fixed, fixed)]
        if len(free):
            across = damped[np.ix_(fixed, free)]
            left = left - across @ np.linalg.solve(damped[np.ix_(free, free)], across.T)
        costs = {}
        for code in range(-12, 13):
            codes[row] = code
            missing = (steps - codes)[fixed]
            costs[code] = float(missing @ left @ missing)
        codes[row] = min(costs, key=lambda code: costs[code])
    return codes


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rows", [1, 2, 5, 20])
def test_each_code_is_the_best_for_those_before_it_and_free_ones_behind(rows: int, seed: int) -> None:
    dice = np.random.default_rng(seed)
    steps = dice.uniform(-5.0, 5.0, size=(3, rows, 1, 1))
    moments = correlated(1, rows, seed)
    found = rounded(steps, np.ones(3), moments)
    for output in range(3):
        wanted = step_by_step(steps[output].ravel(), moments[0].astype(np.float64))
        assert found[output].ravel().tolist() == wanted.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_no_codes_at_all_are_better_if_inputs_share_nothing(seed: int) -> None:
    """Diagonal moments: every weight for itself, so that the nearest code is the best of all."""
    weights, scale = made_up(8, 4, 3, seed)
    diagonal = np.random.default_rng(seed).integers(1, 10**6, size=36)
    np.testing.assert_array_equal(rounded(weights, scale, np.diag(diagonal)[None]), nearest(weights, scale))


@pytest.mark.parametrize("seed", range(8))
def test_two_weights_of_equal_inputs_keep_their_sum(seed: int) -> None:
    """Brute force over both codes finds no smaller error."""
    steps = np.random.default_rng(seed).uniform(-3.0, 3.0, size=2)
    moments = np.array([[[1000, 999], [999, 1000]]])
    found = rounded(steps.reshape(1, 2, 1, 1), np.ones(1), moments).ravel()
    tried = [(first, second) for first in range(-5, 6) for second in range(-5, 6)]
    sums = [abs(steps.sum() - sum(codes)) for codes in tried]
    assert abs(steps.sum() - found.sum()) == pytest.approx(min(sums))
    assert np.abs(steps - found).max() <= 1.0


@pytest.mark.parametrize(("outputs", "channels", "kernel"), [(8, 16, 3), (5, 17, 3), (7, 289, 1), (3, 3, 7), (1, 1, 1)])
def test_no_moments_give_the_nearest_codes(outputs: int, channels: int, kernel: int) -> None:
    """Damping alone is left, which is diagonal."""
    weights, scale = made_up(outputs, channels, kernel, 0)
    shape = ConvInput(
        conv="", tensor="", channels=channels, kernel=(kernel, kernel), pads=(0,) * 4, strides=(1, 1), scale=1.0
    )
    found = rounded(weights, scale, np.zeros((shape.blocks, shape.rows, shape.rows), dtype=np.int32))
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, nearest(weights, scale))


@pytest.mark.parametrize("windows", [1, 5, 400])
@pytest.mark.parametrize("factor", [1.0, 3.0, 100.0])
def test_codes_stay_in_int8_whatever_the_others_leave_to_them(factor: float, windows: int) -> None:
    weights, scale = made_up(6, 16, 3, 1)
    found = rounded(factor * weights, scale, correlated(1, 144, 1, windows))
    assert np.abs(found.astype(int)).max() == 127
    assert found.min() >= -127
    if factor == 1.0:
        assert np.abs(found - nearest(weights, scale)).max() < 20


@pytest.mark.parametrize("together", [1, 144 * 10 * 2, 2**20])
def test_blocks_are_rounded_as_if_they_were_alone(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, scale = made_up(10, 80, 3, 2)
    moments = correlated(5, 144, 2)
    monkeypatch.setattr(module, "TOGETHER", together)
    found = rounded(weights, scale, moments)
    assert (found != nearest(weights, scale)).mean() > 0.05
    for block in range(5):
        part = slice(16 * block, 16 * block + 16)
        alone = rounded(np.ascontiguousarray(weights[:, part]), scale, moments[block : block + 1])
        np.testing.assert_array_equal(found[:, part], alone)


def test_channels_that_fill_up_the_last_block_change_nothing() -> None:
    """17 channels have two blocks of 9: the last channel's moments are 0, and there is no weight for it."""
    weights, scale = made_up(6, 17, 3, 3)
    moments = correlated(2, 81, 3)
    moments[1, 72:] = moments[1, :, 72:] = 0
    wider = np.concatenate([weights, np.zeros((6, 1, 3, 3))], axis=1)
    found = rounded(weights, scale, moments)
    assert found.shape == (6, 17, 3, 3)
    both = rounded(wider, scale, moments)
    np.testing.assert_array_equal(both[:, :17], found)
    assert not both[:, 17].any()


def test_convs_that_read_the_same_are_rounded_together_as_each_alone() -> None:
    weights, scales = zip(*(made_up(outputs, 32, 3, outputs) for outputs in (16, 64, 7)), strict=True)
    moments = correlated(2, 144, 4)
    together = round_with_feedback(weights, scales, moments)
    assert [codes.shape for codes in together] == [own.shape for own in weights]
    for codes, own, scale in zip(together, weights, scales, strict=True):
        np.testing.assert_array_equal(codes, rounded(own, scale, moments))


def test_the_unit_of_the_moments_does_not_matter() -> None:
    weights, scale = made_up(8, 16, 3, 5)
    moments = correlated(1, 144, 5)
    np.testing.assert_array_equal(rounded(weights, scale, 64 * moments), rounded(weights, scale, moments))


@pytest.mark.parametrize("windows", [3, 60, 1200])
def test_the_error_on_the_windows_themselves_is_smaller_also_if_they_are_few(windows: int) -> None:
    weights, scale = made_up(16, 16, 3, 6)
    moments = correlated(1, 144, 6, windows)

    def cost(codes: npt.NDArray[Any]) -> float:
        missing = (weights / scale.reshape(-1, 1, 1, 1) - codes).reshape(16, -1)
        return float(np.einsum("oi,ij,oj->", missing, moments[0].astype(np.float64), missing))

    assert cost(rounded(weights, scale, moments)) < 0.5 * cost(nearest(weights, scale))


def conv_windows(model: ir.Model, inputs: tuple[ConvInput, ...], images: npt.NDArray[np.float32]) -> dict[str, Codes]:
    """All windows that each Conv reads on the images."""
    exposed = model.clone()
    wanted = {each.tensor for each in inputs}
    made = [value for node in exposed.graph for value in node.outputs if value.name in wanted]
    exposed.graph.outputs.extend(made)
    names = [value.name for value in made]
    values = dict(zip(names, session_of(exposed).run(names, {"images": images}), strict=True)) | {"images": images}
    return {
        each.conv: each.codes(np.concatenate([each.windows(image, 10**6, 0.0) for image in values[each.tensor]]))
        for each in inputs
    }


def sampled(model: ir.Model, inputs: tuple[ConvInput, ...], images: npt.NDArray[np.float32]) -> Moments:
    """Moments of these inputs as calibration takes them: some windows of each image."""
    exposed = model.clone()
    wanted = {each.tensor for each in inputs} - {"images"}
    exposed.graph.outputs.extend(value for node in exposed.graph for value in node.outputs if value.name in wanted)
    session, moments = session_of(exposed), Moments(inputs, len(images))
    sampler = Sampler(moments)
    for index in range(len(images)):
        image = images[index : index + 1]
        values = session.run(sorted(wanted), {"images": image})
        sampler.observe(image, dict(zip(sorted(wanted), values, strict=True)) | {"images": image})
    sampler.flush()
    return moments


def test_outputs_on_images_that_were_not_sampled_are_nearer(
    trained_graph: ir.Model, digits: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    """Every Conv's output, and then the logits of the int8 graph."""
    source, int8 = quantized(with_biases(trained_graph), digits[:32], tmp_path)
    ranges = ranges_of(trained_graph, digits[:32], tmp_path)
    scales = {name: found.whole.amax / 127.0 for name, found in ranges.items()}
    inputs = find_conv_inputs(source.graph, scales, None)
    moments, others = sampled(source, inputs, digits[:32]), conv_windows(source, inputs, digits[32:])
    better = int8.clone()
    stored = find_int8_weights(better)
    assert len(inputs) == len(stored) == 9
    gains = {}
    for each in inputs:
        conv = stored[each.conv]
        weights = weights_of(source.graph, each.conv)
        codes = rounded(weights, conv.scale, moments.sums[each.conv])
        windows = others[each.conv].astype(np.float64).reshape(len(others[each.conv]), -1)
        errors = []
        for found in (codes, nearest(weights, conv.scale)):
            missing = (weights - found * conv.scale.reshape(-1, 1, 1, 1)).reshape(len(weights), -1)
            filled = np.zeros((len(weights), windows.shape[1]))
            filled[:, : missing.shape[1]] = missing
            errors.append(float(np.square(windows @ filled.T).mean()))
        gains[each.conv] = errors[0] / errors[1]
        conv.set_codes(codes)
    assert max(gains.values()) < 1.0, gains
    assert np.median([*gains.values()]) < 0.6, gains
    assert error(better, source, digits[32:]) < error(int8, source, digits[32:])
