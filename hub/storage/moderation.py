"""What the people of this hub decided about items: holds, hides, marks and reports. Local truth."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from hub.domain.ids import ObjectId
from hub.domain.notices import Scope
from hub.storage import traces


@dataclass(frozen=True, slots=True)
class Held:
    """Something written that waits for a caretaker. ``body`` is the body as it would be published."""

    obj: ObjectId
    notice: ObjectId | None
    of: str
    body: bytes
    exp_ms: int
    scope: Scope
    held_ms: int
    changes: bool


@dataclass(frozen=True, slots=True)
class Hide:
    """Why an item is hidden: ``rule`` as in the ledger; ``by_reports`` until a person has looked;
    ``awaiting``: it came from a neighbour whose items a caretaker looks at first."""

    obj: ObjectId
    at_ms: int
    rule: str
    by_reports: bool
    awaiting: bool = False


_CARETAKER, _REPORTS, _AWAITING, _ERASED_HERE = range(4)


@dataclass(frozen=True, slots=True)
class Report:
    """Somebody's report of an item. ``outcome`` is None until it is decided."""

    reference: str
    obj: ObjectId
    of: str
    reason: str
    words: str
    device: bytes | None
    at_ms: int
    decided_ms: int | None
    outcome: str | None
    rule: str
    answer: str


_HELD = "SELECT obj, notice, of, body, exp_ms, scope, held_ms, changes FROM held"
_REPORT = (
    "SELECT reference, obj, of, reason, words, device, at_ms, decided_ms, outcome, rule, answer FROM report"
)


def hold(connection: sqlite3.Connection, held: Held) -> None:
    """Keep ``held`` until a caretaker has looked; a later version replaces an earlier one."""
    release(connection, held.obj)
    connection.execute(
        "INSERT INTO held (obj, notice, of, body, exp_ms, scope, held_ms, changes)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            held.obj,
            held.notice,
            held.of,
            held.body,
            held.exp_ms,
            str(held.scope),
            held.held_ms,
            held.changes,
        ),
    )


def held(connection: sqlite3.Connection, obj: ObjectId) -> Held | None:
    """What is held under ``obj``."""
    row = connection.execute(f"{_HELD} WHERE obj = ?", (obj,)).fetchone()
    return _held(row) if row else None


def all_held(connection: sqlite3.Connection) -> list[Held]:
    """Everything that waits, the oldest first."""
    return [_held(row) for row in connection.execute(f"{_HELD} ORDER BY held_ms, obj")]


def held_replies(connection: sqlite3.Connection, notice: ObjectId) -> list[Held]:
    """The replies to ``notice`` that wait."""
    rows = connection.execute(f"{_HELD} WHERE notice = ? ORDER BY held_ms", (notice,))
    return [_held(row) for row in rows]


def release(connection: sqlite3.Connection, obj: ObjectId) -> None:
    """Drop what is held under ``obj``."""
    if connection.execute("DELETE FROM held WHERE obj = ?", (obj,)).rowcount:
        traces.leave(connection)


def hide(
    connection: sqlite3.Connection,
    obj: ObjectId,
    thread: ObjectId | None,
    now_ms: int,
    rule: str,
    *,
    by_reports: bool,
) -> None:
    """Show ``obj`` to nobody; ``thread`` is the notice of a reply. A caretaker's hide replaces reports'."""
    connection.execute(
        "INSERT INTO hide (obj, thread, at_ms, rule, by_reports) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (obj) DO UPDATE SET rule = excluded.rule, by_reports = excluded.by_reports"
        f" WHERE by_reports != {_ERASED_HERE}",
        (obj, thread, now_ms, rule, _REPORTS if by_reports else _CARETAKER),
    )


def await_approval(
    connection: sqlite3.Connection, obj: ObjectId, thread: ObjectId | None, now_ms: int
) -> None:
    """Show ``obj``, which came from another hub, to nobody until a caretaker has looked; as `hide`."""
    connection.execute(
        "INSERT OR IGNORE INTO hide (obj, thread, at_ms, rule, by_reports) VALUES (?, ?, ?, '', ?)",
        (obj, thread, now_ms, _AWAITING),
    )


def awaiting(connection: sqlite3.Connection) -> list[ObjectId]:
    """What came from other hubs and waits for a caretaker, the oldest first."""
    rows = connection.execute("SELECT obj FROM hide WHERE by_reports = ? ORDER BY at_ms, obj", (_AWAITING,))
    return [ObjectId(row[0]) for row in rows]


def keep_away(connection: sqlite3.Connection, obj: ObjectId, now_ms: int, rule: str) -> None:
    """``obj`` of another hub was erased here: further versions of it come without their words."""
    connection.execute(
        "INSERT OR REPLACE INTO hide (obj, at_ms, rule, by_reports) VALUES (?, ?, ?, ?)",
        (obj, now_ms, rule, _ERASED_HERE),
    )


def kept_away(connection: sqlite3.Connection) -> frozenset[ObjectId]:
    """The objects for which `keep_away` holds."""
    rows = connection.execute("SELECT obj FROM hide WHERE by_reports = ?", (_ERASED_HERE,))
    return frozenset(ObjectId(row[0]) for row in rows)


