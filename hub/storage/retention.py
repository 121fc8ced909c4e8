"""What has come due: take-downs to finish, items that ended, blobs nobody names."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable

from hub.domain import cbor
from hub.domain.bodies import read_file_body, read_notice_body, read_picture
from hub.domain.ids import HubId, ObjectId
from hub.domain.notices import Picture
from hub.domain.policy import DAY_MS, Purge, leaves_at
from hub.domain.records import decode_header
from hub.storage import (
    advice,
    arrivals,
    authors,
    journal,
    moderation,
    notices,
    projections,
    sets,
    statuses,
    traces,
)
from hub.storage.projections import OBJECT_TABLES, refresh

_ANY_DUE = " OR ".join(
    f"EXISTS (SELECT 1 FROM {table} WHERE state = 1 OR exp_ms < ?1)" for table in OBJECT_TABLES
)
_TAKEN_DOWN = " UNION ALL ".join(
    f"SELECT {table}.obj, record.header FROM {table} JOIN record ON record.n = {table}.record"
    " WHERE state = 1 AND changed_ms < ?1"
    for table in OBJECT_TABLES
)

_ON_NO_PAGE = " AND ".join(
    f"NOT EXISTS (SELECT 1 FROM {table} WHERE {table}.obj = record.obj)" for table in OBJECT_TABLES
)


def anything_due(connection: sqlite3.Connection, now_ms: int) -> bool:
    """Whether a round of housekeeping could find something to do; writes nothing."""
    row = connection.execute(
        f"SELECT {_ANY_DUE}"
        " OR EXISTS (SELECT 1 FROM draft_picture) OR EXISTS (SELECT 1 FROM report)"
        " OR EXISTS (SELECT 1 FROM audit) OR EXISTS (SELECT 1 FROM trace)"
        " OR EXISTS (SELECT 1 FROM upload) OR EXISTS (SELECT 1 FROM brought)",
        (now_ms - 7 * DAY_MS,),
    ).fetchone()
    return bool(row[0]) or sets.must_sweep(connection, now_ms)


def taken_down(connection: sqlite3.Connection, hub: HubId, before_ms: int) -> list[ObjectId]:
    """Objects of ``hub`` that were taken down before that time and not erased yet."""
    rows = connection.execute(_TAKEN_DOWN, (before_ms,))
    return [ObjectId(obj) for obj, header in rows if decode_header(header).hub == hub]


def ended(connection: sqlite3.Connection, now_ms: int, *, unshown: bool = False) -> list[ObjectId]:
    """Objects that leave the log now (sync.md 2.4), the longest ended first; a share of all at most.

    ``unshown`` also looks for those that are on no page: of types of newer releases, and what was told of
    objects that never came. That reads the whole log.
    """
    (total,) = connection.execute("SELECT count(*) FROM record").fetchone()
    rows = connection.execute(
        "SELECT obj, exp_ms FROM notice WHERE exp_ms < ?1 UNION ALL"
        " SELECT obj, exp_ms FROM reply WHERE exp_ms < ?1 AND NOT EXISTS"  # a reply stays with its notice
        " (SELECT 1 FROM notice WHERE notice.obj = reply.notice AND notice.exp_ms >= ?1)"
        " UNION ALL SELECT obj, exp_ms FROM file WHERE exp_ms < ?1"
        " UNION ALL SELECT obj, exp_ms FROM collection WHERE exp_ms < ?1"
        " ORDER BY exp_ms",
        (now_ms - 7 * DAY_MS,),
    ).fetchall()
    if unshown:
        rows += connection.execute(f"SELECT DISTINCT obj, 0 FROM record WHERE {_ON_NO_PAGE}").fetchall()
    found: list[ObjectId] = []
    for obj, _ in rows:
        if len(found) == Purge().allowed(total):
            break
        latest = max(logged.record.header.exp for logged in journal.versions(connection, ObjectId(obj)))
        if leaves_at(latest) <= now_ms:
            found.append(ObjectId(obj))
    return found


def drop(connection: sqlite3.Connection, obj: ObjectId) -> None:
    """Remove every row of ``obj``: log, sets, projections and local truth. Its traces are due to be wiped."""
    traces.leave(connection, traces.NOW, notices.blobs_of(connection, obj))
    projections.forget(connection, obj)
    versions = journal.versions(connection, obj)
    for logged in versions:
        sets.remove(connection, logged.record)
        arrivals.uncount(connection, logged)
    statuses.forget(connection, obj, versions)
    advice.drop(connection, obj, versions)
    connection.execute("DELETE FROM record WHERE obj = ?", (obj,))
    moderation.forget(connection, obj)
    authors.disown(connection, obj)


def strip(connection: sqlite3.Connection, obj: ObjectId) -> None:
    """Erase the words of ``obj`` here and keep its headers: local truth, of which no other hub hears.

    Its headers stay in their sets, so that nobody offers it again. Its traces are due to be wiped.
    """
    traces.leave(connection, traces.NOW, notices.blobs_of(connection, obj))
    for logged in journal.versions(connection, obj):
        journal.drop_body(connection, logged.n)
    refresh(connection, obj)
    moderation.forget(connection, obj)
    authors.disown(connection, obj)


def named_blobs(connection: sqlite3.Connection) -> list[str]:
    """Every blob (hex) that a record's body names."""
    return [row[0].hex() for row in connection.execute("SELECT DISTINCT sha256 FROM blob_use")]


def referenced_blobs(connection: sqlite3.Connection) -> set[str]:
    """Every blob (hex) that a record, something held, or a kept picture names."""
    return set(named_blobs(connection)) | other_blobs(connection)


def other_blobs(connection: sqlite3.Connection) -> set[str]:
    """Every blob (hex) that something held, or a kept picture, names."""
    kept = [read_picture(cbor.decode(data)) for data in authors.kept_pictures(connection)]
    return all_blobs_held(connection) | _blobs_of(kept)


def blobs_held(held: moderation.Held) -> set[str]:
    """The blobs (hex) that something held names."""
    if held.of == "file":
        file = read_file_body(held.body, held.scope, held.exp_ms).draft
        return {file.blob.sha256} | ({file.picture.thumb.sha256} if file.picture else set())
    if held.of != "notice":
        return set()
    return _blobs_of(read_notice_body(held.body, held.scope, held.exp_ms).draft.pictures)


def all_blobs_held(connection: sqlite3.Connection) -> set[str]:
    """The blobs (hex) that anything held names."""
    return {blob for held in moderation.all_held(connection) for blob in blobs_held(held)}


def forget_kept_pictures(connection: sqlite3.Connection, blobs: Collection[str]) -> None:
    """Drop kept pictures of forms, with their words, that name one of ``blobs`` (hex)."""
    for data in authors.kept_pictures(connection):
        if not _blobs_of([read_picture(cbor.decode(data))]).isdisjoint(blobs):
            authors.drop_picture(connection, data)


def _blobs_of(pictures: Iterable[Picture]) -> set[str]:
    return {blob.sha256 for picture in pictures for blob in (picture.full, picture.thumb)}
