"""How far the look at every blob has come, and what it found. Local truth."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from hub.domain.ids import ObjectId, public_form


@dataclass(frozen=True, slots=True)
class Scrub:
    """The look at every blob that goes on, or else the last one. Times are Unix ms.

    ``looked`` blobs with ``bytes`` in all, up to the name ``position``, were read through.
    """

    began_ms: int | None
    ended_ms: int | None
    position: str
    looked: int
    bytes: int

    @property
    def under_way(self) -> bool:
        """Whether it was begun and has not come to its end."""
        return self.began_ms is not None and (self.ended_ms is None or self.ended_ms < self.began_ms)


@dataclass(frozen=True, slots=True)
class Lost:
    """A blob (hex) whose bytes are not here as they should be, and who needs it (public ids)."""

    sha256: str
    found_ms: int
    named_by: tuple[str, ...]


def state(connection: sqlite3.Connection) -> Scrub:
    """Where it stands."""
    row = connection.execute("SELECT began_ms, ended_ms, position, looked, bytes FROM scrub").fetchone()
    return Scrub(*row)


def begin(connection: sqlite3.Connection, now_ms: int) -> None:
    """From the first blob on. The time is later than that of any end."""
    connection.execute(
        "UPDATE scrub SET began_ms = max(?, coalesce(ended_ms + 1, 0)), position = '', looked = 0, bytes = 0",
        (now_ms,),
    )


def advance(connection: sqlite3.Connection, position: str, looked: int, size: int) -> None:
    """``looked`` blobs of ``size`` bytes in all were read through, ``position`` the last of them."""
    connection.execute("UPDATE scrub SET position = ?, looked = ?, bytes = ?", (position, looked, size))


def end(connection: sqlite3.Connection, now_ms: int) -> None:
    """All were read through. The time is not before the beginning's."""
    connection.execute("UPDATE scrub SET ended_ms = max(?, began_ms), position = ''", (now_ms,))


def note(connection: sqlite3.Connection, blobs: Iterable[str], now_ms: int) -> None:
    """Note blobs (hex) that were found broken or missing, and when, unless they are noted already."""
    connection.executemany(
        "INSERT OR IGNORE INTO quarantine VALUES (?, ?)",
        [(bytes.fromhex(sha256), now_ms) for sha256 in blobs],
    )


def forget(connection: sqlite3.Connection, blobs: Iterable[str]) -> None:
    """Blobs (hex) that are whole again, or that nobody needs any more."""
    connection.executemany(
        "DELETE FROM quarantine WHERE sha256 = ?", [(bytes.fromhex(sha256),) for sha256 in blobs]
    )


def noted(connection: sqlite3.Connection) -> list[str]:
    """The blobs (hex) that are noted."""
    return [row[0].hex() for row in connection.execute("SELECT sha256 FROM quarantine")]


def lost(connection: sqlite3.Connection) -> list[Lost]:
    """What is noted, the longest known first."""
    rows = connection.execute("SELECT sha256, found_ms FROM quarantine ORDER BY found_ms, sha256").fetchall()
    return [Lost(sha256.hex(), found_ms, _named_by(connection, sha256)) for sha256, found_ms in rows]


def _named_by(connection: sqlite3.Connection, sha256: bytes) -> tuple[str, ...]:
    rows = connection.execute("SELECT obj FROM blob_use WHERE sha256 = ? ORDER BY obj", (sha256,))
    return tuple(public_form(ObjectId(row[0])) for row in rows)
