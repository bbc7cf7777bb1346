"""Addresses: which are taken, and that no secret in one reaches a text."""

from __future__ import annotations

import pytest

from wrn_deploy.errors import UsageError
from wrn_deploy.shards.address import check_address, is_address, without_secrets


@pytest.mark.parametrize(
    "address", ["s3://bucket/a/b.tar", "gs://bucket", "hf://datasets/user/set@main/x", "memory://a"]
)
def test_addresses_of_known_storages_are_taken(address: str) -> None:
    assert is_address(address)
    assert check_address(address) == address


@pytest.mark.parametrize(
    ("address", "shown", "words"),
    [
        ("s3://AKIAKEY:SeCrEt@bucket/a", "s3://***@bucket/a", "has a user, a password or a query"),
        ("s3://SeCrEt@bucket/a", "s3://***@bucket/a", "has a user"),
        ("s3://bucket/a?X-Amz-Signature=SeCrEt&x=SeCrEt", "s3://bucket/a?***", "or a query"),
        (
            "https://host/a.tar?sig=SeCrEt",
            "https://host/a.tar?***",
            "expected an address that starts with s3://, gs://, hf://",
        ),
        ("ftp://user:SeCrEt@host/a", "ftp://***@host/a", "expected an address"),
        ("s3://", "s3://", "names no place"),
        ("s3://bucket/../a", "s3://bucket/../a", "names no place"),
    ],
)
def test_others_are_refused_without_their_secrets(address: str, shown: str, words: str) -> None:
    with pytest.raises(UsageError, match="expected") as caught:
        check_address(address)
    assert str(caught.value).startswith(shown)
    assert words in str(caught.value)
    assert "SeCrEt" not in str(caught.value)


def test_paths_are_no_addresses() -> None:
    assert not any(map(is_address, ("a/b.tar", "/a:b", "C:/x", "digits:train")))


def test_credentials_of_the_environment_are_cut_out_of_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SeCrEtVaLuE")
    monkeypatch.setenv("HF_TOKEN", "is")  # a word
    text = "Signature of 'SeCrEtVaLuE' is wrong: https://u:p@host/x?sig=1 'https://host/y?sig=2'"
    assert without_secrets(text) == "Signature of '***' is wrong: https://***@host/x?*** 'https://host/y?***'"
