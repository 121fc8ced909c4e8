"""Migrations: numbered SQL files, forward only. The number in a file's name is the version afterwards."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

from hub.domain.errors import HubError
from hub.storage import sets, statuses
from hub.words import N_

APPLICATION_ID = 0x434D4855
"""'CMHU': tells a hub's database from any other SQLite file."""
OLDEST_SQLITE = (3, 40, 0)


class DatabaseTooNew(HubError):
    """The database was made by a newer release."""

    code = "database-too-new"
    status = 503
    template = N_(
        "This data folder was last used by a newer release of the hub (database version {found}, this "
        "release knows {known}). Nothing was changed. Install the newer release, or restore a backup."
    )


class NotOurDatabase(HubError):
    """The file is a SQLite database of some other program, or none at all."""

    code = "not-our-database"
    status = 503
    template = N_("The file {path} is not a hub's database. Nothing was changed. Choose another data folder.")


class SqliteTooOld(HubError):
    """The SQLite library lacks fixes that the promises of the hub rest on."""

    code = "sqlite-too-old"
    status = 503
    template = N_(
        "SQLite {found} is too old for the hub, which needs {needed} or newer. Nothing was changed."
    )


def migrations() -> list[tuple[int, str]]:
    """Version and SQL text of every migration in this release, in order, without gaps."""
    found = []
    for entry in files("hub.storage").joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_\w+\.sql", entry.name)
        if match:
            found.append((int(match[1]), entry.read_text("utf-8")))
    found.sort()
    if [number for number, _ in found] != list(range(1, len(found) + 1)):
        raise RuntimeError("migrations must be numbered without gaps")
    return found


def migrate(connection: sqlite3.Connection, now_ms: int, program: str) -> int:
    """Bring ``connection`` (autocommit mode) to this release's version and return that version.

    Each file runs in one transaction together with its version number and a row of history
    (``program`` is the release that applied it), so a failing file leaves no half table. The sets
    and erasures, which no SQL can make, are made from the log after the files where there are none.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise SqliteTooOld(found=sqlite3.sqlite_version, needed=".".join(map(str, OLDEST_SQLITE)))
    steps, version = migrations(), version_of(connection)
    for number, sql in steps[version:]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _statements(sql):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO migration (version, applied_ms, program) VALUES (?, ?, ?)",
                (number, now_ms, program),
            )
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            if connection.execute("PRAGMA foreign_key_check").fetchone():
                raise sqlite3.IntegrityError(f"migration {number} breaks a foreign key")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite undoes by itself what met a full disk
                connection.execute("ROLLBACK")
            raise
    if sets.are_missing(connection):
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            sets.rebuild(connection)
            statuses.rebuild(connection)
    return len(steps)


def require_ours(path: Path) -> None:
    """Raise `NotOurDatabase` or `DatabaseTooNew` for a file that this release must not touch.

    Only reads, and leaves no file beside it. After a cut, while SQLite has not yet brought the file in
    step with its WAL (or, in the very first moment of a hub, its journal), it says nothing: the file
    alone can look broken then. Blocking.
    """
    beside = [path.with_name(path.name + ending) for ending in ("-wal", "-journal")]
    if not path.exists() or any(each.exists() and each.stat().st_size for each in beside):
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as connection:
            version_of(connection)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "") != "SQLITE_NOTADB":
            raise
        raise NotOurDatabase(path=path) from error


def version_of(connection: sqlite3.Connection) -> int:
    """The version of a hub's database, 0 for an empty one; raises `NotOurDatabase`, `DatabaseTooNew`."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID and (tables or application or version):
        raise NotOurDatabase(path=connection.execute("PRAGMA database_list").fetchone()[2])
    known = len(migrations())
    if version > known:
        raise DatabaseTooNew(found=version, known=known)
    return version


def _statements(sql: str) -> list[str]:
    """Split a migration into statements: ``executescript`` would commit behind our back."""
    statements, pending = [], ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    if re.sub(r"--.*", "", pending).strip():
        raise RuntimeError("a migration ends in the middle of a statement")
    return statements
