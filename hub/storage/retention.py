"""What has come due: take-downs to finish, items that ended, blobs nobody names."""

from __future__ import annotations

import sqlite3

from hub.domain import cbor
from hub.domain.ids import HubId, ObjectId
from hub.domain.policy import DAY_MS, Purge, leaves_at
from hub.domain.records import decode_header, read_notice_body, read_picture
from hub.storage import authors, journal, moderation, search


def anything_due(connection: sqlite3.Connection, now_ms: int) -> bool:
    """Whether a round of housekeeping could find something to do; writes nothing."""
    row = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM notice WHERE state = 1 OR exp_ms < ?1)"
        " OR EXISTS (SELECT 1 FROM reply WHERE state = 1 OR exp_ms < ?1)"
        " OR EXISTS (SELECT 1 FROM draft_picture) OR EXISTS (SELECT 1 FROM report)"
        " OR EXISTS (SELECT 1 FROM audit)",
        (now_ms - 7 * DAY_MS,),
    ).fetchone()
    return bool(row[0])


def taken_down(connection: sqlite3.Connection, hub: HubId, before_ms: int) -> list[ObjectId]:
    """Objects of ``hub`` that were taken down before that time and not erased yet."""
    rows = connection.execute(
        "SELECT notice.obj, record.header FROM notice JOIN record ON record.n = notice.record"
        " WHERE state = 1 AND changed_ms < ?1 UNION ALL"
        " SELECT reply.obj, record.header FROM reply JOIN record ON record.n = reply.record"
        " WHERE state = 1 AND changed_ms < ?1",
        (before_ms,),
    )
    return [ObjectId(obj) for obj, header in rows if decode_header(header).hub == hub]


def ended(connection: sqlite3.Connection, now_ms: int) -> list[ObjectId]:
    """Objects that leave the set now (sync.md 2.4), the longest ended first; a share of all at most."""
    (total,) = connection.execute("SELECT count(*) FROM record").fetchone()
    rows = connection.execute(
        "SELECT obj, exp_ms FROM notice WHERE exp_ms < ?1 UNION ALL"
        " SELECT obj, exp_ms FROM reply WHERE exp_ms < ?1 ORDER BY exp_ms LIMIT ?2",
        (now_ms - 7 * DAY_MS, Purge().allowed(total)),
    ).fetchall()
    found = []
    for obj, _ in rows:
        latest = max(logged.record.header.exp for logged in journal.versions(connection, ObjectId(obj)))
        if leaves_at(latest) <= now_ms:
            found.append(ObjectId(obj))
    return found


def drop(connection: sqlite3.Connection, obj: ObjectId) -> None:
    """Remove every row of ``obj``: log, projections and local truth."""
    row = connection.execute("SELECT shown_ms FROM notice WHERE obj = ?", (obj,)).fetchone()
    if row:
        search.remove(connection, shown_ms=row[0], notice=obj)
    answered = connection.execute(
        "SELECT notice.shown_ms, notice.obj FROM reply JOIN notice ON notice.obj = reply.notice"
        " WHERE reply.obj = ?",
        (obj,),
    ).fetchone()
    if answered:
        search.remove(connection, shown_ms=answered[0], notice=answered[1], obj=obj)
    for table in ("notice", "reply", "blob_use", "record"):
        connection.execute(f"DELETE FROM {table} WHERE obj = ?", (obj,))
    moderation.forget(connection, obj)
    authors.disown(connection, obj)


def named_blobs(connection: sqlite3.Connection) -> list[str]:
    """Every blob (hex) that a record's body names."""
    return [row[0].hex() for row in connection.execute("SELECT DISTINCT sha256 FROM blob_use")]


def referenced_blobs(connection: sqlite3.Connection) -> set[str]:
    """Every blob (hex) that a record, something held, or a kept picture names."""
    found = set(named_blobs(connection))
    pictures = [read_picture(cbor.decode(data)) for data in authors.kept_pictures(connection)]
    for held in moderation.all_held(connection):
        if held.of == "notice":
            pictures.extend(read_notice_body(held.body, held.scope, held.exp_ms).draft.pictures)
    for picture in pictures:
        found |= {picture.full.sha256, picture.thumb.sha256}
    return found
