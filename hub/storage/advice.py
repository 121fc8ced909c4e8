"""Flags and block lists: `project` keeps them in step with the log; what this hub does with them is local."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from hub.domain.advice import Blocked, Entry, Flag, block_list_object, read_block_list, read_flag
from hub.domain.errors import Refused
from hub.domain.ids import HubId, ObjectId
from hub.domain.policy import Reason
from hub.domain.projection import Logged
from hub.domain.records import RecordType, decode_header
from hub.storage import arrivals, journal

TABLES: Final = ("flag", "block_entry")
"""Made again by a rebuild."""
_ADVICE: Final = frozenset({RecordType.FLAG, RecordType.BLOCK_LIST})
_SHOWN: Final = (
    "shown.state = 0 AND shown.exp_ms > :now AND NOT EXISTS (SELECT 1 FROM hide WHERE hide.obj = shown.obj)"
)
_OF: Final = ("notice", "reply", "file", "collection")
"""What advice can be about, each with a table of its name."""
Body = TypeVar("Body")


@dataclass(frozen=True, slots=True)
class Shown:
    """Something that people see here: ``thread`` is the notice of a reply, ``n`` the place of its record."""

    obj: ObjectId
    of: str
    public_id: str
    hub: HubId
    thread: ObjectId | None
    n: int


@dataclass(frozen=True, slots=True)
class Flagged:
    """A flag on something that people see here."""

    by: HubId
    flag: Flag
    at_ms: int
    shown: Shown


# --- what the log says ------------------------------------------------------------------------------


def project(connection: sqlite3.Connection, obj: ObjectId, versions: Sequence[Logged]) -> None:
    """Note what ``versions``, all records of ``obj``, advise. Of a hub's block lists the newest counts, and
    those before it lose their bodies."""
    if not any(logged.record.header.type in _ADVICE for logged in versions):
        return
    forget(connection, obj, versions)
    for hub in {logged.record.header.hub for logged in versions}:
        theirs = [logged for logged in versions if logged.record.header.hub == hub]
        if any(logged.record.header.type == RecordType.RETRACT for logged in theirs):
            continue
        if obj == block_list_object(hub):
            _project_block_list(connection, hub, theirs)
        else:
            _project_flag(connection, obj, hub, theirs)


def _project_flag(
    connection: sqlite3.Connection, obj: ObjectId, hub: HubId, theirs: Sequence[Logged]
) -> None:
    newest, flag = _newest(connection, theirs, RecordType.FLAG, read_flag)
    if newest is None or flag is None or newest.record.header.ref is None:
        return
    header = newest.record.header
    connection.execute(
        "INSERT INTO flag (obj, hub, target, reason, rule, at_ms, exp_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (obj, hub, header.ref, str(flag.reason), flag.rule, _written(newest), header.exp),
    )


def _project_block_list(connection: sqlite3.Connection, hub: HubId, theirs: Sequence[Logged]) -> None:
    newest, entries = _newest(connection, theirs, RecordType.BLOCK_LIST, read_block_list)
    if newest is None or entries is None:
        return
    connection.executemany(
        "INSERT INTO block_entry (hub, kind, what, at_ms, exp_ms) VALUES (?, ?, ?, ?, ?)",
        [
            (hub, str(entry.kind), entry.what, _written(newest), newest.record.header.exp)
            for entry in sorted(entries)
        ],
    )


def _newest(
    connection: sqlite3.Connection, theirs: Sequence[Logged], kind: str, read: Callable[[bytes], Body]
) -> tuple[Logged | None, Body | None]:
    """The newest of one hub's records of that type that can be read; earlier ones lose their bodies."""
    newest = body = None
    advice = [logged for logged in theirs if logged.record.header.type == kind]
    for logged in sorted(
        advice, key=lambda logged: (logged.record.header.stamp, logged.record.id), reverse=True
    ):
        if body is not None:
            journal.drop_body(connection, logged.n)
        elif logged.record.body is not None:
            with suppress(Refused):  # of a release that writes it otherwise: carried, and not understood
                newest, body = logged, read(logged.record.body)
    return newest, body


def _written(logged: Logged) -> int:
    return min(logged.record.header.stamp.ms, logged.seen_ms)


def forget(connection: sqlite3.Connection, obj: ObjectId, versions: Sequence[Logged]) -> None:
    """Drop what ``versions``, all records of ``obj``, advised."""
    if not any(logged.record.header.type in _ADVICE for logged in versions):
        return
    connection.execute("DELETE FROM flag WHERE obj = ?", (obj,))
    for hub in {logged.record.header.hub for logged in versions}:
        if obj == block_list_object(hub):
            connection.execute("DELETE FROM block_entry WHERE hub = ?", (hub,))


def drop(connection: sqlite3.Connection, obj: ObjectId, versions: Sequence[Logged]) -> None:
    """``obj`` leaves the log with all its records, ``versions``."""
    forget(connection, obj, versions)
    connection.execute("DELETE FROM advice_taken WHERE obj = ?", (obj,))


def clear(connection: sqlite3.Connection) -> None:
    """Empty both tables: `project` fills them again."""
    for table in TABLES:
        connection.execute(f"DELETE FROM {table}")


# --- what concerns something here -------------------------------------------------------------------


