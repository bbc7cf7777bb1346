"""Calibration in shards: merged in any order, they make the files of one pass, bit for bit; all else is refused."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipeline.quantization.test_calibrate import GRAPHS, QUICK, Noted
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import CorruptImage, Item, Role, open_data, preprocess
from wrn_deploy.data.containers.array_file import pack_arrays, read_arrays
from wrn_deploy.data.corrupt import Percent
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.data.sampling.subset import even_sample
from wrn_deploy.errors import DamagedFile, DeployError, StaleArtifact, UsageError
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.quantize import Quantization, Rounding
from wrn_deploy.pipeline.quantization.shards import (
    CalibrationJob,
    calibrate_shard,
    merge_calibration,
    merge_calibration_shards,
)
from wrn_deploy.progress import Silent
from wrn_deploy.spec import Preprocessing

OPTIONS = CalibrateOptions(data="digits", size=50, threads=1, workers=0)
COUNT = 5
FILES = ("calibration.json", "calibration-images.txt", *GRAPHS.values())


def made(bundle: Bundle) -> dict[str, bytes]:
    return {name: (bundle.folder / name).read_bytes() for name in FILES}


def copied(bundle: Path, folder: Path) -> Bundle:
    return Bundle.open(Path(shutil.copytree(bundle, folder)))


def all_shards(bundle: Bundle, options: CalibrateOptions, folder: Path, count: int = COUNT) -> list[Path]:
    blocks = [Block(index=index, count=count) for index in range(count)]
    return [calibrate_shard(bundle, options, block, folder, Silent()).file for block in blocks]


@pytest.fixture(scope="module")
def shards(made_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of OPTIONS."""
    folder = tmp_path_factory.mktemp("shards")
    before = {path: path.read_bytes() for path in made_bundle.iterdir() if path.is_file()}
    files = all_shards(Bundle.open(made_bundle), OPTIONS, folder)
    assert {path: path.read_bytes() for path in made_bundle.iterdir() if path.is_file()} == before, "it is unchanged"
    return files


@pytest.fixture(scope="module")
def whole(made_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """What one pass makes, on other threads."""
    bundle = copied(made_bundle, tmp_path_factory.mktemp("whole") / "bundle")
    calibrate_bundle(bundle, dataclasses.replace(OPTIONS, threads=2), Silent())
    return bundle


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 4, 2, 1]])
def test_shards_merged_in_any_order_are_one_pass(
    bundle: Bundle, whole: Bundle, shards: list[Path], order: list[int]
) -> None:
    progress = Noted()
    merge_calibration(bundle, [shards[index] for index in order], progress)
    assert made(bundle) == made(whole)
    for key in ("calibration", "calibration-images", *(f"onnx-int8-{target}" for target in GRAPHS)):
        assert dataclasses.asdict(bundle.artifacts[key]) == dataclasses.asdict(whole.artifacts[key])
    compared = [note for note in progress.notes if "same argmax as fp32 on" in note]
    assert [note.split()[-3] for note in compared] == ["32", "32"]


