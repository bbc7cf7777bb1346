"""docs/reference/models.md: it agrees with the code and the committed results, and says what they say."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks.pages import models
from wrn_deploy.models import listed_models
from wrn_deploy.models.catalog import ListedModel, list_models, list_network
from wrn_deploy.models.checkpoints.sources import read_sources
from wrn_deploy.models.published import Count, Published, Quantity

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/reference/models.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def two() -> list[ListedModel]:
    return [list_network("wrn-40-1"), list_network("wrn-50-2")]


def row(text: str, name: str) -> list[str]:
    """The cells behind the name in the first table that has it."""
    found = re.search(rf"^\| `{re.escape(name)}` \| (.*) \|$", text, re.MULTILINE)
    assert found, name
    return found[1].split(" | ")


def test_the_committed_page_agrees_with_the_code_and_the_results() -> None:
    assert models.page(list_models(), ROOT) == TEXT, "run `python -m benchmarks.pages.models`"


def test_every_network_and_all_weights_are_on_it() -> None:
    assert all(f"| `{name}` |" in TEXT for name in (*listed_models(), *read_sources()))


def test_counted_and_published_sizes_stand_side_by_side(two: list[ListedModel], tmp_path: Path) -> None:
    text = models.page(two, tmp_path)
    parameters, published, macs, published_macs = row(text, "wrn-50-2")
    assert (parameters, macs) == ("68,883,240", "11.40 G")
    assert all(text in published for text in ("68.9 M<sup>", "68.88 M<sup>"))
    assert all(text in published_macs for text in ("11.40 G<sup>", "11.44 G<sup>"))
    assert "table 8" in text
    assert "Measured here" not in text, "there are no results in this folder"


def test_a_published_count_that_disagrees_is_bold(two: list[ListedModel], tmp_path: Path) -> None:
    wrong = Published((Count(Quantity.PARAMETERS, 600_001, 1, "a wrong source"),))
    text = models.page([dataclasses.replace(two[0], published=wrong)], tmp_path)
    assert row(text, "wrn-40-1")[1] == "**600,001**<sup>1</sup>"
    assert "1. a wrong source" in text


def test_accuracies_are_best_first_with_a_note_each(two: list[ListedModel], tmp_path: Path) -> None:
    text = models.page(two, tmp_path)
    table = text[text.index("| top-1 in percent | ImageNet (top-5) |") :]
    first, *others = row(table, "wrn-50-2")[0].split("<br>")
    assert first.startswith("81.602 (95.758)<sup>")
    assert len(others) == 4
    assert "93.15<sup>1</sup>" in text
    assert "1. paper's recipe, ZCA whitening: Zagoruyko and Komodakis" in text


def test_a_changed_result_changes_the_page(two: list[ListedModel], tmp_path: Path) -> None:
    results = tmp_path / "benchmarks/results"
    results.mkdir(parents=True)
    shutil.copy(ROOT / "benchmarks/results/int8-wrn-40-1-2core-xeon.json", results)
    file = results / "int8-wrn-40-1-2core-xeon.json"
    assert "93.41 % (950 of 1,017)" in models.page(two, tmp_path)
    record = json.loads(file.read_text(encoding="utf-8"))
    record["models"]["wrn-40-1"][0]["accuracy"]["test-exact-1017.npz"]["correct"] = 1017
    file.write_text(json.dumps(record), encoding="utf-8")
    text = models.page(two, tmp_path)
    assert "100.00 % (1,017 of 1,017)" in text
    assert "](../../benchmarks/results/int8-wrn-40-1-2core-xeon.json)" in text


def test_training_and_fine_tuning_are_described_if_measured(two: list[ListedModel], tmp_path: Path) -> None:
    results = tmp_path / "benchmarks/results"
    results.mkdir(parents=True)
    here = {"cpu": "a CPU", "cores": 2, "memory_mib": 2048, "gpu": None}
    about = {"benchmark": "training", "model": "wrn-40-1", "batch": 64, "device": "cpu", "threads": 1, "machine": here}
    steps = {"bf16": [{"forward": 1.0, "backward": 3.0}, {"forward": 1.0, "backward": 1.0}]}
    memory = [{"way": "bf16", "kept": 2_367_637_764, "before": 1, "peak": 3_277_508_608, "parameters": 1}]
    (results / "training-a.json").write_text(json.dumps({**about, "steps": steps}), encoding="utf-8")
    (results / "training-b.json").write_text(json.dumps({**about, "memory": memory}), encoding="utf-8")
    score = {
        "images": 200,
        "fp32": 190,
        "correct": {"before": 100, "after": 188},
        "same": {"before": 104, "after": 196},
    }
    row = {"model": "wrn-40-1", "row": "poor", "graph": "onnx-int8-tensorrt", "data": {"test-jpeg.parquet": score}}
    (results / "qat-a.json").write_text(
        json.dumps({"benchmark": "qat", "machine": here, "rows": [row]}), encoding="utf-8"
    )
    text = models.page(two, tmp_path)
    assert "A step of 64 images on cpu with 1 thread." in text
    assert "| `wrn-40-1` | bf16 | 3.00 | 32.0 |" in text
    assert "| `wrn-40-1`, batch 64 | bf16 | 2.37 GB | 3.28 GB |" in text
    assert "| poor | tensorrt | 200 JPEG test images | 95.00 % | 50.00 % to 94.00 % | 52.00 % to 98.00 % |" in text


def test_links_of_the_page_lead_to_files() -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", TEXT):
        assert (ROOT / "docs/reference" / link).exists(), link
