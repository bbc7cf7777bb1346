"""A bundle changes all at once or not at all, notices what is stale or damaged, and trusts no manifest."""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.manifests import edit_manifest, read_record
from tests.mutants import mutate_record
from wrn_deploy.bundle import Bundle, Transaction, sha256_of
from wrn_deploy.errors import DamagedFile, DeployError, MissingArtifact
from wrn_deploy.manifest import Artifact, Kind, Recipe
from wrn_deploy.spec import ModelSpec, Precision, Preprocessing

SPEC = ModelSpec(
    name="wrn-10-1",
    family="wrn",
    depth=10,
    widen=1,
    classes=10,
    preprocessing=Preprocessing(height=32, width=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
)
REMEDY = "wrn-deploy fix"
ROOT = Path(__file__).resolve().parents[1]


def add(step: Transaction, name: str, content: str, *parents: Artifact, **options: Any) -> Artifact:
    step.file(f"{name}.txt").write_text(content)
    recipe = Recipe(parents={parent.key: parent.sha256 for parent in parents}, options=options, tools={"tool": "1"})
    key = name.rpartition("/")[2]
    return step.add(key, kind=Kind.REPORT, precision=Precision.FP32, path=f"{name}.txt", recipe=recipe)


def test_a_bundle_and_its_artifacts_are_shown_in_a_line(tmp_path: Path) -> None:
    bundle = make(tmp_path / "b\x1b[31m")
    bundle.random_weights = False
    shown = f"<Bundle of 'wrn-10-1' in {str(bundle.folder)!r}: {len(bundle.artifacts)} artifacts"
    assert repr(bundle) == shown + ">"
    bundle.random_weights = True
    assert repr(bundle) == shown + ", random weights>"
    assert "\x1b" not in repr(bundle)
    recipe = Recipe(options={"images": ["image"] * 1000})
    artifact = dataclasses.replace(bundle.artifacts["parent"], recipe=recipe, facts={"layers": ["layer"] * 1000})
    assert len(repr(artifact)) < 300


def make(folder: Path) -> Bundle:
    """grandparent -> parent -> child."""
    bundle = Bundle.create(folder, SPEC, random_weights=False)
    with bundle.transaction() as step:
        grandparent = add(step, "grandparent", "one")
        parent = add(step, "parent", "two", grandparent)
        add(step, "child", "three", parent, size=3, shape=(1, 2))
    return bundle


def add_one(bundle: Bundle, key: str, meanwhile: Callable[[], object] = lambda: None) -> None:
    with bundle.transaction() as step:
        add(step, key, "another")
        meanwhile()


def fail(bundle: Bundle, error: type[BaseException], meanwhile: Callable[[], object] = lambda: None) -> None:
    """A step that replaces a file, adds one, and ends with the error."""
    with bundle.transaction() as step:
        add(step, "child", "another")
        add(step, "fourth", "4")
        meanwhile()
        raise error("stop")


def contents(folder: Path) -> dict[str, bytes]:
    """What the user sees of a bundle: everything but lock files and what a killed process left."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def run_code(code: str, *arguments: object) -> subprocess.Popen[str]:
    header = "import os, signal, sys\nfrom pathlib import Path\nfrom tests.test_bundle import *\n"
    command = [sys.executable, "-c", header + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("weights", "export wrn-10-1 --weights FILE --out {}"),
        ("onnx-fp16", "export wrn-10-1 --weights FILE --out {}"),
        ("onnx-bf16", "export wrn-10-1 --weights FILE --out {} --bf16"),
        ("onnx-int8-onnxruntime", "calibrate {} --calib-data DATA"),
        ("onnx-fp8-tensorrt", "calibrate {} --calib-data DATA --fp8"),
        ("plan-int8-tensorrt_rtx", "build-engine {} --int8 --flavor tensorrt_rtx"),
    ],
)
def test_a_missing_artifact_names_the_command_that_makes_it(tmp_path: Path, key: str, command: str) -> None:
    with pytest.raises(MissingArtifact) as raised:
        Bundle.create(tmp_path, SPEC, random_weights=False).find(key)
    assert str(raised.value) == f"{tmp_path} has no {key}: run `wrn-deploy {command.format(tmp_path)}`"


def test_a_step_adds_its_files_and_entries_together(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    opened = Bundle.open(tmp_path / "bundle")
    assert opened.artifacts == {**bundle.artifacts, "child": opened.artifacts["child"]}  # its tuple is a list now
    assert opened.spec == SPEC
    assert sorted(contents(tmp_path / "bundle")) == ["child.txt", "grandparent.txt", "manifest.json", "parent.txt"]
    child = opened.find("child", REMEDY)
    assert (opened.file(child).read_text(), child.size_bytes) == ("three", 5)
    assert child.sha256 == sha256_of(tmp_path / "bundle" / "child.txt")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_after_an_error_or_an_interrupt_the_bundle_is_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    bundle = make(tmp_path / "bundle")
    before, entries = contents(bundle.folder), dict(bundle.artifacts)
    with pytest.raises(error):
        fail(bundle, error)
    assert contents(bundle.folder) == before
    assert bundle.artifacts == entries
    assert [path.name for path in bundle.folder.iterdir() if path.is_dir()] == []


def test_a_folder_made_for_a_failed_step_is_removed(tmp_path: Path) -> None:
    bundle = Bundle.create(tmp_path / "bundle", SPEC, random_weights=False)
    with pytest.raises(ValueError, match="stop"):
        fail(bundle, ValueError)
    assert not bundle.folder.exists()


def test_a_folder_made_for_a_failed_step_stays_when_another_step_has_used_it(tmp_path: Path) -> None:
    first, second = (Bundle.create(tmp_path / "bundle", SPEC, random_weights=False) for _ in range(2))
    with pytest.raises(ValueError, match="stop"):
        fail(first, ValueError, meanwhile=lambda: add_one(second, "second"))
    assert list(Bundle.open(tmp_path / "bundle").artifacts) == ["second"]


def test_a_killed_step_changes_nothing_and_the_next_one_sweeps(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    before = contents(bundle.folder)
    killed = run_code(
        """
        with Bundle.open(sys.argv[1]).transaction() as step:
            add(step, "child", "another")
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        bundle.folder,
    )
    assert killed.wait() == -signal.SIGKILL
    assert contents(bundle.folder) == before
    assert len([*bundle.folder.glob(".staging-*/child.txt")]) == 1, "the step was not in the middle of its work"
    Bundle.open(bundle.folder).find("child", REMEDY)
    with Bundle.open(bundle.folder).transaction() as step:
        add(step, "fourth", "4")
    assert not [*bundle.folder.glob(".staging-*")]


