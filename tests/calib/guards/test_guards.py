"""The guards: each warns of its defect and names it, and healthy networks give no warning."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests.calib.guarded import calibrated, images_of
from tests.calib.guards.conftest import Digits
from wrn_deploy.calib.guard import CalibrationWarning, GuardLimits, join_names, load_guards, report_warnings, run_guards
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.overlap import CALIBRATION
from wrn_deploy.plugins import plugin_names
from wrn_deploy.progress import Silent

DOCS = Path(__file__).resolve().parents[3] / "docs" / "reference" / "guards.md"
METHODS = plugin_names("wrn_deploy.calib.methods")
BLOCKS = ("block1.0", "block2.0", "block3.0")


def by_id(warnings: list[CalibrationWarning]) -> dict[str, CalibrationWarning]:
    return {warning.id: warning for warning in warnings}


@pytest.mark.parametrize("method", METHODS)
def test_a_healthy_network_gives_no_warning(digits: Digits, graphs: dict[str, Path], method: str) -> None:
    """Except with the entropy method, which clips values that a network of sixteen channels does not need."""
    found = by_id(run_guards(calibrated(graphs["healthy"], digits(256), method)))
    assert set(found) <= ({"clipped"} if method == "entropy" else set())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["wrn-16-2", "wrn-40-1"])
def test_published_checkpoints_give_no_warning(shared_data: Path, tmp_path: Path, name: str, method: str) -> None:
    """One of them has a Conv of which 37 of 64 channels are dead, and BN gains of 1e-8: harmless."""
    weights = shared_data / "checkpoints" / f"{name}-cifar10.pth"
    bundle = export_bundle(ExportOptions(model=name, out=tmp_path / "bundle", weights=weights), Silent())
    images = images_of(bundle.folder, str(shared_data / "cifar10" / "train-exact-8068.npz"), 256)
    assert run_guards(calibrated(bundle.folder / "fp32.onnx", images, method)) == []


def test_loud_channels_are_extreme_ranges(digits: Digits, graphs: dict[str, Path]) -> None:
    found = by_id(run_guards(calibrated(graphs["loud"], digits(64))))
    assert set(found) == {"extreme-ranges"}
    warning = found["extreme-ranges"]
    assert set(warning.names) == {f"{block}.conv1.relu" for block in BLOCKS}
    assert warning.numbers["steps"] < 1.0
    sets_the_scale = int(warning.found.split("channel ")[1].split()[0])
    assert sets_the_scale < {"block1": 4, "block2": 8, "block3": 16}[warning.names[0].split(".")[0]]
    assert warning.remedy == "calibrate with --equalize"


def test_near_dead_channels_are_named(digits: Digits, graphs: dict[str, Path]) -> None:
    """Where the stream is quantized: in ONNX Runtime's graph, and for a wide BN."""
    found = by_id(run_guards(calibrated(graphs["near-dead"], digits(64))))
    assert set(found) == {"extreme-ranges", "near-dead-bn"}
    assert set(found["extreme-ranges"].names) == {"block2.0.shortcut"}
    warning = found["near-dead-bn"]
    assert warning.names == ("block3.0.bn1",)
    assert warning.numbers["channels"] <= 12
    named = warning.found.split("(")[1].split(" and ")[0]
    assert {int(channel) for channel in named.split(", ")} < {*range(12)}


def test_convs_in_float_need_no_int8_steps(digits: Digits, graphs: dict[str, Path]) -> None:
    seen = calibrated(graphs["loud"], digits(64))
    apart = dataclasses.replace(seen, float_convs=[f"{block}.conv2" for block in BLOCKS])
    assert run_guards(apart) == []


def test_dead_channels_with_small_weights_are_harmless(digits: Digits, graphs: dict[str, Path], tmp_path: Path) -> None:
    model = ir.load(graphs["healthy"])
    for name in ("block2.0.conv1.weight", "block2.0.conv1.bias", "block3.0.conv2.weight", "block3.0.bn1.weight"):
        value = model.graph.initializers[name]
        assert value.const_value is not None
        changed = value.const_value.numpy().copy()
        changed[:16] *= 1e-6
        value.const_value = ir.Tensor(changed, name=name)
    ir.save(model, tmp_path / "dead.onnx")
    assert run_guards(calibrated(tmp_path / "dead.onnx", digits(256))) == []


