"""The parsers of options, on texts that hypothesis makes: what is written is read, and garbage is a UsageError."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wrn_deploy.cli.commands.engines import parse_capabilities
from wrn_deploy.cli.options.shared import parse_batches, parse_candidate, parse_percent, parse_three
from wrn_deploy.data.corrupt import Percent, parse_max_corrupt
from wrn_deploy.engines.options import Profile, parse_profile
from wrn_deploy.errors import UsageError
from wrn_deploy.spec import Precision

PARSERS: list[Callable[[str], object]] = [
    parse_profile,
    lambda text: parse_capabilities([text]),
    lambda text: parse_candidate("--baseline", text),
    lambda text: parse_percent("--max-regress", text),
    lambda text: parse_three("--mean", text),
    parse_max_corrupt,
    parse_batches,
]
NAMES = ["profiles", "capabilities", "candidate", "percent", "three", "max-corrupt", "batches"]
SIZES = st.integers(1, 4096)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
GARBAGE = st.one_of(st.text(), st.text(alphabet="0123456789.,:%-+e_ naif"))


@pytest.mark.parametrize("parse", PARSERS, ids=NAMES)
@given(text=GARBAGE)
@example(text="")
@example(text="%")
@example(text="nan%")
@example(text="9" * 5000)
@example(text="9" * 5000 + ":1:1")
@example(text="1e999,1,1")
def test_garbage_is_wrong_usage_and_nothing_else(parse: Callable[[str], object], text: str) -> None:
    with contextlib.suppress(UsageError):
        parse(text)


@given(st.lists(st.lists(SIZES, min_size=3, max_size=3).map(sorted)))
def test_profiles(sizes: list[list[int]]) -> None:
    profiles = tuple(parse_profile(":".join(map(str, three))) for three in sizes)
    assert profiles == tuple(Profile(minimum=low, optimum=opt, maximum=high) for low, opt, high in sizes)


@given(SIZES, SIZES, SIZES)
def test_a_profile_out_of_order_is_refused(low: int, opt: int, high: int) -> None:
    text = f"{low}:{opt}:{high}"
    if low <= opt <= high:
        assert parse_profile(text) == Profile(minimum=low, optimum=opt, maximum=high)
    else:
        with pytest.raises(UsageError, match="min <= opt <= max"):
            parse_profile(text)


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(0, 9))))
def test_capabilities_by_number_and_by_name_are_the_same(found: list[tuple[int, int]]) -> None:
    names = tuple(f"SM{major}{minor}" for major, minor in found)
    assert parse_capabilities([f"{major}.{minor}" for major, minor in found]) == names
    assert parse_capabilities(names) == names


@given(st.text(), st.sampled_from(Precision))
def test_a_candidate(backend: str, precision: Precision) -> None:
    assert parse_candidate("--baseline", f"{backend}-{precision}") == (backend, precision)


@given(st.lists(SIZES, min_size=1, unique=True))
def test_batches(sizes: list[int]) -> None:
    assert parse_batches(",".join(map(str, sizes))) == tuple(sizes)


@given(st.lists(SIZES, min_size=1), st.integers(0))
def test_a_batch_size_twice_is_refused(sizes: list[int], index: int) -> None:
    with pytest.raises(UsageError, match="distinct sizes"):
        parse_batches(",".join(map(str, [*sizes, sizes[index % len(sizes)]])))


@given(NUMBERS, st.sampled_from(["", "%", " %"]))
def test_per_cent(value: float, sign: str) -> None:
    if value >= 0:
        assert parse_percent("--max-regress", f"{value!r}{sign}") == value
    else:
        with pytest.raises(UsageError, match=r"--max-regress .*expected a percentage of at least 0"):
            parse_percent("--max-regress", f"{value!r}{sign}")


@given(st.lists(NUMBERS, max_size=5))
def test_three_numbers(values: list[float]) -> None:
    text = ",".join(map(repr, values))
    if len(values) == 3:
        assert parse_three("--mean", text) == tuple(values)
    else:
        with pytest.raises(UsageError, match=r"--mean .*expected three finite numbers"):
            parse_three("--mean", text)


@given(st.integers(0, 10**9))
def test_a_number_of_corrupt_images(count: int) -> None:
    assert parse_max_corrupt(str(count)) == count


@given(st.floats(-1e3, 1e3))
def test_a_share_of_corrupt_images(percent: float) -> None:
    if 0 <= percent <= 100:
        assert parse_max_corrupt(f"{percent!r}%") == Percent(percent)
    else:
        with pytest.raises(UsageError, match=r"--max-corrupt .*such as 3 or 1%"):
            parse_max_corrupt(f"{percent!r}%")


@pytest.mark.parametrize("parse", [parse_candidate, parse_percent, parse_three])
def test_an_option_that_is_not_given_is_none(parse: Callable[[str, str | None], object]) -> None:
    assert parse("--option", None) is None
