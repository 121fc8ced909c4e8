"""What other hubs bring, besides the log: how much it was, what has to wait, and whose key is used twice.

Local truth. Every function runs inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hub.domain.admission import Wait
from hub.domain.ids import Epoch, HubId, ObjectId, RecordId
from hub.domain.projection import Logged
from hub.domain.records import Record, decode_header
from hub.storage import bulk, traces

# --- how much came ----------------------------------------------------------------------------------


def is_known(connection: sqlite3.Connection, hub: HubId) -> bool:
    """Whether records of ``hub`` are taken from whoever brings them."""
    return (
        connection.execute(
            "SELECT 1 FROM known_origin WHERE hub = ?1 UNION ALL SELECT 1 FROM neighbour WHERE hub = ?1",
            (hub,),
        ).fetchone()
        is not None
    )


def know(connection: sqlite3.Connection, hub: HubId, introduced: bytes, day: int) -> None:
    """Records of ``hub`` are taken from now on. ``introduced``: which neighbour brought the first ('' where
    a caretaker said so); ``day``: in days since 1970."""
    connection.execute(
        "INSERT OR IGNORE INTO known_origin (hub, introduced, since_day) VALUES (?, ?, ?)",
        (hub, introduced, day),
    )


def kept_of(connection: sqlite3.Connection, hub: HubId) -> int:
    """How many records of ``hub`` the log has."""
    row = connection.execute("SELECT records FROM known_origin WHERE hub = ?", (hub,)).fetchone()
    return row[0] if row else 0


def keep_of(connection: sqlite3.Connection, hub: HubId, more: int) -> None:
    """The log has ``more`` records of a known hub."""
    connection.execute("UPDATE known_origin SET records = records + ? WHERE hub = ?", (more, hub))


def introduced(connection: sqlite3.Connection, neighbour: bytes, day: int) -> int:
    """How many hubs a neighbour introduced on a day."""
    (count,) = connection.execute(
        "SELECT count(*) FROM known_origin WHERE (introduced, since_day) = (?, ?) AND hub != introduced",
        (neighbour, day),
    ).fetchone()
    return int(count)


def delivered(connection: sqlite3.Connection, neighbour: bytes, day: int) -> dict[HubId, tuple[int, int]]:
    """Records and bytes that a neighbour brought of each origin on a day."""
    rows = connection.execute(
        "SELECT origin, records, bytes FROM delivered WHERE (neighbour, day) = (?, ?)", (neighbour, day)
    )
    return {HubId(origin): (records, size) for origin, records, size in rows}


def urgent(connection: sqlite3.Connection, hub: HubId, now_ms: int) -> int:
    """How many urgent notices of ``hub`` lead the board."""
    rows = connection.execute(
        "SELECT header FROM notice JOIN record ON record.n = notice.record"
        " WHERE kind = 'urgent' AND state = 0 AND exp_ms > ?"
        " AND NOT EXISTS (SELECT 1 FROM hide WHERE hide.obj = notice.obj)",
        (now_ms,),
    )
    return sum(decode_header(header, stored=True).hub == hub for (header,) in rows)


def orphans(connection: sqlite3.Connection, before_ms: int, limit: int) -> list[ObjectId]:
    """Replies and files that came before a time and whose notice or collection did not."""
    rows = connection.execute(
        "SELECT reply.obj FROM reply JOIN record ON record.n = reply.record WHERE state != 2 AND seen_ms < ?1"
        " AND NOT EXISTS (SELECT 1 FROM notice WHERE notice.obj = reply.notice)"
        " UNION ALL"
        " SELECT file.obj FROM file JOIN record ON record.n = file.record WHERE state != 2 AND seen_ms < ?1"
        " AND NOT EXISTS (SELECT 1 FROM collection WHERE collection.obj = file.collection) LIMIT ?2",
        (before_ms, limit),
    )
    return [ObjectId(row[0]) for row in rows]


def deliver(
    connection: sqlite3.Connection, neighbour: bytes, day: int, origin: HubId, records: int, size: int
) -> None:
    """Count what a neighbour brought. Only the present day is of use: earlier ones of it are forgotten."""
    connection.execute("DELETE FROM delivered WHERE neighbour = ? AND day < ?", (neighbour, day))
    connection.execute(
        "INSERT INTO delivered VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " records = records + excluded.records, bytes = bytes + excluded.bytes",
        (neighbour, day, origin, records, size),
    )


# --- what waits -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waiting:
    """A verified record that was kept aside; ``neighbour`` is empty for a stick."""

    neighbour: bytes
    reason: Wait
    record: Record


@dataclass(frozen=True, slots=True)
class Pile:
    """What waits of one origin, brought by one neighbour (empty: a stick) and for one reason."""

    neighbour: bytes
    origin: HubId
    reason: Wait
    records: int
    size: int
    since_ms: int


_ROW = "SELECT neighbour, reason, header, signature, body FROM waiting_record"
_SIZE = "length(header) + length(signature) + coalesce(length(body), 0)"


def keep_aside(
    connection: sqlite3.Connection, neighbour: bytes, reason: Wait, record: Record, now_ms: int
) -> None:
    """Let ``record`` wait; one that waits already stays as it is."""
    header = record.header
    connection.execute(
        "INSERT OR IGNORE INTO waiting_record"
        " (id, neighbour, origin, obj, reason, ts, arrived_ms, header, signature, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.id,
            neighbour,
            header.hub,
            header.obj,
            str(reason),
            header.stamp.ms,
            now_ms,
            record.header_bytes,
            record.signature,
            record.body,
        ),
    )


def anything_waits(connection: sqlite3.Connection) -> bool:
    """Whether any record is kept aside."""
    return connection.execute("SELECT 1 FROM waiting_record LIMIT 1").fetchone() is not None


def waits(connection: sqlite3.Connection, record: RecordId) -> bool:
    """Whether a record is kept aside."""
    return connection.execute("SELECT 1 FROM waiting_record WHERE id = ?", (record,)).fetchone() is not None


def aside(connection: sqlite3.Connection, neighbour: bytes) -> tuple[int, int]:
    """How many records, and bytes, of a neighbour wait."""
    count, size = connection.execute(
        f"SELECT count(*), coalesce(sum({_SIZE}), 0) FROM waiting_record WHERE neighbour = ?", (neighbour,)
    ).fetchone()
    return count, size


def piles(connection: sqlite3.Connection) -> list[Pile]:
    """Everything that waits, in piles, the oldest first."""
    rows = connection.execute(
        f"SELECT neighbour, origin, reason, count(*), sum({_SIZE}), min(arrived_ms) FROM waiting_record"
        " GROUP BY neighbour, origin, reason ORDER BY 6, neighbour, origin, reason"
    )
    return [Pile(row[0], HubId(row[1]), Wait(row[2]), *row[3:]) for row in rows]


def due(connection: sqlite3.Connection, ahead_ms: int, limit: int) -> list[Waiting]:
    """Up to ``limit`` that need not wait for the reason they do: stamps up to ``ahead_ms``, hubs that were
    let in, epochs that were decided on."""
    rows = connection.execute(
        f"{_ROW} WHERE (reason = 'future' AND ts <= ?1)"
        " OR (reason = 'stranger' AND (EXISTS (SELECT 1 FROM known_origin WHERE hub = origin)"
        " OR EXISTS (SELECT 1 FROM neighbour WHERE hub = origin)))"
        " OR (reason = 'fork' AND EXISTS (SELECT 1 FROM origin_epoch WHERE hub = origin AND decided != ''"
        " AND instr(header, epoch))) ORDER BY n LIMIT ?2",
        (ahead_ms, limit),
    )
    return [_waiting(row) for row in rows.fetchall()]


def over_quota(connection: sqlite3.Connection, before_ms: int, limit: int) -> list[Waiting]:
    """Up to ``limit`` that came before a time, when too much had come, the first first."""
    rows = connection.execute(
        f"{_ROW} WHERE reason = 'quota' AND arrived_ms < ? ORDER BY n LIMIT ?", (before_ms, limit)
    )
    return [_waiting(row) for row in rows.fetchall()]


def take_up(connection: sqlite3.Connection, record: RecordId) -> None:
    """A record waits no longer."""
    connection.execute("DELETE FROM waiting_record WHERE id = ?", (record,))


def drop_bodies(connection: sqlite3.Connection, hub: HubId, obj: ObjectId) -> None:
    """``hub`` erased ``obj``: what waits of it loses its bodies, and leaves traces."""
    gone = connection.execute(
        "UPDATE waiting_record SET body = NULL WHERE obj = ? AND origin = ? AND body IS NOT NULL", (obj, hub)
    ).rowcount
    if gone:
        traces.leave(connection, traces.NOW)


def drop_of(connection: sqlite3.Connection, origin: HubId) -> int:
    """Drop whatever waits of an origin; returns how many records."""
    gone = connection.execute("DELETE FROM waiting_record WHERE origin = ?", (origin,)).rowcount
    if gone:
        traces.leave(connection)
    return gone


def _waiting(row: tuple[bytes, str, bytes, bytes, bytes | None]) -> Waiting:
    neighbour, reason, header, signature, body = row
    return Waiting(
        neighbour, Wait(reason), Record(decode_header(header, stored=True), header, signature, body)
    )


# --- keys that two hubs use -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fork:
    """Two hubs wrote with one key and epoch. ``decided`` is '', 'moved' or 'new'."""

    hub: HubId
    epoch: Epoch
    at_ms: int
    decided: str


def branch(connection: sqlite3.Connection, hub: HubId, epoch: Epoch) -> int:
    """The number under which records of a hub's epoch are counted."""
    row = connection.execute(
        "SELECT n FROM origin_epoch WHERE (hub, epoch) = (?, ?)", (hub, epoch)
    ).fetchone()
    if row is None:
        row = connection.execute(
            "INSERT INTO origin_epoch (hub, epoch) VALUES (?, ?) RETURNING n", (hub, epoch)
        ).fetchone()
    return int(row[0])


