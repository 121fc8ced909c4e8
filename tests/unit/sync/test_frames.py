"""Every frame is read as it was written, in one spelling, within its limits; anything else is refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain import cbor
from hub.domain.clock import TimeQuality
from hub.domain.ids import HubId
from hub.domain.neighbours import Address
from hub.domain.reconcile import BadMessage
from hub.domain.records import MAX_BODY, MAX_HEADER, WireRecord
from hub.domain.sharing import Choice
from hub.sync.protocol import frames
from hub.sync.protocol.frames import (
    MAX_FRAME,
    MAX_IDS,
    MAX_RECORDS,
    MAX_SMALL_FRAME,
    BadFrame,
    Bye,
    Frame,
    Hello,
    Mark,
    Offered,
    OtherProtocol,
    Ping,
    Pong,
    Received,
    Reconcile,
    Records,
    Summary,
    Taken,
    Told,
    UnknownFrame,
    Wanted,
    encode,
)
from hub.sync.protocol.negentropy import FRAME_BYTES, FrameTooLong

numbers = st.integers(0, 2**53 - 1)
words = st.text(max_size=60)
names = st.text("abcdefghij-", min_size=1, max_size=20)
keys = st.binary(min_size=32, max_size=32)
qualities = st.sampled_from(TimeQuality)
indexes = st.integers(0, 95)
id_lists = st.lists(keys, min_size=1, max_size=20, unique=True).map(tuple)
wire_records = st.builds(
    WireRecord,
    st.binary(max_size=40),
    st.binary(min_size=64, max_size=64),
    st.none() | st.binary(max_size=40),
)
hellos = st.builds(
    Hello,
    keys.map(HubId),
    st.just(1),
    st.integers(1, 999),
    words,
    words,
    words,
    numbers,
    qualities,
    st.dictionaries(names, st.sampled_from(Choice), max_size=5),
    st.lists(
        st.builds(Told, keys.map(HubId), st.builds(Address, st.text(max_size=50), st.integers(0, 65_535))),
        max_size=4,
    ).map(tuple),
)
every_frame = st.one_of(
    hellos,
    st.builds(
        Summary,
        st.booleans(),
        st.lists(st.builds(Mark, st.binary(min_size=16, max_size=16), numbers), max_size=9).map(tuple),
    ),
    st.builds(Reconcile, indexes, st.binary(max_size=200)),
    st.builds(Offered, indexes, id_lists),
    st.builds(Taken, st.lists(st.booleans(), min_size=1, max_size=60).map(tuple)),
    st.builds(Wanted, indexes, id_lists, st.booleans()),
    st.builds(Records, st.lists(wire_records, min_size=1, max_size=5).map(tuple), id_lists | st.just(())),
    st.builds(Records, st.just(()), id_lists),
    st.just(Received()),
    st.builds(Ping, numbers),
    st.builds(Pong, numbers, numbers, qualities),
    st.builds(Bye, st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=40)),
)


def decode(data: bytes) -> Frame | None:
    return frames.decode(data, lowest=1, highest=1)


@given(every_frame)
def test_a_frame_is_read_as_it_was_written(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


@given(st.data())
def test_a_frame_that_can_be_read_has_no_other_spelling(data: st.DataObject) -> None:
    """Except a hello, whose unknown keys are left out."""
    written = bytearray(encode(data.draw(every_frame)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(written) - 1))
        written[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        if not written:
            return
    try:
        frame = decode(bytes(written))
    except BadMessage:
        return
    if frame is not None and not isinstance(frame, Hello):
        assert encode(frame) == bytes(written)


@given(st.integers(0, 255), st.binary(max_size=300))
def test_noise_is_refused_or_read_and_never_breaks_anything(kind: int, noise: bytes) -> None:
    with suppress(BadMessage):
        decode(bytes((kind,)) + noise)


def spelt(kind: int, value: Any) -> bytes:
    return bytes((kind,)) + cbor.encode(value)


def said(**changes: Any) -> dict[int, Any]:
    """A hello's fields, ``k3=...`` for field 3."""
    fields: dict[int, Any] = {1: 1, 2: 1, 3: b"h" * 32, 4: "0.1.0", 5: "Mill Lane", 6: "moss", 7: 0, 8: 3}
    fields |= {9: [["notices", "exchange"]], 10: []}
    return {**fields, **{int(key[1:]): value for key, value in changes.items()}}


