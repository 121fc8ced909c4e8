"""The tables pages read, made from the log in the same transaction, and made again by `rebuild`."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

from hub.domain.bodies import CollectionBody, FileBody, NoticeBody, decode_reply
from hub.domain.files import name_key
from hub.domain.ids import PUBLIC_LENGTH, HubId, ObjectId, namesakes, public_form
from hub.domain.notices import BlobRef, State
from hub.domain.projection import Logged, Standing, display_key, of_owner, spent, stand
from hub.domain.records import CONTENT_TYPES, Record, RecordType, decode_header
from hub.domain.status import status_object
from hub.storage import advice, fetching, journal, search, sets, statuses, traces

STATE_NUMBERS: Final = {State.LIVE: 0, State.WITHDRAWN: 1, State.ERASED: 2}
STATES: Final = {number: state for state, number in STATE_NUMBERS.items()}


def refresh(
    connection: sqlite3.Connection,
    obj: ObjectId,
    versions: Sequence[Logged] | None = None,
    own: HubId | None = None,
    *,
    new: bool = False,
) -> Standing | None:
    """Bring every projection of ``obj`` in step with the log; superseded bodies are dropped.

    ``versions`` are all records of ``obj`` and ``own`` is this hub, where the caller has them; otherwise
    they are read. ``new`` says that the log had nothing of it before. Returns the object's standing, or
    None while the log holds nothing of it that can be shown.
    """
    if versions is None:
        versions = journal.versions(connection, obj)
    for logged in spent(versions):
        journal.drop_body(connection, logged.n)
        traces.leave(connection)
    own = own or journal.own(connection)
    hubs = {logged.record.header.hub for logged in versions}
    counting = of_owner(versions, own) if len(hubs) > 1 else versions
    if len(hubs) > 1:
        connection.execute("DELETE FROM retraction WHERE obj = ?", (obj,))
    of_itself = [logged for logged in versions if obj == status_object(logged.record.header.hub)]
    statuses.project(connection, obj, of_itself or counting)  # nobody takes a hub's status from it
    advice.project(connection, obj, versions)
    standing = stand(counting, own)
    shapes = {
        (logged.record.header.type, logged.record.header.ref)
        for logged in versions
        if logged.record.header.type in CONTENT_TYPES
    }
    if not new and (standing is None or len(shapes) > 1 or len(hubs) > 1):
        forget(connection, obj)  # what another version or another hub's content may have left
    if standing is None:
        return None
    header = standing.content.record.header
    if header.type == RecordType.NOTICE:
        _notice_row(connection, obj, standing, new=new)
    elif header.type == RecordType.COLLECTION:
        _collection_row(connection, obj, standing)
    elif header.ref is not None:
        row = _reply_row if header.type == RecordType.REPLY else _file_row
        row(connection, obj, header.ref, standing, new=new)
    return standing


def forget(connection: sqlite3.Connection, obj: ObjectId) -> None:
    """Remove every row of ``obj`` from the projections."""
    for table in ("notice", "file", "collection"):
        row = connection.execute(f"SELECT shown_ms FROM {table} WHERE obj = ?", (obj,)).fetchone()
        if row:
            search.remove(connection, shown_ms=row[0], notice=obj)
    answered = connection.execute(
        "SELECT notice.shown_ms, notice.obj FROM reply JOIN notice ON notice.obj = reply.notice"
        " WHERE reply.obj = ?",
        (obj,),
    ).fetchone()
    if answered:
        search.remove(connection, shown_ms=answered[0], notice=answered[1], obj=obj)
    for table in (*OBJECT_TABLES, "blob_use"):
        connection.execute(f"DELETE FROM {table} WHERE obj = ?", (obj,))
    if answered:
        count_replies(connection, answered[1])
    _place_files(connection, obj)


def rebuild(connection: sqlite3.Connection) -> int:
    """Make every projection again from the log; local truth is not touched. Returns the objects seen."""
    for table in (*OBJECT_TABLES, "blob_use"):
        connection.execute(f"DELETE FROM {table}")
    search.clear(connection)
    sets.rebuild(connection)
    statuses.clear(connection)
    advice.clear(connection)
    objects = journal.objects(connection)
    for obj in objects:
        refresh(connection, obj)
    return len(objects)


OBJECT_TABLES: Final = ("notice", "reply", "collection", "file")
"""One row for each object of the log, by type: they share the columns of `_COLUMNS`, keys and names."""
_COLUMNS: Final = "record, state, shown_ms, edited_ms, changed_ms, exp_ms"


def _values(standing: Standing) -> tuple[int | None, ...]:
    return (
        standing.content.n,
        STATE_NUMBERS[standing.state],
        standing.shown_ms,
        standing.edited_ms,
        standing.changed_ms,
        standing.exp_ms,
    )


def _notice_row(connection: sqlite3.Connection, obj: ObjectId, standing: Standing, *, new: bool) -> None:
    known = None if new else _known(connection, "notice", obj)
    draft = standing.body.draft if isinstance(standing.body, NoticeBody) else None
    if known is None:
        key, public_id = _free(connection, standing.shown_ms, obj)
        (replies,) = connection.execute(
            f"INSERT INTO notice (key, obj, public_id, kind, replies, {_COLUMNS}) VALUES (?1, ?2, ?3, ?4,"
            " (SELECT count(*) FROM reply WHERE notice = ?2 AND state = 0), ?5, ?6, ?7, ?8, ?9, ?10)"
            " RETURNING replies",
            (key, obj, public_id, draft.kind if draft else "", *_values(standing)),
        ).fetchone()
    else:
        key = known[0]
        if known[1] != standing.shown_ms:
            key = _free_key(connection, standing.shown_ms, obj)
        search.remove(connection, shown_ms=known[1], notice=obj)
        connection.execute("DELETE FROM blob_use WHERE obj = ?", (obj,))
        connection.execute(
            f"UPDATE notice SET (key, kind, {_COLUMNS}) = (?, ?, ?, ?, ?, ?, ?, ?) WHERE key = ?",
            (key, draft.kind if draft else "", *_values(standing), known[0]),
        )
    if draft is not None:
        blobs = [blob for shown in draft.pictures for blob in (shown.full, shown.thumb)]
        _use(connection, standing, blobs)
    if draft is not None and standing.state is State.LIVE:
        alts = (picture.alt for picture in draft.pictures)
        texts = (draft.title, draft.text, draft.name, *alts)
        search.add(
            connection, shown_ms=standing.shown_ms, notice=obj, obj=obj, texts=texts, new=known is None
        )
        if known is not None or replies:
            for reply in _live_replies(connection, obj):
                _index_reply(connection, obj, standing.shown_ms, reply)


def _known(connection: sqlite3.Connection, table: str, obj: ObjectId) -> tuple[int, int] | None:
    """Key and display time of the row of ``obj``."""
    row: tuple[int, int] | None = connection.execute(
        f"SELECT key, shown_ms FROM {table} WHERE obj = ?", (obj,)
    ).fetchone()
    return row


def _reply_row(
    connection: sqlite3.Connection, obj: ObjectId, notice: ObjectId, standing: Standing, *, new: bool
) -> None:
    known = None if new else _known(connection, "reply", obj)
    if known is None:
        key, public_id = _free(connection, standing.shown_ms, obj)
        connection.execute(
            f"INSERT INTO reply (key, obj, public_id, notice, {_COLUMNS})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, obj, public_id, notice, *_values(standing)),
        )
    else:
        key = known[0] if known[1] == standing.shown_ms else _free_key(connection, standing.shown_ms, obj)
        connection.execute(
            f"UPDATE reply SET (key, {_COLUMNS}) = (?, ?, ?, ?, ?, ?, ?) WHERE key = ?",
            (key, *_values(standing), known[0]),
        )
    found = count_replies(connection, notice)
    if found is None:
        return  # it waits for its notice
    if known is not None:
        search.remove(connection, shown_ms=found[0], notice=notice, obj=obj)
    if standing.state is State.LIVE and STATES[found[1]] is State.LIVE:
        _index_reply(connection, notice, found[0], standing.content.record, new=True)


def _collection_row(connection: sqlite3.Connection, obj: ObjectId, standing: Standing) -> None:
    known = _known(connection, "collection", obj)
    if known is None:
        key, public_id = _free(connection, standing.shown_ms, obj)
        connection.execute(
            f"INSERT INTO collection (key, obj, public_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                obj,
                public_id,
                *_values(standing),
            ),
        )
        _place_files(connection, obj)
    else:
        key = known[0] if known[1] == standing.shown_ms else _free_key(connection, standing.shown_ms, obj)
        search.remove(connection, shown_ms=known[1], notice=obj)
        connection.execute(
            f"UPDATE collection SET (key, {_COLUMNS}) = (?, ?, ?, ?, ?, ?, ?) WHERE key = ?",
            (key, *_values(standing), known[0]),
        )
    if standing.state is State.LIVE and isinstance(standing.body, CollectionBody):
        draft = standing.body.draft
        texts = (draft.title, draft.description, draft.owner)
        search.add(connection, shown_ms=standing.shown_ms, notice=obj, obj=obj, texts=texts)


def _file_row(
    connection: sqlite3.Connection, obj: ObjectId, collection: ObjectId, standing: Standing, *, new: bool
) -> None:
    known = None if new else _known(connection, "file", obj)
    draft = standing.body.draft if isinstance(standing.body, FileBody) else None
    own: tuple[str, bytes | None, int] = ("", None, 0)
    if draft is not None:
        own = (name_key(draft.name), bytes.fromhex(draft.blob.sha256), draft.blob.size)
    if known is None:
        key, public_id = _free(connection, standing.shown_ms, obj)
        connection.execute(
            f"INSERT INTO file (key, obj, public_id, collection, {_COLUMNS}, name_key, sha256, size)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                obj,
                public_id,
                _place(connection, collection, standing.content.record.header.hub),
                *_values(standing),
                *own,
            ),
        )
    else:
        key = known[0] if known[1] == standing.shown_ms else _free_key(connection, standing.shown_ms, obj)
        search.remove(connection, shown_ms=known[1], notice=obj)
        connection.execute("DELETE FROM blob_use WHERE obj = ?", (obj,))
        connection.execute(
            f"UPDATE file SET (key, {_COLUMNS}, name_key, sha256, size) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " WHERE key = ?",
            (key, *_values(standing), *own, known[0]),
        )
    if draft is None:
        return
    _use(connection, standing, [draft.blob], own=True)
    if draft.picture is not None:
        _use(connection, standing, [draft.picture.thumb])
    if standing.state is State.LIVE:
        texts = (draft.name, draft.description, draft.author)
        search.add(
            connection, shown_ms=standing.shown_ms, notice=obj, obj=obj, texts=texts, new=known is None
        )


def _place(connection: sqlite3.Connection, collection: ObjectId, hub: HubId) -> bytes:
    """What a file of ``hub`` has for its collection: in another hub's collection nobody is to find it."""
    row = connection.execute(
        "SELECT header FROM collection JOIN record ON record.n = collection.record WHERE collection.obj = ?",
        (collection,),
    ).fetchone()
    if row is None or decode_header(row[0], stored=True).hub == hub:
        return collection
    return collection + hub


