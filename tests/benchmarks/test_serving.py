"""The measurement of a Triton server runs, and writes what it prints; no speed is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.serving.environment import ROOT, client_site, server_site
from wrn_deploy.pipeline.inference.example import copy_example
from wrn_deploy.progress import Silent


def test_a_server_is_measured_beside_the_runner(tmp_path: Path) -> None:
    out, bundle = tmp_path / "serving.json", copy_example(tmp_path / "bundle", Silent()).bundle.folder
    command = [sys.executable, "-m", "benchmarks.overhead.serving", str(bundle), "--out", str(out)]
    paths = os.pathsep.join([str(client_site()), *filter(None, sys.path), str(server_site())])
    ran = subprocess.run(
        [*command, "--configs", "1x1,2x1", "--seconds", "1", "--load-seconds", "0.3"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    record = json.loads(out.read_text())
    for batch in ("1", "8"):
        single = record["one_client_us"][batch]
        assert len(single["runner"]) == len(single["http"]) == len(single["grpc"]) > 0
        for rates in record["closed_loop_per_s"][batch].values():
            assert {who: len(found) for who, found in rates.items()} == {"runner": 3, "1x1": 3, "2x1": 3}
    assert [len(record["open_loop"][config]["latencies_us"]) > 0 for config in ("1x1", "2x1")] == [True, True]
    assert "Open loop" in ran.stdout
