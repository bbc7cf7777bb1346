"""The training of a Q/DQ graph: finer scales first, then values; what is kept is what was called the best."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
import torch

from tests.calib.qat.test_trainable import nodes_of, values_of
from tests.calib.quantized import logits, quantized, with_biases
from wrn_deploy.calib.options import Loss, Schedule
from wrn_deploy.calib.qat.execute import TorchGraph
from wrn_deploy.calib.qat.loop import Answer, finetune_graph
from wrn_deploy.calib.qat.scale_search import search_scales
from wrn_deploy.calib.qat.trainable import Trainable
from wrn_deploy.training.execution.processes import Single

Images = npt.NDArray[np.float32]


class Watched:
    """Keeps what it is shown; `best` says at which look the graph is the best."""

    def __init__(self, best: int) -> None:
        self.best, self.steps = best, 0
        self.looks: list[tuple[int, float, float, Answer]] = []

    def advance(self) -> None:
        self.steps += 1

    def look(self, step: int, rate: float, loss: float, answer: Answer) -> bool:
        self.looks.append((step, rate, loss, answer))
        return len(self.looks) == self.best


@pytest.fixture
def made(trained_graph: ir.Model, digits: Images, tmp_path: Path) -> tuple[ir.Model, ir.Model]:
    return quantized(with_biases(trained_graph), digits, tmp_path)


def batches(
    images: Images, labels: npt.NDArray[np.int64] | None = None
) -> Iterator[tuple[Images, npt.NDArray[np.int64]]]:
    while True:
        yield images, np.zeros(len(images), dtype=np.int64) if labels is None else labels


@pytest.mark.parametrize("loss", Loss)
def test_the_loss_falls_and_the_best_is_kept(made: tuple[ir.Model, ir.Model], digits: Images, loss: Loss) -> None:
    source, int8 = made
    labels = logits(source, digits[:16]).argmax(axis=1)
    trained, watched = int8.clone(), Watched(best=4)
    schedule = Schedule(steps=10, batch=16, rate=0.01, loss=loss)
    finetune_graph(trained, source, batches(digits[:16], labels), schedule, watched, Single())
    assert watched.steps == 10
    assert [step for step, *_ in watched.looks] == [2, 4, 6, 8, 10]
    rates = [rate for _, rate, _, _ in watched.looks]
    assert rates == sorted(rates, reverse=True)
    losses = [loss for _, _, loss, _ in watched.looks]
    assert losses[-1] < losses[0]
    assert nodes_of(trained) == nodes_of(int8)
    kept = watched.looks[3][3](digits[:8])
    assert np.array_equal(TorchGraph(trained).run(torch.from_numpy(digits[:8])).numpy(), kept)
    assert not np.array_equal(watched.looks[4][3](digits[:8]), kept)


def test_without_a_best_look_the_graph_is_as_it_was(made: tuple[ir.Model, ir.Model], digits: Images) -> None:
    source, int8 = made
    trained = int8.clone()
    finetune_graph(trained, source, batches(digits[:8]), Schedule(steps=2, batch=8), Watched(best=0), Single())
    before, after = values_of(int8), values_of(trained)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_scale_that_leaves_the_others_no_levels_is_made_finer(
    trained_graph: ir.Model, digits: Images, tmp_path: Path
) -> None:
    """One channel in front of a Conv is 2**10 times as large, and weighs as much less."""
    model = with_biases(trained_graph)
    nodes = {node.name: node for node in model.graph}
    for name, index, factor in (
        ("block2.0.conv1", 1, 1024.0),
        ("block2.0.conv1", 2, 1024.0),
        ("block2.0.conv2", 1, 1 / 1024),
    ):
        value = nodes[name].inputs[index]
        assert value is not None
        assert value.const_value is not None
        array = value.const_value.numpy().copy()
        array[(slice(None), 3) if name.endswith("conv2") else 3] *= factor
        value.const_value = ir.Tensor(array, name=value.name)
    source, int8 = quantized(model, digits, tmp_path)
    executed = TorchGraph(int8)
    values = Trainable(int8, executed, scales=True)
    factors = search_scales(executed, values.activation_scales, torch.from_numpy(digits[:16]))
    assert min(factors, key=lambda name: factors[name]) == "block2.0.conv1.relu.scale"
    assert factors["block2.0.conv1.relu.scale"] < 2.0**-4
    before = logits(int8, digits[16:])
    values.rescale(factors)
    values.store()
    wanted = logits(source, digits[16:])
    assert np.mean((logits(int8, digits[16:]) - wanted) ** 2) < 0.5 * np.mean((before - wanted) ** 2)
