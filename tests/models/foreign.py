"""Our networks' tensors under the names that other projects give them, written out from those projects' code.

Nothing here reads `LAYOUTS`. Each function says which file of which project its names are from.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

State = dict[str, torch.Tensor]


def _bn(prefix: str, norm: Any) -> State:
    return {
        f"{prefix}.weight": norm.weight,
        f"{prefix}.bias": norm.bias,
        f"{prefix}.running_mean": norm.running_mean,
        f"{prefix}.running_var": norm.running_var,
        f"{prefix}.num_batches_tracked": torch.tensor(3),
    }


def _linear(prefix: str, layer: Any) -> State:
    return {f"{prefix}.weight": layer.weight, f"{prefix}.bias": layer.bias}


def _blocks(network: Any, *groups: str) -> list[tuple[int, int, Any]]:
    return [(g, i, block) for g, group in enumerate(groups) for i, block in enumerate(getattr(network, group))]


def xternalz(wrn: Any) -> State:
    """WideResNet-pytorch, wideresnet.py: NetworkBlock.layer, BasicBlock.convShortcut."""
    state = {"conv1.weight": wrn.conv1.weight}
    for g, i, block in _blocks(wrn, "block1", "block2", "block3"):
        base = f"block{g + 1}.layer.{i}"
        state |= _bn(f"{base}.bn1", block.bn1) | {f"{base}.conv1.weight": block.conv1.weight}
        state |= _bn(f"{base}.bn2", block.bn2) | {f"{base}.conv2.weight": block.conv2.weight}
        if block.shortcut is not None:
            state[f"{base}.convShortcut.weight"] = block.shortcut.weight
    return state | _bn("bn1", wrn.bn1) | _linear("fc", wrn.fc)


def augmix(wrn: Any) -> State:
    """google-research/augmix, third_party/WideResNet_pytorch/wideresnet.py: BasicBlock.conv_shortcut."""
    return {key.replace("convShortcut", "conv_shortcut"): value for key, value in xternalz(wrn).items()}


def authors_cifar(wrn: Any) -> State:
    """szagoruyko/wide-residual-networks, pytorch/resnet.py: flat parameters, convolutions without `.weight`."""
    state = {"conv0": wrn.conv1.weight}
    for g, i, block in _blocks(wrn, "block1", "block2", "block3"):
        base = f"group{g}.block{i}"
        state |= {f"{base}.conv0": block.conv1.weight, f"{base}.conv1": block.conv2.weight}
        state |= _bn(f"{base}.bn0", block.bn1) | _bn(f"{base}.bn1", block.bn2)
        if block.shortcut is not None:
            state[f"{base}.convdim"] = block.shortcut.weight
    state |= _bn("bn", wrn.bn1) | _linear("fc", wrn.fc)
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def pytorchcv(wrn: Any) -> State:
    """osmr/imgclsmob, pytorchcv/models/wrn_cifar.py with preresnet.py: PreResUnit.body, identity_conv, post_activ."""
    state = {"features.init_block.weight": wrn.conv1.weight}
    for g, i, block in _blocks(wrn, "block1", "block2", "block3"):
        base = f"features.stage{g + 1}.unit{i + 1}"
        for number, (norm, conv) in enumerate(((block.bn1, block.conv1), (block.bn2, block.conv2)), start=1):
            state |= _bn(f"{base}.body.conv{number}.bn", norm)
            state[f"{base}.body.conv{number}.conv.weight"] = conv.weight
        if block.shortcut is not None:
            state[f"{base}.identity_conv.weight"] = block.shortcut.weight
    return state | _bn("features.post_activ.bn", wrn.bn1) | _linear("output", wrn.fc)


def mmrazor(wrn: Any) -> State:
    """open-mmlab/mmrazor, architectures/backbones/wideresnet.py in an ImageClassifier."""
    state = {"backbone.conv1.weight": wrn.conv1.weight}
    for g, i, block in _blocks(wrn, "block1", "block2", "block3"):
        base = f"backbone.layer{g + 1}.{i}"
        state |= _bn(f"{base}.bn1", block.bn1) | {f"{base}.conv1.weight": block.conv1.weight}
        state |= _bn(f"{base}.bn2", block.bn2) | {f"{base}.conv2.weight": block.conv2.weight}
        if block.shortcut is not None:
            state[f"{base}.downsample.weight"] = block.shortcut.weight
    return state | _bn("backbone.bn1", wrn.bn1) | _linear("head.fc", wrn.fc)


def meliketoy(wrn: Any) -> State:
    """bmsookim/wide-resnet.pytorch, networks/wide_resnet.py: another network, with biases and `shortcut.0`."""
    state = {"conv1.weight": wrn.conv1.weight, "conv1.bias": torch.zeros(16)}
    for g, i, block in _blocks(wrn, "block1", "block2", "block3"):
        base = f"layer{g + 1}.{i}"
        for number, (norm, conv) in enumerate(((block.bn1, block.conv1), (block.bn2, block.conv2)), start=1):
            state |= _bn(f"{base}.bn{number}", norm)
            state |= {f"{base}.conv{number}.weight": conv.weight, f"{base}.conv{number}.bias": conv.weight[:, 0, 0, 0]}
        if block.shortcut is not None:
            state[f"{base}.shortcut.0.weight"] = block.shortcut.weight
            state[f"{base}.shortcut.0.bias"] = block.shortcut.weight[:, 0, 0, 0]
    return state | _bn("bn1", wrn.bn1) | _linear("linear", wrn.fc)


def deepmind(wrn: Any) -> State:
    """RobustBench, model_zoo/architectures/dm_wide_resnet.py: DMWideResNet, which pads on one side."""
    state = {"mean": torch.zeros(3, 1, 1), "std": torch.ones(3, 1, 1), "init_conv.weight": wrn.conv1.weight}
    for g, i, block in _blocks(wrn, "block1", "block2", "block3"):
        base = f"layer.{g}.block.{i}"
        for number, (norm, conv) in enumerate(((block.bn1, block.conv1), (block.bn2, block.conv2))):
            state |= _bn(f"{base}.batchnorm_{number}", norm) | {f"{base}.conv_{number}.weight": conv.weight}
        if block.shortcut is not None:
            state[f"{base}.shortcut.weight"] = block.shortcut.weight
    return state | _bn("batchnorm", wrn.bn1) | _linear("logits", wrn.fc)


def torchvision(resnet: Any) -> State:
    """pytorch/vision, models/resnet.py, and timm's models/resnet.py: the same names."""
    state = {"conv1.weight": resnet.conv1.weight, **_bn("bn1", resnet.bn1)}
    for g, i, block in _blocks(resnet, "layer1", "layer2", "layer3", "layer4"):
        base = f"layer{g + 1}.{i}"
        for number in _numbers(block):
            state[f"{base}.conv{number}.weight"] = getattr(block, f"conv{number}").weight
            state |= _bn(f"{base}.bn{number}", getattr(block, f"bn{number}"))
        if block.downsample is not None:
            state[f"{base}.downsample.0.weight"] = block.downsample[0].weight
            state |= _bn(f"{base}.downsample.1", block.downsample[1])
    return state | _linear("fc", resnet.fc)


