"""ImageNet's folders: ids and names of classes, validation images in one folder, and its odd files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.made import RESIZED, labels_of, save_image
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.classes import match_classes
from wrn_deploy.data.containers.mat_file import read_structures
from wrn_deploy.data.ground_truth import read_ground_truth
from wrn_deploy.data.imagenet_classes import class_names, ilsvrc_indices, ilsvrc_wnid
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.errors import DeployError
from wrn_deploy.spec import ModelSpec

TENCH, CRANE, OTHER_CRANE, TOILET = "n01440764", "n02012849", "n03126707", "n15075141"


def _network(labels: tuple[str, ...] = ()) -> ModelSpec:
    return ModelSpec(
        name="wrn-50-2", family="resnet", depth=50, widen=2, classes=1000, preprocessing=RESIZED, labels=labels
    )


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Two classes to train on, and three validation images in one folder."""
    for wnid in (TENCH, TOILET):
        save_image(tmp_path / "set" / "train" / wnid / f"{wnid}_1.JPEG")
    for number in (1, 2, 3):
        save_image(tmp_path / "set" / "val" / f"ILSVRC2012_val_{number:08}.JPEG", number)
    return tmp_path / "set"


def test_the_list_of_classes_is_that_of_the_shared_index(shared_data: Path) -> None:
    import json

    index = json.loads((shared_data / "imagenet" / "imagenet_class_index.json").read_text(encoding="utf-8"))
    wnids = [index[str(number)][0] for number in range(1000)]
    assert wnids == [ilsvrc_wnid(number) for number in range(1000)]
    names = class_names(wnids)
    assert len(set(names)) == 1000
    plain = [index[str(number)][1] for number in range(1000)]
    assert sum(name != other for name, other in zip(names, plain, strict=True)) == 4
    assert ilsvrc_indices(names) == ilsvrc_indices(wnids) == list(range(1000))
    assert ilsvrc_indices(["tench", TOILET], plain) == [0, 999]
    assert ilsvrc_indices(["tench", TOILET], plain[::-1]) is None
    assert ilsvrc_indices(["crane"]) is ilsvrc_indices(["tench", TENCH]) is ilsvrc_indices(["cat"]) is None


@pytest.mark.parametrize("split", ["", "train/", "val/"])
def test_class_folders_get_names(tmp_path: Path, split: str) -> None:
    for wnid in (TENCH, CRANE, OTHER_CRANE, "n00000001"):
        save_image(tmp_path / f"{split}{wnid}" / "1.JPEG")
    source = open_data(str(tmp_path), Role.TRAIN if split == "train/" else Role.TEST)
    assert source.labels == ("n00000001", "tench", f"crane ({CRANE})", f"crane ({OTHER_CRANE})")


def test_a_part_of_the_classes_has_the_indices_of_a_network_for_all(tmp_path: Path) -> None:
    for wnid in (TENCH, OTHER_CRANE, TOILET):
        save_image(tmp_path / wnid / "1.JPEG")
    source = open_data(str(tmp_path), Role.TEST)
    assert [item.label for item in source.items()] == [0, 1, 2]
    assert [item.label for item in match_classes(source, _network()).items()] == [0, 517, 999]
    named = tuple("crane" if n == 517 else name for n, name in enumerate(class_names([*map(ilsvrc_wnid, range(1000))])))
    assert [item.label for item in match_classes(source, _network(named)).items()] == [0, 517, 999]
    with pytest.raises(DeployError, match="has 3 classes that wrn-50-2 does not have"):
        match_classes(source, _network(tuple(f"class {n}" for n in range(1000))))


def _devkit(folder: Path) -> None:
    """Numbers of its own: 1 is the toilet tissue, 2 the tench; the third has others below it."""
    io = pytest.importorskip("scipy.io")
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows: Any = [(1, TOILET, "a", 0), (2, TENCH, "b", 0), (3, "n00001740", "entity", 2)]
    (folder / "ILSVRC2012_devkit_t12" / "data").mkdir(parents=True)
    io.savemat(folder / "ILSVRC2012_devkit_t12" / "data" / "meta.mat", {"synsets": np.array(rows, dtype=kind)})
    (folder / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n1\n2\n")


def _kaggle(folder: Path) -> None:
    rows = [(3, TENCH), (1, TENCH), (2, TOILET)]
    lines = [f"ILSVRC2012_val_{number:08},{wnid} 1 2 3 4 {wnid} 5 6 7 8" for number, wnid in rows]
    (folder / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *lines]))


def _caffe(folder: Path) -> None:
    (folder / "val" / "val.txt").write_text(
        "".join(f"ILSVRC2012_val_0000000{n}.JPEG {c}\n" for n, c in enumerate((0, 999, 0), 1))
    )


def _tensorflow(folder: Path) -> None:
    (folder / "imagenet_2012_validation_synset_labels.txt").write_text(f"{TENCH}\n{TOILET}\n{TENCH}\n")


@pytest.mark.parametrize("write", [_devkit, _kaggle, _caffe, _tensorflow])
def test_validation_images_in_one_folder_get_their_classes_from_a_file(flat: Path, write: Any) -> None:
    write(flat)
    names = [f"ILSVRC2012_val_0000000{number}.JPEG" for number in (1, 2, 3)]
    assert labels_of(flat) == list(zip(names, (0, 1, 0), strict=True))
    assert (
        open_data(str(flat), Role.TEST).labels == open_data(str(flat), Role.TRAIN).labels == ("tench", "toilet_tissue")
    )
    alone = open_data(str(flat / "val"), Role.TEST)
    assert [item.label for item in alone.items()] == [0, 999, 0]
    assert len(alone.labels) == 1000