# Kills itself before the n-th change of the folder, or flush to the disk, that a commit makes.
KILLED_COMMIT = """
import pathlib, shutil
left = int(sys.argv[2])
def deadly(function):
    def wrapped(*arguments, **options):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return function(*arguments, **options)
    return wrapped
bundle = Bundle.open(sys.argv[1])
with bundle.transaction() as step:
    add(step, "child", "another")
    (step.folder / "new").mkdir()
    add(step, "new/fourth", "4")
    for name in ("rename", "mkdir", "fsync"):
        setattr(os, name, deadly(getattr(os, name)))
    shutil.rmtree = deadly(shutil.rmtree)
"""
OLD = {"grandparent": "one", "parent": "two", "child": "three"}
NEW = {**OLD, "child": "another", "fourth": "4"}


def read_all(folder: Path) -> dict[str, str]:
    opened = Bundle.open(folder)
    return {key: opened.file(opened.find(key, REMEDY)).read_text() for key in opened.artifacts}


def test_a_step_killed_anywhere_in_its_commit_is_done_or_not_begun(tmp_path: Path) -> None:
    outcomes = []
    for moment in range(60):
        folder = tmp_path / str(moment)
        make(folder)
        code = run_code(KILLED_COMMIT, folder, moment).wait()
        left = snapshot(folder)
        texts = read_all(folder)
        assert texts in (OLD, NEW), f"killed before change {moment}: {texts}"
        assert snapshot(folder) == left, "reading changed the folder"
        with Bundle.open(folder).transaction() as step:
            add(step, "fifth", "5")
        assert read_all(folder) == {**texts, "fifth": "5"}
        assert not [*folder.glob(".[cs]*")], "the next step finishes and sweeps"
        outcomes.append(len(texts))
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert outcomes == sorted(outcomes), "one change decides; the others come after it"
    assert (outcomes.count(3), outcomes.count(4)) == (8, 11)


def snapshot(folder: Path) -> dict[str, object]:
    """Everything below a folder: kind, content or target, times, links."""
    found = dict[str, object]()
    for path in [folder, *folder.rglob("*")]:
        state = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(state.st_mode) else path.readlink() if path.is_symlink() else None
        found[str(path.relative_to(folder))] = (state.st_mode, state.st_ino, state.st_mtime_ns, content)
    return found


def test_an_error_while_committing_leaves_a_whole_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make(tmp_path / "bundle")
    before = contents(bundle.folder)

    def full(self: Path, *_arguments: object, **_options: object) -> int:
        raise OSError(28, "No space left on device", str(self))

    with pytest.raises(OSError, match="No space"):
        add_one(bundle, "child", meanwhile=lambda: monkeypatch.setattr(Path, "write_text", full))
    monkeypatch.undo()
    assert contents(bundle.folder) == before
    Bundle.open(bundle.folder).find("child", REMEDY)


