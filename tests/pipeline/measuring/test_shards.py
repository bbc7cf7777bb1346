"""Accuracy in shards: merged in any order, the report is that of one pass, bit for bit; anything else is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipeline.quantization.test_calibrate import Noted
from wrn_deploy.bench.report.report import Report
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.containers.array_file import pack_arrays, read_arrays
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.errors import DamagedFile, DeployError, StaleArtifact, UsageError
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, evaluate_bundle
from wrn_deploy.pipeline.measuring.shards import (
    EvaluationJob,
    evaluate_shard,
    merge_evaluation,
    merge_evaluation_shards,
)
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.quantize import Quantization, Rounding
from wrn_deploy.progress import Progress, Silent
from wrn_deploy.spec import Precision

OPTIONS = MeasureOptions(data="digits", backends=("onnxruntime",), threads=1, workers=0)
COUNT = 4


def lasting(report: Report) -> Report:
    """Without the time, the load and the memory, which are others in each run."""
    rows = tuple(dataclasses.replace(row, peak_rss_bytes=None) for row in report.rows)
    machine = dataclasses.replace(report.machine, load_1min=0.0)
    return dataclasses.replace(report, created="", environment=None, machine=machine, rows=rows)


@contextlib.contextmanager
def without_torch() -> Iterator[None]:
    """As if PyTorch were not installed: fewer and lighter processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        yield


def evaluated(bundle: Bundle, options: MeasureOptions, progress: Progress) -> Report:
    with without_torch():
        return evaluate_bundle(bundle, options, progress)


def all_shards(bundle: Bundle, options: MeasureOptions, folder: Path, count: int = COUNT) -> list[Path]:
    """The files of all shards, by candidates that stay open."""
    folder.mkdir(exist_ok=True)
    files = [folder / f"evaluation-{index}.npz" for index in range(count)]
    with without_torch(), EvaluationJob(folder=bundle.folder, options=options, count=count).open(None) as worker:
        for index, file in enumerate(files):
            content = worker.run(index).result
            assert content is not None
            file.write_bytes(content)
    return files


