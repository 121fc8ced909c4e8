"""Bodies: the erasable part of records, in CBOR (sync.md 2.1). Expiry and scope are the header's.

Every body has a salt of 16 random bytes under 0, its language under 4, the first version's time under 8
and the time of the author's last change under 9, so that whoever does not know the rest can date it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hub.domain import cbor
from hub.domain.files import CollectionDraft, FileDraft, Licence, MayAdd, file_name
from hub.domain.notices import BlobRef, Kind, NoticeDraft, Picture, ReplyDraft, Scope
from hub.domain.records import SALT_BYTES, BadRecord, Record, RecordType


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
            kind=Kind(cbor.label(fields[1])),
            title=cbor.label(fields[2]),
            text=cbor.label(fields[3]),
            lang=cbor.label(fields[4]),
            scope=scope,
            expires_ms=exp_ms,
            name=cbor.label(fields.get(5, "")),
            contact=cbor.label(fields.get(6, "")),
            pictures=tuple(read_picture(item) for item in fields.get(7, ())),
        )
        return NoticeBody(draft, cbor.whole(fields[8]), cbor.whole(fields[9]) if 9 in fields else None)
    except (LookupError, ValueError, TypeError) as error:
        raise BadRecord("body fields") from error


def decode_reply(record: Record, *, stored: bool = False) -> ReplyBody:
    """The reply in ``record``'s body (which must be there); raises `BadRecord`."""
    return read_reply_body(record.body or b"", stored=stored)


def read_reply_body(data: bytes, *, stored: bool = False) -> ReplyBody:
    """The reply in a body's bytes; raises `BadRecord`."""
    fields = _body_fields(data, stored)
    try:
        draft = ReplyDraft(cbor.label(fields[3]), cbor.label(fields[4]), cbor.label(fields.get(5, "")))
        return ReplyBody(draft, cbor.whole(fields[8]), cbor.whole(fields[9]) if 9 in fields else None)
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
        cbor.whole(fields[2]),
        cbor.whole(fields[3]),
        _blob(fields[4]),
        cbor.whole(fields[5]),
        cbor.whole(fields[6]),
        cbor.label(fields[7]),
    )


def _blob_fields(blob: BlobRef) -> list[Any]:
    return [bytes.fromhex(blob.sha256), blob.size, bytes.fromhex(blob.pieces)]


def _blob(fields: Any) -> BlobRef:
    sha256, size, pieces = fields
    return BlobRef(cbor.octets(sha256, 32).hex(), cbor.whole(size), cbor.octets(pieces, 32).hex())


@dataclass(frozen=True, slots=True)
class CollectionBody:
    """The erasable part of a collection."""

    draft: CollectionDraft
    posted_ms: int
    edited_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FileBody:
    """The erasable part of a file: what it is called, and which bytes it is."""

    draft: FileDraft
    posted_ms: int
    edited_ms: int | None = None


Body = NoticeBody | ReplyBody | CollectionBody | FileBody


def encode_collection(body: CollectionBody, salt: bytes) -> bytes:
    """CBOR of a collection's body."""
    draft = body.draft
    fields: dict[int, Any] = {
        0: salt,
        2: draft.title,
        3: draft.description,
        4: draft.lang,
        8: body.posted_ms,
        10: str(draft.may_add),
        11: str(draft.licence),
        12: draft.lifetime_days,
    }
    if draft.owner:
        fields[5] = draft.owner
    if body.edited_ms is not None:
        fields[9] = body.edited_ms
    return cbor.encode(fields)


def encode_file(body: FileBody, salt: bytes) -> bytes:
    """CBOR of a file's body; a picture's thumbnail stands under 7, the file's own bytes under 13."""
    draft = body.draft
    fields: dict[int, Any] = {
        0: salt,
        2: draft.name,
        3: draft.description,
        4: draft.lang,
        8: body.posted_ms,
        13: _blob_fields(draft.blob),
    }
    if draft.author:
        fields[5] = draft.author
    if draft.picture is not None:
        fields[7] = write_picture(draft.picture)
    if body.edited_ms is not None:
        fields[9] = body.edited_ms
    if draft.original:
        fields[14] = True
    return cbor.encode(fields)


def read_collection_body(data: bytes, scope: Scope, exp_ms: int, *, stored: bool = False) -> CollectionBody:
    """The collection in a body's bytes, with what its header says of it; raises `BadRecord`."""
    fields = _body_fields(data, stored)
    try:
        draft = CollectionDraft(
            title=cbor.label(fields[2]),
            description=cbor.label(fields[3]),
            lang=cbor.label(fields[4]),
            owner=cbor.label(fields.get(5, "")),
            may_add=MayAdd(cbor.label(fields[10])),
            licence=Licence(cbor.label(fields[11])),
            lifetime_days=cbor.whole(fields[12]),
            scope=scope,
            expires_ms=exp_ms,
        )
        return CollectionBody(draft, cbor.whole(fields[8]), cbor.whole(fields[9]) if 9 in fields else None)
    except (KeyError, ValueError) as error:
        raise BadRecord("body fields") from error


def read_file_body(data: bytes, scope: Scope, exp_ms: int, *, stored: bool = False) -> FileBody:
    """The file in a body's bytes, with what its header says of it; raises `BadRecord`."""
    fields = _body_fields(data, stored)
    try:
        draft = FileDraft(
            name=file_name(cbor.label(fields[2])),  # another hub may have sent what no form would have taken
            blob=_blob(fields[13]),
            description=cbor.label(fields[3]),
            lang=cbor.label(fields[4]),
            scope=scope,
            expires_ms=exp_ms,
            author=cbor.label(fields.get(5, "")),
            picture=read_picture(fields[7]) if 7 in fields else None,
            original=fields.get(14, False) is True,
        )
        return FileBody(draft, cbor.whole(fields[8]), cbor.whole(fields[9]) if 9 in fields else None)
    except (LookupError, ValueError, TypeError) as error:
        raise BadRecord("body fields") from error


def decode_collection(record: Record, *, stored: bool = False) -> CollectionBody:
    """The collection in ``record``'s body (which must be there); raises `BadRecord`."""
    return read_collection_body(record.body or b"", record.header.scope, record.header.exp, stored=stored)


def decode_file(record: Record, *, stored: bool = False) -> FileBody:
    """The file in ``record``'s body (which must be there); raises `BadRecord`."""
    return read_file_body(record.body or b"", record.header.scope, record.header.exp, stored=stored)


def decode(record: Record, *, stored: bool = False) -> Body:
    """What ``record`` holds (it must be of a content type and have its body); raises `BadRecord`."""
    match record.header.type:
        case RecordType.NOTICE:
            return decode_notice(record, stored=stored)
        case RecordType.REPLY:
            return decode_reply(record, stored=stored)
        case RecordType.COLLECTION:
            return decode_collection(record, stored=stored)
        case _:
            return decode_file(record, stored=stored)
