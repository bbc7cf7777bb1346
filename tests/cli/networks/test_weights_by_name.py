"""Weights by name on the command line: what cannot be had ends with the exit code and the text that help."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.conftest import Cli
from tests.models.checkpoints.weight_server import closed_address


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))


def test_without_a_network_the_exit_code_is_4_and_the_file_to_bring_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRN_DEPLOY_WEIGHTS_URL", closed_address())
    outcome = cli("export", "wrn-50-2", "--weights", "torchvision/wide_resnet50_2.IMAGENET1K_V2", "--out", "bundle")
    assert outcome.code == 4
    assert "Or copy https://download.pytorch.org/models/wide_resnet50_2-9ba9bcbe.pth" in outcome.err
    assert not Path("bundle").exists()


def test_a_name_of_another_network_is_refused_before_anything_is_downloaded(cli: Cli) -> None:
    outcome = cli("export", "resnet-50", "--weights", "timm/wide_resnet50_2.racm_in1k", "--out", "bundle")
    assert outcome.code == 1
    assert "timm/wide_resnet50_2.racm_in1k are weights of wrn-50-2, not of resnet-50" in outcome.err


def test_a_state_dict_that_is_not_there_is_a_mistake_in_usage(cli: Cli, weights: Path) -> None:
    torch.save({"model": load_file(weights)}, "w.pth")
    outcome = cli("export", "wrn-10-1", "--weights", "w.pth", "--weights-key", "ema", "--out", "bundle")
    assert outcome.code == 2
    assert "--weights-key 'ema': no such weights in the file; there are model" in outcome.err
    outcome = cli("export", "wrn-10-1", "--random-weights", "--weights-key", "ema", "--out", "bundle")
    assert outcome.code == 2
    assert "--weights-key would have no effect: expected --weights FILE" in outcome.err
