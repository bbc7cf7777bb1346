"""build-engine: options reach the plan, what TensorRT-RTX lacks is refused, and --rebuild builds again."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli, contents
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.machine import find_gpu

pytestmark = pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")

FP16 = ("--fp16", "--flavor", "tensorrt_rtx")


def test_all_options_reach_the_plan(cli: Cli, bundle: Bundle) -> None:
    profiles = ("--profile", "1:1:1", "--profile", "2:8:16")
    targets = ("--compute-capability", "8.9", "--compute-capability", "SM120")
    limits = ("--workspace", "512", "--optimization-level", "4", "--no-tf32")
    outcome = cli("build-engine", bundle.folder, *FP16, *profiles, *targets, *limits)
    assert outcome.code == 0
    plan = Bundle.open(bundle.folder).find("plan-fp16-tensorrt_rtx", "")
    assert plan.facts["profiles"] == [
        {"minimum": 1, "optimum": 1, "maximum": 1},
        {"minimum": 2, "optimum": 8, "maximum": 16},
    ]
    assert plan.facts["compute_capabilities"] == ["SM120", "SM89"]
    given = plan.recipe.options
    assert (given["workspace_mib"], given["level"], given["tf32"]) == (512, 4, False)


def test_a_plan_is_built_again_only_when_asked(cli: Cli, bundle: Bundle) -> None:
    cli("build-engine", bundle.folder, *FP16)
    assert "is up to date" in cli("build-engine", bundle.folder, *FP16).err
    outcome = cli("build-engine", bundle.folder, *FP16, "--profile", "1:8:32", "--rebuild")
    assert outcome.code == 0
    assert "is up to date" not in outcome.err
    assert "Building fp16.onnx with tensorrt_rtx" in outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--hardware-compatible", "ampere-plus"), ("--hardware-compatible with tensorrt_rtx", "--compute-capability")),
        (("--version-compatible",), ("--version-compatible with tensorrt_rtx", "build one with each version")),
        (("--timing-cache", "times"), ("--timing-cache with tensorrt_rtx", "has no effect")),
        (("--compute-capability", "SM90"), ("--compute-capability SM90", "expected one of CURRENT, SM75")),
        (("--compute-capability", "CURRENT", "--compute-capability", "SM86"), ("expected CURRENT alone",)),
    ],
    ids=str,
)
def test_what_rtx_lacks_is_refused(cli: Cli, bundle: Bundle, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    before = contents(bundle.folder)
    outcome = cli("build-engine", bundle.folder, *FP16, *options)
    assert outcome.code == 2
    for word in words:
        assert word in outcome.err
    assert contents(bundle.folder) == before


@pytest.mark.skipif(find_gpu() is not None, reason="a GPU is here")
@pytest.mark.parametrize("options", [("--strip",), ("--refit",), ("--compute-capability", "CURRENT")], ids=str)
def test_what_needs_a_gpu_ends_with_the_machines_code(cli: Cli, bundle: Bundle, options: tuple[str, ...]) -> None:
    before = contents(bundle.folder)
    outcome = cli("build-engine", bundle.folder, *FP16, *options)
    assert outcome.code == 4
    assert f"{options[0]}" in outcome.err
    assert "needs a GPU and a driver that work" in outcome.err
    assert contents(bundle.folder) == before
