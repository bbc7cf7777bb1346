"""A stranger's bundle: whatever it holds, reading changes nothing, and writing changes nothing outside of it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.manifests import edit_manifest, read_record, write_record
from tests.test_bundle import REMEDY, SPEC, add, make, read_all, run_code, snapshot
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.staging import pending_commit
from wrn_deploy.pipeline.signing.verify import verify_bundle
from wrn_deploy.progress import Silent


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of the user's, which no bundle may touch."""
    folder = tmp_path / "home"
    (folder / "deep").mkdir(parents=True)
    (folder / "authorized_keys").write_text("the user's key")
    (folder / "deep" / "thesis.tex").write_text("years of work")
    return folder


@pytest.fixture
def attacked(tmp_path: Path) -> Path:
    """A whole bundle, for a stranger to change."""
    return make(tmp_path / "bundle").folder


def link_commit(bundle: Path, home: Path) -> None:
    (bundle / ".commit").symlink_to(home)


def commit_behind_a_link(bundle: Path, home: Path) -> None:
    (bundle / "x").symlink_to(home)
    (bundle / ".commit" / "x").mkdir(parents=True)
    (bundle / ".commit" / "x" / "authorized_keys").write_text("the stranger's key")


def commit_with_a_record(bundle: Path, home: Path) -> None:
    """As `commit_behind_a_link`, with what is right of a record by luck: the stranger knows all but the inodes."""
    commit_behind_a_link(bundle, home)
    (bundle / ".commit" / ".record").write_text(json.dumps({"folder": 1, "commit": 2, "last": "manifest.json"}))


def link_record(bundle: Path, home: Path) -> None:
    commit_behind_a_link(bundle, home)
    (home / "record").write_text(
        json.dumps({"folder": bundle.stat().st_ino, "commit": (bundle / ".commit").stat().st_ino, "last": None})
    )
    (bundle / ".commit" / ".record").symlink_to(home / "record")


def link_lock(bundle: Path, home: Path) -> None:
    (bundle / ".lock").unlink(missing_ok=True)
    (bundle / ".lock").symlink_to(home / "authorized_keys")


def dangling_lock(bundle: Path, home: Path) -> None:
    (bundle / ".lock").unlink(missing_ok=True)
    (bundle / ".lock").symlink_to(home / "new-file")


def hard_lock(bundle: Path, home: Path) -> None:
    (bundle / ".lock").unlink(missing_ok=True)
    (bundle / ".lock").hardlink_to(home / "authorized_keys")


def fifo_lock(bundle: Path, _home: Path) -> None:
    (bundle / ".lock").unlink(missing_ok=True)
    os.mkfifo(bundle / ".lock")


def link_staging(bundle: Path, home: Path) -> None:
    (bundle / ".staging-abcdefgh").symlink_to(home)


def link_lock_in_staging(bundle: Path, home: Path) -> None:
    (bundle / ".staging-abcdefgh").mkdir()
    (bundle / ".staging-abcdefgh" / ".lock").symlink_to(home / "authorized_keys")


def link_in_staging(bundle: Path, home: Path) -> None:
    (bundle / ".staging-abcdefgh").mkdir()
    (bundle / ".staging-abcdefgh" / "x").symlink_to(home)


def fifos_everywhere(bundle: Path, _home: Path) -> None:
    os.mkfifo(bundle / ".commit")
    os.mkfifo(bundle / ".staging-abcdefgh")
    os.mkfifo(bundle / "manifest.sig")


