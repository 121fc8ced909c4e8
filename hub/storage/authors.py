"""Who may change what: devices, ownership, and the pictures of forms that were refused. Local truth."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from hub.domain.ids import ObjectId


@dataclass(frozen=True, slots=True)
class Device:
    """A browser that has written something here, known by the keyed hash of its cookie only.

    ``mark`` is what caretakers call it; the two times are Unix ms or None.
    """

    hash: bytes
    mark: str
    since_day: int
    shown: int
    trusted: bool
    paused_until_ms: int | None
    banned_until_ms: int | None


@dataclass(frozen=True, slots=True)
class Owner:
    """How the author of an object shows that it is theirs: keyed hashes, each of which may be missing."""

    device: bytes | None
    phrase: bytes | None


_DEVICE = "SELECT hash, mark, since_day, shown, trusted, paused_until_ms, banned_until_ms FROM device"


def device(connection: sqlite3.Connection, device_hash: bytes) -> Device | None:
    """The device of that hash, or None before it has written anything."""
    row = connection.execute(f"{_DEVICE} WHERE hash = ?", (device_hash,)).fetchone()
    return _device(row) if row else None


def device_by_mark(connection: sqlite3.Connection, mark: str) -> Device | None:
    """The device caretakers call ``mark``."""
    row = connection.execute(f"{_DEVICE} WHERE mark = ?", (mark,)).fetchone()
    return _device(row) if row else None


def devices(connection: sqlite3.Connection, limit: int = 200) -> list[Device]:
    """Devices, the ones under a pause or ban first, then the newest."""
    rows = connection.execute(
        f"{_DEVICE} ORDER BY max(coalesce(paused_until_ms, 0), coalesce(banned_until_ms, 0)) DESC,"
        " since_day DESC, mark LIMIT ?",
        (limit,),
    )
    return [_device(row) for row in rows]


def meet(connection: sqlite3.Connection, device_hash: bytes, mark: str, day: int) -> Device:
    """The device, added under ``mark`` if it is new; a mark that is taken gets a number."""
    known = device(connection, device_hash)
    if known is not None:
        return known
    name, number = mark, 1
    while device_by_mark(connection, name):
        number += 1
        name = f"{mark}-{number}"
    connection.execute(
        "INSERT INTO device (hash, mark, since_day) VALUES (?, ?, ?)", (device_hash, name, day)
    )
    return Device(device_hash, name, day, 0, False, None, None)


def count_shown(connection: sqlite3.Connection, device_hash: bytes | None) -> None:
    """One more notice of this device was put up or approved."""
    connection.execute("UPDATE device SET shown = shown + 1 WHERE hash = ?", (device_hash,))


def set_device(
    connection: sqlite3.Connection,
    device_hash: bytes,
    *,
    trusted: bool | None = None,
    paused_until_ms: int | None = None,
    banned_until_ms: int | None = None,
) -> None:
    """Change what is given; a time of 0 lifts a pause or ban."""
    for column, value in (
        ("trusted", trusted),
        ("paused_until_ms", paused_until_ms),
        ("banned_until_ms", banned_until_ms),
    ):
        if value is not None:
            connection.execute(
                f"UPDATE device SET {column} = ? WHERE hash = ?",
                (value if column == "trusted" else value or None, device_hash),
            )


def own(
    connection: sqlite3.Connection, obj: ObjectId, device_hash: bytes | None, phrase: bytes | None
) -> None:
    """Note whose ``obj`` is."""
    connection.execute(
        "INSERT INTO ownership (obj, device, phrase) VALUES (?, ?, ?)", (obj, device_hash, phrase)
    )


def owner(connection: sqlite3.Connection, obj: ObjectId) -> Owner | None:
    """Whose ``obj`` is; None for what came from another hub or was disowned."""
    row = connection.execute("SELECT device, phrase FROM ownership WHERE obj = ?", (obj,)).fetchone()
    return Owner(*row) if row else None


def disown(connection: sqlite3.Connection, obj: ObjectId) -> None:
    """Forget whose ``obj`` was: part of its erasure."""
    connection.execute("DELETE FROM ownership WHERE obj = ?", (obj,))


def objects_of_device(connection: sqlite3.Connection, device_hash: bytes) -> list[ObjectId]:
    """Everything the device has written that is still known to be its own."""
    rows = connection.execute("SELECT obj FROM ownership WHERE device = ?", (device_hash,))
    return [ObjectId(row[0]) for row in rows]


def keep_picture(connection: sqlite3.Connection, token: str, picture: bytes, now_ms: int) -> None:
    """Keep a refused form's picture (canonical CBOR) under ``token``."""
    connection.execute("INSERT INTO draft_picture VALUES (?, ?, ?)", (token, picture, now_ms))


def kept_picture(connection: sqlite3.Connection, token: str) -> bytes | None:
    """The picture kept under ``token``."""
    row = connection.execute("SELECT picture FROM draft_picture WHERE token = ?", (token,)).fetchone()
    return row[0] if row else None


def kept_pictures(connection: sqlite3.Connection) -> list[bytes]:
    """Every kept picture: the collector must not take their blobs."""
    return [row[0] for row in connection.execute("SELECT picture FROM draft_picture")]


def drop_picture(connection: sqlite3.Connection, picture: bytes) -> None:
    """Forget a kept picture, under whatever tokens."""
    connection.execute("DELETE FROM draft_picture WHERE picture = ?", (picture,))


def drop_pictures(connection: sqlite3.Connection, before_ms: int) -> int:
    """Forget pictures kept before ``before_ms``; returns how many."""
    return connection.execute("DELETE FROM draft_picture WHERE at_ms < ?", (before_ms,)).rowcount


def _device(row: tuple[Any, ...]) -> Device:
    return Device(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6])
