"""A pickle that picklers write passes, one that would take memory, time or the C stack is refused, and nothing runs."""

from __future__ import annotations

import collections
import pickle
import pickletools
import random
import resource
import struct
import subprocess
import sys
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wrn_deploy.errors import DamagedFile, OverLimit
from wrn_deploy.files.budget import raised
from wrn_deploy.files.formats.pickle_check import check_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
INFINITE: list[Any] = []
INFINITE.append(INFINITE)
VALUES: tuple[Any, ...] = (
    None, True, 1, 2**31, -(2**63), 2**100, 1.5, "é", b"x" * 300, bytearray(b"12"), 1 + 2j, range(3), INFINITE,
    [1, [2, {"a": (1, 2, 3), "b": {1, 2}, "c": frozenset([1])}]], collections.OrderedDict(a=1), ValueError("a"),
    random.Random(1).getstate(), {(1, 2): {2**70: 1}}, [[]] * 3,
)  # fmt: skip
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.lists(inner).map(tuple),
)


def check(content: bytes) -> None:
    check_pickle(BytesIO(content), len(content), "x")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_picklers_write_passes_and_no_part_of_it_does(value: object, protocol: int) -> None:
    written = pickle.dumps(value, protocol)
    for content in (written, pickletools.optimize(written), pickle._dumps(value, protocol)):  # type: ignore[attr-defined]
        check(content)
    for size in range(len(written)):
        with pytest.raises(DamagedFile, match="x is a damaged pickle"):
            check(written[:size])


@given(plain, st.sampled_from(PROTOCOLS))
def test_any_plain_value_passes(value: object, protocol: int) -> None:
    check(pickle.dumps(value, protocol))


def test_the_stream_is_left_behind_the_pickle() -> None:
    first, second = pickle.dumps([1, "a" * 10_000]), pickle.dumps({"b": 2})
    stream, size = BytesIO(first + second + b"tensors"), len(first + second) + 7
    check_pickle(stream, size, "x")
    assert stream.tell() == len(first)
    check_pickle(stream, size - len(first), "x")
    assert stream.read() == b"tensors"


def test_classes_are_not_judged_and_not_imported() -> None:
    check(b"cno_such_module\nno_such_name\n(S'rm -rf'\ntR.")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x80\x02}r" + struct.pack("<I", 10**8) + b".", "a memo index of 100,000,000 after 3 opcodes"),
        (b"\x80\x02}r" + struct.pack("<I", 2**31 - 1) + b".", "a memo index of 2,147,483,647 after"),
        (b"Np99999999999999999999999\n.", "a memo index of 99,999,999,999,999,999,999 after"),
        (b"Np-1\n.", "the memo index b'-1'"),
        (b"\x80\x02}h\x01.", "memo index 1, which it has not set"),
        (b"Nq\x02h\x01.", "memo index 1, which it has not set"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**33) + b"x.", "a value of 8,589,934,592 bytes at byte 11"),
        (b"\x80\x05\x8e" + struct.pack("<Q", 2**60) + b"x.", "a value of 1,152,921,504,606,846,976 bytes"),
        (b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.", "a value of 1,099,511,627,776 bytes"),
        (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.", "a value of 2,147,483,647 bytes"),
        (b"\x80\x02\x8b" + struct.pack("<i", -5) + b"x.", "a value of -5 bytes"),
        (b"X\xff\xff\xff\x7fabc.", "a value of 2,147,483,647 bytes"),
        (b"\xff.", "an unknown opcode at byte 0"),
        (b"", "it ends in the middle"),
        (b"N", "it ends in the middle"),
        (b"I1", "it ends in the middle"),
        (b".", "too few objects"),
        (b"Na.", "too few objects"),
        (b"](a.", "too few objects"),
        (b"t.", "no mark"),
    ],
    ids=repr,
)
def test_what_no_pickler_writes_is_damaged(content: bytes, reason: str) -> None:
    with pytest.raises(DamagedFile, match=reason):
        check(content)


WIDE = b"".join(b"\x8a\x0a" + ((2**61 - 1) * number).to_bytes(10, "little") + b"Ns" for number in range(1, 10_002))
PAIRS = b"".join(b"K\x01J" + struct.pack("<i", number) + b"\x86Ns" for number in range(4000))


@pytest.mark.parametrize("keys", [WIDE, PAIRS, PAIRS.replace(b"Ns", b"\x85Ns")], ids=["wide", "pairs", "nested"])
def test_many_keys_whose_hashes_can_be_chosen_are_refused(keys: bytes) -> None:
    with pytest.raises(DamagedFile, match="more than 10,000 keys that are neither text nor small numbers"):
        check(b"}" + keys + b".")


def test_many_usual_keys_pass() -> None:
    check(pickle.dumps({**dict.fromkeys(range(30_000)), **{str(number): 1 for number in range(30_000)}}, 2))
    check(pickle.dumps({(number, number): 1 for number in range(3000)}, 2))


DEEP = {
    "lists": b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
    "tuples": b"K\x01" + b"\x85" * 10**5 + b".",
    "dictionaries": b"}" + b"U\x01a}" * 1000 + b"s" * 1000 + b".",
    "marks": b"(" * 1000 + b"l" * 1000 + b".",
    "filled through the memo": b"".join(b"]q%ch%ca" % (n + 1, n) if n else b"]q\x01" for n in range(110)) + b".",
    "built objects": b"ca\nb\n" * 1000 + b"b" * 999 + b".",
    "objects of objects": b"ca\nb\nN" + b"\x86" * 1 + b"\x85" * 200 + b".",
}


@pytest.mark.parametrize("content", DEEP.values(), ids=DEEP.keys())
def test_deep_values_are_over_the_limit(content: bytes) -> None:
    with pytest.raises(OverLimit, match="x needs 101 levels of nesting: the limit is 100"):
        check(content)
    with raised("nesting=2000000"):
        check(content)


def test_a_deep_key_is_refused_whatever_the_limit() -> None:
    """Its hash would overflow the C stack."""
    content = b"}K\x01" + b"\x85" * 10**6 + b"K\x01s."
    with pytest.raises(OverLimit, match="x needs 101 levels of nesting"):
        check(content)
    with raised("nesting=2000000"), pytest.raises(DamagedFile, match="more than 10,000 keys"):
        check(content)


DOUBLINGS = {
    "by the memo": b")" + b"q\x00h\x00\x86" * 60 + b".",
    "by DUP": b"K\x01" + b"2\x86" * 60 + b".",
    "lists": b"]" + b"".join(b"q%c0](h%ch%ce" % (n, n, n) for n in range(60)) + b".",
}


@pytest.mark.parametrize("content", DOUBLINGS.values(), ids=DOUBLINGS.keys())
def test_values_that_double_are_over_the_limit(content: bytes) -> None:
    with pytest.raises(OverLimit, match=r"x needs [\d,]+ members: the limit is 20,000,000"):
        check(content)


def test_the_number_of_opcodes_is_limited() -> None:
    with raised("members=1000"), pytest.raises(OverLimit, match="x needs 1,001 members: the limit is 1,000"):
        check(b"N0" * 600 + b"N.")


def test_a_greedy_pickle_takes_little_memory() -> None:
    code = (
        "import io, resource; from wrn_deploy.files.formats.pickle_check import check_pickle\n"
        "content = b']' * 3_000_000\n"
        "try: check_pickle(io.BytesIO(content), len(content), 'x')\n"
        "except Exception as error: print(type(error).__name__)"
    )
    limit = 400 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert done.stdout == "DamagedFile\n", done.stderr
