"""Names of things: hub ids, epochs, record ids, object ids, and how objects are written in addresses.

Nothing reads time out of an id. All of them are made from random bytes or hashes that are handed in.
"""

from __future__ import annotations

from base64 import b32encode
from typing import NewType

HubId = NewType("HubId", bytes)
"""32 bytes: the hub's Ed25519 public key."""
Epoch = NewType("Epoch", bytes)
"""8 random bytes, new at install and at every restore; sequence numbers count within it."""
RecordId = NewType("RecordId", bytes)
"""32 bytes: SHA-256 of a record's header and signature."""
ObjectId = NewType("ObjectId", bytes)
"""16 random bytes: one notice or reply through all its versions."""
BlobId = NewType("BlobId", str)
"""64 lower-case hex digits: SHA-256 of the blob's bytes."""

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base32, lower case: no i, l, o, u to misread from a poster."""
_FROM_RFC4648 = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", ALPHABET.encode())
_MISREAD = str.maketrans({"i": "1", "l": "1", "o": "0"})

PUBLIC_LENGTH = 10
"""Characters of an object id in an address; longer where two objects would share them (decision 16b)."""


def base32(value: bytes) -> str:
    """``value`` in Crockford base32, most significant bits first, without padding."""
    return b32encode(value).rstrip(b"=").translate(_FROM_RFC4648).decode()


def public_form(obj: ObjectId, length: int = PUBLIC_LENGTH) -> str:
    """The first ``length`` (10..26) characters of ``obj`` in base32: what stands in an address."""
    return base32(obj[: -(-length * 5 // 8)])[:length]  # no digit depends on the bytes after its own


def parse_public(text: str) -> str | None:
    """The canonical spelling of a public id that a person may have typed from paper, or None.

    Accepts 10 to 26 characters, any case, ``i l o`` misread for ``1 1 0``; anything else is None.
    """
    canonical = canonical_letters(text)
    if PUBLIC_LENGTH <= len(canonical) <= 26 and all(letter in ALPHABET for letter in canonical):
        return canonical
    return None


def canonical_letters(typed: str) -> str:
    """``typed`` from paper as base32 is written: lower case, ``i l o`` read as ``1 1 0``."""
    return typed.lower().translate(_MISREAD)


def object_range(name: str) -> tuple[ObjectId, ObjectId]:
    """The lowest and highest object id whose public form begins with ``name`` (canonical spelling)."""
    value = 0
    for letter in name:
        value = value << 5 | ALPHABET.index(letter)
    spare = 130 - 5 * len(name)
    low = value << spare
    high = low | ((1 << spare) - 1)
    return ObjectId((low >> 2).to_bytes(16, "big")), ObjectId((high >> 2).to_bytes(16, "big"))


def namesakes(obj: ObjectId, length: int) -> tuple[ObjectId, ObjectId]:
    """The lowest and highest object id whose public form of ``length`` is that of ``obj``."""
    spare = max(0, 128 - 5 * length)
    low = int.from_bytes(obj, "big") >> spare << spare
    high = low | ((1 << spare) - 1)
    return ObjectId(low.to_bytes(16, "big")), ObjectId(high.to_bytes(16, "big"))


def short_hub_id(hub: HubId) -> str:
    """Four characters that tell neighbouring hubs of one name apart (``hub-a7f3.local``)."""
    return base32(hub)[:4]
