"""What hubs advise each other: bodies that read back as written, and nothing else that can be read."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain import cbor
from hub.domain.advice import (
    MAX_ENTRIES,
    MAX_RULE,
    Blocked,
    Entry,
    Flag,
    block_list_object,
    encode_block_list,
    encode_flag,
    fitting,
    read_block_list,
    read_flag,
)
from hub.domain.ids import HubId
from hub.domain.policy import Reason
from hub.domain.records import MAX_BODY, BadRecord

SALT = bytes(16)
LENGTHS = {Blocked.HUB: 32, Blocked.OBJECT: 16, Blocked.BLOB: 32}

flags = st.builds(Flag, st.sampled_from(Reason), st.integers(0, MAX_RULE))
entries = st.sampled_from(Blocked).flatmap(
    lambda kind: st.builds(Entry, st.just(kind), st.binary(min_size=LENGTHS[kind], max_size=LENGTHS[kind]))
)


@given(flags)
def test_a_flag_reads_back_as_it_was_written(flag: Flag) -> None:
    assert read_flag(encode_flag(flag, SALT)) == flag


@given(st.lists(entries, max_size=60))
def test_a_block_list_reads_back_as_it_was_written_each_entry_once(listed: list[Entry]) -> None:
    assert read_block_list(encode_block_list(listed, SALT)) == frozenset(listed)
    assert fitting(listed) == sorted(set(listed))


@pytest.mark.parametrize("kind", Blocked)
def test_a_list_that_is_too_long_keeps_its_first_entries_and_fits_into_a_record(kind: Blocked) -> None:
    listed = [Entry(kind, number.to_bytes(LENGTHS[kind], "big")) for number in range(2 * MAX_ENTRIES)]
    mixed = [Entry(Blocked.OBJECT, number.to_bytes(16, "big")) for number in range(5000, 5400)]
    for wanted in (listed, [*mixed, *listed], [*listed, *mixed]):
        body = encode_block_list(fitting(wanted), SALT)
        assert len(body) <= MAX_BODY
        kept = read_block_list(body)
        assert kept == frozenset(fitting(wanted))
        assert wanted[0] in kept
        assert all(sum(entry.kind is each for entry in kept) <= MAX_ENTRIES for each in Blocked)
        full = len(body) > MAX_BODY - 64
        assert full or sum(entry.kind is kind for entry in kept) == MAX_ENTRIES


def test_a_reason_of_a_newer_release_counts_as_unsure() -> None:
    body = cbor.encode({0: SALT, 20: "spam", 21: 3, 99: "more"})
    assert read_flag(body) == Flag(Reason.UNSURE, 3)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {0: SALT, 20: "rules"},
        {0: SALT, 20: "rules", 21: MAX_RULE + 1},
        {0: SALT, 20: "rules", 21: -1},
        {0: SALT, 20: 7, 21: 1},
        {0: b"short", 20: "rules", 21: 1},
    ],
)
def test_what_is_no_flag_is_refused(fields: dict[int, object]) -> None:
    with pytest.raises(BadRecord):
        read_flag(cbor.encode(fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {0: SALT, 22: b"", 23: b""},
        {0: SALT, 22: bytes(31), 23: b"", 24: b""},
        {0: SALT, 22: b"", 23: bytes(16 * (MAX_ENTRIES + 1)), 24: b""},
        {0: SALT, 22: [], 23: b"", 24: b""},
    ],
)
def test_what_is_no_block_list_is_refused(fields: dict[int, object]) -> None:
    with pytest.raises(BadRecord):
        read_block_list(cbor.encode(fields))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_flag, read_block_list):
        with suppress(BadRecord, cbor.NotCanonical):
            read(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 2**40) | st.binary(max_size=40) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 30), inner, max_size=6),
    )
)
def test_any_value_is_read_or_refused(value: object) -> None:
    for read in (read_flag, read_block_list):
        with suppress(BadRecord, cbor.NotCanonical):
            read(cbor.encode(value))


def test_each_hub_has_one_block_list() -> None:
    assert block_list_object(HubId(b"a" * 32)) != block_list_object(HubId(b"b" * 32))
