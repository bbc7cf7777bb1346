"""Writes the script that runs a command as N tasks: a Slurm array, a Kubernetes Job, GNU parallel; standard library."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from enum import StrEnum

from wrn_deploy.errors import UsageError

__all__ = ["Scheduler", "write_job"]

TASKS = 100_000  # more is a mistake; Kubernetes takes as many indexes with per-index limits
RETRIES = 3


class Scheduler(StrEnum):
    """What starts the tasks."""

    SLURM = "slurm"
    K8S = "k8s"
    PARALLEL = "parallel"


def write_job(scheduler: Scheduler, command: Sequence[str], tasks: int, threads: int | None = None) -> str:
    """Returns a script, or a manifest, that runs `command` with `--shard I/N` as N tasks.

    A task that is killed and started again goes on after its last finished shard.

    Args:
        scheduler: what it is for.
        command: as in ("wrn-deploy", "score", ...), without --shard.
        tasks: N.
        threads: CPU threads of a task; None: the scheduler's default.

    Raises:
        UsageError: less than one task, or more than 100,000.

    Example:
        >>> write_job(Scheduler.SLURM, ["wrn-deploy", "score", "b"], 4).splitlines()[-1]
        'wrn-deploy score b --shard "${SLURM_ARRAY_TASK_ID}/4"'
    """
    if not 1 <= tasks <= TASKS:
        raise UsageError(f"--tasks {tasks}: expected 1 to {TASKS}")
    if scheduler is Scheduler.SLURM:
        return _slurm(command, tasks, threads)
    return _k8s(command, tasks, threads) if scheduler is Scheduler.K8S else _parallel(command, tasks)


def _slurm(command: Sequence[str], tasks: int, threads: int | None) -> str:
    cores = [] if threads is None else [f"#SBATCH --cpus-per-task={threads}"]
    lines = [
        "#!/bin/bash",
        "#SBATCH --job-name=wrn-deploy",
        f"#SBATCH --array=0-{tasks - 1}",
        "#SBATCH --output=wrn-deploy-%A-%a.log",
        "#SBATCH --requeue",
        *cores,
        f"# Task I does the shards whose number modulo {tasks} is I; a task that is requeued continues.",
        "# Submit it, and merge when all tasks are done:",
        "#   job=$(sbatch --parsable THIS_FILE)",
        f"#   sbatch --dependency=afterok:$job --wrap={shlex.quote(shlex.join([*command, '--merge']))}",
        "set -euo pipefail",
        f'{shlex.join(command)} --shard "${{SLURM_ARRAY_TASK_ID}}/{tasks}"',
    ]
    return "\n".join(lines) + "\n"


def _k8s(command: Sequence[str], tasks: int, threads: int | None) -> str:
    """https://kubernetes.io/docs/tasks/job/indexed-parallel-processing-static."""
    line = f'exec {shlex.join(command)} --shard "$JOB_COMPLETION_INDEX/{tasks}"'
    resources = [] if threads is None else ["          resources:", f'            requests: {{cpu: "{threads}"}}']
    lines = [
        f"# Task I does the shards whose number modulo {tasks} is I; a task that is started again continues.",
        "# Change the image and the claim; paths are those in the container. Then merge, where the paths are the same:",
        f"#   {shlex.join([*command, '--merge'])}",
        "apiVersion: batch/v1",
        "kind: Job",
        "metadata:",
        "  name: wrn-deploy",
        "spec:",
        f"  completions: {tasks}",
        f"  parallelism: {tasks}",
        "  completionMode: Indexed",
        f"  backoffLimitPerIndex: {RETRIES}",
        "  template:",
        "    spec:",
        "      restartPolicy: Never",
        "      containers:",
        "        - name: wrn-deploy",
        "          image: wrn-deploy:latest",
        '          command: ["/bin/sh", "-c"]',
        f"          args: [{_quoted(line)}]",
        *resources,
        "          volumeMounts:",
        "            - {name: data, mountPath: /data}",
        "      volumes:",
        "        - name: data",
        "          persistentVolumeClaim: {claimName: wrn-deploy-data}",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A text in YAML's double quotes, which are JSON's."""
    return json.dumps(text)


def _parallel(command: Sequence[str], tasks: int) -> str:
    """https://www.gnu.org/software/parallel/man.html."""
    one = shlex.quote(f"{shlex.join(command)} --shard {{}}/{tasks}")
    lines = [
        "#!/bin/bash",
        f"# Task I does the shards whose number modulo {tasks} is I; a task that is started again continues.",
        "# HOSTS: where tasks run by SSH, such as HOSTS=a,b; each needs wrn-deploy and the same paths. Default: here.",
        "# JOBS: tasks at a time on each host.",
        "set -euo pipefail",
        f'parallel --sshlogin "${{HOSTS:-:}}" --jobs "${{JOBS:-1}}" --workdir . --retries {RETRIES} --halt soon,fail=1 '
        f"{one} ::: {{0..{tasks - 1}}}",
        shlex.join([*command, "--merge"]),
    ]
    return "\n".join(lines) + "\n"
