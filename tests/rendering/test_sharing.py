"""What people share of a report: tiles, the chart's rows, the command, the picture, the badge."""

from __future__ import annotations

import dataclasses
import io
import shlex
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from tests.bench.full_report import make_full_report
from tests.bench.hostile_report import make_hostile_report
from tests.bench.sample_reports import FP32, FULL, HOSTILE, INT8, NO_ACCURACY, SKIPPED, make_report, measured
from wrn_deploy.bench.report.environment import Environment, Snapshot
from wrn_deploy.bench.report.report import Report
from wrn_deploy.cli.app import load_command
from wrn_deploy.rendering.pictures.badge import draw_badge
from wrn_deploy.rendering.sharing import best_of_each, command, tiles
from wrn_deploy.rendering.summary_picture import HEIGHT, WIDTH, draw_summary
from wrn_deploy.spec import Precision

RANDOM = dataclasses.replace(FULL, random_weights=True)


def disturbed(report: Report, taken: float) -> Report:
    around = Environment(before=Snapshot(), after=Snapshot(), taken={1: taken, 8: taken})
    return dataclasses.replace(report, environment=around)


def told(report: Report) -> list[str]:
    return [f"{tile.value} {tile.label} ({tile.detail})" for tile in tiles(report)]


def test_tiles_say_how_much_faster_less_accurate_and_smaller() -> None:
    smaller = dataclasses.replace(INT8, size_bytes=3_000_000)
    assert told(make_report(FP32, smaller)) == [
        "2.1x as fast at batch 1 (95 % interval 2.1x to 2.1x)",
        "0.83 points of top-1 lost (97.50 % instead of 98.33 %; 95 % interval of the change -3.19 to +1.42)",
        "3.6x smaller file (3.00 MB instead of 10.9 MB)",
    ]
    assert told(FULL)[2] == "same size of the file (10.9 MB)"
    assert FP32.accuracy is not None
    better = dataclasses.replace(INT8, accuracy=dataclasses.replace(FP32.accuracy, correct=357))
    assert told(make_report(FP32, better))[1].startswith("0.83 points of top-1 gained (99.17 % instead of 98.33 %")


def test_tiles_claim_no_more_than_verdicts_do() -> None:
    assert told(disturbed(FULL, 0.2))[0] == (
        "≥ 2.1x as fast at batch 1 (only a bound, since other programs used 20 % of the CPU time)"
    )
    assert (
        told(disturbed(FULL, 0.3))[0]
        == "not shown how fast at batch 1 (since other programs used 30 % of the CPU time)"
    )
    alike = make_report(measured("A", Precision.FP32, 1.0), measured("B", Precision.FP32, 1.0))
    assert told(alike)[0].startswith("no difference of times shown at batch 1 (95 % interval 1.00x")
    assert not any("top-1" in text for text in (*told(RANDOM), *told(NO_ACCURACY)))
    assert told(make_report(FP32)) == told(make_report(SKIPPED)) == told(make_report()) == []


def test_the_chart_has_the_fastest_of_each_precision_and_the_reference() -> None:
    slower = dataclasses.replace(measured("OpenVINO", Precision.INT8, 1.5, 351))
    fp32 = measured("OpenVINO", Precision.FP32, 2.0, 354)
    report = make_report(FP32, INT8, slower, fp32)
    assert [one.row.name for one in best_of_each(report)] == ["ONNX Runtime int8", "OpenVINO fp32", "PyTorch fp32"]


@pytest.mark.parametrize("report", [FULL, make_full_report()], ids=["small", "whole"])
def test_the_command_measures_the_same_again(report: Report) -> None:
    program, name, bundle, *given = shlex.split(command(report))
    assert (program, name, bundle) == ("wrn-deploy", "bench", "BUNDLE")
    options = {option for parameter in load_command("bench").params for option in parameter.opts}
    assert {word for word in given if word.startswith("--")} <= options
    pairs = list(zip(given[::2], given[1::2], strict=True))
    assert ("--data", report.data) in pairs
    assert ("--batches", ",".join(map(str, report.settings.batches))) in pairs
    assert ("--rounds", str(report.settings.rounds)) in pairs
    named = [value for option, value in pairs if option == "--backend"]
    assert named == list(dict.fromkeys(row.backend for row in report.rows if row.skipped is None))
    assert ("--limit", str(max(row.accuracy.images for row in report.rows if row.accuracy))) in pairs
    assert (("--precision", "int8") in pairs) == (report is FULL)
    assert (("--scenario", "Server") in pairs) == (report is not FULL)


def test_a_baseline_that_is_not_the_reference_is_named() -> None:
    assert "--baseline" not in command(FULL)
    other = dataclasses.replace(FULL, baseline="ONNX Runtime int8")
    assert "--baseline 'onnx runtime-int8'" in command(other)


REPORTS = {
    "full": FULL,
    "whole": make_full_report(),
    "random": RANDOM,
    "noisy": disturbed(FULL, 0.5),
    "no accuracy": NO_ACCURACY,
    "one": make_report(FP32),
    "empty": make_report(),
    "hostile": make_hostile_report(HOSTILE),
}


@pytest.mark.parametrize("name", REPORTS)
def test_the_picture_has_the_size_of_a_preview(name: str) -> None:
    with Image.open(io.BytesIO(draw_summary(REPORTS[name]))) as image:
        assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
        pixels = image.convert("RGB")
        colours = {colour for _, colour in pixels.getcolors(2**24) or []}
        edges = {pixels.getpixel((x, y)) for y in range(HEIGHT) for x in (0, 20, WIDTH - 20, WIDTH - 1)}
    assert edges == {(255, 255, 255)}, "nothing runs over an edge"
    bars = {(0x3D, 0x6F, 0xB4), (0xC0, 0x5A, 0x1C)}  # of fp32 and int8, as the palette says
    assert (bars <= colours) is (name in ("full", "whole", "random", "hostile"))
    assert ((0xB4, 0x23, 0x18) in colours) is (name in ("random", "noisy"))


def test_the_badge_says_the_result() -> None:
    def words(report: Report) -> list[str]:
        return [
            node.text or "" for node in ET.fromstring(draw_badge(report).to_file()).iter() if node.tag.endswith("}text")
        ]

    assert words(FULL) == ["wrn-16-4", "2.1x as fast at batch 1 · 0.83 points of top-1 lost"]
    assert words(disturbed(FULL, 0.5)) == ["wrn-16-4", "do not trust these times"]
    assert words(make_report()) == ["wrn-16-4", "nothing to compare"]
    assert words(RANDOM)[1].endswith("random weights")
    assert "<script" not in draw_badge(make_hostile_report(HOSTILE)).to_file()
