"""Blobs of other hubs: what their records name and is not here, and what came and may give way again.

`missing_blob` is written by the projections and may name what is here after all: whoever needs to know
looks at the card as well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from hub.domain.bodies import FileBody, NoticeBody, decode
from hub.domain.errors import Refused
from hub.domain.fetching import HASH, Foreign, Missing
from hub.domain.ids import HubId
from hub.domain.notices import BlobRef
from hub.domain.records import Header, Record, decode_header
from hub.domain.sharing import SetKey, set_of

LARGEST_PICTURE = 16 * 1024 * 1024
"""Bytes of the largest picture or thumbnail that is taken from another hub; they are sent from memory."""

_LET_GO, _UNTRUE = 1, 2

_NAMED = """
SELECT {table}.obj, record.header, record.body,
  {table}.state = 0 AND {table}.exp_ms > :now AND {hidden} AS shown
FROM blob_use JOIN {table} ON {table}.obj = blob_use.obj JOIN record ON record.n = {table}.record
WHERE blob_use.sha256 = :sha256
"""
_NOT_HIDDEN = "NOT EXISTS (SELECT 1 FROM hide WHERE hide.obj IN ({what}))"
_NOTICES = _NAMED.format(table="notice", hidden=_NOT_HIDDEN.format(what="notice.obj"))
_FILES = _NAMED.format(table="file", hidden=_NOT_HIDDEN.format(what="file.obj, file.collection"))
_SHOWN = " OR ".join(
    f"EXISTS (SELECT 1 FROM blob_use JOIN {table} ON {table}.obj = blob_use.obj"
    f" WHERE blob_use.sha256 = missing_blob.sha256 AND {table}.state = 0 AND {table}.exp_ms > :now"
    f" AND {_NOT_HIDDEN.format(what=what)})"
    for table, what in (("notice", "notice.obj"), ("file", "file.obj, file.collection"))
)


def expect(connection: sqlite3.Connection, hub: HubId, blobs: Iterable[BlobRef], *, own: bool) -> None:
    """Note that a record of ``hub`` names ``blobs``, in its transaction; nothing for this hub's records.

    ``own``: they are the object's own bytes; pictures that are too large to be one are not noted.
    """
    if connection.execute("SELECT 1 FROM lineage WHERE hub = ?", (hub,)).fetchone():
        return
    rows = [_key(blob) for blob in blobs if own or blob.size <= LARGEST_PICTURE]
    connection.executemany(
        "INSERT INTO missing_blob (sha256, size, pieces) SELECT ?1, ?2, ?3"
        " WHERE NOT EXISTS (SELECT 1 FROM foreign_blob WHERE sha256 = ?1) ON CONFLICT DO NOTHING",
        rows,
    )


def expect_lost(connection: sqlite3.Connection, blobs: Collection[str], now_ms: int) -> int:
    """Ask for blobs (hex) that were here and are broken or gone, this hub's own too; returns for how many."""
    count = 0
    for sha256 in blobs:
        for ref in {ref for _, shown, ref in _refs(connection, sha256, now_ms) if shown}:
            count += connection.execute(
                "INSERT INTO missing_blob (sha256, size, pieces, asked_ms) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET asked_ms = excluded.asked_ms"
                " WHERE asked_ms IS NULL AND state != ?",
                (*_key(ref), now_ms, _UNTRUE),
            ).rowcount
    return count


def wanted(connection: sqlite3.Connection, now_ms: int, always: int, limit: int) -> list[Missing]:
    """What is to be fetched of what anybody may see: what is asked for, and others of ``always`` bytes.

    The smallest class first, as `Missing.turn` sorts them, and the newest named first in each.
    """
    rows = connection.execute(
        "SELECT sha256, size, pieces, asked_ms, state FROM missing_blob"
        " WHERE (asked_ms IS NOT NULL OR (state = 0 AND size <= :always)) AND state != :untrue"
        f" AND ({_SHOWN}) ORDER BY n DESC LIMIT :limit",
        {"always": always, "untrue": _UNTRUE, "now": now_ms, "limit": limit},
    )
    return sorted((_missing(row) for row in rows), key=lambda missing: missing.turn)