def mmpretrain(resnet: Any) -> State:
    """open-mmlab/mmpretrain, models/backbones/resnet.py and heads/linear_head.py in an ImageClassifier."""
    names = torchvision(resnet)
    return {f"head.{key}" if key.startswith("fc.") else f"backbone.{key}": value for key, value in names.items()}


def timm_deep_stem(resnet: Any, *, pooled: bool) -> State:
    """timm, models/resnet.py: a stem of three convolutions; `pooled` (ResNet-D): shortcuts that begin with a pool."""
    state = torchvision(resnet)
    del state["conv1.weight"]
    state |= {"conv1.0.weight": torch.zeros(32, 3, 3, 3), **_bn("conv1.1", nn.BatchNorm2d(32))}
    state |= {"conv1.3.weight": torch.zeros(32, 32, 3, 3), **_bn("conv1.4", nn.BatchNorm2d(32))}
    state["conv1.6.weight"] = torch.zeros(64, 32, 3, 3)
    if not pooled:
        return state
    moved = {".downsample.0.": ".downsample.1.", ".downsample.1.": ".downsample.2."}
    return {next((key.replace(a, b) for a, b in moved.items() if a in key), key): value for key, value in state.items()}


def functional_zoo(resnet: Any) -> State:
    """szagoruyko/functional-zoo, wide-resnet-50-2-export.ipynb: BN folded into the convolutions' weights and biases."""
    state = _folded("conv0", resnet.conv1, resnet.bn1)
    for g, i, block in _blocks(resnet, "layer1", "layer2", "layer3", "layer4"):
        base = f"group{g}.block{i}"
        for number in _numbers(block):
            conv, norm = getattr(block, f"conv{number}"), getattr(block, f"bn{number}")
            state |= _folded(f"{base}.conv{number - 1}", conv, norm)
        if block.downsample is not None:
            state |= _folded(f"{base}.conv_dim", *block.downsample)
    return state | _linear("fc", resnet.fc)


def pytorchcv_preresnet(network: Any) -> State:
    """osmr/imgclsmob, pytorchcv/models/preresnet.py: PreResNet with bottlenecks, as preresnet200b."""
    state = {"features.init_block.conv.weight": network.conv1.weight, **_bn("features.init_block.bn", network.bn1)}
    for g, i, block in _blocks(network, "layer1", "layer2", "layer3", "layer4"):
        state |= _pytorchcv_bottleneck(f"features.stage{g + 1}.unit{i + 1}", block)
    return state | _bn("features.post_activ.bn", network.bn2) | _linear("output", network.fc)


def pytorchcv_preresnet_cifar(network: Any) -> State:
    """osmr/imgclsmob, pytorchcv/models/preresnet_cifar.py: the same tensors, the stride elsewhere."""
    state = {"features.init_block.weight": network.conv1.weight}
    for g, i, block in _blocks(network, "layer1", "layer2", "layer3"):
        state |= _pytorchcv_bottleneck(f"features.stage{g + 1}.unit{i + 1}", block)
    return state | _bn("features.post_activ.bn", network.bn1) | _linear("output", network.fc)


def _pytorchcv_bottleneck(base: str, block: Any) -> State:
    state: State = {}
    for number in (1, 2, 3):
        state |= _bn(f"{base}.body.conv{number}.bn", getattr(block, f"bn{number}"))
        state[f"{base}.body.conv{number}.conv.weight"] = getattr(block, f"conv{number}").weight
    if block.downsample is not None:
        state[f"{base}.identity_conv.weight"] = block.downsample.weight
    return state


def _numbers(block: Any) -> tuple[int, ...]:
    return (1, 2, 3) if hasattr(block, "conv3") else (1, 2)


def _folded(name: str, conv: Any, norm: Any) -> State:
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight = conv.weight * scale[:, None, None, None]
    return {f"{name}.weight": weight, f"{name}.bias": norm.bias - norm.running_mean * scale}
