"""The Runner: what it accepts, that it gives one answer, and that it never runs something else than was named."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy import Runner
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.runtime.backend import Backend, examine, known_pairs, open_backend
from wrn_deploy.spec import Precision

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_of_its_docstring_runs(made_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", inspect.cleandoc(Runner.__doc__ or ""), re.DOTALL)
    (tmp_path / "bundle").symlink_to(made_bundle)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"np": np, "Runner": Runner}
    exec(textwrap.dedent(code), names)
    assert (names["logits"].shape, names["logits"].dtype) == ((1, 10), np.float32)


@pytest.fixture(scope="module")
def images(made_bundle: Path) -> npt.NDArray[np.uint8]:
    """Sixteen digits that the network was not trained on."""
    how = Bundle.open(made_bundle).spec.preprocessing
    return next(iter(Batches(open_data("digits", Role.TEST), how, 16))).images


def test_pixels_and_normalised_floats_give_the_same_logits(made_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    with Runner.open(made_bundle, backend="onnxruntime") as runner:
        from_pixels = runner.predict(images)
        from_floats = runner.predict(normalize(images, runner.bundle.spec.preprocessing))
        in_pieces = np.concatenate([runner.predict(images[:5]), runner.predict(images[5:])])
        assert runner.labels == tuple("0123456789")
    assert from_pixels.shape == (16, 10)
    assert from_pixels.dtype == np.float32
    np.testing.assert_array_equal(from_pixels, from_floats)
    np.testing.assert_allclose(from_pixels, in_pieces, atol=1e-4)


def test_arrays_of_any_layout_are_read_rightly(made_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    with Runner.open(made_bundle, backend="onnxruntime") as runner:
        wanted = runner.predict(images)
        strided = np.repeat(images, 2, axis=2)[:, :, ::2]
        floats = normalize(images, runner.bundle.spec.preprocessing)
        assert not strided.flags.c_contiguous
        np.testing.assert_array_equal(runner.predict(strided), wanted)
        np.testing.assert_array_equal(runner.predict(np.asfortranarray(floats)), wanted)
        floats.flags.writeable = False
        np.testing.assert_array_equal(runner.predict(floats), wanted)


def test_the_caller_owns_the_logits(made_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    with Runner.open(made_bundle) as runner:
        first = runner.predict(images[:4])
        kept = first.copy()
        runner.predict(images[4:8])
        np.testing.assert_array_equal(first, kept)
        first[:] = 0
        np.testing.assert_array_equal(runner.predict(images[:4]), kept)


WRONG: dict[str, Any] = {
    "float64": np.zeros((1, 3, 32, 32)),
    "int32": np.zeros((1, 32, 32, 3), dtype=np.int32),
    "float pixels": np.zeros((1, 32, 32, 3), dtype=np.float32),
    "uint8 planes": np.zeros((1, 3, 32, 32), dtype=np.uint8),
    "one image without a batch": np.zeros((32, 32, 3), dtype=np.uint8),
    "another size": np.zeros((1, 28, 28, 3), dtype=np.uint8),
    "four channels": np.zeros((1, 32, 32, 4), dtype=np.uint8),
    "no image": np.zeros((0, 32, 32, 3), dtype=np.uint8),
    "big-endian": np.zeros((1, 3, 32, 32), dtype=">f4"),
}


@pytest.mark.parametrize("case", WRONG)
def test_other_arrays_are_refused_with_what_was_expected(made_bundle: Path, case: str) -> None:
    expected = r"images are \S+ \(.*\): expected uint8 \(N, 32, 32, 3\), RGB, or normalised float32 \(N, 3, 32, 32\)"
    with Runner.open(made_bundle) as runner, pytest.raises(DeployError, match=expected):
        runner.predict(WRONG[case])


def test_arrays_on_a_gpu_need_a_backend_that_takes_them(made_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    expected = (
        "onnxruntime fp32 does not take arrays on a GPU: open the bundle with the backend tensorrt or tensorrt_rtx"
    )
    with (
        Runner.open(made_bundle, precision="fp32", backend="onnxruntime") as runner,
        pytest.raises(DeployError, match=expected),
    ):
        runner.predict_on_device(images, images)


def test_a_closed_runner_says_so(made_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    runner = Runner.open(made_bundle)
    runner.predict(images)
    runner.close()
    runner.close()
    for call in (lambda: runner.predict(images), runner.warmup):
        with pytest.raises(UsageError, match="this runner is closed: open the bundle again"):
            call()


def test_several_threads_get_the_answers_to_their_own_images(made_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    with Runner.open(made_bundle, backend="onnxruntime", threads=1) as runner:
        wanted = [runner.predict(images[index : index + 1 + index % 3]) for index in range(12)]
        with ThreadPoolExecutor(6) as pool:
            asked = [
                (index, pool.submit(runner.predict, images[index : index + 1 + index % 3]))
                for _ in range(15)
                for index in range(12)
            ]
            for index, answer in asked:
                np.testing.assert_array_equal(answer.result(), wanted[index])


def test_calls_run_at_the_same_time(made_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    """Two callers that wait for each other inside of the backend: neither could go on if calls were in a row."""
    with Runner.open(made_bundle, backend="onnxruntime", threads=1, contexts=2) as runner:
        together = threading.Barrier(2)

        def wait_for_the_other(backend: Backend) -> None:
            execute = backend.execute
            backend.execute = lambda: (together.wait(10), execute())[1]  # type: ignore[method-assign]

        runner._pool.call_each(wait_for_the_other)
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(runner.predict, [images[:3], images[3:6]]))
        wanted = [answer.copy() for answer in answers]
    with Runner.open(made_bundle, backend="onnxruntime", threads=1, contexts=1) as alone:
        np.testing.assert_array_equal(wanted[0], alone.predict(images[:3]))
        np.testing.assert_array_equal(wanted[1], alone.predict(images[3:6]))


def test_a_batch_that_is_too_large_or_too_small_for_the_backend_is_cut_and_filled(
    made_bundle: Path, images: npt.NDArray[np.uint8]
) -> None:
    with Runner.open(made_bundle, backend="onnxruntime", threads=1) as runner:
        wanted = runner.predict(images[:11])
        uploaded: list[int] = []
        first = runner._pool.first
        upload = first.upload
        first.upload = lambda batch: (uploaded.append(len(batch)), upload(batch))[1]  # type: ignore[method-assign, func-returns-value]
        first.batches = runner.batches = range(3, 5)  # as a plan with a profile of 3 to 4 has
        np.testing.assert_allclose(runner.predict(images[:11]), wanted, atol=1e-4)
        assert uploaded == [4, 4, 3]
        np.testing.assert_allclose(runner.predict(images[:5]), wanted[:5], atol=1e-4)
        assert uploaded[3:] == [4, 3]
        np.testing.assert_allclose(runner.predict(images[:1]), wanted[:1], atol=1e-4)
        out = np.full((11, 10), np.nan, np.float32)
        runner.predict_into(images[:11], out)
        np.testing.assert_allclose(out, wanted, atol=1e-4)


def test_logits_are_written_where_the_caller_wants_them(made_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    with Runner.open(made_bundle, backend="onnxruntime") as runner:
        wanted = runner.predict(images)
        kept = np.full((20, 12), -1, np.float32)
        runner.predict_into(images, kept[2:18, 1:11])  # not contiguous
        np.testing.assert_array_equal(kept[2:18, 1:11], wanted)
        assert (kept[:2] == -1).all()
        assert (kept[:, 0] == -1).all()
        named = {"logits": np.empty((16, 10), np.float32)}
        runner.predict_into(images, named)
        np.testing.assert_array_equal(named["logits"], wanted)
        np.testing.assert_array_equal(runner.run(images)["logits"], wanted)


def test_arrays_for_the_logits_that_do_not_fit_are_refused(made_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    frozen = np.zeros((16, 10), np.float32)
    frozen.flags.writeable = False
    cases: list[tuple[Any, str]] = [
        (np.zeros((16, 10)), r"out for logits is float64 \(16, 10\): expected a numpy array, float32 \(16, 10\)"),
        (np.zeros((15, 10), np.float32), r"float32 \(15, 10\): expected a numpy array, float32 \(16, 10\)"),
        ([0.0], "out for logits is list"),
        (frozen, "out for logits is read-only"),
        ({}, "out has nothing: expected logits"),
        ({"features": np.zeros((16, 10), np.float32)}, "out has features: expected logits"),
    ]
    with Runner.open(made_bundle) as runner:
        for out, text in cases:
            with pytest.raises(DeployError, match=text):
                runner.predict_into(images, out)


def test_warming_up_makes_every_context_and_changes_no_answer(made_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    with Runner.open(made_bundle, backend="onnxruntime", contexts=3) as runner:
        wanted = runner.predict(images)
        runner.warmup((1, 5), iterations=1)
        made: list[Backend] = []
        runner._pool.call_each(made.append)
        assert len(made) == 3
        np.testing.assert_array_equal(runner.predict(images), wanted)
        with pytest.raises(DeployError, match="a batch of 0 to warm up with: expected at least 1"):
            runner.warmup((0,))


@pytest.mark.parametrize("count", [-1, 0, 1025, 2**30])
def test_too_few_and_too_many_contexts_and_threads_are_named(made_bundle: Path, count: int) -> None:
    with pytest.raises(UsageError, match=rf"^{count} contexts: expected 1 to 1024$"):
        Runner.open(made_bundle, contexts=count)
    with pytest.raises(UsageError, match=rf"^{count} threads: expected 1 to 1024$"):
        Runner.open(made_bundle, threads=count)
    with pytest.raises(UsageError, match=rf"^{count} threads: expected 1 to 1024$"):
        Runner.open(made_bundle, threads=count, fallback=True)


def test_a_runner_says_what_it_is(made_bundle: Path) -> None:
    runner = Runner.open(made_bundle, precision="int8", backend="onnxruntime", contexts=3)
    wanted = f"<Runner of 'wrn-10-1' in {str(made_bundle)!r}: onnxruntime int8, 3 contexts, "
    assert repr(runner) == wanted + "open>"
    runner.close()
    assert repr(runner) == wanted + "closed>"


def test_a_runner_cannot_be_copied_or_pickled(made_bundle: Path) -> None:
    with Runner.open(made_bundle) as runner:
        for use in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(
                UsageError, match="cannot be copied or sent to another process: pass the bundle's folder"
            ):
                use(runner)


@pytest.mark.filterwarnings("error")
def test_falling_back_is_asked_for_and_said(bundle: Bundle) -> None:
    (bundle.folder / "int8-onnxruntime.onnx").unlink()
    with pytest.raises(DeployError, match="int8-onnxruntime"):
        Runner.open(bundle.folder, precision="int8", backend="onnxruntime")
    with pytest.warns(RuntimeWarning, match=r"int8-onnxruntime.*; running ONNX Runtime CPU fp32 instead"):
        runner = Runner.open(bundle.folder, precision="int8", backend="onnxruntime", fallback=True)
    with runner:
        assert (runner.backend, runner.precision) == ("onnxruntime", Precision.FP32)
        assert "int8-onnxruntime" in (runner.fell_back or "")
    with Runner.open(bundle.folder, precision="fp32", backend="onnxruntime", fallback=True) as runner:
        assert runner.fell_back is None
    with pytest.raises(UsageError, match="does not run fp16"):
        Runner.open(bundle.folder, precision="fp16", backend="onnxruntime", fallback=True)


def test_what_is_not_named_is_chosen_and_said(made_bundle: Path) -> None:
    with Runner.open(made_bundle) as runner:
        assert examine(runner.bundle, runner.backend, runner.precision).obstacle is None
        assert (runner.backend, runner.precision) in known_pairs()


def test_the_named_precision_is_kept(made_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    with (
        Runner.open(made_bundle, precision="int8", backend="onnxruntime") as int8,
        Runner.open(made_bundle, precision=Precision.FP32) as fp32,
    ):
        assert (int8.backend, int8.precision) == ("onnxruntime", Precision.INT8)
        assert fp32.precision is Precision.FP32
        assert not np.array_equal(int8.predict(images), fp32.predict(images)), "int8 gives the logits of fp32"


def test_the_named_backend_is_kept(made_bundle: Path) -> None:
    with Runner.open(made_bundle, backend="torch") as runner:
        assert (runner.backend, runner.precision) == ("torch", Precision.FP32)


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
@pytest.mark.parametrize("precision", [None, "fp16", "int8"])
def test_a_named_backend_that_cannot_run_is_never_replaced(
    made_bundle: Path, backend: str, precision: str | None
) -> None:
    wanted = Precision(precision) if precision else Precision.FP16
    if examine(Bundle.open(made_bundle), backend, wanted).obstacle is None:
        pytest.skip(f"{backend} runs here")
    with pytest.raises(DeployError, match=r"TensorRT|plan-"):
        Runner.open(made_bundle, precision=precision, backend=backend)


@pytest.mark.parametrize(("backend", "precision"), [("torch", "int8"), ("onnxruntime", "fp16"), ("tensorrt", "fp32")])
def test_a_precision_that_a_backend_does_not_know_is_a_usage_error(
    made_bundle: Path, backend: str, precision: str
) -> None:
    with pytest.raises(UsageError, match=f"does not run {precision} here: expected one of"):
        Runner.open(made_bundle, precision=precision, backend=backend)


def test_unknown_names_are_refused_with_the_known_ones(made_bundle: Path) -> None:
    with pytest.raises(UsageError, match="precision 'int4': expected one of fp32, fp16, int8, bf16, fp8"):
        Runner.open(made_bundle, precision="int4")
    with pytest.raises(DeployError, match=r"unknown backend 'onnxruntme' \(did you mean onnxruntime or "):
        Runner.open(made_bundle, backend="onnxruntme")


def test_a_bundle_that_nothing_can_run_names_every_reason(bundle: Bundle) -> None:
    (bundle.folder / "fp32.onnx").unlink()
    (bundle.folder / "fp16-tensorrt_rtx.plan").unlink(missing_ok=True)
    expected = r"no backend here can run .*: ONNX Runtime CPU fp32: .*fp32.*; TensorRT fp16: "
    with pytest.raises(DeployError, match=expected) as error:
        Runner.open(bundle.folder)
    assert error.value.exit_code == 1, "the bundle can be repaired: not a matter of the machine"


def test_a_changed_graph_is_not_run(bundle: Bundle) -> None:
    graph = bundle.folder / "fp32.onnx"
    damaged = bytearray(graph.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    graph.write_bytes(damaged)
    with pytest.raises(DeployError, match=r"fp32\.onnx is not the file .*wrn-deploy export"):
        Runner.open(bundle.folder, backend="onnxruntime", precision="fp32")


def test_a_stale_graph_is_not_run(bundle: Bundle) -> None:
    """The weights were exported anew, and the int8 graph has not been made from them."""
    with bundle.transaction() as step:
        old = bundle.artifacts["weights"]
        step.file("weights.safetensors").write_bytes(b"others")
        step.add("weights", kind=old.kind, precision=old.precision, path="weights.safetensors", recipe=old.recipe)
    with pytest.raises(DeployError, match=r"was made from weights \w+, which is now \w+: run `wrn-deploy calibrate"):
        open_backend(bundle, backend="onnxruntime", precision=Precision.INT8)


def test_a_service_loads_neither_torch_nor_onnx(made_bundle: Path) -> None:
    code = (
        "import sys, numpy as np; from wrn_deploy import Runner\n"
        "with Runner.open(sys.argv[1], backend='onnxruntime') as runner:\n"
        "    runner.predict(np.zeros((2, 32, 32, 3), np.uint8))\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", code, str(made_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "onnx", "onnx_ir", "typer", "rich", "safetensors"}
    assert done.stderr == ""