def _place_files(connection: sqlite3.Connection, collection: ObjectId) -> None:
    """Give the files that name a collection their place, now that it came or went."""
    rows = connection.execute(
        "SELECT file.key, header FROM file JOIN record ON record.n = file.record"
        " WHERE collection BETWEEN ?1 AND ?2",
        (collection, collection + b"\xff" * (len(collection) * 2 + 1)),
    ).fetchall()
    for key, header in rows:
        place = _place(connection, collection, decode_header(header, stored=True).hub)
        connection.execute("UPDATE file SET collection = ? WHERE key = ?", (place, key))


def _use(
    connection: sqlite3.Connection, standing: Standing, blobs: Collection[BlobRef], *, own: bool = False
) -> None:
    if not blobs:
        return
    header = standing.content.record.header
    connection.executemany(
        "INSERT OR IGNORE INTO blob_use (sha256, obj, own) VALUES (?, ?, ?)",
        [(bytes.fromhex(blob.sha256), header.obj, own) for blob in blobs],
    )
    fetching.expect(connection, header.hub, blobs, own=own)


def count_replies(connection: sqlite3.Connection, notice: ObjectId) -> tuple[int, int] | None:
    """Bring a notice's number of replies in step with them; its display time and state, None without it."""
    row: tuple[int, int] | None = connection.execute(
        "UPDATE notice SET replies = (SELECT count(*) FROM reply WHERE reply.notice = notice.obj"
        " AND reply.state = 0) WHERE obj = ? RETURNING shown_ms, state",
        (notice,),
    ).fetchone()
    return row


