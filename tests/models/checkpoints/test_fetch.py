"""Weights by name, downloaded from a server on this machine: cached, checked, and reported clearly if it fails."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.models.checkpoints.weight_server import COMMIT, Server, closed_address, serving
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.models.checkpoints.fetch import MIRROR, fetch_weights
from wrn_deploy.models.checkpoints.sources import WeightsSource, find_source
from wrn_deploy.progress import Silent

CONTENT = b"weights" * 1000


class Notes(Silent):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def note(self, text: str) -> None:
        self.kept.append(text)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture(autouse=True)
def _caches_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def by_url() -> WeightsSource:
    """A published file's entry with the digest of what the server has."""
    return dataclasses.replace(
        find_source("torchvision/wide_resnet50_2.IMAGENET1K_V2"), sha256=hashlib.sha256(CONTENT).hexdigest()[:8]
    )


@pytest.fixture
def on_hub() -> WeightsSource:
    """A published file's entry with the commit and the digest of what the server has."""
    return dataclasses.replace(
        find_source("timm/wide_resnet50_2.racm_in1k"), revision=COMMIT, sha256=hashlib.sha256(CONTENT).hexdigest()
    )


def test_a_file_by_url_is_downloaded_once_into_torch_s_cache(
    server: Server, by_url: WeightsSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, server.address + "/mirror/")
    server.files[f"/mirror/{by_url.file}"] = CONTENT
    notes = Notes()
    file = fetch_weights(by_url, notes)
    assert file == tmp_path / "torch" / "hub" / "checkpoints" / by_url.file
    assert file.read_bytes() == CONTENT
    assert fetch_weights(by_url, notes) == file
    assert server.asked == [f"GET /mirror/{by_url.file}"]
    assert notes.kept[0] == f"downloading {server.address}/mirror/{by_url.file} to {file.parent}"


def test_what_only_part_of_a_digest_is_known_of_must_stay_as_it_was_at_first_use(
    server: Server, by_url: WeightsSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, server.address)
    server.files[f"/{by_url.file}"] = CONTENT
    notes, digest = Notes(), hashlib.sha256(CONTENT).hexdigest()
    file = fetch_weights(by_url, notes)
    assert file.with_name(f"{by_url.file}.sha256").read_text(encoding="ascii") == digest + "\n"
    assert f"only {digest[:8]}... of its sha256 is published; it is {digest}, saved in " in notes.kept[1]
    file.write_bytes(b"other")
    other = dataclasses.replace(by_url, sha256="")
    with pytest.raises(DeployError, match=rf"has changed: its sha256 is .*, and was {digest} when it was first used"):
        fetch_weights(other, Silent())


def test_of_a_whole_digest_nothing_is_noted(
    server: Server, by_url: WeightsSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, server.address)
    server.files[f"/{by_url.file}"] = CONTENT
    file = fetch_weights(dataclasses.replace(by_url, sha256=hashlib.sha256(CONTENT).hexdigest()), Silent())
    assert [path.name for path in file.parent.iterdir()] == [by_url.file]


def test_a_digest_of_the_right_beginning_does_for_no_other_file(
    server: Server, by_url: WeightsSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, server.address)
    server.files[f"/{by_url.file}"] = CONTENT
    with pytest.raises(DeployError, match="is not the published"):
        fetch_weights(dataclasses.replace(by_url, sha256=by_url.sha256 + "0" * 56), Silent())


