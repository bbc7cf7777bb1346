"""A process that reads a target's known files and their mutants, with limits; a line of JSON before and after each.

python -m tests.fuzzing.replay TARGET MUTANTS: each known file as it is, then mutants of them in turn. The same number
makes the same mutant. What hangs or crashes ends the process.
"""

from __future__ import annotations

import faulthandler
import json
import random
import resource
import sys
import tempfile
from pathlib import Path

from tests.fuzzing.targets import load_target
from tests.mutants import damage
from wrn_deploy.machine import peak_rss_bytes

PATIENCE_S = 20
MEMORY = 4 << 30  # bytes of address space


def main() -> None:
    """Reads them all."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        target = load_target(sys.argv[1], Path(folder))
        inputs = list(target.files.items())
        for number in range(int(sys.argv[2])):
            name, content = inputs[number % len(target.files)]
            inputs.append((f"mutant {number} of {name}", damage(content, random.Random(number))))
        for name, content in inputs:
            _tell(name=name)
            faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
            try:
                outcome = target.read(content)
            except BaseException as error:  # noqa: BLE001 (whatever it is, it must not be)
                outcome = f"escaped: {error!r}"[:1000]
            faulthandler.cancel_dump_traceback_later()
            peak_mb = peak_rss_bytes() // 2**20
            _tell(name=name, outcome=outcome, peak_mb=peak_mb)


def _tell(**record: object) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
