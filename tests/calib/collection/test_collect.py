"""Ranges of a real graph: those of its activations, bit for bit for any order, batch and threads, with flat memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from tests.calib.graphs import constant, session_of
from wrn_deploy.calib.collection import collect
from wrn_deploy.calib.collection.collect import ObservedGraph, collect_ranges
from wrn_deploy.calib.collection.ranges import Range
from wrn_deploy.calib.placement import calibrated_tensors
from wrn_deploy.errors import DeployError

Images = npt.NDArray[np.float32]
ROOT = Path(__file__).resolve().parents[3]


def batches_of(images: Images, size: int = 1) -> Iterator[Images]:
    return (images[start : start + size] for start in range(0, len(images), size))


def same(first: dict[str, Range], second: dict[str, Range]) -> bool:
    """Whether all that is kept is equal, bit for bit."""
    assert first.keys() == second.keys()
    pairs = [pair for name in first for pair in zip(first[name].splits, second[name].splits, strict=True)]
    return all(
        one.values == other.values
        and one.lows.tobytes() == other.lows.tobytes()
        and one.highs.tobytes() == other.highs.tobytes()
        and one.histogram is not None
        and other.histogram is not None
        and one.histogram.exponent == other.histogram.exponent
        and np.array_equal(one.histogram.counts, other.histogram.counts)
        for one, other in pairs
    )


def test_ranges_are_those_of_the_activations(made_bundle: Path, trained_graph: ir.Model, digits: Images) -> None:
    """Every activation is computed once more, in one batch, and looked at with numpy."""
    model = trained_graph.clone()
    names = calibrated_tensors(model.graph)
    inner = [value for node in model.graph for value in node.outputs if value.name in names]
    model.graph.outputs.extend(inner)
    activations = dict(
        zip(
            [value.name for value in inner],
            session_of(model).run([value.name for value in inner], {"images": digits}),
            strict=True,
        )
    )
    activations["images"] = digits
    ranges = collect_ranges(ObservedGraph(made_bundle / "fp32.onnx"), batches_of(digits), histograms=True, threads=1)
    assert set(ranges) == set(names) == set(activations)
    for name, splits in ranges.items():
        found, values = splits.whole, activations[name]
        assert found.values == values.size
        assert found.low == pytest.approx(values.min(), rel=1e-4, abs=1e-5)
        assert found.high == pytest.approx(values.max(), rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(found.channels, np.abs(values).max(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)
        assert found.histogram is not None
        assert found.histogram.counts.sum() == values.size
        fractions = [found.fraction_above(fraction * found.amax) for fraction in (0.1, 0.5)]
        wanted = [float((np.abs(values) > fraction * found.amax).mean()) for fraction in (0.1, 0.5)]
        assert fractions == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("given", [1, 4, 7, 64])
def test_order_batch_and_threads_do_not_change_a_bit(
    made_bundle: Path, digits: Images, given: int, threads: int
) -> None:
    plain = collect_ranges(ObservedGraph(made_bundle / "fp32.onnx"), batches_of(digits), histograms=True, threads=1)
    shuffled = np.random.default_rng(given).permutation(digits)
    found = collect_ranges(
        ObservedGraph(made_bundle / "fp32.onnx"), batches_of(shuffled, given), histograms=True, threads=threads
    )
    assert same(found, plain)


def test_the_working_set_bounds_the_images_worked_on_and_changes_no_bit(
    made_bundle: Path, digits: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    hand_out = collect._observe_all

    def counted(workers: list[Any], batches: Iterator[Images], answers: dict[int, Images]) -> None:
        counts.append(len(workers))
        hand_out(workers, batches, answers)

    monkeypatch.setattr(collect, "_observe_all", counted)
    found = []
    for working_set in (0, 4 << 20, 1 << 30):
        monkeypatch.setattr(collect, "WORKING_SET", working_set)
        found.append(
            collect_ranges(ObservedGraph(made_bundle / "fp32.onnx"), batches_of(digits), histograms=True, threads=16)
        )
    assert counts[0] == 1 < counts[1] < counts[2] == 16
    assert same(found[0], found[1])
    assert same(found[0], found[2])


def test_the_splits_are_those_of_the_images_themselves(made_bundle: Path, digits: Images) -> None:
    """Each image alone is in one split; all together are in the same splits, of which neither is small."""
    alone = [
        collect_ranges(
            ObservedGraph(made_bundle / "fp32.onnx"), batches_of(digits[index : index + 1]), histograms=False, threads=1
        )
        for index in range(16)
    ]
    together = collect_ranges(
        ObservedGraph(made_bundle / "fp32.onnx"), batches_of(digits[:16]), histograms=False, threads=1
    )
    for split in (0, 1):
        members = [found for found in alone if found["images"].splits[split].values]
        assert 4 <= len(members) <= 12
        for name, found in together.items():
            assert found.splits[split].values == sum(member[name].whole.values for member in members)
            assert found.splits[split].high == max(member[name].whole.high for member in members)


def test_with_and_without_histograms_the_extremes_are_the_same(made_bundle: Path, digits: Images) -> None:
    """To float32's rounding: which tensors are outputs decides what ONNX Runtime can fuse."""
    without, with_ = (
        collect_ranges(ObservedGraph(made_bundle / "fp32.onnx"), batches_of(digits), histograms=histograms, threads=1)
        for histograms in (False, True)
    )
    for name, found in without.items():
        np.testing.assert_allclose(found.whole.channels, with_[name].whole.channels, rtol=1e-4, atol=1e-5)