@pytest.mark.parametrize(("gain", "warns"), [(1.0, False), (300.0, True)])
def test_a_conv_that_amplifies_a_cancellation_is_near_dead(
    digits: Digits, graphs: dict[str, Path], tmp_path: Path, gain: float, warns: bool
) -> None:
    """Red and green are nearly equal here, so their difference has next to no variance, and a BN divides by that."""
    model = ir.load(graphs["healthy"])
    value = model.graph.initializers["block1.0.conv1.weight"]
    assert value.const_value is not None
    weights = value.const_value.numpy().copy()
    weights[2] = 0.0
    weights[2, :2, 1, 1] = gain, -gain
    value.const_value = ir.Tensor(weights, name=value.name)
    before = model.graph.initializers["conv1.weight"]
    assert before.const_value is not None
    stem = before.const_value.numpy().copy()
    stem[1] = stem[0] * 1.001
    before.const_value = ir.Tensor(stem, name=before.name)
    for name in ("weight", "bias", "running_mean", "running_var"):
        bn = model.graph.initializers[f"block1.0.bn1.{name}"]
        assert bn.const_value is not None
        values = bn.const_value.numpy().copy()
        values[1] = values[0]
        bn.const_value = ir.Tensor(values, name=bn.name)
    ir.save(model, tmp_path / "cancelling.onnx")
    found = by_id(run_guards(calibrated(tmp_path / "cancelling.onnx", digits(64))))
    assert ("near-dead-bn" in found) == warns
    if warns:
        assert found["near-dead-bn"].names == ("block1.0.conv1",)
        assert "(2)" in found["near-dead-bn"].found


def test_few_images_are_a_warning(digits: Digits, graphs: dict[str, Path]) -> None:
    """Four that have little in common: digits alone are so alike that three of them settle the scales."""
    unlike = digits(4) * np.array([1.0, 0.3, 0.1, 0.03], dtype=np.float32)[:, None, None, None]
    seen = dataclasses.replace(calibrated(graphs["healthy"], unlike, "max"), available=1000)
    warning = by_id(run_guards(seen))["few-images"]
    assert warning.numbers["median"] > warning.numbers["limit"]
    assert warning.numbers["worst"] >= warning.numbers["median"]
    assert warning.remedy == "calibrate with --calib-size 64, estimated to stabilise them (under 15%)"


def test_one_image_cannot_be_halved(digits: Digits, graphs: dict[str, Path]) -> None:
    warning = by_id(run_guards(calibrated(graphs["healthy"], digits(1))))["few-images"]
    assert "1 calibration image cannot be halved" in warning.found


def test_clipping_one_value_in_a_hundred_is_a_warning(digits: Digits, graphs: dict[str, Path]) -> None:
    warning = by_id(run_guards(calibrated(graphs["healthy"], digits(256), percentile=99.0)))["clipped"]
    assert warning.numbers["worst"] > 0.009
    assert warning.numbers["tensors"] == len(warning.names)


def test_the_clipped_share_is_that_of_the_nonzero_values(digits: Digits, graphs: dict[str, Path]) -> None:
    """The pixels have no zeros; behind a ReLU, the same fraction of all values is a larger one of the others."""
    seen = calibrated(graphs["healthy"], digits(256), percentile=99.9)
    strict = dataclasses.replace(seen, limits=GuardLimits(clipped=0.0))
    warning = by_id(run_guards(strict))["clipped"]
    assert warning.names[0].endswith(".relu")
    assert warning.numbers["worst"] > 1.2 * max(found.clipped for found in seen.table.tensors.values())


def test_limits_silence_a_guard(digits: Digits, graphs: dict[str, Path]) -> None:
    seen = calibrated(graphs["loud"], digits(64))
    assert run_guards(dataclasses.replace(seen, limits=GuardLimits(steps=0.0))) == []


def test_a_warning_is_short_and_can_be_kept(digits: Digits, graphs: dict[str, Path]) -> None:
    for name in ("loud", "near-dead"):
        for warning in run_guards(calibrated(graphs[name], digits(4))):
            kept = json.loads(json.dumps(dataclasses.asdict(warning)))
            assert kept["id"] == warning.id
            assert len("warning: " + warning.text) <= 200  # two lines of 100 columns
            assert "\n" not in warning.text


def test_each_warning_is_printed_once() -> None:
    class Noted(Silent):
        def __init__(self) -> None:
            self.warnings: list[str] = []

        def warn(self, text: str) -> None:
            self.warnings.append(text)

    noted = Noted()
    report_warnings(
        [CalibrationWarning(id="some-id", names=(), numbers={}, found="found", remedy="do something")], noted
    )
    assert noted.warnings == ["found: do something [some-id]"]


def test_lists_are_cut_short() -> None:
    assert join_names(["a", "b", "c"]) == "a, b, c"
    assert join_names(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_every_guard_is_documented() -> None:
    ids = [str(guard.ID) for guard in load_guards()]
    assert len({*ids, CALIBRATION.warning}) == len(ids) + 1
    text = DOCS.read_text(encoding="utf-8")
    missing = [id_ for id_ in (*ids, CALIBRATION.warning) if f"`{id_}`" not in text]
    assert not missing
    assert np.all([f"{limit:g}" in text for limit in dataclasses.astuple(GuardLimits())])