ATTACKS = [
    link_commit, commit_behind_a_link, commit_with_a_record, link_record, link_lock, dangling_lock, hard_lock,
    fifo_lock, link_staging, link_lock_in_staging, link_in_staging, fifos_everywhere,
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_reading_changes_nothing(attacked: Path, home: Path, attack: Callable[[Path, Path], None]) -> None:
    attack(attacked, home)
    before = snapshot(attacked), snapshot(home)
    assert read_all(attacked) == {"grandparent": "one", "parent": "two", "child": "three"}
    verify_bundle(Bundle.open(attacked), Silent())
    assert pending_commit(attacked) is None
    assert (snapshot(attacked), snapshot(home)) == before


@pytest.mark.parametrize("attack", ATTACKS)
def test_writing_changes_nothing_outside(attacked: Path, home: Path, attack: Callable[[Path, Path], None]) -> None:
    attack(attacked, home)
    before = snapshot(home)
    try:
        with Bundle.open(attacked).transaction() as step:
            add(step, "fourth", "4")
    except DeployError as error:
        assert "expected" in str(error)  # noqa: PT017 (some attacks do no harm)
        assert "fourth" not in Bundle.open(attacked).artifacts
    else:
        assert "fourth" in Bundle.open(attacked).artifacts
    assert snapshot(home) == before


def test_new_files_do_not_go_through_links(attacked: Path, home: Path) -> None:
    (attacked / "x").symlink_to(home)
    before = snapshot(home)
    bundle = Bundle.open(attacked)
    with pytest.raises(DamagedFile, match="is a link or a file"), bundle.transaction() as step:  # noqa: PT012
        (step.folder / "x").mkdir()
        add(step, "x/authorized_keys", "4")
    assert snapshot(home) == before
    assert read_all(attacked) == {"grandparent": "one", "parent": "two", "child": "three"}
    add_fourth(bundle)


def add_fourth(bundle: Bundle) -> None:
    with bundle.transaction() as step:
        add(step, "fourth", "4")


def test_a_file_replaces_a_link_in_its_place(attacked: Path, home: Path) -> None:
    (attacked / "child.txt").unlink()
    (attacked / "child.txt").symlink_to(home / "authorized_keys")
    before = snapshot(home)
    with Bundle.open(attacked).transaction() as step:
        add(step, "child", "anew")
    assert snapshot(home) == before
    assert not (attacked / "child.txt").is_symlink()
    assert read_all(attacked)["child"] == "anew"


def test_a_commit_in_a_copy_of_a_bundle_does_not_count(tmp_path: Path, attacked: Path) -> None:
    killed = run_code(
        """
        original = os.rename
        def rename(*arguments, **options):
            original(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)
        os.rename = rename
        with Bundle.open(sys.argv[1]).transaction() as step:
            add(step, "child", "another")
        """,
        attacked,
    )
    assert killed.wait() < 0
    assert read_all(attacked)["child"] == "another", "here it counts"
    shutil.copytree(attacked, tmp_path / "copy")
    assert read_all(tmp_path / "copy")["child"] == "three"
    with (
        pytest.raises(DamagedFile, match=r"\.commit was not made by a command of this user in this folder"),
        Bundle.open(tmp_path / "copy").transaction() as step,
    ):
        add(step, "fourth", "4")
    assert read_all(tmp_path / "copy")["child"] == "three"


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def zeros(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def linked_folder(file: Path) -> None:
    real = file.parent.parent / "real"
    file.parent.rename(real)
    file.parent.symlink_to(real)


@pytest.mark.parametrize("what", [fifo, zeros])
@pytest.mark.parametrize("size", [0, 5])
def test_an_artifact_that_is_no_file_is_refused_at_once(
    attacked: Path, what: Callable[[Path], None], size: int
) -> None:
    what(attacked / "child.txt")
    edit_manifest(attacked, lambda record: record["artifacts"]["child"].update(size_bytes=size))
    start = time.monotonic()
    with pytest.raises(DamagedFile, match=r"child\.txt is (a FIFO|a link or is inside one)"):
        Bundle.open(attacked).find("child", REMEDY)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("what", [fifo, zeros])
def test_a_manifest_that_is_no_file_is_refused_at_once(attacked: Path, what: Callable[[Path], None]) -> None:
    what(attacked / "manifest.json")
    with pytest.raises(DamagedFile, match=r"manifest\.json is (a FIFO|a link or is inside one)"):
        Bundle.open(attacked)
    with pytest.raises(DeployError, match="contains other files"):
        Bundle.create(attacked, SPEC, random_weights=False)


def test_an_artifact_behind_a_linked_folder_is_refused(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    with bundle.transaction() as step:
        (step.folder / "onnx").mkdir()
        add(step, "onnx/fifth", "5")
    linked_folder(bundle.folder / "onnx" / "fifth.txt")
    assert (bundle.folder / "onnx" / "fifth.txt").read_text() == "5"
    with pytest.raises(DamagedFile, match=r"is a link or is inside one \(onnx\)"):
        Bundle.open(bundle.folder).find("fifth", REMEDY)


@pytest.mark.parametrize(
    ("field", "value"),
    [("depth", "10"), ("depth", 10.5), ("depth", True), ("labels", "abcdefghij"), ("labels", [1] * 10),
     ("classes", "10"), ("classes", 10**400), ("name", None), ("name", "a\udc80"), ("widen", "1"), ("widen", [1]),
     ("unknown", 1),
     ("preprocessing", []), ("whitening", {}), ("interface", None)],
)  # fmt: skip
def test_a_description_of_other_types_is_refused(attacked: Path, field: str, value: object) -> None:
    edit_manifest(attacked, lambda record: record["model"].update({field: value}))
    with pytest.raises(DamagedFile, match=r"manifest\.json"):
        Bundle.open(attacked)


@pytest.mark.parametrize("value", ["false", "true", 0, 1, None, []])
def test_random_weights_is_true_or_false(attacked: Path, value: object) -> None:
    edit_manifest(attacked, lambda record: record.update(random_weights=value))
    with pytest.raises(DamagedFile, match=r"random_weights is .*: expected true or false"):
        Bundle.open(attacked)


@pytest.mark.parametrize(
    ("field", "value"),
    [("size_bytes", -1), ("size_bytes", 10**400), ("size_bytes", "5"), ("size_bytes", True), ("sha256", "x" * 64),
     ("sha256", "AB" * 32), ("sha256", 5), ("kind", "code"), ("precision", "fp64"), ("recipe", {}), ("key", "other"),
     ("facts", []), ("key", "a\x1b[31m"), ("key", "../x")],
)  # fmt: skip
def test_an_artifact_of_other_types_is_refused(attacked: Path, field: str, value: object) -> None:
    edit_manifest(attacked, lambda record: record["artifacts"]["child"].update({field: value}))
    with pytest.raises(DamagedFile, match=r"manifest\.json"):
        Bundle.open(attacked)


def test_a_deep_recipe_is_refused(attacked: Path) -> None:
    record = read_record(attacked)
    deep: list[object] = []
    for _ in range(200):
        deep = [deep]
    record["artifacts"]["child"]["recipe"]["options"] = {"deep": deep}
    write_record(attacked, record)
    with pytest.raises(DamagedFile, match="nest"):
        Bundle.open(attacked)


def test_every_flipped_bit_of_a_bundle_is_noticed(attacked: Path) -> None:
    for file in sorted(path for path in attacked.iterdir() if path.suffix):
        whole = file.read_bytes()
        step = max(1, len(whole) * 8 // 1000)
        for bit in range(0, len(whole) * 8, step):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            with pytest.raises(DeployError):
                read_all(attacked)
        file.write_bytes(whole)
    read_all(attacked)


@pytest.mark.parametrize("change", [b" ", b"\n", b"\xef\xbb\xbf", b"\0"])
@pytest.mark.parametrize("end", [False, True])
def test_an_added_character_is_noticed(attacked: Path, change: bytes, end: bool) -> None:
    file = attacked / "manifest.json"
    file.write_bytes(file.read_bytes() + change if end else change + file.read_bytes())
    with pytest.raises(DamagedFile):
        Bundle.open(attacked)


def test_who_waits_for_a_lock_says_so(attacked: Path) -> None:
    holder = (attacked / ".lock").open("r+b")
    fcntl.flock(holder, fcntl.LOCK_EX)
    code = """
    import warnings
    warnings.simplefilter("always")
    with Bundle.open(sys.argv[1]).transaction() as step:
        add(step, "fourth", "4")
    """
    waiting = run_code(code, attacked)
    time.sleep(3)
    assert waiting.poll() is None
    read_all(attacked)  # which needs no lock
    holder.close()
    assert waiting.wait(timeout=30) == 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Bundle.open(attacked).transaction() as step:
            add(step, "fifth", "5")
    assert not caught


def test_a_reading_beside_writers_is_never_refused(attacked: Path) -> None:
    code = """
    for number in range(30):
        with Bundle.open(sys.argv[1]).transaction() as step:
            for name in ("child", "x", "y"):
                add(step, name, f"{sys.argv[2]}{number}" * 100)
    """
    writers = [run_code(code, attacked, name) for name in "ab"]
    readings = 0
    while any(writer.poll() is None for writer in writers):
        bundle = Bundle.open(attacked)
        for key in list(bundle.artifacts):
            bundle.find(key, REMEDY)
        readings += 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert readings > 20
