"""The training step: exact resumption, also after a kill; its files; and what it refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from tests.models.fitting import fit_weights
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.models import Overrides, build_model
from wrn_deploy.models.checkpoints.weights import read_weights
from wrn_deploy.pipeline.training.train import BEST, LOG, RUN, STATE, WEIGHTS, TrainOptions, train_model
from wrn_deploy.progress import Silent
from wrn_deploy.spec import Preprocessing
from wrn_deploy.training.checkpoint import METADATA
from wrn_deploy.training.execution.options import Amp, Device, ExecutionOptions
from wrn_deploy.training.recipe import LearningRateSchedule, TrainRecipe

ROOT = Path(__file__).resolve().parents[3]
COUNT = 40
RECIPE = TrainRecipe(epochs=4, batch_size=16)
ONE_CYCLE = TrainRecipe(
    epochs=3, batch_size=16, learning_rate=0.05, schedule=LearningRateSchedule.ONE_CYCLE, label_smoothing=0.1
)
KEYS = {
    *("epoch", "learning_rate", "loss", "train_top1", "test_top1", "train_top5", "test_top5", "test_loss"),
    *("seconds", "images_per_s", "peak_bytes"),
}
MEASURED = ("seconds", "images_per_s", "peak_bytes")

# What is killed: it stops in the midst of an epoch (the third), says so, and waits.
KILLED = """
import contextlib, sys, time
from pathlib import Path
from tests.pipeline.training.test_train import options_for
from wrn_deploy.pipeline.training.train import train_model
from wrn_deploy.progress import Silent

class Waiting(Silent):
    @contextlib.contextmanager
    def task(self, title, total=None):
        seen = 0
        def advance(images):
            nonlocal seen
            seen += images
            if title.startswith("Training") and seen == 2 * 80 + 16:
                print("in the midst", flush=True)
                time.sleep(600)
        yield advance

train_model(options_for(Path(sys.argv[1]), Path(sys.argv[2])), Waiting())
"""


def options_for(data: Path, out: Path, **changes: Any) -> TrainOptions:
    """Dropout and mirroring draw random numbers, which a resumed run must draw again."""
    options = TrainOptions(model="wrn-10-1", data=str(data), out=out, recipe=RECIPE, overrides=Overrides(dropout=0.3))
    return dataclasses.replace(options, **changes)


class Interrupted(Silent):
    """Ctrl-C after N images of the training."""

    def __init__(self, after: int) -> None:
        self._after = after

    @contextlib.contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        del total
        seen = 0

        def advance(images: int) -> None:
            nonlocal seen
            seen += images
            if title.startswith("Training") and seen >= self._after:
                raise KeyboardInterrupt

        yield advance


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits as an .npz, in colours, so that they may be mirrored: 40 images, which are test images too."""
    items = list(open_data("digits", Role.TRAIN).items())[:COUNT]
    images = np.stack([item.load() for item in items]) // np.array([1, 2, 3], dtype=np.uint8)
    file = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(file, images=images, labels=np.array([item.label for item in items]))
    return file


@pytest.fixture(scope="module")
def straight(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("straight") / "run"
    train_model(options_for(data, out), Silent())
    return out


def _assert_same_run(found: Path, wanted: Path) -> None:
    """Bit for bit, but for what was measured: times and memory."""
    assert sorted(path.name for path in found.iterdir()) == sorted([BEST, LOG, RUN, STATE, WEIGHTS])
    for name in (WEIGHTS, BEST):
        assert (found / name).read_bytes() == (wanted / name).read_bytes(), name
    assert _epochs(found) == _epochs(wanted)
    mine, theirs = load_file(found / STATE), load_file(wanted / STATE)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in mine.items())


def _epochs(out: Path) -> list[dict[str, Any]]:
    """The log without what was measured."""
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in MEASURED} for line in lines]


def _write_npz(file: Path, count: int, labels: list[int] | None) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    arrays = {} if labels is None else {"labels": np.array(labels)}
    np.savez(file, images=images, **arrays)  # type: ignore[arg-type]
    return file


