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
from hub.domain.clock import MAX_MS, Stamp, TimeQuality
from hub.domain.errors import Refused
from hub.domain.ids import Epoch, HubId, ObjectId, RecordId
from hub.domain.notices import BlobRef, Kind, NoticeDraft, Picture, ReplyDraft, Scope
from hub.words import N_

VERSION = 1
MAX_HEADER = 1024
MAX_BODY = 16 * 1024
SALT_BYTES = 16
_CONTEXT = b"commhub-rec-1\0"
_KNOWN_KEYS = frozenset(range(1, 15))
_LOWEST_IGNORED_KEY = 64
"""Unknown header keys from here on may be ignored; lower ones mean a newer record (sync.md 2.10)."""


class RecordType(StrEnum):
    """What a record says about its object. Other types are kept and passed on, but not shown."""

    NOTICE = "notice"
    REPLY = "reply"
    WITHDRAW = "withdraw"
    RESTORE = "restore"
    RETRACT = "retract"


CONTENT_TYPES = frozenset({RecordType.NOTICE, RecordType.REPLY})


class BadRecord(Refused):
    """A record whose form, hash or signature is wrong."""

    code = "bad-record"
    template = N_("A record could not be verified ({reason}). It was not kept. Nothing else changed.")

    def __init__(self, reason: str) -> None:
        super().__init__(reason=reason)


