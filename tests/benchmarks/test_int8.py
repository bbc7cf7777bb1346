"""The int8 benchmarks: peers' environments and the command that makes each, whole processes, and what a row records."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.int8.accuracy import Result, add_round
from benchmarks.int8.candidate import set_constant
from benchmarks.int8.environments import ENVIRONMENTS, Environment, installed, make_command
from benchmarks.int8.measure import compare
from benchmarks.int8.processes import Cost, Place, run_row, write_first_images
from benchmarks.int8.rows import COST_PEERS, FLOORS, FRONTIER, LADDER, NEAREST, PASSES, PEERS, ROWS, SHIPPED, Maker, Row
from wrn_deploy.calib.collection import moments
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions

ROOT = Path(__file__).resolve().parents[2]
STATIC = next(row for row in PEERS if row.maker is Maker.ONNXRUNTIME)


def row_of(maker: Maker) -> Row:
    return next(row for row in PEERS if row.maker is maker)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("images") / "first.npz"
    write_first_images("digits", 4, file)
    return file


def test_names_of_rows_are_unique_and_each_peer_has_rows_in_both_tables() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    makers = {Maker.ONNXRUNTIME, Maker.NNCF, Maker.MODELOPT, Maker.AIMET}
    assert {row.maker for row in PEERS} == {row.maker for row in COST_PEERS} == makers
    assert len(COST_PEERS) == 8
    assert {row.options["fast"] for row in COST_PEERS if row.maker is Maker.NNCF} == {True, False}


def test_each_row_of_the_frontier_changes_one_thing_of_the_default() -> None:
    assert Row(name=SHIPPED.name, maker=Maker.OURS) == SHIPPED
    assert len(FRONTIER) == 19
    for row in FRONTIER:
        assert len(row.options) + len(row.constants) + (row.images is not None) == 1, row.name


def test_the_ladder_ends_one_technique_before_the_default() -> None:
    default = CalibrateOptions(data="digits")
    assert LADDER[-1].options == {
        "method": default.method,
        "equalize": default.equalize,
        "exact_input": True,
        "full_range": default.quantization.full_range,
        "weights": default.quantization.weights,
        "rounding": "nearest",
    }
    assert default.quantization.rounding == "feedback"


def test_a_row_sets_constants_in_its_process_alone(made_bundle: Path, images: Path, tmp_path: Path) -> None:
    place = Place(bundle=made_bundle, images=images, environments=None)
    few = next(row for row in FRONTIER if row.name == "ours, 2 windows for each row")
    found = {}
    for row in (SHIPPED, few, NEAREST):
        cost = run_row(row, place, tmp_path / row.name)
        assert cost.error == ""
        found[row.name] = (tmp_path / row.name / "int8-tensorrt.onnx").read_bytes()
    assert len({*found.values()}) == 3
    assert moments.WINDOWS_PER_ROW == 8
    with pytest.raises(SystemExit, match="has no constant WINDOWS"):
        set_constant("wrn_deploy.calib.collection.moments:WINDOWS", 2)


def test_every_peer_that_is_not_ours_has_a_pinned_environment() -> None:
    assert set(ENVIRONMENTS) == {Maker.NNCF, Maker.MODELOPT, Maker.AIMET}
    for environment in ENVIRONMENTS.values():
        assert all(requirement.count("==") == 1 for requirement in environment.requirements)
        assert any(requirement.startswith("onnxruntime==") for requirement in environment.requirements)


def test_an_environment_is_made_by_these_commands(tmp_path: Path) -> None:
    own = tmp_path / "small"
    assert Environment(peer="small", requirements=("pip==1",)).commands(tmp_path) == [
        [sys.executable, "-m", "venv", "--clear", str(own)],
        [str(own / "bin/python"), "-m", "pip", "install", "pip==1"],
    ]


def test_an_environment_counts_once_it_is_made_to_the_end_with_the_same_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> None:
        assert check
        ran.append(command)
        (tmp_path / "small").mkdir(exist_ok=True)
        if "pip" in command and "bad==1" in command:
            raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr("benchmarks.int8.environments.subprocess.run", run)
    good, bad = (Environment(peer="small", requirements=(name,)) for name in ("good==1", "bad==1"))
    with pytest.raises(subprocess.CalledProcessError):
        bad.make(tmp_path)
    assert not bad.is_made(tmp_path)
    good.make(tmp_path)
    assert ran[2:] == good.commands(tmp_path)
    assert good.is_made(tmp_path)
    assert not dataclasses.replace(good, requirements=("good==2",)).is_made(tmp_path)


def test_an_unknown_peer_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.int8.environments", str(tmp_path), "tensorflow"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "unknown peer tensorflow: expected one of nncf, modelopt, aimet" in ran.stderr
    assert not [*tmp_path.iterdir()]


def test_a_peer_without_its_environment_says_how_to_make_it(tmp_path: Path) -> None:
    assert installed(None) == installed(tmp_path) == {}
    place = Place(bundle=tmp_path, images=tmp_path, environments=tmp_path / "peers")
    cost = run_row(row_of(Maker.NNCF), place, tmp_path / "row")
    assert cost == Cost(
        error=f"not run: make it with `python -m benchmarks.int8.environments {tmp_path / 'peers'} nncf`"
    )
    assert make_command(Maker.AIMET, None) == "python -m benchmarks.int8.environments FOLDER aimet"


def test_a_row_runs_in_its_own_process_which_is_measured_as_a_whole(
    made_bundle: Path, images: Path, tmp_path: Path
) -> None:
    place = Place(bundle=made_bundle, images=images, environments=None)
    before = {file.name: file.read_bytes() for file in made_bundle.iterdir() if file.is_file()}
    for number, row in enumerate((FLOORS[0], STATIC, NEAREST, PASSES[0])):
        cost = run_row(row, place, tmp_path / str(number))
        assert cost.error == ""
        assert 0 < cost.start_cpu_s < cost.cpu_s
        assert cost.wall_s > 0
        assert cost.peak_rss_bytes > 20e6
    assert not (tmp_path / "0/int8.onnx").exists()
    assert (tmp_path / "1/int8.onnx").stat().st_size > 0
    for number in (2, 3):
        for target in ("tensorrt", "onnxruntime"):
            assert (tmp_path / f"{number}/int8-{target}.onnx").stat().st_size > 0
    assert {file.name: file.read_bytes() for file in made_bundle.iterdir() if file.is_file()} == before


def test_a_row_that_fails_gives_its_last_line(made_bundle: Path, tmp_path: Path) -> None:
    place = Place(bundle=made_bundle, images=tmp_path / "missing.npz", environments=None)
    cost = run_row(STATIC, place, tmp_path / "row")
    assert "missing.npz" in cost.error
    assert dataclasses.replace(cost, error="") == Cost()


def test_logits_are_compared_by_answers_cosine_and_mean_squared_error() -> None:
    reference = np.array([[1, 0], [0, 2]], dtype=np.float32)
    found = compare(np.array([[1, 0], [2, 0]], dtype=np.float32), reference, np.array([0, 0]))
    assert (found.images, found.correct, found.agreeing, found.cosine, found.logit_error) == (2, 2, 1, 0.5, 2.0)


def test_the_first_images_are_written_with_their_labels(images: Path) -> None:
    with np.load(images) as read:
        assert read["images"].shape == (4, 32, 32, 3)
        assert read["labels"].shape == (4,)


def test_costs_of_rounds_are_their_median_beside_the_raw_numbers() -> None:
    result = Result("one", Cost(cpu_s=6.0, peak_rss_bytes=7))
    for cpu_s in (5.0, 7.5):
        add_round([result], Cost(cpu_s=cpu_s))
    add_round([result], Cost(error="no memory"))
    assert result.rounds_cpu_s == [6.0, 5.0, 7.5]
    assert result.cost == Cost(cpu_s=6.0, peak_rss_bytes=7)


def test_too_few_images_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected at least 100000"):
        write_first_images("digits", 100_000, tmp_path / "first.npz")


def test_a_peers_process_imports_neither_torch_nor_onnx_before_its_row_does() -> None:
    code = (
        "import sys, json, benchmarks.int8.candidate; "
        "heavy = {'torch', 'onnx', 'onnx_ir', 'onnxruntime', 'rich', 'pydantic', 'typer'}; "
        "print(json.dumps(sorted(heavy & set(sys.modules))))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == []
