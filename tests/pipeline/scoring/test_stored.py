"""Scoring from and to storages: in memory, and a real S3 server; the bytes are those on a disk, and no secret leaks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import PROGRAM
from tests.shards.made import Notes, digests_of, encoded_digits, options_for
from tests.shards.stored import S3, SECRET, credentials, empty_memory, serve_s3, upload
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, GateError, OverLimit, UsageError
from wrn_deploy.files.budget import raised
from wrn_deploy.pipeline.scoring.merge import merge_scores
from wrn_deploy.pipeline.scoring.score import score_data
from wrn_deploy.progress import Silent
from wrn_deploy.shards.find import find_shards
from wrn_deploy.shards.store import open_store

pytest.importorskip("fsspec", reason="fsspec is not installed")


@dataclass(frozen=True)
class Place:
    """A storage: its file system, and an address with nothing below it."""

    filesystem: Any
    address: str

    def contents(self, below: str) -> dict[str, bytes]:
        found = self.filesystem.find(f"{self.address}/{below}")
        return {path.rpartition("/")[2]: self.filesystem.cat_file(path) for path in found}

    def parts(self, below: str) -> dict[str, bytes]:
        return {name: content for name, content in self.contents(below).items() if name.endswith(".parquet")}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    yield from serve_s3()


@pytest.fixture(params=["memory", "s3"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    if request.param == "memory":
        return Place(empty_memory(), "memory://images/x")
    for name, value in credentials(request.getfixturevalue("endpoint")).items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem()
    if not filesystem.exists("images"):
        filesystem.mkdir("images")
    return Place(filesystem, f"{S3}/{tmp_path.name}")


def test_shards_are_read_and_parts_written_as_on_a_disk(
    place: Place, bundle: Bundle, shards: Path, scored: Path, tmp_path: Path
) -> None:
    upload(place.filesystem, shards, f"{place.address}/shards")
    options = options_for(f"{place.address}/shards", f"{place.address}/out")
    assert score_data(bundle, options, Silent()).images == 80
    assert place.parts("out") == digests_of(scored)
    summary = merge_scores(bundle, options, Silent(), tmp_path / "all.parquet")
    assert (summary.images, summary.shards) == (80, 4)
    assert json.loads(place.contents("out")["summary.json"])["images"] == 80
    local = options_for(shards, f"{place.address}/local")  # read from the disk, written to the storage
    score_data(bundle, local, Silent())
    assert place.parts("local") == digests_of(scored)
    score_data(bundle, options_for(f"{place.address}/shards", tmp_path / "out"), Silent())
    assert digests_of(tmp_path / "out") == digests_of(scored)


def test_a_run_goes_on_where_one_stopped(place: Place, bundle: Bundle, shards: Path, scored: Path) -> None:
    upload(place.filesystem, shards, f"{place.address}/shards")
    options = options_for(f"{place.address}/shards", f"{place.address}/out")
    score_data(bundle, options, Silent())
    place.filesystem.rm_file(f"{place.address}/out/part-000001.json")
    place.filesystem.pipe_file(f"{place.address}/out/part-000002.parquet", b"damaged")
    progress = Notes()
    again = score_data(bundle, options, progress)
    assert (again.before, again.images) == (2, 40)
    assert place.parts("out") == digests_of(scored)
    assert progress.warnings[0].startswith("does shard 2 again: part-000002.parquet has 7 bytes")


def test_a_merge_finds_what_is_wrong(place: Place, bundle: Bundle, shards: Path) -> None:
    upload(place.filesystem, shards, f"{place.address}/shards")
    options = options_for(f"{place.address}/shards", f"{place.address}/out")
    with pytest.raises(GateError, match="has no scores"):
        merge_scores(bundle, options, Silent())
    score_data(bundle, options, Silent())
    content = bytearray(place.contents("out")["part-000003.parquet"])
    content[100] ^= 1
    place.filesystem.pipe_file(f"{place.address}/out/part-000003.parquet", bytes(content))
    place.filesystem.rm_file(f"{place.address}/out/part-000000.parquet")
    with pytest.raises(
        GateError, match=r"2 shards cannot be used: part-000000\.parquet is missing.*part-000003\.parquet is"
    ):
        merge_scores(bundle, options, Silent())


@pytest.mark.parametrize(
    "name", ["shards/digits-{001..002}.tar", "shards/digits-00[12]*", "shards/*-00*.tar", "shards/digits-001.tar"]
)
def test_patterns_and_single_files_are_found(place: Place, shards: Path, name: str) -> None:
    upload(place.filesystem, shards, f"{place.address}/shards")
    if "[" in name:
        name = "shards/digits-0*2.tar"
    found = [shard.name for shard in find_shards(f"{place.address}/{name}", 1).shards]
    assert (
        found
        == {
            "shards/digits-{001..002}.tar": ["digits-001.tar", "digits-002.tar"],
            "shards/digits-0*2.tar": ["digits-002.tar"],
            "shards/*-00*.tar": [f"digits-00{index}.tar" for index in range(4)],
            "shards/digits-001.tar": ["digits-001.tar"],
        }[name]
    )


def test_images_of_a_folder_and_of_a_list_are_received(place: Place, bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, (content, _) in enumerate(encoded_digits(70)):
        (folder / f"{index:02d}.png").write_bytes(content)
    upload(place.filesystem, folder, f"{place.address}/photos")
    more = {"images_per_shard": 50, "top_k": 3, "logits": True}
    stored, local = (
        options_for(f"{place.address}/photos", tmp_path / "stored", **more),
        options_for(folder, tmp_path / "local", **more),
    )
    assert score_data(bundle, stored, Silent()).images == score_data(bundle, local, Silent()).images == 70
    assert columns(tmp_path / "stored") == columns(tmp_path / "local")
    lines = [f"{place.address}/photos/{index:02d}.png" for index in (3, 1)] + [
        f"{place.address}/photos/none.png",
        f"{folder}/05.png",
    ]
    (tmp_path / "images.txt").write_text("\n".join(lines))
    listed = options_for(tmp_path / "images.txt", tmp_path / "listed", max_corrupt=1, **more)
    result = score_data(bundle, listed, Silent())
    assert (result.images, result.corrupt) == (3, (f"{place.address}/photos/none.png",))
    with pytest.raises(DeployError, match=r"none\.png cannot be read \(nothing is stored there\)"):
        score_data(bundle, options_for(tmp_path / "images.txt", tmp_path / "none", **more), Silent())


def columns(out: Path) -> list[Any]:
    from pyarrow import parquet as pq

    rows: list[Any] = pq.read_table(sorted(out.glob("*.parquet")), columns=["classes", "scores", "logits"]).to_pylist()
    return rows


def test_what_is_not_there_is_named(place: Place, bundle: Bundle, tmp_path: Path) -> None:
    for data in (f"{place.address}/none", f"{place.address}/none.tar", f"{place.address}/x-{{0..1}}.tar"):
        with pytest.raises(DeployError, match=r"nothing is stored at|has no images|2 are missing, the first"):
            score_data(bundle, options_for(data, tmp_path / "out"), Silent())
    place.filesystem.pipe_file(f"{place.address}/words/a.doc", b"words")
    with pytest.raises(DeployError, match=r"has no images: expected \.tar or \.parquet files"):
        find_shards(f"{place.address}/words", 1)


def test_what_is_received_is_limited(place: Place, bundle: Bundle, shards: Path, tmp_path: Path) -> None:
    upload(place.filesystem, shards, f"{place.address}/shards")
    with raised("download_bytes=1000"), pytest.raises(OverLimit, match="the limit is 1,000"):
        score_data(bundle, options_for(f"{place.address}/shards", tmp_path / "out"), Silent())


def test_no_secret_is_in_any_file_or_text(
    endpoint: str, bundle: Bundle, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    for name, value in credentials(endpoint).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem()
    if not filesystem.exists("images"):
        filesystem.mkdir("images")
    upload(filesystem, shards, "images/secret/shards")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": "400"}
    texts = b""
    for more in ([], ["--merge", "--into", "all.parquet"], ["--print-job", "slurm"], ["--top-k", "2"]):
        command = [
            sys.executable,
            "-c",
            PROGRAM,
            "score",
            str(bundle.folder),
            "--data",
            f"{S3}/secret/shards",
            "--out",
            f"{S3}/secret/out",
            "-v",
        ]
        done = subprocess.run(
            [*command, "--backend", "onnxruntime", *more],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == (2 if "--top-k" in more else 0), done.stderr.decode()
        texts += done.stdout + done.stderr
    done = subprocess.run(
        [*command[:3], "score", str(bundle.folder), "--data", f"s3://{SECRET}@images/shards", "--out", "x", "-v"],
        cwd=tmp_path, env=environment, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"s3://***@images/shards has a user" in done.stderr
    stored = b"".join(filesystem.cat_file(path) for path in filesystem.find("images/secret/out"))
    for secret in (SECRET, "AKIAEXAMPLE"):
        assert secret.encode() not in texts + done.stdout + done.stderr + stored
        assert secret.encode() not in (tmp_path / "all.parquet").read_bytes()


def test_a_killed_run_to_a_storage_goes_on(
    endpoint: str, bundle: Bundle, shards: Path, scored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    for name, value in credentials(endpoint).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem()
    if not filesystem.exists("images"):
        filesystem.mkdir("images")
    upload(filesystem, shards, "images/killed/shards")
    options = options_for(f"{S3}/killed/shards", f"{S3}/killed/out")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", PROGRAM, "score", str(bundle.folder), "--data", options.data, "--out", options.out]
    more = ["--backend", "onnxruntime", "--threads", "1", "--batch", "8"]
    running = subprocess.Popen([*command, *more], env=environment, stderr=subprocess.PIPE)
    for _ in range(2400):
        filesystem.invalidate_cache()
        if filesystem.exists("images/killed/out/part-000000.json"):
            break
        assert running.poll() is None
        time.sleep(0.01)
    running.kill()
    running.communicate(timeout=60)
    again = score_data(bundle, options, Silent())
    assert again.before >= 1
    place = Place(filesystem, f"{S3}/killed")
    assert place.parts("out") == digests_of(scored)
    assert merge_scores(bundle, options, Silent()).images == 80


def test_a_server_that_is_gone_is_an_error_that_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    for name, value in credentials("http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(OSError, match=r"Connect|connect") as caught:
        open_store("s3://images/out").names()
    assert not isinstance(caught.value, DeployError)
    assert caught.value.filename == "s3://images/out"


@pytest.mark.parametrize(
    ("address", "module", "words"),
    [
        ("s3://a/b", "s3fs", r"s3:// needs s3fs, which is not installed: pip install .*s3fs>="),
        ("gs://a/b", "gcsfs", r"gs:// needs gcsfs, which is not installed: pip install gcsfs"),
        ("memory://a/b", "fsspec", r"needs fsspec, which is not installed: pip install .*fsspec>="),
    ],
)
def test_a_missing_package_is_named(address: str, module: str, words: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "import wrn_deploy.errors as errors\n"
        f"errors._is_missing = lambda package: package == {module!r}\n"
        "from wrn_deploy.shards.store import open_store\n"
        f"try: open_store({address!r}).names()\n"
        "except errors.MachineError as error: print(error)\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert re.search(words, printed)


def test_an_address_of_another_scheme_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"http://host/x: expected an address that starts with s3://, gs://, hf://, or a path"
    ):
        find_shards("http://host/x", 1)