def test_two_runs_are_bit_for_bit_the_same(data: Path, straight: Path, tmp_path: Path) -> None:
    train_model(options_for(data, tmp_path / "run"), Silent())
    _assert_same_run(tmp_path / "run", straight)


def test_another_seed_gives_other_weights(data: Path, straight: Path, tmp_path: Path) -> None:
    train_model(options_for(data, tmp_path, recipe=dataclasses.replace(RECIPE, seed=1)), Silent())
    assert (tmp_path / WEIGHTS).read_bytes() != (straight / WEIGHTS).read_bytes()


@pytest.mark.parametrize("after", [2 * COUNT, 2 * COUNT + 16, 6 * COUNT + 16, 8 * COUNT])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    data: Path, straight: Path, tmp_path: Path, after: int
) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_model(options_for(data, out), Interrupted(after))
    assert not (out / WEIGHTS).exists()
    resumed = (out / STATE).exists()
    assert resumed == (after > 2 * COUNT)
    train_model(options_for(data, out, resume=resumed), Silent())
    _assert_same_run(out, straight)


def test_a_run_can_be_interrupted_again_and_again(data: Path, straight: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for _ in range(3):
        with contextlib.suppress(KeyboardInterrupt):
            train_model(options_for(data, out, resume=(out / STATE).exists()), Interrupted(2 * COUNT + 1))
    assert len((out / LOG).read_text().splitlines()) == 3
    train_model(options_for(data, out, resume=True), Silent())
    _assert_same_run(out, straight)


def test_a_killed_run_leaves_a_checkpoint_and_goes_on(data: Path, straight: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, str(data), str(out)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "in the midst\n"
        run.kill()
        assert run.wait() == -signal.SIGKILL
    assert not (out / WEIGHTS).exists()
    assert len((out / LOG).read_text().splitlines()) == 2
    train_model(options_for(data, out, resume=True), Silent())
    _assert_same_run(out, straight)


@pytest.mark.parametrize("keep", [0, 1, 4])
def test_the_log_follows_the_checkpoint_whatever_a_kill_left_in_it(
    data: Path, straight: Path, tmp_path: Path, keep: int
) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_model(options_for(data, out), Interrupted(4 * COUNT + 1))
    lines = (straight / LOG).read_text().splitlines(keepends=True)
    (out / LOG).write_text("".join(lines[:keep]) + '{"epoch": 9, "learn')
    (out / ".new-0123.tmp").write_bytes(b"half a checkpoint")
    train_model(options_for(data, out, resume=True), Silent())
    _assert_same_run(out, straight)


def test_a_finished_run_resumed_tells_its_result_again(data: Path, straight: Path) -> None:
    kept = {path.name: path.read_bytes() for path in straight.iterdir()}
    (straight / LOG).unlink()
    result = train_model(options_for(data, straight, resume=True), Silent())
    assert result.test_top1 == json.loads(kept[LOG].splitlines()[-1])["test_top1"]
    assert result.test_images == COUNT
    assert {path.name: path.read_bytes() for path in straight.iterdir()} == kept


def test_the_log_has_one_json_line_an_epoch(straight: Path) -> None:
    lines = [json.loads(line) for line in (straight / LOG).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert [line["learning_rate"] for line in lines] == [RECIPE.learning_rate_at(epoch) for epoch in range(4)]
    assert all(set(line) == KEYS for line in lines)
    assert all(0 <= line["test_top1"] <= 1 and line["loss"] > 0 for line in lines)


def test_a_trained_network_reads_digits_and_says_what_it_is(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / LOG).read_text().splitlines()]
    assert lines[-1]["test_top1"] > 0.9
    assert lines[-1]["loss"] < lines[0]["loss"]
    checkpoint = read_weights(trained / WEIGHTS)
    assert checkpoint.spec is not None
    assert checkpoint.spec.labels == tuple("0123456789")
    fit_weights(build_model(checkpoint.spec), checkpoint, checkpoint.spec)


def test_the_measured_mean_and_deviation_are_those_of_the_training_images(trained: Path) -> None:
    spec = read_weights(trained / WEIGHTS).spec
    assert spec is not None
    pixels = np.stack([item.load() for item in open_data("digits", Role.TRAIN).items()]).reshape(-1, 3) / 255
    np.testing.assert_allclose(spec.preprocessing.mean, pixels.mean(axis=0), atol=6e-5)
    np.testing.assert_allclose(spec.preprocessing.std, pixels.std(axis=0), atol=6e-5)


def _recipe_of(out: Path) -> dict[str, Any]:
    with safe_open(out / STATE, framework="pt") as opened:
        recipe: dict[str, Any] = json.loads(opened.metadata()[METADATA])["recipe"]
        return recipe


def test_digits_are_never_mirrored_and_other_images_are(
    trained: Path, straight: Path, data: Path, tmp_path: Path
) -> None:
    assert _recipe_of(trained)["mirror"] is False
    assert _recipe_of(straight)["mirror"] is True
    once = TrainRecipe(epochs=1, batch_size=16, mirror=False)
    train_model(options_for(data, tmp_path, recipe=once), Silent())
    assert _recipe_of(tmp_path)["mirror"] is False


def _preprocessing(out: Path) -> Preprocessing:
    spec = read_weights(out / WEIGHTS).spec
    assert spec is not None
    return spec.preprocessing


def test_what_is_given_of_mean_and_deviation_is_kept(data: Path, straight: Path, tmp_path: Path) -> None:
    measured, given = _preprocessing(straight), (0.1, 0.2, 0.3)
    once = TrainRecipe(epochs=1, batch_size=16)
    for name, overrides, wanted in (
        ("mean", Overrides(mean=given), dataclasses.replace(measured, mean=given)),
        ("std", Overrides(std=given), dataclasses.replace(measured, std=given)),
        ("both", Overrides(mean=given, std=given), dataclasses.replace(measured, mean=given, std=given)),
    ):
        train_model(options_for(data, tmp_path / name, recipe=once, overrides=overrides), Silent())
        assert _preprocessing(tmp_path / name) == wanted


@pytest.mark.parametrize(
    ("overrides", "classes", "labels"),
    [
        (Overrides(), 10, tuple("0123456789")),
        (Overrides(classes=10), 10, tuple("0123456789")),
        (Overrides(classes=12), 12, ()),
        (Overrides(labels=tuple("abcdefghij")), 10, tuple("abcdefghij")),
    ],
)
def test_the_names_of_the_classes_come_from_the_data_unless_given(
    overrides: Overrides, classes: int, labels: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built = []

    def stop(spec: Any) -> None:
        built.append(spec)
        raise KeyboardInterrupt

    monkeypatch.setattr("wrn_deploy.pipeline.training.train.build_model", stop)
    with pytest.raises(KeyboardInterrupt):
        train_model(
            TrainOptions(model="wrn-10-1", data="digits", out=tmp_path, recipe=RECIPE, overrides=overrides), Silent()
        )
    assert (built[0].classes, built[0].labels) == (classes, labels)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"recipe": dataclasses.replace(RECIPE, learning_rate=0.05)}, "recipe.learning_rate 0.1 there, 0.05 now"),
        ({"recipe": dataclasses.replace(RECIPE, epochs=9)}, "recipe.epochs 4 there, 9 now"),
        ({"model": "wrn-16-1"}, "spec.depth 10 there, 16 now; spec.name wrn-10-1 there, wrn-16-1 now"),
        ({"overrides": Overrides(dropout=0.1)}, "spec.dropout 0.3 there, 0.1 now"),
        ({"test_data": "digits"}, "test digits.npz there, digits now"),
    ],
)
def test_going_on_with_other_options_is_refused_and_changes_nothing(
    data: Path, straight: Path, changes: dict[str, Any], text: str
) -> None:
    kept = {path.name: path.read_bytes() for path in straight.iterdir()}
    with pytest.raises(DeployError) as error:
        train_model(options_for(data, straight, resume=True, **changes), Silent())
    assert f"is from another run ({text}" in str(error.value)
    assert {path.name: path.read_bytes() for path in straight.iterdir()} == kept


