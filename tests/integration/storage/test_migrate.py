"""Migrations: numbered, forward only, all or nothing; other programs' files are left as they are."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hub.storage import migrate as module
from hub.storage.database import Database
from hub.storage.migrate import (
    APPLICATION_ID,
    DatabaseTooNew,
    NotOurDatabase,
    SqliteTooOld,
    migrate,
    migrations,
)

OLD = Path(__file__).parents[2] / "contracts" / "old_databases"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "hub.db", isolation_level=None)) as opened:
        yield opened


def test_an_empty_file_becomes_a_hubs_database(connection: sqlite3.Connection) -> None:
    assert migrate(connection, 77, "1.2.3") == len(migrations())
    assert connection.execute("PRAGMA user_version").fetchone() == (len(migrations()),)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("SELECT version, applied_ms, program FROM migration").fetchall() == [
        (number, 77, "1.2.3") for number, _ in migrations()
    ]


def test_migrating_again_changes_nothing(connection: sqlite3.Connection) -> None:
    migrate(connection, 77, "1.2.3")
    before = connection.total_changes
    migrate(connection, 88, "1.2.4")
    assert connection.total_changes == before


def test_a_step_that_fails_leaves_no_half_of_itself(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = migrations()
    broken = "CREATE TABLE half (n INTEGER);\nINSERT INTO nowhere VALUES (1);\n"
    monkeypatch.setattr(module, "migrations", lambda: [*first, (len(first) + 1, broken)])
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, 77, "1.2.3")
    assert connection.execute("PRAGMA user_version").fetchone() == (len(first),)
    assert connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'half'").fetchone() is None
    assert not connection.in_transaction


def test_a_later_step_runs_once_and_is_noted(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(connection, 77, "1.2.3")
    first = migrations()
    further = (
        "CREATE TABLE further (n INTEGER); -- a remark; with a semicolon\n"
        "CREATE TRIGGER t AFTER INSERT ON further BEGIN\n  DELETE FROM further;\n  SELECT 1;\nEND;\n"
    )
    monkeypatch.setattr(module, "migrations", lambda: [*first, (len(first) + 1, further)])
    assert migrate(connection, 88, "1.3.0") == len(first) + 1
    assert connection.execute(
        "SELECT applied_ms, program FROM migration ORDER BY version DESC"
    ).fetchone() == (88, "1.3.0")


def test_a_step_that_breaks_a_reference_is_undone(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = migrations()
    dangling = (
        "INSERT INTO notice (key, obj, public_id, record, kind, state, shown_ms, changed_ms, exp_ms)"
        " VALUES (1, x'00', '0', 12345, 'news', 0, 0, 0, 0);\n"
    )
    monkeypatch.setattr(module, "migrations", lambda: [*first, (len(first) + 1, dangling)])
    with pytest.raises(sqlite3.IntegrityError):
        migrate(connection, 77, "1.2.3")
    assert connection.execute("SELECT count(*) FROM notice").fetchone() == (0,)


def test_steps_are_numbered_without_gaps() -> None:
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


def test_an_sqlite_without_the_fixes_we_need_is_refused(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 39, 4))
    with pytest.raises(SqliteTooOld):
        migrate(connection, 77, "1.2.3")


def opened(path: Path) -> None:
    Database.open(path, 1, "test", lambda: None)


def unchanged(path: Path, error: type[Exception]) -> str:
    """The sentence with which opening ``path`` is refused, the file being as it was before."""
    before = path.read_bytes()
    with pytest.raises(error) as refused:
        opened(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    return str(refused.value)


def test_a_database_of_a_newer_release_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, 1, "test")
        connection.execute(f"PRAGMA user_version = {len(migrations()) + 1}")
    sentence = unchanged(path, DatabaseTooNew)
    assert f"version {len(migrations()) + 1}" in sentence


def test_the_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE tomato (n INTEGER)")
    assert str(path) in unchanged(path, NotOurDatabase)


@pytest.mark.parametrize("content", [b"Dear Sir or Madam,\n" * 100, b"SQLite format 3\0" + b"\xff" * 500])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hub.db"
    path.write_bytes(content)
    assert str(path) in unchanged(path, NotOurDatabase)


@pytest.mark.parametrize("path", sorted(OLD.glob("*.db")), ids=lambda path: path.stem)
def test_the_database_of_each_release_opens_and_is_sound(tmp_path: Path, path: Path) -> None:
    from hub.storage import inspection, search
    from hub.storage.database import connect

    copy = Path(shutil.copy(path, tmp_path / "hub.db"))
    with closing(connect(copy)) as connection:
        assert migrate(connection, 1, "test") == len(migrations())
        assert list(inspection.check(connection)) == []
        found = search.find(connection, "ladder", limit=5, visible=lambda notice, obj: True)
        assert len(found.hits) == 2


def test_there_is_a_database_of_this_release_to_migrate_from(connection: sqlite3.Connection) -> None:
    """And it is of this release as it is now: a step that is not released yet may still change."""
    newest = max(OLD.glob("*.db"))
    migrate(connection, 1, "test")
    with closing(sqlite3.connect(f"{newest.as_uri()}?immutable=1", uri=True)) as kept:
        schemas = [
            set(each.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"))
            for each in (kept, connection)
        ]
    assert schemas[0] == schemas[1], "make one: python -m tests.contracts.old_databases.make"
