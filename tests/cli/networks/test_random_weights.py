"""Random weights are marked wherever a number of theirs can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from wrn_deploy.rendering.table import RANDOM_WEIGHTS

pytestmark = pytest.mark.usefixtures("short_turns")

QUICK = ("--data", "digits", "--limit", 16, "--rounds", 1, "--iterations", 1, "--batches", 1, "--threads", 1)


@pytest.fixture(scope="module")
def random_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
    from wrn_deploy.progress import Silent

    folder = tmp_path_factory.mktemp("random") / "bundle"
    export_bundle(ExportOptions(model="wrn-10-1", out=folder, random_weights=True), Silent())
    return folder


def test_in_the_manifest(random_bundle: Path) -> None:
    assert json.loads((random_bundle / "manifest.json").read_text(encoding="utf-8"))["random_weights"] is True


def test_in_what_export_prints(cli: Cli, random_bundle: Path) -> None:
    export = ("export", "wrn-10-1", "--random-weights", "--out", random_bundle)
    assert RANDOM_WEIGHTS in cli(*export).out.splitlines()
    assert cli(*export, "--json").json()["random_weights"] is True


@pytest.mark.usefixtures("no_torch")
def test_in_the_table_and_in_every_report(cli: Cli, random_bundle: Path, tmp_path: Path) -> None:
    text = cli("bench", random_bundle, *QUICK, "--out", tmp_path).out
    assert RANDOM_WEIGHTS in text.splitlines()
    assert json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))["random_weights"] is True
    for file in ("bench.md", "bench.html"):
        assert RANDOM_WEIGHTS in (tmp_path / file).read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_torch")
def test_in_what_eval_prints(cli: Cli, random_bundle: Path) -> None:
    assert (
        RANDOM_WEIGHTS in cli("eval", random_bundle, "--data", "digits", "--limit", 16, "--threads", 1).out.splitlines()
    )


def test_in_predictions(cli: Cli, random_bundle: Path, pngs: Path) -> None:
    predict = ("predict", random_bundle, min(pngs.iterdir()))
    assert RANDOM_WEIGHTS in cli(*predict).out.splitlines()
    assert cli(*predict, "--json").json()["random_weights"] is True


def test_weights_that_were_given_are_not_marked(cli: Cli, made_bundle: Path, weights: Path, pngs: Path) -> None:
    assert "RANDOM" not in cli("export", "wrn-10-1", "--weights", weights, "--out", made_bundle).out
    assert "RANDOM" not in cli("predict", made_bundle, min(pngs.iterdir())).out
