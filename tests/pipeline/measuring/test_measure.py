"""The measuring steps: candidates in turns, and one's death not the others'."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from PIL import Image

from tests.bench.stubs import plant
from wrn_deploy.bench.measuring import isolate
from wrn_deploy.bench.measuring.accuracy import Answers, LogitFile
from wrn_deploy.bench.measuring.latency import Times
from wrn_deploy.bench.measuring.worker import WorkerConfig
from wrn_deploy.bench.report.report import Accuracy, Boundary, Report, Row, WarmUp
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.data.sampling.digest import DataDigest
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.pipeline.measuring import measure, rounds
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, bench_bundle, evaluate_bundle
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.backend import default_pairs, examine, find_runtime, known_pairs
from wrn_deploy.runtime.sessions import infer_with, open_session
from wrn_deploy.spec import EXPERIMENTAL, Precision

SHORT = MeasureOptions(data="digits", rounds=3, iterations=4, threads=1, limit=60, duration_s=0.9)
FP32, INT8 = Precision.FP32, Precision.INT8


@pytest.fixture(autouse=True)
def _no_long_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "WARM_UP_S", (0.01, 0.1))


def only(patch: pytest.MonkeyPatch, *pairs: tuple[str, Precision]) -> None:
    """These are all candidates there are."""
    patch.setattr(measure, "known_pairs", lambda: list(pairs))
    patch.setattr(measure, "default_pairs", lambda _bundle: list(pairs))


class FakeWorkers:
    """Stands for the class Worker: keeps every call of every worker, in order, and answers by the test's rules."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.last_ms = 100.0
        self.dies: Callable[[str, str, int], bool] = lambda _name, _call, _number: False
        self.device_clock: Callable[[str], bool] = lambda _name: False
        self.open: set[str] = set()

    def __call__(self, work: WorkerConfig) -> FakeWorker:
        return FakeWorker(self, f"{work.backend}-{work.precision}")


