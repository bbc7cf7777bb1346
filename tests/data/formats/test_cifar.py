"""The four versions of CIFAR, and pickles that are not to be trusted."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.made import Pixels
from wrn_deploy.data import Role, open_data
from wrn_deploy.errors import DamagedFile, DeployError

VERSIONS = ("cifar10_binary", "cifar100_binary", "cifar10_python", "cifar100_python")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("role", list(Role))
def test_the_role_chooses_the_files(
    version: str, role: Role, request: pytest.FixtureRequest, digit_images: Pixels, digit_labels: list[int]
) -> None:
    source = open_data(str(request.getfixturevalue(version)), role)
    part = slice(40) if role is Role.TRAIN else slice(40, None)
    items = list(source.items())
    offset = 90 if "100" in version else 0
    np.testing.assert_array_equal(np.stack([item.load() for item in items]), digit_images[part])
    assert [item.label for item in items] == [offset + label for label in digit_labels[part]]
    assert source.mirror
    assert source.labels[-1] == ("class99" if "100" in version else "digit9")
    assert len(source) == len(items)


def test_the_class_names_of_cifar10_may_be_missing(cifar10_binary: Path) -> None:
    (cifar10_binary / "batches.meta.txt").unlink()
    assert open_data(str(cifar10_binary), Role.TEST).labels == ()


def test_a_missing_file_is_named(cifar10_binary: Path) -> None:
    (cifar10_binary / "data_batch_3.bin").unlink()
    with pytest.raises(DeployError, match=r"lacks data_batch_3\.bin: expected data_batch_1\.bin, .*; unpack"):
        open_data(str(cifar10_binary), Role.TRAIN)
    assert len(open_data(str(cifar10_binary), Role.TEST)) == 8


def test_a_truncated_binary_file_is_found_when_opened(cifar10_binary: Path) -> None:
    file = cifar10_binary / "test_batch.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DeployError, match=r"test_batch\.bin has 24583 bytes: expected a multiple of 3073"):
        open_data(str(cifar10_binary), Role.TEST)


def test_a_label_of_no_class_is_named(cifar10_binary: Path) -> None:
    file = cifar10_binary / "test_batch.bin"
    content = bytearray(file.read_bytes())
    content[3073] = 200
    file.write_bytes(content)
    with pytest.raises(DeployError, match=r"test_batch\.bin image 1 has label 200: expected 0 to 9"):
        list(open_data(str(cifar10_binary), Role.TEST).items())


def test_too_few_class_names_are_an_error(cifar10_binary: Path) -> None:
    (cifar10_binary / "batches.meta.txt").write_text("cat\ndog\n")
    with pytest.raises(DeployError, match="has 2 class names: expected 10"):
        open_data(str(cifar10_binary), Role.TEST)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.99])
def test_a_truncated_pickle_is_damaged(cifar10_python: Path, fraction: float) -> None:
    file = cifar10_python / "test_batch"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(DeployError, match=r"test_batch is a damaged pickle .*: expected an intact file"):
        open_data(str(cifar10_python), Role.TEST)


class _Harmful:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(cifar10_python: Path, protocol: int) -> None:
    marker = cifar10_python / "harmed"
    content = pickle.dumps({b"data": _Harmful(marker), b"labels": []}, protocol=protocol)
    (cifar10_python / "test_batch").write_bytes(content)
    with pytest.raises(DeployError, match=r"test_batch refers to \w+\.\w+, which was not run"):
        open_data(str(cifar10_python), Role.TEST)
    assert not marker.exists()
    pickle.loads(content)
    assert marker.exists()  # it would have worked


@pytest.mark.parametrize("name", [b"builtins\neval", b"numpy\nload", b"numpy.lib.format\nread_array", b"os\nsystem"])
def test_no_other_global_is_let_through(cifar10_python: Path, name: bytes) -> None:
    (cifar10_python / "test_batch").write_bytes(b"\x80\x02c" + name + b"\n.")
    with pytest.raises(DeployError, match="which was not run"):
        open_data(str(cifar10_python), Role.TEST)


def test_a_dotted_name_does_not_reach_through_what_is_allowed(cifar10_python: Path) -> None:
    def text(value: bytes) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value

    content = b"\x80\x04" + text(b"numpy") + text(b"ndarray.tofile") + b"\x93."
    (cifar10_python / "test_batch").write_bytes(content)
    with pytest.raises(DeployError, match=r"refers to numpy\.ndarray\.tofile, which was not run"):
        open_data(str(cifar10_python), Role.TEST)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ([1, 2], "contains a list: expected a dictionary of arrays"),
        ({}, "contains nothing: expected `data`, uint8"),
        ({b"data": np.zeros((2, 3072)), b"labels": [0, 1]}, r"damaged pickle \(an array of type b?'f8', not u1\)"),
        ({b"data": [0, 1], b"labels": [0, 1]}, "contains data, labels: expected `data`, uint8"),
        ({b"data": np.zeros((2, 3), np.uint8), b"labels": [0, 1]}, "expected `data`, uint8"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, "expected `data`, uint8"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [b"cat"]}, "a list of N integers"),
    ],
)
def test_a_pickle_of_something_else_is_described(cifar10_python: Path, table: Any, text: str) -> None:
    (cifar10_python / "test_batch").write_bytes(pickle.dumps(table, protocol=4))
    with pytest.raises(DeployError, match=text):
        open_data(str(cifar10_python), Role.TEST)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickles_of_every_protocol_are_read(
    cifar10_python: Path, planes: Pixels, digit_images: Pixels, digit_labels: list[int], protocol: int
) -> None:
    table = {b"batch_label": b"", b"data": planes[:8], b"labels": digit_labels[:8], b"filenames": [b"\xe9.png"]}
    (cifar10_python / "test_batch").write_bytes(pickle.dumps(table, protocol=protocol))
    items = list(open_data(str(cifar10_python), Role.TEST).items())
    np.testing.assert_array_equal(np.stack([item.load() for item in items]), digit_images[:8])
    assert [item.label for item in items] == digit_labels[:8]


@pytest.mark.parametrize("call", [b"cbuiltins\nbytes\n(J\xff\xff\xff\x7ftR", b"c_codecs\nencode\n(U\x01aU\x03hextR"])
def test_what_makes_bytes_makes_nothing_else(cifar10_python: Path, call: bytes) -> None:
    (cifar10_python / "test_batch").write_bytes(b"\x80\x02}U\x04data" + call + b"s.")
    with pytest.raises(DeployError, match="damaged pickle"):
        open_data(str(cifar10_python), Role.TEST)


def _python2_pickle(planes: Pixels, labels: list[int]) -> bytes:
    """The opcodes that Python 2 and its numpy wrote, as in the published files."""
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"(K\x01K" + bytes([len(planes)]) + b"M\x00\x0c\x86"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR" + shape + dtype
    content = b"\x89T" + struct.pack("<i", planes.size) + planes.tobytes() + b"tb"
    numbers = b"]q\x01(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}q\x00(U\x04data" + array + content + b"U\x06labels" + numbers + b"u."


def test_the_pickles_of_python_2_are_read(
    cifar10_python: Path, planes: Pixels, digit_images: Pixels, digit_labels: list[int]
) -> None:
    (cifar10_python / "test_batch").write_bytes(_python2_pickle(planes[:9], digit_labels[:9]))
    items = list(open_data(str(cifar10_python), Role.TEST).items())
    np.testing.assert_array_equal(np.stack([item.load() for item in items]), digit_images[:9])
    assert [item.label for item in items] == digit_labels[:9]


def test_an_array_in_column_order_is_read(cifar10_python: Path, planes: Pixels, digit_images: Pixels) -> None:
    table = {b"data": np.asfortranarray(planes[:3]), b"labels": [0, 1, 2]}
    (cifar10_python / "test_batch").write_bytes(pickle.dumps(table, protocol=4))
    items = open_data(str(cifar10_python), Role.TEST).items()
    np.testing.assert_array_equal(np.stack([item.load() for item in items]), digit_images[:3])


def test_a_pickle_damaged_anywhere_is_read_or_called_damaged(cifar10_python: Path, planes: Pixels) -> None:
    """numpy itself can crash on some of these: see `_PickledArray`."""
    file = cifar10_python / "test_batch"
    content = _python2_pickle(planes[:1], [7])
    head = [*range(120), *range(len(content) - 30, len(content))]
    outcomes: set[object] = set()
    for place in head:
        damaged = bytearray(content)
        damaged[place] ^= 0x01
        file.write_bytes(damaged)
        try:
            outcomes.add(len(open_data(str(cifar10_python), Role.TEST)))
        except DeployError as error:
            outcomes.add(type(error))
    assert outcomes <= {1, DeployError, DamagedFile}
