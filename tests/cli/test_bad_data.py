"""Data, images and places that cannot be used: exit code 1, a text that names what is wrong, nothing half-written."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Cli, contents
from wrn_deploy.bundle import Bundle

pytestmark = pytest.mark.usefixtures("short_turns")

QUICK = (
    "--rounds", 1, "--iterations", 1, "--batches", 1, "--backend", "onnxruntime", "--precision", "fp32", "--threads", 1,
)  # fmt: skip
Npz = Callable[..., Path]


@pytest.fixture
def with_corrupt(pngs: Path) -> Path:
    """Class folders with a good image each, and one that is cut off."""
    folder = pngs.parent / "with_corrupt"
    for file in pngs.iterdir():
        (folder / file.stem[-1]).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / file.stem[-1])
    whole = min(pngs.iterdir())
    (folder / whole.stem[-1] / "cut.png").write_bytes(whole.read_bytes()[:100])
    return folder


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("command", [("calibrate", "--calib-data"), ("eval", "--data")], ids=lambda command: command[0])
class TestData:
    """Every command that reads a data set reports what is wrong with it."""

    def _refused(self, cli: Cli, bundle: Bundle, command: tuple[str, str], data: Path | str) -> str:
        before = contents(bundle.folder)
        outcome = cli(command[0], bundle.folder, command[1], data)
        assert outcome.code == 1
        assert outcome.out == ""
        assert contents(bundle.folder) == before
        return outcome.err

    def test_nowhere(self, cli: Cli, bundle: Bundle, command: tuple[str, str]) -> None:
        assert "no data at 'nowhere': expected a path, or a built-in data set: digits" in self._refused(
            cli, bundle, command, "nowhere"
        )

    def test_a_name_that_is_nearly_right(self, cli: Cli, bundle: Bundle, command: tuple[str, str]) -> None:
        assert "did you mean digits?" in self._refused(cli, bundle, command, "digit")

    def test_an_empty_folder(self, cli: Cli, bundle: Bundle, command: tuple[str, str], tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert "is not a readable data set" in self._refused(cli, bundle, command, tmp_path / "empty")

    def test_no_images(self, cli: Cli, bundle: Bundle, command: tuple[str, str], npz: Npz) -> None:
        assert "contains no images: expected at least one" in self._refused(cli, bundle, command, npz(count=0))

    def test_a_file_of_another_kind(self, cli: Cli, bundle: Bundle, command: tuple[str, str]) -> None:
        manifest = bundle.folder / "manifest.json"
        assert "is not a readable data set" in self._refused(cli, bundle, command, manifest)

    def test_images_of_another_size(self, cli: Cli, bundle: Bundle, command: tuple[str, str], npz: Npz) -> None:
        text = self._refused(cli, bundle, command, npz(size=28))
        assert "28x28 pixels: expected 32x32" in text
        assert "--resize 32" in text

    def test_a_corrupt_image_is_named(
        self, cli: Cli, bundle: Bundle, command: tuple[str, str], with_corrupt: Path
    ) -> None:
        text = self._refused(cli, bundle, command, with_corrupt)
        assert "cut.png cannot be decoded" in text
        assert "--max-corrupt N" in text

    def test_a_corrupt_image_may_be_left_out(
        self, cli: Cli, bundle: Bundle, command: tuple[str, str], with_corrupt: Path
    ) -> None:
        plain = ("--rounding", "nearest") if command[0] == "calibrate" else ()  # which needs no torch
        outcome = cli(command[0], bundle.folder, command[1], with_corrupt, "--max-corrupt", 1, "--threads", 1, *plain)
        assert outcome.code == 0
        assert "cut.png" in outcome.out + outcome.err

    def test_what_is_left_out_of_a_folder_is_a_warning(
        self, cli: Cli, bundle: Bundle, command: tuple[str, str], with_corrupt: Path
    ) -> None:
        cut = next(with_corrupt.rglob("cut.png"))
        cut.rename(cut.with_suffix(".heic"))
        plain = ("--rounding", "nearest") if command[0] == "calibrate" else ()
        outcome = cli(command[0], bundle.folder, command[1], with_corrupt, "--threads", 1, *plain)
        assert outcome.code == 0
        assert re.search(r"warning: .* skipped 1 file \('\d/cut\.heic'\) without an image suffix", outcome.err)

    def test_a_split_that_is_not_there(self, cli: Cli, bundle: Bundle, command: tuple[str, str], pngs: Path) -> None:
        assert "has no split 'dev'" in self._refused(cli, bundle, command, f"{pngs}:dev")

    def test_a_share_of_them_may_be_left_out_too(
        self, cli: Cli, bundle: Bundle, command: tuple[str, str], with_corrupt: Path
    ) -> None:
        plain = ("--rounding", "nearest") if command[0] == "calibrate" else ()
        options = ("--threads", 1, "--workers", 1, *plain)
        few = cli(command[0], bundle.folder, command[1], with_corrupt, "--max-corrupt", "10%", *options)
        assert few.code == 1
        assert "1 corrupt, none allowed of 6" in few.err
        enough = cli(command[0], bundle.folder, command[1], with_corrupt, "--max-corrupt", "20%", *options)
        assert enough.code == 0
        assert "cut.png" in enough.out + enough.err

    def test_a_limit_that_is_none_is_a_wrong_option(
        self, cli: Cli, bundle: Bundle, command: tuple[str, str], with_corrupt: Path
    ) -> None:
        outcome = cli(command[0], bundle.folder, command[1], with_corrupt, "--max-corrupt", "some")
        assert outcome.code == 2
        assert (
            "--max-corrupt 'some': expected a number of images from 0, or a percentage, such as 3 or 1%" in outcome.err
        )


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize(("label", "words"), [(None, "has no label"), (77, "has label 77")])
def test_accuracy_needs_labels_of_the_network(
    cli: Cli, made_bundle: Path, npz: Npz, label: int | None, words: str
) -> None:
    outcome = cli("eval", made_bundle, "--data", npz(label=label), "--threads", 1)
    assert outcome.code == 1
    assert f"{words}: expected 0 to 9" in outcome.err


@pytest.mark.usefixtures("no_torch")
def test_bench_that_fails_writes_no_report(cli: Cli, bundle: Bundle, npz: Npz) -> None:
    before = contents(bundle.folder)
    outcome = cli("bench", bundle.folder, "--data", npz(label=None), *QUICK)
    assert outcome.code == 1
    assert "has no label: expected 0 to 9" in outcome.err
    assert contents(bundle.folder) == before
    assert not (bundle.folder / "reports").exists()


def test_fewer_images_than_asked_for_is_a_warning(cli: Cli, bundle: Bundle, npz: Npz) -> None:
    outcome = cli("calibrate", bundle.folder, "--calib-data", npz(count=3))
    assert outcome.code == 0
    assert re.search("warning: .* 3 images, fewer than --calib-size 256", outcome.err)


@pytest.fixture
def images(pngs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with one good image and some bad ones."""
    monkeypatch.chdir(pngs)
    min(pngs.iterdir()).rename("good.png")
    Path("cut.png").write_bytes(Path("good.png").read_bytes()[:100])
    Path("text.png").write_text("no image", encoding="utf-8")
    Image.new("RGB", (64, 32)).save("large.png")
    return pngs


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("nowhere.png", "nowhere.png cannot be read (No such file or directory): expected an image file"),
        ("cut.png", "cut.png cannot be decoded"),
        ("text.png", "text.png cannot be decoded (no known image format)"),
        ("large.png", "large.png is 64x32 pixels: expected 32x32"),
    ],
)
@pytest.mark.usefixtures("images")
def test_predict_names_the_image_that_it_cannot_read(cli: Cli, made_bundle: Path, file: str, words: str) -> None:
    outcome = cli("predict", made_bundle, "good.png", file)
    assert outcome.code == 1
    assert words in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("calibrate", "PLACE", "--calib-data", "digits"),
        ("build-engine", "PLACE", "--fp16"),
        ("bench", "PLACE", "--data", "digits"),
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize("place", ["nowhere", "folder", "file"])
def test_a_place_that_is_no_bundle(cli: Cli, tmp_path: Path, arguments: tuple[str, ...], place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    outcome = cli(*(tmp_path / place if argument == "PLACE" else argument for argument in arguments))
    assert outcome.code == 1
    if place == "file":
        assert f"{tmp_path / place} is a file, not a bundle: expected a bundle's folder" in outcome.err
    else:
        assert f"{tmp_path / place} is not a bundle: it has no manifest.json" in outcome.err
        assert "wrn-deploy export" in outcome.err
    assert not (tmp_path / "nowhere").exists()
    assert not [*(tmp_path / "folder").iterdir()]


@pytest.mark.parametrize("arguments", [("eval", "PLACE", "--data", "digits"), ("predict", "PLACE", "image.png")])
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nowhere", "nowhere': expected the folder of a bundle, which `wrn-deploy export` makes, or weights"),
        ("folder", "folder is an empty folder: expected a .safetensors"),
        ("file", "file contains 0 bytes: expected a .safetensors"),
    ],
)
def test_a_place_that_is_neither_a_bundle_nor_weights(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], place: str, words: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    outcome = cli(*(tmp_path / place if argument == "PLACE" else argument for argument in arguments))
    assert outcome.code == 1
    assert words in outcome.err


