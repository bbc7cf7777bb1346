"""docs/explanation/int8.md: its tables and its picture are those of the committed results, and say the same."""

from __future__ import annotations

import itertools
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks.int8.rows import FRONTIER, LADDER, PEERS
from benchmarks.pages import int8
from benchmarks.pages.int8_picture import draw_frontier
from benchmarks.pages.int8_results import DEFAULT, ONNXRUNTIME, Scored, read_results, unbeaten
from wrn_deploy.rendering.pictures.label_placement import LINE, Box
from wrn_deploy.rendering.pictures.svg import LETTER

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"
MACHINE = {"cpu": "C", "cores": 2, "memory_mib": 2048, "gpu": None}
PLACES = ("ladder", "frontier", "peers", "costs")
TEXT = "# INT8\n\n" + "\n\n".join(
    f"Before {name}.\n\n<!-- results:{name} begin -->\nold\n<!-- results:{name} end -->" for name in PLACES
)


def scored(name: str, cpu_s: float, logit_error: float, error: str = "") -> dict[str, Any]:
    accuracy = {
        "test-jpeg.parquet": {"images": 10000, "correct": 8233, "agreeing": 9898, "logit_error": logit_error},
        "test-exact-1017.npz": {"images": 1017, "correct": 954, "agreeing": 1012, "logit_error": logit_error / 2},
    }
    cost = {"cpu_s": cpu_s, "start_cpu_s": 1.0, "wall_s": cpu_s, "peak_rss_bytes": 180_000_000, "error": error}
    return {"name": name, "cost": cost, "accuracy": {} if error else accuracy}


def write(tree: Path, file: str, model: str, *rows: dict[str, Any]) -> None:
    record = {
        "benchmark": "int8-accuracy",
        "calibration": {"data": "train.npz", "images": 256},
        "limit": None,
        "machine": MACHINE,
        "models": {model: [scored("fp32", 0.0, 0.0), *rows]},
    }
    (tree / f"benchmarks/results/{file}-{model}-2core-xeon.json").write_text(json.dumps(record), encoding="utf-8")