class FakeWorker:
    def __init__(self, log: FakeWorkers, name: str) -> None:
        self._log, self._name, self._count = log, name, 0
        self._enter("open", None)
        self._log.open.add(name)

    def _enter(self, call: str, detail: Any) -> None:
        self._count += 1
        if self._log.dies(self._name, call, self._count):
            raise DeployError("its process died (SIGKILL)")
        self._log.calls.append((self._name, call, detail))

    def warm_up(self, batch: int, _min_s: float, _max_s: float) -> tuple[WarmUp, float]:
        self._enter("warm_up", batch)
        return WarmUp(0.1, 3, steady=True), self._log.last_ms

    def time(self, batch: int, iterations: int) -> Times:
        self._enter("time", (batch, iterations))
        device_ms = (self._count / 2,) * iterations if self._log.device_clock(self._name) else ()
        return Times((float(self._count),) * iterations, device_ms)

    def ask(
        self, advance: Callable[[int], None], logits: LogitFile | None = None, block: Block | None = None
    ) -> Answers:
        del block
        self._enter("ask", logits and logits.write)
        advance(2)
        predicted = np.array([0, 1]) if "fp32" in self._name else np.array([0, 2])
        return Answers(predicted=predicted, labels=np.array([0, 1]), digest="digest", corrupt=())

    def peak_rss_bytes(self) -> int:
        return 123

    def close(self) -> None:
        self._log.open.discard(self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> FakeWorkers:
    fake = FakeWorkers()
    monkeypatch.setattr(rounds, "Worker", fake)
    monkeypatch.setattr(measure, "examine", lambda *pair: dataclasses.replace(examine(*pair), obstacle=None))
    only(monkeypatch, ("torch", FP32), ("onnxruntime", FP32), ("onnxruntime", INT8))
    return fake


def counted(row: Row) -> tuple[int, int, float | None]:
    """Images, right answers, agreement."""
    assert row.accuracy is not None
    return row.accuracy.images, row.accuracy.correct, row.accuracy.agreement


def without_errors(row: Row) -> Accuracy:
    """All but the errors of the logits, which the reference row has not got."""
    assert row.accuracy is not None
    return dataclasses.replace(row.accuracy, max_error=None, mean_error=None)


def rows_of(report: Report) -> dict[str, Row]:
    return {f"{row.backend}-{row.precision}": row for row in report.rows}


def test_candidates_take_turns(workers: FakeWorkers, made_bundle: Path) -> None:
    options = dataclasses.replace(SHORT, batches=(1, 8), rounds=3)
    bench_bundle(Bundle.open(made_bundle), options, Silent())
    names = ["torch-fp32", "onnxruntime-fp32", "onnxruntime-int8"]
    wanted = [(name, "open") for name in names]
    for _ in (1, 8):
        wanted += [(name, "warm_up") for name in names]
        wanted += [(name, "time") for first in range(3) for name in names[first:] + names[:first]]
    wanted += [(name, "ask") for name in names]
    assert [(name, call) for name, call, _ in workers.calls] == wanted
    assert [detail for _, call, detail in workers.calls if call == "warm_up"] == [1, 1, 1, 8, 8, 8]
    assert not workers.open


def test_all_samples_are_kept_in_the_order_they_were_taken(workers: FakeWorkers, made_bundle: Path) -> None:
    report = bench_bundle(Bundle.open(made_bundle), dataclasses.replace(SHORT, batches=(1, 8)), Silent())
    for row in report.rows:
        first, second = row.latencies  # the third to the fifth call of each worker, then the seventh to the ninth
        assert (first.batch, first.rounds_ms) == (1, ((3.0,) * 3, (4.0,) * 3, (5.0,) * 3))
        assert (second.batch, second.rounds_ms) == (8, ((7.0,) * 3, (8.0,) * 3, (9.0,) * 3))
        assert first.samples_ms == tuple(np.repeat([3.0, 4.0, 5.0], 3))
    assert report.settings.batches == (1, 8)
    assert workers.last_ms == 100.0


@pytest.mark.parametrize(("last_ms", "iterations"), [(100.0, 3), (30.0, 4), (0.001, 4), (299.0, 2), (5000.0, 1)])
def test_a_turn_of_a_slow_candidate_is_short(
    workers: FakeWorkers, made_bundle: Path, last_ms: float, iterations: int
) -> None:
    """It lasts a third of 0.9 s or `iterations`, whichever ends it first, and one run at least."""
    workers.last_ms = last_ms
    bench_bundle(Bundle.open(made_bundle), dataclasses.replace(SHORT, batches=(2,)), Silent())
    assert {detail for _, call, detail in workers.calls if call == "time"} == {(2, iterations)}


@pytest.mark.parametrize("moment", [1, 2, 3, 5, 6, 10])
def test_a_candidate_that_dies_is_skipped_and_the_others_go_on(
    workers: FakeWorkers, made_bundle: Path, moment: int
) -> None:
    """As it opens, warms up, is timed at the first and at the second batch, warms up again, and answers."""
    workers.dies = lambda name, _call, number: name == "onnxruntime-int8" and number == moment
    report = bench_bundle(Bundle.open(made_bundle), dataclasses.replace(SHORT, batches=(1, 8)), Silent())
    rows = rows_of(report)
    dead = rows["onnxruntime-int8"]
    assert (dead.skipped, dead.latencies, dead.accuracy) == ("its process died (SIGKILL)", (), None)
    assert dead.sha256 == Bundle.open(made_bundle).artifacts["onnx-int8-onnxruntime"].sha256
    for name in ("torch-fp32", "onnxruntime-fp32"):
        assert rows[name].skipped is None
        assert [len(latency.samples_ms) for latency in rows[name].latencies] == [9, 9]
        assert counted(rows[name]) == (2, 2, 1.0)
    assert not workers.open


def test_when_the_reference_dies_another_fp32_row_takes_its_place(workers: FakeWorkers, made_bundle: Path) -> None:
    workers.dies = lambda name, call, _number: name == "torch-fp32" and call == "ask"
    report = evaluate_bundle(Bundle.open(made_bundle), SHORT, Silent())
    assert report.reference == "ONNX Runtime CPU fp32"
    assert counted(rows_of(report)["onnxruntime-int8"]) == (2, 1, 0.5)
    asked = [(name, writes) for name, call, writes in workers.calls if call == "ask"]
    assert asked == [("onnxruntime-fp32", True), ("onnxruntime-int8", False)]


def test_a_named_candidate_that_dies_is_not_replaced_in_silence(workers: FakeWorkers, made_bundle: Path) -> None:
    workers.dies = lambda name, call, _number: name == "onnxruntime-int8" and call == "ask"
    options = dataclasses.replace(SHORT, precision=INT8)
    with pytest.raises(
        DeployError, match=r"none of the requested candidates could be measured: ONNX .* int8: its process di"
    ):
        evaluate_bundle(Bundle.open(made_bundle), options, Silent())


def test_an_interrupt_closes_every_worker(workers: FakeWorkers, made_bundle: Path) -> None:
    def interrupt(name: str, call: str, _number: int) -> bool:
        if (name, call) == ("onnxruntime-fp32", "time"):
            raise KeyboardInterrupt
        return False

    workers.dies = interrupt
    with pytest.raises(KeyboardInterrupt):
        bench_bundle(Bundle.open(made_bundle), SHORT, Silent())
    assert not workers.open


def test_the_devices_times_are_kept_by_rounds(workers: FakeWorkers, made_bundle: Path) -> None:
    workers.device_clock = lambda name: name == "onnxruntime-int8"
    report = bench_bundle(Bundle.open(made_bundle), dataclasses.replace(SHORT, batches=(1,)), Silent())
    for name, row in rows_of(report).items():
        assert row.latencies[0].rounds_ms == ((3.0,) * 3, (4.0,) * 3, (5.0,) * 3)
        on_device = ((1.5,) * 3, (2.0,) * 3, (2.5,) * 3)
        assert row.latencies[0].device_ms == (on_device if name == "onnxruntime-int8" else ())


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, ["onnxruntime-int8", "torch-fp32", "onnxruntime-fp32"]),
        ({"backends": ("torch_compile",)}, ["torch_compile-fp32", "torch_compile-bf16"]),
        ({"backends": ("openvino", "torch")}, ["openvino-fp32", "openvino-int8", "openvino-bf16", "torch-bf16"]),
        ({"backends": ("openvino", "onnxruntime"), "precision": INT8}, ["openvino-int8", "onnxruntime-int8"]),
        ({"precision": Precision.BF16}, ["torch-bf16"]),
        ({"everything": True, "precision": Precision.BF16}, ["openvino-bf16", "torch_compile-bf16", "torch-bf16"]),
        ({"everything": True}, ["openvino-bf16", "torch_channels_last-fp32", "tensorrt_nographs-fp8"]),
        ({"backends": ("tensorrt_rtx_nographs",)}, ["tensorrt_rtx_nographs-fp16", "tensorrt_rtx_nographs-int8"]),
    ],
    ids=str,
)
def test_comparison_only_candidates_are_measured_if_asked_for(
    made_bundle: Path, asked: dict[str, Any], wanted: list[str]
) -> None:
    options = dataclasses.replace(SHORT, **asked)
    bundle = Bundle.open(made_bundle)
    found = [f"{backend}-{precision}" for backend, precision in measure._asked(bundle, options)]
    assert set(wanted) <= set(found)
    if "backends" in asked:
        assert {name.rpartition("-")[0] for name in found} == set(asked["backends"])
        assert not any(name.startswith("tensorrt") and name.endswith(("bf16", "fp8")) for name in found)
    elif not asked.get("everything"):
        assert not any(find_runtime(name.rpartition("-")[0]).comparison_only for name in found)
    also = measure._compared_with(bundle, options)
    assert also == [("onnxruntime", FP32), ("onnxruntime_cuda", FP32), ("torch", FP32), ("torch_cuda", FP32)]