def unhide(connection: sqlite3.Connection, obj: ObjectId) -> bool:
    """Show ``obj`` again; False if it was not hidden."""
    return connection.execute("DELETE FROM hide WHERE obj = ?", (obj,)).rowcount > 0


def hidden(connection: sqlite3.Connection, obj: ObjectId) -> Hide | None:
    """Why ``obj`` is hidden, or None."""
    row = connection.execute("SELECT obj, at_ms, rule, by_reports FROM hide WHERE obj = ?", (obj,)).fetchone()
    if row is None:
        return None
    return Hide(ObjectId(row[0]), row[1], row[2], row[3] == _REPORTS, row[3] == _AWAITING)


def mark(
    connection: sqlite3.Connection,
    obj: ObjectId,
    *,
    pinned_until_ms: int | None = None,
    official_until_ms: int | None = None,
) -> None:
    """Pin or make official until a time (0 ends it); what is None stays as it is."""
    connection.execute(
        "INSERT INTO mark (obj, pinned_until_ms, official_until_ms) VALUES (?1, ?2, ?3)"
        " ON CONFLICT (obj) DO UPDATE SET pinned_until_ms = coalesce(?2, pinned_until_ms),"
        " official_until_ms = coalesce(?3, official_until_ms)",
        (obj, pinned_until_ms, official_until_ms),
    )


def pinned(connection: sqlite3.Connection, now_ms: int) -> int:
    """How many notices that can be seen are pinned now."""
    count: int = connection.execute(
        "SELECT count(*) FROM mark JOIN notice ON notice.obj = mark.obj AND notice.state = 0"
        " WHERE pinned_until_ms > ?1 AND notice.exp_ms > ?1",
        (now_ms,),
    ).fetchone()[0]
    return count


def forget(connection: sqlite3.Connection, obj: ObjectId) -> None:
    """Drop hide, marks and what is held of an erased object; reports stay, their words go."""
    for table in ("hide", "mark", "held"):
        connection.execute(f"DELETE FROM {table} WHERE obj = ?", (obj,))
    connection.execute("UPDATE report SET words = '' WHERE obj = ?", (obj,))


def file_report(connection: sqlite3.Connection, report: Report, form_key: bytes | None) -> None:
    """Add a report."""
    connection.execute(
        "INSERT INTO report (reference, obj, of, reason, words, device, form_key, at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            report.reference,
            report.obj,
            report.of,
            report.reason,
            report.words,
            report.device,
            form_key,
            report.at_ms,
        ),
    )


def report(connection: sqlite3.Connection, reference: str) -> Report | None:
    """The report of that reference."""
    row = connection.execute(f"{_REPORT} WHERE reference = ?", (reference,)).fetchone()
    return _report(row) if row else None


def report_of_form(connection: sqlite3.Connection, form_key: bytes) -> Report | None:
    """The report made by the form of that one-time key."""
    row = connection.execute(f"{_REPORT} WHERE form_key = ?", (form_key,)).fetchone()
    return _report(row) if row else None


def reports_of(connection: sqlite3.Connection, obj: ObjectId) -> list[Report]:
    """Every report of ``obj``, the oldest first."""
    rows = connection.execute(f"{_REPORT} WHERE obj = ? ORDER BY at_ms", (obj,))
    return [_report(row) for row in rows]


def open_reports(connection: sqlite3.Connection) -> list[Report]:
    """What nobody has decided yet, the oldest first."""
    return [_report(row) for row in connection.execute(f"{_REPORT} WHERE decided_ms IS NULL ORDER BY at_ms")]


def decided_reports(connection: sqlite3.Connection, limit: int) -> list[Report]:
    """The latest decisions."""
    rows = connection.execute(
        f"{_REPORT} WHERE decided_ms IS NOT NULL ORDER BY decided_ms DESC LIMIT ?", (limit,)
    )
    return [_report(row) for row in rows]


def decide_reports(
    connection: sqlite3.Connection, obj: ObjectId, now_ms: int, outcome: str, rule: str, answer: str
) -> int:
    """Close every open report of ``obj``; returns how many."""
    return connection.execute(
        "UPDATE report SET decided_ms = ?, outcome = ?, rule = ?, answer = ?"
        " WHERE obj = ? AND decided_ms IS NULL",
        (now_ms, outcome, rule, answer, obj),
    ).rowcount


def drop_reports(connection: sqlite3.Connection, decided_before_ms: int) -> int:
    """Forget reports decided before that time; returns how many."""
    return connection.execute("DELETE FROM report WHERE decided_ms < ?", (decided_before_ms,)).rowcount


def _held(row: tuple[Any, ...]) -> Held:
    obj, notice, of, body, exp_ms, scope, held_ms, changes = row
    return Held(
        ObjectId(obj),
        ObjectId(notice) if notice else None,
        of,
        body,
        exp_ms,
        Scope(scope),
        held_ms,
        bool(changes),
    )


def _report(row: tuple[Any, ...]) -> Report:
    reference, obj, of, reason, words, device, at_ms, decided_ms, outcome, rule, answer = row
    return Report(
        reference,
        ObjectId(obj),
        of,
        reason,
        words,
        device,
        at_ms,
        decided_ms,
        outcome,
        rule or "",
        answer or "",
    )