def count(connection: sqlite3.Connection, new: Sequence[tuple[int, Logged]]) -> list[Logged]:
    """Count records that are new in the log, each under the number of its `branch`; returns those whose
    sequence number another record has."""
    before = connection.total_changes
    counted = [(number, logged.record.header.seq, logged.n) for number, logged in new]
    bulk.insert(connection, "INSERT OR IGNORE INTO origin_sequence", counted)
    if connection.total_changes - before == len(new):
        return []
    has = "SELECT 1 FROM origin_sequence WHERE (origin_epoch, seq, record) = (?, ?, ?)"
    return [
        logged
        for (_, logged), row in zip(new, counted, strict=True)
        if connection.execute(has, row).fetchone() is None
    ]


def uncount(connection: sqlite3.Connection, logged: Logged) -> None:
    """A record is dropped from the log."""
    header = logged.record.header
    keep_of(connection, header.hub, -1)
    connection.execute(
        "DELETE FROM origin_sequence WHERE (seq, record) = (?, ?) AND origin_epoch ="
        " (SELECT n FROM origin_epoch WHERE (hub, epoch) = (?, ?))",
        (header.seq, logged.n, header.hub, header.epoch),
    )


def fork(connection: sqlite3.Connection, hub: HubId, epoch: Epoch, now_ms: int) -> None:
    """Two hubs write with this key and epoch; known ones stay as they were found and decided."""
    connection.execute(
        "UPDATE origin_epoch SET forked_ms = ? WHERE n = ? AND forked_ms IS NULL",
        (now_ms, branch(connection, hub, epoch)),
    )