ID = b"i" * 32
REFUSED = {
    "nothing at all": b"",
    "no content": b"\x01",
    "two items": spelt(frames.PING, 1) + b"\x00",
    "a number spelt long": b"\x09\x18\x01",
    "a float": b"\x09\xf9\x00\x00",
    "an acknowledgement that says something": b"\x08\x00",
    "a hello that is a list": spelt(frames.HELLO, [1, 1]),
    "a hello without a hub": spelt(frames.HELLO, {key: each for key, each in said().items() if key != 3}),
    "a hub id of 31 bytes": spelt(frames.HELLO, said(k3=bytes(31))),
    "versions the wrong way round": spelt(frames.HELLO, said(k1=2, k2=1)),
    "version 0": spelt(frames.HELLO, said(k1=0)),
    "a name that is bytes": spelt(frames.HELLO, said(k5=b"Mill Lane")),
    "a name of 401 bytes": spelt(frames.HELLO, said(k5="é" * 200 + "e")),
    "a quality that is none": spelt(frames.HELLO, said(k8=4)),
    "a choice that is none": spelt(frames.HELLO, said(k9=[["notices", "maybe"]])),
    "choices out of order": spelt(frames.HELLO, said(k9=[["b", "none"], ["a", "none"]])),
    "a choice said twice": spelt(frames.HELLO, said(k9=[["a", "none"], ["a", "none"]])),
    "33 streams": spelt(frames.HELLO, said(k9=[[f"s{each:02}", "none"] for each in range(33)])),
    "65 addresses": spelt(frames.HELLO, said(k10=[[b"h" * 32, "oakfield.local", 1]] * 65)),
    "port 65536": spelt(frames.HELLO, said(k10=[[b"h" * 32, "oakfield.local", 65_536]])),
    "a fingerprint of 15 bytes": spelt(frames.SUMMARY, [False, [[bytes(15), 0]]]),
    "97 marks": spelt(frames.SUMMARY, [False, [[bytes(16), 0]] * 97]),
    "a summary that closes 1": spelt(frames.SUMMARY, [1, []]),
    "set 96": spelt(frames.RECONCILE, [96, b"a"]),
    "a message of 60,001 bytes": spelt(frames.RECONCILE, [0, bytes(FRAME_BYTES + 1)]),
    "no ids": spelt(frames.OFFERED, [0, b""]),
    "an id and a half": spelt(frames.WANTED, [0, bytes(48), False]),
    "wishes that go on 1": spelt(frames.WANTED, [0, ID, 1]),
    "an id twice": spelt(frames.OFFERED, [0, ID * 2]),
    "1,001 ids": spelt(
        frames.WANTED, [0, b"".join(each.to_bytes(32, "big") for each in range(MAX_IDS + 1)), False]
    ),
    "an answer about nothing": spelt(frames.TAKEN, [0, b""]),
    "a bit too many": spelt(frames.TAKEN, [3, b"\x08"]),
    "a byte too many": spelt(frames.TAKEN, [3, b"\x01\x00"]),
    "neither records nor ids": spelt(frames.RECORDS, [[], b""]),
    "a signature of 63 bytes": spelt(frames.RECORDS, [[[b"h", bytes(63), None]], b""]),
    "a header of 1,025 bytes": spelt(frames.RECORDS, [[[bytes(MAX_HEADER + 1), bytes(64), None]], b""]),
    "a body over 16 KiB": spelt(frames.RECORDS, [[[b"h", bytes(64), bytes(MAX_BODY + 1)]], b""]),
    "101 records": spelt(frames.RECORDS, [[[b"h", bytes(64), None]] * (MAX_RECORDS + 1), b""]),
    "over 256 KiB of records": spelt(frames.RECORDS, [[[b"h", bytes(64), bytes(MAX_BODY)]] * 16, b""]),
    "a reason with a sentence in it": spelt(frames.BYE, "Because."),
    "no reason": spelt(frames.BYE, ""),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_a_frame_that_breaks_a_rule_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        decode(data)


def test_a_frame_over_its_limit_is_refused_unread() -> None:
    with pytest.raises(FrameTooLong):
        decode(bytes((frames.RECORDS,)) + bytes(MAX_FRAME))
    with pytest.raises(FrameTooLong):
        decode(bytes((frames.OFFERED,)) + bytes(MAX_SMALL_FRAME))


def test_the_largest_frames_are_within_their_limits() -> None:
    ids = tuple(each.to_bytes(32, "big") for each in range(MAX_IDS))
    wide = tuple(WireRecord(bytes(MAX_HEADER), bytes(64), bytes(MAX_BODY - 1024)) for _ in range(15))
    for frame in (
        Offered(95, ids),
        Taken((True,) * MAX_IDS),
        Reconcile(95, bytes(FRAME_BYTES)),
        Records(wide, ids),
        Records((WireRecord(bytes(MAX_HEADER), bytes(64), None),) * MAX_RECORDS, ids),
    ):
        assert decode(encode(frame)) == frame


def test_what_a_newer_hub_adds_is_skipped_where_it_says_so() -> None:
    newer = decode(spelt(frames.HELLO, said(k11=["feature"], k77={1: 2})))
    assert isinstance(newer, Hello)
    assert newer.name == "Mill Lane"
    assert decode(b"\x80") is None
    assert decode(b"\xffwhatever it says") is None
    for kind in (0, 12, 0x61, 0x7F):
        with pytest.raises(UnknownFrame):
            decode(bytes((kind,)))


def test_a_hello_of_other_versions_is_read_no_further() -> None:
    with pytest.raises(OtherProtocol) as refusal:
        decode(spelt(frames.HELLO, {1: 2, 2: 3, 3: "said differently"}))
    assert (refusal.value.lowest, refusal.value.highest) == (2, 3)
    with pytest.raises(OtherProtocol):
        frames.decode(spelt(frames.HELLO, said()), lowest=2, highest=3)
    assert isinstance(decode(spelt(frames.HELLO, said(k2=3))), Hello)