def _live_replies(connection: sqlite3.Connection, notice: ObjectId) -> list[Record]:
    rows = connection.execute("SELECT obj FROM reply WHERE notice = ? AND state = 0", (notice,)).fetchall()
    own = journal.own(connection)
    standings = (stand(journal.versions(connection, ObjectId(row[0])), own) for row in rows)
    return [standing.content.record for standing in standings if standing is not None]


def _index_reply(
    connection: sqlite3.Connection, notice: ObjectId, shown_ms: int, record: Record, *, new: bool = False
) -> None:
    draft = decode_reply(record, stored=True).draft
    search.add(
        connection,
        shown_ms=shown_ms,
        notice=notice,
        obj=record.header.obj,
        texts=(draft.text, draft.name),
        new=new,
    )


_KEY_TAKEN: Final = " UNION ALL ".join(f"SELECT 1 FROM {table} WHERE key = ?1" for table in OBJECT_TABLES)
_NAME_TAKEN: Final = " UNION ALL ".join(
    f"SELECT 1 FROM {table} WHERE obj BETWEEN ?2 AND ?3 AND obj != ?4" for table in OBJECT_TABLES
)


_TAKEN: Final = f"SELECT EXISTS ({_KEY_TAKEN}), EXISTS ({_NAME_TAKEN})"


def _free(connection: sqlite3.Connection, shown_ms: int, obj: ObjectId) -> tuple[int, str]:
    """The key and the name that an object gets which nothing here has a row for."""
    key, (low, high) = display_key(shown_ms, obj), namesakes(obj, PUBLIC_LENGTH)
    key_taken, name_taken = connection.execute(_TAKEN, (key, low, high, obj)).fetchone()
    return (
        _free_key(connection, shown_ms, obj) if key_taken else key,
        _free_name(connection, obj) if name_taken else public_form(obj),
    )


def _free_key(connection: sqlite3.Connection, shown_ms: int, obj: ObjectId) -> int:
    key = display_key(shown_ms, obj)
    while connection.execute(_KEY_TAKEN, (key,)).fetchone():
        key += 1
    return key


def _free_name(connection: sqlite3.Connection, obj: ObjectId) -> str:
    """The shortest public form, ten characters or more, that no other object here begins with."""
    for length in range(10, 27):
        if not connection.execute(_NAME_TAKEN, (None, *namesakes(obj, length), obj)).fetchone():
            return public_form(obj, length)
    return public_form(obj, 26)
