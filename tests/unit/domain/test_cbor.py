"""One encoding per value, and nothing accepted but that (RFC 8949, sections 4.2 and appendix A)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain.cbor import MAX_DEPTH, NotCanonical, decode, encode

whole = st.integers(-(2**64), 2**64 - 1)
scalars = st.none() | st.booleans() | whole | st.binary(max_size=40) | st.text(max_size=40)
keys = st.integers(0, 2**64 - 1)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def depth(value: Any) -> int:
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0) if value else 1
    return 1


shallow = values.filter(lambda value: depth(value) <= MAX_DEPTH)

APPENDIX_A = [
    (0, "00"),
    (1, "01"),
    (10, "0a"),
    (23, "17"),
    (24, "1818"),
    (25, "1819"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-18446744073709551616, "3bffffffffffffffff"),
    (-1, "20"),
    (-10, "29"),
    (-100, "3863"),
    (-1000, "3903e7"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (b"\x01\x02\x03\x04", "4401020304"),
    ("", "60"),
    ("a", "6161"),
    ("IETF", "6449455446"),
    ('"\\', "62225c"),
    ("ü", "62c3bc"),
    ("水", "63e6b0b4"),
    ("𐅑", "64f0908591"),
    ([], "80"),
    ([1, 2, 3], "83010203"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    (list(range(1, 26)), "98190102030405060708090a0b0c0d0e0f101112131415161718181819"),
    ({}, "a0"),
    ({1: 2, 3: 4}, "a201020304"),
]
"""Those samples of RFC 8949 appendix A that records may hold."""

REFUSED = {
    "a float": "f90000",
    "a double": "fb3ff199999999999a",
    "infinity": "f97c00",
    "undefined": "f7",
    "a simple value": "f0",
    "a bignum": "c249010000000000000000",
    "a date as text": "c074323031332d30332d32315432303a30343a30305a",
    "a tagged address": "d82076687474703a2f2f7777772e6578616d706c652e636f6d",
    "bytes of indefinite length": "5f42010243030405ff",
    "text of indefinite length": "7f657374726561646d696e67ff",
    "an array of indefinite length": "9fff",
    "a map of indefinite length": "bf01020304ff",
    "a number written too long": "1817",
    "a length written too long": "780161",
    "a key twice": "a201010102",
    "keys out of order": "a203040102",
    "a text as a key": "a161616162",
    "true as a key": "a1f501",
    "an array as a key": "a1810102",
    "text that is no UTF-8": "62c328",
    "half a surrogate pair": "63eda080",
    "a break without a beginning": "ff",
    "nothing": "",
    "half a number": "19ff",
    "bytes that are missing": "4401",
    "an array that is missing": "8301",
    "one byte too many": "0000",
    "an array of more items than there are bytes": "9bffffffffffffffff",
    "a map of more items than there are bytes": "bb7fffffffffffffff",
    "deep nesting": "81" * 7 + "00",
}


@pytest.mark.parametrize(("value", "written"), APPENDIX_A, ids=[written for _, written in APPENDIX_A])
def test_samples_of_the_rfc_are_written_and_read_as_it_says(value: object, written: str) -> None:
    assert encode(value).hex() == written
    assert decode(bytes.fromhex(written)) == value


@pytest.mark.parametrize("written", REFUSED.values(), ids=REFUSED.keys())
def test_what_records_never_hold_is_refused(written: str) -> None:
    with pytest.raises(NotCanonical):
        decode(bytes.fromhex(written))


@given(shallow)
def test_every_value_comes_back_as_it_was(value: object) -> None:
    assert decode(encode(value)) == value


@given(shallow, st.data())
def test_changed_bytes_are_refused_or_another_value(value: object, data: st.DataObject) -> None:
    written = bytearray(encode(value))
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] ^= data.draw(st.integers(1, 255))
    try:
        read = decode(bytes(written))
    except NotCanonical:
        return
    assert encode(read) == bytes(written)


@given(shallow, st.binary(min_size=1, max_size=9))
def test_bytes_after_the_end_are_refused(value: object, more: bytes) -> None:
    with pytest.raises(NotCanonical):
        decode(encode(value) + more)


@given(shallow, st.data())
def test_bytes_that_are_missing_are_noticed(value: object, data: st.DataObject) -> None:
    written = encode(value)
    with pytest.raises(NotCanonical):
        decode(written[: data.draw(st.integers(0, len(written) - 1))])


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_the_one_encoding_of_a_value(noise: bytes) -> None:
    try:
        value = decode(noise)
    except NotCanonical:
        return
    assert encode(value) == noise


@given(st.dictionaries(keys, st.none(), max_size=30))
def test_maps_are_written_in_the_order_of_their_encoded_keys(entries: dict[int, None]) -> None:
    backwards = dict(reversed(entries.items()))
    in_order = b"".join(sorted(encode(key) for key in entries))
    assert encode(entries) == encode(backwards)
    head = len(encode(entries)) - 2 * len(entries) if not entries else 0
    assert decode(encode(entries)) == entries
    written = encode(entries)[1 if len(entries) < 24 else 2 :] if not head else b""
    assert written.replace(b"\xf6", b"") == in_order.replace(b"\xf6", b"")
