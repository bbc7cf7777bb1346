"""What the pictures of a page show: fronts, ratios, spreads, batch sizes, bars; each tells it in words too."""

from __future__ import annotations

import dataclasses
import itertools
import re
from xml.etree import ElementTree as ET

import pytest

from tests.bench.full_report import make_full_report
from tests.bench.sample_reports import FP32, FULL, INT8, SKIPPED, STEADY, make_report, measured
from wrn_deploy.bench.report.report import Latency, LayerTime, Report, Row
from wrn_deploy.rendering.pictures.bars import LAYERS_SHOWN, file_sizes, layer_times, memory
from wrn_deploy.rendering.pictures.canvas import short
from wrn_deploy.rendering.pictures.forest import forest
from wrn_deploy.rendering.pictures.strips import distributions
from wrn_deploy.rendering.pictures.sweep import batch_sweep
from wrn_deploy.rendering.pictures.tradeoff import picture
from wrn_deploy.spec import Precision

WHOLE = make_full_report()
NONE = make_report(SKIPPED)
WIDTHS = (900, 336)


def root(drawn: str) -> ET.Element:
    """The picture as a tree, with its words checked."""
    tree = ET.fromstring(drawn)
    assert tree.get("role") == "img"
    assert tree.findtext("title")
    assert tree.findtext("desc")
    return tree


def texts(tree: ET.Element) -> list[str]:
    return [text.text or "" for text in tree.iter("text")]


def classes(tree: ET.Element, name: str) -> list[ET.Element]:
    return [element for element in tree.iter() if name in (element.get("class") or "").split()]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_pareto_front_is_ringed_and_named(width: int) -> None:
    dominated = measured("Slow", Precision.FP16, 9.0, 351)
    tree = root(picture(make_report(FP32, INT8, dominated), width))
    assert len(classes(tree, "ring")) == 2
    assert (tree.findtext("desc") or "").endswith("at least as accurate as: ONNX Runtime int8, PyTorch fp32")


def test_many_points_are_numbered_with_their_names_below() -> None:
    few, many = root(picture(FULL, 900)), root(picture(WHOLE, 900))
    named = [text.text for text in classes(few, "label")]
    assert sorted(filter(None, named)) == ["ONNX Runtime int8", "PyTorch fp32"]
    labels = {text.text for text in classes(many, "label")}
    assert {*map(str, range(1, 11)), "TensorRT CUDA graph int8"} <= labels


@pytest.mark.parametrize("width", WIDTHS)
def test_ratios_say_in_words_what_is_shown(width: int) -> None:
    same = dataclasses.replace(FP32, title="Same")
    tree = root(forest(make_report(FP32, INT8, same), 1, width))
    assert {"ONNX Runtime int8", "2.1x as fast", "Same fp32", "no difference shown"} <= set(texts(tree))
    assert "PyTorch fp32" not in texts(tree), "the baseline is the line at 1"
    assert len(classes(tree, "one")) == 1
    assert len(classes(tree, "hollow")) == 1
    assert "Same fp32: 1.000, 1.000 to 1.000, no difference shown" in (tree.findtext("desc") or "")


def test_ratios_need_a_baseline() -> None:
    assert forest(dataclasses.replace(FULL, baseline=None), 1, 900) == ""
    assert forest(FULL, 4, 900) == ""


def spread(*samples: tuple[float, ...]) -> Report:
    rows = (Row("a", f"A{index}", Precision.FP32, latencies=(Latency(1, (some,), STEADY),))
            for index, some in enumerate(samples))  # fmt: skip
    return make_report(*rows)


@pytest.mark.parametrize(
    ("report", "axis"),
    [
        (spread((1.0, 1.1, 1.4)), "ms a run at batch 1"),
        (spread((1.0, 1.1), (8.0, 9.0)), "ms a run at batch 1, log scale"),
        (spread((1.0, 1.1), (90.0, 91.0)), "time over its own median at batch 1"),
        (spread((2.0,)), "ms a run at batch 1"),
    ],
    ids=["linear", "log", "relative", "one sample"],
)
@pytest.mark.parametrize("width", WIDTHS)
def test_spreads_have_an_axis_that_fits(report: Report, axis: str, width: int) -> None:
    tree = root(distributions(report, 1, width))
    assert axis in texts(tree)
    assert len(classes(tree, "shape")) == len(report.rows)
    assert "nan" not in ET.tostring(tree, "unicode")


def test_spreads_mark_median_and_percentiles() -> None:
    tree = root(distributions(WHOLE, 1, 900))
    assert len(classes(tree, "dot")) == len(classes(tree, "whisker")) == 10
    assert any(re.fullmatch(r"171 · \d+ · \d+", text) for text in texts(tree))
    assert distributions(WHOLE, 2, 900) == ""


def test_batch_sizes_need_two() -> None:
    tree = root(batch_sweep(WHOLE, 900))
    assert {"1", "8", "32", "TensorRT fp16"} <= set(texts(tree))
    assert len(classes(tree, "curve")) == 10
    assert "PyTorch fp32: 397 at batch 1, 794 at batch 8 images/s" in batch_sweep(FULL, 900)
    alone = dataclasses.replace(FP32, latencies=FP32.latencies[:1])
    assert batch_sweep(make_report(alone), 900) == ""


@pytest.mark.parametrize("width", WIDTHS)
def test_names_at_the_ends_of_lines_keep_apart(width: int) -> None:
    rows = [measured(f"Contender {index}", Precision.FP32, 1 + index / 1000) for index in range(20)]
    tree = root(batch_sweep(make_report(*rows), width))
    heights = sorted(float(text.get("y") or 0) for text in classes(tree, "label"))
    assert len(heights) == 20
    assert min(below - above for above, below in itertools.pairwise(heights)) >= 14.9


def test_bars_have_sizes_and_memory() -> None:
    tree = root(file_sizes(FULL, 900))
    assert texts(tree).count("10.9 MB") == 2, "a skipped row has no bar"
    assert "210 MB" in texts(root(memory(FULL, 336)))
    assert file_sizes(NONE, 900) == memory(NONE, 900) == ""


def test_the_slowest_layers_come_first() -> None:
    layers = tuple(LayerTime(f"conv{index}", float(index), "int8" if index % 2 else None) for index in range(30))
    tree = root(layer_times(dataclasses.replace(INT8, layers=layers), "layers-0", 900))
    names = [text for text in texts(tree) if text.startswith("conv")]
    assert names == [f"conv{index}" for index in range(29, 29 - LAYERS_SHOWN, -1)]
    assert "29.0 ms · 6.67 % · int8" in texts(tree)
    assert len(classes(tree, "other")) == LAYERS_SHOWN // 2
    assert layer_times(INT8, "layers-0", 900) == ""


def test_long_names_keep_both_ends() -> None:
    assert short("layer1") == "layer1"
    name = short("layer1.0.conv1.weight_QuantizeLinear + layer1.0.conv1")
    assert len(name) == 30
    assert name.startswith("layer1.0.conv")
    assert name.endswith("layer1.0.conv1")
    assert "…" in name