@pytest.mark.parametrize(
    ("recipe", "execution"),
    [
        (
            dataclasses.replace(ONE_CYCLE, decay_norms=False),
            ExecutionOptions(device=Device.CPU, amp=Amp.BF16, accumulate=2),
        ),
        (ONE_CYCLE, ExecutionOptions(device=Device.CPU, amp=Amp.FP16, checkpointing=True)),
    ],
    ids=["bf16 in parts", "fp16 with checkpointing"],
)
def test_one_cycle_with_mixed_precision_goes_on_exactly_too(
    data: Path, tmp_path: Path, recipe: TrainRecipe, execution: ExecutionOptions
) -> None:
    """The rate differs from step to step, and fp16's loss scale is part of the state."""
    changes = {"recipe": recipe, "execution": execution}
    train_model(options_for(data, tmp_path / "straight", **changes), Silent())
    with pytest.raises(KeyboardInterrupt):
        train_model(options_for(data, tmp_path / "run", **changes), Interrupted(2 * COUNT + 16))
    train_model(options_for(data, tmp_path / "run", resume=True, **changes), Silent())
    _assert_same_run(tmp_path / "run", tmp_path / "straight")
    rates = [line["learning_rate"] for line in _epochs(tmp_path / "run")]
    assert rates[0] > rates[1] > rates[2] > 0