def test_export_takes_no_folder_with_other_files(cli: Cli, weights: Path, pngs: Path) -> None:
    before = contents(pngs)
    outcome = cli("export", "wrn-10-1", "--weights", weights, "--out", pngs)
    assert outcome.code == 1
    assert "contains other files" in outcome.err
    assert contents(pngs) == before


@pytest.fixture
def places(made_bundle: Path, weights: Path) -> dict[str, object]:
    return {"WEIGHTS": weights, "BUNDLE": made_bundle}


@pytest.mark.parametrize("out", ["file", "file/below"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "wrn-10-1", "--weights", "WEIGHTS"),
        ("train", "wrn-10-1", "--epochs", "1"),
        ("bench", "BUNDLE", "--data", "digits"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_file_where_a_folder_is_expected(
    cli: Cli, tmp_path: Path, places: dict[str, object], arguments: tuple[str, ...], out: str
) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    outcome = cli(*(places.get(argument, argument) for argument in arguments), "--out", tmp_path / out)
    assert outcome.code in (1, 2)
    assert f"{tmp_path}/file" in outcome.err
    assert "choose another" in outcome.err
    assert "Timing" not in outcome.err  # nothing was measured in vain
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_train_needs_labels(cli: Cli, npz: Npz, tmp_path: Path) -> None:
    outcome = cli("train", "wrn-10-1", "--epochs", 1, "--data", npz(label=None), "--out", tmp_path / "run")
    assert outcome.code == 1
    assert "has no label: expected 0 to 9" in outcome.err


def test_train_continues_only_with_resume(cli: Cli, trained: Path) -> None:
    before = contents(trained)
    outcome = cli("train", "wrn-10-1", "--out", trained)
    assert outcome.code == 2
    assert "contains a training run: pass --resume to continue" in outcome.err
    assert contents(trained) == before
