"""`repository` and `serve` on the command line: tables, JSON, exit codes, the container's command."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, contents
from tests.pipeline.serving.plans import add_plan
from wrn_deploy.pipeline.inference.example import copy_example
from wrn_deploy.progress import Silent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_example(tmp_path / "bundle", Silent()).bundle.folder


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No tritonserver on PATH, and no wheel."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "pytriton" else found(name, *more)
    )


def test_a_repository_is_written_and_checked(cli: Cli, folder: Path, tmp_path: Path) -> None:
    arguments = ("repository", folder, "--out", tmp_path / "models", "--runner", "onnxruntime")
    assert re.search(r"wrn-10-1 +1 +python +fp32 +1 to 32", cli(*arguments).out)
    again = cli(*arguments, "--json")
    assert [model["changed"] for model in again.json()] == [False]
    assert "version 1 is up to date" in again.err
    checked = cli("repository", "--out", tmp_path / "models", "--check", folder)
    assert checked.out == "wrn-10-1: version 1, ready to serve\n"
    assert cli("repository", "-o", tmp_path / "models", "--check", "--json").json()[0]["ours"] is True


def test_an_ensemble_is_written_on_request_and_checked(cli: Cli, folder: Path, tmp_path: Path) -> None:
    arguments = ("repository", folder, "--out", tmp_path / "models", "--runner", "onnxruntime", "--ensemble")
    outcome = cli(*arguments)
    assert outcome.out.splitlines()[-1] == "wrn-10-1-ensemble: takes encoded images (JPEG, PNG, ...)"
    assert "wrn-10-1-decode: version 1 is written" in outcome.err
    assert cli(*arguments, "--json").json()[0]["ensemble"] == "wrn-10-1-ensemble"
    checked = cli("repository", "--out", tmp_path / "models", "--check", folder)
    assert [line.partition(":")[0] for line in checked.out.splitlines()] == [
        "wrn-10-1", "wrn-10-1-decode", "wrn-10-1-ensemble",
    ]  # fmt: skip
    shutil.rmtree(tmp_path / "models" / "wrn-10-1-decode")
    outcome = cli("repository", "--out", tmp_path / "models", "--check")
    assert outcome.code == 3
    assert "wrn-10-1-ensemble: step 1, wrn-10-1-decode, names no model of the repository" in outcome.err


def test_a_fault_is_exit_code_3(cli: Cli, folder: Path, tmp_path: Path) -> None:
    cli("repository", folder, "--out", tmp_path / "models", "--runner", "onnxruntime")
    (tmp_path / "models" / "wrn-10-1" / "labels.txt").unlink()
    outcome = cli("repository", "--out", tmp_path / "models", "--check")
    assert (outcome.code, outcome.out) == (3, "")
    assert "fails 1 check:" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "no bundle: expected at least one, or --check"),
        (("BUNDLE", "--backend", "tensorrt"), 1, "has no plan-fp16-tensorrt: run `wrn-deploy build-engine"),
        (("BUNDLE", "--gpus", "one"), 2, "--gpus 'one': expected numbers"),
        (("BUNDLE", "--runner", "nobody"), 2, "'nobody'"),
        (("BUNDLE", "--triton", "26.08"), 2, "its TensorRT is unknown"),
        (("BUNDLE", "--instances", "0"), 2, "--instances"),
    ],
)
def test_wrong_options_write_nothing(
    cli: Cli, folder: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    given = [folder if argument == "BUNDLE" else argument for argument in arguments]
    outcome = cli("repository", *given, "--out", tmp_path / "models")
    assert outcome.code == code
    assert words in outcome.err
    assert not (tmp_path / "models").exists()


@pytest.mark.usefixtures("no_server")
def test_without_a_server_it_says_how_to_get_one(cli: Cli, folder: Path, tmp_path: Path) -> None:
    before = contents(tmp_path)
    outcome = cli("serve", folder)
    assert (outcome.code, outcome.out) == (4, "")
    assert "pip install --no-deps nvidia-pytriton" in outcome.err
    assert "--container" in outcome.err
    assert contents(tmp_path) == before


def test_the_wheels_server_has_the_python_backend_alone(
    cli: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "site" / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    program.parent.mkdir(parents=True)
    program.touch()
    (tmp_path / "site" / "pytriton" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = cli("serve", folder, "--backend", "onnxruntime", "--repository", tmp_path / "models")
    assert outcome.code == 4
    assert "the server of nvidia-pytriton has no onnxruntime backend: use --backend python" in outcome.err
    outcome = cli("serve", folder, "--host", "0.0.0.0", "--repository", tmp_path / "models")
    assert outcome.code == 2
    assert "--host 0.0.0.0 with the server of nvidia-pytriton: in Triton before 2.60, a client can" in outcome.err
    assert not (tmp_path / "models").exists()


def test_a_server_that_is_none_is_refused(cli: Cli, folder: Path) -> None:
    outcome = cli("serve", folder, "--server", folder / "manifest.json")
    assert outcome.code == 2
    assert "is not a program: expected a tritonserver" in outcome.err


def test_a_server_that_ends_at_once_is_an_error_and_is_not_started_again(
    cli: Cli, folder: Path, tmp_path: Path
) -> None:
    server = tmp_path / "tritonserver"
    server.write_text(f"#!/bin/sh\necho started >> {tmp_path}/count\nexit 7\n")
    server.chmod(0o755)
    outcome = cli("serve", folder, "--server", server, "--runner", "onnxruntime")
    assert outcome.code == 1
    assert "tritonserver did not start (exit code 7)" in outcome.err
    assert (tmp_path / "count").read_text() == "started\n"


def test_a_server_that_never_gets_ready_is_ended(cli: Cli, folder: Path, tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    server = tmp_path / "tritonserver"
    server.write_text(f"#!/bin/sh\nexec {sleep} 60\n")
    server.chmod(0o755)
    ports = ("--http-port", 39999, "--grpc-port", 39998, "--metrics-port", 39997)
    outcome = cli("serve", folder, "--server", server, "--runner", "onnxruntime", "--ready-timeout", 0.5, *ports)
    assert outcome.code == 1
    assert "not ready after 0.5 s: raise --ready-timeout" in outcome.err


@pytest.mark.usefixtures("no_server")
def test_the_containers_command_needs_no_server(cli: Cli, folder: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    outcome = cli("serve", folder, "--runner", "onnxruntime", "--container", "--repository", models)
    words = shlex.split(outcome.out)
    assert words[:3] == ["docker", "run", "--rm"]
    assert "nvcr.io/nvidia/tritonserver:26.07-py3" in words
    assert f"{models}:/models:ro" in words
    assert "127.0.0.1:8000:8000" in words
    assert "--gpus=all" not in words
    assert (models / "wrn-10-1" / "1" / "model.py").is_file()
    assert "needs wrn-deploy in the image" in outcome.err


@pytest.mark.usefixtures("no_server")
def test_the_containers_command_for_a_plan_has_gpus(cli: Cli, tmp_path: Path) -> None:
    bundle = copy_example(tmp_path / "bundle", Silent()).bundle
    add_plan(bundle)
    arguments = ("--backend", "tensorrt", "--triton", "26.07", "--container", "--repository", tmp_path / "models")
    outcome = cli("serve", bundle.folder, *arguments, "--host", "0.0.0.0")
    assert "--gpus=all" in outcome.out
    assert "-p 0.0.0.0:8000:8000" in outcome.out
    assert "needs wrn-deploy" not in outcome.err


def test_the_container_needs_a_repository_and_ports_must_differ(cli: Cli, folder: Path) -> None:
    assert "--container without --repository" in cli("serve", folder, "--container").err
    outcome = cli("serve", folder, "--http-port", 8001)
    assert outcome.code == 2
    assert "ports 8001, 8001, 8002" in outcome.err


def test_kserve_gets_a_service_that_points_to_the_repository(cli: Cli, folder: Path, tmp_path: Path) -> None:
    arguments = ("repository", folder, "--out", tmp_path / "models", "--runner", "onnxruntime")
    file = tmp_path / "service.yaml"
    assert cli(*arguments, "--kserve", file).code == 2
    assert not (tmp_path / "models").exists()
    assert cli(*arguments, "--kserve", file, "--storage-uri", "s3://bucket/models").code == 0
    assert 'storageUri: "s3://bucket/models"' in file.read_text()
    outcome = cli(*arguments, "--storage-uri", "s3://bucket/models")
    assert (outcome.code, "--storage-uri would have no effect" in outcome.err) == (2, True)
