"""Weights taken by file or by name: what is noted, what the bundle records, and which preprocessing goes with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from tests.models.checkpoints.weight_server import serving
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.models import Overrides, build_model, describe_model
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.networks.network import NetworkOptions, load_weights, network_of
from wrn_deploy.progress import Silent


class NoteLog(Silent):
    """Keeps the notes and warnings."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def state(trained: Path) -> dict[str, torch.Tensor]:
    return load_file(trained / "weights.safetensors")


def test_what_was_taken_is_noted_and_kept_in_the_bundle_s_recipe(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    renamed = {key.replace("shortcut", "convShortcut"): value for key, value in state.items()}
    renamed = {
        key.replace(".0.", ".layer.0.", 1) if key.startswith("block") else key: value for key, value in renamed.items()
    }
    torch.save({"net": {f"module.{key}": value for key, value in renamed.items()}, "acc": 95.0}, tmp_path / "ckpt.t7")
    log = NoteLog()
    bundle = export_bundle(ExportOptions(model="wrn-10-1", out=tmp_path / "bundle", weights=tmp_path / "ckpt.t7"), log)
    assert f"{tmp_path / 'ckpt.t7'}: layout of xternalz/WideResNet-pytorch, from net.module in it" in log.notes
    recipe = Bundle.open(bundle.folder).artifacts["weights"].recipe.options
    assert recipe["layout"] == "xternalz/WideResNet-pytorch"
    assert recipe["key"] == "net.module"
    assert recipe["preprocessing"] == "the usual one of wrn-10-1: the weights do not say"
    kept = load_file(bundle.folder / "weights.safetensors")
    assert all(torch.equal(kept[key], value) for key, value in state.items() if value.is_floating_point())


def test_our_own_weights_bring_their_description_and_need_no_words(trained: Path) -> None:
    log = NoteLog()
    taken = load_weights(NetworkOptions(model="wrn-10-1", weights=trained / "weights.safetensors"), log)
    assert taken.spec.labels == tuple("0123456789")
    assert log.notes == log.warnings == []


def test_of_several_state_dicts_the_others_are_noted_and_can_be_asked_for(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    other = {key: value + 1 if value.is_floating_point() else value for key, value in state.items()}
    torch.save({"state_dict": other, "state_dict_ema": state}, tmp_path / "w.pth")
    log = NoteLog()
    averaged = network_of(load_weights(NetworkOptions(model="wrn-10-1", weights=tmp_path / "w.pth"), log))
    assert torch.equal(averaged.state_dict()["fc.bias"], state["fc.bias"])
    assert "the file also has state_dict: choose with --weights-key NAME" in log.notes
    plain = network_of(
        load_weights(NetworkOptions(model="wrn-10-1", weights=tmp_path / "w.pth", key="state_dict"), log)
    )
    assert torch.equal(plain.state_dict()["fc.bias"], other["fc.bias"])
    with pytest.raises(UsageError, match=r"there are state_dict_ema, state_dict$"):
        load_weights(NetworkOptions(model="wrn-10-1", weights=tmp_path / "w.pth", key="ema"), log)


def test_what_a_user_gives_goes_before_what_travels_with_the_weights(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    layer = {"normalize.mean": torch.tensor([0.1, 0.2, 0.3]), "normalize.std": torch.tensor([0.4, 0.5, 0.6])}
    torch.save({**layer, **{f"model.{key}": value for key, value in state.items()}}, tmp_path / "w.pth")
    log = NoteLog()
    wanted = NetworkOptions(model="wrn-10-1", weights=tmp_path / "w.pth", overrides=Overrides(std=(0.7, 0.8, 0.9)))
    spec = load_weights(wanted, log).spec
    assert (spec.preprocessing.mean, spec.preprocessing.std) == ((0.1, 0.2, 0.3), (0.7, 0.8, 0.9))
    assert log.notes[-1].startswith(
        "preprocessing: 32x32, mean 0.1,0.2,0.3, std 0.7,0.8,0.9 (mean and std from the nor"
    )
    assert log.notes[-1].endswith(", with your changes)")


def test_a_name_of_another_network_says_which() -> None:
    wanted = NetworkOptions(model="resnet-50", weights="timm/wide_resnet50_2.racm_in1k")
    with pytest.raises(DeployError, match="are weights of wrn-50-2, not of resnet-50"):
        load_weights(wanted, Silent())


def test_an_unknown_name_is_an_error_with_near_ones_and_another_text_is_taken_for_a_file() -> None:
    with pytest.raises(
        DeployError, match=r"torchvision/wide_resnet50_2\.V2' \(did you mean torchvision/wide_resnet50_2"
    ):
        load_weights(NetworkOptions(model="wrn-50-2", weights="torchvision/wide_resnet50_2.V2"), Silent())
    with pytest.raises(DeployError, match=r"no weights at 'weights/mine\.pth': expected a"):
        load_weights(NetworkOptions(model="wrn-50-2", weights="weights/mine.pth"), Silent())


def test_weights_by_name_are_downloaded_loaded_and_bring_their_preprocessing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    published = build_model(describe_model("resnet-18"))
    log = NoteLog()
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        server.keep_for_hub("timm/resnet18.a2_in1k", "model.safetensors", save(dict(published.state_dict())))
        taken = load_weights(NetworkOptions(model="resnet-18", weights="timm/resnet18.a2_in1k"), log)
    assert torch.equal(network_of(taken).state_dict()["fc.weight"], published.state_dict()["fc.weight"])
    assert (taken.spec.preprocessing.resize, taken.spec.preprocessing.interpolation) == (235, "bicubic")
    assert taken.origin["published"] == "timm/resnet18.a2_in1k"
    assert log.notes[-1] == (
        "preprocessing: shorter side 235 (bicubic), centre 224x224, mean 0.485,0.456,0.406, std 0.229,0.224,0.225 "
        "(published with timm/resnet18.a2_in1k)"
    )


def test_a_folded_export_warns_that_it_is_not_for_training(tmp_path: Path) -> None:
    from tests.models.foreign import functional_zoo

    torch.save({key: value.detach() for key, value in functional_zoo(build_model(describe_model("resnet-18"))).items()},
               tmp_path / "resnet-18-export.pth")  # fmt: skip
    log = NoteLog()
    taken = load_weights(NetworkOptions(model="resnet-18", weights=tmp_path / "resnet-18-export.pth"), log)
    assert taken.origin["layout"] == "szagoruyko/functional-zoo"
    assert log.warnings == [
        "szagoruyko/functional-zoo: BN is folded into its convolutions, and its own statistics are lost: not for "
        "training on"
    ]