def missing(connection: sqlite3.Connection, blobs: Collection[str]) -> list[Missing]:
    """What is noted of ``blobs`` (hex), without what was found to contradict itself."""
    found = []
    for sha256 in blobs:
        rows = connection.execute(
            "SELECT sha256, size, pieces, asked_ms, state FROM missing_blob WHERE sha256 = ? AND state != ?",
            (bytes.fromhex(sha256), _UNTRUE),
        )
        found += [_missing(row) for row in rows]
    return found


def is_missing(connection: sqlite3.Connection, ref: BlobRef) -> bool:
    """Whether this very blob is still noted."""
    row = connection.execute(
        "SELECT 1 FROM missing_blob WHERE (sha256, size, pieces) = (?, ?, ?) AND state != ?",
        (*_key(ref), _UNTRUE),
    ).fetchone()
    return row is not None


def names_missing(connection: sqlite3.Connection) -> set[str]:
    """Every blob (hex) that is noted: neighbours' records name it, and it need not be here."""
    return {row[0].hex() for row in connection.execute("SELECT DISTINCT sha256 FROM missing_blob")}


def is_awaited(connection: sqlite3.Connection, sha256: str, now_ms: int) -> bool:
    """Whether something that anybody may see names it."""
    return any(shown for _, shown, _ in _refs(connection, sha256, now_ms))


def asked(connection: sqlite3.Connection) -> int:
    """How many blobs somebody waits for."""
    (count,) = connection.execute("SELECT count(*) FROM missing_blob WHERE asked_ms IS NOT NULL").fetchone()
    return int(count)


def ask(connection: sqlite3.Connection, sha256: str, now_ms: int) -> bool:
    """Somebody wants it; False when it is not noted as missing."""
    return bool(
        connection.execute(
            "UPDATE missing_blob SET asked_ms = coalesce(asked_ms, ?) WHERE sha256 = ? AND state != ?",
            (now_ms, bytes.fromhex(sha256), _UNTRUE),
        ).rowcount
    )


def forget_asking(connection: sqlite3.Connection, before_ms: int) -> None:
    """Nobody waits any more for what was asked for before that time."""
    connection.execute("UPDATE missing_blob SET asked_ms = NULL WHERE asked_ms < ?", (before_ms,))


def refuse(connection: sqlite3.Connection, ref: BlobRef) -> None:
    """What a record says of it cannot be: it is not fetched again under that description."""
    connection.execute(
        "UPDATE missing_blob SET state = ?, asked_ms = NULL WHERE (sha256, size, pieces) = (?, ?, ?)",
        (_UNTRUE, *_key(ref)),
    )


def came(connection: sqlite3.Connection, own: HubId, ref: BlobRef, now_ms: int, hashes: bytes = b"") -> None:
    """It is here. Only what this hub's own records do not name may give way again."""
    note_list(connection, ref.sha256, hashes)
    sha256 = bytes.fromhex(ref.sha256)
    connection.execute("DELETE FROM missing_blob WHERE sha256 = ?", (sha256,))
    if is_own(connection, own, ref.sha256):
        connection.execute("DELETE FROM foreign_blob WHERE sha256 = ?", (sha256,))
    else:
        connection.execute("INSERT OR REPLACE INTO foreign_blob VALUES (?, ?, ?)", (sha256, ref.size, now_ms))


def is_own(connection: sqlite3.Connection, own: HubId, sha256: str) -> bool:
    """Whether a record of this hub names it."""
    return any(header.hub == own for header, _, _ in _names(connection, sha256, 0))


def kept(connection: sqlite3.Connection) -> list[Foreign]:
    """Blobs of other hubs that are here."""
    rows = connection.execute("SELECT sha256, size, used_ms FROM foreign_blob")
    return [Foreign(sha256.hex(), size, used_ms) for sha256, size, used_ms in rows]


def kept_bytes(connection: sqlite3.Connection) -> int:
    """How much they fill."""
    (size,) = connection.execute("SELECT coalesce(sum(size), 0) FROM foreign_blob").fetchone()
    return int(size)


def use(connection: sqlite3.Connection, blobs: Iterable[tuple[str, int]]) -> None:
    """Note when blobs (hex) were last of use; those that are not of other hubs are passed over."""
    connection.executemany(
        "UPDATE foreign_blob SET used_ms = max(used_ms, ?2) WHERE sha256 = ?1",
        [(bytes.fromhex(sha256), used_ms) for sha256, used_ms in blobs],
    )


