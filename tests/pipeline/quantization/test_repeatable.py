"""What a calibration depends on: its images and options, and neither torch, threads, processes nor batches."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.pipeline.quantization.test_calibrate import GRAPHS, QUICK, SIXTEEN, Noted
from wrn_deploy.bundle import Bundle
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.pipeline.quantization.calibrate import calibrate_bundle
from wrn_deploy.pipeline.quantization.comparing import FirstImages
from wrn_deploy.pipeline.quantization.images import CalibrationImages, count_compared
from wrn_deploy.pipeline.quantization.quantize import Quantization
from wrn_deploy.progress import Progress, Silent

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it is an ImportError
from pathlib import Path
from wrn_deploy.bundle import Bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.progress import Silent
calibrate_bundle(Bundle.open(Path(sys.argv[1])), CalibrateOptions(data="digits", size=16), Silent())
"""


def made(bundle: Bundle) -> dict[str, bytes]:
    """The files of a calibration."""
    return {name: (bundle.folder / name).read_bytes() for name in ("calibration.json", *GRAPHS.values())}


@pytest.fixture
def wanted(bundle: Bundle) -> dict[str, bytes]:
    """What SIXTEEN makes on one thread; the bundle has another calibration then."""
    calibrate_bundle(bundle, dataclasses.replace(SIXTEEN, threads=1, workers=0), Silent())
    files = made(bundle)
    calibrate_bundle(bundle, dataclasses.replace(QUICK, method="max"), Silent())
    assert all(content != files[name] for name, content in made(bundle).items())
    return files


def test_torch_is_not_needed_and_makes_no_difference(bundle: Bundle, wanted: Mapping[str, bytes]) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(bundle.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert made(bundle) == wanted


@pytest.mark.parametrize(("threads", "workers", "batch"), [(3, 2, 64), (2, 0, 5)])
def test_every_bit_is_the_same_with_other_threads_processes_and_batches(
    bundle: Bundle,
    wanted: Mapping[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    workers: int,
    batch: int,
) -> None:
    def batches(source: object, preprocessing: object, _size: int, **options: object) -> Batches:
        return Batches(source, preprocessing, batch, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("wrn_deploy.pipeline.quantization.images.Batches", batches)
    calibrate_bundle(bundle, dataclasses.replace(SIXTEEN, threads=threads, workers=workers), Silent())
    assert made(bundle) == wanted


@pytest.mark.parametrize("other", [Quantization(full_range=False), Quantization(exact_input=True)], ids=str)
def test_another_technique_gives_the_same_table_and_back_the_same_graphs(
    bundle: Bundle, wanted: Mapping[str, bytes], other: Quantization
) -> None:
    calibrate_bundle(bundle, dataclasses.replace(SIXTEEN, quantization=other), Silent())
    changed = made(bundle)
    assert changed["calibration.json"] == wanted["calibration.json"]
    assert changed[GRAPHS["tensorrt"]] != wanted[GRAPHS["tensorrt"]]
    if other.exact_input is None:
        assert changed[GRAPHS["onnxruntime"]] == wanted[GRAPHS["onnxruntime"]]
    calibrate_bundle(bundle, SIXTEEN, Silent())
    assert made(bundle) == wanted


def test_the_exact_input_is_chosen_or_given(bundle: Bundle, wanted: Mapping[str, bytes]) -> None:
    """It does not pay on digits."""
    graphs = {}
    for exact in (True, False):
        other = dataclasses.replace(SIXTEEN, quantization=Quantization(exact_input=exact))
        calibrate_bundle(bundle, other, Silent())
        graphs[exact] = (bundle.folder / GRAPHS["tensorrt"]).read_bytes()
    assert graphs[False] == wanted[GRAPHS["tensorrt"]]
    assert graphs[True] != graphs[False]


@pytest.mark.parametrize(("side", "compared"), [(32, 32), (224, 2), (1024, 1)])
def test_graphs_are_compared_on_few_images_and_fewer_large_ones(made_bundle: Path, side: int, compared: int) -> None:
    how = dataclasses.replace(Bundle.open(made_bundle).spec.preprocessing, height=side, width=side)
    assert count_compared(how) == compared


def test_the_note_counts_them_and_fp32s_answers_are_those_of_its_graph(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Sequence[int]] = []
    compare = FirstImages.compare

    def noting(self: FirstImages, expected: Sequence[int], graphs: Mapping[str, Path], progress: Progress) -> None:
        given.append(expected)
        compare(self, expected, graphs, progress)

    monkeypatch.setattr(FirstImages, "compare", noting)
    progress, options = Noted(), dataclasses.replace(QUICK, size=40)
    calibrate_bundle(bundle, options, progress)
    pixels = CalibrationImages(bundle, options).first_pixels()
    first = FirstImages(pixels=pixels, spec=bundle.spec, threads=1)
    assert [list(answers) for answers in given] == [first.answers(bundle.folder / "fp32.onnx")]
    assert len(set(given[0])) > 5, "the images are of many classes"
    notes = [note for note in progress.notes if "same argmax as fp32" in note]
    assert [note.split()[0] for note in notes] == ["onnx-int8-tensorrt:", "onnx-int8-onnxruntime:"]
    assert all(note.endswith("of 32 calibration images") for note in notes)
    assert min(int(note.split()[-5]) for note in notes) >= 30
