"""PyTorch's variants: each computes as it says, and what cannot be compiled is an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wrn_deploy.backends.pytorch import backend as torch_backend
from wrn_deploy.backends.pytorch.backend import TorchBackend, TorchRuntime
from wrn_deploy.backends.pytorch.device import CpuDevice
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.runtime.backend import find_runtime, open_backend, runtimes
from wrn_deploy.spec import ModelSpec, Precision


class Spy:
    """Stands in a network for one of its modules: keeps what goes in."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def __call__(self, _module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], _output: object) -> None:
        self.seen.append(inputs[0])


@pytest.mark.parametrize(
    ("name", "precision", "dtype", "layout"),
    [
        ("torch", Precision.FP32, torch.float32, torch.contiguous_format),
        ("torch", Precision.BF16, torch.bfloat16, torch.contiguous_format),
        ("torch_channels_last", Precision.FP32, torch.float32, torch.channels_last),
        ("torch_channels_last", Precision.BF16, torch.bfloat16, torch.channels_last),
    ],
)
def test_a_variant_computes_in_its_precision_and_layout(
    made_bundle: Path, name: str, precision: Precision, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    with open_backend(Bundle.open(made_bundle), backend=name, precision=precision, threads=1) as backend:
        assert isinstance(backend, TorchBackend)
        spy = Spy()
        convs = [part for part in backend._network.modules() if isinstance(part, torch.nn.Conv2d)]
        for conv in convs:
            conv.register_forward_hook(spy)
        backend.upload(np.zeros((2, *backend.inputs[0].shape), np.float32))
        backend.execute()
        assert backend.download()[0].dtype == np.float32
        assert len(spy.seen) == len(convs)
        for conv, images in zip(convs, spy.seen, strict=True):
            assert images.dtype == conv.weight.dtype == dtype
            assert images.is_contiguous(memory_format=layout)


class Breaks(torch.nn.Module):
    """Goes back to Python in the middle, where torch.compile would run the rest eagerly."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        torch._dynamo.graph_break()
        return (images.sum((1, 2, 3)),)


class Sums(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        return (images.relu().sum((2, 3)) * 2,)


def on_cpu(network: torch.nn.Module, spec: ModelSpec) -> TorchBackend:
    return TorchBackend(torch_backend._Compiled(network=network, frozen=True), spec, CpuDevice)


@pytest.fixture
def spec(made_bundle: Path) -> Iterator[ModelSpec]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield Bundle.open(made_bundle).spec
    torch._dynamo.reset()


def test_a_part_that_cannot_be_compiled_is_an_error(spec: ModelSpec) -> None:
    with on_cpu(Breaks(), spec) as backend:
        backend.upload(np.zeros((1, 3, 8, 8), np.float32))
        with pytest.raises(MachineError, match=r"torch.compile cannot compile the network \(Unsupported: "):
            backend.execute()


def test_a_compiler_that_fails_is_an_error(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.compile_fx as inductor

    def fail(*_values: Any, **_more: Any) -> None:
        raise RuntimeError("the compiler is gone")

    monkeypatch.setattr(inductor, "fx_codegen_and_compile", fail)
    with torch._inductor.config.patch(fx_graph_cache=False), on_cpu(Sums(), spec) as backend:
        backend.upload(np.zeros((1, 3, 8, 8), np.float32))
        with pytest.raises(MachineError, match=r"cannot compile the network .*the compiler is gone"):
            backend.execute()


def test_more_batch_sizes_than_torch_compiles_of_itself(spec: ModelSpec) -> None:
    """Torch gives up after `recompile_limit` of them."""
    limit = torch._dynamo.config.recompile_limit
    network, images = Sums(), np.random.default_rng(0).normal(size=(limit + 3, 3, 4, 4)).astype(np.float32)
    with on_cpu(network, spec) as backend:
        for _ in range(2):
            for size in range(1, limit + 4):
                backend.upload(images[:size])
                backend.execute()
                wanted = np.maximum(images[:size], 0).sum((2, 3)) * 2
                np.testing.assert_allclose(backend.download()[0], wanted, rtol=1e-5)
        assert torch._dynamo.config.recompile_limit == limit


def test_each_size_is_compiled_once_and_for_siblings_too(spec: ModelSpec) -> None:
    with on_cpu(Sums(), spec) as backend, backend.sibling() as other:
        for one in (backend, other, backend):
            for size in (1, 2):
                one.upload(np.ones((size, 3, 4, 4), np.float32))
                one.execute()
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


def test_executing_nothing_is_an_error(made_bundle: Path) -> None:
    with (
        open_backend(Bundle.open(made_bundle), backend="torch", precision=Precision.FP32, threads=1) as backend,
        pytest.raises(DeployError, match="no batch to run: upload one first"),
    ):
        backend.execute()


def test_without_a_compiler_the_machine_cannot_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "there is no compiler no-such-compiler: torch.compile needs it" in str(
        find_runtime("torch_compile").unfit(None)
    )
    assert find_runtime("torch").unfit(None) is None


def test_variants_on_a_gpu_say_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = TorchRuntime(title="any", precisions=(Precision.FP16,), device="cuda", compiled=True)
    monkeypatch.setattr(torch_backend, "find_gpu", lambda: None)
    assert gpu.unfit(None) == "no CUDA GPU on this machine"
    monkeypatch.setattr(torch_backend, "find_gpu", object)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "cannot use this GPU: install one with CUDA" in str(gpu.unfit(None))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "triton" else object())
    assert str(gpu.unfit(None)).startswith("Triton is not installed")


def test_variants_and_other_vendors_runtimes_are_for_comparison_only() -> None:
    assert [name for name, runtime in runtimes().items() if runtime.comparison_only] == [
        "onnxruntime_cuda_graphs", "onnxruntime_cuda_nhwc", "openvino", "tensorrt_nographs", "tensorrt_rtx_nographs",
        "torch_channels_last", "torch_compile", "torch_cuda_channels_last", "torch_cuda_compile",
        "torch_cuda_compile_graphs",
    ]  # fmt: skip