@pytest.fixture(scope="module")
def rough(made_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose int8 graphs change the class of some images."""
    folder = Path(shutil.copytree(made_bundle, tmp_path_factory.mktemp("rough") / "bundle"))
    quantization = Quantization(rounding=Rounding.NEAREST, full_range=False, exact_input=False)
    coarse = CalibrateOptions(
        data="digits", size=16, method="percentile", percentile=90.0, equalize=False, quantization=quantization
    )
    calibrate_bundle(Bundle.open(folder), coarse, Silent())
    return folder


@pytest.fixture(scope="module")
def shards(rough: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return all_shards(Bundle.open(rough), OPTIONS, tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def whole(rough: Path) -> Report:
    return evaluated(Bundle.open(rough), OPTIONS, Silent())


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_shards_merged_in_any_order_are_one_pass(
    rough: Path, whole: Report, shards: list[Path], order: list[int]
) -> None:
    report = merge_evaluation(Bundle.open(rough), OPTIONS, [shards[index] for index in order], Silent())
    assert lasting(report) == lasting(whole)
    compared = [row.accuracy for row in report.rows if row.accuracy is not None and row.name != report.reference]
    assert any(accuracy.mean_error for accuracy in compared)
    assert any(accuracy.changed for accuracy in compared), "with pictures of images whose class changed"
    assert all(row.peak_rss_bytes for row in report.rows if row.skipped is None)


def test_as_a_job_whose_candidates_stay_open(rough: Path, whole: Report, shards: list[Path]) -> None:
    options = dataclasses.replace(OPTIONS, threads=None)
    job = pickle.loads(pickle.dumps(EvaluationJob(folder=rough, options=options, count=COUNT)))
    assert job.shards == (0, 1, 2, 3)
    assert job.describe(1) == "evaluation shard 1/4 of digits"
    results: dict[str, bytes | Path] = {"from a file": shards[2]}
    with without_torch(), job.open(1) as worker:
        for shard in (3, 0, 1):
            done = worker.run(shard)
            assert done.images == (103 if shard == 3 else 64 if shard == 0 else 128)
            results[job.describe(shard)] = done.result
    assert lasting(merge_evaluation_shards(Bundle.open(rough), options, results, Silent())) == lasting(whole)


def test_a_limit_is_one_on_all_shards_together(rough: Path, tmp_path: Path) -> None:
    bundle, options = Bundle.open(rough), dataclasses.replace(OPTIONS, limit=150, pictures=False)
    files = all_shards(bundle, options, tmp_path, 3)
    merged = merge_evaluation(bundle, options, files[::-1], Silent())
    assert lasting(merged) == lasting(evaluated(bundle, options, Silent()))
    with pytest.raises(UsageError, match="--limit with --max-corrupt: expected one of them with --shard"):
        EvaluationJob(folder=rough, options=dataclasses.replace(options, max_corrupt=1), count=3)


def write_images(folder: Path, corrupt: set[int]) -> str:
    """150 labelled images as files, some of them corrupt."""
    from PIL import Image

    for number, (item, _) in enumerate(zip(open_data("digits", Role.TEST).items(), range(150), strict=False)):
        file = folder / str(item.label) / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(item.load()).save(file)
    for place, file in enumerate(sorted(folder.rglob("*.png"))):
        if place in corrupt:
            file.write_bytes(file.read_bytes()[:40])
    return str(folder)


def test_corrupt_images_change_no_other_answer(rough: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(rough)
    options = dataclasses.replace(OPTIONS, data=write_images(tmp_path / "images", {3, 70, 140}), max_corrupt=3)
    whole = evaluated(bundle, options, Silent())
    assert len(whole.corrupt) == 3
    files = all_shards(bundle, options, tmp_path / "shards", 3)
    assert lasting(merge_evaluation(bundle, options, files[::-1], Silent())) == lasting(whole)
    record, arrays = read_arrays(files[1])
    record["header"]["corrupt"] = ["a", "b", "c"]
    files[1].write_bytes(pack_arrays(record, arrays))
    with pytest.raises(DeployError, match=r"5 corrupt images in all shards .*, 3 allowed"):
        merge_evaluation(bundle, options, files, Silent())


def test_evaluation_images_that_were_calibrated_on_are_counted_over_all_shards(rough: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(rough)
    images = [item.load() for item, _ in zip(open_data("digits", Role.TRAIN).items(), range(300), strict=False)]
    labels = [item.label for item, _ in zip(open_data("digits", Role.TRAIN).items(), range(300), strict=False)]
    np.savez(tmp_path / "train.npz", images=np.stack(images), labels=np.array(labels))
    options = dataclasses.replace(OPTIONS, data=str(tmp_path / "train.npz"), pictures=False)
    one, merged = Noted(), Noted()
    evaluated(bundle, options, one)
    merge_evaluation(bundle, options, all_shards(bundle, options, tmp_path / "shards"), merged)
    found = [[text for text in log.warnings if "calibration images" in text] for log in (one, merged)]
    assert len(found[0]) == 1
    assert found[0] == found[1]


def with_record(file: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    record, arrays = read_arrays(file)
    change(record)
    target.write_bytes(pack_arrays(record, arrays))
    return target


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("reference",), "another fp32", "compares with another fp32, and .* with ONNX Runtime CPU fp32"),
        (("header", "recipe", "settings", "threads"), 7, "give --threads N for all shards"),
        (("header", "recipe", "processor", "cpu"), "another", "depend on the type of the CPU"),
        (("header", "recipe", "gpu"), "another", "depend on the GPU and its driver"),
        (("header", "recipe", "spec"), "0", "was made with another recipe"),
        (("header", "format"), 9, "has format 9: expected 1"),
        (("header", "kind"), "calibration", "is a shard of calibration: expected evaluation"),
        (("header", "corrupt"), ["b"], "corrupt images in all shards"),
        (("answers",), {}, "has rows without answers"),
        (("rows",), [], "has rows without answers"),
        (("machine",), {}, "lacks the field"),
    ],
)
def test_a_shard_whose_record_says_something_else_is_refused(
    rough: Path, shards: list[Path], tmp_path: Path, path: tuple[str, ...], value: Any, said: str
) -> None:
    def change(record: dict[str, Any]) -> None:
        for key in path[:-1]:
            record = record[key]
        record[path[-1]] = value

    other = with_record(shards[2], tmp_path / "other.npz", change)
    with pytest.raises(DeployError, match=said):
        merge_evaluation(Bundle.open(rough), OPTIONS, [*shards[:2], other, shards[3]], Silent())


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("labels", np.full(128, 12), "a class that is not 0 to 9"),
        ("onnxruntime-int8.predicted", np.full(128, -1), "a class that is not 0 to 9"),
        ("onnxruntime-int8.predicted", np.zeros(5, dtype=np.int64), r"int64 \(5,\): expected int64 \(128\)"),
        ("digests", np.zeros((128, 31), dtype=np.uint8), r"expected uint8 \(128, 32\)"),
    ],
)
def test_impossible_answers_are_refused(
    rough: Path, shards: list[Path], tmp_path: Path, name: str, array: Any, said: str
) -> None:
    record, arrays = read_arrays(shards[1])
    (tmp_path / "bad.npz").write_bytes(pack_arrays(record, {**arrays, name: array}))
    with pytest.raises(DamagedFile, match=rf"bad\.npz is damaged .*{said}"):
        merge_evaluation(Bundle.open(rough), OPTIONS, [shards[0], tmp_path / "bad.npz", *shards[2:]], Silent())


def test_missing_shards_other_bundles_and_other_data_are_refused(
    rough: Path, made_bundle: Path, shards: list[Path], tmp_path: Path
) -> None:
    bundle = Bundle.open(rough)
    with pytest.raises(DeployError, match=r"1 of 4 shards are missing \(1/4\)"):
        merge_evaluation(bundle, OPTIONS, [shards[0], *shards[2:]], Silent())
    with pytest.raises(StaleArtifact, match="was evaluated with another network than that of"):
        merge_evaluation(Bundle.open(made_bundle), OPTIONS, shards, Silent())
    data = write_images(tmp_path / "images", set())
    with pytest.raises(DeployError, match="is of digits with 359 images, and --data has 150: expected the same data"):
        merge_evaluation(bundle, dataclasses.replace(OPTIONS, data=data), shards, Silent())


def test_a_candidate_that_failed_in_one_shard_has_no_accuracy(rough: Path, shards: list[Path], tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        for row in record["rows"]:
            if row["precision"] == "int8":
                row["skipped"] = "its process died (SIGKILL)"
                record["answers"].pop(f"{row['title']} int8", None)

    other = with_record(shards[1], tmp_path / "other.npz", change)
    report = merge_evaluation(Bundle.open(rough), OPTIONS, [shards[0], other, *shards[2:]], Silent())
    rows = {row.key: row for row in report.rows}
    int8 = rows["onnxruntime", Precision.INT8]
    assert (int8.skipped, int8.accuracy) == ("its process died (SIGKILL)", None)
    assert rows["onnxruntime", Precision.FP32].accuracy is not None


def test_more_shards_than_batches_are_refused(rough: Path, tmp_path: Path) -> None:
    said = "shard 0/7: expected at most 6 shards of 359 images, 64 or more in each"
    with without_torch(), pytest.raises(UsageError, match=said):
        evaluate_shard(Bundle.open(rough), OPTIONS, Block(index=0, count=7), tmp_path / "shards", Silent())
    assert not (tmp_path / "shards").exists()


def test_a_shard_leaves_the_bundle_as_it_was(rough: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(rough, tmp_path / "bundle"))
    before = {file: file.read_bytes() for file in bundle.rglob("*") if file.is_file()}
    with without_torch():
        result = evaluate_shard(Bundle.open(bundle), OPTIONS, Block(index=3, count=4), tmp_path / "shards", Silent())
    assert (result.images, result.file.name) == (103, "evaluation-3-of-4.npz")
    assert {file: file.read_bytes() for file in bundle.rglob("*") if file.is_file()} == before