def fork_of(connection: sqlite3.Connection, hub: HubId, epoch: Epoch) -> Fork | None:
    """Whether two hubs write with this key and epoch."""
    return next((each for each in forks(connection, hub) if each.epoch == epoch), None)


def forks(connection: sqlite3.Connection, hub: HubId | None = None) -> Iterator[Fork]:
    """Every key (or that of ``hub``) and epoch with which two hubs write, the latest found first."""
    rows = connection.execute(
        "SELECT hub, epoch, forked_ms, decided FROM origin_epoch WHERE forked_ms IS NOT NULL"
        " AND (?1 IS NULL OR hub = ?1) ORDER BY forked_ms DESC, n",
        (hub,),
    ).fetchall()
    return (Fork(HubId(row[0]), Epoch(row[1]), row[2], row[3]) for row in rows)


def decide(connection: sqlite3.Connection, hub: HubId, epoch: Epoch, decision: str) -> bool:
    """What a caretaker said of a fork: 'moved' or 'new'; False if there is none."""
    return bool(
        connection.execute(
            "UPDATE origin_epoch SET decided = ? WHERE (hub, epoch) = (?, ?) AND forked_ms IS NOT NULL",
            (decision, hub, epoch),
        ).rowcount
    )


def is_copied(connection: sqlite3.Connection) -> bool:
    """Whether a copy of this hub runs somewhere, as far as anybody has said."""
    return _own_fork(connection) in ("", "new")


def has_moved(connection: sqlite3.Connection) -> bool:
    """Whether this hub was the one that went on after it had run twice, and still counts as the copy did."""
    return _own_fork(connection) == "moved"


def _own_fork(connection: sqlite3.Connection) -> str | None:
    """What was decided about a copy of this hub; None where there is none."""
    row = connection.execute(
        "SELECT decided FROM lineage JOIN origin_epoch ON origin_epoch.hub = lineage.hub"
        " AND origin_epoch.epoch = lineage.epoch WHERE forked_ms IS NOT NULL"
    ).fetchone()
    return row[0] if row else None