def crowded(factor: float) -> list[dict[str, Any]]:
    """The default and its frontier, most of them as near to each other as they are in truth."""
    costs = {"ours, 16 images": 2.8, "ours, 32 images": 3.1, "ours, 64 images": 3.7, "ours, 128 images": 4.4,
             "ours, 512 images": 8.9, "ours, 1024 images": 15.0}  # fmt: skip
    rows = [scored(DEFAULT, 5.9 * factor, 0.0042)]
    for index, row in enumerate(FRONTIER):
        rows.append(scored(row.name, costs.get(row.name, 5.6 + 0.03 * index) * factor, 0.0043 + 0.0001 * (index % 5)))
    return rows


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with a page that has every place, and results of both networks."""
    (tmp_path / "docs/explanation").mkdir(parents=True)
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    (tmp_path / "docs/explanation/int8.md").write_text(TEXT, encoding="utf-8")
    for factor, model in enumerate(("wrn-16-2", "wrn-40-1"), start=1):
        write(
            tmp_path,
            "int8",
            model,
            *crowded(factor),
            scored(ONNXRUNTIME, 5.9, 0.003),
            scored(LADDER[0].name, 3.7, 0.04),
        )
    return tmp_path


def place(tree: Path, name: str) -> str:
    text = int8.generated(tree)[tree / int8.PAGE]
    found = re.search(rf"<!-- results:{name} begin -->(.*)<!-- results:{name} end -->", text, re.DOTALL)
    assert found, name
    return found[1]


def test_the_committed_page_and_picture_agree_with_the_committed_results() -> None:
    for file, text in int8.generated(ROOT).items():
        assert file.read_text(encoding="utf-8") == text, "run `python -m benchmarks.pages.int8`"


def test_places_are_filled_and_the_prose_stays(tree: Path) -> None:
    text = int8.generated(tree)[tree / int8.PAGE]
    assert all(f"Before {name}.\n\n<!-- results:{name} begin -->\n\n" in text for name in PLACES)
    assert "\nold\n" not in text
    (tree / int8.PAGE).write_text("Prose alone.\n", encoding="utf-8")
    assert int8.generated(tree)[tree / int8.PAGE] == "Prose alone.\n"
    (tree / int8.PAGE).write_text(text.replace("results:costs", "results:coasts"), encoding="utf-8")
    with pytest.raises(ValueError, match="coasts"):
        int8.generated(tree)


def test_the_ladder_has_both_networks_side_by_side(tree: Path) -> None:
    text = place(tree, "ladder")
    cells = "98.98 / 99.51 | 82.33 / 93.81 |"
    assert f"| base: max, weights per tensor | {cells} 0.0400 | {cells} 0.0400 |" in text
    assert f"| **default**: and feedback rounding | {cells} 0.00420 | {cells} 0.00420 |" in text
    assert "| fp32 |  | 82.33 / 93.81 |  |  |" in text
    assert "10,000 JPEG / 1,017 exact test images" in text
    assert "[wrn-40-1](../../benchmarks/results/int8-wrn-40-1-2core-xeon.json)" in text


def test_a_failed_row_gives_its_reason_and_is_no_point(tree: Path) -> None:
    write(tree, "int8", "wrn-40-1", scored(DEFAULT, 5.9, 0.0042), scored("ours, max", 0.0, 0.0, "no | memory"))
    assert r"| no \| memory |" in place(tree, "frontier")
    assert [one.name for one in read_results(tree)[1].frontier] == [DEFAULT]


def test_the_frontier_is_what_nothing_beats(tree: Path) -> None:
    places = {"good": (9.0, 0.1), "cheap": (1.0, 0.9), "beaten": (2.0, 0.9), "middle": (3.0, 0.3), "equal": (3.0, 0.3)}
    rows = [Scored(name=name, cpu_s=cpu_s, logit_error=error) for name, (cpu_s, error) in places.items()]
    assert [row.name for row in unbeaten(rows)] == ["cheap", "equal", "middle", "good"]
    text = place(tree, "frontier")
    assert "| **default** | 5.90 | 180 MB | **0.00420** |" in text
    assert re.search(r"\| 1024 images \| 15\.0 \| 180 MB \| 0\.\d+ \|", text)


def test_peers_come_from_their_own_file_or_from_ours(tree: Path) -> None:
    assert "Not measured yet" in place(tree, "peers")
    peer = scored(PEERS[0].name, 21.0, 0.2)
    write(tree, "int8-peers", "wrn-16-2", scored(DEFAULT, 6.5, 0.0042), peer)
    write(tree, "int8", "wrn-40-1", scored(DEFAULT, 6.6, 0.0042), peer)
    lines = place(tree, "peers").splitlines()
    assert sum("| 0.200 |" in line for line in lines) == 1
    ours = next(line for line in lines if DEFAULT in line)
    assert ours.count("| 0.00420 |") == 2


def test_the_frontier_may_have_a_file_of_its_own(tree: Path) -> None:
    write(tree, "int8", "wrn-16-2", scored(DEFAULT, 6.5, 0.0042))
    assert "*Not measured yet: wrn-16-2.*" in place(tree, "frontier")
    write(tree, "int8-frontier", "wrn-16-2", scored(DEFAULT, 6.1, 0.0042), scored("ours, max", 5.1, 0.0052))
    text = place(tree, "frontier")
    assert "| max | 5.10 | 180 MB | **0.00520** |" in text
    assert "| **default** | 6.10 |" in text


def test_results_of_two_machines_are_refused(tree: Path) -> None:
    for machine in ("xeon", "epyc"):
        (tree / f"benchmarks/results/calibration-2core-{machine}.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"calibration was measured on two machines: calibration-2core-epyc\.json, "):
        int8.generated(tree)


def test_costs_are_medians_over_the_floor(tree: Path) -> None:
    assert "Not measured yet" in place(tree, "costs")

    def run(candidate: str, cpu_s: float, images: int = 64) -> dict[str, Any]:
        return {"candidate": candidate, "network": "wrn-50-2", "images": images, "cost": scored("", cpu_s, 0.0)["cost"]}

    runs = [run("fp32 run", 10.0), run("fp32 run", 12.0), run("fp32 run, 1 thread", 5.5)]
    runs += [run("ours, default", 22.0), run("ours, default", 44.0), run("ours, max pass", 44.0, images=512)]
    record = {"networks": {"wrn-50-2": {"data": "d", "images": 64}}, "machine": MACHINE, "runs": runs}
    (tree / "benchmarks/results/calibration-2core-xeon.json").write_text(json.dumps(record), encoding="utf-8")
    text = place(tree, "costs")
    assert "**wrn-50-2**, 64 images" in text
    assert "| ours, default | 64 | 33.0 | 3.00 | 6.00 | 180 MB |" in text
    assert "| ours, max pass | 512 | 44.0 | 0.500 | 1.00 | 180 MB |" in text


def test_the_picture_names_every_row_once_in_each_panel(tree: Path) -> None:
    first, second = (int8.generated(tree)[tree / int8.PICTURE] for _ in range(2))
    assert first == second
    root = ET.fromstring(first)
    style = root.findtext(f"{SVG}style") or ""
    assert "prefers-color-scheme: dark" in style
    panels = root.findall(f"{SVG}g")
    assert len(panels) == 2
    expected = sorted(["default", *(row.name.removeprefix("ours, ") for row in FRONTIER)])
    for panel in panels:
        labels = [text for text in panel.findall(f"{SVG}text") if "label" in text.get("class", "")]
        assert sorted(text.text or "" for text in labels) == expected
        points = [*panel.findall(f"{SVG}circle"), *panel.findall(f"{SVG}path[@class='chosen']")]
        assert len(points) == len(expected)


def test_no_label_covers_another_or_a_point(tree: Path) -> None:
    for panel in ET.fromstring(int8.generated(tree)[tree / int8.PICTURE]).findall(f"{SVG}g"):
        boxes = [label_box(text) for text in panel.findall(f"{SVG}text") if "label" in text.get("class", "")]
        assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].touches(pair[1])]
        for point in panel.findall(f"{SVG}circle"):
            x, y = (float(point.get(name, "")) for name in ("cx", "cy"))
            assert not any(box.touches(Box(x - 3, y - 3, x + 3, y + 3)) for box in boxes)


def label_box(text: ET.Element) -> Box:
    x, y, width = float(text.get("x", "")), float(text.get("y", "")), len(text.text or "") * LETTER
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[text.get("text-anchor", "")]
    return Box(left, y + 3.5 - LINE, left + width, y + 3.5)


def test_without_results_there_is_no_picture(tree: Path) -> None:
    for file in (tree / "benchmarks/results").iterdir():
        file.unlink()
    assert [*int8.generated(tree)] == [tree / int8.PAGE]
    assert draw_frontier(read_results(tree)) is None
