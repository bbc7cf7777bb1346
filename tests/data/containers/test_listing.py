"""What is left out of a folder is counted and named, and no link brings in a file from outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from tests.data.conftest import add_file
from tests.data.made import PLAIN, labels_of, save_image
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.budget import raised


def _notes(folder: Path) -> str:
    return "\n".join(open_data(str(folder), Role.TEST).notes)


def test_a_folder_of_which_nothing_is_left_out_has_no_notes(tmp_path: Path) -> None:
    for file in ("a/1.png", "b/2.JPG", "b/.hidden.png"):
        save_image(tmp_path / file)
    for other in ("a/notes.txt", "labels.json", "b/box.xml"):
        (tmp_path / other).write_text("x")
    assert _notes(tmp_path) == ""


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "jif", "JPG", "mpo"])
def test_other_endings_of_jpeg_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (8, 8), (200, 0, 0)).save(path, "JPEG", quality=100)
    (item,) = open_data(str(tmp_path), Role.TEST).items()
    assert abs(int(item.load()[0, 0, 0]) - 200) < 3


def test_avif_is_read_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import AvifImagePlugin

    from wrn_deploy.data.decoding import decode

    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x1cftypavif" + bytes(40))
    (item,) = open_data(str(tmp_path), Role.TEST).items()
    monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
    decode._codecs.cache_clear()
    try:
        with pytest.raises(DamagedFile, match=r"a\.avif cannot be decoded \(AVIF, which this Pillow does not support"):
            item.load()
    finally:
        monkeypatch.undo()
        decode._codecs.cache_clear()
    if not AvifImagePlugin.SUPPORTED:
        pytest.skip("this Pillow has no AVIF")
    Image.new("RGB", (32, 32), (200, 10, 90)).save(tmp_path / "a.avif", quality=100)
    assert abs(item.load().astype(int) - (200, 10, 90)).max() < 8


@pytest.mark.parametrize("name", ["noending", "a.heic", "a.jp2", "photo.png~", "a.JXL", "b.svg"])
@pytest.mark.parametrize("below", ["", "cat/", "cat/deep/"])
def test_files_not_named_like_images_are_counted_and_named(tmp_path: Path, name: str, below: str) -> None:
    save_image(tmp_path / below / "good.png")
    for number in range(5):
        (tmp_path / below / f"{number}{name}").write_bytes(b"x")
    assert labels_of(tmp_path) == [(f"{below}good.png", 0 if below else None)]
    assert f"skipped 5 files ('{below}0{name}', '{below}1{name}', '{below}2{name}', ...)" in _notes(tmp_path)


def test_an_odd_name_is_escaped_in_a_note(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png")
    for name in (b"line\nbreak.heic", b"caf\xe9.heic", b"\x1b[31m.heic"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    note = _notes(tmp_path)
    assert note.isprintable()
    assert "skipped 3 files" in note


def test_folders_without_images_are_no_classes(tmp_path: Path) -> None:
    for file in ("ant/1.png", "bee/2.png", "__MACOSX/ant/3.png"):
        save_image(tmp_path / file)
    for file in ("forks/._1.png", "docs/readme.txt", "ant/._1.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"\0\5\x16\7")
    (tmp_path / "empty").mkdir()
    assert open_data(str(tmp_path), Role.TEST).labels == ("ant", "bee", "empty")


def test_a_class_whose_images_are_all_left_out_stays_a_class(tmp_path: Path) -> None:
    """Else the classes after it would move up."""
    for file in ("ant/1.png", "cat/2.png"):
        save_image(tmp_path / file)
    (tmp_path / "bee").mkdir()
    (tmp_path / "bee" / "3.heic").write_bytes(b"x")
    assert open_data(str(tmp_path), Role.TEST).labels == ("ant", "bee", "cat")
    assert "bee/3.heic" in _notes(tmp_path)


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Two classes; a linked folder and file from outside in one, and a link within the folder in the other."""
    root = tmp_path / "set"
    for file in (root / "a/1.png", root / "b/2.png", tmp_path / "far/secret.png"):
        save_image(file)
    (root / "a" / "more").symlink_to(tmp_path / "far", target_is_directory=True)
    (root / "a" / "file.png").symlink_to("../../far/secret.png")
    (root / "b" / "inner.png").symlink_to("../a/1.png")
    return root


def test_links_that_lead_out_are_counted_and_named_and_not_followed(linked: Path) -> None:
    assert labels_of(linked) == [("a/1.png", 0), ("b/2.png", 1), ("b/inner.png", 1)]
    assert "skipped 2 links ('a/file.png', 'a/more') to folders or out of this one: use the folder" in _notes(linked)


def test_links_are_followed_if_the_user_says_so(linked: Path) -> None:
    with raised("links=1"):
        assert len(labels_of(linked)) == 5
        assert _notes(linked) == ""


