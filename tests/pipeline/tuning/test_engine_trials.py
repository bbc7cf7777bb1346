"""Which build of a plan is kept: a dearer one only if it is faster for certain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wrn_deploy.errors import DamagedFile
from wrn_deploy.pipeline.tuning.engine_trials import EngineTrial, EngineTuning, choose_fastest, read_engine_tuning

Rounds = tuple[tuple[float, ...], ...]


def times(median_ms: float, noise: float = 0.02, seed: int = 0, rounds: int = 30) -> Rounds:
    """Rounds of five runs around a median; noise is a fraction of it."""
    chance = np.random.default_rng(seed)
    return tuple(tuple(float(t) for t in median_ms * (1 + noise * chance.normal(size=5))) for _ in range(rounds))


def trial(rounds_ms: Rounds | None = None, level: int = 3, skipped: str | None = None) -> EngineTrial:
    return EngineTrial(
        level=level, aux_streams=None, tiling=None, build_s=1.5, size_bytes=1000, rounds_ms=rounds_ms, skipped=skipped
    )


def test_a_faster_build_is_kept() -> None:
    assert choose_fastest([trial(times(1.0, seed=1)), trial(times(0.9, seed=2)), trial(times(0.8, seed=3))]) == 2
    assert choose_fastest([trial(times(1.0, seed=1)), trial(times(0.8, seed=2)), trial(times(0.9, seed=3))]) == 1


def test_of_builds_that_cannot_be_told_apart_the_cheaper_one_is_kept() -> None:
    for seed in range(20):
        noisy = [trial(times(1.0, noise=0.2, seed=3 * seed + each)) for each in range(2)]
        ratio = tuning(noisy).ratio(1)
        assert ratio is not None
        assert choose_fastest(noisy) == (1 if ratio.high < 1.0 else 0)
    same = trial(times(1.0))
    assert choose_fastest([same, same, same]) == 0
    assert choose_fastest([trial(times(1.0, seed=1)), trial(times(0.9, seed=2)), trial(times(0.9, seed=2))]) == 1


def test_a_slower_machine_for_some_rounds_does_not_decide() -> None:
    """Both take turns in a round, so what slows the machine down slows both."""
    slow = [3.0 if index % 3 else 1.0 for index in range(30)]
    first, second = (
        tuple(tuple(t * factor for t in turn) for turn, factor in zip(times(median, seed=seed), slow, strict=True))
        for median, seed in ((1.0, 1), (0.95, 2))
    )
    assert choose_fastest([trial(first), trial(second)]) == 1


def test_what_was_not_measured_is_never_kept() -> None:
    gone = trial(skipped="its process died")
    assert choose_fastest([trial(times(1.0)), gone]) == 0
    assert choose_fastest([trial(times(1.0, seed=1)), gone, trial(times(0.5, seed=2))]) == 2
    few = [trial(times(1.0, rounds=5)), trial(times(0.5, rounds=5))]
    assert choose_fastest(few) == 0, "no interval without six rounds"


def tuning(trials: list[EngineTrial]) -> EngineTuning:
    return EngineTuning(
        model="wrn-16-2", random_weights=False, precision="fp16", gpu="NVIDIA H200", batch=8, data="digits",
        trials=tuple(trials), chosen=choose_fastest(trials), sha256="a" * 64,
    )  # fmt: skip


def test_a_record_is_read_back(tmp_path: Path) -> None:
    made = tuning([trial(times(1.0)), trial(times(0.5), level=5), trial(skipped="no memory")])
    (tmp_path / "tuning.json").write_text(made.to_json())
    assert read_engine_tuning(tmp_path / "tuning.json") == made
    assert (made.ratio(0), made.ratio(2)) == (None, None)
    assert made.trials[0].p50_ms == pytest.approx(1.0, rel=0.05)
    assert made.trials[2].p50_ms is None
    assert str(made.trials[1]) == "level 5"
    (tmp_path / "tuning.json").write_text(made.to_json().replace('"batch": 8', '"batch": "8"'))
    with pytest.raises(DamagedFile, match="is not a record of tuning a plan"):
        read_engine_tuning(tmp_path / "tuning.json")
