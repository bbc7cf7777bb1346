"""A checkpoint that does not fit: the error says what it is and what to do, for each cause."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wrn_deploy.errors import DeployError
from wrn_deploy.models import Overrides, build_model, describe_model
from wrn_deploy.models.checkpoints.weights import Checkpoint, match_weights

State = dict[str, torch.Tensor]
SPEC = describe_model("wrn-10-1")


def _state(name: str, classes: int | None = None) -> State:
    return dict(build_model(Overrides(classes=classes).apply(describe_model(name))).state_dict())


WHOLE = _state("wrn-10-1")
LORA = {
    "block1.0.conv1.lora_A.default.weight": torch.ones(4, 16),
    "block1.0.conv1.lora_B.default.weight": torch.ones(1),
}


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        (_state("wrn-16-2"), "It matches wrn-16-2: use that name"),
        (_state("wrn-22-3"), "It matches wrn-22-3: use that name"),  # one that `models` does not list
        (
            {f"module.{key}": value for key, value in _state("wrn-16-1", 100).items()},
            "wrn-16-1 with --classes 100: use",
        ),
        (_state("resnet-18"), "It matches resnet-18: use that name"),
        ({"a.weight": torch.ones(2)}, "It matches no known network: `wrn-deploy models` lists them"),
        (
            {**WHOLE, "mixer.weight": torch.ones(2)},
            "If its network does not need the unexpected weights (a loss, a metric)",
        ),
        ({key: value for key, value in WHOLE.items() if "running" not in key}, "It has no statistics of BN"),
        ({key: value for key, value in WHOLE.items() if not key.startswith("fc")}, "It has no classifier"),
        ({**WHOLE, **LORA}, "merge_and_unload"),
        ({"_fsdp_wrapped_module._flat_param": torch.ones(99)}, "StateDictType.FULL_STATE_DICT"),
        ({**WHOLE, "conv1.zero_point": torch.tensor(0)}, "the checkpoint from before any quantization"),
        ({**WHOLE, "conv1.weight_fake_quant.scale": torch.ones(1)}, "the checkpoint from before any quantization"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_remedy_is_that_of_the_cause(state: State, remedy: str) -> None:
    with pytest.raises(DeployError) as error:
        match_weights(Checkpoint(Path("w.pth"), {"": state}), SPEC)
    assert "w.pth is not a checkpoint of wrn-10-1 (10 classes)" in str(error.value)
    assert remedy in str(error.value)


def test_one_of_several_shards_is_named_so() -> None:
    some = {key: value for key, value in WHOLE.items() if "block1" not in key}
    with pytest.raises(DeployError, match="It is one of several shards: put the tensors of all into one dictionary"):
        match_weights(Checkpoint(Path("model-00001-of-00002.safetensors"), {"": some}), SPEC)
