"""`wrn-deploy explain` as users see it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from wrn_deploy.bench.report.ratios import Ratio
from wrn_deploy.bench.report.verdicts import Doubts, Verdict, decide
from wrn_deploy.cli.show.inspection import show_explanation, summary
from wrn_deploy.pipeline.inspection.explain import Explanation, LayerRow, Side


def test_the_table_the_rules_and_the_sum(cli: Cli, made_bundle: Path) -> None:
    files = (made_bundle / "int8-onnxruntime.onnx", made_bundle / "int8-tensorrt.onnx")
    outcome = cli("explain", *files, "--rounds", 2, "--threads", 1)
    assert outcome.code == 0
    text = outcome.out
    assert text.startswith(f"A {files[0]}\nB {files[1]}\nbatch 1, ONNX Runtime on this CPU, 6 interleaved runs of each")
    assert "random inputs (times do not depend on the pixels)" in text
    assert re.search(r"block2\.0\.conv2 +\d+\.\d{3} +\d+\.\d{3} +[+-]\d+\.\d{3} +\d+\.\d{2} +int8 +fp32 +QDQ50", text)
    assert re.search(r"between: DequantizeLinear \(\d+, \d+\)", text)
    assert re.search(r"unaccounted for: \d.* ms of A \(-?\d+ %\), \d.* ms of B", text)
    assert "QDQ501 (the graph as a whole): activations are int8, not uint8. Quantize activations to uint8" in text
    assert re.match(r"B: .* (as|of|to|with) A \(\d", text.splitlines()[-1])


def test_all_rows_are_in_the_json(cli: Cli, made_bundle: Path) -> None:
    files = (made_bundle / "fp32.onnx", made_bundle / "int8-onnxruntime.onnx")
    record = cli("explain", *files, "--rounds", 2, "--threads", 1, "--batch", 2, "--json").json()
    assert record["batch"] == 2
    row = next(row for row in record["rows"] if row["name"] == "block2.0.conv2")
    assert row["difference_ms"] == row["b"]["ms"] - row["a"]["ms"]
    assert (row["a"]["arithmetic"], row["b"]["arithmetic"]) == ("fp32", "int8")


def test_errors_are_reported(cli: Cli, made_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"garbage")
    outcome = cli("explain", made_bundle / "fp32.onnx", tmp_path / "x.onnx")
    assert outcome.code == 1
    assert "x.onnx is not an ONNX file" in outcome.err
    assert cli("explain", made_bundle / "fp32.onnx", made_bundle / "int8.plan").code in (1, 2)


def verdict(a: float, b: float) -> Verdict:
    return decide(Ratio(b / a, b / a, b / a), b / a, Doubts())


def explanation(*rows: LayerRow, unaccounted_ms: float = 0.0) -> Explanation:
    totals = (sum(row.a.ms for row in rows), sum(row.b.ms for row in rows) + unaccounted_ms)
    return Explanation(
        a="a", b="b", runtime="CPU", batch=1, runs=3, totals_ms=totals, verdict=verdict(*totals),
        unaccounted_ms=(0.0, unaccounted_ms),
        between_ms=(0.0, 0.0), rows=rows, rules={}, graph_rules=(),
    )  # fmt: skip


@pytest.mark.parametrize(("unaccounted_ms", "reported"), [(0.01, False), (5.0, True)])
def test_unsteady_times_are_reported(capfd: pytest.CaptureFixture[str], unaccounted_ms: float, reported: bool) -> None:
    row = LayerRow("conv1", Side(1.0, 1.0, "fp32", 1), Side(1.0, 1.0, "fp32", 1), ())
    show_explanation(explanation(row, unaccounted_ms=unaccounted_ms), as_json=False)
    text = capfd.readouterr().out
    assert f"{unaccounted_ms:.3f} ms of B" in text
    assert ("this machine is busy" in text) is reported


def test_the_summary_names_what_is_won_and_lost() -> None:
    rows = [
        LayerRow("conv1", Side(8.0, 8.0, "fp32", 1), Side(2.0, 2.0, "int8", 1), ()),
        LayerRow("conv2", Side(1.0, 1.0, "fp32", 1), Side(1.02, 1.0, "int8", 1), ()),
        LayerRow("between: Cast", Side(), Side(1.48, 1.0, "", 3), ()),
    ]
    assert summary(explanation(*rows)) == (
        "B: 2.0x as fast as A (4.500 ms, 9.000 ms): 1 of 2 layers faster, 0 slower (by more than 5 %); "
        "largest gain: conv1 (-6.000 ms); largest loss: between: Cast (+1.480 ms)."
    )


def test_the_summary_of_two_that_are_alike() -> None:
    row = LayerRow("conv1", Side(1.0, 1.0, "fp32", 1), Side(1.0, 1.0, "fp32", 1), ())
    assert summary(explanation(row)) == (
        "B: no difference shown to A (1.000 ms, 1.000 ms): 0 of 1 layers faster, 0 slower (by more than 5 %)."
    )


def test_a_difference_that_rounds_to_nothing_has_no_sign(capfd: pytest.CaptureFixture[str]) -> None:
    show_explanation(
        explanation(LayerRow("conv1", Side(1.0, 1.0, "fp32", 1), Side(0.9999, 0.9, "fp32", 1), ())), as_json=False
    )
    text = capfd.readouterr().out
    assert "-0.000" not in text
    assert "-0 %" not in text
    assert "B: within 0.5 % of A (1.000 ms, 1.000 ms)" in text
