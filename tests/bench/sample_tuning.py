"""A small record of tuning, as plain data."""

from __future__ import annotations

from wrn_deploy.bench.report.tuning import Budget, ConvCost, Score, Trial, Tuning

TRIALS = (
    Trial((), 1.0, Score(1000, 700, 720, 2.5)),
    Trial(("b",), 0.9, Score(1000, 928, 985, 0.25)),
    Trial(("a",), 0.7, Score(1000, 701, 722, 2.0)),
    Trial(("a", "b"), 0.6, Score(1000, 930, 996, 0.125)),
    Trial(("a", "b", "c"), 0.0, Score(1000, 930, 1000, 0.0)),
)
TUNING = Tuning(
    model="wrn-10-1",
    random_weights=False,
    data="digits",
    sensitivity_data="digits",
    budget=Budget(0.5, None),
    reference=Score(1000, 930, 1000, 0.0),
    layers=tuple(ConvCost(name, 100, Score(8, 8, 8, error)) for name, error in (("b", 3.0), ("a", 2.0), ("c", 1.0))),
    trials=TRIALS,
    chosen=TRIALS[1],
)