def test_without_such_a_file_the_error_names_it(flat: Path) -> None:
    with pytest.raises(DeployError, match="without their classes: expected the devkit's ILSVRC2012_validation_ground"):
        open_data(str(flat), Role.TEST)
    (flat / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n3\n")
    with pytest.raises(DeployError, match=r"meta\.mat is missing: expected it next to"):
        open_data(str(flat), Role.TEST)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ILSVRC2012_val_00000001.JPEG 0\n", "does not have ILSVRC2012_val_00000002.JPEG of"),
        ("ILSVRC2012_val_00000001.JPEG 1000\n", "cannot be read .*class index 1000"),
        ("ILSVRC2012_val_00000001.JPEG\n", "cannot be read"),
        ("\xff", "cannot be read .*is not text in UTF-8"),
    ],
)
def test_a_file_without_the_classes_is_an_error(flat: Path, text: str, words: str) -> None:
    (flat / "val" / "val.txt").write_text(text, encoding="latin-1")
    with pytest.raises(DeployError, match=words):
        open_data(str(flat), Role.TEST)


@pytest.mark.parametrize("compressed", [False, True])
def test_the_devkits_table_is_read_as_scipy_reads_it(tmp_path: Path, compressed: bool) -> None:
    io = pytest.importorskip("scipy.io")
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O"), ("children", "O")]
    texts = ("n00000001", "", "\u00e9t\u00e9", "x" * 300)
    rows: Any = [(n, text, text[::-1], n % 2, np.arange(n, dtype=np.uint16)) for n, text in enumerate(texts)]
    io.savemat(tmp_path / "meta.mat", {"a": 1, "synsets": np.array(rows, dtype=kind)}, do_compression=compressed)
    found = read_structures(tmp_path / "meta.mat", "synsets")
    assert [(row["WNID"], row["words"]) for row in found] == [(text, text[::-1]) for text in texts]
    for field, place in (("ILSVRC2012_ID", 0), ("num_children", 3), ("children", 4)):
        values: Any = [row[field] for row in found]
        for value, row in zip(values, rows, strict=True):
            np.testing.assert_array_equal(np.ravel(value), np.ravel(row[place]))
    with pytest.raises(DeployError, match=r"meta\.mat has no structures 'a'"):
        read_structures(tmp_path / "meta.mat", "a")


def test_a_damaged_table_of_the_devkit_never_ends_the_process(flat: Path) -> None:
    """scipy's reader ends it with SIGSEGV for some of these."""
    _devkit(flat)
    path = flat / "ILSVRC2012_devkit_t12" / "data" / "meta.mat"
    truth, content = path.with_name("ILSVRC2012_validation_ground_truth.txt"), path.read_bytes()
    found = 0
    for place in range(128, len(content)):
        for value in (0x7F, content[place] ^ 1):
            path.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
            try:
                read_ground_truth(truth)
            except DeployError as error:
                found += "expected" in str(error)
    assert found > len(content)
    for end in range(0, len(content), 7):
        path.write_bytes(content[:end])
        with pytest.raises(DeployError, match=r"meta\.mat|ground_truth"):
            read_ground_truth(truth)


def test_structures_without_fields_end(tmp_path: Path) -> None:
    """A header of 56 bytes may promise 2^32 of them, which take no space."""
    elements = struct.pack("<II8sIIIIIIII", 6, 8, bytes([2]) + bytes(7), 5, 8, 2**16, 2**16, 1, 1, ord("s"), 0)
    content = elements + struct.pack("<HHiII", 5, 4, 32, 1, 0)
    head = b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<II", 14, len(content))
    (tmp_path / "meta.mat").write_bytes(head + content)
    with pytest.raises(DeployError, match="structures without fields"):
        read_structures(tmp_path / "meta.mat", "s")


def test_a_label_file_of_ours_comes_first(flat: Path) -> None:
    (flat / "val" / "labels.csv").write_text("file,class_index\nILSVRC2012_val_00000002.JPEG,7\n")
    assert labels_of(flat / "val") == [("ILSVRC2012_val_00000002.JPEG", 7)]


def test_its_odd_files_are_read_by_their_content(tmp_path: Path) -> None:
    """One image is a PNG named .JPEG, some are JPEGs in CMYK, many are grey: all in the training set."""
    folder = tmp_path / TENCH
    folder.mkdir()
    colours = Image.new("RGB", (40, 30), (200, 100, 50))
    colours.save(folder / "n01440764_1.JPEG", "JPEG", quality=100, subsampling=0)
    colours.save(folder / "n01440764_2.JPEG", "PNG")
    colours.convert("CMYK").save(folder / "n01440764_3.JPEG", "JPEG", quality=100)
    colours.convert("L").save(folder / "n01440764_4.JPEG", "JPEG", quality=100)
    colours.convert("RGBA").save(folder / "n01440764_5.JPEG", "PNG")
    (batch,) = Batches(open_data(str(tmp_path), Role.TRAIN), RESIZED, 8)
    grey = 123
    expected = [[200, 100, 50]] * 3 + [[grey, grey, grey], [200, 100, 50]]
    np.testing.assert_allclose(batch.images.mean(axis=(1, 2)), expected, atol=3)


def test_the_real_images_have_the_classes_of_their_names(shared_data: Path) -> None:
    source = match_classes(open_data(str(shared_data / "imagenet"), Role.TEST), _network())
    for item in source.items():
        assert item.label is not None
        assert Path(item.name).name.startswith(ilsvrc_wnid(item.label))
