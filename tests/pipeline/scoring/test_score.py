"""Scores of real digits by the trained network: what parts have, that nothing changes their bytes, and resuming."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet as pq

import wrn_deploy
from tests.shards.made import (
    Notes,
    break_image,
    digests_of,
    encoded_digits,
    options_for,
    pack_shard,
    pack_shards,
    part_files,
)
from wrn_deploy.bundle import Bundle
from wrn_deploy.data.corrupt import Percent
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.errors import DamagedFile, DeployError, UsageError
from wrn_deploy.pipeline.scoring.job import plan_scores
from wrn_deploy.pipeline.scoring.score import score_data
from wrn_deploy.pipeline.scoring.worker import best_classes
from wrn_deploy.progress import Silent


def test_each_image_has_a_row_with_its_best_classes(bundle: Bundle, scored: Path) -> None:
    table = pq.read_table(part_files(scored))
    digits = list(encoded_digits(80))
    assert table["label"].to_pylist() == [label for _, label in digits]
    assert table["id"].to_pylist() == [f"digits-{index // 20:03d}.tar/{index:05d}.png" for index in range(80)]
    assert table["source"].to_pylist() == [f"digits-{index // 20:03d}.tar" for index in range(80)]
    found = wrn_deploy.predict(bundle.folder, [content for content, _ in digits], top_k=5, backend="onnxruntime")
    assert [[best.index for best in one.best] for one in found] == table["classes"].to_pylist()
    expected = np.array([[best.score for best in one.best] for one in found])
    np.testing.assert_allclose(np.array(table["scores"].to_pylist()), expected, atol=1e-6)
    assert (
        sum(
            label == classes[0]
            for label, classes in zip(table["label"].to_pylist(), table["classes"].to_pylist(), strict=True)
        )
        >= 72
    )


def test_logits_are_those_of_the_runner_bit_for_bit(bundle: Bundle, shards: Path, tmp_path: Path) -> None:
    score_data(bundle, options_for(shards, tmp_path / "out", logits=True, batch=16), Silent())
    table = pq.read_table(part_files(tmp_path / "out"))
    pixels = [item.load() for item in wrn_deploy_data(shards)]
    with wrn_deploy.Runner.open(bundle.folder, backend="onnxruntime", threads=1) as runner:
        for shard in range(4):
            own = np.stack(pixels[20 * shard : 20 * shard + 20])
            expected = np.concatenate([runner.predict(own[:16]), runner.predict(own[16:])])
            stored = np.array(table["logits"].to_pylist()[20 * shard : 20 * shard + 20], np.float32)
            assert stored.tobytes() == expected.tobytes()


def wrn_deploy_data(shards: Path) -> Any:
    from wrn_deploy.data import Role, open_data

    return open_data(str(shards), Role.TEST).items()


def test_features_are_written_on_request(made_interface_bundle: Path, shards: Path, tmp_path: Path) -> None:
    opened = Bundle.open(made_interface_bundle)
    score_data(opened, options_for(shards, tmp_path / "out", features=True, top_k=2), Silent())
    table = pq.read_table(part_files(tmp_path / "out"))
    with wrn_deploy.Runner.open(made_interface_bundle, backend="onnxruntime", threads=1) as runner:
        outputs = runner.run(np.stack([item.load() for item in wrn_deploy_data(shards)][:8]))
    assert np.array(table["features"].to_pylist()[:8], np.float32).tobytes() == outputs["features"].tobytes()
    assert table["classes"].to_pylist()[:8] == outputs["top_classes"][:, :2].tolist()
    assert b"logits: the bundle gives only its best classes" in table.schema.metadata[b"wrn-deploy.scores"]


def test_a_part_says_what_made_it(bundle: Bundle, scored: Path) -> None:
    metadata = pq.read_schema(part_files(scored)[2]).metadata
    assert metadata[b"wrn-deploy.shard"] == b"2"
    assert metadata[b"wrn-deploy.scores"] == b"probabilities: softmax over the logits of 10 classes"
    recipe = json.loads(metadata[b"wrn-deploy.recipe"])
    assert recipe["artifact"] == bundle.artifacts["onnx-fp32"].sha256
    assert recipe == json.loads((scored / "recipe.json").read_text())
    assert {"wrn-deploy", "onnxruntime", "numpy", "pillow", "pyarrow"} <= set(recipe["versions"])


@pytest.mark.parametrize("more", [{"workers": 2}, {"threads": 2}, {"max_corrupt": 3}, {"max_damaged": 1}], ids=str)
def test_nothing_but_the_recipe_changes_a_byte(
    bundle: Bundle, shards: Path, scored: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    score_data(bundle, options_for(shards, tmp_path / "out", **more), Silent())
    assert digests_of(tmp_path / "out") == digests_of(scored)


def test_shares_in_any_order_make_the_same_parts(bundle: Bundle, shards: Path, scored: Path, tmp_path: Path) -> None:
    for index in (2, 0, 1):
        result = score_data(bundle, options_for(shards, tmp_path / "out", block=Block(index=index, count=3)), Silent())
        assert (result.share, result.total) == ((2, 1, 1)[index], 4)
    assert digests_of(tmp_path / "out") == digests_of(scored)


def test_the_place_of_the_data_and_of_the_bundle_does_not_matter(
    bundle: Bundle, shards: Path, scored: Path, tmp_path: Path
) -> None:
    shutil.copytree(shards, tmp_path / "elsewhere")
    shutil.copytree(bundle.folder, tmp_path / "bundle")
    score_data(Bundle.open(tmp_path / "bundle"), options_for(tmp_path / "elsewhere", tmp_path / "out"), Silent())
    assert digests_of(tmp_path / "out") == digests_of(scored)


def test_what_is_done_is_not_done_again(bundle: Bundle, shards: Path, scored: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(scored, out)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = score_data(bundle, options_for(shards, out), Silent())
    assert (again.before, again.images) == (4, 0)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    (out / "part-000001.json").unlink()
    part_files(out)[3].write_bytes(b"damaged")
    progress = Notes()
    repaired = score_data(bundle, options_for(shards, out), progress)
    assert (repaired.before, repaired.images) == (2, 40)
    assert digests_of(out) == digests_of(scored)
    (warning,) = progress.warnings
    assert warning.startswith("does shard 3 again: part-000003.parquet has 7 bytes: expected ")


def test_another_job_is_refused_with_what_differs(bundle: Bundle, shards: Path, scored: Path, tmp_path: Path) -> None:
    shutil.copytree(scored, tmp_path / "out")
    for more, words in (
        ({"top_k": 2}, "top_k 5, now 2"),
        ({"precision": "int8"}, "precision fp32, now int8"),
        ({"batch": 4}, "batch 8, now 4"),
    ):
        with pytest.raises(UsageError, match=f"has the parts of another job .*{words}"):
            score_data(bundle, options_for(shards, tmp_path / "out", **more), Silent())
    with pytest.raises(UsageError, match=r"data \w+, now \w+; shards 4, now 3"):
        score_data(bundle, options_for(pack_shards(tmp_path / "three", 3, 2), tmp_path / "out"), Silent())
    assert digests_of(tmp_path / "out") == digests_of(scored)


def test_a_shard_that_has_changed_is_done_again(bundle: Bundle, shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "data")
    options = options_for(tmp_path / "data", tmp_path / "out")
    score_data(bundle, options, Silent())
    pack_shard(tmp_path / "data" / "digits-002.tar", list(encoded_digits(7)))
    progress = Notes()
    assert score_data(bundle, options, progress).images == 7
    assert progress.warnings[0].startswith("does shard 2 again: digits-002.tar has changed since it was read")


def test_corrupt_images_are_counted_and_named_up_to_the_limit(bundle: Bundle, shards: Path, tmp_path: Path) -> None:
    data = break_image(shards, tmp_path / "data", 2)
    with pytest.raises(DeployError, match=r"digits-001\.tar/00000\.png cannot be decoded .* 1 corrupt, none allowed"):
        score_data(bundle, options_for(data, tmp_path / "out"), Silent())
    with pytest.raises(DeployError, match="2 corrupt, 1 allowed of 20"):
        score_data(bundle, options_for(data, tmp_path / "out", max_corrupt=Percent(5)), Silent())
    progress = Notes()
    result = score_data(bundle, options_for(data, tmp_path / "out", max_corrupt=2), progress)
    names = ("digits-001.tar/00000.png", "digits-001.tar/00001.png")
    assert (result.corrupt, result.before) == (names, 1)
    assert progress.warnings == [f"left out 2 corrupt images: {', '.join(names)}"]
    assert json.loads((tmp_path / "out" / "part-000001.json").read_text())["corrupt"] == list(names)
    assert len(pq.read_table(tmp_path / "out" / "part-000001.parquet")) == 18


def test_a_damaged_shard_ends_the_run_or_is_left_out_up_to_the_limit(
    bundle: Bundle, shards: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(shards, data)
    for name in ("digits-001.tar", "digits-002.tar"):
        (data / name).write_bytes((data / name).read_bytes()[:-20_000])
    with pytest.raises(DamagedFile, match=r"digits-001\.tar is damaged"):
        score_data(bundle, options_for(data, tmp_path / "out"), Silent())
    with pytest.raises(DeployError, match=r"digits-002\.tar is damaged.* 2 damaged shards, 1 allowed"):
        score_data(bundle, options_for(data, tmp_path / "out", max_damaged=1), Silent())
    result = score_data(bundle, options_for(data, tmp_path / "out", max_damaged=2), Silent())
    assert result.damaged == ("shard 1 (digits-001.tar)", "shard 2 (digits-002.tar)")
    assert [file.name for file in part_files(tmp_path / "out")] == ["part-000000.parquet", "part-000003.parquet"]
    shutil.copy(shards / "digits-001.tar", data)  # a fixed one is done, the other is tried again
    progress = Notes()
    assert score_data(bundle, options_for(data, tmp_path / "out", max_damaged=1), progress).images == 20
    assert [text.partition(":")[0] for text in progress.warnings[:2]] == ["does shard 1 again", "does shard 2 again"]


def test_an_unlabelled_list_is_scored(bundle: Bundle, tmp_path: Path) -> None:
    for index, (content, _) in enumerate(encoded_digits(5)):
        (tmp_path / f"{index}.png").write_bytes(content)
    (tmp_path / "images.txt").write_text("".join(f"{index}.png\n" for index in (3, 1, 4)))
    score_data(bundle, options_for(tmp_path / "images.txt", tmp_path / "out", images_per_shard=2), Silent())
    table = pq.read_table(part_files(tmp_path / "out"))
    assert table["id"].to_pylist() == ["3.png", "1.png", "4.png"]
    assert table["label"].to_pylist() == [None] * 3
    assert table["source"].to_pylist() == [*["images.txt images 0 to 1"] * 2, "images.txt images 2 to 2"]


def test_the_job_can_travel_to_other_processes(bundle: Bundle, shards: Path, scored: Path, tmp_path: Path) -> None:
    job = plan_scores(bundle, options_for(shards, tmp_path / "out"))
    copied = pickle.loads(pickle.dumps(job))
    assert copied == job
    with copied.ledger.store.scratch() as scratch:
        copied.ledger.start(scratch)
    with copied.open(1) as worker:
        assert worker.run(2).images == 20
    assert digests_of(tmp_path / "out") == {
        name: content for name, content in digests_of(scored).items() if "2.p" in name
    }
    assert job.describe(2) == "shard 2 (digits-002.tar)"


def test_a_bundle_that_has_changed_is_refused(bundle: Bundle, shards: Path, tmp_path: Path) -> None:
    job = plan_scores(bundle, options_for(shards, tmp_path / "out"))
    recipe = dataclasses.replace(job.ledger.recipe, artifact="0" * 64)
    other = dataclasses.replace(job, ledger=dataclasses.replace(job.ledger, recipe=recipe))
    with pytest.raises(DeployError, match=r"has onnx-fp32 \w{12}: expected 000000000000"), other.open(1):
        pass


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"top_k": 11}, UsageError, "top-k 11: expected 1 to 10, the number of classes"),
        ({"batch": 0}, UsageError, "batch 0: expected at least 1"),
        ({"max_damaged": -1}, UsageError, "-1 damaged shards"),
        ({"features": True}, DeployError, "gives no features: expected a bundle exported with --features"),
        ({"precision": "fp16"}, DeployError, "fp16"),
        ({"out": "s3://key:secret@bucket/x"}, UsageError, r"s3://\*\*\*@bucket/x has a user"),
        ({"data": "nothing-here"}, DeployError, "no data at 'nothing-here'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    bundle: Bundle, shards: Path, tmp_path: Path, more: dict[str, Any], kind: type[Exception], words: str
) -> None:
    options = dataclasses.replace(options_for(shards, tmp_path / "out"), **more)
    with pytest.raises(kind, match=words):
        score_data(bundle, options, Silent())
    assert not (tmp_path / "out").exists()


def test_logits_of_a_bundle_that_gives_the_best_classes_are_refused(
    made_interface_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(DeployError, match="gives only its best 3 classes, not all logits"):
        score_data(Bundle.open(made_interface_bundle), options_for("digits", tmp_path / "out", logits=True), Silent())


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("top_k", [1, 3, 9, 10])
def test_the_best_classes_are_those_of_a_stable_sort(top_k: int, ties: bool) -> None:
    logits = np.random.default_rng(0).normal(size=(200, 10)).astype(np.float32)
    logits = np.round(logits) if ties else logits
    classes, scores = best_classes({"logits": logits}, top_k)
    assert np.array_equal(classes, np.argsort(-logits, axis=1, kind="stable")[:, :top_k])
    softmax = np.exp(logits.astype(np.float64))
    softmax /= softmax.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores, np.take_along_axis(softmax, classes, axis=1), rtol=1e-12)
