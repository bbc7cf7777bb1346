"""Every calibration method keeps the same contract, and finds the threshold that is right for known distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy.calib.collection.ranges import BINS, Histogram, Part
from wrn_deploy.plugins import load_plugin, plugin_names

METHODS = plugin_names("wrn_deploy.calib.methods")
PERCENTILE = 99.99

Values = npt.NDArray[np.float64]


def kept_of(values: Values) -> Part:
    kept = Part(histogram=Histogram())
    stored = values.astype(np.float32)
    kept.observe(stored.min(keepdims=True), stored.max(keepdims=True), stored.size, stored)
    return kept


def threshold_of(method: Any, values: Values, percentile: float = PERCENTILE) -> float:
    kept = kept_of(values)
    return float(method.threshold(kept.histogram if method.NEEDS_HISTOGRAM else None, kept.amax, percentile))


def distributions() -> dict[str, Values]:
    dice = np.random.default_rng(5)
    normal = dice.normal(size=50_000)
    return {
        "normal": normal,
        "behind a ReLU": np.maximum(normal, 0),
        "uniform": dice.uniform(-3, 3, size=50_000),
        "Laplace": dice.laplace(size=50_000),
        "with one outlier": np.append(normal, 200.0),
        "nearly all zero": np.where(dice.random(50_000) < 1e-4, 1.0, 0.0),
        "all zero": np.zeros(100),
        "constant": np.full(100, 0.7),
        "one value": np.array([-3.0]),
        "tiny": normal * 1e-30,
        "huge": normal * 1e30,
    }


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_names_that_the_pipeline_needs(name: str) -> None:
    method = load_plugin("wrn_deploy.calib.methods", name)
    assert isinstance(method.NEEDS_HISTOGRAM, bool)
    assert callable(method.threshold)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", distributions())
def test_a_threshold_is_positive_and_at_most_the_largest_magnitude(name: str, kind: str) -> None:
    values = distributions()[kind]
    threshold = threshold_of(load_plugin("wrn_deploy.calib.methods", name), values)
    largest = float(np.abs(values.astype(np.float32)).max())
    assert 0.0 <= threshold <= largest
    assert threshold > 0.0 or largest == 0.0


@pytest.mark.parametrize("name", METHODS)
def test_a_threshold_scales_with_its_values(name: str) -> None:
    method = load_plugin("wrn_deploy.calib.methods", name)
    values = distributions()["Laplace"]
    assert threshold_of(method, values * 8) == 8 * threshold_of(method, values)
    assert threshold_of(method, -values) == threshold_of(method, values)


@pytest.mark.parametrize("name", METHODS)
def test_a_threshold_clips_next_to_nothing_of_a_uniform_distribution(name: str) -> None:
    threshold = threshold_of(load_plugin("wrn_deploy.calib.methods", name), distributions()["uniform"])
    assert 2.98 <= threshold <= 3.0


def test_max_is_the_largest_magnitude_itself() -> None:
    method = load_plugin("wrn_deploy.calib.methods", "max")
    assert threshold_of(method, np.array([0.25, -7.5, 3.0])) == 7.5


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0, 99.9, 99.99])
def test_percentile_is_numpys_to_the_width_of_a_bin(percentile: float) -> None:
    method = load_plugin("wrn_deploy.calib.methods", "percentile")
    for kind in ("normal", "behind a ReLU", "Laplace"):
        values = distributions()[kind].astype(np.float32).astype(np.float64)
        kept = kept_of(values)
        assert kept.histogram is not None
        wanted = np.percentile(np.abs(values), percentile, method="inverted_cdf")
        found = threshold_of(method, values, percentile)
        assert wanted <= found <= wanted + kept.histogram.width * 1.000001 or found == kept.amax


def test_percentile_100_is_the_maximum() -> None:
    values = distributions()["Laplace"]
    method = load_plugin("wrn_deploy.calib.methods", "percentile")
    assert threshold_of(method, values, 100.0) == np.abs(values.astype(np.float32)).max()


def test_percentile_drops_one_outlier_and_max_keeps_it() -> None:
    values = distributions()["with one outlier"]
    percentile, largest = (load_plugin("wrn_deploy.calib.methods", name) for name in ("percentile", "max"))
    assert threshold_of(largest, values) == 200.0
    assert 3.5 < threshold_of(percentile, values) < 4.5


def reference_entropy(histogram: Histogram, amax: float) -> float:
    """The published method, bin by bin, with the conventions that entropy.py's docstrings name."""
    counts = [float(histogram.counts[2 * bin_] + histogram.counts[2 * bin_ + 1]) for bin_ in range(BINS // 2)]
    counts[0] = counts[1]
    used = max((bin_ + 1 for bin_ in range(len(counts)) if counts[bin_] > 0), default=1)
    if used <= 128:
        return amax
    best = (float("inf"), 0)
    for kept in [*range(128, used, 16), used]:
        reference = [*counts[: kept - 1], counts[kept - 1] + sum(counts[kept:])]
        image = [0.0] * kept
        for level in range(128):
            bins = range(level * kept // 128, (level + 1) * kept // 128)
            filled = [bin_ for bin_ in bins if counts[bin_] > 0]
            for bin_ in filled:
                image[bin_] = sum(counts[other] for other in bins) / len(filled)
        p, q = np.array(reference) / sum(reference), np.array(image) / sum(image)
        divergence = 0.0
        for wanted, got in zip(p, q, strict=True):
            if wanted > 0:
                divergence += wanted * np.log(wanted / got) if got > 0 else wanted * np.log(BINS)
        best = min(best, (divergence, kept))
    return min(amax, best[1] * 2 * histogram.width)


@pytest.mark.parametrize("kind", ["normal", "behind a ReLU", "uniform", "Laplace", "with one outlier", "tiny", "huge"])
def test_entropy_is_that_of_a_plain_implementation(kind: str) -> None:
    kept = kept_of(distributions()[kind])
    assert kept.histogram is not None
    method = load_plugin("wrn_deploy.calib.methods", "entropy")
    found = method.threshold(kept.histogram, kept.amax, PERCENTILE)
    assert found == pytest.approx(reference_entropy(kept.histogram, kept.amax), rel=1e-12)


def test_entropy_drops_an_outlier_and_keeps_the_bulk() -> None:
    method = load_plugin("wrn_deploy.calib.methods", "entropy")
    values = np.append(distributions()["normal"], 20.0)
    assert 2.0 < threshold_of(method, values) < 8.0


def reference_mse(histogram: Histogram, amax: float) -> float:
    """Every bin's centre rounded to the nearest of 127 levels, for every candidate."""
    values = (np.arange(BINS) + 0.5) * histogram.width
    errors = {}
    for limit in np.linspace(0.05 * amax, amax, 128):
        images = np.minimum(np.rint(values / (limit / 127)), 127) * (limit / 127)
        errors[float(limit)] = float((histogram.counts * (values / amax - images / amax) ** 2).sum())
    return min(errors, key=lambda limit: errors[limit])


@pytest.mark.parametrize("kind", ["normal", "behind a ReLU", "uniform", "Laplace", "with one outlier", "tiny", "huge"])
def test_mse_is_that_of_a_plain_implementation(kind: str) -> None:
    kept = kept_of(distributions()[kind])
    assert kept.histogram is not None
    method = load_plugin("wrn_deploy.calib.methods", "mse")
    found = method.threshold(kept.histogram, kept.amax, PERCENTILE)
    assert found == pytest.approx(reference_mse(kept.histogram, kept.amax), rel=1e-12)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", [1e-45, 1e-38, 1e-3, 1.0, 255.0, 3e38])
def test_a_constant_tensor_keeps_its_value(name: str, value: float) -> None:
    """Entropy and mse may choose the levels so that the value falls on one, but lose next to nothing of it."""
    values = np.full(1000, value)
    threshold = threshold_of(load_plugin("wrn_deploy.calib.methods", name), values)
    assert 0.95 * values.astype(np.float32)[0] <= threshold <= values.astype(np.float32)[0]
