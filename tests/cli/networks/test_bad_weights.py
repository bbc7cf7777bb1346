"""Models and weights that cannot be exported: exit code 1, a text that names what is wrong, and no bundle."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.conftest import Cli

Make = Callable[[Path, Path], None]  # (good weights, file to make)


class Malicious:
    """Runs a command when it is unpickled as usual."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


def _truncated(good: Path, made: Path) -> None:
    made.write_bytes(good.read_bytes()[:-1000])


def _header_only(good: Path, made: Path) -> None:
    made.write_bytes(good.read_bytes()[:100])


def _empty(good: Path, made: Path) -> None:
    del good
    made.write_bytes(b"")


def _text(good: Path, made: Path) -> None:
    del good
    made.write_text("these are no weights", encoding="utf-8")


def _nan(good: Path, made: Path) -> None:
    tensors = load_file(good)
    tensors["fc.weight"][0, 0] = float("nan")
    save_file(tensors, made)


def _one_missing(good: Path, made: Path) -> None:
    tensors = load_file(good)
    del tensors["block1.0.conv1.weight"]
    torch.save(tensors, made)


def _one_left_over(good: Path, made: Path) -> None:
    torch.save({**load_file(good), "head.scale": torch.ones(1)}, made)


def _other_shape(good: Path, made: Path) -> None:
    torch.save({**load_file(good), "conv1.weight": torch.zeros(16, 3, 5, 5)}, made)


def _other_classes(good: Path, made: Path) -> None:
    torch.save({**load_file(good), "fc.weight": torch.zeros(7, 64), "fc.bias": torch.zeros(7)}, made)


def _malicious(good: Path, made: Path) -> None:
    torch.save({**load_file(good), "more": Malicious()}, made)


def _plain_pickle(good: Path, made: Path) -> None:
    del good
    made.write_bytes(pickle.dumps(Malicious(), protocol=2))


def _list(good: Path, made: Path) -> None:
    torch.save([*load_file(good).values()], made)


CASES: list[tuple[Make, tuple[str, ...]]] = [
    (_truncated, ("damaged or truncated", "expected an intact .safetensors file")),
    (_header_only, ("damaged",)),
    (_empty, ("0 bytes", "expected a .safetensors, .pth, .npz or HDF5 file")),
    (_text, ("text that begins with 'these are no weights'", "expected a .safetensors, .pth, .npz or HDF5 file")),
    (_nan, ("NaN or infinite values", "fc.weight", "expected finite weights")),
    (_one_missing, ("1 missing: block1.0.conv1.weight", "wrn-10-1")),
    (_one_left_over, ("1 unexpected: head.scale",)),
    (_other_shape, ("conv1.weight (16, 3, 5, 5) instead of (16, 3, 3, 3)",)),
    (_other_classes, ("7 classes", "expects 10", "--classes 7")),
    (_malicious, ("pickled code", "never run here", "state_dict()")),
    (_plain_pickle, ("pickled code", "never run here")),
    (_list, ("list", "expected names and tensors only")),
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("make", "words"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_bad_weights_are_refused(cli: Cli, weights: Path, make: Make, words: tuple[str, ...]) -> None:
    make(weights, Path("weights"))
    outcome = cli("export", "wrn-10-1", "--weights", "weights", "--out", "bundle")
    assert outcome.code == 1
    assert outcome.err.startswith("error: weights ")
    for word in words:
        assert word in outcome.err
    assert not Path("bundle").exists()
    assert not Path("executed").exists()


def test_a_missing_file(cli: Cli) -> None:
    outcome = cli("export", "wrn-10-1", "--weights", "none.pth", "--out", "bundle")
    assert outcome.code == 1
    assert "no weights at 'none.pth': expected a .safetensors, .pth, .npz or HDF5 file" in outcome.err


def test_weights_of_another_network(cli: Cli, weights: Path) -> None:
    outcome = cli("export", "wrn-16-1", "--weights", weights, "--out", "bundle")
    assert outcome.code == 1
    assert "contains wrn-10-1: expected wrn-16-1" in outcome.err


def test_a_foreign_checkpoint_of_another_depth_names_the_first_keys(cli: Cli, shared_data: Path) -> None:
    checkpoint = shared_data / "checkpoints" / "wrn-40-1-cifar10.pth"
    outcome = cli("export", "wrn-16-1", "--weights", checkpoint, "--out", "bundle")
    assert outcome.code == 1
    assert "unexpected: block1." in outcome.err
    assert not Path("bundle").exists()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("wrn-50-3", ("wrn-50-3 cannot be built", "wrn-52-3")),
        ("wrn_28_10", ("unknown model 'wrn_28_10'", "did you mean wrn-28-10")),
        ("wide_resnet50", ("unknown model 'wide_resnet50'", "did you mean wide_resnet50_2", "wrn-deploy models")),
        ("wrn-11-1", ("wrn-11-1", "depth of 6n+4")),
    ],
)
def test_an_unknown_model(cli: Cli, model: str, words: tuple[str, ...]) -> None:
    outcome = cli("export", model, "--random-weights", "--out", "bundle")
    assert outcome.code == 1
    for word in words:
        assert word in outcome.err
    assert not Path("bundle").exists()


def test_random_weights_need_the_name_of_a_network(cli: Cli) -> None:
    outcome = cli("export", "--random-weights", "--out", "bundle")
    assert outcome.code == 2
    assert "no network is named: expected its name too, such as wrn-16-2" in outcome.err


def test_weights_that_fit_no_network_need_its_name(cli: Cli, weights: Path) -> None:
    torch.save({**load_file(weights), "extra.weight": torch.zeros(3)}, "plain.pth")
    outcome = cli("export", "--weights", "plain.pth", "--out", "bundle")
    assert outcome.code == 2
    assert "plain.pth does not say which network it is for, and its tensors match no known network" in outcome.err
    assert "expected --model (for export and deploy: MODEL)" in outcome.err


def test_weights_that_fit_one_network_need_no_name(cli: Cli, weights: Path) -> None:
    torch.save(load_file(weights), "plain.pth")
    outcome = cli("export", "--weights", "plain.pth", "--out", "bundle")
    assert outcome.code == 0, outcome.err
    assert "plain.pth: weights of wrn-10-1, the only known network that its tensors match" in outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--std", "0,1,1"), ("std (0.0, 1.0, 1.0)", "three positive numbers")),
        (("--resize", 16), ("resize 16", "expected at least 32")),
        (("--labels", "none.txt"), ("none.txt cannot be read (No such file or directory)", "one name per line")),
        (("--labels", "two.txt"), ("2", "10 classes")),
    ],
)
def test_a_description_that_does_not_fit(
    cli: Cli, weights: Path, options: tuple[object, ...], words: tuple[str, ...]
) -> None:
    Path("two.txt").write_text("cat\ndog\n", encoding="utf-8")
    outcome = cli("export", "wrn-10-1", "--weights", weights, *options, "--out", "bundle")
    assert outcome.code == 1
    for word in words:
        assert word in outcome.err
    assert not Path("bundle").exists()