def test_each_backend_that_was_named_must_know_the_precision(made_bundle: Path) -> None:
    options = dataclasses.replace(SHORT, backends=("onnxruntime", "torch"), precision=INT8)
    with pytest.raises(UsageError, match=r"^backend torch at precision int8: expected one of "):
        evaluate_bundle(Bundle.open(made_bundle), options, Silent())


def test_a_comparison_only_candidate_has_a_row_beside_fp32(made_bundle: Path) -> None:
    options = dataclasses.replace(SHORT, backends=("openvino",), batches=(1, 4))
    rows = rows_of(bench_bundle(Bundle.open(made_bundle), options, Silent()))
    for name in ("torch-fp32", "onnxruntime-fp32", "openvino-fp32", "openvino-int8"):
        assert rows[name].skipped is None
        assert [latency.batch for latency in rows[name].latencies] == [1, 4]
    accuracy = rows["openvino-int8"].accuracy
    assert accuracy is not None
    assert accuracy.agreement is not None
    assert accuracy.agreement > 0.9


def test_fp32_is_measured_with_what_was_named(workers: FakeWorkers, made_bundle: Path) -> None:
    report = evaluate_bundle(Bundle.open(made_bundle), dataclasses.replace(SHORT, precision=INT8), Silent())
    assert list(rows_of(report)) == ["torch-fp32", "onnxruntime-fp32", "onnxruntime-int8"]
    report = evaluate_bundle(Bundle.open(made_bundle), dataclasses.replace(SHORT, backends=("torch",)), Silent())
    assert list(rows_of(report)) == ["torch-fp32", "onnxruntime-fp32"]
    assert {call for _, call, _ in workers.calls} == {"open", "ask"}, "eval measures no latency"


