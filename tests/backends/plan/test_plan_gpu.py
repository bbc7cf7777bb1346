"""Plans on a real GPU, with every TensorRT that is installed: built there, opened, compared, closed."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy import Runner
from wrn_deploy.backends.plan.backend import PlanBackend, PlanRuntime
from wrn_deploy.backends.plan.cuda import cuda_runtime
from wrn_deploy.bench.measuring.latency import measure_latency, section_of
from wrn_deploy.bench.report.report import Boundary
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import find_gpu
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.backend import Backend, examine, open_backend
from wrn_deploy.runtime.gpu import on_gpu
from wrn_deploy.runtime.sessions import infer_with, open_session
from wrn_deploy.spec import Precision

pytestmark = pytest.mark.gpu

Images = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def digits(made_bundle: Path) -> Images:
    how = Bundle.open(made_bundle).spec.preprocessing
    return normalize(next(iter(Batches(open_data("digits", Role.TEST), how, 64))).images, how)


class Built(NamedTuple):
    bundle: Bundle
    flavor: Flavor


@pytest.fixture(scope="module", params=[*Flavor])
def built(request: pytest.FixtureRequest, made_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A bundle whose fp16 and int8 plans were built on this GPU, for batches of 2 to 16."""
    if request.param not in installed_flavors():
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp("gpu") / "bundle"
    shutil.copytree(made_bundle, folder)
    bundle = Bundle.open(folder)
    for precision in (Precision.FP16, Precision.INT8):
        build_engine(
            bundle,
            BuildOptions(
                precision=precision, engine=EngineOptions(profiles=(Profile(2, 8, 16),)), flavor=request.param
            ),
            Silent(),
        )
    return Built(bundle, request.param)


@pytest.fixture(params=[Precision.FP16, Precision.INT8])
def opened(request: pytest.FixtureRequest, built: Built) -> Iterator[Backend]:
    with open_backend(built.bundle, backend=built.flavor, precision=request.param) as backend:
        yield backend


def run(backend: Backend, batch: Images) -> Images:
    backend.upload(batch)
    backend.execute()
    backend.synchronize()
    return backend.download()[0]


def test_the_manifest_names_the_gpu(built: Built) -> None:
    gpu = find_gpu()
    assert gpu is not None
    facts = built.bundle.artifacts[f"plan-fp16-{built.flavor}"].facts
    assert (facts["gpu"], facts["compute_capability"]) == (gpu.name, gpu.compute_capability)


