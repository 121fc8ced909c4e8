"""Records: signed headers that survive, and bodies that can be erased (sync.md 2.1).

``record = header ‖ signature(64) ‖ body?``. The bytes that were signed are stored and passed on
unchanged; nobody re-encodes. The header names no person: whatever could is in the body, whose salted
hash the header carries, so a short body (a telephone number) cannot be guessed after its erasure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hub.domain import cbor
from hub.domain.clock import Stamp, TimeQuality
from hub.domain.errors import Refused
from hub.domain.ids import Epoch, HubId, ObjectId, RecordId
from hub.domain.notices import Scope
from hub.words import N_

VERSION = 1
MAX_HEADER = 1024
MAX_BODY = 16 * 1024
SALT_BYTES = 16
_CONTEXT = b"commhub-rec-1\0"
_KNOWN_KEYS = frozenset(range(1, 16))
_LOWEST_IGNORED_KEY = 64
"""Unknown header keys from here on may be ignored; with lower ones a record is of a `NEWER` type."""
MAX_FIELDS = 23
"""Of a header: as many as leave its first byte the whole head of the map, so that fields keep their place."""
NEWER = "newer "
"""Before the type of a record whose header has keys that this release would have to know to show it: it is
kept and passed on, as one of an unknown type (sync.md 2.10)."""


class RecordType(StrEnum):
    """What a record says about its object. Other types are kept and passed on, but not shown."""

    NOTICE = "notice"
    REPLY = "reply"
    COLLECTION = "collection"
    FILE = "file"
    WITHDRAW = "withdraw"
    RESTORE = "restore"
    RETRACT = "retract"
    STATUS = "status"
    FLAG = "flag"
    BLOCK_LIST = "blocklist"


class Stream(StrEnum):
    """What neighbours exchange or not, by agreement: each stream makes sets of its own (decision 29).

    A header names its stream, so that both hubs compute the same sets without reading a body. Streams of
    newer releases are kept and passed on.
    """

    NOTICES = "notices"
    """Notices, replies, and what became of them; what a header stands for that names no stream."""
    FILES = "files"
    STATUS = "status"
    """What each hub says of itself, and of what it erased."""


CONTENT_TYPES = frozenset({RecordType.NOTICE, RecordType.REPLY, RecordType.COLLECTION, RecordType.FILE})


class BadRecord(Refused):
    """A record whose form, hash or signature is wrong."""

    code = "bad-record"
    template = N_("A record could not be verified ({reason}). It was not kept. Nothing else changed.")

    def __init__(self, reason: str) -> None:
        super().__init__(reason=reason)


@dataclass(frozen=True, slots=True)
class Header:
    """What is signed. ``exp`` and the stamp are Unix milliseconds; ``ref`` is a reply's notice
    or a file's collection."""

    hub: HubId
    epoch: Epoch
    seq: int
    type: str
    obj: ObjectId
    stamp: Stamp
    quality: TimeQuality
    exp: int
    scope: Scope
    body_hash: bytes | None = None
    body_len: int = 0
    ref: ObjectId | None = None
    stream: str = Stream.NOTICES
    unknown: Mapping[int, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """A record as stored: ``body`` is None when it has none or when it was erased."""

    header: Header
    header_bytes: bytes
    signature: bytes
    body: bytes | None
    _id: RecordId | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def id(self) -> RecordId:
        """SHA-256 of header and signature: the signature is in it to make chosen ids dear."""
        if self._id is None:
            found = hashlib.sha256(self.header_bytes + self.signature).digest()
            object.__setattr__(self, "_id", found)  # asked for many times while a record is taken in
            return RecordId(found)
        return self._id


@dataclass(frozen=True, slots=True)
class WireRecord:
    """A record as it travels: nothing of it is checked. ``body`` is None when the sender has none."""

    header: bytes
    signature: bytes
    body: bytes | None

    @property
    def size(self) -> int:
        """Bytes of the three together."""
        return len(self.header) + len(self.signature) + len(self.body or b"")


def encode_header(header: Header) -> bytes:
    """Deterministic CBOR of ``header``, a map with small integer keys."""
    fields: dict[int, Any] = {
        1: VERSION,
        2: header.hub,
        3: header.epoch,
        4: header.seq,
        5: header.type.removeprefix(NEWER) if _is_newer(header.unknown) else str(header.type),
        6: header.obj,
        7: header.stamp.ms,
        8: header.stamp.counter,
        9: int(header.quality),
        10: header.exp,
        11: str(header.scope),
    }
    if header.body_hash is not None:
        fields[12] = header.body_hash
        fields[13] = header.body_len
    if header.ref is not None:
        fields[14] = header.ref
    if header.stream != Stream.NOTICES:
        fields[15] = str(header.stream)
    fields.update(header.unknown)
    return cbor.encode(fields)


def decode_header(data: bytes, *, stored: bool = False) -> Header:
    """The header in ``data``; raises `BadRecord` or `cbor.NotCanonical` unless it is exactly one.

    ``stored`` says that the bytes come from this hub's own log: here and for bodies, they were proved
    to be canonical before they went in, and proving it again would cost four times the reading.
    """
    if len(data) > MAX_HEADER:
        raise BadRecord("header too long")
    fields = cbor.read(data) if stored else cbor.decode(data)
    if not isinstance(fields, dict):
        raise BadRecord("header is not a map")
    unknown = {key: value for key, value in fields.items() if key not in _KNOWN_KEYS}
    known = {key: fields[key] for key in fields.keys() - unknown} if unknown else fields
    version = known.get(1)
    if isinstance(version, bool) or version != VERSION:
        raise BadRecord("newer version")
    if len(fields) > MAX_FIELDS or 0 in unknown:
        raise BadRecord("header fields")
    try:
        header = Header(
            hub=HubId(cbor.octets(known[2], 32)),
            epoch=Epoch(cbor.octets(known[3], 8)),
            seq=cbor.whole(known[4]),
            type=NEWER + cbor.label(known[5]) if _is_newer(unknown) else cbor.label(known[5]),
            obj=ObjectId(cbor.octets(known[6], 16)),
            stamp=Stamp(cbor.whole(known[7]), cbor.whole(known[8])),
            quality=TimeQuality(cbor.whole(known[9])),
            exp=cbor.whole(known[10]),
            scope=Scope(cbor.label(known[11])),
            body_hash=cbor.octets(known[12], 32) if 12 in known else None,
            body_len=cbor.whole(known[13]) if 13 in known else 0,
            ref=ObjectId(cbor.octets(known[14], 16)) if 14 in known else None,
            stream=cbor.label(known[15]) if 15 in known else Stream.NOTICES,
            unknown=unknown,
        )
    except (KeyError, ValueError) as error:
        raise BadRecord("header fields") from error
    if (header.body_hash is None) != (13 not in known) or header.body_len > MAX_BODY:
        raise BadRecord("body length")
    if known.get(15) == Stream.NOTICES:
        raise BadRecord("stream said twice")
    return header


def _is_newer(unknown: Mapping[int, Any]) -> bool:
    return any(key < _LOWEST_IGNORED_KEY for key in unknown)


def seal(header: Header, body: bytes | None, sign: Callable[[bytes], bytes]) -> Record:
    """Bind ``body`` to ``header`` and sign: ``sign`` is the hub key's Ed25519 (RFC 8032)."""
    if body is not None:
        header = Header(
            header.hub,
            header.epoch,
            header.seq,
            header.type,
            header.obj,
            header.stamp,
            header.quality,
            header.exp,
            header.scope,
            hashlib.sha256(body).digest(),
            len(body),
            header.ref,
            header.stream,
            header.unknown,
        )
    data = encode_header(header)
    if len(data) > MAX_HEADER or (body is not None and len(body) > MAX_BODY):
        raise BadRecord("too long")
    return Record(header, data, sign(_CONTEXT + data), body)


def verify(header_bytes: bytes, signature: bytes, body: bytes | None) -> Record:
    """The record these bytes are, with every hash and the signature checked; raises `BadRecord`.

    A missing body is accepted: it may have been erased, and the header alone still verifies.
    """
    return prove(decode_header(header_bytes), header_bytes, signature, body)


def prove(header: Header, header_bytes: bytes, signature: bytes, body: bytes | None) -> Record:
    """As `verify`, for whoever has read ``header`` from ``header_bytes`` already."""
    if body is not None and (
        header.body_hash is None
        or len(body) != header.body_len
        or hashlib.sha256(body).digest() != header.body_hash
    ):
        raise BadRecord("body hash")
    try:
        Ed25519PublicKey.from_public_bytes(header.hub).verify(signature, _CONTEXT + header_bytes)
    except (InvalidSignature, ValueError) as error:
        raise BadRecord("signature") from error
    return Record(header, header_bytes, signature, body)
