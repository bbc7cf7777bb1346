"""Names that no family knows are refused without torch, and no name that one knows is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wrn_deploy.errors import DeployError
from wrn_deploy.models import describe_model, listed_models
from wrn_deploy.models.aliases import ALIASES
from wrn_deploy.models.catalog import count_network
from wrn_deploy.models.known import check_name, parameters_of

UNLISTED = ("wrn-52-3", "wrn-34-10-cifar", "wrn-34-2.5-imagenet", "wrn-50-2-imagenet", "preresnet-110", "resnet-34")
WRONG = ("wm-16-2", "wrn-16", "wrn-16-x", "wrn-17-2", "wrn-50-3", "densenet-121", "", "16-2")


@pytest.mark.parametrize("name", [*listed_models(), *ALIASES, *UNLISTED])
def test_a_name_that_a_family_knows_passes(name: str) -> None:
    describe_model(name)
    check_name(name)


@pytest.mark.parametrize("name", WRONG)
def test_another_name_is_refused_with_the_same_text(name: str) -> None:
    with pytest.raises(DeployError) as late:
        describe_model(name)
    with pytest.raises(DeployError) as early:
        check_name(name)
    assert str(early.value) == str(late.value)


def test_no_torch_is_needed() -> None:
    code = "import sys; from wrn_deploy.models.known import check_name; check_name('wrn-52-3'); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_parameters_are_those_of_the_network() -> None:
    assert parameters_of("wide_resnet50_2") == count_network("wrn-50-2").parameters
    assert parameters_of("wrn-52-3") is None
