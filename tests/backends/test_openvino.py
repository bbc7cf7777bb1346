"""OpenVINO: no telemetry, the precision that was asked for, and a bounded number of compiled sizes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wrn_deploy.backends import openvino
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.runtime.backend import find_runtime, open_backend
from wrn_deploy.spec import Precision

pytestmark = pytest.mark.skipif(find_runtime("openvino").unfit(None) is not None, reason="OpenVINO is not installed")


def open_cpu(folder: Path, precision: Precision) -> Any:
    return open_backend(Bundle.open(folder), backend="openvino", precision=precision, threads=1)


def test_nothing_is_sent_to_the_maker(made_bundle: Path, tmp_path: Path) -> None:
    """Its import sends an event, and writes an identity to the home folder first."""
    code = (
        "import sys\n"
        "from wrn_deploy.runtime.backend import open_backend\n"
        "from wrn_deploy.bundle import Bundle\n"
        "open_backend(Bundle.open(sys.argv[1]), backend='openvino', precision='fp32')\n"
        "assert 'openvino' in sys.modules\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(made_bundle)],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(root), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_bf16_is_computed_in_bf16_and_fp32_in_fp32(made_bundle: Path) -> None:
    if "BF16" not in openvino._openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU cannot compute in bf16")
    images = np.random.default_rng(0).normal(size=(4, *Bundle.open(made_bundle).spec.input.shape)).astype(np.float32)
    found = {}
    for precision in (Precision.FP32, Precision.BF16):
        with open_cpu(made_bundle, precision) as backend:
            backend.upload(images)
            backend.execute()
            found[precision] = backend.download()[0]
    error = np.abs(found[Precision.FP32] - found[Precision.BF16]).max() / np.abs(found[Precision.FP32]).max()
    assert 1e-5 < error < 0.1


def test_a_cpu_without_bf16_says_so(made_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = openvino._openvino()

    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
            return ["FP32", "INT8"]

    monkeypatch.setattr(real, "Core", Core)
    with pytest.raises(MachineError, match=r"this CPU cannot compute in bf16, .*: run fp32 or int8"):
        open_cpu(made_bundle, Precision.BF16)


def test_another_precision_than_was_asked_for_is_an_error(made_bundle: Path) -> None:
    class Stubborn:
        """Compiles in fp32, whatever it is asked for."""

        def __init__(self, core: Any) -> None:
            self.read_model = core.read_model
            self._compile = core.compile_model

        def compile_model(self, model: Any, device: str, settings: dict[str, Any]) -> Any:
            return self._compile(model, device, settings | {"INFERENCE_PRECISION_HINT": "f32"})

    with open_cpu(made_bundle, Precision.FP32) as backend:
        backend._graph.core = Stubborn(backend._graph.core)
        backend._graph.settings["INFERENCE_PRECISION_HINT"] = "bf16"
        with pytest.raises(MachineError, match="OpenVINO computes in f32 here: expected bf16; run another precision"):
            backend.upload(np.zeros((1, *backend.inputs[0].shape), np.float32))


def test_compiled_sizes_are_bounded_and_shared_by_siblings(made_bundle: Path) -> None:
    with open_cpu(made_bundle, Precision.FP32) as backend, backend.sibling() as other:
        for one in (backend, other):
            for size in range(1, openvino.MAX_COMPILED + 3):
                one.upload(np.zeros((size, *one.inputs[0].shape), np.float32))
                one.execute()
                assert len(one.download()[0]) == size
            assert list(backend._graph._compiled) == list(range(3, openvino.MAX_COMPILED + 3))


def test_a_damaged_graph_is_reported(made_bundle: Path) -> None:
    with open_cpu(made_bundle, Precision.FP32) as backend:
        backend._graph.model = b"no graph"
        with pytest.raises(DeployError, match="OpenVINO cannot compile the graph"):
            backend.upload(np.zeros((1, *backend.inputs[0].shape), np.float32))


def test_executing_nothing_is_an_error(made_bundle: Path) -> None:
    with (
        open_cpu(made_bundle, Precision.FP32) as backend,
        pytest.raises(DeployError, match="no batch to run: upload one first"),
    ):
        backend.execute()
