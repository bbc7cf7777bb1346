"""Every runtime of backends/ keeps the same contract; those that can run here are run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy import backends
from wrn_deploy.bench.measuring.accuracy import best_classes
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, as_input
from wrn_deploy.errors import DeployError
from wrn_deploy.plugins import load_plugin, plugin_names
from wrn_deploy.runtime.backend import (
    Backend,
    DeviceBackend,
    examine,
    find_runtime,
    known_pairs,
    open_backend,
    runtimes,
)
from wrn_deploy.runtime.sessions import infer_all, open_session
from wrn_deploy.spec import Precision, TensorSpec

FILES = plugin_names("wrn_deploy.backends")
BACKENDS = list(runtimes())
UNFIT = {name: reason for name, runtime in runtimes().items() if (reason := runtime.unfit(None)) is not None}
PAIRS = [pytest.param(pair, id=f"{pair[0]}-{pair[1]}") for pair in known_pairs()]
FIT_PAIRS = [pytest.param(pair, id=f"{pair[0]}-{pair[1]}") for pair in known_pairs() if pair[0] not in UNFIT]

Images = npt.NDArray[Any]
Answers = tuple[Images, ...]


@pytest.fixture(scope="module", autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """Set back at the end, not after each test: torch.compile compiles again for another number of threads."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="module", params=["made_bundle", "made_interface_bundle"], ids=["logits", "interface"])
def folder(request: pytest.FixtureRequest) -> Path:
    """A bundle that takes normalised images and gives logits; and one with pixels, top classes and features."""
    made: Path = request.getfixturevalue(request.param)
    return made


@pytest.fixture(scope="module")
def pixels(folder: Path) -> npt.NDArray[np.uint8]:
    how = Bundle.open(folder).spec.preprocessing
    return next(iter(Batches(open_data("digits", Role.TEST), how, 64))).images


@pytest.fixture(scope="module")
def digits(first: tuple[Backend, Precision], folder: Path, pixels: npt.NDArray[np.uint8]) -> Images:
    """The images as the backend takes them: plans have an interface of their own."""
    return as_input(pixels, Bundle.open(folder).spec.preprocessing, first[0].inputs[0])


@pytest.fixture(scope="module")
def wanted(folder: Path, pixels: npt.NDArray[np.uint8]) -> Answers:
    """What the fp32 graph gives."""
    spec = Bundle.open(folder).spec
    images = as_input(pixels, spec.preprocessing, spec.input)
    return tuple(infer_all(open_session(folder / "fp32.onnx"))(images).values())


@pytest.fixture(scope="module", params=FIT_PAIRS)
def pair(request: pytest.FixtureRequest) -> tuple[str, Precision]:
    found: tuple[str, Precision] = request.param
    return found


def computes_bf16() -> bool:
    """Whether OpenVINO does on this CPU: only it knows."""
    from wrn_deploy.backends import openvino

    return "BF16" in openvino._openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture
def sizes(pair: tuple[str, Precision]) -> tuple[int, ...]:
    """Batch sizes; the fewest for those that take up to half a minute to compile each."""
    return (1, 32, 1) if "_compile" in pair[0] else (1, 3, 32, 2, 32, 1)


@pytest.fixture(scope="module")
def first(pair: tuple[str, Precision], folder: Path) -> Iterator[tuple[Backend, Precision]]:
    """The one that is opened: once, since some compile the network for each batch size."""
    name, precision = pair
    bundle = Bundle.open(folder)
    reason = examine(bundle, name, precision).skipped
    if reason is not None:
        pytest.skip(reason)
    if name == "openvino" and precision is Precision.BF16 and not computes_bf16():
        pytest.skip("this CPU cannot compute in bf16")
    with open_backend(bundle, backend=name, precision=precision, threads=2) as backend:
        yield backend, precision


@pytest.fixture
def opened(first: tuple[Backend, Precision]) -> Iterator[tuple[Backend, Precision]]:
    """A sibling of it, which a test may close."""
    backend, precision = first
    with backend.sibling() as sibling:
        yield sibling, precision


def run(backend: Backend, batch: Images) -> Answers:
    backend.upload(batch)
    backend.execute()
    backend.synchronize()
    return backend.download()


def check_same(found: Answers, wanted: Answers) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("file", FILES)
def test_a_file_lists_its_runtimes(file: str) -> None:
    module = load_plugin("wrn_deploy.backends", file)
    assert module.__all__[0] == "RUNTIMES"
    assert set(module.RUNTIMES) <= set(BACKENDS)
    others = {name for other in FILES if other != file for name in load_plugin("wrn_deploy.backends", other).RUNTIMES}
    assert others.isdisjoint(module.RUNTIMES)


