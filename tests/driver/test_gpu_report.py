"""The GPU report runs to its end on the stand-in driver, with a small network; each part has the outcome it should.

What the stand-in cannot do, real kernels among them, is a failure or a skipped part with its reason.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.parts import list_parts

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "wrn-16-1"
MINUTES = 12
STAND_IN = "stand-in driver: not a GPU"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report that has run."""
    folder = tmp_path_factory.mktemp("gpu") / "report"
    command = [sys.executable, "-m", "benchmarks.gpu.report", "--out", str(folder), "--minutes", str(MINUTES)]
    command += ["--networks", NETWORK, "--batches", "1", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60 * MINUTES + 60)
    assert done.returncode == 1, f"TensorRT-RTX's answers are wrong here\n{done.stdout}\n{done.stderr}"
    said = [line.split("]")[0].removeprefix("[") for line in done.stdout.splitlines() if line.startswith("[")]
    seconds = [60 * int(minutes) + int(rest) for minutes, rest in (at.split(":") for at in said)]
    assert max(later - earlier for earlier, later in itertools.pairwise(seconds)) <= 20, "it speaks"
    return folder


@pytest.fixture(scope="module")
def parts(out: Path) -> dict[str, Any]:
    record = json.loads((out / "gpu-stand-in.json").read_text())
    assert record["stand_in"] == STAND_IN
    return {part["part"]: part for part in record["parts"]}


def findings(part: dict[str, Any]) -> dict[str, str]:
    return {finding["text"]: finding["verdict"] for finding in part["findings"]}


def test_each_part_has_an_outcome_and_a_reason(parts: dict[str, Any]) -> None:
    assert list(parts) == [part.name for part in list_parts([NETWORK])]
    states = {name: part["state"] for name, part in parts.items()}
    own = {"gpu-tests", "plan-tests"}  # how far they come depends on the machine's speed
    assert {name: state for name, state in states.items() if name not in own} == {
        "doctor": "ran",
        "driver": "ran",
        f"bundle-{NETWORK}": "ran",
        "graphs": "ran",
        "tensorrt": "ran",
        "rtx": "failed",
        "onnxruntime": "skipped",
        "exit": "ran",
        f"bench-{NETWORK}": "ran",
        "peers": "skipped",
    }, {name: part["reason"] for name, part in parts.items()}
    assert all(part["reason"] for part in parts.values() if part["state"] != "ran")
    assert all(part["settings"]["stand_in"] == STAND_IN for part in parts.values())


def test_libraries_are_imported_or_named(parts: dict[str, Any]) -> None:
    found = findings(parts["driver"])
    assert found["driver 580.95.05: expected 580 or later, of CUDA 13"] == "right"
    assert found["import tensorrt: 11.4.0.106"] == "right"
    assert any(text.startswith("import cuda.bindings.runtime: 13.") for text in found)


def test_graphs_give_the_bits_of_plain_starts(parts: dict[str, Any]) -> None:
    raw = parts["graphs"]["raw"]
    assert raw["turns"] == 200
    assert raw["differing"] == {"1": 0, "8": 0, "32": 0}
    assert raw["plain_differs_from_itself"] == 0
    assert findings(parts["graphs"])["CUDA graphs ran: yes"] == "right"


def test_a_process_ends_without_a_message(parts: dict[str, Any]) -> None:
    """PyCUDA's own way gives the primary context up wrongly, which the driver refuses; the project's does not."""
    found = findings(parts["exit"])
    assert any("cuCtxDetach failed" in text for text in found)
    assert found["wrn-deploy, with a plan left open: ends and prints nothing"] == "right"


def test_wrong_answers_are_seen(parts: dict[str, Any]) -> None:
    """The stand-in's engine computes sums, not the network."""
    cosines = [text for text, verdict in findings(parts["tensorrt"]).items() if verdict == "wrong"]
    assert [text.partition(":")[0] for text in cosines] == [
        "fp16 logits, cosine to those of onnx-fp32 on the CPU",
        "int8 logits, cosine to those of onnx-int8-tensorrt on the CPU",
    ]
    assert parts["rtx"]["reason"] == "TensorRT-RTX runs here, and its answers are not the network's"
    assert parts["rtx"]["raw"]["runs"] is False


def test_what_the_stand_in_lacks_is_skipped_with_the_reason(parts: dict[str, Any]) -> None:
    assert "ONNX Runtime has no CUDAExecutionProvider" in parts["onnxruntime"]["reason"]
    assert parts["peers"]["reason"] == "none of them can run here"


def test_the_benchmark_has_every_number(parts: dict[str, Any]) -> None:
    part = parts[f"bench-{NETWORK}"]
    speeds = part["raw"]["speeds"]
    measured = {(row["boundary"], row["Candidate"], row["Batch"]) for row in speeds}
    assert measured == {
        (boundary, candidate, batch)
        for boundary in ("compute", "transfer", "e2e")
        for candidate in ("TensorRT fp16", "TensorRT int8")
        for batch in ("1", "4")
    }
    assert all(row["roofline"] and row["of roofline"].endswith("%") for row in speeds)
    assert [table["about"].startswith(f"{STAND_IN}. {NETWORK}") for table in part["tables"]] == [True] * 3
    assert all("NVML does not tell them" in table["about"] for table in part["tables"])


def test_the_page_says_what_it_is_of(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert f"<b>{STAND_IN}</b>" in page
    assert page.count(f"<span>{STAND_IN}. ") == 5, "each table of times says it"
    assert "<h1>GPU report: NVIDIA H200 (stand-in driver)</h1>" in page
    assert all(f'<h2 id="{part.name}">' in page for part in list_parts([NETWORK]))
