"""The commands of docs/how-to/train-on-several-machines.md, run as two machines on the loopback interface."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests.cli.conftest import PROGRAM
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.lint.finding import Target
from wrn_deploy.errors import UsageError
from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions, Schedule, finetune_bundle
from wrn_deploy.pipeline.training.train import TrainOptions, train_model
from wrn_deploy.progress import Silent
from wrn_deploy.training.execution.options import Device, ExecutionOptions
from wrn_deploy.training.recipe import TrainRecipe

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "how-to" / "train-on-several-machines.md"


def commands() -> list[list[str]]:
    """The commands of the page that start a machine's processes."""
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^    (torchrun --nnodes .*)$", text, re.MULTILINE)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One in which wrn-deploy is a program, and processes talk on the loopback interface alone."""
    programs = tmp_path_factory.mktemp("bin")
    program = programs / "wrn-deploy"
    program.write_text(f"#!{sys.executable}\n{PROGRAM}\n", encoding="utf-8")
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path])),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def killed_at_the_end(processes: list[subprocess.Popen[str]]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def run_machines(machines: list[list[str]], folder: Path, environment: dict[str, str]) -> list[tuple[int, str, str]]:
    """Runs the commands at the same time, as machines would; returns exit code, stdout and stderr of each."""
    port = str(free_port())
    there = {"10.0.0.1": "127.0.0.1", "29500": port}
    launcher = [sys.executable, "-m", "torch.distributed.run"]
    processes = [
        subprocess.Popen(
            [*launcher, *(there.get(word, word) for word in words[1:])],
            cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for words in machines
    ]  # fmt: skip
    with killed_at_the_end(processes):
        printed = [process.communicate(timeout=180) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, printed, strict=True)]


def test_the_page_has_a_command_for_each_machine() -> None:
    assert [words[words.index("--node-rank") + 1] for words in commands()] == ["0", "1", "0", "1"]
    for first, second in (commands()[:2], commands()[2:]):
        rank = first.index("--node-rank") + 1
        assert [*first[:rank], "1", *first[rank + 1 :]] == second


def test_two_machines_train_what_one_process_trains(tmp_path: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("accelerate")
    ends = run_machines(commands()[:2], tmp_path, environment)
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert "weights.safetensors" in ends[0][1]
    assert ends[1][1] == "", "only the first process prints"
    recipe = TrainRecipe(epochs=2, batch_size=32)
    options = TrainOptions(
        model="wrn-10-1", data="digits", out=tmp_path / "alone", recipe=recipe,
        execution=ExecutionOptions(device=Device.CPU),
    )  # fmt: skip
    train_model(options, Silent())
    found, wanted = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text("utf-8").splitlines()]
        for name in ("run", "alone")
    )
    assert len(found) == len(wanted) == 2
    # `tests/training/execution` compares weights; after 90 steps at this rate rounding is all over them.
    assert found[0]["loss"] == pytest.approx(wanted[0]["loss"], rel=0.03)
    assert found[1]["loss"] == pytest.approx(wanted[1]["loss"], rel=0.1)
    assert found[1]["test_top1"] == pytest.approx(wanted[1]["test_top1"], abs=0.15)


def test_two_machines_fine_tune_what_one_process_fine_tunes(
    made_bundle: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    pytest.importorskip("accelerate")
    alone = Bundle.open(shutil.copytree(made_bundle, tmp_path / "alone"))
    shutil.copytree(made_bundle, tmp_path / "bundle")
    schedule = Schedule(steps=20, batch=32, rate=0.1)
    options = FinetuneOptions(data="digits", schedule=schedule, targets=(Target.ONNXRUNTIME,), threads=1)
    result = finetune_bundle(alone, options, Silent())
    ends = run_machines(commands()[2:], tmp_path, environment)
    expected = 0 if result.improved else 1  # torchrun's own code if a process ends with 3
    assert [code for code, _, _ in ends] == [expected, expected], ends
    assert "trained on digits" in ends[0][1]
    assert "trained on digits" not in ends[1][1]
    if result.improved:
        mine, theirs = (ir.load(tmp_path / name / "int8-onnxruntime.onnx") for name in ("bundle", "alone"))
        for name, value in theirs.graph.initializers.items():
            assert value.const_value is not None
            found = mine.graph.initializers[name].const_value
            assert found is not None
            if value.const_value.numpy().dtype == np.int8:
                different = (found.numpy() != value.const_value.numpy()).mean()
                assert different < 0.1, f"{name}: {different:.1%} of the codes"


@pytest.mark.parametrize("command", ["calibrate", "bench"])
def test_a_step_of_one_process_is_refused_in_several(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from wrn_deploy.cli.options.effects import refuse_several_processes

    monkeypatch.setenv("WORLD_SIZE", "2")
    refuse_several_processes(command)  # not started by torchrun: the variable may be there for others
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    refuse_several_processes("train")
    with pytest.raises(UsageError, match=f"{command} was started in 2 processes by torchrun: expected one"):
        refuse_several_processes(command)