def test_what_a_merge_made_is_up_to_date_for_one_pass_and_the_other_way_round(
    bundle: Bundle, whole: Bundle, shards: list[Path], tmp_path: Path
) -> None:
    merge_calibration(bundle, [shards[0].parent], Silent())
    again, another = Noted(), Noted()
    calibrate_bundle(bundle, OPTIONS, again)
    assert any("up to date" in note for note in again.notes)
    merge_calibration(copied(whole.folder, tmp_path / "again"), shards, another)
    assert any("up to date" in note for note in another.notes)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "max"},
        {"method": "percentile", "percentile": 99.9, "equalize": False},
        {"quantization": Quantization(rounding=Rounding.NEAREST, exact_input=True)},
        {"quantization": Quantization(exact_input=True, full_range=False)},
    ],
    ids=str,
)
def test_with_every_technique(made_bundle: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    options = dataclasses.replace(OPTIONS, size=20, **changes)
    one, merged = (copied(made_bundle, tmp_path / name) for name in ("one", "merged"))
    calibrate_bundle(one, options, Silent())
    merge_calibration(merged, all_shards(merged, options, tmp_path / "shards", 3)[::-1], Silent())
    assert made(merged) == made(one)


def test_a_bundle_with_an_interface(interface_bundle: Bundle, tmp_path: Path) -> None:
    one = copied(interface_bundle.folder, tmp_path / "one")
    options = dataclasses.replace(OPTIONS, size=20)
    calibrate_bundle(one, options, Silent())
    merge_calibration(interface_bundle, all_shards(interface_bundle, options, tmp_path / "shards", 4), Silent())
    assert made(interface_bundle) == made(one)


def test_as_a_job_whose_results_are_the_contents_of_the_files(
    bundle: Bundle, whole: Bundle, shards: list[Path]
) -> None:
    job = pickle.loads(pickle.dumps(CalibrationJob(folder=bundle.folder, options=OPTIONS, count=COUNT)))
    assert job.shards == (0, 1, 2, 3, 4)
    assert job.describe(2) == "calibration shard 2/5 of digits"
    results = {}
    with job.open(1) as worker:
        for shard in (4, 1, 0, 3, 2):
            done = worker.run(shard)
            assert (done.shard, done.images, done.corrupt) == (shard, 10, ())
            results[job.describe(shard)] = done.result
            assert done.result == shards[shard].read_bytes()
    merge_calibration_shards(bundle, results, Silent())
    assert made(bundle) == made(whole)


def test_only_the_first_shards_have_pixels(shards: list[Path]) -> None:
    """Of 50 images in 5 shards, 32 are compared."""
    assert [len(read_arrays(file)[1]["pixels"]) for file in shards] == [10, 10, 10, 2, 0]


def broken(monkeypatch: pytest.MonkeyPatch, numbers: set[int]) -> None:
    """Makes these of the chosen images corrupt."""
    names = [item.name for item in even_sample(open_data("digits", Role.TRAIN), OPTIONS.size).items()]
    fit_item = preprocess.fit_item

    def fitting(item: Item, how: Preprocessing) -> np.ndarray[Any, np.dtype[np.uint8]]:
        if item.name in {names[number] for number in numbers}:
            raise CorruptImage(f"{item.name} is damaged")
        return fit_item(item, how)

    monkeypatch.setattr(preprocess, "fit_item", fitting)


@pytest.mark.parametrize("allowed", [4, Percent(8.0)])
def test_corrupt_images_are_left_out_named_and_counted_over_all_shards(
    made_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: Any
) -> None:
    broken(monkeypatch, {0, 11, 12, 47})
    options = dataclasses.replace(OPTIONS, max_corrupt=allowed)
    one, merged = (copied(made_bundle, tmp_path / name) for name in ("one", "merged"))
    calibrate_bundle(one, options, Silent())
    files = all_shards(merged, options, tmp_path / "shards")
    progress = Noted()
    merge_calibration(merged, files[::-1], progress)
    assert made(merged) == made(one)
    (warning,) = [text for text in progress.warnings if "corrupt" in text]
    assert warning.startswith("the shards skipped 4 corrupt images of digits: ")


def test_too_many_corrupt_images_in_all_shards_together_are_refused(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, {11, 47})
    options = dataclasses.replace(OPTIONS, max_corrupt=1)
    with pytest.raises(DeployError, match="is damaged; 2 corrupt, 1 allowed"):
        all_shards(bundle, options, tmp_path / "shards")  # those among the first images are counted by every shard


def test_corrupt_images_that_no_single_shard_can_count_are_counted_by_the_merge(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, {45, 47})
    files = all_shards(bundle, dataclasses.replace(OPTIONS, max_corrupt=2), tmp_path)
    record, arrays = read_arrays(files[4])
    record["header"]["corrupt"].append("a third")
    files[4].write_bytes(pack_arrays(record, arrays))
    with pytest.raises(DeployError, match=r"3 corrupt images in all shards .*, 2 allowed"):
        merge_calibration(bundle, files, Silent())


def with_record(file: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    record, arrays = read_arrays(file)
    change(record)
    target.write_bytes(pack_arrays(record, arrays))
    return target


def test_missing_doubled_and_foreign_shards_are_refused(bundle: Bundle, shards: list[Path], tmp_path: Path) -> None:
    before = made(bundle)
    with pytest.raises(DeployError, match=r"1 of 5 shards are missing \(3/5\)"):
        merge_calibration(bundle, [*shards[:3], shards[4]], Silent())
    double = Path(shutil.copy(shards[2], tmp_path / "double.npz"))
    with pytest.raises(DeployError, match=r"double\.npz and .* are both shard 2/5"):
        merge_calibration(bundle, [*shards, double], Silent())
    other = calibrate_shard(bundle, QUICK, Block(index=2, count=COUNT), tmp_path, Silent()).file
    with pytest.raises(DeployError, match=r"was made with another recipe than .* \(chosen: 16, not 50\)"):
        merge_calibration(bundle, [*shards[:2], other, *shards[3:]], Silent())
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="--merge: no files calibration-"):
        merge_calibration(bundle, [tmp_path / "none"], Silent())
    assert made(bundle) == before


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("header", "recipe", "processor", "cpu"), "another", "depend on the type of the CPU"),
        (("header", "recipe", "tools", "numpy"), "0.1", "depend on the versions"),
        (("header", "recipe", "options", "percentile"), 60.0, r"\(options\.percentile: 60\.0, not 99\.99\)"),
        (("header", "format"), 2, "has format 2: expected 1"),
        (("header", "kind"), "evaluation", "is a shard of evaluation: expected calibration"),
        (("survey", "exact_input"), True, "the first images gave other values in some shards"),
        (("survey", "scales"), {"images": -1.0}, "impossible equalization or scale"),
        (("content", "tensors"), ["a"], "array 'channels' is int64"),
        (("content", "moments"), {"a": [0, 1]}, "impossible"),
        (("header", "block"), {"index": 7, "count": 5}, "impossible"),
        (("header", "corrupt"), ["b"], "corrupt images in all shards .b., none allowed"),
        (("survey",), None, "expected a record"),
    ],
)
def test_a_shard_whose_record_says_something_else_is_refused(
    bundle: Bundle, shards: list[Path], tmp_path: Path, path: tuple[str, ...], value: Any, said: str
) -> None:
    def change(record: dict[str, Any]) -> None:
        for key in path[:-1]:
            record = record[key]
        record[path[-1]] = value

    other = with_record(shards[3], tmp_path / "other.npz", change)
    with pytest.raises(DeployError, match=said):
        merge_calibration(bundle, [*shards[:3], other, shards[4]], Silent())