def keep(connection: sqlite3.Connection, sha256: str) -> None:
    """It is this hub's own by now and does not give way."""
    connection.execute("DELETE FROM foreign_blob WHERE sha256 = ?", (bytes.fromhex(sha256),))


def let_go(connection: sqlite3.Connection, sha256: str, now_ms: int) -> None:
    """It gives way: what still names it can be asked for again."""
    for ref in {ref for _, _, ref in _refs(connection, sha256, now_ms)}:
        connection.execute(
            "INSERT INTO missing_blob (sha256, size, pieces, state) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET state = excluded.state, asked_ms = NULL WHERE state != ?",
            (*_key(ref), _LET_GO, _UNTRUE),
        )
    keep(connection, sha256)


def forget(connection: sqlite3.Connection, blobs: Iterable[str]) -> None:
    """Drop every note of blobs (hex) that nothing names any more."""
    for table in _TABLES:
        connection.executemany(
            f"DELETE FROM {table} WHERE sha256 = ?", [(bytes.fromhex(sha256),) for sha256 in blobs]
        )


def forget_unnamed(connection: sqlite3.Connection) -> int:
    """Drop every note of what nothing names any more; returns how many."""
    return sum(
        connection.execute(
            f"DELETE FROM {table} WHERE NOT EXISTS"
            f" (SELECT 1 FROM blob_use WHERE blob_use.sha256 = {table}.sha256)"
        ).rowcount
        for table in _TABLES
    )


_TABLES: Final = ("missing_blob", "foreign_blob", "piece_list")


def note_list(connection: sqlite3.Connection, sha256: str, hashes: bytes) -> None:
    """Keep the hashes of a blob's pieces, if they are known and more than one."""
    if len(hashes) > HASH:
        connection.execute("INSERT OR REPLACE INTO piece_list VALUES (?, ?)", (bytes.fromhex(sha256), hashes))


def list_of(connection: sqlite3.Connection, sha256: str) -> bytes | None:
    """The hashes of a blob's pieces, if they were kept."""
    row = connection.execute(
        "SELECT hashes FROM piece_list WHERE sha256 = ?", (bytes.fromhex(sha256),)
    ).fetchone()
    return row[0] if row else None


def may_have(connection: sqlite3.Connection, sha256: str, sets: Collection[SetKey], now_ms: int) -> bool:
    """Whether a hub with which ``sets`` are exchanged may have the blob: something that anybody may see here
    and that lies in one of them names it."""
    return any(shown and set_of(header) in sets for header, shown, _ in _names(connection, sha256, now_ms))


@dataclass(frozen=True, slots=True)
class _Body:
    header: bytes
    body: bytes | None


def _names(connection: sqlite3.Connection, sha256: str, now_ms: int) -> Iterator[tuple[Header, bool, _Body]]:
    """Whatever names a blob: the header, whether anybody may see it, and the rest of its record."""
    for sql in (_NOTICES, _FILES):
        for _, header, body, shown in connection.execute(
            sql, {"sha256": bytes.fromhex(sha256), "now": now_ms}
        ):
            yield decode_header(header, stored=True), bool(shown), _Body(header, body)


def _refs(connection: sqlite3.Connection, sha256: str, now_ms: int) -> Iterator[tuple[Header, bool, BlobRef]]:
    """As `_names`, with what each says of the blob."""
    for header, shown, stored in _names(connection, sha256, now_ms):
        if stored.body is None:
            continue
        try:
            body = decode(Record(header, stored.header, b"", stored.body), stored=True)
        except Refused:  # of a form that only newer hubs know
            continue
        refs: list[BlobRef] = []
        if isinstance(body, NoticeBody):
            refs = [blob for shown_ in body.draft.pictures for blob in (shown_.full, shown_.thumb)]
        elif isinstance(body, FileBody):
            refs = [body.draft.blob, *([body.draft.picture.thumb] if body.draft.picture else [])]
        for ref in refs:
            if ref.sha256 == sha256:
                yield header, shown, ref


def _key(ref: BlobRef) -> tuple[bytes, int, bytes]:
    return bytes.fromhex(ref.sha256), ref.size, bytes.fromhex(ref.pieces)


def _missing(row: tuple[bytes, int, bytes, int | None, int]) -> Missing:
    sha256, size, pieces, asked_ms, state = row
    return Missing(BlobRef(sha256.hex(), size, pieces.hex()), asked_ms, state == _LET_GO)
