"""Files in other projects' layouts: recognised by their keys, loaded bit for bit; misses are named by them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.models import foreign
from tests.models.fitting import fit_weights
from wrn_deploy.errors import DeployError
from wrn_deploy.models import build_model, describe_model, layouts
from wrn_deploy.models.checkpoints.layout import UNIT_VARIANCE, KeyLayout
from wrn_deploy.models.checkpoints.weights import Checkpoint, read_weights
from wrn_deploy.plugins import plugin_names
from wrn_deploy.spec import ModelSpec

State = dict[str, torch.Tensor]
Renamed = Callable[[Any], State]

CIFAR = [
    (foreign.xternalz, "xternalz/WideResNet-pytorch"),
    (foreign.augmix, "google-research/augmix"),
    (foreign.authors_cifar, "szagoruyko/wide-residual-networks"),
    (foreign.pytorchcv, "pytorchcv"),
    (foreign.mmrazor, "mmrazor"),
]
IMAGENET = [(foreign.torchvision, "torchvision, timm and this project"), (foreign.mmpretrain, "mmpretrain")]


def _filled(name: str, classes: int = 7) -> tuple[nn.Module, ModelSpec]:
    """A network whose numbers are all different, BN statistics too."""
    spec = dataclasses.replace(describe_model(name), classes=classes, labels=())
    torch.manual_seed(1)
    network = build_model(spec).eval().requires_grad_(requires_grad=False)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) * 0.2 + 0.1)
    return network, spec


def _loads_exactly(state: State, network: nn.Module, spec: ModelSpec, layout: str) -> None:
    fresh = build_model(spec)
    match = fit_weights(fresh, Checkpoint(Path("w.pth"), {"": state}), spec)
    assert match.layout.name == layout
    assert match.left_over == ()
    for key, value in network.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(fresh.state_dict()[key], value), key


@pytest.mark.parametrize(("renamed", "layout"), CIFAR, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("name", ["wrn-10-1", "wrn-16-2"])  # without and with a shortcut in the first group
def test_cifar_checkpoints_of_each_layout_are_loaded_bit_for_bit(renamed: Renamed, layout: str, name: str) -> None:
    network, spec = _filled(name)
    _loads_exactly(renamed(network), network, spec, layout)


@pytest.mark.parametrize(("renamed", "layout"), IMAGENET, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("name", ["resnet-10", "resnet-50"])  # basic blocks and bottlenecks
def test_imagenet_checkpoints_of_each_layout_are_loaded_bit_for_bit(renamed: Renamed, layout: str, name: str) -> None:
    network, spec = _filled(name)
    _loads_exactly(renamed(network), network, spec, layout)


def test_a_checkpoint_of_pytorchcv_s_preresnet_is_loaded_bit_for_bit() -> None:
    network, spec = _filled("preresnet-26")
    _loads_exactly(foreign.pytorchcv_preresnet(network), network, spec, "pytorchcv")


@pytest.mark.parametrize(
    ("renamed", "name", "key"),
    [
        # As their owners print them: the notebook of the export, and the files named in `foreign`.
        (foreign.functional_zoo, "wrn-50-2", "group3.block0.conv_dim.bias"),
        (foreign.functional_zoo, "wrn-50-2", "group0.block0.conv1.weight"),
        (foreign.authors_cifar, "wrn-16-2", "group1.block0.convdim"),
        (foreign.xternalz, "wrn-16-2", "block3.layer.0.convShortcut.weight"),
        (foreign.pytorchcv, "wrn-16-2", "features.stage1.unit2.body.conv2.bn.running_var"),
        (foreign.torchvision, "wrn-50-2", "layer4.0.downsample.1.running_mean"),
    ],
)
def test_the_builders_write_keys_as_they_are_published(renamed: Renamed, name: str, key: str) -> None:
    with torch.device("meta"):
        assert key in renamed(build_model(describe_model(name)))


def test_the_authors_export_has_the_number_of_parameters_that_its_notebook_prints() -> None:
    with torch.device("meta"):
        state = foreign.functional_zoo(build_model(describe_model("wrn-50-2")))
    assert sum(tensor.numel() for tensor in state.values()) == 68_849_128


@pytest.mark.parametrize("name", ["resnet-10", "resnet-50"])
def test_the_authors_export_with_folded_bn_computes_what_the_network_did(name: str) -> None:
    network, spec = _filled(name)
    state = foreign.functional_zoo(network)
    loaded = build_model(spec).eval()
    match = fit_weights(loaded, Checkpoint(Path("w.pth"), {"": state}), spec)
    assert match.layout.name == "szagoruyko/functional-zoo"
    own = loaded.state_dict()
    assert torch.equal(own["conv1.weight"], state["conv0.weight"])
    assert torch.equal(own["bn1.bias"], state["conv0.bias"])
    assert torch.equal(own["layer4.0.downsample.1.bias"], state["group3.block0.conv_dim.bias"])
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        wanted, found = network(images), loaded(images)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_the_variance_of_a_folded_bn_changes_no_bit() -> None:
    norm = nn.BatchNorm2d(3).eval()
    norm.running_var = torch.full((3,), UNIT_VARIANCE)
    values = torch.randn(4, 3, 9, 9)
    with torch.inference_mode():
        assert torch.equal(norm(values), values)


@pytest.mark.parametrize(
    ("renamed", "name", "text"),
    [
        (foreign.meliketoy, "wrn-16-2", "layout of meliketoy/wide-resnet.pytorch: its shortcuts read"),
        (foreign.deepmind, "wrn-16-2", "layout of deepmind/deepmind-research: its convolutions with a stride pad"),
        (foreign.pytorchcv_preresnet_cifar, "preresnet-29", "layout of pytorchcv: its 3x3 convolutions have the strid"),
        (lambda net: foreign.timm_deep_stem(net, pooled=False), "resnet-10", "ResNet-C: its stem has three convolutio"),
        (lambda net: foreign.timm_deep_stem(net, pooled=True), "resnet-10", "ResNet-D: .*shortcuts pool"),
    ],
    ids=["meliketoy", "deepmind", "pytorchcv preresnet", "deep stem", "deep stem and pools"],
)
def test_tensors_that_make_another_network_are_refused_with_the_reason(renamed: Renamed, name: str, text: str) -> None:
    network, spec = _filled(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(DeployError, match=text):
        fit_weights(network, Checkpoint(Path("w.pth"), {"": renamed(network)}), spec)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(("renamed", "layout"), CIFAR, ids=lambda value: getattr(value, "__name__", ""))
def test_a_miss_names_the_file_s_own_keys_and_the_layout(renamed: Renamed, layout: str) -> None:
    network, spec = _filled("wrn-10-1")
    state = renamed(network)
    gone = [key for key in state if not key.endswith("num_batches_tracked")][5]
    state["odd.scale"] = state.pop(gone)
    with pytest.raises(DeployError) as error:
        fit_weights(network, Checkpoint(Path("w.pth"), {"": state}), spec)
    assert f"read in the layout of {layout}: 1 missing: {gone}; 1 unexpected: odd.scale." in str(error.value)


def test_another_number_of_classes_is_reported_whatever_the_layout() -> None:
    network, _ = _filled("wrn-10-1", classes=7)
    spec = describe_model("wrn-10-1")
    with pytest.raises(DeployError, match=r"has 7 classes, wrn-10-1 expects 10 \(output\.weight .*: pass --classes 7$"):
        fit_weights(build_model(spec), Checkpoint(Path("w.pth"), {"": foreign.pytorchcv(network)}), spec)


def test_a_left_over_group_that_trades_never_calls_is_passed_over_and_another_is_not() -> None:
    network, spec = _filled("wrn-10-1")
    state = foreign.xternalz(network)
    unused = {f"sub_{key}": value for key, value in state.items() if key.startswith("block1.")}
    _loads_exactly({**state, **unused}, network, spec, "xternalz/WideResNet-pytorch")
    with pytest.raises(DeployError, match="1 unexpected: sub_block2"):
        fit_weights(network, Checkpoint(Path("w.pth"), {"": {**state, "sub_block2.x": torch.zeros(1)}}), spec)


@pytest.mark.parametrize("kind", ["npz", "safetensors", "pth", "hickle"])
@pytest.mark.parametrize("renamed", [foreign.authors_cifar, foreign.xternalz], ids=["authors", "xternalz"])
def test_every_kind_of_file_gives_the_same_tensors(renamed: Renamed, kind: str, tmp_path: Path) -> None:
    network, spec = _filled("wrn-10-1")
    state = {key: value.detach().clone() for key, value in renamed(network).items()}
    file = tmp_path / "weights"
    if kind == "npz":
        with file.open("wb") as stream:
            np.savez(stream, **{key: value.numpy() for key, value in state.items()})  # type: ignore[arg-type]
    elif kind == "hickle":
        _write_as_hickle(file, state)
    elif kind == "safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    fresh = build_model(spec)
    fit_weights(fresh, read_weights(file), spec)
    for key, value in network.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(fresh.state_dict()[key], value), key


def _write_as_hickle(file: Path, state: State) -> None:
    """As functional-zoo's cpp_parser reads them: a group `data_0`, in it a group a key, in that a dataset `data_0`."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "w") as opened:
        for key, value in state.items():
            opened.create_dataset(f"data_0/{key!r}/data_0", data=value.numpy())