def test_packages_are_no_backends() -> None:
    assert {"torch", "onnxruntime", "openvino", "tensorrt"} <= set(FILES)
    assert {"plan", "pytorch"}.isdisjoint(FILES)


def test_a_file_that_is_added_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from wrn_deploy.backends.openvino import OpenVinoRuntime\n"
    (tmp_path / "added.py").write_text(source + "RUNTIMES = {'added_twice': OpenVinoRuntime(title='Added')}\n")
    monkeypatch.setattr(backends, "__path__", [*backends.__path__, str(tmp_path)])
    try:
        assert find_runtime("added_twice").title == "Added"
        assert ("added_twice", Precision.FP32) in known_pairs()
    finally:
        sys.modules.pop("wrn_deploy.backends.added", None)


def test_an_unknown_backend_is_refused_with_those_that_are_near() -> None:
    with pytest.raises(DeployError, match=r"unknown backend 'torch_cud' \(did you mean torch_cuda.*expected one of "):
        find_runtime("torch_cud")


def test_which_runtimes_cannot_run_here() -> None:
    assert all(len(reason) > 10 and "\n" not in reason for reason in UNFIT.values())
    if UNFIT:
        pytest.skip("; ".join(f"{name}: {reason}" for name, reason in UNFIT.items()))


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_has_a_title_and_precisions(name: str) -> None:
    runtime = find_runtime(name)
    assert isinstance(runtime.title, str)
    assert runtime.title
    assert isinstance(runtime.comparison_only, bool)
    assert runtime.precisions
    assert all(isinstance(precision, Precision) for precision in runtime.precisions)


def test_titles_tell_backends_apart() -> None:
    titles = [runtime.title for runtime in runtimes().values()]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("pair", PAIRS)
def test_a_backend_names_its_artifact_or_the_command_that_makes_it(
    made_bundle: Path, tmp_path: Path, pair: tuple[str, Precision]
) -> None:
    name, precision = pair
    runtime, bundle = find_runtime(name), Bundle.open(made_bundle)
    with contextlib.suppress(DeployError):
        artifact = runtime.find_artifact(bundle, precision)
        assert bundle.artifacts[artifact.key] == artifact
        assert artifact.precision in (precision, Precision.FP32)
        assert len(runtime.unfit(artifact) or "a long reason") > 10
    empty = Bundle.create(tmp_path / "empty", bundle.spec, random_weights=False)
    with pytest.raises(DeployError, match="`wrn-deploy "):
        runtime.find_artifact(empty, precision)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_that_cannot_run_says_so_in_one_line(made_bundle: Path, pair: tuple[str, Precision]) -> None:
    reason = examine(Bundle.open(made_bundle), *pair).skipped
    assert reason is None or (len(reason) > 10 and "\n" not in reason)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_whose_packages_are_missing_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert "pip install " in str(find_runtime(name).unfit(None))


def test_at_least_two_runtimes_are_tested_here(made_bundle: Path) -> None:
    bundle = Bundle.open(made_bundle)
    assert len([pair for pair in known_pairs() if examine(bundle, *pair).skipped is None]) >= 3


def check_answers(found: Answers, wanted: Answers, backend: Backend, precision: Precision) -> None:
    assert len(found) == len(wanted) == len(backend.outputs)
    for tensor, one, other in zip(backend.outputs, found, wanted, strict=True):
        assert one.shape == other.shape == (len(other), *tensor.shape)
        assert one.dtype == np.dtype(tensor.dtype)
        if precision is Precision.FP32 and tensor.name != "top_classes":
            np.testing.assert_allclose(one, other, atol=1e-3)
        elif tensor.name == "features":
            assert np.abs(one - other).max() <= 0.25 * np.abs(other).max()
    names = [tensor.name for tensor in backend.outputs]
    best, right = (best_classes(dict(zip(names, outputs, strict=True))) for outputs in (found, wanted))
    assert (best == right).mean() >= 0.95


def test_answers_are_right_at_every_batch_size(
    opened: tuple[Backend, Precision], sizes: tuple[int, ...], folder: Path, digits: Images, wanted: Answers
) -> None:
    backend, precision = opened
    spec = Bundle.open(folder).spec
    taken = TensorSpec("images", "uint8", (32, 32, 3)) if isinstance(backend, DeviceBackend) else spec.input
    assert (backend.inputs, backend.outputs) == ((taken,), spec.outputs)
    for size in sizes:
        assert size in backend.batches
        check_answers(run(backend, digits[:size]), tuple(one[:size] for one in wanted), backend, precision)
    check_answers(run(backend, digits[20:52]), tuple(one[20:52] for one in wanted), backend, precision)


