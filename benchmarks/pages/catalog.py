"""Writes `wrn_deploy/models/catalog.json`, the table of the listed networks, or checks that it is up to date.

    python -m benchmarks.pages.catalog [--check]

Builds and counts every network that a family lists, which takes about 10 seconds. `--check` writes nothing, and exits
with 1 if the file differs. Run it after a change to a family.
"""

from __future__ import annotations

import argparse
import json
import sys

from wrn_deploy.files.new_file import write_whole
from wrn_deploy.models import describe_model, listed_models
from wrn_deploy.models.catalog import FILE, count_network

__all__ = ["catalog_text"]


def main() -> None:
    """Writes the table, or checks it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file differs")
    check, text = parser.parse_args().check, catalog_text()
    if FILE.exists() and FILE.read_text(encoding="utf-8") == text:
        return
    if not check:
        write_whole(FILE, text)
    outcome = "differs: run `python -m benchmarks.pages.catalog`" if check else "written"
    sys.stdout.write(f"{FILE.name} {outcome}\n")
    sys.exit(1 if check else 0)


def catalog_text() -> str:
    """The whole file as JSON, with one line for each family and each network."""
    families, networks = {}, {}
    for name in listed_models():
        model, spec = count_network(name), describe_model(name)
        families[spec.family] = model.about
        networks[name] = {"parameters": model.parameters, "macs": model.macs, "spec": spec.to_json()}
    parts = []
    for key, rows in (("families", families), ("networks", networks)):
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
        parts.append(f" {json.dumps(key)}: {{\n{lines}\n }}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
