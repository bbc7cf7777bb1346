"""The guards' advice: for every method, equalised or not, it names options that exist and are not in use."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shlex
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest

from tests.calib.guarded import calibrated
from tests.calib.guards.conftest import Digits, Graphs
from wrn_deploy.calib.collection.collect import ObservedGraph, collect_ranges
from wrn_deploy.calib.collection.ranges import BINS, Histogram, Part, Range
from wrn_deploy.calib.collection.table import CalibrationTable, TensorRange
from wrn_deploy.calib.equalization.equalize import equalized_units, find_equalization
from wrn_deploy.calib.guard import Calibrated, CalibrationWarning, GuardLimits, run_guards
from wrn_deploy.calib.guards import clipped, few_images
from wrn_deploy.cli.app import GROUPS, load_command
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions
from wrn_deploy.plugins import plugin_names

METHODS = plugin_names("wrn_deploy.calib.methods")
EQUALIZE, TUNE = "calibrate with --equalize", "keep such Convs in fp16 with `wrn-deploy tune`"
WARNING = "warning: "  # what the command line puts before a text


def synthetic(
    *, method: str, clips: float = 0.0, zeros: float = 0.0, halves: tuple[float, float] = (1.0, 1.0), images: int = 16,
    available: int = 10_000, histograms: bool = True,
) -> Calibrated:  # fmt: skip
    """One tensor with the largest values of the halves; `zeros` of its values are zero, and `clips` lie far out."""
    counts = np.zeros(BINS, dtype=np.int64)
    counts[0], counts[BINS - 1] = round(zeros * 10**6), round(clips * 10**6)
    counts[1 : BINS // 8] = (10**6 - counts.sum()) // (BINS // 8 - 1)
    parts = [
        Part(
            histogram=Histogram(exponent=0, counts=counts) if histograms else None,
            lows=np.zeros(1, dtype=np.float32),
            highs=np.full(1, half, dtype=np.float32),
            values=int(half > 0.0),
        )
        for half in halves
    ]
    table = CalibrationTable(
        method=method,
        percentile=99.0 if method == "percentile" else None,
        data="cats",
        data_digest="",
        images=images,
        graph_sha256="",
        tensors={"a": TensorRange(low=0.0, high=1.0, amax=0.5, clipped=clips)},
    )
    return Calibrated(
        graph=ir.Graph([], [], nodes=[]),
        ranges={"a": Range((parts[0], parts[1]))},
        table=table,
        threshold=lambda _histogram, amax: amax,
        equalized=False,
        available=available,
    )


def remedy(warning: CalibrationWarning | None) -> str:
    assert warning is not None
    return warning.remedy


def options_in(text: str) -> Iterator[tuple[str, str]]:
    """The options that a text names, with their values."""
    words = shlex.split(text.replace(",", " ").replace("(", " ").replace(")", " "))
    for word, following in itertools.pairwise([*words, ""]):
        if word.startswith("--"):
            yield word, following


def check_advice(warning: CalibrationWarning, seen: Calibrated) -> None:
    """The text is short, and what it names exists and is not in use."""
    assert len(WARNING + warning.text) <= 200, warning.text
    known = {option for parameter in load_command("calibrate").params for option in parameter.opts}
    table = seen.table
    used = {"--calib-method": table.method, "--percentile": f"{table.percentile:g}" if table.percentile else ""}
    for option, value in options_in(warning.remedy):
        assert option in known
        assert used.get(option) != value
        assert option != "--equalize" or not seen.equalized
        assert option != "--calib-size" or table.images < int(value) <= seen.available
        assert option != "--percentile" or table.percentile is None or float(value) > table.percentile
    for command in re.findall(r"`wrn-deploy (\w+)`", warning.remedy):
        assert any(command in commands for commands in GROUPS.values())


@pytest.mark.parametrize("equalized", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_advice_names_nothing_that_is_on(digits: Digits, graphs: Graphs, method: str, equalized: bool) -> None:
    unlike = digits(16) * np.geomspace(0.03, 1.0, 16, dtype=np.float32)[:, None, None, None]
    limits = GuardLimits(clipped=1e-5, spread=0.01)
    calibration = calibrated(graphs["near-dead"], unlike, method, 99.0)
    for available in (16, 100, 10**9):
        seen = dataclasses.replace(calibration, equalized=equalized, available=available, limits=limits)
        found = {warning.id: warning for warning in run_guards(seen)}
        # Thresholds that clip make finer steps, whose noise in a dead channel is about the limit.
        near = {"near-dead-bn"} & {*found} if method in {"entropy", "percentile"} else {"near-dead-bn"}
        assert set(found) == {"extreme-ranges", "few-images", *near} | ({"clipped"} if method != "max" else set())
        for warning in found.values():
            check_advice(warning, seen)
        assert found["extreme-ranges"].remedy == (TUNE if equalized else EQUALIZE)
        if "near-dead-bn" in found:
            assert found["near-dead-bn"].remedy == (TUNE if equalized else EQUALIZE)


@pytest.mark.parametrize(
    ("method", "clips", "zeros", "advice"),
    [
        ("percentile", 0.008, 0.5, "--percentile 99.9"),
        ("percentile", 0.002, 0.88, "--percentile 99.9"),
        ("percentile", 0.0001, 0.995, "--percentile 99.999"),
        ("percentile", 0.00002, 0.99995, "--calib-method max"),
        ("mse", 0.012, 0.0, "--calib-method percentile --percentile 99.9"),
        ("mse", 0.012, 0.8, "--calib-method percentile --percentile 99.9"),
        ("entropy", 0.012, 0.0, "--calib-method mse"),
        ("another", 0.012, 0.0, "--calib-method mse"),
    ],
)
def test_clipped_names_what_clips_less(method: str, clips: float, zeros: float, advice: str) -> None:
    seen = synthetic(method=method, clips=clips, zeros=zeros)
    warning = clipped.check(seen)
    assert warning is not None
    assert warning.remedy == f"calibrate with {advice}"
    check_advice(warning, seen)


@pytest.mark.parametrize("equalized", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("images", [1, 8, 32, 64, 200])
@pytest.mark.parametrize("available", [200, 500, 10**6])
def test_few_images_advise_more(method: str, equalized: bool, images: int, available: int) -> None:
    halves = (1.0, 0.6) if images > 1 else (1.0, 0.0)
    seen = synthetic(method=method, halves=halves, images=images, available=available, histograms=method != "max")
    seen = dataclasses.replace(seen, equalized=equalized)
    warning = few_images.check(seen)
    assert warning is not None
    check_advice(warning, seen)
    enough = warning.numbers["enough"]
    assert enough >= 2 * images
    if method == "max" and images >= 64:
        assert warning.remedy == "more images hardly stabilise `max`; calibrate with --calib-method mse"
    elif enough <= available:
        assert f"--calib-size {enough:.0f}," in warning.remedy
    elif images < available:
        assert f"--calib-size {available}, all of cats, though about {enough:.0f} are needed" in warning.remedy
    else:
        assert "cats has no more" in warning.remedy


@pytest.mark.parametrize(
    ("method", "equalized", "images", "spread", "enough"),
    [
        ("percentile", False, 8, 0.2, 32),  # settled both measured networks
        ("percentile", False, 100, 0.2, 256),  # 100 * (0.2 / 0.15)**(1 / 0.38) = 213
        ("percentile", True, 8, 0.5, 64),
        ("mse", False, 8, 0.2, 64),
        ("mse", True, 8, 0.3, 128),
        ("mse", True, 200, 0.16, 512),  # twice the images at least
        ("entropy", True, 8, 0.3, 512),
        ("entropy", True, 200, 0.9, 4096),  # 16 times the images at most
        ("max", True, 8, 0.3, 128),  # 8 * (0.3 / 0.15)**(1 / 0.2) = 256, at most 128
        ("another", False, 8, 0.2, 512),
    ],
)
def test_how_many_images_are_enough(method: str, equalized: bool, images: int, spread: float, enough: int) -> None:
    seen = synthetic(method=method, halves=(1.0, 1.0 - spread), images=images)
    warning = few_images.check(dataclasses.replace(seen, equalized=equalized))
    assert warning is not None
    assert warning.numbers["median"] == pytest.approx(spread)
    assert warning.numbers["enough"] == enough


def test_a_method_that_agrees_on_all_images_of_the_data_is_named() -> None:
    """The thresholds in use differ, but the histograms of the halves are alike, and so are what `mse` makes of them."""
    seen = dataclasses.replace(synthetic(method="entropy", images=40, available=40), threshold=_TakeTurns((1.0, 0.5)))
    warning = few_images.check(seen)
    assert warning is not None
    assert warning.remedy == "cats has no more; calibrate with --calib-method mse, which they stabilise"


def test_the_percentile_that_is_tried_is_the_default() -> None:
    assert CalibrateOptions(data="digits").percentile == few_images.PERCENTILE


class _TakeTurns:
    """Thresholds that do not depend on the values."""

    def __init__(self, thresholds: tuple[float, ...]) -> None:
        self.next = itertools.cycle(thresholds)

    def __call__(self, _histogram: Histogram | None, _amax: float) -> float:
        return next(self.next)


def test_the_percentile_that_is_named_settles_clipping(digits: Digits, graphs: Graphs) -> None:
    images = digits(128)
    named = remedy(clipped.check(calibrated(graphs["healthy"], images, "percentile", 98.5)))
    percentile = float(dict(options_in(named))["--percentile"])
    assert percentile > 98.5
    assert clipped.check(calibrated(graphs["healthy"], images, "percentile", percentile)) is None


def test_equalisation_hides_no_spread_from_max(digits: Digits, graphs: Graphs) -> None:
    """It makes the largest values of the channels alike, and so the largest values of both halves."""
    unlike = digits(4) * np.array([1.0, 0.3, 0.1, 0.03], dtype=np.float32)[:, None, None, None]
    plain = calibrated(graphs["healthy"], unlike, "max")
    found = find_equalization(plain.graph, plain.ranges)
    units = equalized_units(plain.graph, found)
    ranges = collect_ranges(ObservedGraph(graphs["healthy"]), [unlike], histograms=False, threads=1, units=units)
    equalized = dataclasses.replace(
        plain,
        ranges=ranges,
        table=dataclasses.replace(plain.table, equalization=found),
        equalized=True,
    )
    before, after = few_images.check(plain), few_images.check(equalized)
    assert before is not None
    assert after is not None
    assert after.numbers["median"] == pytest.approx(before.numbers["median"], rel=1e-4)
