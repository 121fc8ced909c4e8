"""Collections and files as pages read them: projections joined with local truth."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hub.domain.bodies import decode_collection, decode_file
from hub.domain.files import Collection, CollectionDraft, File, FileDraft, Licence, MayAdd
from hub.domain.ids import ObjectId, object_range
from hub.domain.notices import BlobRef
from hub.domain.records import Record, decode_header
from hub.storage.projections import STATES

_COLLECTION = """
SELECT collection.obj, collection.public_id, collection.state, collection.shown_ms, collection.edited_ms,
  collection.changed_ms, collection.exp_ms, hide.obj IS NOT NULL, record.header, record.body, record.id,
  (SELECT count(*) FROM file WHERE file.collection = collection.obj AND file.state = 0 AND file.exp_ms > :now
    AND NOT EXISTS (SELECT 1 FROM hide WHERE hide.obj = file.obj)),
  (SELECT coalesce(sum(size), 0) FROM file WHERE file.collection = collection.obj AND file.state = 0
    AND file.exp_ms > :now AND NOT EXISTS (SELECT 1 FROM hide WHERE hide.obj = file.obj)),
  (SELECT coalesce(max(file.key), 0) FROM file WHERE file.collection = collection.obj AND file.state = 0)
FROM collection JOIN record ON record.n = collection.record LEFT JOIN hide ON hide.obj = collection.obj
"""
_COLLECTION_SHOWN = "collection.state = 0 AND collection.exp_ms > :now AND hide.obj IS NULL"

_FILE = """
SELECT file.key, file.obj, file.public_id, file.collection, file.state, file.shown_ms, file.edited_ms,
  file.changed_ms, file.exp_ms, hide.obj IS NOT NULL, record.header, record.body