def test_a_damaged_shard_is_named(bundle: Bundle, shards: list[Path], tmp_path: Path) -> None:
    content = bytearray(shards[1].read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"bad\.npz"):
        merge_calibration(bundle, [shards[0], tmp_path / "bad.npz", *shards[2:]], Silent())
    (tmp_path / "bad.npz").write_bytes(shards[1].read_bytes()[:1000])
    with pytest.raises(DamagedFile, match=r"bad\.npz is a damaged \.zip archive"):
        merge_calibration(bundle, [shards[0], tmp_path / "bad.npz", *shards[2:]], Silent())


def test_shards_of_another_bundle_or_of_other_versions_are_refused(
    made_interface_bundle: Path, bundle: Bundle, shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = copied(made_interface_bundle, tmp_path / "other")
    with pytest.raises(StaleArtifact, match="was collected from another network than that of"):
        merge_calibration(other, shards, Silent())
    progress = Noted()
    monkeypatch.setattr("wrn_deploy.pipeline.quantization.shards.processor_type", lambda: {"cpu": "another"})
    merge_calibration(bundle, shards, progress)
    assert any("the shards are from another type of CPU" in text for text in progress.warnings)
    monkeypatch.setattr("wrn_deploy.pipeline.quantization.calibrate.__version__", "9.9")
    with pytest.raises(DeployError, match=r"with other versions \(wrn-deploy .*, here 9\.9\): expected the same"):
        merge_calibration(bundle, shards, Silent())


def test_more_shards_than_images_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="shard 3/51: expected at most 50 shards of 50 images"):
        calibrate_shard(bundle, OPTIONS, Block(index=3, count=51), tmp_path / "shards", Silent())
    assert not (tmp_path / "shards").exists()
