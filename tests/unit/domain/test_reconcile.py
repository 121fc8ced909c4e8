"""Bounds, sums, fingerprints and splitting, as Negentropy protocol v1 has them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain.reconcile import (
    INFINITY,
    ZERO,
    BadVarint,
    Bound,
    Item,
    Truncated,
    Vector,
    add,
    bucket_ends,
    decode_varint,
    encode_varint,
    exact_bound,
    fingerprint,
    fingerprint_of,
    minimal_bound,
    sum_of,
)

ids = st.binary(min_size=32, max_size=32) | st.sampled_from([bytes([n]) + bytes(31) for n in range(4)])
items = st.builds(Item, st.integers(0, 3) | st.integers(0, 2**53 - 1), ids)
sets = st.sets(items, max_size=60)
bounds = st.builds(
    Bound, st.integers(0, 3), st.binary(max_size=32).map(lambda prefix: prefix.rstrip(b"\0"))
) | items.map(exact_bound)


@given(st.integers(0, 2**56 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_a_number_is_read_as_it_was_written(number: int, before: bytes, after: bytes) -> None:
    written = encode_varint(number)
    assert decode_varint(before + written + after, len(before)) == (number, len(before) + len(written))
    assert len(written) == max(1, -(-number.bit_length() // 7))


@given(st.binary(max_size=12))
def test_a_number_has_one_spelling(data: bytes) -> None:
    try:
        number, end = decode_varint(data, 0)
    except (BadVarint, Truncated):
        return
    assert encode_varint(number) == data[:end]


@pytest.mark.parametrize("spelling", ["8000", "8001", "808001", "ffffffffffffffff00", "8" * 18])
def test_leading_zeros_and_long_numbers_are_refused(spelling: str) -> None:
    with pytest.raises(BadVarint):
        decode_varint(bytes.fromhex(spelling), 0)


@pytest.mark.parametrize("spelling", ["", "81", "ffffffffffffff"])
def test_a_number_that_does_not_end_is_refused(spelling: str) -> None:
    with pytest.raises(Truncated):
        decode_varint(bytes.fromhex(spelling), 0)


@given(sets, bounds)
def test_a_bound_parts_the_set_where_its_prefix_with_zeros_would(them: set[Item], bound: Bound) -> None:
    whole = (bound.timestamp, bound.prefix.ljust(32, b"\0"))
    place = Vector(them).find_lower_bound(bound)
    assert place == sum((item.timestamp, item.id) < whole for item in them)
    assert Vector(them).find_lower_bound(ZERO) == 0
    assert Vector(them).find_lower_bound(INFINITY) == len(them)


@given(st.sets(items, min_size=2, max_size=2))
def test_a_minimal_bound_parts_two_items_and_no_shorter_one_does(two: set[Item]) -> None:
    before, after = sorted(two)
    bound = minimal_bound(before, after)
    assert tuple(before) < tuple(bound) <= tuple(after)
    assert not bound.prefix.endswith(b"\0")
    if bound.prefix:
        assert tuple(before) >= (after.timestamp, bound.prefix[:-1])


@given(items)
def test_an_exact_bound_is_right_before_its_item(item: Item) -> None:
    assert Vector([item]).find_lower_bound(exact_bound(item)) == 0
    assert exact_bound(item).prefix.ljust(32, b"\0") == item.id


@given(sets, st.data())
def test_sums_of_neighbouring_ranges_add_up(them: set[Item], data: st.DataObject) -> None:
    view = Vector(them)
    begin, middle, end = sorted(data.draw(st.integers(0, len(them))) for _ in range(3))
    assert view.sum(begin, end) == sum_of(item.id for item in view.items(begin, end))
    assert view.sum(begin, end) == add(view.sum(begin, middle), view.sum(middle, end))
    assert 0 <= view.sum(begin, end) < 2**256


def test_a_fingerprint_is_the_cut_hash_of_sum_and_count() -> None:
    low = b"\x01" + bytes(31)
    high = bytes(31) + b"\x80"
    assert sum_of([low, low]) == 2
    assert sum_of([high, high]) == 0
    expected = hashlib.sha256(b"\x02" + bytes(31) + b"\x02").digest()[:16]
    assert fingerprint(2, 2) == expected
    assert fingerprint_of(Vector([Item(5, low), Item(6, low)])) == (expected, 2)


def test_the_fingerprint_of_an_empty_set() -> None:
    assert fingerprint_of(Vector([])) == (hashlib.sha256(bytes(33)).digest()[:16], 0)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(2, 64))
def test_buckets_cover_everything_evenly_and_none_is_empty(begin: int, count: int, fan_out: int) -> None:
    ends = bucket_ends(begin, begin + count, fan_out)
    sizes = [end - start for start, end in zip([begin, *ends], ends, strict=False)]
    assert len(ends) == min(fan_out, count)
    assert sum(sizes) == count
    assert all(sizes)
    assert sizes == sorted(sizes, reverse=True)
    assert not sizes or sizes[0] - sizes[-1] <= 1


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param([Item(1, bytes(32)), Item(1, bytes(32))], id="twice"),
        pytest.param([Item(1, bytes(31))], id="a short id"),
        pytest.param([Item(2**53, bytes(32))], id="beyond 2**53"),
        pytest.param([Item(-1, bytes(32))], id="before 1970"),
    ],
)
def test_a_set_refuses_what_no_set_can_hold(wrong: list[Item]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Vector(wrong)
