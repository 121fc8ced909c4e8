"""`hub check`: whether what the hub keeps is what was signed, and whether everything made of it agrees."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from hub.domain.errors import HubError
from hub.domain.ledger import first_broken
from hub.domain.records import BadRecord, verify
from hub.storage import advice, decisions, search, sets, statuses
from hub.storage.projections import rebuild

PROJECTIONS = (
    "notice",
    "reply",
    "collection",
    "file",
    "blob_use",
    "search_doc",
    "set_item",
    *statuses.TABLES,
    *advice.TABLES,
)
"""What `rebuild` must give again, row for row. The search index follows in batches and is compared by
what it finds, and how sets are cut into blocks depends on when their items came."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: ``what`` is the part (database, record, projection, ledger, search, blob)."""

    what: str
    sentence: str


def check(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Every finding in ``connection``: SQLite's own check, signatures, hashes, ledger, index, projections.

    Reads everything and leaves everything as it was: the projections are made again inside a
    transaction that is rolled back. Needs a connection that may write, outside a transaction.
    """
    for (line,) in connection.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield Finding("database", line)
    for row in connection.execute("PRAGMA foreign_key_check"):
        yield Finding("database", f"row {row[1]} of {row[0]} points nowhere")
    for n, record_id, header, signature, body in connection.execute(
        "SELECT n, id, header, signature, body FROM record ORDER BY n"
    ):
        try:
            if verify(header, signature, body).id != record_id:
                raise BadRecord("id")
        except HubError as error:
            yield Finding("record", f"record {n}: {error}")
    try:
        broken = first_broken(decisions.every_line(connection))
    except ValueError:  # an act or a role there is not
        yield Finding("ledger", "a line says what no line can say")
    else:
        if broken is not None:
            yield Finding("ledger", f"line {broken} does not follow from the lines before it")
    if not search.is_sound(connection):
        yield Finding("search", "the index and the notices differ")
    for fault in sets.faults(connection):
        yield Finding("projection", fault)
    connection.execute("BEGIN IMMEDIATE")
    try:
        before = fingerprints(connection)
        rebuild(connection)
        after = fingerprints(connection)
    except HubError as error:
        yield Finding("projection", f"a record cannot be read: {error}")
        return
    finally:
        connection.execute("ROLLBACK")
    for table in PROJECTIONS:
        if before[table] != after[table]:
            yield Finding("projection", f"{table} is not what the log says")


def fingerprints(connection: sqlite3.Connection) -> dict[str, str]:
    """A hash of all rows of each projection."""
    found = {}
    for table in PROJECTIONS:
        digest = hashlib.sha256()
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        order = ", ".join(str(place + 1) for place in range(len(columns)))
        for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}"):
            digest.update(repr(row).encode())
        found[table] = digest.hexdigest()
    return found
