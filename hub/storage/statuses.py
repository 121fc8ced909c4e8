"""What hubs say of themselves, and which erasures each has carried out.

`project` keeps ``hub_status`` and ``retraction`` in step with the log; ``receipt`` is local truth, for a
status names only the newest erasures and loses its body to the next.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from hub.domain.errors import Refused
from hub.domain.ids import HubId, ObjectId, RecordId
from hub.domain.notices import Scope
from hub.domain.policy import DAY_MS, leaves_at
from hub.domain.projection import Logged
from hub.domain.records import RecordType
from hub.domain.status import read_status, short_id, split_named, status_object
from hub.storage import arrivals, journal, sets
from hub.storage.decisions import Origin, know_origin

TABLES = ("hub_status", "retraction")
"""Made again by a rebuild."""
_RECEIPTS_KEPT_MS = 400 * DAY_MS


@dataclass(frozen=True, slots=True)
class HubStatus:
    """The newest status of a hub; ``named`` are short ids, ``at_ms`` when it was written."""

    hub: HubId
    version: str
    quality: int
    erased: int
    named: tuple[bytes, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class Retraction:
    """An erasure of something that other hubs may hold; ``at_ms`` is when its origin published it."""

    record: RecordId
    origin: HubId
    scope: Scope
    at_ms: int


def project(connection: sqlite3.Connection, obj: ObjectId, versions: Sequence[Logged]) -> None:
    """Note what ``versions``, records of ``obj``, say of hubs and of erasures."""
    statuses = []
    for logged in versions:
        header = logged.record.header
        if header.type == RecordType.RETRACT and header.scope is not Scope.HUB:
            connection.execute(
                "INSERT OR IGNORE INTO retraction VALUES (?, ?, ?, ?, ?)",
                (obj, logged.record.id, header.hub, str(header.scope), header.stamp.ms),
            )
        elif header.type == RecordType.STATUS and obj == status_object(header.hub):
            statuses.append(logged)
    if statuses:
        _project_status(connection, statuses)


def _project_status(connection: sqlite3.Connection, statuses: list[Logged]) -> None:
    """The newest that can be read is the hub's; those before it lose their bodies."""
    statuses.sort(key=lambda logged: (logged.record.header.stamp, logged.record.id), reverse=True)
    newest = body = None
    for logged in statuses:
        if body is not None:
            journal.drop_body(connection, logged.n)
        elif logged.record.body is not None:
            with suppress(Refused):  # of a release that writes it otherwise: carried, and not understood
                newest, body = logged, read_status(logged.record.header.hub, logged.record.body)
    if newest is None or body is None:
        return
    hub, at_ms = newest.record.header.hub, min(newest.record.header.stamp.ms, newest.seen_ms)
    connection.execute(
        "INSERT OR REPLACE INTO hub_status VALUES (?, ?, ?, ?, ?, ?)",
        (hub, body.version, int(body.quality), body.erased, b"".join(body.named), at_ms),
    )
    know_origin(connection, Origin(hub, body.name, body.colour))
    known = {short_id(record) for _, record in retractions_since(connection, 0)}
    connection.executemany(
        "INSERT OR IGNORE INTO receipt VALUES (?, ?, ?)",
        [(named, hub, at_ms) for named in known.intersection(body.named)],
    )


def forget(connection: sqlite3.Connection, obj: ObjectId, versions: Sequence[Logged]) -> None:
    """``obj`` is dropped from the log with all its records, ``versions``."""
    connection.execute("DELETE FROM retraction WHERE obj = ?", (obj,))
    for hub in {logged.record.header.hub for logged in versions}:
        if obj == status_object(hub):
            connection.execute("DELETE FROM hub_status WHERE hub = ?", (hub,))


def rebuild(connection: sqlite3.Connection) -> None:
    """Make both tables again from the log."""
    clear(connection)
    rows = connection.execute(
        "SELECT DISTINCT obj FROM record"
        " WHERE instr(header, CAST('retract' AS BLOB)) OR instr(header, CAST('status' AS BLOB))"
    ).fetchall()
    for (obj,) in rows:
        project(connection, ObjectId(obj), journal.versions(connection, ObjectId(obj)))


def clear(connection: sqlite3.Connection) -> None:
    """Empty both tables: `project` fills them again."""
    for table in TABLES:
        connection.execute(f"DELETE FROM {table}")


def every(connection: sqlite3.Connection) -> dict[HubId, HubStatus]:
    """The newest status of every hub that has one."""
    rows = connection.execute("SELECT hub, version, quality, erased, named, at_ms FROM hub_status")
    return {
        HubId(hub): HubStatus(HubId(hub), version, quality, erased, split_named(named), at_ms)
        for hub, version, quality, erased, named, at_ms in rows
    }


def of_hub(connection: sqlite3.Connection, hub: HubId) -> HubStatus | None:
    """The newest status of ``hub``."""
    return every(connection).get(hub)


def retractions_since(connection: sqlite3.Connection, since_ms: int) -> list[tuple[int, RecordId]]:
    """Erasures that concern other hubs and were published from then on: stamp in ms, and record."""
    rows = connection.execute("SELECT ts, id FROM retraction WHERE ts >= ?", (since_ms,))
    return [(ts, RecordId(record)) for ts, record in rows]


def retraction_of(connection: sqlite3.Connection, obj: ObjectId) -> Retraction | None:
    """The first erasure of ``obj``; None if it was not erased, or never left its hub."""
    row = connection.execute(
        "SELECT id, origin, scope, ts FROM retraction WHERE obj = ? ORDER BY ts, id LIMIT 1", (obj,)
    ).fetchone()
    return Retraction(RecordId(row[0]), HubId(row[1]), Scope(row[2]), row[3]) if row else None


def receipts(connection: sqlite3.Connection, record: RecordId) -> dict[HubId, int]:
    """The hubs that have told that they carried out the erasure ``record``, and when."""
    rows = connection.execute("SELECT hub, at_ms FROM receipt WHERE retraction = ?", (short_id(record),))
    found = {HubId(hub): at_ms for hub, at_ms in rows}
    for hub, status in every(connection).items():  # one may have named it before it was known here
        if short_id(record) in status.named:
            found.setdefault(hub, status.at_ms)
    return found


def drop_ended(connection: sqlite3.Connection, now_ms: int) -> int:
    """Drop what every hub drops now (sync.md 2.4): old statuses, hubs that are silent, old receipts.

    What else a hub put under the object of a status, as if it were a notice, goes with the whole object.
    """
    dropped = 0
    for hub in every(connection):
        statuses = [
            logged
            for logged in journal.versions(connection, status_object(hub))
            if logged.record.header.type == RecordType.STATUS
        ]
        ended = [logged for logged in statuses if leaves_at(logged.record.header.exp) <= now_ms]
        for logged in ended:
            sets.remove(connection, logged.record)
            arrivals.uncount(connection, logged)
            connection.execute("DELETE FROM record WHERE n = ?", (logged.n,))
        dropped += len(ended)
        if all(logged in ended or logged.record.header.hub != hub for logged in statuses):
            connection.execute("DELETE FROM hub_status WHERE hub = ?", (hub,))
    connection.execute("DELETE FROM receipt WHERE at_ms < ?", (now_ms - _RECEIPTS_KEPT_MS,))
    return dropped
