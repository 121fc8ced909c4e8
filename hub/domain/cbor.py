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
    """The value of ``data``; raises `NotCanonical` unless encoding the value again gives equal bytes.

    Tags, floats, indefinite lengths, keys that are no whole numbers and deep nesting are refused before
    the library sees them: tags make a general decoder build objects of the sender's choice.
    """
    end = _scan(data, 0, MAX_DEPTH)
    if end != len(data):
        raise NotCanonical
    value = read(data)
    if encode(value) != data:
        raise NotCanonical
    return value


def read(data: bytes) -> Any:
    """The value of ``data`` that `encode` made or `decode` took before: nothing is proved again.

    Raises `NotCanonical` for what the library cannot read. Ten times as fast as `decode`.
    """
    try:
        return cbor2.loads(data)
    except (cbor2.CBORDecodeError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise NotCanonical from error


def _scan(data: bytes, at: int, depth: int) -> int:
    """The offset after the item at ``at``; raises `NotCanonical` for what records never hold."""
    if depth == 0 or at >= len(data):
        raise NotCanonical
    major, info = data[at] >> 5, data[at] & 31
    if major == 7:
        if info not in (20, 21, 22):  # false, true, null
            raise NotCanonical
        return at + 1
    if major == 6 or info > 27:
        raise NotCanonical
    at += 1
    if info >= 24:
        width = 1 << (info - 24)
        if at + width > len(data):
            raise NotCanonical
        argument = int.from_bytes(data[at : at + width], "big")
        at += width
    else:
        argument = info
    if major in (0, 1):
        return at
    if major in (2, 3):
        if argument > len(data) - at:
            raise NotCanonical
        return at + argument
    items = argument if major == 4 else 2 * argument
    if items > len(data) - at:
        raise NotCanonical
    for place in range(items):
        is_key = major == 5 and place % 2 == 0
        if is_key and (at >= len(data) or data[at] >> 5 != 0):
            raise NotCanonical
        at = _scan(data, at, depth - 1)
    return at


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