@dataclass(frozen=True, slots=True)
class Header:
    """What is signed. ``exp`` and the stamp are Unix milliseconds; ``ref`` is a reply's notice."""

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
    unknown: Mapping[int, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """A record as stored: ``body`` is None when it has none or when it was erased."""

    header: Header
    header_bytes: bytes
    signature: bytes
    body: bytes | None

    @property
    def id(self) -> RecordId:
        """SHA-256 of header and signature: the signature is in it to make chosen ids dear."""
        return RecordId(hashlib.sha256(self.header_bytes + self.signature).digest())


def encode_header(header: Header) -> bytes:
    """Deterministic CBOR of ``header``, a map with small integer keys."""
    fields: dict[int, Any] = {
        1: VERSION,
        2: header.hub,
        3: header.epoch,
        4: header.seq,
        5: str(header.type),
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
    unknown = {key: value for key, value in fields.items() if key >= _LOWEST_IGNORED_KEY}
    known = {key: fields[key] for key in fields.keys() - unknown} if unknown else fields
    version = known.get(1)
    if isinstance(version, bool) or version != VERSION or not known.keys() <= _KNOWN_KEYS:
        raise BadRecord("newer version")
    try:
        header = Header(
            hub=HubId(_octets(known[2], 32)),
            epoch=Epoch(_octets(known[3], 8)),
            seq=_whole(known[4]),
            type=_label(known[5]),
            obj=ObjectId(_octets(known[6], 16)),
            stamp=Stamp(_whole(known[7]), _whole(known[8])),
            quality=TimeQuality(_whole(known[9])),
            exp=_whole(known[10]),
            scope=Scope(_label(known[11])),
            body_hash=_octets(known[12], 32) if 12 in known else None,
            body_len=_whole(known[13]) if 13 in known else 0,
            ref=ObjectId(_octets(known[14], 16)) if 14 in known else None,
            unknown=unknown,
        )
    except (KeyError, ValueError) as error:
        raise BadRecord("header fields") from error
    if (header.body_hash is None) != (13 not in known) or header.body_len > MAX_BODY:
        raise BadRecord("body length")
    return header


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
    header = decode_header(header_bytes)
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


@dataclass(frozen=True, slots=True)
class NoticeBody:
    """The erasable part of a notice. ``posted_ms`` is the first version's time, kept by every edit."""

    draft: NoticeDraft
    posted_ms: int
    edited_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ReplyBody:
    """The erasable part of a reply."""

    draft: ReplyDraft
    posted_ms: int
    edited_ms: int | None = None


def encode_notice(body: NoticeBody, salt: bytes) -> bytes:
    """CBOR of a notice's body; ``salt`` is 16 random bytes and comes first.

    Expiry and scope are the header's and are not repeated.
    """
    draft = body.draft
    fields: dict[int, Any] = {
        0: salt,
        1: str(draft.kind),
        2: draft.title,
        3: draft.text,
        4: draft.lang,
        8: body.posted_ms,
    }
    if draft.name:
        fields[5] = draft.name
    if draft.contact:
        fields[6] = draft.contact
    if draft.pictures:
        fields[7] = [write_picture(picture) for picture in draft.pictures]
    if body.edited_ms is not None:
        fields[9] = body.edited_ms
    return cbor.encode(fields)


def encode_reply(body: ReplyBody, salt: bytes) -> bytes:
    """CBOR of a reply's body; the keys are those of a notice."""
    fields: dict[int, Any] = {0: salt, 3: body.draft.text, 4: body.draft.lang, 8: body.posted_ms}
    if body.draft.name:
        fields[5] = body.draft.name
    if body.edited_ms is not None:
        fields[9] = body.edited_ms
    return cbor.encode(fields)


def decode_notice(record: Record, *, stored: bool = False) -> NoticeBody:
    """The notice in ``record``'s body (which must be there); raises `BadRecord`."""
    return read_notice_body(record.body or b"", record.header.scope, record.header.exp, stored=stored)


def read_notice_body(data: bytes, scope: Scope, exp_ms: int, *, stored: bool = False) -> NoticeBody:
    """The notice in a body's bytes, with what its header says of it; raises `BadRecord`."""
    fields = _body_fields(data, stored)
    try:
        draft = NoticeDraft(
            kind=Kind(_label(fields[1])),
            title=_label(fields[2]),
            text=_label(fields[3]),
            lang=_label(fields[4]),
            scope=scope,
            expires_ms=exp_ms,
            name=_label(fields.get(5, "")),
            contact=_label(fields.get(6, "")),
            pictures=tuple(read_picture(item) for item in fields.get(7, ())),
        )
        return NoticeBody(draft, _whole(fields[8]), _whole(fields[9]) if 9 in fields else None)
    except (LookupError, ValueError, TypeError) as error:
        raise BadRecord("body fields") from error


def decode_reply(record: Record, *, stored: bool = False) -> ReplyBody:
    """The reply in ``record``'s body (which must be there); raises `BadRecord`."""
    return read_reply_body(record.body or b"", stored=stored)


def read_reply_body(data: bytes, *, stored: bool = False) -> ReplyBody:
    """The reply in a body's bytes; raises `BadRecord`."""
    fields = _body_fields(data, stored)
    try:
        draft = ReplyDraft(_label(fields[3]), _label(fields[4]), _label(fields.get(5, "")))
        return ReplyBody(draft, _whole(fields[8]), _whole(fields[9]) if 9 in fields else None)
    except (KeyError, ValueError) as error:
        raise BadRecord("body fields") from error


def _body_fields(data: bytes, stored: bool) -> dict[int, Any]:
    fields = cbor.read(data) if stored else cbor.decode(data)
    if not isinstance(fields, dict):
        raise BadRecord("body fields")
    salt = fields.get(0)
    if not isinstance(salt, bytes) or len(salt) != SALT_BYTES:
        raise BadRecord("body fields")
    return fields


def write_picture(picture: Picture) -> dict[int, Any]:
    """``picture`` as it stands in a body."""
    return {
        1: _blob_fields(picture.full),
        2: picture.width,
        3: picture.height,
        4: _blob_fields(picture.thumb),
        5: picture.thumb_width,
        6: picture.thumb_height,
        7: picture.alt,
    }


def read_picture(fields: Any) -> Picture:
    """The picture in a body's entry; raises LookupError, TypeError or ValueError for anything else."""
    return Picture(
        _blob(fields[1]),
        _whole(fields[2]),
        _whole(fields[3]),
        _blob(fields[4]),
        _whole(fields[5]),
        _whole(fields[6]),
        _label(fields[7]),
    )


def _blob_fields(blob: BlobRef) -> list[Any]:
    return [bytes.fromhex(blob.sha256), blob.size, bytes.fromhex(blob.pieces)]


def _blob(fields: Any) -> BlobRef:
    sha256, size, pieces = fields
    return BlobRef(_octets(sha256, 32).hex(), _whole(size), _octets(pieces, 32).hex())


def _octets(value: Any, length: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != length:
        raise ValueError(length)
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_MS:
        raise ValueError(value)
    return value


def _label(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value
