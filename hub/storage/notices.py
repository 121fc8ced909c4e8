"""Notices and replies as pages read them: projections joined with local truth."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hub.domain.bodies import decode_notice, decode_reply
from hub.domain.ids import HubId, ObjectId, object_range
from hub.domain.notices import Kind, Notice, NoticeDraft, Reply, State
from hub.domain.records import Record, decode_header
from hub.storage.projections import STATES

_NOTICE = """
SELECT notice.key, notice.obj, notice.public_id, notice.state, notice.shown_ms, notice.edited_ms,
  notice.changed_ms, notice.exp_ms,
  notice.replies - CASE WHEN notice.replies = 0 THEN 0 ELSE (
    SELECT count(*) FROM hide JOIN reply ON reply.obj = hide.obj AND reply.state = 0
    WHERE hide.thread = notice.obj) END,
  hide.obj IS NOT NULL, coalesce(mark.pinned_until_ms, 0) > :now, coalesce(mark.official_until_ms, 0) > :now,
  record.header, record.body, record.id
FROM notice JOIN record ON record.n = notice.record
LEFT JOIN hide ON hide.obj = notice.obj LEFT JOIN mark ON mark.obj = notice.obj
"""
_ORIGIN = "substr(record.header, 7, 32)"
"""The hub in a header: the second of its fields, whatever the others are (`hub.domain.records`)."""
_SHOWN = "notice.state = 0 AND notice.exp_ms > :now AND hide.obj IS NULL"

_REPLY = """
SELECT reply.obj, reply.public_id, reply.shown_ms, reply.edited_ms, hide.obj IS NOT NULL,
  record.header, record.body, reply.state, reply.notice
FROM reply JOIN record ON record.n = reply.record LEFT JOIN hide ON hide.obj = reply.obj
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """A notice in a list, with the key that orders it: the cursor of whatever comes after."""

    key: int
    notice: Notice


@dataclass(frozen=True, slots=True)
class Board:
    """One page of the board: ``first`` what is pinned or urgent, ``notices`` the rest by date.

    ``older`` is the key to continue before, or None at the end.
    """

    first: tuple[Notice, ...]
    notices: tuple[Notice, ...]
    older: int | None