def flags(connection: sqlite3.Connection, now_ms: int) -> list[Flagged]:
    """The flags on what people see here, the newest first."""
    found = []
    for of in _OF:
        rows = connection.execute(
            "SELECT flag.hub, reason, rule, at_ms, shown.obj, shown.public_id, header, shown.record,"
            f" {'shown.notice' if of == 'reply' else 'NULL'}"
            f" FROM flag JOIN {of} AS shown ON shown.obj = flag.target JOIN record ON record.n = shown.record"
            f" WHERE flag.exp_ms > :now AND {_SHOWN}",
            {"now": now_ms},
        )
        for by, reason, rule, at_ms, *item in rows:
            found.append(Flagged(HubId(by), Flag(Reason(reason), rule), at_ms, _shown(of, *item)))
    return sorted(found, key=lambda each: (-each.at_ms, each.by, each.shown.obj))


def entries(connection: sqlite3.Connection, now_ms: int) -> dict[HubId, dict[Entry, int]]:
    """The block list of every hub that has one: since when (Unix ms) each entry is known from there."""
    found: dict[HubId, dict[Entry, int]] = {}
    for hub, kind, what, at_ms in connection.execute(
        "SELECT hub, kind, what, at_ms FROM block_entry WHERE exp_ms > ?", (now_ms,)
    ):
        found.setdefault(HubId(hub), {})[Entry(Blocked(kind), what)] = at_ms
    return found


def ends(connection: sqlite3.Connection, hub: HubId) -> int | None:
    """When the block list of ``hub`` ends (Unix ms); None if it has none, or an empty one."""
    row = connection.execute("SELECT max(exp_ms) FROM block_entry WHERE hub = ?", (hub,)).fetchone()
    return int(row[0]) if row[0] is not None else None


def named(
    connection: sqlite3.Connection, now_ms: int, listed: Collection[Entry], after: int = 0
) -> list[Shown]:
    """What people see here and ``listed`` names. Of a blocked hub only what came after the record ``after``:
    that is looked for in everything there is."""
    found: dict[ObjectId, Shown] = {}
    listed = [  # a list may name hundreds of hubs, and each is looked for everywhere
        entry
        for entry in listed
        if entry.kind is not Blocked.HUB or arrivals.is_known(connection, HubId(entry.what))
    ]
    for of in _OF:
        select = (
            f"SELECT shown.obj, shown.public_id, header, shown.record,"
            f" {'shown.notice' if of == 'reply' else 'NULL'}"
            f" FROM {of} AS shown JOIN record ON record.n = shown.record"
        )
        for entry in listed:
            where = {
                Blocked.OBJECT: "shown.obj = :what",
                Blocked.BLOB: "shown.obj IN (SELECT obj FROM blob_use WHERE sha256 = :what)",
                Blocked.HUB: "shown.record > :after AND instr(header, :what)",
            }[entry.kind]
            rows = connection.execute(
                f"{select} WHERE {where} AND {_SHOWN}",
                {"what": entry.what, "after": after, "now": now_ms},
            )
            for row in rows:
                item = _shown(of, *row)
                if entry.kind is not Blocked.HUB or item.hub == entry.what:
                    found[item.obj] = item
    return list(found.values())


def flag_on(connection: sqlite3.Connection, target: ObjectId, hub: HubId) -> ObjectId | None:
    """The flag of ``hub`` on ``target``."""
    row = connection.execute("SELECT obj FROM flag WHERE target = ? AND hub = ?", (target, hub)).fetchone()
    return ObjectId(row[0]) if row else None


def _shown(of: str, obj: bytes, public_id: str, header: bytes, record: int, thread: bytes | None) -> Shown:
    hub = decode_header(header, stored=True).hub
    return Shown(ObjectId(obj), of, public_id, hub, ObjectId(thread) if thread else None, record)


# --- local truth ------------------------------------------------------------------------------------


def follow(connection: sqlite3.Connection, hub: HubId, *, apply: bool) -> None:
    """Whether what the block list of ``hub`` names is hidden here."""
    if apply:
        connection.execute("INSERT OR IGNORE INTO followed VALUES (?)", (hub,))
    else:
        connection.execute("DELETE FROM followed WHERE hub = ?", (hub,))


def followed(connection: sqlite3.Connection) -> frozenset[HubId]:
    """The hubs whose block lists hide things here."""
    return frozenset(HubId(row[0]) for row in connection.execute("SELECT hub FROM followed"))


def take(connection: sqlite3.Connection, obj: ObjectId) -> bool:
    """``obj`` is hidden by advice; False if it was once before: somebody has shown it again since."""
    return connection.execute("INSERT OR IGNORE INTO advice_taken VALUES (?)", (obj,)).rowcount > 0


def was_taken(connection: sqlite3.Connection, obj: ObjectId) -> bool:
    """Whether ``obj`` was hidden by advice before."""
    return connection.execute("SELECT 1 FROM advice_taken WHERE obj = ?", (obj,)).fetchone() is not None


def block(connection: sqlite3.Connection, listed: Iterable[Entry], now_ms: int, *, off: bool = False) -> None:
    """Put entries on this hub's own list, or take them off it."""
    for entry in listed:
        if off:
            connection.execute(
                "DELETE FROM blocked WHERE kind = ? AND what = ?", (str(entry.kind), entry.what)
            )
        else:
            connection.execute(
                "INSERT OR REPLACE INTO blocked VALUES (?, ?, ?)", (str(entry.kind), entry.what, now_ms)
            )


def blocked(connection: sqlite3.Connection) -> list[Entry]:
    """This hub's own list, the newest entry first."""
    rows = connection.execute("SELECT kind, what FROM blocked ORDER BY at_ms DESC, kind, what")
    return [Entry(Blocked(kind), what) for kind, what in rows]