@pytest.mark.parametrize("kind", ["npz", "hdf5"])
def test_a_damaged_file_of_arrays_is_reported(kind: str, tmp_path: Path) -> None:
    network, _ = _filled("wrn-10-1")
    state = {key: value.detach().clone() for key, value in foreign.authors_cifar(network).items()}
    file = tmp_path / "weights"
    if kind == "hdf5":
        _write_as_hickle(file, state)
    else:
        with file.open("wb") as stream:
            np.savez(stream, **{key: value.numpy() for key, value in state.items()})  # type: ignore[arg-type]
    content = bytearray(file.read_bytes())
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DeployError, match="weights is damaged"):
        read_weights(file)


def test_arrays_of_python_objects_are_pickles_and_refused(tmp_path: Path) -> None:
    with (tmp_path / "w.npz").open("wb") as stream:
        np.savez(stream, conv0=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DeployError, match="damaged or contains more than arrays"):
        read_weights(tmp_path / "w.npz")


def test_a_template_may_count_from_another_number() -> None:
    layout = KeyLayout(name="x", rules=((r"layer(\d)\.(\d+)\.bn(\d)\.(.+)", "stage{1}.unit{2:+1}.bn{3:-1}.{4}"),))
    assert layout.key("layer2.10.bn3.bias") == "stage2.unit11.bn2.bias"
    assert layout.key("fc.bias") == "fc.bias"
    assert layout.key("a.layer2.10.bn3.bias") == "a.layer2.10.bn3.bias"


@pytest.mark.parametrize("name", ["wrn-16-2", "resnet-10", "resnet-50", "preresnet-26", "preresnet-29"])
def test_no_two_of_our_keys_get_one_name_in_a_layout(name: str) -> None:
    spec = describe_model(name)
    with torch.device("meta"):
        own = list(build_model(spec).state_dict())
    for layout in layouts(spec.family):
        names = [layout.key(key) for key in own if layout.constant(key) is None]
        assert len(names) == len(set(names)), layout.name


def test_the_document_names_every_layout() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "weights.md").read_text(encoding="utf-8")
    for family in plugin_names("wrn_deploy.models.families"):
        for layout in layouts(family):
            assert f"| {layout.name} |" in text, layout.name
