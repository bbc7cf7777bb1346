"""The README's chart and the results page: they agree with the committed files, and say what these say."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.pages import readme
from tests.bench.sample_reports import FP32, FULL, INT8, SKIPPED, make_report
from wrn_deploy.bench.report.report import Report

ROOT = Path(__file__).resolve().parents[2]
BENCH = "benchmarks/results/bench-wrn-16-2-2core-epyc.json"
PICTURE = "docs/images/bench-wrn-16-2.svg"
RESULTS = "docs/results.md"
TWO = make_report(FP32, INT8, SKIPPED, model="wrn-16-2")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the command reads and writes, without the results that come and go."""
    for folder in ("benchmarks", "docs/images"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("bench-*", "report.png", "chart-*")
        )
    for page in ("README.md", RESULTS):
        shutil.copy(ROOT / page, tmp_path / page)
    return tmp_path


def with_bench(tree: Path, report: Report) -> Path:
    (tree / BENCH).write_text(report.to_json(), encoding="utf-8")
    return tree


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.pages.readme", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def place(text: str, name: str) -> str:
    found = re.search(rf"<!-- results:{name} begin -->(.*)<!-- results:{name} end -->", text, re.DOTALL)
    assert found, name
    return found[1]


def test_the_committed_readme_and_pictures_agree_with_the_committed_results() -> None:
    done = run(ROOT, "--check")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_a_changed_number_is_noticed_and_fixed(tree: Path) -> None:
    run(tree)
    file = tree / "benchmarks/results/imagenet-2core-epyc.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    export = record["steps"][0]
    shown = f"| {export['step']} | {export['wall_s']:.1f} s, "
    assert shown in (tree / RESULTS).read_text(encoding="utf-8")
    export["wall_s"] = 99.94
    file.write_text(json.dumps(record), encoding="utf-8")
    noticed = run(tree, "--check")
    assert (noticed.returncode, noticed.stdout.split()[0]) == (1, RESULTS)
    assert shown in (tree / RESULTS).read_text(encoding="utf-8")
    assert run(tree).returncode == 0
    assert f"| {export['step']} | 99.9 s, " in (tree / RESULTS).read_text(encoding="utf-8")
    assert run(tree, "--check").returncode == 0


def test_a_new_benchmark_gets_a_table_and_a_picture(tree: Path) -> None:
    assert run(tree).returncode == 0
    assert "Not measured yet" in place((tree / RESULTS).read_text(encoding="utf-8"), "bench-wrn-16-2")
    with_bench(tree, TWO)
    assert set(run(tree, "--check").stdout.split()) >= {RESULTS, PICTURE}
    assert not (tree / PICTURE).exists()
    assert run(tree).returncode == 0
    text = place((tree / RESULTS).read_text(encoding="utf-8"), "bench-wrn-16-2")
    assert "| PyTorch fp32 | 2.52 (2.27) | 10.1 (9.07) | 1 | 98.33 % (354) | reference | 10.9 MB | 210 MB |" in text
    assert "| ONNX Runtime int8 | 1.20 (1.08) | 4.80 (4.32) | 0.476 (0.476 to 0.476) | 97.50 % (351) |" in text
    assert "1 more candidate could not run here" in text
    assert f"]({PICTURE.removeprefix('docs/')})" in text
    assert run(tree, "--check").returncode == 0
    (tree / PICTURE).write_text("<svg/>", encoding="utf-8")
    changed = run(tree, "--check")
    assert (changed.returncode, changed.stdout.split()[0]) == (1, PICTURE)


def test_the_papers_ratios_stand_beside_those_measured_here(tree: Path) -> None:
    record = {
        "candidate": "ONNX Runtime CPU fp32",
        "machine": {"cpu": "C", "cores": 2, "memory_mib": 2048, "gpu": None},
        "settings": {"batches": [16], "rounds": 20},
        "networks": [
            {"model": "resnet-50", "parameters": 25_557_032, "macs": 4_089_184_256, "paper_ms": 49, "ratio": None,
             "summary": {"median_ms": 400.0, "min_ms": 390.0}},
            {"model": "wrn-50-2", "parameters": 68_883_240, "macs": 11_398_021_120, "paper_ms": 93,
             "ratio": {"value": 2.5, "low": 2.25, "high": 2.75}, "summary": {"median_ms": 1000.0, "min_ms": 990.0}},
            {"model": "resnet-152", "parameters": 60_192_808, "macs": 11_513_626_624, "paper_ms": 115,
             "skipped": "dead"},
        ],
    }  # fmt: skip
    (tree / "benchmarks/results/paper-table-2core-epyc.json").write_text(json.dumps(record), encoding="utf-8")
    text = place(readme.generated(tree)[tree / RESULTS], "paper")
    assert "| resnet-50 | 25.56 M | 4.09 G | 400 (390) | 1 | 1.00 |" in text
    assert "| wrn-50-2 | 68.88 M | 11.40 G | 1000 (990) | 2.500 (2.250 to 2.750) | 1.90 |" in text
    assert "| resnet-152 | 60.19 M | 11.51 G | skipped: dead |  | 2.35 |" in text
    assert "ONNX Runtime CPU fp32, median (min); C, 2 cores, 2.00 GiB, no GPU; 20 rounds" in text


