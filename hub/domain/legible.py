"""Which bodies pages can show: another hub's may be of a newer form, or made to do harm.

What does not fit is carried for those who can read it and shown to nobody. The rules are those of this
hub's own forms, as far as breaking one would hurt a page or its reader.
"""

from __future__ import annotations

import re

from hub.domain.bodies import Body, CollectionBody, FileBody, NoticeBody, ReplyBody, decode
from hub.domain.errors import Refused
from hub.domain.files import MAX_COLLECTION_DESCRIPTION, MAX_DESCRIPTION, MAX_LIFETIME_DAYS
from hub.domain.notices import (
    MAX_ALT,
    MAX_CONTACT,
    MAX_NAME,
    MAX_PICTURES,
    MAX_REPLY,
    MAX_TEXT,
    MAX_TEXT_BYTES,
    MAX_TITLE,
    BlobRef,
    Kind,
    Picture,
)
from hub.domain.policy import URGENT_MAX_MS
from hub.domain.records import Header, Record, RecordType

_BREAKS_A_LINE = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What has no place in a line of text: breaks, and marks that turn the direction of what follows."""
_MAX_LANG = 35
_MAX_SIDE = 65_535
"""Pixels: what a JPEG can have."""
_MAX_BYTES = 2**45
_SLACK_MS = 3_600_000
_NEED_A_PARENT = frozenset({RecordType.REPLY, RecordType.FILE})


def has_its_place(header: Header) -> bool:
    """Whether content with that header can stand anywhere: a reply to nothing can not."""
    return header.ref is not None or header.type not in _NEED_A_PARENT


def read(record: Record) -> Body | None:
    """What ``record``, of a content type and from the log, says to the readers of a page; None if it has no
    body or not one that can be shown."""
    if record.body is None or not has_its_place(record.header):
        return None
    try:
        body = decode(record, stored=True)
    except Refused:
        return None
    match body:
        case NoticeBody():
            fits = _notice_fits(body, record.header)
        case ReplyBody(draft):
            fits = _text(draft.text, MAX_REPLY) and _line(draft.name, MAX_NAME)
            fits = fits and len(draft.lang) <= _MAX_LANG
        case CollectionBody():
            fits = _collection_fits(body)
        case FileBody():
            fits = _file_fits(body)
    return body if fits else None


def _notice_fits(body: NoticeBody, header: Header) -> bool:
    draft = body.draft
    return (
        bool(draft.title.strip())
        and _line(draft.title, MAX_TITLE)
        and _text(draft.text, MAX_TEXT)
        and _line(draft.name, MAX_NAME)
        and _line(draft.contact, MAX_CONTACT)
        and len(draft.lang) <= _MAX_LANG
        and len(draft.pictures) <= MAX_PICTURES
        and all(map(_picture_fits, draft.pictures))
        and (draft.kind is not Kind.URGENT or header.exp <= header.stamp.ms + URGENT_MAX_MS + _SLACK_MS)
    )


def _collection_fits(body: CollectionBody) -> bool:
    draft = body.draft
    return (
        bool(draft.title.strip())
        and _line(draft.title, MAX_TITLE)
        and len(draft.description) <= MAX_COLLECTION_DESCRIPTION
        and _line(draft.owner, MAX_NAME)
        and len(draft.lang) <= _MAX_LANG
        and draft.lifetime_days <= MAX_LIFETIME_DAYS
    )


def _file_fits(body: FileBody) -> bool:
    draft = body.draft
    return (
        len(draft.description) <= MAX_DESCRIPTION
        and _line(draft.author, MAX_NAME)
        and len(draft.lang) <= _MAX_LANG
        and _blob_fits(draft.blob)
        and (draft.picture is None or (_picture_fits(draft.picture) and draft.picture.full == draft.blob))
    )


def _picture_fits(picture: Picture) -> bool:
    sides = (picture.width, picture.height, picture.thumb_width, picture.thumb_height)
    return (
        all(1 <= side <= _MAX_SIDE for side in sides)
        and _line(picture.alt, MAX_ALT)
        and _blob_fits(picture.full)
        and _blob_fits(picture.thumb)
    )


def _blob_fits(blob: BlobRef) -> bool:
    return blob.size <= _MAX_BYTES


def _line(text: str, most: int) -> bool:
    return len(text) <= most and _BREAKS_A_LINE.search(text) is None


def _text(text: str, most: int) -> bool:
    return bool(text.strip()) and len(text) <= most and len(text.encode()) <= MAX_TEXT_BYTES
