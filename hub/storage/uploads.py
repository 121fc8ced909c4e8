"""How uploads stand, and what devices brought in a day. Local truth."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from hub.domain.errors import TryLater
from hub.domain.notices import BlobRef
from hub.domain.policy import DAY_MS, FilePolicy
from hub.words import N_

_MB = 1_000_000


class EnoughBytesToday(TryLater):
    """The device has brought as many bytes as it may in one day; ``megabytes`` are left of them."""

    code = "enough-bytes-today"
    template = N_(
        "That is more than this device may put up in one day: {megabytes} MB are left for today. "
        "Nothing was put up. Choose less, or put up the rest tomorrow."
    )


class EnoughFilesToday(TryLater):
    """The device has brought as many files as it may in one day; ``files`` are left of them."""

    code = "enough-files-today"
    template = N_(
        "That is more files than this device may put up in one day; it has {files} left for today. "
        "Nothing was put up. Choose fewer, or put up the rest tomorrow."
    )


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way in: bytes up to ``offset`` are on the card.

    ``device`` is the keyed hash of the cookie of whoever began it; ``name`` is as it will be shown;
    ``ref`` and ``crc32`` are there once it is whole.
    """

    token: str
    device: bytes | None
    name: str
    size: int
    offset: int
    at_ms: int
    ref: BlobRef | None = None
    crc32: int = 0


@dataclass(frozen=True, slots=True)
class Left:
    """What a device may still put up today; None where there is no limit."""

    bytes: int | None
    files: int | None


_UPLOAD = 'SELECT token, device, name, size, "offset", at_ms, sha256, pieces, crc32 FROM upload'


def add(connection: sqlite3.Connection, upload: Upload) -> None:
    """Note an upload that has begun."""
    connection.execute(
        'INSERT INTO upload (token, device, name, size, "offset", at_ms) VALUES (?, ?, ?, ?, ?, ?)',
        (upload.token, upload.device, upload.name, upload.size, upload.offset, upload.at_ms),
    )


def find(connection: sqlite3.Connection, token: str) -> Upload | None:
    """The upload of that token."""
    row = connection.execute(f"{_UPLOAD} WHERE token = ?", (token,)).fetchone()
    return _upload(row) if row else None


def every(connection: sqlite3.Connection) -> list[Upload]:
    """All uploads."""
    return [_upload(row) for row in connection.execute(_UPLOAD)]


def advance(connection: sqlite3.Connection, token: str, offset: int, now_ms: int) -> bool:
    """Bytes up to ``offset`` are on the card. False when the upload was dropped meanwhile."""
    moved = connection.execute(
        'UPDATE upload SET "offset" = ?, at_ms = ? WHERE token = ?', (offset, now_ms, token)
    )
    return moved.rowcount == 1


def finish(connection: sqlite3.Connection, token: str, ref: BlobRef, crc32: int, now_ms: int) -> bool:
    """The upload is whole. False when it was dropped meanwhile."""
    finished = connection.execute(
        'UPDATE upload SET "offset" = ?, at_ms = ?, sha256 = ?, pieces = ?, crc32 = ? WHERE token = ?',
        (ref.size, now_ms, bytes.fromhex(ref.sha256), bytes.fromhex(ref.pieces), crc32, token),
    )
    return finished.rowcount == 1


def drop(connection: sqlite3.Connection, token: str) -> None:
    """Forget an upload, if it is there: put up, cancelled or given up. Its file goes after the commit."""
    connection.execute("DELETE FROM upload WHERE token = ?", (token,))


def unmoved(connection: sqlite3.Connection, before_ms: int) -> list[Upload]:
    """The uploads that have not moved since ``before_ms``."""
    return [_upload(row) for row in connection.execute(f"{_UPLOAD} WHERE at_ms < ?", (before_ms,))]


# --- quotas -------------------------------------------------------------------------------------------


def count(connection: sqlite3.Connection, device: bytes | None, size: int, now_ms: int) -> None:
    """A file of ``size`` bytes was put up by ``device`` today; once for each file."""
    if device is not None:
        connection.execute(
            "INSERT INTO brought (device, day, bytes, files) VALUES (?, ?, ?, 1)"
            " ON CONFLICT (device, day) DO UPDATE SET bytes = bytes + excluded.bytes, files = files + 1",
            (device, now_ms // DAY_MS, size),
        )


def left_today(
    connection: sqlite3.Connection, policy: FilePolicy, device: bytes | None, now_ms: int, *, begun: bool
) -> Left:
    """What ``device`` may still put up today; with ``begun`` its uploads count whole already."""
    size = files = 0
    if device is not None:
        row = connection.execute(
            "SELECT bytes, files FROM brought WHERE device = ? AND day = ?", (device, now_ms // DAY_MS)
        ).fetchone()
        size, files = row or (0, 0)
        if begun:
            row = connection.execute(
                "SELECT coalesce(sum(size), 0), count(*) FROM upload WHERE device = ?", (device,)
            ).fetchone()
            size, files = size + row[0], files + row[1]
    return Left(
        max(policy.per_device_day - size, 0) if policy.per_device_day else None,
        max(policy.files_per_day - files, 0) if policy.files_per_day else None,
    )


def require_allowance(left: Left, size: int, files: int, now_ms: int) -> None:
    """Raise unless ``files`` more of ``size`` bytes together are ``left``.

    Raises EnoughBytesToday, EnoughFilesToday.
    """
    seconds = (DAY_MS - now_ms % DAY_MS) // 1000
    if left.bytes is not None and size > left.bytes:
        raise EnoughBytesToday(seconds=seconds, megabytes=left.bytes // _MB)
    if left.files is not None and files > left.files:
        raise EnoughFilesToday(seconds=seconds, files=left.files)


def brought_before(connection: sqlite3.Connection, now_ms: int) -> bool:
    """Whether anything is noted of days before today."""
    row = connection.execute("SELECT 1 FROM brought WHERE day < ? LIMIT 1", (now_ms // DAY_MS,)).fetchone()
    return row is not None


def forget_brought(connection: sqlite3.Connection, now_ms: int) -> None:
    """Drop what devices brought before today."""
    connection.execute("DELETE FROM brought WHERE day < ?", (now_ms // DAY_MS,))


def _upload(row: tuple[Any, ...]) -> Upload:
    token, device, name, size, offset, at_ms, sha256, pieces, crc32 = row
    ref = BlobRef(sha256.hex(), size, pieces.hex()) if sha256 is not None else None
    return Upload(token, device, name, size, offset, at_ms, ref, crc32 or 0)
