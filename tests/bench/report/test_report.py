"""The report as data: its JSON, what is read back, and the statistics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bench.sample_reports import STEADY
from wrn_deploy.bench.report.report import Accuracy, Boundary, Latency, Report, Row, Settings, WarmUp, read_report
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import Gpu, Machine
from wrn_deploy.spec import Precision

CPU = Machine(system="Linux x86_64", cpu="A CPU", cores=4, memory_mib=16384, python="3.12.1", gpu=None, load_1min=0.5)
GPU = Machine(
    system="Linux x86_64",
    cpu="A CPU",
    cores=4,
    memory_mib=16384,
    python="3.12.1",
    gpu=Gpu("A GPU", "9.0", 81920, "580.1"),
    load_1min=0.5,
)


def make_report(machine: Machine = CPU) -> Report:
    measured = Row(
        backend="onnxruntime",
        title="ONNX Runtime",
        precision=Precision.INT8,
        artifact="onnx/int8.onnx",
        sha256="ab" * 32,
        size_bytes=2_900_000,
        peak_rss_bytes=210_000_000,
        latencies=(
            Latency(1, ((1.0, 2.0), (3.0, 4.0, 5.0)), STEADY, ((0.5, 1.5), (2.5, 3.5, 4.5))),
            Latency(8, ((7.0, 9.0),), WarmUp(10.0, 7, steady=False)),
        ),
        accuracy=Accuracy(images=360, correct=351, agreement=None),
    )
    return Report(
        model="wrn-16-4",
        random_weights=False,
        created="2025-11-20T10:00:00+00:00",
        data="digits",
        data_digest="0123456789abcdef",
        corrupt=("a.png",),
        reference="PyTorch fp32",
        baseline=None,
        machine=machine,
        versions={"numpy": "2.4.6"},
        settings=Settings(
            batches=(1, 8), rounds=5, duration_s=6.0, iterations=40, threads=2, streams=1, boundary=Boundary.TRANSFER
        ),
        rows=(measured, Row(backend="tensorrt", title="TensorRT", precision=Precision.FP16, skipped="no GPU")),
    )


@pytest.mark.parametrize("machine", [CPU, GPU], ids=["cpu", "gpu"])
def test_a_report_survives_its_json(tmp_path: Path, machine: Machine) -> None:
    file = tmp_path / "report.json"
    file.write_text(make_report(machine).to_json(), encoding="utf-8")
    assert read_report(file) == make_report(machine)


def test_the_json_has_statistics_beside_the_raw_samples() -> None:
    record = json.loads(make_report().to_json())
    assert record["rows"][0]["latencies"][0]["rounds_ms"] == [[1.0, 2.0], [3.0, 4.0, 5.0]]
    derived = record["derived"][0]
    assert derived["row"] == "ONNX Runtime int8"
    assert derived["latencies"][0]["median_ms"] == 3.0
    assert derived["top1"] == pytest.approx(0.975)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"absent\.json cannot be read"):
        read_report(tmp_path / "absent.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"format": 4}', "\x00"])
def test_other_texts_are_no_report(tmp_path: Path, text: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DeployError, match="is not a benchmark report"):
        read_report(file)


def test_bytes_that_are_no_text_are_no_report(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(DeployError, match="is not a benchmark report"):
        read_report(file)


def test_another_format_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps({**json.loads(make_report().to_json()), "format": 99}), encoding="utf-8")
    with pytest.raises(DeployError, match="has format 99: expected 4; run `wrn-deploy bench` again"):
        read_report(file)


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a key is missing": lambda record: record.pop("settings"),
    "an unknown key": lambda record: record.update(extra=1),
    "an unknown precision": lambda record: record["rows"][0].update(precision="fp4"),
    "rows of another type": lambda record: record.update(rows=3),
    "a row of another type": lambda record: record.update(rows=["row"]),
    "a machine of another type": lambda record: record.update(machine=None),
    "a text for a time": lambda record: record["rows"][0]["latencies"][0]["rounds_ms"][0].append("1.0"),
    "an unknown boundary": lambda record: record["settings"].update(boundary="network"),
    "an unknown key of a row": lambda record: record["rows"][0].update(extra=1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_report_is_refused(tmp_path: Path, damage: str) -> None:
    record = json.loads(make_report().to_json())
    DAMAGES[damage](record)
    file = tmp_path / "report.json"
    file.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DeployError, match="is not a benchmark report"):
        read_report(file)
