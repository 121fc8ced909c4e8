"""The append-only log of records, and this hub's own place in it.

Every function takes the writer's (or for reading any) plain connection and runs inside its
transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from hub.domain.clock import ZERO, Stamp, TimeQuality, tick, witness
from hub.domain.errors import HubError
from hub.domain.ids import Epoch, HubId, ObjectId, RecordId
from hub.domain.notices import Scope
from hub.domain.projection import Logged
from hub.domain.records import Header, Record, Stream, decode_header, seal
from hub.storage import bulk, sets
from hub.words import N_


class AnotherKey(HubError):
    """The log was written with another key than the one in the data folder."""

    code = "another-key"
    status = 503
    template = N_(
        "The key in the data folder is not the one its notices were signed with. Nothing was changed. "
        "Put the key back that belongs to them, from a backup."
    )


@dataclass(frozen=True, slots=True)
class Lineage:
    """Whose log this is: the hub's key and the epoch since its installation or last restore."""

    hub: HubId
    epoch: Epoch


def found(connection: sqlite3.Connection, hub: HubId, epoch: Epoch) -> Lineage:
    """The lineage of this database; a new one is founded with ``hub`` and ``epoch`` if there is none.

    Raises `AnotherKey`.
    """
    row = connection.execute("SELECT hub, epoch FROM lineage").fetchone()
    if row is None:
        connection.execute("INSERT INTO lineage VALUES (?, ?, 0, ?, ?)", (hub, epoch, *ZERO))
        return Lineage(hub, epoch)
    if row[0] != hub:
        raise AnotherKey
    return Lineage(HubId(row[0]), Epoch(row[1]))


def own(connection: sqlite3.Connection) -> HubId | None:
    """Whose log this is; None before it was founded."""
    row = connection.execute("SELECT hub FROM lineage").fetchone()
    return HubId(row[0]) if row else None


def lineage(connection: sqlite3.Connection) -> Lineage:
    """Whose log this is, which must have been founded."""
    hub, epoch = connection.execute("SELECT hub, epoch FROM lineage").fetchone()
    return Lineage(HubId(hub), Epoch(epoch))


def last_number(connection: sqlite3.Connection) -> int:
    """The last sequence number used in this epoch."""
    (number,) = connection.execute("SELECT seq FROM lineage").fetchone()
    return int(number)


def new_epoch(connection: sqlite3.Connection, epoch: Epoch) -> None:
    """Begin to count anew under ``epoch``, 8 random bytes: after a restore, and when a copy was found."""
    connection.execute("UPDATE lineage SET epoch = ?, seq = 0", (epoch,))


def heed(connection: sqlite3.Connection, seen: Stamp, now_ms: int) -> None:
    """Let this hub's clock follow the stamp of a record that was taken (sync.md 2.2)."""
    stamp = witness(last_stamp(connection), seen, now_ms)
    connection.execute("UPDATE lineage SET ms = ?, counter = ?", stamp)


def last_stamp(connection: sqlite3.Connection) -> Stamp:
    """The newest stamp of this hub's own records."""
    return Stamp(*connection.execute("SELECT ms, counter FROM lineage").fetchone())


@dataclass(frozen=True, slots=True)
class Pen:
    """What it takes to write records of our own: the key's signature and the wall clock of the moment."""

    sign: Callable[[bytes], bytes]
    now_ms: int
    quality: TimeQuality = TimeQuality.UNKNOWN


def publish(
    connection: sqlite3.Connection,
    pen: Pen,
    kind: str,
    obj: ObjectId,
    exp_ms: int,
    scope: Scope,
    body: Callable[[Stamp], bytes] | None = None,
    ref: ObjectId | None = None,
    stream: str = Stream.NOTICES,
) -> Logged:
    """Write the next record of this hub: take the next stamp and sequence number, sign, append.

    ``body`` makes the body once the record's stamp is known. Nothing is durable before the
    transaction commits; a rolled-back number is used again.
    """
    hub, epoch, seq, ms, counter = connection.execute(
        "SELECT hub, epoch, seq, ms, counter FROM lineage"
    ).fetchone()
    stamp = tick(Stamp(ms, counter), pen.now_ms)
    connection.execute("UPDATE lineage SET seq = ?, ms = ?, counter = ?", (seq + 1, *stamp))
    header = Header(
        HubId(hub),
        Epoch(epoch),
        seq + 1,
        kind,
        obj,
        stamp,
        pen.quality,
        exp_ms,
        scope,
        ref=ref,
        stream=stream,
    )
    return append(connection, seal(header, body(stamp) if body else None, pen.sign), pen.now_ms)