@pytest.fixture(scope="module")
def real(made_bundle: Path) -> Report:
    """A short benchmark of all candidates in real processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "WARM_UP_S", (0.02, 0.2))
        return bench_bundle(Bundle.open(made_bundle), dataclasses.replace(SHORT, batches=(1, 4), limit=None), Silent())


def test_every_candidate_has_a_row_with_numbers_or_a_reason(real: Report, made_bundle: Path) -> None:
    bundle = Bundle.open(made_bundle)
    names = [f"{backend}-{precision}" for backend, precision in default_pairs(bundle)]
    assert list(rows_of(real)) == ["torch-fp32", *(name for name in names if name != "torch-fp32")]
    for row in real.rows:
        assert (row.skipped is None) == (examine(bundle, row.backend, row.precision).obstacle is None)
        if row.skipped is None:
            assert [(latency.batch, len(latency.samples_ms)) for latency in row.latencies] == [(1, 12), (4, 12)]
            assert all(0 < sample < 10_000 for latency in row.latencies for sample in latency.samples_ms)
            assert row.accuracy is not None
            assert row.accuracy.images == len(open_data("digits", Role.TEST))
            assert row.peak_rss_bytes is not None
            assert 30 << 20 < row.peak_rss_bytes < 2 << 30
        else:
            assert (row.latencies, row.accuracy, row.peak_rss_bytes) == ((), None, None)


def test_experimental_precisions_have_no_row_unless_the_bundle_has_such_a_plan(real: Report, bundle: Bundle) -> None:
    assert {row.precision for row in real.rows}.isdisjoint(EXPERIMENTAL)
    without = default_pairs(bundle)
    fp16 = bundle.artifacts["plan-fp16-tensorrt_rtx"]
    bundle.artifacts["plan-fp8-tensorrt_rtx"] = dataclasses.replace(fp16, precision=Precision.FP8)
    added = [pair for pair in default_pairs(bundle) if pair not in without]
    assert added == [("tensorrt", Precision.FP8), ("tensorrt_rtx", Precision.FP8)]


def test_an_experimental_precision_that_is_named_is_looked_for(made_bundle: Path) -> None:
    options = dataclasses.replace(SHORT, precision=Precision.FP8)
    with pytest.raises(
        (DeployError, MachineError), match="none of the requested candidates can run here: TensorRT fp8"
    ):
        evaluate_bundle(Bundle.open(made_bundle), options, Silent())


def test_a_row_names_the_artifact_that_was_measured(real: Report, made_bundle: Path) -> None:
    bundle = Bundle.open(made_bundle)
    rows = rows_of(real)
    for name, key in {
        "torch-fp32": "weights",
        "onnxruntime-fp32": "onnx-fp32",
        "onnxruntime-int8": "onnx-int8-onnxruntime",
    }.items():
        artifact = bundle.artifacts[key]
        row = rows[name]
        assert (row.artifact, row.sha256, row.size_bytes) == (artifact.path, artifact.sha256, artifact.size_bytes)


def test_top1_and_agreement_are_those_counted_by_hand(real: Report, made_bundle: Path) -> None:
    bundle = Bundle.open(made_bundle)
    preprocessing = bundle.spec.preprocessing
    batch = next(iter(Batches(open_data("digits", Role.TEST), preprocessing, 10_000)))
    images = normalize(batch.images, preprocessing)
    predicted = {
        name: infer_with(open_session(bundle.folder / file))(images).argmax(axis=1)
        for name, file in {"onnxruntime-fp32": "fp32.onnx", "onnxruntime-int8": "int8-onnxruntime.onnx"}.items()
    }
    rows = rows_of(real)
    for name, answers in predicted.items():
        accuracy = rows[name].accuracy
        assert accuracy is not None
        assert accuracy.correct == int((answers == batch.labels).sum())
        assert accuracy.agreement == pytest.approx((answers == predicted["onnxruntime-fp32"]).mean(), abs=1e-9)
    assert without_errors(rows["torch-fp32"]) == without_errors(rows["onnxruntime-fp32"])
    digest = DataDigest()
    digest.add(batch.images)
    assert real.data_digest == digest.hexdigest()


def test_errors_and_top5_are_those_counted_by_hand(real: Report, made_bundle: Path) -> None:
    bundle = Bundle.open(made_bundle)
    preprocessing = bundle.spec.preprocessing
    batch = next(iter(Batches(open_data("digits", Role.TEST), preprocessing, 10_000)))
    images = normalize(batch.images, preprocessing)
    before, after = (
        infer_with(open_session(bundle.folder / file))(images) for file in ("fp32.onnx", "int8-onnxruntime.onnx")
    )
    accuracy = rows_of(real)["onnxruntime-int8"].accuracy
    assert accuracy is not None
    assert accuracy.max_error == pytest.approx(np.abs(after - before).max(), rel=1e-3)
    assert accuracy.mean_error == pytest.approx(np.abs(after - before).mean(), rel=1e-3)
    best = np.argsort(-after, axis=1)[:, :5]
    assert accuracy.correct5 == int((best == batch.labels[:, None]).any(axis=1).sum())
    assert [score.images for score in accuracy.classes] == np.bincount(batch.labels, minlength=10).tolist()
    right = batch.labels[after.argmax(axis=1) == batch.labels]
    assert [score.correct for score in accuracy.classes] == np.bincount(right, minlength=10).tolist()
    changed = np.flatnonzero(after.argmax(axis=1) != before.argmax(axis=1))
    assert accuracy.changed_count == len(changed)
    assert len(accuracy.changed) == min(12, len(changed))
    names = [item.name for item in open_data("digits", Role.TEST).items()]
    for image in accuracy.changed:
        at = names.index(image.name)
        assert image.label == bundle.spec.label(int(batch.labels[at]))
        assert image.before == bundle.spec.label(int(before[at].argmax()))
        assert image.after == bundle.spec.label(int(after[at].argmax()))
        with Image.open(io.BytesIO(base64.b64decode(image.png))) as picture:
            np.testing.assert_array_equal(np.asarray(picture), batch.images[at])


def test_the_machine_is_watched_while_it_is_timed(real: Report) -> None:
    around = real.environment
    assert around is not None
    assert around.before.at_s == 0.0
    assert around.after.at_s is not None
    assert around.after.at_s > 0.9, "three candidates, 0.3 s a turn at least"
    if Path("/proc/stat").exists():
        assert around.others_cores is not None
        assert 0 <= around.others_cores <= (os.cpu_count() or 1)
        assert around.steal is not None
        assert around.before.load_1min is not None


def test_the_report_has_its_conditions(real: Report) -> None:
    assert (real.model, real.data, real.reference, real.corrupt) == ("wrn-10-1", "digits", "PyTorch CPU fp32", ())
    assert real.settings.threads == 1
    assert (real.settings.rounds, real.settings.iterations) == (3, 4)
    assert (real.settings.boundary, real.settings.streams) == (Boundary.COMPUTE, 1)
    assert real.baseline == real.reference
    assert {"wrn-deploy", "numpy", "onnxruntime", "torch"} <= set(real.versions)
    assert real.machine.cores >= 1
    assert real.created.endswith("+00:00")


def test_a_limit_takes_the_first_images(made_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, ("onnxruntime", FP32), ("onnxruntime", INT8))
    report = evaluate_bundle(Bundle.open(made_bundle), dataclasses.replace(SHORT, limit=70), Silent())
    assert [row.accuracy.images for row in report.rows if row.accuracy] == [70, 70]


def test_a_killed_process_becomes_a_row_that_names_the_signal(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kill = "self.runs == 4 and os.kill(os.getpid(), signal.SIGKILL)"
    plant(monkeypatch, tmp_path / "plugins", "mortal", kill)
    only(monkeypatch, ("mortal", FP32), ("onnxruntime", FP32))
    report = bench_bundle(Bundle.open(made_bundle), dataclasses.replace(SHORT, batches=(1, 2)), Silent())
    rows = rows_of(report)
    assert rows["mortal-fp32"].skipped == "its process died (SIGKILL)"
    assert rows["onnxruntime-fp32"].skipped is None
    assert len(rows["onnxruntime-fp32"].latencies) == 2


def test_a_candidate_that_hangs_or_answers_nan_becomes_a_row_that_says_so(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(isolate, "TIMEOUT_S", 8)
    plant(monkeypatch, tmp_path / "plugins", "hanging", "self.runs == 4 and time.sleep(1000)")
    opening = (
        "Stub.download = lambda self: tuple(answer * float('nan') for answer in OnnxRuntimeBackend.download(self))"
    )
    plant(monkeypatch, tmp_path / "plugins", "nan", opening=opening)
    only(monkeypatch, ("hanging", FP32), ("nan", FP32), ("onnxruntime", FP32))
    report = bench_bundle(Bundle.open(made_bundle), dataclasses.replace(SHORT, batches=(1,)), Silent())
    rows = rows_of(report)
    assert "it hangs: no response to" in (rows["hanging-fp32"].skipped or "")
    assert "NaN" in (rows["nan-fp32"].skipped or "")
    assert rows["onnxruntime-fp32"].skipped is None
    assert rows["onnxruntime-fp32"].latencies
    assert rows["onnxruntime-fp32"].accuracy is not None


def test_a_planted_slowdown_is_in_the_report(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant(monkeypatch, tmp_path / "plugins", "slow", "time.sleep(0.005)")
    plant(monkeypatch, tmp_path / "plugins", "plain")
    only(monkeypatch, ("slow", FP32), ("plain", FP32))
    report = bench_bundle(Bundle.open(made_bundle), dataclasses.replace(SHORT, batches=(1,)), Silent())
    slow, plain = (min(rows_of(report)[f"{name}-fp32"].latencies[0].samples_ms) for name in ("slow", "plain"))
    assert 4.9 < slow - plain < 8
    rows = rows_of(report)
    assert without_errors(rows["slow-fp32"]) == without_errors(rows["plain-fp32"])
    assert rows["plain-fp32"].accuracy is not None
    assert rows["plain-fp32"].accuracy.max_error == 0.0, "the same graph in the same runtime"


def test_a_candidate_that_takes_few_images_at_once_is_measured_all_the_same(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a plan whose profile ends at 7 and starts at 3: accuracy must not ask it for 64, nor for the last 4 alone."""
    limits = "Stub.batches = property(lambda self: range(3, 8), lambda self, _: None)"
    check = "size = self._binding.images.shape()[0]; assert size in self.batches, size"
    plant(monkeypatch, tmp_path / "plugins", "narrow", check, opening=limits)
    only(monkeypatch, ("narrow", FP32), ("onnxruntime", FP32))
    report = evaluate_bundle(Bundle.open(made_bundle), SHORT, Silent())
    rows = rows_of(report)
    assert rows["narrow-fp32"].skipped is None
    assert without_errors(rows["narrow-fp32"]) == without_errors(rows["onnxruntime-fp32"])


