"""Options that make no sense: exit code 2 with a text that says what was wrong and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli, contents
from wrn_deploy.bundle import Bundle

EXPORT = ("export", "wrn-10-1", "--weights", "WEIGHTS", "--out", "NEW")
TRAIN = ("train", "wrn-10-1", "--out", "NEW", "--epochs", "1")
CALIBRATE = ("calibrate", "BUNDLE", "--calib-data", "digits")
BUILD = ("build-engine", "BUNDLE", "--fp16")
BENCH = ("bench", "BUNDLE", "--data", "digits")
PREDICT = ("predict", "BUNDLE", "PNG")

# What is given, and the words that the text must have.
CASES = [
    (("export", "wrn-10-1", "--out", "NEW"), ("--weights FILE", "--random-weights", "wrn-deploy train")),
    ((*EXPORT, "--random-weights"), ("--weights FILE", "--random-weights", "not both")),
    ((*EXPORT, "--wieghts", "x"), ("No such option: --wieghts", "--weights")),
    ((*EXPORT, "--mean", "1,2"), ("--mean '1,2'", "three finite numbers", "0.49,0.48,0.45")),
    ((*EXPORT, "--mean", "a,b,c"), ("--mean 'a,b,c'", "three finite numbers")),
    ((*EXPORT, "--std", "1,1,nan"), ("--std '1,1,nan'", "three finite numbers")),
    ((*EXPORT, "--classes", "1"), ("'--classes': '1' should be greater than or equal to 2.",)),
    ((*EXPORT, "--top-k", "many"), ("'--top-k': 'many' should be a valid integer.",)),
    (("export", "wrn-10-1", "--weights", "WEIGHTS"), ("Missing option '--out'",)),
    ((*TRAIN, "--lr", "-1"), ("learning rate -1.0", "expected")),
    ((*TRAIN, "--batch-size", "1"), ("--batch-size", "greater than or equal to 2")),
    ((*TRAIN, "--resume"), ("contains no training run", "leave --resume out")),
    (("calibrate", "BUNDLE"), ("no images: expected --calib-data DATA",)),
    ((*CALIBRATE, "--calib-size", "0"), ("--calib-size", "greater than or equal to 1")),
    (
        (*CALIBRATE, "--calib-method", "percentil"),
        ("'percentil' (did you mean percentile?)", "expected one of entropy, max"),
    ),
    ((*CALIBRATE, "--calib-method", "percentile", "--percentile", "12"), ("--percentile 12", "50 to 100")),
    (("build-engine", "BUNDLE"), ("no precision given", "expected one of --fp16, --int8, --bf16, --fp8")),
    (("build-engine", "BUNDLE", "--fp16", "--int8"), ("--fp16 and --int8 given", "expected one of --fp16, --int8")),
    (("build-engine", "BUNDLE", "--fp16", "--calib-data", "digits"), ("--calib-data digits with --fp16", "--int8")),
    (
        ("build-engine", "BUNDLE", "--fp16", "--flavor", "tensort"),
        ("'--flavor': 'tensort' is not one of 'tensorrt', 'tensorrt_rtx'",),
    ),
    ((*BUILD, "--profile", "9:8:32"), ("min 9, opt 8, max 32", "min <= opt <= max")),
    ((*BUILD, "--profile", "8"), ("--profile '8'", "such as 1:8:32")),
    ((*BUILD, "--profile", "1:1:1", "--profile", "1:1:1"), ("--profile 1:1:1 twice", "different profiles")),
    ((*BUILD, "--optimization-level", "6"), ("--optimization-level 6", "expected 0 to 5")),
    ((*BUILD, "--hardware-compatible", "ampere"), ("'ampere'", "'same-compute-capability', 'ampere-plus'")),
    ((*BENCH, "--batches", "a,b"), ("--batches 'a,b'", "such as 1,8")),
    ((*BENCH, "--batches", "0"), ("--batches '0'", "at least 1")),
    ((*BENCH, "--batches", "1,1"), ("--batches '1,1'", "distinct sizes")),
    ((*BENCH, "--batches", ""), ("--batches ''", "such as 1,8")),
    (
        (*BENCH, "--backend", "onnxruntim"),
        ("'onnxruntim' (did you mean onnxruntime or onnxruntime_", "expected one of onnxruntime, onnxruntime_cuda"),
    ),
    ((*BENCH, "--backend", "torch", "--precision", "int8"), ("torch", "int8", "expected one of", "torch-fp32")),
    ((*BENCH, "--backend", "torch", "--backend", "tourch"), ("'tourch' (did you mean torch",)),
    ((*BENCH, "--precision", "fp9"), ("'fp9'", "'fp32', 'fp16', 'int8'")),
    (("eval", "BUNDLE"), ("Missing option '--data'",)),
    (("eval", "BUNDLE", "--data", "digits", "--max-drop", "-1"), ("--max-drop", "greater than or equal to 0")),
    (("predict", "BUNDLE"), ("Missing argument 'IMAGE'",)),
    ((*PREDICT, "--top-k", "0"), ("--top-k", "greater than or equal to 1")),
    ((*PREDICT, "--top-k", "99"), ("top-k 99", "1 to 10, the number of classes")),
    ((*PREDICT, "--backend", "tourch"), ("'tourch' (did you mean torch",)),
    ((*PREDICT, "--backend", "torch", "--precision", "int8"), ("PyTorch", "int8", "fp32")),
]


@pytest.fixture
def places(bundle: Bundle, weights: Path, pngs: Path, tmp_path: Path) -> dict[str, Path]:
    return {"BUNDLE": bundle.folder, "WEIGHTS": weights, "PNG": min(pngs.iterdir()), "NEW": tmp_path / "new"}


@pytest.mark.parametrize(("given", "words"), CASES, ids=[" ".join(given) for given, _ in CASES])
def test_it_is_refused_and_nothing_is_touched(
    cli: Cli, places: dict[str, Path], given: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = contents(places["BUNDLE"])
    outcome = cli(*(places.get(argument, argument) for argument in given))
    assert outcome.code == 2
    assert outcome.out == ""
    for word in words:
        assert word in outcome.err
    assert contents(places["BUNDLE"]) == before
    assert not places["NEW"].exists()