FROM file JOIN record ON record.n = file.record LEFT JOIN hide ON hide.obj = file.obj
"""
_FILE_SHOWN = "file.state = 0 AND file.exp_ms > :now AND hide.obj IS NULL"
_IN_SHOWN_COLLECTION = (
    "EXISTS (SELECT 1 FROM collection WHERE collection.obj = file.collection AND collection.state = 0"
    " AND collection.exp_ms > :now AND NOT EXISTS (SELECT 1 FROM hide WHERE hide.obj = collection.obj))"
)


def collections(connection: sqlite3.Connection, now_ms: int) -> list[Collection]:
    """What anybody may see, those with the newest file first."""
    rows = connection.execute(
        f"{_COLLECTION} WHERE {_COLLECTION_SHOWN} ORDER BY 14 DESC, collection.key DESC", {"now": now_ms}
    )
    return [_collection(row) for row in rows]


def every_collection(connection: sqlite3.Connection, now_ms: int) -> list[Collection]:
    """Collections for the caretaker: all that are not erased, the newest first."""
    rows = connection.execute(
        f"{_COLLECTION} WHERE collection.state != 2 ORDER BY collection.key DESC", {"now": now_ms}
    )
    return [_collection(row) for row in rows]


def any_collection(connection: sqlite3.Connection) -> bool:
    """Whether there ever was one, in whatever state."""
    return connection.execute("SELECT 1 FROM collection LIMIT 1").fetchone() is not None


def collection_by_object(connection: sqlite3.Connection, now_ms: int, obj: ObjectId) -> Collection | None:
    """The collection ``obj`` in any state, or None."""
    row = connection.execute(
        f"{_COLLECTION} WHERE collection.obj = :obj", {"now": now_ms, "obj": obj}
    ).fetchone()
    return _collection(row) if row else None


def collection_by_public_id(connection: sqlite3.Connection, now_ms: int, name: str) -> Collection | None:
    """The collection whose public form is, or uniquely begins with, ``name`` (canonical spelling)."""
    low, high = object_range(name)
    row = connection.execute(
        f"{_COLLECTION} WHERE collection.obj BETWEEN :low AND :high"
        " ORDER BY length(collection.public_id), collection.key",
        {"now": now_ms, "low": low, "high": high},
    ).fetchone()
    return _collection(row) if row else None


def files_of(
    connection: sqlite3.Connection,
    now_ms: int,
    collection: ObjectId,
    *,
    before: int | None = None,
    limit: int = 2**31,
) -> list[File]:
    """Files of a collection that anybody may see, newest first, ``before`` a key."""
    rows = connection.execute(
        f"{_FILE} WHERE file.collection = :collection AND file.key < :before AND {_FILE_SHOWN}"
        " ORDER BY file.key DESC LIMIT :limit",
        {
            "now": now_ms,
            "collection": collection,
            "before": 2**62 if before is None else before,
            "limit": limit,
        },
    )
    return [_file(row) for row in rows]


def neighbour(
    connection: sqlite3.Connection, now_ms: int, file: File, *, newer: bool, pictures: bool
) -> File | None:
    """The file next to ``file`` in its collection; with ``pictures`` the next one that is a picture."""
    order, compare = ("ASC", ">") if newer else ("DESC", "<")
    rows = connection.execute(
        f"{_FILE} WHERE file.collection = :collection AND file.key {compare} :key AND {_FILE_SHOWN}"
        f" ORDER BY file.key {order}",
        {"now": now_ms, "collection": file.collection, "key": file.key},
    )
    found = (_file(row) for row in rows)
    return next((each for each in found if each.picture is not None or not pictures), None)


def newest(connection: sqlite3.Connection, now_ms: int, limit: int) -> list[File]:
    """The newest files anybody may see, of all collections."""
    rows = connection.execute(
        f"{_FILE} WHERE {_FILE_SHOWN} AND {_IN_SHOWN_COLLECTION} ORDER BY file.key DESC LIMIT :limit",
        {"now": now_ms, "limit": limit},
    )
    return [_file(row) for row in rows]


def largest(connection: sqlite3.Connection, now_ms: int, limit: int) -> list[File]:
    """The files that fill the card most, for the caretaker: hidden and ended ones too."""
    rows = connection.execute(
        f"{_FILE} WHERE file.state != 2 ORDER BY file.size DESC, file.key LIMIT :limit",
        {"now": now_ms, "limit": limit},
    )
    return [_file(row) for row in rows]


def expiring(connection: sqlite3.Connection, now_ms: int, limit: int) -> list[File]:
    """The files that end first, for the caretaker: those that have ended and still fill the card too."""
    rows = connection.execute(
        f"{_FILE} WHERE file.state != 2 ORDER BY file.exp_ms, file.key LIMIT :limit",
        {"now": now_ms, "limit": limit},
    )
    return [_file(row) for row in rows]


def file_by_object(connection: sqlite3.Connection, obj: ObjectId) -> File | None:
    """The file ``obj`` in any state, or None."""
    row = connection.execute(f"{_FILE} WHERE file.obj = ?", (obj,)).fetchone()
    return _file(row) if row else None


def file_by_public_id(connection: sqlite3.Connection, name: str) -> File | None:
    """The file whose public form is, or uniquely begins with, ``name`` (canonical spelling)."""
    low, high = object_range(name)
    row = connection.execute(
        f"{_FILE} WHERE file.obj BETWEEN ? AND ? ORDER BY length(file.public_id), file.key", (low, high)
    ).fetchone()
    return _file(row) if row else None


def objects_in(connection: sqlite3.Connection, collection: ObjectId) -> list[ObjectId]:
    """Every file of a collection that is not erased, hidden or not."""
    rows = connection.execute("SELECT obj FROM file WHERE collection = ? AND state != 2", (collection,))
    return [ObjectId(row[0]) for row in rows]


def names_in(connection: sqlite3.Connection, collection: ObjectId) -> Callable[[str], bool]:
    """Whether a name (as `hub.domain.files.name_key` has it) is taken in a collection."""

    def taken(key: str) -> bool:
        row = connection.execute(
            "SELECT 1 FROM file WHERE collection = ? AND name_key = ? AND state != 2", (collection, key)
        ).fetchone()
        return row is not None

    return taken


def same_in(connection: sqlite3.Connection, collection: ObjectId, sha256: str, name_key: str) -> File | None:
    """The live file of that very name and content in a collection, if there is one."""
    row = connection.execute(
        f"{_FILE} WHERE file.collection = ? AND file.sha256 = ? AND file.name_key = ? AND file.state = 0",
        (collection, bytes.fromhex(sha256), name_key),
    ).fetchone()
    return _file(row) if row else None


def bytes_in(connection: sqlite3.Connection, collection: ObjectId) -> int:
    """Bytes that a collection's files have, each counted as often as it is listed."""
    (total,) = connection.execute(
        "SELECT coalesce(sum(size), 0) FROM file WHERE collection = ? AND state != 2", (collection,)
    ).fetchone()
    return int(total)


