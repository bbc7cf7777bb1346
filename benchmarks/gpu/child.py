"""The process of one part: calls its function and records how it ended; `supervise.py` starts it.

    python -m benchmarks.gpu.child PART JSON

JSON has `run` and `network` of the part, `out`, `networks`, `batches`, `seconds` and `settings`.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import traceback
from pathlib import Path

from benchmarks.gpu.outcome import Outcome, State, file_of, write_outcome
from benchmarks.gpu.task import OutOfTime, Skip, Task
from wrn_deploy.errors import DeployError
from wrn_deploy.process.children import serve_parent

RUNNING = "it did not finish"  # while it runs, and if the report was stopped


def main() -> None:
    """Runs the part; the exit code is 0 however it ended, if its file says how."""
    serve_parent()
    name, given = sys.argv[1], json.loads(sys.argv[2])
    out = Path(given["out"])
    outcome = Outcome(part=name, state=State.SHORTENED, reason=RUNNING, settings=given["settings"])
    write_outcome(file_of(out, name), outcome)
    task = Task(
        out=out,
        networks=given["networks"],
        batches=given["batches"],
        seconds=given["seconds"],
        outcome=outcome,
    )
    module, function = given["run"].split(":")
    start = time.monotonic()
    try:
        run = getattr(importlib.import_module(module), function)
        run(task, *filter(None, [given["network"]]))
        outcome.state, outcome.reason = State.RAN, ""
    except Skip as reason:
        outcome.state, outcome.reason = State.SKIPPED, str(reason)
    except OutOfTime as reason:
        outcome.state, outcome.reason = State.SHORTENED, str(reason)
    except DeployError as error:
        outcome.state, outcome.reason = State.FAILED, str(error)
    except Exception as error:  # noqa: BLE001 (whatever a library raises ends this part, not the report)
        traceback.print_exc()
        outcome.state, outcome.reason = State.FAILED, f"{type(error).__name__}: {error}"
    outcome.seconds = round(time.monotonic() - start, 1)
    write_outcome(file_of(out, name), outcome)


if __name__ == "__main__":
    main()