def test_random_weights_have_no_accuracy_and_say_so(tree: Path) -> None:
    made = readme.generated(with_bench(tree, dataclasses.replace(TWO, random_weights=True)))
    text = place(made[tree / RESULTS], "bench-wrn-16-2")
    assert "**RANDOM WEIGHTS" in text
    assert "top-1" not in text


def test_the_chart_has_a_bar_for_each_shown_candidate_in_both_themes(tree: Path) -> None:
    for model in readme.CHART:
        shutil.copy(ROOT / f"benchmarks/results/bench-{model}-2core-epyc.json", tree / "benchmarks/results")
    made = readme.generated(tree)
    light, dark = (made[tree / f"docs/images/chart-{theme}.svg"] for theme in ("light", "dark"))
    assert "@media not all" in light
    assert "@media all" in dark
    assert light.replace("not all", "all") == dark
    svg = ET.fromstring(light)
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert all(texts.count(name) == len(readme.CHART) for name in ("PyTorch fp32", "ONNX Runtime int8"))
    bars = [element for element in svg.iter("{http://www.w3.org/2000/svg}rect") if element.get("class") == "int8"]
    assert len(bars) == len(readme.CHART)
    assert "Median latency at batch 1" in place(made[tree / "README.md"], "chart")


def test_the_chart_needs_each_candidate(tree: Path) -> None:
    for model in readme.CHART:
        (tree / f"benchmarks/results/bench-{model}-2core-epyc.json").write_text(TWO.to_json(), encoding="utf-8")
    with pytest.raises(ValueError, match="needs rows with accuracy"):
        readme.generated(tree)


def test_pictures_are_whole_and_the_same_each_time(tree: Path) -> None:
    first, second = (readme.generated(with_bench(tree, TWO))[tree / PICTURE] for _ in range(2))
    assert first == second
    svg = ET.fromstring(first)
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    style = svg.findtext("{http://www.w3.org/2000/svg}style") or ""
    used = {name for element in svg.iter() for name in element.get("class", "").split()}
    coloured = set(re.findall(r"svg (?:\w+)?\.([\w]+)", style))
    assert {"fp32", "int8", "label", "tick"} <= used & coloured
    assert "prefers-color-scheme: dark" in style
    for name in re.findall(r"var\((--\w+)\)", first):
        assert f"{name}:" in style


def test_int8_shares_are_counted_from_the_file(tree: Path) -> None:
    file = tree / "benchmarks/results/int8-wrn-16-2-2core-xeon.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    record["models"]["wrn-16-2"][1]["accuracy"]["test-exact-1017.npz"]["correct"] = 1017
    file.write_text(json.dumps(record), encoding="utf-8")
    text = place(readme.generated(tree)[tree / RESULTS], "calibration")
    assert "| wrn-16-2 | int8 for TensorRT | 1,017 of 1,017 = 100.00 % |" in text
    file.unlink()
    assert "there is no `benchmarks/results/int8-wrn-16-2" in place(
        readme.generated(tree)[tree / RESULTS], "calibration"
    )


def test_a_place_without_a_table_is_an_error(tree: Path) -> None:
    text = (tree / RESULTS).read_text(encoding="utf-8")
    (tree / RESULTS).write_text(text.replace("results:steps", "results:stepz"), encoding="utf-8")
    with pytest.raises(ValueError, match="stepz"):
        readme.generated(tree)


def test_what_markdown_would_read_is_escaped(tree: Path) -> None:
    odd = dataclasses.replace(FULL, rows=(dataclasses.replace(FP32, title="a|b [c](d) <i>"),), baseline=None)
    text = place(readme.generated(with_bench(tree, odd))[tree / RESULTS], "bench-wrn-16-2")
    assert r"| a\|b \[c\](d) \<i> fp32 |" in text