def test_a_file_on_the_hub_that_is_not_the_published_one_is_refused(
    server: Server, on_hub: WeightsSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    server.keep_for_hub(on_hub.repository, "model.safetensors", CONTENT + b"!")
    for _ in range(2):  # downloaded, and from the cache
        with pytest.raises(DeployError, match=rf"is not the published {on_hub.name}: .* expected {on_hub.sha256};"):
            fetch_weights(on_hub, Silent())


def test_a_mirror_without_https_is_refused(by_url: WeightsSource, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("http://mirror.example", "file:///etc", "ftp://mirror.example"):
        monkeypatch.setenv(MIRROR, address)
        with pytest.raises(DeployError, match=r"is not an HTTPS URL: expected https://"):
            fetch_weights(by_url, Silent())


def test_a_file_that_is_not_the_published_one_is_refused_and_not_kept(
    server: Server, by_url: WeightsSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, server.address)
    server.files[f"/{by_url.file}"] = CONTENT[:-1]
    with pytest.raises(DeployError, match="is not the published torchvision/wide_resnet50_2") as error:
        fetch_weights(by_url, Silent())
    assert by_url.sha256 in str(error.value)
    assert list((tmp_path / "torch" / "hub" / "checkpoints").iterdir()) == []


def test_a_damaged_file_in_the_cache_is_reported(by_url: WeightsSource, tmp_path: Path) -> None:
    kept = tmp_path / "torch" / "hub" / "checkpoints" / by_url.file
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"half")
    with pytest.raises(DeployError, match=f"{kept} is not the published {by_url.name}: its sha256 is .*; remove it"):
        fetch_weights(by_url, Silent())


def test_a_server_without_the_file_says_so_and_how_to_bring_it_by_hand(
    server: Server, by_url: WeightsSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, server.address)
    with pytest.raises(DeployError, match="answers 404 Not Found: expected") as error:
        fetch_weights(by_url, Silent())
    assert f"Or copy {by_url.url} to " in str(error.value)
    assert not isinstance(error.value, MachineError)


def test_without_a_network_the_machine_cannot_do_it(by_url: WeightsSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, closed_address())
    with pytest.raises(
        MachineError, match=r"cannot be downloaded from http://127.*refused.*: expected a network"
    ) as error:
        fetch_weights(by_url, Silent())
    assert error.value.exit_code == 4
    assert f"to {Path(torch.hub.get_dir()) / 'checkpoints' / by_url.file}, or pass --weights FILE" in str(error.value)


def test_a_cache_that_cannot_be_written_is_reported(
    by_url: WeightsSource, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, server.address)
    (tmp_path / "torch").write_text("a file where a folder should be", encoding="utf-8")
    with pytest.raises(DeployError, match=r"cannot be stored .*: expected free space"):
        fetch_weights(by_url, Silent())


def test_a_file_on_the_hub_is_downloaded_once_into_its_cache(
    server: Server, on_hub: WeightsSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    server.keep_for_hub(on_hub.repository, "model.safetensors", CONTENT)
    notes = Notes()
    file = fetch_weights(on_hub, notes)
    assert file.is_relative_to(tmp_path / "hub")
    assert file.read_bytes() == CONTENT
    assert fetch_weights(on_hub, notes) == file
    assert len([asked for asked in server.asked if asked.startswith("GET")]) == 1
    assert notes.kept == [f"downloading {server.address}/{on_hub.repository}/resolve/{COMMIT}/model.safetensors"]
    monkeypatch.setenv("HF_ENDPOINT", closed_address())
    assert fetch_weights(on_hub, notes) == file  # without a network, from the cache


def test_a_hub_without_the_file_says_so(server: Server, on_hub: WeightsSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    with pytest.raises(DeployError, match=r"answers 404: expected model\.safetensors") as error:
        fetch_weights(on_hub, Silent())
    assert "https://huggingface.co/timm/wide_resnet50_2.racm_in1k/resolve/" in str(error.value)


def test_without_the_hub_the_machine_cannot_do_it(on_hub: WeightsSource, monkeypatch: pytest.MonkeyPatch) -> None:
    # Offline by its own switch: an address where nothing answers is asked again and again for half a minute.
    monkeypatch.setattr(sys.modules["huggingface_hub.constants"], "HF_HUB_OFFLINE", True)
    with pytest.raises(MachineError, match=r"timm/wide_resnet50_2\.racm_in1k cannot be downloaded from") as error:
        fetch_weights(on_hub, Silent())
    assert "with the config.json next to it, and pass --weights FILE" in str(error.value)


def test_without_the_package_it_is_named(on_hub: WeightsSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        MachineError, match=r"needs huggingface_hub, which is not installed: pip install 'huggingface-hub>"
    ):
        fetch_weights(on_hub, Silent())
