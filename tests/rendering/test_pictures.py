"""The pictures of a page: fronts, ratios, spreads, batch sizes, bars; each is described in words too."""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
from xml.etree import ElementTree as ET

import pytest

from tests.bench.full_report import make_full_report
from tests.bench.sample_reports import FP32, FULL, INT8, SKIPPED, STEADY, make_report, measured
from wrn_deploy.bench.report.environment import Environment, Snapshot
from wrn_deploy.bench.report.report import Latency, LayerTime, Report, Row
from wrn_deploy.rendering.pictures.axis import Axis
from wrn_deploy.rendering.pictures.bars import LAYERS_SHOWN, draw_file_sizes, draw_layers, draw_memory
from wrn_deploy.rendering.pictures.label_placement import Box, around, place_labels
from wrn_deploy.rendering.pictures.spread import draw_ratios, draw_spread
from wrn_deploy.rendering.pictures.svg import LETTER, Picture, element, short, text
from wrn_deploy.rendering.pictures.sweep import draw_batches
from wrn_deploy.rendering.pictures.tradeoff import draw_tradeoff
from wrn_deploy.spec import Precision

WHOLE = make_full_report()
NONE = make_report(SKIPPED)
WIDTHS = (900, 336)


def root(drawn: Picture | None) -> ET.Element:
    """The picture as a tree, with its words checked."""
    assert drawn is not None
    tree = ET.fromstring(drawn.inline("one"))
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
    tree = root(draw_tradeoff(make_report(FP32, INT8, dominated), width))
    assert len(classes(tree, "ring")) == 2
    assert len(classes(tree, "open")) == 1, "3 images of 360 do not show that fp32 is more accurate"
    words = "or less accurate than: ONNX Runtime int8. Not decided, within the intervals, for: PyTorch fp32"
    assert (tree.findtext("desc") or "").endswith(words)


def test_a_busy_machine_has_no_front_and_no_ratios() -> None:
    busy = Environment(before=Snapshot(), after=Snapshot(), taken={1: 0.6})
    report = dataclasses.replace(make_report(FP32, INT8), environment=busy)
    tree = root(draw_tradeoff(report, 900))
    assert len(classes(tree, "ring")) == len(classes(tree, "open")) == 2
    assert classes(tree, "front") == []
    assert "less accurate than: none. Not decided" in tree.findtext("desc", "")
    tree = root(draw_ratios(report, 1, 900))
    assert classes(tree, "interval") == classes(tree, "mark") == []
    assert tree.findtext("desc") == "ONNX Runtime int8: too noisy to conclude"
    assert "too noisy to conclude" in texts(tree)


def test_a_bound_has_a_line_without_a_point() -> None:
    around = Environment(before=Snapshot(), after=Snapshot(), taken={1: 0.2})
    tree = root(draw_ratios(dataclasses.replace(make_report(FP32, INT8), environment=around), 1, 900))
    assert (len(classes(tree, "interval")), classes(tree, "mark")) == (1, [])
    assert tree.findtext("desc") == "ONNX Runtime int8: 0.476 to 0.476, at least 2.1x as fast"


@pytest.mark.parametrize("width", WIDTHS)
def test_points_are_numbered_and_the_three_that_matter_have_their_names(width: int) -> None:
    tree = root(draw_tradeoff(WHOLE, width))
    labels = [text.text or "" for text in classes(tree, "label")]
    numbered = [label for label in labels if label[0].isdigit()]
    assert len(numbered) == 10
    named = {label.partition(" ")[2] for label in numbered if not label.isdigit()}
    fastest = "TensorRT CUDA graph int8" if width > 600 else "TensorRT …graph int8"
    assert named == {fastest, "TensorRT fp16", "PyTorch fp32"}
    assert {"TensorRT CUDA graph int8", "OpenVINO int8", "PyTorch fp32"} <= set(labels), "the key names all"


def test_a_reference_that_was_not_timed_has_no_name() -> None:
    report = dataclasses.replace(FULL, reference="another")
    labels = {text.text for text in classes(root(draw_tradeoff(report, 900)), "label")}
    assert {"1 ONNX Runtime int8", "2 PyTorch fp32"} <= labels, "both are on the front"


