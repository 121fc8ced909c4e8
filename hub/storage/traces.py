"""What deleted and replaced rows may have left in the files, until it is wiped. Local truth."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

NOW = 0
"""As ``due_ms``: what was erased is gone as soon as can be."""


def leave(connection: sqlite3.Connection, due_ms: int | None = None, blobs: Iterable[str] = ()) -> None:
    """Note, in the transaction that deletes, that traces are left, and ``blobs`` (hex) to be removed.

    ``due_ms`` (Unix ms) is when they have to be gone; None for what was merely replaced or has run
    out: a day after a round of housekeeping first sees it, so that a day's changes cost one wipe.
    """
    rows = [(due_ms, bytes.fromhex(sha256)) for sha256 in blobs]
    if not rows and not connection.execute("SELECT 1 FROM trace WHERE due_ms IS ?", (due_ms,)).fetchone():
        rows = [(due_ms, None)]  # type: ignore[list-item]
    connection.executemany("INSERT INTO trace VALUES (?, ?)", rows)


def are_due(connection: sqlite3.Connection, now_ms: int, later_ms: int) -> bool:
    """Whether any have to be wiped now; those that had no time until now are due at ``later_ms``."""
    connection.execute("UPDATE trace SET due_ms = ? WHERE due_ms IS NULL", (later_ms,))
    row = connection.execute("SELECT 1 FROM trace WHERE due_ms <= ?", (now_ms,)).fetchone()
    return row is not None


def wait(connection: sqlite3.Connection, now_ms: int) -> bool:
    """Whether any that should be gone are not wiped yet; writes nothing."""
    row = connection.execute("SELECT 1 FROM trace WHERE due_ms <= ?", (now_ms,)).fetchone()
    return row is not None


def blobs(connection: sqlite3.Connection) -> list[str]:
    """The pictures (hex) whose files go with the next wipe, unless something names them by then."""
    rows = connection.execute("SELECT DISTINCT sha256 FROM trace WHERE sha256 IS NOT NULL")
    return [row[0].hex() for row in rows]


def clear(connection: sqlite3.Connection) -> None:
    """All of it has been wiped."""
    connection.execute("DELETE FROM trace")