def picture_is_shown(connection: sqlite3.Connection, now_ms: int, sha256: str) -> bool:
    """Whether the blob is a thumbnail of a file that anybody may see."""
    row = connection.execute(
        "SELECT 1 FROM blob_use JOIN file ON file.obj = blob_use.obj LEFT JOIN hide ON hide.obj = file.obj"
        f" WHERE blob_use.sha256 = :sha256 AND blob_use.own = 0 AND {_FILE_SHOWN} AND {_IN_SHOWN_COLLECTION}",
        {"now": now_ms, "sha256": bytes.fromhex(sha256)},
    ).fetchone()
    return row is not None


@dataclass(frozen=True, slots=True)
class Totals:
    """How much the file share holds: collections and files anybody may see, and the bytes of its blobs."""

    collections: int
    files: int
    size: int


def totals(connection: sqlite3.Connection, now_ms: int) -> Totals:
    """How much there is; bytes that several files share count once."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM collection WHERE state = 0 AND exp_ms > ?1),"
        " (SELECT count(*) FROM file WHERE state = 0 AND exp_ms > ?1),"
        " (SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT sha256, size FROM file"
        " WHERE sha256 IS NOT NULL))",
        (now_ms,),
    ).fetchone()
    return Totals(*row)


def checksums(connection: sqlite3.Connection, blobs: Iterable[str]) -> dict[str, int]:
    """The CRC-32 of those of ``blobs`` (hex) for which it is known."""
    found = {}
    for sha256 in blobs:
        row = connection.execute(
            "SELECT crc32 FROM checksum WHERE sha256 = ?", (bytes.fromhex(sha256),)
        ).fetchone()
        if row is not None:
            found[sha256] = row[0]
    return found


def note_checksum(connection: sqlite3.Connection, sha256: str, crc32: int) -> None:
    """Keep a blob's CRC-32."""
    connection.execute("INSERT OR REPLACE INTO checksum VALUES (?, ?)", (bytes.fromhex(sha256), crc32))


def forget_checksums(connection: sqlite3.Connection) -> int:
    """Drop those of blobs that nothing names any more; returns how many."""
    return connection.execute(
        "DELETE FROM checksum WHERE NOT EXISTS"
        " (SELECT 1 FROM blob_use WHERE blob_use.sha256 = checksum.sha256)"
    ).rowcount


def _collection(row: tuple[Any, ...]) -> Collection:
    obj, public_id, state, shown_ms, edited_ms, changed_ms, exp_ms, hidden = row[:8]
    header_bytes, body, record_id, count, size, _ = row[8:]
    header = decode_header(header_bytes, stored=True)
    draft = CollectionDraft("", "", "", "", MayAdd.CARETAKERS, Licence.VARIES, 0, header.scope, header.exp)
    if body is not None:
        draft = decode_collection(Record(header, header_bytes, b"", body), stored=True).draft
    return Collection(
        obj=ObjectId(obj),
        public_id=public_id,
        hub=header.hub,
        title=draft.title,
        description=draft.description,
        lang=draft.lang,
        owner=draft.owner,
        may_add=draft.may_add,
        licence=draft.licence,
        lifetime_days=draft.lifetime_days,
        scope=draft.scope,
        shown_ms=shown_ms,
        edited_ms=edited_ms,
        expires_ms=exp_ms,
        state=STATES[state],
        changed_ms=changed_ms,
        hidden=bool(hidden),
        files=count,
        size=size,
        version=record_id,
    )


def _file(row: tuple[Any, ...]) -> File:
    key, obj, public_id, collection, state, shown_ms, edited_ms = row[:7]
    changed_ms, exp_ms, hidden, header_bytes, body = row[7:]
    header = decode_header(header_bytes, stored=True)
    draft = FileDraft("", BlobRef("", 0, ""), "", "", header.scope, header.exp)
    if body is not None:
        draft = decode_file(Record(header, header_bytes, b"", body), stored=True).draft
    return File(
        obj=ObjectId(obj),
        public_id=public_id,
        hub=header.hub,
        collection=ObjectId(collection),
        name=draft.name,
        blob=draft.blob,
        description=draft.description,
        lang=draft.lang,
        author=draft.author,
        picture=draft.picture,
        original=draft.original,
        scope=draft.scope,
        shown_ms=shown_ms,
        edited_ms=edited_ms,
        expires_ms=exp_ms,
        state=STATES[state],
        changed_ms=changed_ms,
        hidden=bool(hidden),
        key=key,
    )