def test_the_uploaded_array_may_be_reused(opened: tuple[Backend, Precision], digits: Images) -> None:
    backend, _ = opened
    kept = run(backend, digits[:32])
    batch = digits[:32].copy()
    backend.upload(batch)
    batch[:] = 77
    backend.execute()
    backend.synchronize()
    check_same(backend.download(), kept)


def test_the_caller_owns_the_answers(opened: tuple[Backend, Precision], digits: Images) -> None:
    backend, _ = opened
    first = run(backend, digits[:32])
    kept = tuple(one.copy() for one in first)
    assert all(one.flags.owndata and one.flags.writeable for one in first)
    run(backend, digits[32:64])
    check_same(first, kept)
    for one in first:
        one[:] = 0
    again = run(backend, digits[:32])
    check_same(again, kept)
    for one in again:
        one[:] = 0
    check_same(backend.download(), kept)


def test_one_upload_can_be_executed_again_and_again(opened: tuple[Backend, Precision], digits: Images) -> None:
    backend, _ = opened
    kept = run(backend, digits[:32])
    for _ in range(3):
        backend.execute()
    backend.synchronize()
    check_same(backend.download(), kept)


def test_batches_in_a_row_and_in_a_slot_give_the_same_answers(
    opened: tuple[Backend, Precision], digits: Images, sizes: tuple[int, ...]
) -> None:
    backend, _ = opened
    given = [digits[:size] for size in sizes]
    wanted = [run(backend, batch) for batch in given]
    for outputs, answer in zip(backend.infer_each(iter(given)), wanted, strict=True):
        check_same(outputs, answer)
    with backend.slot(1) as slot:
        assert (slot.shape, slot.dtype) == ((1, *backend.inputs[0].shape), np.dtype(backend.inputs[0].dtype))
        slot[:] = digits[:1]
        check_same(backend.infer(slot), run(backend, digits[:1]))


def test_arrays_of_any_layout_can_be_uploaded(opened: tuple[Backend, Precision], digits: Images) -> None:
    backend, _ = opened
    kept = run(backend, digits[:32])
    read_only = digits[:32].copy()
    read_only.flags.writeable = False
    for batch in (np.asfortranarray(digits[:32]), np.repeat(digits[:32], 2, axis=0)[::2], read_only):
        check_same(run(backend, batch), kept)


def test_a_sibling_has_buffers_of_its_own(opened: tuple[Backend, Precision], digits: Images) -> None:
    backend, _ = opened
    kept = run(backend, digits[:32])
    with backend.sibling() as other:
        assert (other.inputs, other.outputs, other.batches) == (backend.inputs, backend.outputs, backend.batches)
        backend.upload(digits[:32])
        run(other, digits[4:36])
        backend.execute()
    backend.synchronize()
    check_same(backend.download(), kept)


def test_the_devices_clock_times_an_inference_or_there_is_none(
    opened: tuple[Backend, Precision], digits: Images
) -> None:
    backend, _ = opened
    assert backend.elapsed_ms() is None
    kept = run(backend, digits[:32])
    elapsed_ms = backend.elapsed_ms()
    assert elapsed_ms is None or 0 < elapsed_ms < 1000
    check_same(backend.download(), kept)


def test_the_first_one_is_closed_like_its_siblings(folder: Path, pixels: npt.NDArray[np.uint8]) -> None:
    bundle = Bundle.open(folder)
    with open_backend(bundle, backend="onnxruntime", precision=Precision.INT8) as backend:
        run(backend, as_input(pixels[:1], bundle.spec.preprocessing, bundle.spec.input))
    with pytest.raises(DeployError, match="this backend is closed: open it again"):
        backend.execute()


def test_after_closing_every_method_says_so(opened: tuple[Backend, Precision], digits: Images) -> None:
    backend, _ = opened
    run(backend, digits[:1])
    backend.close()
    backend.close()
    calls: list[Any] = [lambda: backend.upload(digits[:1]), backend.execute, backend.synchronize, backend.elapsed_ms]
    calls += [backend.download, backend.sibling]
    for call in calls:
        with pytest.raises(DeployError, match="this backend is closed: open it again"):
            call()


def test_two_open_backends_do_not_disturb_each_other(
    opened: tuple[Backend, Precision], folder: Path, digits: Images
) -> None:
    backend, _ = opened
    kept = run(backend, digits[:32])
    with open_backend(Bundle.open(folder), backend="onnxruntime", precision=Precision.INT8) as other:
        backend.upload(digits[:32])
        run(other, digits[4:36])
        backend.execute()
    backend.synchronize()
    check_same(backend.download(), kept)