def test_logits_are_those_of_onnxruntime(built: Built, opened: Backend, digits: Images) -> None:
    wanted = infer_with(open_session(built.bundle.folder / "fp32.onnx"))(digits)
    found = np.concatenate([run(opened, digits[start : start + 16]) for start in range(0, 64, 16)])
    cosine = (wanted * found).sum(axis=1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(found, axis=1)
    assert cosine.min() > 0.98
    assert (found.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= 0.95


def test_every_batch_of_the_profile_runs_and_no_other(opened: Backend, digits: Images) -> None:
    whole = run(opened, digits[:16])
    for size in (2, 16, 3, 8):
        np.testing.assert_allclose(run(opened, digits[:size]), whole[:size], atol=0.05)
    for size in (1, 17):
        with pytest.raises(DeployError, match="outside the plan's profile"):
            opened.upload(digits[:size])


def test_the_uploaded_array_may_be_reused(opened: Backend, digits: Images) -> None:
    batch = digits[:8].copy()
    kept = run(opened, batch)
    opened.upload(batch)
    batch[:] = np.nan
    opened.execute()
    opened.synchronize()
    np.testing.assert_array_equal(opened.download()[0], kept)


def test_closing_twice_and_opening_again(built: Built, digits: Images) -> None:
    answers = []
    for _ in range(3):
        backend = open_backend(built.bundle, backend=built.flavor, precision=Precision.FP16)
        answers.append(run(backend, digits[:4]))
        backend.close()
        backend.close()
        with pytest.raises(DeployError, match="this backend is closed"):
            backend.execute()
    np.testing.assert_array_equal(answers[0], answers[2])


def test_latencies_are_those_of_finished_inferences(opened: Backend, digits: Images) -> None:
    """A thousand times an enqueue alone would be less than a hundredth of a millisecond each."""
    with ThreadPoolExecutor(1) as pool:
        section = section_of([opened], Boundary.COMPUTE, lambda: digits[:16], pool)
        assert 0.01 < float(np.median(measure_latency(section, 50).host_ms)) < 100


def test_threads_share_a_runner(built: Built, digits: Images) -> None:
    assert examine(built.bundle, built.flavor, Precision.FP16).skipped is None
    with (
        Runner.open(built.bundle.folder, precision="fp16", backend=built.flavor) as runner,
        ThreadPoolExecutor(4) as pool,
    ):
        wanted = runner.predict(digits[:4])
        for answer in [pool.submit(runner.predict, digits[:4]) for _ in range(40)]:
            np.testing.assert_array_equal(answer.result(), wanted)


needs_graphs = pytest.mark.skipif(not importlib.util.find_spec("cuda"), reason="cuda-bindings is not installed")
ROOT = Path(__file__).resolve().parents[3]


def plan(built: Built, precision: Precision = Precision.FP16, *, graphs: bool = True) -> PlanBackend:
    runtime = PlanRuntime(flavor=built.flavor, title=str(built.flavor), extra="gpu", graphs=graphs)
    artifact = runtime.find_artifact(built.bundle, precision)
    return runtime.open_backend(built.bundle, artifact, precision=precision, threads=None)


@needs_graphs
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_graphs_of_several_sizes_compute_what_single_starts_do(
    built: Built, digits: Images, precision: Precision
) -> None:
    """The sizes alternate, each on an execution context of its own, over one block of activation memory."""
    with plan(built, precision, graphs=False) as plain, plan(built, precision) as graphs:
        assert (plain.uses_graphs, graphs.uses_graphs) == (False, True)
        for turn in range(6):
            for size in (2, 16, 7):
                batch = digits[turn * 3 : turn * 3 + size]
                np.testing.assert_allclose(run(graphs, batch), run(plain, batch), atol=0.02)
        assert graphs.uses_graphs, graphs.graphs_obstacle
        assert [size for size, _ in graphs._execution._kept] == [2, 16, 7]


@needs_graphs
def test_a_series_and_slots_compute_what_single_starts_do(built: Built, digits: Images) -> None:
    batches = [digits[start : start + size] for start, size in enumerate((16, 16, 2, 16, 7, 16, 16))]
    with plan(built, graphs=False) as plain, plan(built) as graphs, graphs.slot(16) as slot:
        wanted = [run(plain, batch) for batch in batches]
        for _ in range(4):
            for answer, outputs in zip(wanted, graphs.infer_each(iter(batches)), strict=True):
                np.testing.assert_allclose(outputs[0], answer, atol=0.02)
            slot[:] = batches[0]
            np.testing.assert_allclose(graphs.infer(slot)[0], wanted[0], atol=0.02)


@needs_graphs
def test_a_capture_bears_work_of_other_threads(built: Built, digits: Images) -> None:
    """Others allocate and use the default stream meanwhile, as PyTorch does."""
    stop = False

    def others() -> int:
        turns = 0
        while not stop:
            with on_gpu() as cuda:
                memory = cuda.mem_alloc(1 << 20)
                cuda.memcpy_htod(memory, np.zeros(1 << 18, dtype=np.float32))
                memory.free()
            turns += 1
        return turns

    with plan(built) as backend, ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(others) for _ in range(2)]
        wanted = run(backend, digits[:5])
        for _ in range(20):
            with backend.sibling() as sibling:
                for _ in range(4):
                    np.testing.assert_allclose(run(sibling, digits[:5]), wanted, atol=0.02)
                assert sibling.uses_graphs, sibling.graphs_obstacle
        stop = True
        assert all(each.result() > 0 for each in busy)


def test_siblings_outlive_the_first(built: Built, digits: Images) -> None:
    first = plan(built)
    wanted = run(first, digits[:4])
    with first.sibling() as second:
        first.close()
        np.testing.assert_allclose(run(second, digits[:4]), wanted, atol=0.02)


def test_several_profiles_in_one_plan(made_bundle: Path, built: Built, tmp_path: Path, digits: Images) -> None:
    shutil.copytree(made_bundle, tmp_path / "bundle")
    bundle = Bundle.open(tmp_path / "bundle")
    profiles = EngineOptions(profiles=(Profile(1, 1, 1), Profile(4, 8, 16)))
    build_engine(bundle, BuildOptions(precision=Precision.FP16, engine=profiles, flavor=built.flavor), Silent())
    with plan(Built(bundle, built.flavor)) as several, plan(built) as one:
        for _ in range(4):
            for size in (4, 16, 9):
                np.testing.assert_allclose(run(several, digits[:size]), run(one, digits[:size]), atol=0.05)
            np.testing.assert_allclose(run(several, digits[:1]), run(one, digits[:2])[:1], atol=0.05)
        with pytest.raises(DeployError, match="outside the plan's profiles"):
            several.upload(digits[:2])


class OnGpu:
    """Memory that PyCUDA made, as any library shows it."""

    def __init__(self, cuda: Any, shape: tuple[int, ...]) -> None:
        self.shape, self.memory = shape, cuda.mem_alloc(4 * int(np.prod(shape)))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        data = (int(self.memory), False)
        return {"shape": self.shape, "typestr": "<f4", "data": data, "version": 3, "stream": None}


@needs_graphs
def test_device_arrays_on_streams_of_the_callers_between_uploads(built: Built, digits: Images) -> None:
    with (
        Runner.open(built.bundle.folder, precision="fp16", backend=built.flavor, contexts=1) as runner,
        on_gpu() as cuda,
    ):
        wanted = {size: runner.predict(digits[:size]) for size in (2, 5, 16)}
        streams, kept = [cuda.Stream(), cuda.Stream(1)], []
        for turn in range(30):
            size, stream = (2, 5, 16)[turn % 3], streams[turn % 2]
            source, out = OnGpu(cuda, (size, 3, 32, 32)), OnGpu(cuda, (size, 10))
            host = cuda.pagelocked_empty((size, 3, 32, 32), np.float32)
            host[:] = digits[:size]
            cuda.memcpy_htod_async(source.memory, host, stream)
            runner.predict_on_device(source, out, stream.handle)
            kept.append((size, source, out, host))
            if turn % 5 == 0:
                np.testing.assert_allclose(runner.predict(digits[:5]), wanted[5], atol=0.02)
        for stream in streams:
            stream.synchronize()
        for size, _, out, _ in kept:
            found = np.empty((size, 10), np.float32)
            cuda.memcpy_dtoh(found, out.memory)
            np.testing.assert_allclose(found, wanted[size], atol=0.02)
        del kept, source, out, host, streams, stream


@needs_graphs
def test_memory_that_is_not_on_the_gpu_is_refused(built: Built) -> None:
    with plan(built) as backend, on_gpu() as cuda:
        from wrn_deploy.runtime.device_array import DeviceArray

        out = OnGpu(cuda, (4, 10))
        pinned = cuda.pagelocked_empty((4, 3, 32, 32), np.float32)
        for address in (pinned.ctypes.data, 1 << 46):
            there = DeviceArray(address=address // 256 * 256, shape=(4, 3, 32, 32), dtype="float32")
            with pytest.raises(DeployError, match="expected memory of the first CUDA GPU"):
                backend.infer_on_device(there, (DeviceArray.of(out),), 0)
        del out, pinned


@needs_graphs
@pytest.mark.parametrize("default_stream", [True, False])
def test_pytorchs_tensors_go_in_and_out_without_a_copy(built: Built, digits: Images, *, default_stream: bool) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    with Runner.open(built.bundle.folder, precision="fp16", backend=built.flavor) as runner:
        wanted = runner.predict(digits[:16])
        stream = torch.cuda.default_stream() if default_stream else torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(5):
                images = torch.from_numpy(digits[:16]).cuda(non_blocking=True)
                out = torch.full((16, 10), torch.nan, device="cuda")
                runner.predict_on_device(images, out, stream.cuda_stream)
                doubled = out * 2
                np.testing.assert_allclose(doubled.cpu().numpy() / 2, wanted, atol=0.02)


@needs_graphs
def test_the_calls_of_cuda_bindings_are_there() -> None:
    runtime = cuda_runtime()
    names = (
        "cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphDestroy", "cudaGraphLaunch",
        "cudaGraphExecDestroy", "cudaEventCreateWithFlags", "cudaEventRecord", "cudaStreamWaitEvent",
        "cudaEventDestroy", "cudaEventDisableTiming", "cudaPointerGetAttributes", "cudaGetErrorString",
    )  # fmt: skip
    assert [name for name in names if not hasattr(runtime, name)] == []


def test_an_interpreter_ends_well_with_a_backend_open(built: Built) -> None:
    code = (
        "import sys, numpy as np; from wrn_deploy import Runner\n"
        "runner = Runner.open(sys.argv[1], precision='fp16', backend=sys.argv[2])\n"
        "for _ in range(4): runner.predict(np.zeros((4, 32, 32, 3), np.uint8))\n"
    )
    command = [sys.executable, "-c", code, str(built.bundle.folder), str(built.flavor)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, "Error" in done.stderr) == (0, False), done.stderr
