"""The public ledger, the private audit log, changed settings, and the hubs notices came from."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hub.domain.ids import HubId
from hub.domain.ledger import Act, LedgerEntry, Role, append

_ENTRY = "SELECT number, at_ms, act, rule, role, subject, outcome, previous, digest FROM ledger"


@dataclass(frozen=True, slots=True)
class Origin:
    """A hub that is known here, this one included: what it calls itself and its colour's name.

    ``connected``: what is shared here can reach it, as far as is known; a hub that was parted from is not.
    """

    hub: HubId
    name: str
    colour: str
    connected: bool = True


def decide(
    connection: sqlite3.Connection,
    now_ms: int,
    act: Act,
    rule: str,
    role: Role,
    subject: str,
    outcome: str = "",
) -> LedgerEntry:
    """Add one line to the ledger, chained to the last."""
    row = connection.execute(f"{_ENTRY} ORDER BY number DESC LIMIT 1").fetchone()
    entry = append(_entry(row) if row else None, now_ms, act, rule, role, subject, outcome)
    connection.execute(
        "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.number,
            entry.at_ms,
            str(entry.act),
            entry.rule,
            str(entry.role),
            entry.subject,
            entry.outcome,
            entry.previous,
            entry.digest,
        ),
    )
    return entry


def lines(connection: sqlite3.Connection, *, before: int | None = None, limit: int = 50) -> list[LedgerEntry]:
    """The ledger, newest first, below the number ``before``."""
    rows = connection.execute(
        f"{_ENTRY} WHERE number < ? ORDER BY number DESC LIMIT ?", (before or 2**62, limit)
    )
    return [_entry(row) for row in rows]


def every_line(connection: sqlite3.Connection) -> Iterator[LedgerEntry]:
    """The whole ledger in order."""
    for row in connection.execute(f"{_ENTRY} ORDER BY number"):
        yield _entry(row)


def note(connection: sqlite3.Connection, now_ms: int, actor: str, act: str, subject: str) -> None:
    """Add to the private audit log: ``actor`` is the local user who asked."""
    connection.execute(
        "INSERT INTO audit (at_ms, actor, act, subject) VALUES (?, ?, ?, ?)", (now_ms, actor, act, subject)
    )


def drop_notes(connection: sqlite3.Connection, before_ms: int) -> int:
    """Forget audit lines from before that time."""
    return connection.execute("DELETE FROM audit WHERE at_ms < ?", (before_ms,)).rowcount


def settings(connection: sqlite3.Connection) -> dict[str, str]:
    """What caretakers changed: dotted key to value as text."""
    return dict(connection.execute("SELECT key, value FROM setting"))


def change_setting(connection: sqlite3.Connection, key: str, value: str, now_ms: int) -> None:
    """Set one key."""
    connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?, ?)", (key, value, now_ms))


def origins(connection: sqlite3.Connection) -> dict[HubId, Origin]:
    """Every hub that is known here, by name."""
    rows = connection.execute(
        "SELECT hub, name, colour, coalesce(tie IN ('paired', 'paused'), 1)"
        " FROM origin LEFT JOIN neighbour USING (hub) ORDER BY name"
    )
    return {HubId(hub): Origin(HubId(hub), name, colour, bool(near)) for hub, name, colour, near in rows}


def know_origin(connection: sqlite3.Connection, origin: Origin) -> None:
    """Learn or rename a hub."""
    connection.execute(
        "INSERT OR REPLACE INTO origin (hub, name, colour) VALUES (?, ?, ?)",
        (origin.hub, origin.name, origin.colour),
    )


def _entry(row: tuple[Any, ...]) -> LedgerEntry:
    number, at_ms, act, rule, role, subject, outcome, previous, digest = row
    return LedgerEntry(number, at_ms, Act(act), rule, Role(role), subject, outcome, previous, digest)