def test_histograms_are_made_only_where_they_are_needed(made_bundle: Path, digits: Images) -> None:
    ranges = collect_ranges(
        ObservedGraph(made_bundle / "fp32.onnx"), batches_of(digits[:4]), histograms=False, threads=1
    )
    assert all(found.whole.histogram is None and found.whole.amax > 0 for found in ranges.values())


def test_without_images_there_is_no_table(made_bundle: Path) -> None:
    with pytest.raises(DeployError, match="calibration saw no image"):
        collect_ranges(ObservedGraph(made_bundle / "fp32.onnx"), iter(()), histograms=True, threads=1)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_an_activation_that_is_not_finite_names_its_tensor(
    trained_graph: ir.Model, tmp_path: Path, digits: Images, value: float, threads: int
) -> None:
    damaged = trained_graph.clone()
    weights = damaged.graph.initializers["block2.0.conv1.weight"]
    broken = constant(weights).copy()
    broken[3] = value
    weights.const_value = ir.Tensor(broken, name=weights.name)
    ir.save(damaged, tmp_path / "damaged.onnx")
    with pytest.raises(DeployError, match=r"block2\.0\.conv1\.relu has NaN or infinite values during calibration"):
        collect_ranges(ObservedGraph(tmp_path / "damaged.onnx"), batches_of(digits), histograms=True, threads=threads)


def test_an_image_that_is_not_finite_names_the_input(made_bundle: Path, digits: Images) -> None:
    broken = digits[:4].copy()
    broken[2, 0, 0, 0] = np.nan
    with pytest.raises(DeployError, match="images has NaN or infinite values"):
        collect_ranges(ObservedGraph(made_bundle / "fp32.onnx"), batches_of(broken), histograms=True, threads=1)


PEAK = """
import sys
from pathlib import Path
import numpy as np
from wrn_deploy.calib.collection.collect import ObservedGraph, collect_ranges
from wrn_deploy.machine import peak_rss_bytes
image = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
batches = (image.copy() for _ in range(int(sys.argv[2])))
collect_ranges(ObservedGraph(Path(sys.argv[1])), batches, histograms=True, threads=1)
print(peak_rss_bytes())
"""


def test_memory_does_not_grow_with_the_number_of_images(longer_graph: ir.Model, tmp_path: Path) -> None:
    """64 images of wrn-16-2 have 120 MB of activations, 1024 have 16 times as much."""
    ir.save(longer_graph, tmp_path / "fp32.onnx")
    peaks = []
    for count in (64, 1024):
        command = [sys.executable, "-c", PEAK, str(tmp_path / "fp32.onnx"), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        peaks.append(int(done.stdout) / 2**20)
    few, many = peaks
    assert many - few < 30, peaks
    assert many < 400, peaks
