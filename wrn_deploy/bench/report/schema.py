"""Prints the JSON Schema of a report's JSON, made from the dataclasses: `python -m wrn_deploy.bench.report.schema`."""

from __future__ import annotations

import json
import sys
from typing import Any

from wrn_deploy.bench.report.derived import DerivedRow
from wrn_deploy.bench.report.report import FORMAT, Report

__all__ = ["report_schema"]


def report_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) of what `Report.to_json` writes; no other fields are allowed."""
    from pydantic import TypeAdapter

    schemas = TypeAdapter.json_schemas(
        [("report", "validation", TypeAdapter(Report)), ("derived", "validation", TypeAdapter(DerivedRow))],
        ref_template="#/$defs/{model}",
    )[1]
    definitions = schemas["$defs"]
    report = definitions.pop("Report")
    version = {"const": FORMAT, "description": "The version of this format; another one has another schema."}
    derived = {
        "type": "array",
        "items": {"$ref": "#/$defs/DerivedRow"},
        "description": "By row; computed, never read back.",
    }
    schema = {
        **report,
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:wrn-deploy:report:{FORMAT}",
        "title": "A benchmark report of wrn-deploy",
        "properties": {"format": version, **report["properties"], "derived": derived},
        "required": ["format", *report["required"], "derived"],
        "$defs": definitions,
    }
    for record in (schema, *definitions.values()):
        if "properties" in record:
            record["additionalProperties"] = False
    return schema


if __name__ == "__main__":
    sys.stdout.write(json.dumps(report_schema(), indent=1, sort_keys=True) + "\n")