def board(
    connection: sqlite3.Connection,
    now_ms: int,
    *,
    kind: Kind | None = None,
    origin: HubId | None = None,
    before: int | None = None,
    limit: int = 15,
) -> Board:
    """The board at ``now_ms``: strictly by date, newest first; pinned and urgent ones lead its first page,
    unless only a ``kind`` or what one hub wrote (``origin``) is wanted.

    A page has ``limit`` notices with those that lead it, but at least half as many without them.
    """
    leading = first(connection, now_ms)
    chosen = kind is not None or origin is not None
    if not chosen and before is None:
        limit = max(limit - len(leading), limit // 2)
    leading_objects = {notice.obj for notice in leading}
    sql = f"{_NOTICE} WHERE {_SHOWN} AND notice.key < :before"
    if kind is not None:
        sql += " AND notice.kind = :kind"
    if origin is not None:
        sql += f" AND {_ORIGIN} = :origin"
    rows = connection.execute(
        f"{sql} ORDER BY notice.key DESC LIMIT :limit",
        {
            "now": now_ms,
            "before": before if before is not None else 2**62,
            "kind": kind,
            "origin": origin,
            "limit": limit + 1 + len(leading),
        },
    )
    listed = [_listed(row) for row in rows]
    if not chosen:
        listed = [item for item in listed if item.notice.obj not in leading_objects]
    page, rest = listed[:limit], listed[limit:]
    return Board(
        first=tuple(leading) if not chosen and before is None else (),
        notices=tuple(item.notice for item in page),
        older=page[-1].key if rest else None,
    )


def first(connection: sqlite3.Connection, now_ms: int) -> list[Notice]:
    """What leads the board: pinned, then urgent, each by date."""
    rows = connection.execute(
        f"{_NOTICE} WHERE {_SHOWN} AND notice.obj IN"
        " (SELECT obj FROM mark WHERE pinned_until_ms > :now OR official_until_ms > :now)"
        f" UNION {_NOTICE} WHERE {_SHOWN} AND notice.kind = 'urgent'",
        {"now": now_ms},
    ).fetchall()
    listed = sorted((_listed(row) for row in rows), key=lambda item: item.key, reverse=True)
    return sorted(
        (item.notice for item in listed), key=lambda notice: (not notice.pinned, not notice.official)
    )


def shown(connection: sqlite3.Connection, now_ms: int, limit: int) -> list[Notice]:
    """The newest ``limit`` notices anybody may see, for feeds, screen and print."""
    rows = connection.execute(
        f"{_NOTICE} WHERE {_SHOWN} ORDER BY notice.key DESC LIMIT :limit", {"now": now_ms, "limit": limit}
    )
    return [_listed(row).notice for row in rows]


def by_object(connection: sqlite3.Connection, now_ms: int, obj: ObjectId) -> Notice | None:
    """The notice ``obj`` in any state, or None."""
    row = connection.execute(f"{_NOTICE} WHERE notice.obj = :obj", {"now": now_ms, "obj": obj}).fetchone()
    return _listed(row).notice if row else None


def by_public_id(connection: sqlite3.Connection, now_ms: int, name: str) -> Notice | None:
    """The notice whose public form is, or uniquely begins with, ``name`` (canonical spelling)."""
    low, high = object_range(name)
    row = connection.execute(
        f"{_NOTICE} WHERE notice.obj BETWEEN :low AND :high ORDER BY length(notice.public_id), notice.key",
        {"now": now_ms, "low": low, "high": high},
    ).fetchone()
    return _listed(row).notice if row else None


def every(
    connection: sqlite3.Connection, now_ms: int, *, where: str = "all", limit: int = 200
) -> list[Notice]:
    """Notices for the caretaker, newest first: ``where`` is one of all, board, hidden, gone."""
    condition = {
        "all": "1",
        "board": _SHOWN,
        "hidden": "hide.by_reports < 2 AND notice.state != 2",
        "gone": "notice.state != 0",
    }[where]
    rows = connection.execute(
        f"{_NOTICE} WHERE {condition} ORDER BY notice.key DESC LIMIT :limit",
        {"now": now_ms, "limit": limit},
    )
    return [_listed(row).notice for row in rows]


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply with its state and the notice it belongs to."""

    reply: Reply
    state: State
    notice: ObjectId


def replies(connection: sqlite3.Connection, notice: ObjectId) -> list[Reply]:
    """The live replies of a notice that are not hidden here, oldest first."""
    rows = connection.execute(
        f"{_REPLY} WHERE reply.notice = ? AND reply.state = 0 AND hide.obj IS NULL ORDER BY reply.key",
        (notice,),
    )
    return [_answer(row).reply for row in rows]


def reply_by_public_id(connection: sqlite3.Connection, name: str) -> Answer | None:
    """The reply of that public form, in any state."""
    low, high = object_range(name)
    row = connection.execute(
        f"{_REPLY} WHERE reply.obj BETWEEN ? AND ? ORDER BY length(reply.public_id), reply.key", (low, high)
    ).fetchone()
    return _answer(row) if row else None


def reply_by_object(connection: sqlite3.Connection, obj: ObjectId) -> Answer | None:
    """The reply ``obj``, in any state."""
    row = connection.execute(f"{_REPLY} WHERE reply.obj = ?", (obj,)).fetchone()
    return _answer(row) if row else None


def next_change(connection: sqlite3.Connection, now_ms: int, listed: Iterable[Notice]) -> int:
    """When a list of these notices changes by itself next: the first of their ends, or of any pin or mark.

    The ends of notices that are not in the list change nothing in it, and looking for them would read
    the whole table.
    """
    (marks,) = connection.execute(
        "SELECT min(at) FROM (SELECT min(pinned_until_ms) AS at FROM mark WHERE pinned_until_ms > ?1"
        " UNION ALL SELECT min(official_until_ms) FROM mark WHERE official_until_ms > ?1)",
        (now_ms,),
    ).fetchone()
    return min([marks or 2**53, *(notice.expires_ms for notice in listed)])


def picture_is_shown(connection: sqlite3.Connection, sha256: str) -> bool:
    """Whether a notice that is not hidden, taken down or erased names this blob."""
    row = connection.execute(
        "SELECT 1 FROM blob_use JOIN notice ON notice.obj = blob_use.obj AND notice.state = 0"
        " WHERE sha256 = ? AND NOT EXISTS (SELECT 1 FROM hide WHERE hide.obj = blob_use.obj)",
        (bytes.fromhex(sha256),),
    ).fetchone()
    return row is not None


def blob_is_named(connection: sqlite3.Connection, sha256: str) -> bool:
    """Whether any object names this blob."""
    row = connection.execute("SELECT 1 FROM blob_use WHERE sha256 = ?", (bytes.fromhex(sha256),)).fetchone()
    return row is not None


def blobs_of(connection: sqlite3.Connection, obj: ObjectId) -> list[str]:
    """The blobs ``obj`` names, in hex."""
    rows = connection.execute("SELECT sha256 FROM blob_use WHERE obj = ?", (obj,))
    return [row[0].hex() for row in rows]


def _listed(row: tuple[Any, ...]) -> Listed:
    key, obj, public_id, state, shown_ms, edited_ms, changed_ms, exp_ms, count = row[:9]
    hidden, pinned, official, header_bytes, body, record_id = row[9:]
    header = decode_header(header_bytes, stored=True)
    draft = None
    if body is not None:
        draft = decode_notice(Record(header, header_bytes, b"", body), stored=True).draft
    draft = draft or NoticeDraft(Kind.NEWS, "", "", "", header.scope, header.exp)
    notice = Notice(
        obj=ObjectId(obj),
        public_id=public_id,
        hub=header.hub,
        kind=draft.kind,
        title=draft.title,
        text=draft.text,
        lang=draft.lang,
        scope=draft.scope,
        name=draft.name,
        contact=draft.contact,
        pictures=draft.pictures,
        shown_ms=shown_ms,
        edited_ms=edited_ms,
        expires_ms=exp_ms,
        state=STATES[state],
        changed_ms=changed_ms,
        reply_count=count,
        hidden=bool(hidden),
        pinned=bool(pinned),
        official=bool(official),
        version=record_id,
    )
    return Listed(key, notice)


def _answer(row: tuple[Any, ...]) -> Answer:
    obj, public_id, shown_ms, edited_ms, hidden, header_bytes, body, state, notice = row
    header = decode_header(header_bytes, stored=True)
    text = lang = name = ""
    if body is not None:
        draft = decode_reply(Record(header, header_bytes, b"", body), stored=True).draft
        text, lang, name = draft.text, draft.lang, draft.name
    reply = Reply(
        obj=ObjectId(obj),
        public_id=public_id,
        hub=header.hub,
        text=text,
        lang=lang,
        name=name,
        shown_ms=shown_ms,
        edited_ms=edited_ms,
        hidden=bool(hidden),
    )
    return Answer(reply, STATES[state], ObjectId(notice))


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is of everything, for the status."""

    notices: int
    replies: int
    waiting: int
    reports: int
    hidden: int
    records: int
    devices: int


def counts(connection: sqlite3.Connection, now_ms: int) -> Counts:
    """How much there is of everything; notices are those anybody may see."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM notice WHERE state = 0 AND exp_ms > ?1 AND NOT EXISTS"
        " (SELECT 1 FROM hide WHERE hide.obj = notice.obj)),"
        " (SELECT count(*) FROM reply WHERE state = 0),"
        " (SELECT count(*) FROM held) + (SELECT count(*) FROM hide WHERE by_reports = 2),"
        " (SELECT count(DISTINCT obj) FROM report WHERE decided_ms IS NULL),"
        " (SELECT count(*) FROM hide WHERE by_reports < 2),"
        " (SELECT count(*) FROM record), (SELECT count(*) FROM device)",
        (now_ms,),
    ).fetchone()
    return Counts(*row)
