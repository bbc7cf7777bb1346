"""The notebook runs from its first cell to its last, shows its pictures, and is kept without outputs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "notebook" / "int8.ipynb"
PROGRAM = "#!{python}\nimport sys\nfrom wrn_deploy.cli import main\n\nsys.argv[0] = 'wrn-deploy'\nmain()\n"


def test_it_is_kept_without_outputs() -> None:
    kept = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    nbformat.validate(kept)
    cells = [cell for cell in kept["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 5
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    program = tmp_path / "bin" / "wrn-deploy"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), *sys.path])))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown: list[Any] = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert {kind for output in shown for kind in output.get("data", {})} >= {"image/svg+xml", "image/png"}
    printed = "".join(output.text for output in shown if output.output_type == "stream" and output.name == "stdout")
    assert "of 359 images have the same answer" in printed