@pytest.mark.parametrize("width", WIDTHS)
def test_ratios_say_in_words_what_is_shown(width: int) -> None:
    same = dataclasses.replace(FP32, title="Same")
    tree = root(draw_ratios(make_report(FP32, INT8, same), 1, width))
    assert {"ONNX Runtime int8", "2.1x as fast", "Same fp32", "no difference shown"} <= set(texts(tree))
    assert "PyTorch fp32" not in texts(tree), "the baseline is the line at 1"
    assert len(classes(tree, "one")) == 1
    assert len(classes(tree, "hollow")) == 1
    assert "Same fp32: 1.000, 1.000 to 1.000, no difference shown" in (tree.findtext("desc") or "")


def test_ratios_need_a_baseline() -> None:
    assert draw_ratios(dataclasses.replace(FULL, baseline=None), 1, 900) is None
    assert draw_ratios(FULL, 4, 900) is None


def spread(*samples: tuple[float, ...]) -> Report:
    rows = (Row(backend="a", title=f"A{index}", precision=Precision.FP32, latencies=(Latency(1, (some,), STEADY),))
            for index, some in enumerate(samples))  # fmt: skip
    return make_report(*rows)


@pytest.mark.parametrize(
    ("report", "axis"),
    [
        (spread((1.0, 1.1, 1.4)), "ms per run at batch 1"),
        (spread((1.0, 1.1), (8.0, 9.0)), "ms per run at batch 1, log scale"),
        (spread((1.0, 1.1), (90.0, 91.0)), "time over its own median at batch 1"),
        (spread((2.0,)), "ms per run at batch 1"),
    ],
    ids=["linear", "log", "relative", "one sample"],
)
@pytest.mark.parametrize("width", WIDTHS)
def test_spreads_have_an_axis_that_fits(report: Report, axis: str, width: int) -> None:
    tree = root(draw_spread(report, 1, width))
    assert axis in texts(tree)
    assert len(classes(tree, "shape")) == len(report.rows)
    assert "nan" not in ET.tostring(tree, "unicode")


def test_spreads_of_all_batch_sizes_have_one_unit() -> None:
    row = dataclasses.replace(
        FP32,
        latencies=tuple(Latency(batch, (times,) * 8, STEADY) for batch, times in ((1, (1.0, 99.0)), (8, (2.0, 3.0)))),
    )
    for batch in (1, 8):
        words = "".join(root(draw_spread(make_report(row), batch, 900)).itertext())
        assert f"time over its own median at batch {batch}" in words


def test_spreads_mark_median_and_percentiles() -> None:
    tree = root(draw_spread(WHOLE, 1, 900))
    assert len(classes(tree, "dot")) == len(classes(tree, "whisker")) == 10
    assert any(re.fullmatch(r"171 · \d+ · \d+", text) for text in texts(tree))
    assert draw_spread(WHOLE, 2, 900) is None


def test_batch_sizes_need_two() -> None:
    tree = root(draw_batches(WHOLE, 900))
    assert {"1", "8", "32", "TensorRT fp16"} <= set(texts(tree))
    assert len(classes(tree, "curve")) == 10
    assert "PyTorch fp32: 397 at batch 1, 794 at batch 8 images/s" in root(draw_batches(FULL, 900)).findtext("desc", "")
    alone = dataclasses.replace(FP32, latencies=FP32.latencies[:1])
    assert draw_batches(make_report(alone), 900) is None


@pytest.mark.parametrize("width", WIDTHS)
def test_names_at_the_ends_of_lines_keep_apart(width: int) -> None:
    rows = [measured(f"Candidate {index}", Precision.FP32, 1 + index / 1000) for index in range(20)]
    tree = root(draw_batches(make_report(*rows), width))
    heights = sorted(float(text.get("y") or 0) for text in classes(tree, "label"))
    assert len(heights) == 20
    assert min(below - above for above, below in itertools.pairwise(heights)) >= 14.9


def test_bars_have_sizes_and_memory() -> None:
    tree = root(draw_file_sizes(FULL, 900))
    assert texts(tree).count("10.9 MB") == 2, "a skipped row has no bar"
    assert "210 MB" in texts(root(draw_memory(FULL, 336)))
    assert draw_file_sizes(NONE, 900) is draw_memory(NONE, 900) is None


def test_the_slowest_layers_come_first() -> None:
    layers = tuple(LayerTime(f"conv{index}", float(index), "int8" if index % 2 else None) for index in range(30))
    tree = root(draw_layers(dataclasses.replace(INT8, layers=layers), 900))
    names = [text for text in texts(tree) if text.startswith("conv")]
    assert names == [f"conv{index}" for index in range(29, 29 - LAYERS_SHOWN, -1)]
    assert "29.0 ms · 6.67 % · int8" in texts(tree)
    assert len(classes(tree, "other")) == LAYERS_SHOWN // 2
    assert draw_layers(INT8, 900) is None


