"""Deterministic CBOR (RFC 8949 section 4.2) for records: one encoding per value, nothing exotic.

The keys of maps are whole numbers from 0, for which every deterministic order of keys is the same.
"""

from __future__ import annotations

from typing import Any

import cbor2

from hub.domain.clock import MAX_MS
from hub.domain.errors import Refused
from hub.words import N_

MAX_DEPTH = 6
_NO_KEY, _NO_MAP = -1, -2
_LEAST = {1: 24, 2: 2**8, 4: 2**16, 8: 2**32}
"""What a head of so many more bytes is needed for."""


class NotCanonical(Refused):
    """Bytes that are not deterministic CBOR of integers, bytes, text, booleans, null, arrays and maps."""

    code = "not-canonical"
    template = N_(
        "A record arrived in a form this hub does not accept. It was not kept. Nothing else changed."
    )


def encode(value: object) -> bytes:
    """The one deterministic encoding of ``value``."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes) -> Any:
    """The value of ``data``; raises `NotCanonical` unless encoding the value again would give equal bytes.

    Tags, floats, indefinite lengths, longer heads than need be, keys that are no whole numbers or not in
    their order, and deep nesting are refused before the library sees them: tags make a general decoder
    build objects of the sender's choice.
    """
    if _scan(data) != len(data):
        raise NotCanonical
    return read(data)


def read(data: bytes) -> Any:
    """The value of ``data`` that `encode` made or `decode` took before: nothing is proved again.

    Raises `NotCanonical` for what the library cannot read. Ten times as fast as `decode`.
    """
    try:
        return cbor2.loads(data)
    except (cbor2.CBORDecodeError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise NotCanonical from error


def _scan(data: bytes) -> int:
    """The offset after the first item; raises `NotCanonical` for what `encode` would not have written.

    Only the form of text is left to the library. One loop without calls: every byte of another hub's
    record comes through here.
    """
    at, length = 0, len(data)
    left, last_key = 1, _NO_MAP
    outer: list[tuple[int, int]] = []
    while True:
        while not left:
            if not outer:
                return at
            left, last_key = outer.pop()
        if at >= length:
            raise NotCanonical
        major, info = data[at] >> 5, data[at] & 31
        at += 1
        if major == 7:
            if info not in (20, 21, 22) or (last_key != _NO_MAP and not left & 1):  # false, true, null
                raise NotCanonical
            left -= 1
            continue
        if major == 6 or info > 27:
            raise NotCanonical
        argument = info
        if info >= 24:
            width = 1 << (info - 24)
            if at + width > length:
                raise NotCanonical
            argument = int.from_bytes(data[at : at + width], "big")
            if argument < _LEAST[width]:
                raise NotCanonical
            at += width
        if last_key != _NO_MAP and not left & 1:  # a key
            if major or argument <= last_key:
                raise NotCanonical
            last_key = argument
        left -= 1
        if major < 2:
            continue
        if major < 4:
            if argument > length - at:
                raise NotCanonical
            at += argument
            continue
        items = argument if major == 4 else 2 * argument
        if items > length - at:
            raise NotCanonical
        if items:
            outer.append((left, last_key))
            if len(outer) >= MAX_DEPTH:
                raise NotCanonical
            left, last_key = items, _NO_KEY if major == 5 else _NO_MAP


def octets(value: Any, length: int) -> bytes:
    """``value`` if it is a byte string of that length; raises ValueError."""
    if not isinstance(value, bytes) or len(value) != length:
        raise ValueError(length)
    return value


def whole(value: Any) -> int:
    """``value`` if it is a whole number from 0 that a record may hold; raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_MS:
        raise ValueError(value)
    return value


def label(value: Any) -> str:
    """``value`` if it is text; raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(value)
    return value
