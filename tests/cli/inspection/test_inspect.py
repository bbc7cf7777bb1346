"""`wrn-deploy inspect` as users see it; and nothing damaged ends in a traceback."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.cli.conftest import Cli
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors

needs_rtx = pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
PLAN = "int8-tensorrt_rtx.plan"


def test_a_bundle(cli: Cli, made_bundle: Path) -> None:
    text = cli("inspect", made_bundle).out
    assert f"wrn-10-1 in {made_bundle}" in text
    assert "int8-onnxruntime.onnx" in text
    assert "method mse" in text
    assert ", all intact" in text
    record = cli("inspect", made_bundle, "--json").json()
    assert record["what"] == "bundle"
    assert {entry["key"] for entry in record["artifacts"]} == set(Bundle.open(made_bundle).artifacts)


def test_a_bundle_with_damage(cli: Cli, bundle: Bundle) -> None:
    (bundle.folder / "fp16.onnx").write_bytes(b"changed")
    (bundle.folder / "calibration.json").unlink()
    outcome = cli("inspect", bundle.folder)
    assert outcome.code == 3
    assert re.search(
        r"^error: .*: \d of \d artifacts cannot be used \(.*fp16.onnx, .*calibration.json", outcome.err, re.MULTILINE
    )
    lines = {line.split()[0]: line for line in outcome.out.splitlines() if line.strip()}
    assert " damaged " in lines["fp16.onnx"]
    assert " missing " in lines["calibration.json"]
    assert " ok " in lines["fp32.onnx"]
    assert "it was changed or damaged; run `wrn-deploy export" in outcome.out
    assert "2 cannot be used" in outcome.out


def test_json_is_whole_before_the_error(cli: Cli, bundle: Bundle) -> None:
    (bundle.folder / "fp16.onnx").write_bytes(b"changed")
    outcome = cli("inspect", bundle.folder, "--json")
    assert outcome.code == 3
    problems = {entry["path"]: entry["problem"] for entry in json.loads(outcome.out)["artifacts"]}
    assert [path for path, problem in problems.items() if problem is not None] == ["fp16.onnx"]


def test_a_stale_artifact(cli: Cli, bundle: Bundle) -> None:
    assert cli("export", "wrn-10-1", "--random-weights", "--seed", 3, "--replace", "--out", bundle.folder).code == 0
    outcome = cli("inspect", bundle.folder)
    assert outcome.code == 3
    assert " stale " in outcome.out
    assert "calibration.json" in outcome.err


@needs_rtx
def test_a_damaged_plan(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    plan = bundle.folder / PLAN
    plan.write_bytes(plan.read_bytes()[:-1])
    outcome = cli("inspect", plan)
    assert outcome.code == 3
    assert "batches     1:8:32" in outcome.out
    assert f"error: {plan} cannot be used: " in outcome.err
    (tmp_path / "alone.plan").write_bytes(b"nothing of the kind")
    assert cli("inspect", tmp_path / "alone.plan", "--json").code == 3


def test_inspect_writes_nothing(cli: Cli, bundle: Bundle) -> None:
    for folder in (bundle.folder, *(path for path in bundle.folder.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    before = {path: path.stat() for path in (bundle.folder, *bundle.folder.rglob("*"))}
    for path in (bundle.folder, bundle.folder / "manifest.json", *bundle.folder.glob("*.onnx")):
        assert cli("inspect", path).code == 0
    after = {path: path.stat() for path in (bundle.folder, *bundle.folder.rglob("*"))}
    assert {path: (found.st_mtime_ns, found.st_ctime_ns, found.st_size) for path, found in after.items()} == {
        path: (found.st_mtime_ns, found.st_ctime_ns, found.st_size) for path, found in before.items()
    }


def test_a_graph(cli: Cli, made_bundle: Path) -> None:
    text = cli("inspect", made_bundle / "int8-tensorrt.onnx").out
    assert "input      images: float batch x 3 x 32 x 32" in text
    assert "int8, <0.1 % fp16 (as the graph declares)" in text
    assert "9 Conv" in text
    assert cli("inspect", made_bundle / "fp32.onnx", "--json").json()["fractions"] == {"fp32": 1.0}


@needs_rtx
def test_a_plan(cli: Cli, made_bundle: Path, tmp_path: Path) -> None:
    text = cli("inspect", made_bundle / PLAN).out
    assert "plan of tensorrt_rtx" in text
    assert "batches     1:8:32" in text
    assert "input       images: uint8 batch x 32 x 32 x 3" in text
    assert "% int8" in text
    assert cli("inspect", made_bundle / PLAN, "--json").json()["proof"]["shares"]["int8"] > 0.99
    shutil.copy(made_bundle / PLAN, tmp_path / "alone.plan")
    assert "the plan is not in a bundle" in cli("inspect", tmp_path / "alone.plan").out


def test_what_is_not_there(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("inspect", tmp_path / "nothing")
    assert outcome.code == 1
    assert "does not exist: expected a bundle's folder, an ONNX graph or a plan" in outcome.err


def overwritten(data: bytes, chance: random.Random) -> bytes:
    """The bytes with some changed, cut out, doubled, or cut off."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 3, 20])):
        at, length = chance.randrange(max(len(changed), 1)), chance.randrange(64)
        match chance.randrange(6):
            case 0:
                del changed[at : at + length]
            case 1:
                changed[at:at] = changed[at : at + length]
            case 2:
                del changed[len(changed) - chance.randrange(len(changed) // 2 + 1) :]
            case _:
                changed[at : at + 1] = bytes([chance.randrange(256)])
    return bytes(changed)


def rearranged(data: bytes, chance: random.Random) -> bytes:
    """A graph that can still be parsed, with fields removed, doubled, or set to other values."""
    model = onnx.load_from_string(data)
    for _ in range(chance.choice([1, 2, 5])):
        places: list[Any] = []
        _collect(model, places)
        message, field = chance.choice(places)
        values = getattr(message, field.name)
        if _repeated(values):
            index = chance.randrange(len(values))
            if field.message_type is not None and chance.random() < 0.5:
                values.add().CopyFrom(values[index])
            else:
                del values[index]
        elif field.type == field.TYPE_STRING:
            setattr(message, field.name, chance.choice(["", "x", "Conv", "QuantizeLinear", "DequantizeLinear", "Cast"]))
        elif field.type in (field.TYPE_INT32, field.TYPE_INT64):
            setattr(message, field.name, chance.choice([0, -1, 1, 2**31 - 1, chance.randrange(30)]))
        else:
            message.ClearField(field.name)
    return bytes(model.SerializeToString())


def _repeated(value: Any) -> bool:
    return hasattr(value, "__getitem__") and not isinstance(value, str | bytes)


def _collect(message: Any, places: list[Any]) -> None:
    for field, value in message.ListFields():
        places.append((message, field))
        if field.message_type is not None:
            for inner in value if _repeated(value) else [value]:
                _collect(inner, places)


@pytest.mark.parametrize("name", ["manifest.json", "fp32.onnx", "int8-tensorrt.onnx", PLAN])
def test_each_of_150_damaged_files_ends_in_a_view_or_a_clear_error(
    cli: Cli, made_bundle: Path, tmp_path: Path, name: str
) -> None:
    if not (made_bundle / name).exists():
        pytest.skip("TensorRT-RTX is not installed")
    is_graph = name.endswith(".onnx")
    data, chance, codes = (
        (made_bundle / name).read_bytes(),
        random.Random(name),
        [],
    )
    folder = shutil.copytree(made_bundle, tmp_path / "bundle") if not is_graph else tmp_path
    for index in range(150):
        damage = rearranged if is_graph and index % 3 else overwritten
        (folder / name).write_bytes(damage(data, chance))
        outcome = cli("inspect", folder / name, *(["--json"] if index % 2 else []))  # fails on a traceback
        codes.append(outcome.code)
        assert outcome.code in (0, 1, 3)
        said = [line for line in outcome.err.splitlines() if line.startswith(("error: ", '{"error": '))]
        assert bool(outcome.code) == bool(said)
        assert len(outcome.err) < 3000
    assert 0 in codes or name in ("manifest.json", PLAN)