def test_long_names_keep_both_ends() -> None:
    assert short("layer1") == "layer1"
    name = short("layer1.0.conv1.weight_QuantizeLinear + layer1.0.conv1")
    assert len(name) == 30
    assert name.startswith("layer1.0.conv")
    assert name.endswith("layer1.0.conv1")
    assert "…" in name


RANDOM = dataclasses.replace(FULL, random_weights=True)


@pytest.mark.parametrize("width", WIDTHS)
def test_without_accuracy_latency_has_bars(width: int) -> None:
    for report in (make_report(measured("A", Precision.FP32, 1.0)), make_report(FP32), RANDOM):
        tree = root(draw_tradeoff(report, width))
        assert len(list(tree.iter("rect"))) == len([row for row in report.rows if row.latencies])
        assert tree.findtext("title") == "Latency at batch 1"
        assert "top-1 accuracy, %" not in texts(tree)
        assert len(classes(tree, "whisker")) == len(list(tree.iter("rect")))
    assert not list(root(draw_tradeoff(FULL, width)).iter("rect"))
    assert draw_tradeoff(NONE, width) is None


def test_a_wide_spread_has_a_log_axis() -> None:
    fast = measured("Fast", Precision.INT8, 0.1, 350)
    found = [" ".join(texts(root(draw_tradeoff(report, 600)))) for report in (FULL, make_report(FP32, fast))]
    assert ["log scale" in words for words in found] == [False, True]


def test_ticks_are_round_numbers() -> None:
    assert Axis(0.0, 2.9, 0, 100).labelled_ticks()[:3] == [(0.0, "0.0"), (0.5, "0.5"), (1.0, "1.0")]
    assert Axis(0.4, 11, 0, 100, log=True).ticks() == [0.5, 1, 2, 5, 10]
    assert Axis(0.4, 1.6, 0, 100, log=True).ticks() == [0.5, 0.7, 1, 1.5]
    assert Axis(97.7, 98.7, 100, 0).ticks() == [97.8, 98.0, 98.2, 98.4, 98.6]
    assert Axis(1, 100, 0, 200, log=True).at(10) == pytest.approx(100)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (0.0, 0.0), (1.0, 1.5), (1.0, 90.0)])
def test_an_axis_around_values_holds_them_with_room(low: float, high: float) -> None:
    axis = Axis.around(low, high, 0, 100, log_from=10)
    assert axis.log is (high == 90.0)
    assert 0 < axis.at(low) <= axis.at(high) < 100


@pytest.mark.parametrize("width", [360, 900])
@pytest.mark.parametrize("seed", range(10))
def test_labels_of_twelve_points_never_overlap(seed: int, width: int) -> None:
    source = random.Random(seed)
    frame = Box(46, 30, width, 330)
    levels = [source.uniform(60, 300) for _ in range(3)]  # candidates often have the same accuracy
    points = [(source.uniform(50, width - 14), source.choice(levels)) for _ in range(12)]
    marks = [around(point, 5.5) for point in points]
    words = ["n" * source.randint(10, 20) for _ in range(3)] + [str(number) for number in range(4, 13)]
    labels = place_labels(points, words, marks, frame)
    for index, label in enumerate(labels):
        assert label.right - label.left >= LETTER * len(words[index])
        assert frame.holds(label)
        assert not any(label.touches(other) for other in (*labels[:index], *marks))


def test_texts_and_attributes_are_escaped() -> None:
    assert text(0, 1.25, "<&>") == '<text class="tick" x="0" y="1.2" text-anchor="start">&lt;&amp;&gt;</text>'
    hostile = element("path", tooltip="<b>", class_='"><script>', d="")
    assert hostile == '<path class="&#34;&gt;&lt;script&gt;"><title>&lt;b&gt;</title></path>'


def test_a_file_of_its_own_is_whole() -> None:
    drawn = draw_tradeoff(FULL, 900)
    assert drawn is not None
    tree = ET.fromstring(drawn.to_file(border=16))
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    assert tree.get("viewBox", "").startswith("-16 -16 932 ")
    style = tree.findtext("{http://www.w3.org/2000/svg}style") or ""
    assert "prefers-color-scheme: dark" in style
    assert "--fp32" in style