def write_npz(file: Path, bundle: Bundle, labels: list[int]) -> str:
    pixels = next(iter(Batches(open_data("digits", Role.TEST), bundle.spec.preprocessing, len(labels)))).images
    np.savez(file, images=pixels, labels=np.array(labels))
    return str(file)


def test_a_label_that_the_network_does_not_have_is_named_once(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    only(monkeypatch, ("onnxruntime", FP32), ("onnxruntime", INT8))
    bundle = Bundle.open(made_bundle)
    data = write_npz(tmp_path / "wrong.npz", bundle, [3, 12, 1])
    with pytest.raises(DeployError, match=r"has label 12: expected 0 to 9") as error:
        evaluate_bundle(bundle, dataclasses.replace(SHORT, data=data), Silent())
    assert str(error.value).count("label 12") == 1
    assert error.value.exit_code == 1


@pytest.mark.parametrize(
    "change",
    [{"backends": ("tensorrt",)}, {"precision": Precision.FP16}, {"backends": ("tensorrt_rtx",), "precision": INT8}],
)
def test_what_cannot_run_here_is_not_replaced(made_bundle: Path, change: dict[str, Any]) -> None:
    bundle = Bundle.open(made_bundle)
    pairs = [
        pair for pair in known_pairs()
        if pair[0] in change.get("backends", (pair[0],)) and change.get("precision") in (None, pair[1])
    ]  # fmt: skip
    if any(examine(bundle, *pair).obstacle is None for pair in pairs):
        pytest.skip("it runs here")
    with pytest.raises(MachineError, match="none of the requested candidates can run here: ") as error:
        evaluate_bundle(bundle, dataclasses.replace(SHORT, **change), Silent())
    assert error.value.exit_code == 4


def test_a_candidate_that_does_not_exist_is_a_usage_error(made_bundle: Path) -> None:
    options = dataclasses.replace(SHORT, backends=("torch",), precision=INT8)
    with pytest.raises(UsageError, match="backend torch at precision int8: expected one of onnxruntime-fp32, "):
        evaluate_bundle(Bundle.open(made_bundle), options, Silent())


@pytest.mark.parametrize(
    "wrong", [{"batches": ()}, {"batches": (0, 1)}, {"batches": (2, 2)}, {"rounds": 0}, {"iterations": 0}], ids=str
)
def test_options_that_make_no_sense_are_usage_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        dataclasses.replace(SHORT, **wrong)


def test_a_time_limit_leaves_every_batch_size_its_first_round(workers: FakeWorkers, made_bundle: Path) -> None:
    options = dataclasses.replace(SHORT, batches=(1, 8), rounds=3, time_limit_s=1e-9)
    report = bench_bundle(Bundle.open(made_bundle), options, Silent())
    assert report.settings.rounds == 1
    assert {len(latency.rounds_ms) for row in report.rows for latency in row.latencies} == {1}
    loose = bench_bundle(Bundle.open(made_bundle), dataclasses.replace(options, time_limit_s=3600.0), Silent())
    assert loose.settings.rounds == 3
    assert not workers.open
