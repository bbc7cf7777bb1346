"""Image folders of every layout, and damaged images among good ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.data.made import PLAIN, labels_of, save_image
from wrn_deploy.data import CorruptImage, Role, open_data
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.errors import DeployError

Labels = list[tuple[str, int | None]]


def test_class_subfolders_are_the_classes_in_sorted_order(tmp_path: Path) -> None:
    for file in ("dog/b.jpg", "dog/a.JPEG", "cat/x.png", "ant/deep/er/y.webp", ".git/z.png", "dog/notes.txt"):
        save_image(tmp_path / file) if not file.endswith("txt") else (tmp_path / file).write_text("none")
    (tmp_path / "bee").mkdir()
    source = open_data(str(tmp_path), Role.TEST)
    assert source.labels == ("ant", "bee", "cat", "dog")
    assert labels_of(tmp_path) == [("ant/deep/er/y.webp", 0), ("cat/x.png", 2), ("dog/a.JPEG", 3), ("dog/b.jpg", 3)]


def test_images_without_labels_have_none(tmp_path: Path) -> None:
    for file in ("b.png", "a.BMP", "c.ppm", ".hidden.png"):
        save_image(tmp_path / file)
    assert labels_of(tmp_path) == [("a.BMP", None), ("b.png", None), ("c.ppm", None)]
    assert open_data(str(tmp_path), Role.TEST).labels == ()


def test_a_single_folder_named_images_is_no_class(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "a.png")
    assert labels_of(tmp_path) == [("a.png", None)]


@pytest.mark.parametrize("other", ["test", "val", "validation", "VAL"])
def test_the_role_chooses_the_split_and_the_classes_are_those_of_both(tmp_path: Path, other: str) -> None:
    for file in ("train/cat/1.png", "train/dog/2.png", f"{other}/ant/3.png", f"{other}/dog/4.png"):
        save_image(tmp_path / file)
    assert labels_of(tmp_path, Role.TRAIN) == [("cat/1.png", 1), ("dog/2.png", 2)]
    assert labels_of(tmp_path, Role.TEST) == [("ant/3.png", 0), ("dog/4.png", 2)]
    assert open_data(str(tmp_path), Role.TEST).labels == ("ant", "cat", "dog")


def test_an_unlabelled_test_folder_is_passed_over_for_val(tmp_path: Path) -> None:
    for file in ("train/cat/1.png", "val/cat/2.png", "test/3.png"):
        save_image(tmp_path / file)
    assert labels_of(tmp_path, Role.TEST) == [("cat/2.png", 0)]


def test_a_class_may_be_named_train(tmp_path: Path) -> None:
    for file in ("train/1.png", "bus/2.png"):
        save_image(tmp_path / file)
    assert labels_of(tmp_path) == [("bus/2.png", 0), ("train/1.png", 1)]


def test_a_missing_split_is_an_error(tmp_path: Path) -> None:
    save_image(tmp_path / "train" / "cat" / "1.png")
    with pytest.raises(DeployError, match=r"has only the split train: expected one of test, val, .*; give .*:train"):
        open_data(str(tmp_path), Role.TEST)


def test_images_beside_class_folders_are_an_error(tmp_path: Path) -> None:
    for file in ("cat/1.png", "2.png"):
        save_image(tmp_path / file)
    with pytest.raises(
        DeployError, match="contains both images and folders of images: expected class subfolders alone"
    ):
        open_data(str(tmp_path), Role.TEST)


@pytest.mark.parametrize(
    ("text", "expected", "labels"),
    [
        ("file,class_index\nb.png,7\na.png,3\n", [("b.png", 7), ("a.png", 3)], ()),
        ("label,file\n1,a.png\n", [("a.png", 1)], ()),
        ("file,class\na.png,dog\nb.png,cat\n", [("a.png", 1), ("b.png", 0)], ("cat", "dog")),
        ('\ufefffile,label\n"b.png","a, b"\n', [("b.png", 0)], ("a, b",)),
        ("file,class,class_index\na.png,dog,5\n", [("a.png", 5)], ()),
    ],
)
@pytest.mark.parametrize("below", ["", "images/"])
def test_a_label_file_names_the_classes(
    tmp_path: Path, text: str, expected: Labels, labels: tuple[str, ...], below: str
) -> None:
    for name in ("a.png", "b.png"):
        save_image(tmp_path / below / name)
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    assert labels_of(tmp_path) == [(below + name, label) for name, label in expected]
    assert open_data(str(tmp_path), Role.TEST).labels == labels


def test_the_label_file_beside_a_folder_counts_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train/a.png", "test/a.png", "test/b.png", "other/c.png"):
        save_image(tmp_path / name)
    (tmp_path / "labels.csv").write_text("file,class\ntrain/a.png,x\ntest/a.png,y\ntest/b.png,z\n")
    assert labels_of(tmp_path / "test") == [("a.png", 1), ("b.png", 2)]
    assert labels_of(tmp_path / "other") == [("c.png", None)]
    monkeypatch.chdir(tmp_path / "test")
    assert labels_of(Path()) == [("a.png", 1), ("b.png", 2)]


def test_a_file_of_that_name_that_is_about_something_else_is_ignored(tmp_path: Path) -> None:
    save_image(tmp_path / "set" / "a.png")
    (tmp_path / "labels.csv").write_text("city,country\nBerlin,Germany\n")
    assert labels_of(tmp_path / "set") == [("a.png", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class_index\na.png,0\nb.png,1\nc.png,1\n", "lists 2 images, the first 'b.png', that are not in"),
        ("file,size\na.png,0\n", "has the columns file, size: expected `file` and one of class_index, label, class"),
        ("name,label\na.png,0\n", "has the columns name, label: expected `file`"),
        ("file,class_index\na.png,cat\n", "line 2 has 'cat' for class_index: expected a class index"),
        ("file,label\na.png\n", "line 2 has '' for label: expected a class in every line"),
        ("file,label\na.png,-1\n", "line 2 has label -1: expected a class index from 0"),
        ("file,label\na.png,0\na.png,0\n", "lists 'a.png' twice"),
        ("file,label\n", "labels.csv lists no images: expected a header, and one line per image"),
        ("", "lists no images"),
        ("a.png,0\n", "lists no images"),
        ("file;label\na.png;0\n", "has a header separated by semicolons, 'file;label': expected commas"),
        ("file\tlabel\na.png\t0\n", "has a header separated by tabs"),
        (f"file,label\na.png,{'9' * 5000}\n", "line 2 has a label of 5000 digits: expected a class index from 0"),
        ("file,label\n../a.png,0\n", "names '../a.png', which is outside"),
        ("file,label\n/etc/passwd,0\n", "names '/etc/passwd', which is outside"),
        ("file,label\n..\\a.png,0\n", r"names '..\\a.png', which is outside"),
        ('file,label\na.png,0\n"a\nb",1\n', r"the first 'a\nb', that are not in"),
        (f"file,label\n{'x' * 5000}.png,0\n", "that are not in"),
        ("file,label\na\0.png,0\n", "that are not in"),
    ],
)
def test_a_wrong_label_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    save_image(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DeployError, match=re.escape(message)):
        open_data(str(tmp_path), Role.TEST)


def test_a_label_file_in_another_encoding_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"file,label\n\xe4.png,1\n")
    with pytest.raises(DeployError, match=r"is not text in UTF-8 .*: expected UTF-8"):
        open_data(str(tmp_path), Role.TEST)


@pytest.mark.parametrize("place", ["imagenet", "imagenet/images"])
def test_the_real_images_open_with_their_labels(shared_data: Path, place: str) -> None:
    items = list(open_data(str(shared_data / place), Role.TEST).items())
    assert [item.label for item in items] == list(range(0, 1000, 4))
    assert items[-1].name.endswith("n13052670_hen-of-the-woods.JPEG")


def test_corrupt_images_are_an_error_or_left_out_and_listed(image_folder: Path) -> None:
    victim = min(image_folder.glob("3/*.PNG"))
    victim.write_bytes(victim.read_bytes()[:-60])
    source = open_data(str(image_folder), Role.TEST)
    with pytest.raises(DeployError, match=rf"{re.escape(str(victim))} cannot be decoded .*; 1 corrupt, none allowed"):
        list(Batches(source, PLAIN, 16))
    batches = Batches(source, PLAIN, 16, max_corrupt=1)
    assert sum(len(batch.images) for batch in batches) == 47
    assert batches.corrupt == [f"3/{victim.name}"]


def test_one_corrupt_image_more_than_allowed_is_an_error(image_folder: Path) -> None:
    for victim in sorted(image_folder.glob("3/*.PNG"))[:2]:
        victim.write_bytes(b"none")
    with pytest.raises(DeployError, match="2 corrupt, 1 allowed: fix or remove it"):
        list(Batches(open_data(str(image_folder), Role.TEST), PLAIN, 16, max_corrupt=1))


def test_a_file_that_is_gone_is_corrupt(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.png")
    (item,) = open_data(str(tmp_path), Role.TEST).items()
    path.unlink()
    with pytest.raises(CorruptImage, match=r"a\.png cannot be read \(No such file or directory\)"):
        item.load()
