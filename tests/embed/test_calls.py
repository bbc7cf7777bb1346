"""The library called from C++: Python's numbers, every wrong argument, several threads, the host's signals."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.embed.conftest import Driver, Ran
from tests.manifests import edit_manifest
from tests.pipeline.signing.test_sign import new_key
from wrn_deploy import Runner
from wrn_deploy.bundle import Bundle
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.errors import DeployError
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.signing.sign import SigningKey, sign_bundle
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.backend import examine
from wrn_deploy.spec import Precision

UINT8, FLOAT32 = "1", "5"


def _clean(ran: Ran) -> Ran:
    """It ended by itself, and printed nothing of its own."""
    assert (ran.code, ran.err) == (0, ""), ran
    return ran


@pytest.mark.parametrize(("precision", "dtype"), [*itertools.product(["fp32", "int8"], [UINT8, FLOAT32])])
def test_cpp_gets_the_logits_of_python_bit_for_bit(
    drive: Driver, made_bundle: Path, images: npt.NDArray[np.uint8], tmp_path: Path, precision: str, dtype: str
) -> None:
    with Runner.open(made_bundle, precision=precision, backend="onnxruntime", threads=1) as runner:
        sent = images if dtype == UINT8 else normalize(images, runner.bundle.spec.preprocessing)
        wanted = runner.predict(sent)
    (tmp_path / "sent").write_bytes(sent.tobytes())
    given = ("onnxruntime", precision, dtype, tmp_path / "sent", len(sent), tmp_path / "logits")
    ran = _clean(drive("infer", made_bundle, *given))
    assert ran.statuses == [0, 0, 0, 0]
    got = np.fromfile(tmp_path / "logits", np.float32).reshape(len(sent), -1)
    np.testing.assert_array_equal(got, wanted)


def test_threads_get_the_answers_to_their_own_images_and_their_own_errors(
    drive: Driver, made_bundle: Path, images: npt.NDArray[np.uint8], pixels: Path, tmp_path: Path
) -> None:
    with Runner.open(made_bundle, backend="onnxruntime", threads=1) as runner:
        wanted = np.concatenate([runner.predict(image[None]) for image in images])
    ran = _clean(drive("threads", made_bundle, pixels, len(images), 6, 40, tmp_path / "logits"))
    assert ran.values("wrong") == [["0"]] * 6
    np.testing.assert_array_equal(np.fromfile(tmp_path / "logits", np.float32).reshape(wanted.shape), wanted)


def test_a_runner_is_described(drive: Driver, made_bundle: Path) -> None:
    ran = _clean(drive("describe", made_bundle, "onnxruntime", "int8", 0))
    assert ran.values("about") == [["0", "32", "32", "1", "10", "10"]]
    pixels = ["0", "pixels", UINT8, "3072", "32", "32", "3"]
    assert ran.values("input") == [pixels, ["0", "images", FLOAT32, "12288", "3", "32", "32"]]
    assert ran.values("output") == [["0", "logits", FLOAT32, "40", "10"]]
    assert [text for _, text in ran.values("text")] == ["wrn-10-1", "onnxruntime", "int8", ""]
    assert [label for (label,) in ran.values("label")] == list("0123456789")


def test_a_bundle_that_takes_pixels_gives_all_its_outputs(
    drive: Driver, trained: Path, images: npt.NDArray[np.uint8], pixels: Path, tmp_path: Path
) -> None:
    options = ExportOptions(
        model="wrn-10-1",
        out=tmp_path / "b",
        weights=trained / "weights.safetensors",
        pixels=True,
        top_k=3,
        features=True,
    )
    export_bundle(options, Silent())
    with Runner.open(tmp_path / "b", backend="onnxruntime", threads=1) as runner:
        wanted = runner.run(images)
        names = [output.name for output in runner.outputs]
    ran = _clean(drive("outputs", tmp_path / "b", pixels, len(images), tmp_path / "results"))
    assert ran.statuses == [0] * (2 + len(names) + 2) + [2, 2]
    assert (tmp_path / "results").read_bytes() == b"".join(wanted[name].tobytes() for name in names)
    assert len(names) == 3
    assert not ran.values("differs")
    assert ran.messages[-2] == f"2 buffers: expected 1, for {names[0]}, or one for each of {', '.join(names)}"
    assert ran.messages[-1] == "images are float32: this runner takes uint8"


def test_images_in_a_slot_give_the_same_logits(
    drive: Driver, made_bundle: Path, images: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    with Runner.open(made_bundle) as runner:
        sent = normalize(images, runner.bundle.spec.preprocessing)
        wanted = runner.predict(sent)
    (tmp_path / "sent").write_bytes(sent.tobytes())
    ran = _clean(drive("slots", made_bundle, tmp_path / "sent", len(sent), tmp_path / "logits"))
    assert ran.statuses == [0, 0, 0, 0, 0, 2, 1, 2, 0, 0, 2]
    assert not ran.values("differs")
    assert ran.messages[5] == "slot 2 is not open: expected an id that wrn_slot_open returned"
    assert ran.messages[6] == "a slot for 0 images: expected at least 1"
    np.testing.assert_array_equal(np.fromfile(tmp_path / "logits", np.float32).reshape(wanted.shape), wanted)


def test_a_fallback_is_told_and_not_printed(drive: Driver, library: Path, made_bundle: Path) -> None:
    obstacle: object = "TensorRT cannot run fp16: this library has ONNX Runtime on a CPU alone; "
    if library.name == "python":
        obstacle = examine(Bundle.open(made_bundle), "tensorrt", Precision.FP16).obstacle
    if obstacle is None:
        pytest.skip("TensorRT runs here")
    texts = dict(_clean(drive("describe", made_bundle, "tensorrt", "fp16", 1)).values("text"))
    assert texts["2"] != "tensorrt"
    assert str(obstacle) in texts["4"]


MISUSE = [
    (2, "runner 7 is not open: expected one from wrn_open"),
    (2, "the bundle's folder is NULL: expected a path"),
    (2, "the pointer to a wrn_runner is NULL"),
    (2, "wrn_options.size is 0: expected sizeof(wrn_options), which is 56"),
    (2, "threads is -1: expected at least 1, or 0 for the default"),
    (2, "contexts is -2: expected at least 1, or 0 for the default"),
    (2, "1073741824 contexts: expected 1 to 1024"),
    (2, "1073741824 threads: expected 1 to 1024"),
    (2, "precision 'int4': expected one of fp32, fp16, int8, bf16, fp8"),
    (2, "precision is not UTF-8 ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte)"),
    (1, "unknown backend 'tensorflow' "),
    (2, "wrn_options has fields that this library (ABI 2) does not know: expected zeros there"),
    (0, ""),  # the same with zeros there
    (2, "wrn_tensor.size is 0: expected sizeof(wrn_tensor), which is 152"),
    (2, "the pointer to a wrn_tensor is NULL"),
    (2, "output 5: this runner has 1, counted from 0"),
    (2, "output -1: this runner has 1, counted from 0"),
    (2, "images are int64: this runner takes uint8 or float32"),
    (2, "dtype 99: expected one of WRN_UINT8, WRN_INT32, WRN_INT64, WRN_FLOAT16, WRN_FLOAT32"),
    (2, "the pointer to a wrn_description is NULL"),
    (2, "the buffer has 3 bytes: expected at least 9"),
    (2, "the buffer is NULL, with 3 bytes"),
    (2, "text 77: expected a WRN_TEXT_ constant"),
    (2, "class 10: this network has 10, counted from 0"),
    (0, ""),  # wrn_input
    (2, "images is NULL"),
    (2, "outputs is NULL"),
    (2, "0 buffers: expected 1, for logits, or one for each of logits"),
    (2, "3 buffers: expected 1, for logits, or one for each of logits"),
    (2, "0 images: expected at least 1"),
    (2, "-1 images: expected at least 1"),
    (2, "images have 6144 bytes: expected 3 x 3072 = 9216, uint8 (32, 32, 3) each"),
    (2, "images have 6144 bytes: expected 9223372036854775807 x 3072 = 28334198897217871279104, "),
    (2, "images are float16: this runner takes uint8 or float32"),
    (2, "images have 6144 bytes: expected 2 x 12288 = 24576, float32 (3, 32, 32) each"),
    (2, "images.data is NULL"),
    (2, "the buffer for logits has 79 bytes: expected at least 2 x 40 = 80"),
    (2, "the buffer for logits is NULL"),
    (0, ""),  # wrn_infer
    (2, "images on a device are uint8: expected float32 (3, 32, 32) each, normalised"),
    (None, ""),  # wrn_infer_device on a backend without device memory
    (1, "a batch of 0 to warm up with: expected at least 1"),
    (2, "0 iterations: expected at least 1"),
    (2, "batches is NULL, with 1 of them"),
    (2, "runner 0 is not open: expected one from wrn_open that is not closed yet"),
    (2, "runner 1001 is not open: expected one from wrn_open that is not closed yet"),
    (0, ""),  # wrn_close
    (2, "runner 1 is not open: expected one from wrn_open that is not closed yet"),
    (2, "runner 1 is not open: expected one from wrn_open that is not closed yet"),
    (0, ""),  # wrn_open
]


def test_every_wrong_argument_is_a_code_and_a_text(drive: Driver, made_bundle: Path) -> None:
    ran = _clean(drive("misuse", made_bundle))
    assert len(ran.statuses) == len(MISUSE)
    for status, message, (code, start) in zip(ran.statuses, ran.messages, MISUSE, strict=True):
        if code is not None:
            assert status == code, message
            assert message.startswith(start)
            assert bool(message) == (code != 0)
    assert ran.values("needed") == [["9"]]
    assert ran.values("opened") == [["1"], ["2"]], "a handle was given twice"
    assert not ran.values(""), "outputs were written although a call failed"
    assert "written" not in [line[0] for line in ran.lines]
    assert ran.values("beyond") == [["-7"]], "more than the output was written"


def test_device_pointers_on_a_cpu_are_an_error(drive: Driver, made_bundle: Path) -> None:
    at = next(at for at, (code, _) in enumerate(MISUSE) if code is None)
    ran = drive("misuse", made_bundle)
    assert ran.statuses[at] == 1
    assert ran.messages[at].startswith("onnxruntime fp32 does not take arrays on a GPU: open the bundle with")


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        (("onnxruntime", "fp16"), 2, "does not run fp16 here: expected one of"),
        (("onnxruntime", "int4"), 2, "precision 'int4': expected one of"),
        (("onnxruntme", "-"), 1, "did you mean onnxruntime"),
    ],
)
def test_what_cannot_be_opened_says_so(
    drive: Driver, made_bundle: Path, given: tuple[str, str], code: int, text: str
) -> None:
    ran = _clean(drive("open", made_bundle, *given))
    assert ran.statuses == [code, code]
    assert all(text in message for message in ran.messages)


@pytest.mark.parametrize("folder", ["nowhere", "größe/番号", ""])
def test_no_bundle_is_an_error_with_pythons_text(drive: Driver, tmp_path: Path, folder: str) -> None:
    with pytest.raises(DeployError) as error:
        Runner.open(tmp_path / folder)
    ran = _clean(drive("open", tmp_path / folder, "-", "-", LC_ALL="C"))
    assert ran.statuses == [1, 1]
    assert ran.messages == [str(error.value)] * 2


def test_a_damaged_manifest_is_an_error(drive: Driver, bundle: Bundle) -> None:
    (bundle.folder / "manifest.json").write_text('{"format": 1, "spec": [')
    ran = _clean(drive("open", bundle.folder, "-", "-"))
    assert ran.statuses == [1, 1]
    assert "manifest.json is damaged" in ran.messages[0]


def test_a_bundle_in_a_folder_with_any_name_is_opened(drive: Driver, bundle: Bundle) -> None:
    renamed = bundle.folder.rename(bundle.folder.with_name("größe 番号"))
    assert _clean(drive("open", renamed, "onnxruntime", "-", LC_ALL="C")).statuses == [0, 0, 0, 0]


def test_threads_may_make_the_first_call_together(drive: Driver, made_bundle: Path) -> None:
    assert _clean(drive("race", made_bundle)).statuses == [0] * 6


def test_a_runner_closed_under_other_threads_is_an_error_to_them(
    drive: Driver, made_bundle: Path, pixels: Path, images: npt.NDArray[np.uint8]
) -> None:
    opened, closed, *others, again = _clean_last(drive("closing", made_bundle, pixels, len(images))).statuses
    assert (opened, closed, again) == (0, 0, 2)
    assert others == [2] * 4, "WRN_USAGE, whether a thread waits for a context or comes later"


def test_a_forked_child_is_refused_at_once_whatever_the_parents_threads_hold(
    drive: Driver, made_bundle: Path, pixels: Path, images: npt.NDArray[np.uint8]
) -> None:
    ran = _clean(drive("forks", made_bundle, pixels, len(images)))
    assert ran.statuses[:2] == [0, 0], "a child forked before the first wrn_open has a Python of its own"
    ((parent,),) = ran.values("parent")
    children = ran.values("child")
    assert [status for _, status in children] == ["0"] * 7
    assert ran.statuses[2:] == [0] + [2] * 9 * 6 + [0]
    for round_, (child, _) in enumerate(children[1:]):
        start = f"opened in process {parent}, called in process {child} after fork: fork before the first wrn_open and "
        assert all(text.startswith(start) for text in ran.messages[3 + 9 * round_ : 12 + 9 * round_])


@pytest.mark.parametrize(("precision", "value"), [("fp32", "3e38"), ("fp32", "nan"), ("int8", "nan"), ("int8", "inf")])
def test_nan_and_infinite_values_are_an_error_unless_allowed(
    drive: Driver, made_bundle: Path, precision: str, value: str
) -> None:
    ran = _clean(drive("nonfinite", made_bundle, precision, 0, value))
    assert ran.statuses == [0, 1, 0]
    assert "NaN or infinite" in ran.messages[1]
    assert "in 1 of 2 images, the first of which is image 1, counted from 0" in ran.messages[1]
    assert "or allow them with the option allow_nonfinite" in ran.messages[1]
    assert ran.values("value") == [["-7"]] * 20, "something was written"
    ran = _clean(drive("nonfinite", made_bundle, precision, 1, value))
    assert ran.statuses == [0, 0, 0]
    assert ran.values("value") != [["-7"]] * 20


@pytest.mark.parametrize(("place", "value"), [(0, "nan"), (31, "inf"), (32, "-inf"), (3071, "nan")])
def test_one_value_that_is_not_finite_is_found_wherever_it_is(
    drive: Driver, made_bundle: Path, images: npt.NDArray[np.uint8], tmp_path: Path, place: int, value: str
) -> None:
    sent = normalize(images[:3], Bundle.open(made_bundle).spec.preprocessing)
    sent[1].reshape(-1)[place] = float(value)
    (tmp_path / "sent").write_bytes(sent.tobytes())
    ran = _clean(drive("run", made_bundle, "fp32", FLOAT32, tmp_path / "sent", len(sent), tmp_path / "results"))
    assert ran.statuses == [0, 0, 1, 0]
    found = "1 of 9216 values, in 1 of 3 images, the first of which is image 1, counted from 0"
    assert f"the batch has NaN or infinite images: {found}" in ran.messages[2]


def test_a_signature_can_be_demanded(drive: Driver, bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("model_signing", reason="model-signing is not installed")
    private, public = new_key(tmp_path, "ours")
    ran = _clean(drive("signed", bundle.folder, public))
    assert ran.statuses == [3]
    assert "is not signed (no manifest.sig)" in ran.messages[0]
    sign_bundle(bundle, SigningKey(key=private), Silent())
    assert _clean(drive("signed", bundle.folder, public)).statuses == [0, 0]
    _, other = new_key(tmp_path, "other")
    assert _clean(drive("signed", bundle.folder, other)).statuses == [3]
    manifest = bundle.folder / "manifest.json"
    edit_manifest(bundle.folder, lambda record: record["model"].update(name="another"))
    ran = _clean(drive("signed", bundle.folder, public))
    assert ran.statuses == [3], "the signature of an earlier manifest"
    assert "its manifest was changed after it was signed" in ran.messages[0]
    (bundle.folder / "manifest.sig").write_text("{}")
    assert _clean(drive("signed", bundle.folder, public)).statuses == [3]
    for key, said in ((manifest, "no public key and no certificate"), (tmp_path / "none", "cannot be read (No such")):
        ran = _clean(drive("signed", bundle.folder, key))
        assert ran.statuses == [1]
        assert said in ran.messages[0]


def _clean_last(ran: Ran) -> Ran:
    """The program gives its last call's status, which is WRN_USAGE."""
    assert (ran.code, ran.err) == (2, ""), ran
    return ran


def test_the_hosts_signals_stay_its_own(drive: Driver, made_bundle: Path) -> None:
    ran = _clean(drive("signals", made_bundle))
    assert ran.values("changed") == []
    assert ran.values("interrupted") == [["1"]]


def test_a_process_may_end_with_open_runners(drive: Driver, made_bundle: Path) -> None:
    assert _clean(drive("leave", made_bundle)).statuses == [0, 0]