def test_the_folder_that_the_user_gives_may_be_a_link(linked: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(linked)
    assert len(labels_of(tmp_path / "link")) == 3


def test_a_linked_class_folder_is_named(tmp_path: Path) -> None:
    for file in ("far/1.png", "set/a/2.png", "set/b/3.png"):
        save_image(tmp_path / file)
    (tmp_path / "set" / "c").symlink_to(tmp_path / "far")
    assert open_data(str(tmp_path / "set"), Role.TEST).labels == ("a", "b")
    assert "skipped 1 link ('c') to folders or out of this one" in _notes(tmp_path / "set")


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_set_of_nothing_but_such_links_says_so(tmp_path: Path, is_folder: bool) -> None:
    save_image(tmp_path / "far" / "1.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").symlink_to(tmp_path / "far" if is_folder else tmp_path / "far" / "1.png")
    with pytest.raises(DeployError, match=r"'?a\.png.* out of .*--limit links=1"):
        open_data(str(tmp_path / "set"), Role.TEST)


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    for file in ("a/1.png", "b/2.png"):
        save_image(tmp_path / file)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "b" / "self").symlink_to("self")
    expected = [("a/1.png", 0), ("b/2.png", 1)]
    assert labels_of(tmp_path) == expected
    assert "skipped 2 links ('a/loop', 'b/self')" in _notes(tmp_path)
    (tmp_path / "b" / "self").unlink()
    with raised("links=1"):
        assert labels_of(tmp_path) == expected


def test_links_from_folder_to_folder_do_not_multiply(tmp_path: Path) -> None:
    names = [f"class{number:02}" for number in range(12)]
    for name in names:
        save_image(tmp_path / name / "1.png")
        for other in names:
            (tmp_path / name / f"to-{other}").symlink_to(tmp_path / other)
    assert len(labels_of(tmp_path)) == 12


def test_folders_nested_too_deep_are_an_error(tmp_path: Path) -> None:
    save_image(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "/".join("d" * 150)).mkdir(parents=True)
    with pytest.raises(OverLimit, match="levels of nesting"):
        open_data(str(tmp_path), Role.TEST)


def test_a_label_file_names_nothing_outside_through_links(linked: Path) -> None:
    for listed in ("a/file.png", "a/more/secret.png"):
        (linked / "labels.csv").write_text(f"file,label\n{listed},0\n")
        with pytest.raises(DeployError, match=rf"names '{listed}', which is outside"):
            open_data(str(linked), Role.TEST)
    (linked / "labels.csv").write_text("file,label\nb/inner.png,0\n")
    assert labels_of(linked) == [("b/inner.png", 0)]


def test_a_label_file_that_is_a_link_is_refused(linked: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "list").write_text("file,label\na/1.png,0\n")
    (linked / "labels.csv").symlink_to(tmp_path / "far" / "list")
    with pytest.raises(DamagedFile, match=r"labels\.csv leads out of .* through a link"):
        open_data(str(linked), Role.TEST)


def test_an_unreadable_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in ("a/1.png", "b/2.png"):
        save_image(tmp_path / file)
    scan = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DamagedFile, match=r"b cannot be listed \(Permission denied\)"):
        open_data(str(tmp_path), Role.TEST)


def test_unlisted_images_are_counted(tmp_path: Path) -> None:
    for name in "abc":
        save_image(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text("file,label\nb.png,0\n")
    assert re_counted(tmp_path)
    assert [batch.names for batch in Batches(open_data(str(tmp_path), Role.TEST), PLAIN, 4)] == [("b.png",)]


def re_counted(folder: Path) -> bool:
    return f"skipped 2 images that {folder}/labels.csv does not list, the first 'a.png'" in _notes(folder)


def test_links_among_containers_are_refused(tmp_path: Path, cifar10_python: Path, mnist_folder: Path) -> None:
    for folder, name in ((cifar10_python, "test_batch"), (mnist_folder, "t10k-images-idx3-ubyte")):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
        with pytest.raises(DamagedFile, match=f"{name} leads out of {folder} through a link"):
            open_data(str(folder), Role.TEST)


def test_linked_shards_are_refused_but_for_hugging_faces_cache(tmp_path: Path) -> None:
    import tarfile

    repo = tmp_path / "datasets--x--y"
    (repo / "blobs").mkdir(parents=True)
    png = save_image(tmp_path / "a.png").read_bytes()
    with tarfile.open(repo / "blobs" / "0123", "w") as archive:
        add_file(archive, "a.png", png)
    for place, follows in ((repo / "snapshots" / "f00d", True), (tmp_path / "stranger", False)):
        place.mkdir(parents=True)
        (place / "a.tar").symlink_to(repo / "blobs" / "0123")
        if follows:
            assert len(open_data(str(place), Role.TEST)) == 1
        else:
            with pytest.raises(DamagedFile, match=r"a\.tar leads out of"):
                open_data(str(place), Role.TEST)