def append(connection: sqlite3.Connection, record: Record, now_ms: int) -> Logged:
    """Add a verified record. One that is already there is returned as it stands: ingest is idempotent.

    No place in the log is given twice, even where the last records were dropped.
    """
    record_id = record.id
    added = connection.execute(
        "INSERT INTO record (n, id, obj, seen_ms, header, signature, body) VALUES"
        " (1 + max(coalesce((SELECT max(n) FROM record), 0), (SELECT n FROM record_end)), ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (obj, id) DO NOTHING RETURNING n",
        (record_id, record.header.obj, now_ms, record.header_bytes, record.signature, record.body),
    ).fetchone()
    if added is not None:
        sets.add(connection, [(record, added[0])])
        return Logged(added[0], record, now_ms)
    known = find(connection, record.header.obj, record_id)
    assert known is not None  # noqa: S101 - it is what the INSERT ran into
    return known


def append_all(connection: sqlite3.Connection, records: Sequence[Record], now_ms: int) -> list[Logged]:
    """As `append`, for many that are not there, which the caller has made sure of."""
    (first,) = connection.execute(
        "SELECT 1 + max(coalesce((SELECT max(n) FROM record), 0), (SELECT n FROM record_end))"
    ).fetchone()
    logged = [Logged(n, record, now_ms) for n, record in enumerate(records, start=first)]
    bulk.insert(
        connection,
        "INSERT INTO record (n, id, obj, seen_ms, header, signature, body)",
        [
            (n, record.id, record.header.obj, now_ms, record.header_bytes, record.signature, record.body)
            for n, record in enumerate(records, start=first)
        ],
    )
    sets.add(connection, [(each.record, each.n) for each in logged])
    return logged


def find(connection: sqlite3.Connection, obj: ObjectId, record_id: RecordId) -> Logged | None:
    """The record of that id, or None; a record's header names the object it belongs to."""
    row = connection.execute(f"{_COLUMNS} WHERE (obj, id) = (?, ?)", (obj, record_id)).fetchone()
    return _logged(row) if row else None


def has(connection: sqlite3.Connection, obj: ObjectId) -> bool:
    """Whether the log has any record of ``obj``."""
    return connection.execute("SELECT 1 FROM record WHERE obj = ? LIMIT 1", (obj,)).fetchone() is not None


def have_bodies(connection: sqlite3.Connection, objects: Collection[ObjectId]) -> dict[RecordId, bool]:
    """Every record of ``objects`` in the log, and whether it has its body."""
    found: dict[RecordId, bool] = {}
    for part in bulk.parts([*objects]):
        sql = f"SELECT id, body IS NOT NULL FROM record WHERE obj IN ({bulk.marks(part)})"
        found.update((RecordId(row[0]), bool(row[1])) for row in connection.execute(sql, part))
    return found


def versions(connection: sqlite3.Connection, obj: ObjectId) -> list[Logged]:
    """Every record of ``obj``, in the order they were logged."""
    rows = connection.execute(f"{_COLUMNS} WHERE obj = ? ORDER BY n", (obj,)).fetchall()
    return [_logged(row) for row in rows]


def versions_of(
    connection: sqlite3.Connection, objects: Collection[ObjectId]
) -> dict[ObjectId, list[Logged]]:
    """As `versions`, for each of ``objects``."""
    found: dict[ObjectId, list[Logged]] = {obj: [] for obj in objects}
    for part in bulk.parts([*objects]):
        sql = f"{_COLUMNS} WHERE obj IN ({bulk.marks(part)}) ORDER BY n"
        for row in connection.execute(sql, part).fetchall():
            logged = _logged(row)
            found[logged.record.header.obj].append(logged)
    return found


def objects(connection: sqlite3.Connection) -> list[ObjectId]:
    """Every object in the log, in the order of its first record."""
    rows = connection.execute("SELECT obj FROM record GROUP BY obj ORDER BY min(n)").fetchall()
    return [ObjectId(row[0]) for row in rows]


def give_body(connection: sqlite3.Connection, n: int, body: bytes) -> None:
    """Add the body, which was verified, to a record that came without."""
    connection.execute("UPDATE record SET body = ? WHERE n = ?", (body, n))


def drop_body(connection: sqlite3.Connection, n: int) -> None:
    """Erase one record's body; header and signature still verify."""
    connection.execute("UPDATE record SET body = NULL WHERE n = ?", (n,))


_COLUMNS = "SELECT n, header, signature, body, seen_ms FROM record"


def _logged(row: tuple[int, bytes, bytes, bytes | None, int]) -> Logged:
    n, header, signature, body, seen_ms = row
    return Logged(n, Record(decode_header(header, stored=True), header, signature, body), seen_ms)