def _top1(file: Path, data: Path) -> float:
    checkpoint = read_weights(file)
    assert checkpoint.spec is not None
    network = build_model(checkpoint.spec).eval()
    fit_weights(network, checkpoint, checkpoint.spec)
    (batch,) = Batches(open_data(str(data), Role.TEST), checkpoint.spec.preprocessing, COUNT)
    with torch.inference_mode():
        logits = network(torch.from_numpy(normalize(batch.images, checkpoint.spec.preprocessing)))
    return float((logits.argmax(1).numpy() == batch.labels).mean())


def test_the_last_weights_are_kept_and_the_best(data: Path, straight: Path) -> None:
    result = train_model(options_for(data, straight, resume=True), Silent())
    found = [epoch["test_top1"] for epoch in _epochs(straight)]
    assert (result.test_top1, result.best_top1) == (found[-1], max(found))
    assert result.best_epoch == found.index(max(found))
    assert _top1(straight / WEIGHTS, data) == pytest.approx(found[-1])
    assert _top1(straight / BEST, data) == pytest.approx(max(found))


def test_best_weights_that_a_kill_left_unwritten_come_from_the_checkpoint(
    data: Path, straight: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_model(options_for(data, tmp_path), Interrupted(2 * COUNT + 1))
    (tmp_path / BEST).unlink()
    train_model(options_for(data, tmp_path, resume=True), Silent())
    _assert_same_run(tmp_path, straight)


class Warned(Interrupted):
    """Keeps the warnings, and is interrupted after the first epoch."""

    def __init__(self, after: int) -> None:
        super().__init__(after)
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_the_run_is_described_with_every_session_and_other_conditions_are_reported(data: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_model(options_for(data, tmp_path), Interrupted(2 * COUNT + 1))
    listener = Warned(10**9)
    other = ExecutionOptions(device=Device.CPU, channels_last=False)
    train_model(options_for(data, tmp_path, resume=True, execution=other), listener)
    assert listener.warnings == [
        "the run started under different conditions (channels_last True, now False): it cannot be resumed exactly"
    ]
    run = json.loads((tmp_path / RUN).read_text())
    assert run["recipe"]["batch_size"] == 16
    assert run["recipe"]["seed"] == 0
    assert (run["train"], run["test"]) == ({"name": "digits.npz", "images": COUNT},) * 2
    assert [session["first_epoch"] for session in run["sessions"]] == [0, 1]
    assert {session["device"] for session in run["sessions"]} == {"cpu"}
    assert all(session["versions"]["torch"] == torch.__version__ for session in run["sessions"])


def test_corrupt_images_are_left_out_as_far_as_allowed_and_named(tmp_path: Path) -> None:
    image = next(iter(open_data("digits", Role.TRAIN).items())).load()
    for label in "ab":
        (tmp_path / "set" / label).mkdir(parents=True)
        for index in range(3):
            Image.fromarray(image).save(tmp_path / "set" / label / f"{index}.png")
    (tmp_path / "set" / "a" / "1.png").write_bytes(b"\x89PNG damaged")
    recipe = dataclasses.replace(RECIPE, epochs=1)
    with pytest.raises(DeployError, match="--max-corrupt"):
        train_model(options_for(tmp_path / "set", tmp_path / "run", recipe=recipe), Silent())
    listener = Warned(10**9)
    train_model(options_for(tmp_path / "set", tmp_path / "more", recipe=recipe, max_corrupt=1), listener)
    assert all("skipped 1 corrupt image of" in text and "1.png" in text for text in listener.warnings)
    assert len(listener.warnings) == 2  # training and test images are the same here


def test_a_damaged_checkpoint_is_reported(data: Path, straight: Path, tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes((straight / STATE).read_bytes()[:1000])
    with pytest.raises(DeployError, match=r"is not a training checkpoint .*: remove it to start again"):
        train_model(options_for(data, tmp_path, resume=True), Silent())


def test_a_folder_with_a_run_is_not_overwritten(data: Path, straight: Path) -> None:
    with pytest.raises(UsageError, match="contains a training run: pass --resume to continue, or choose another --out"):
        train_model(options_for(data, straight), Silent())


def test_there_must_be_a_run_to_resume(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contains no training run: leave --resume out"):
        train_model(options_for(data, tmp_path / "new", resume=True), Silent())
    assert not (tmp_path / "new").exists()


def test_the_weights_of_a_bundle_are_not_overwritten(data: Path, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"contains another weights\.safetensors: choose another --out"):
        train_model(options_for(data, tmp_path), Silent())
    assert (tmp_path / WEIGHTS).read_bytes() == b"precious"


def test_out_must_be_a_folder(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match="file' is a file: expected a folder for the training run"):
        train_model(options_for(data, tmp_path / "file"), Silent())


@pytest.mark.parametrize(
    ("count", "labels", "text"),
    [
        (8, [0, 1, 2, 3, 4, 5, 6, 10], r"image 7 has label 10: expected 0 to 9; set --classes"),
        (8, None, r"has no label: expected 0 to 9"),
        (1, [0], r"has too few images to train on: expected at least 2"),
    ],
)
def test_data_that_cannot_be_learned_from_is_reported_and_no_run_is_left(
    tmp_path: Path, count: int, labels: list[int] | None, text: str
) -> None:
    file = _write_npz(tmp_path / "set.npz", count, labels)
    with pytest.raises(DeployError, match=text):
        train_model(options_for(file, tmp_path / "run"), Silent())
    assert not (tmp_path / "run" / STATE).exists()
    assert not (tmp_path / "run" / WEIGHTS).exists()


def test_a_rate_that_is_far_too_large_ends_in_advice_and_not_in_useless_weights(data: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, learning_rate=1e25)
    with pytest.raises(DeployError, match=r"training diverged; lower the learning rate \(--lr\)"):
        train_model(options_for(data, tmp_path, recipe=recipe), Silent())
    assert not (tmp_path / WEIGHTS).exists()


def test_training_and_test_images_must_have_the_same_classes(tmp_path: Path) -> None:
    first = next(iter(open_data("digits", Role.TRAIN).items())).load()
    for name, classes in (("train", ("cat", "dog", "owl")), ("test", ("cat", "owl"))):
        for label in classes:
            (tmp_path / name / label).mkdir(parents=True)
            Image.fromarray(first).save(tmp_path / name / label / "0.png")
    options = options_for(tmp_path / "train", tmp_path / "run", test_data=str(tmp_path / "test"))
    with pytest.raises(DeployError, match=r"class 1 is dog in .*train and owl in .*test: expected the same classes"):
        train_model(options, Silent())


def test_without_safetensors_nothing_is_begun(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "safetensors" else object())
    with pytest.raises(MachineError, match=r"training a network needs safetensors.*pip install 'safetensors>"):
        train_model(options_for(data, tmp_path / "run"), Silent())
    assert not (tmp_path / "run").exists()