def test_the_staged_files_of_a_living_process_are_left_alone(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    other = run_code(
        """
        with Bundle.open(sys.argv[1]).transaction() as step:
            add(step, "theirs", "1")
            print("staged", flush=True)
            sys.stdin.readline()
        """,
        bundle.folder,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "staged\n"
    with bundle.transaction() as step:
        add(step, "ours", "2")
    other.communicate("go on\n")
    assert other.returncode == 0
    assert {"theirs", "ours", "child"} <= set(Bundle.open(bundle.folder).artifacts)


def test_two_processes_that_add_artifacts_at_the_same_time_lose_none(tmp_path: Path) -> None:
    make(tmp_path / "bundle")
    code = """
    bundle = Bundle.open(sys.argv[1])
    sys.stdin.readline()
    for number in range(12):
        with bundle.transaction() as step:
            add(step, f"{sys.argv[2]}{number}", sys.argv[2])
    """
    processes = [run_code(code, tmp_path / "bundle", name) for name in "ab"]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait() for process in processes] == [0, 0]
    opened = Bundle.open(tmp_path / "bundle")
    assert {f"{name}{number}" for name in "ab" for number in range(12)} <= set(opened.artifacts)
    for key in opened.artifacts:
        opened.find(key, REMEDY)


def test_a_step_does_not_undo_another_processs_new_description(tmp_path: Path) -> None:
    make(tmp_path / "bundle")
    slow = Bundle.open(tmp_path / "bundle")
    labelled = ModelSpec.from_json({**SPEC.to_json(), "labels": [f"class{n}" for n in range(10)]})
    with Bundle.create(tmp_path / "bundle", labelled, random_weights=True).transaction() as step:
        add(step, "grandparent", "exported again")
    with slow.transaction() as step:
        add(step, "report", "slow")
    opened = Bundle.open(tmp_path / "bundle")
    assert (opened.spec, opened.random_weights) == (labelled, True)
    assert slow.spec == labelled
    assert {"report", "child"} <= set(opened.artifacts)


def test_exporting_again_makes_the_children_and_grandchildren_stale(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    with bundle.transaction() as step:
        add(step, "grandparent", "exported again")
    bundle.find("grandparent", REMEDY)
    with pytest.raises(DeployError, match=r"parent was made from grandparent \w{12}, which is now .*`wrn-deploy fix`"):
        bundle.find("parent", REMEDY)
    with pytest.raises(DeployError, match=r"parent was made from grandparent .*`wrn-deploy fix`"):
        bundle.find("child", REMEDY)


def test_the_same_file_made_again_makes_nothing_stale(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    with bundle.transaction() as step:
        add(step, "grandparent", "one")
    bundle.find("child", REMEDY)


def test_parents_in_a_circle_end(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    digest = bundle.artifacts["child"].sha256
    edit_manifest(
        bundle.folder, lambda record: record["artifacts"]["grandparent"]["recipe"].update(parents={"child": digest})
    )
    Bundle.open(bundle.folder).find("child", REMEDY)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "other bytes of the same size": lambda file: file.write_text("THREE"),
    "truncated": lambda file: file.write_text("thr"),
    "longer": lambda file: file.write_text("three and more"),
    "empty": lambda file: file.write_text(""),
    "missing": lambda file: file.unlink(),
    "a folder": lambda file: file.rename(file.with_suffix(".old")).with_suffix(".txt").mkdir(),
    "a link to nowhere": lambda file: file.rename(file.with_suffix(".old")).with_suffix(".txt").symlink_to("nowhere"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, damage: str) -> None:
    bundle = make(tmp_path / "bundle")
    recipe = bundle.artifacts["child"].recipe
    assert bundle.current("child", recipe) is not None
    DAMAGES[damage](bundle.folder / "child.txt")
    with pytest.raises(DeployError, match=r"child\.txt is (not the|missing|a folder|a link).*`wrn-deploy fix`"):
        bundle.find("child", REMEDY)
    assert bundle.current("child", recipe) is None, "the step must run again"
    bundle.find("parent", REMEDY)


def test_an_absent_artifact_is_named_with_the_remedy(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    with pytest.raises(DeployError, match=r"has no plan: run `wrn-deploy fix`"):
        bundle.find("plan", REMEDY)


def test_a_step_is_up_to_date_only_with_the_very_same_recipe(tmp_path: Path) -> None:
    bundle = Bundle.open(make(tmp_path / "bundle").folder)
    same = Recipe(
        parents={"parent": bundle.artifacts["parent"].sha256}, options={"size": 3, "shape": (1, 2)}, tools={"tool": "1"}
    )
    assert bundle.current("child", same) == bundle.artifacts["child"]
    assert bundle.current("absent", same) is None
    for other in (
        Recipe(parents={"parent": "0" * 64}, options=same.options, tools=same.tools),
        Recipe(parents={}, options=same.options, tools=same.tools),
        Recipe(parents=same.parents, options={"size": 4, "shape": (1, 2)}, tools=same.tools),
        Recipe(parents=same.parents, options={"size": 3}, tools=same.tools),
        Recipe(parents=same.parents, options=same.options, tools={"tool": "2"}),
    ):
        assert bundle.current("child", other) is None


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DeployError, match=r"not a bundle: it has no manifest\.json; make one with `wrn-deploy exp"):
            Bundle.open(folder)


def test_a_file_is_not_a_bundle_and_the_error_names_its_folder(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    file = bundle.file(bundle.artifacts["parent"])
    with pytest.raises(DeployError) as error:
        Bundle.open(file)
    assert str(error.value) == f"{file} is a file, not a bundle: expected its folder, {bundle.folder}"
    (tmp_path / "copy").write_bytes(b"")
    with pytest.raises(DeployError, match="is a file, not a bundle: expected a bundle's folder"):
        Bundle.open(tmp_path / "copy")


def test_a_manifest_of_another_format_says_what_to_do(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    manifest = bundle.folder / "manifest.json"
    manifest.write_text(json.dumps({"format": 3, "written": "by a later version"}))
    with pytest.raises(DeployError, match=r"manifest\.json has format 3: expected 2; use the version .* export .* ag"):
        Bundle.open(bundle.folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"x"', "{}", '{"format": 2}', "[" * 100_000, "\x00"])
def test_a_damaged_manifest_says_what_to_do(tmp_path: Path, text: str) -> None:
    bundle = make(tmp_path / "bundle")
    (bundle.folder / "manifest.json").write_text(text)
    with pytest.raises(DeployError, match=r"manifest.json is (damaged|nested).*: (export the|copy the|expected)"):
        Bundle.open(bundle.folder)


def test_a_manifest_that_is_no_text_is_damaged(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    (bundle.folder / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeployError, match="is damaged"):
        Bundle.open(bundle.folder)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../../etc/passwd", "..", "a/../../b", "a/..", "//etc/passwd", "a\x00.png", "\ud800", 3, None, "",
     ".", "./a", "a//b", "a/", "a\\b", ".lock", ".commit/x", "x/.lock", "manifest.json", "a\x1b.onnx", "a\u202e.onnx"],
)  # fmt: skip
def test_a_path_that_leaves_the_bundle_is_refused(tmp_path: Path, path: object) -> None:
    bundle = make(tmp_path / "bundle")
    edit_manifest(bundle.folder, lambda record: record["artifacts"]["child"].update(path=path))
    with pytest.raises(DamagedFile, match=r"manifest\.json\.artifacts\.child"):
        Bundle.open(bundle.folder)


def use_everything(folder: Path) -> None:
    opened = Bundle.open(folder)
    for key, artifact in opened.artifacts.items():
        assert opened.file(artifact).resolve().is_relative_to(folder.resolve()), artifact.path
        opened.current(key, artifact.recipe)
        opened.find(key, REMEDY)


@pytest.mark.parametrize("seed", range(5))
def test_mutated_manifests_give_nothing_but_our_own_errors(tmp_path: Path, seed: int) -> None:
    bundle = make(tmp_path / "bundle")
    manifest = bundle.folder / "manifest.json"
    record = read_record(bundle.folder)
    dice, refused = random.Random(seed), 0
    for _ in range(80):
        text = mutate_record(record, dice)
        manifest.write_bytes(text)
        try:
            use_everything(bundle.folder)
        except DeployError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{error!r} for {text[:2000]!r}") from error
    assert 20 < refused < 80, "most mutations are harmful, some are not"


def test_a_bundle_is_not_made_in_place_of_something_else(tmp_path: Path) -> None:
    file, folder, web = tmp_path / "file", tmp_path / "folder", tmp_path / "web"
    file.write_text("mine")
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    web.mkdir()
    (web / "manifest.json").write_text('{"name": "a web application"}')
    for taken, match in ((file, "is a file"), (folder, "contains other files"), (web, "contains other files")):
        with pytest.raises(DeployError, match=match):
            Bundle.create(taken, SPEC, random_weights=False)
    assert (folder / "thesis.tex").read_text() == "mine"
    assert (web / "manifest.json").exists()


def test_a_damaged_bundle_can_be_made_anew(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    (bundle.folder / "manifest.json").write_text("{")
    with Bundle.create(bundle.folder, SPEC, random_weights=False).transaction() as step:
        add(step, "child", "whole again")
    assert list(Bundle.open(bundle.folder).artifacts) == ["child"]
