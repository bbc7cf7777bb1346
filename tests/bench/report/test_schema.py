"""The published schema is the code's, and reports keep to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bench.full_report import make_full_report
from tests.bench.sample_reports import FULL, NO_ACCURACY, SKIPPED, make_report
from wrn_deploy.bench.report.report import FORMAT, Report, read_report
from wrn_deploy.bench.report.schema import report_schema

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema checks reports against the schema")

FILE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "report.schema.json"
REPORTS = {"full": FULL, "whole": make_full_report(), "no accuracy": NO_ACCURACY, "skipped": make_report(SKIPPED)}


@pytest.fixture(scope="module")
def published() -> Any:
    return json.loads(FILE.read_text(encoding="utf-8"))


def test_the_published_schema_is_what_the_command_prints() -> None:
    command = [sys.executable, "-m", "wrn_deploy.bench.report.schema"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == FILE.read_text(encoding="utf-8"), (
        "python -m wrn_deploy.bench.report.schema > docs/reference/report.schema.json"
    )
    assert json.loads(printed) == report_schema()


def test_the_schema_has_a_version(published: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(published)
    assert published["$id"] == f"urn:wrn-deploy:report:{FORMAT}"
    assert published["properties"]["format"]["const"] == FORMAT


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS.keys())
def test_reports_keep_to_the_schema_and_are_read_back(tmp_path: Path, published: Any, report: Report) -> None:
    file = tmp_path / "report.json"
    file.write_text(report.to_json(), encoding="utf-8")
    jsonschema.validate(json.loads(file.read_text(encoding="utf-8")), published)
    assert read_report(file) == report


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another version": lambda record: record.update(format=FORMAT + 1),
    "no rows": lambda record: record.pop("rows"),
    "an unknown key": lambda record: record.update(extra=1),
    "an unknown key of an image": lambda record: record["rows"][1]["accuracy"]["changed"][0].update(extra=1),
    "a text for a number": lambda record: record["rows"][0]["accuracy"].update(correct="many"),
    "no word on validity": lambda record: record["rows"][9]["loads"][0].pop("valid"),
    "no derived numbers": lambda record: record.pop("derived"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_other_files_do_not(published: Any, damage: str) -> None:
    record = json.loads(make_full_report().to_json())
    DAMAGES[damage](record)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record, published)
