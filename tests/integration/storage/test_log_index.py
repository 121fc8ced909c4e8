"""Every record of the log is found by its id, whenever it came, and none that was dropped."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hub.domain.clock import Stamp, TimeQuality
from hub.domain.ids import Epoch, HubId, ObjectId
from hub.domain.notices import Scope
from hub.domain.records import Header, Record, RecordType, seal
from hub.storage import journal, log_index, retention
from hub.storage.database import connect
from hub.storage.log_index import LogIndex
from hub.storage.migrate import migrate

NOW_MS = 1_795_426_860_000


def record(number: int) -> Record:
    header = Header(
        HubId(bytes(32)),
        Epoch(bytes(8)),
        number + 1,
        RecordType.WITHDRAW,
        ObjectId(number.to_bytes(16, "big")),
        Stamp(NOW_MS, 0),
        TimeQuality.CARETAKER,
        NOW_MS,
        Scope.NETWORK,
    )
    return seal(header, None, lambda data: bytes(64))


def keep(connection: sqlite3.Connection, *records: Record) -> list[int]:
    return [journal.append(connection, each, NOW_MS).n for each in records]


def places(index: LogIndex, connection: sqlite3.Connection, *records: Record) -> list[int | None]:
    index.catch_up(connection)
    return [index.find(connection, each.id) for each in records]


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_index, "_RUN", 7)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(tmp_path / "hub.db")) as opened:
        migrate(opened, NOW_MS, "test")
        yield opened


def test_records_are_found_from_the_first_to_the_newest(connection: sqlite3.Connection) -> None:
    index, records = LogIndex(), [record(number) for number in range(30)]
    assert places(index, connection, *records) == [None] * 30
    for begin, end in ((0, 18), (18, 19), (19, 30)):
        keep(connection, *records[begin:end])
        assert places(index, connection, *records[:end]) == [each + 1 for each in range(end)]
        assert places(LogIndex(), connection, *records[:end]) == [each + 1 for each in range(end)]
    assert places(index, connection, record(30)) == [None]


def test_what_was_dropped_is_not_found_and_its_place_is_not_given_again(
    connection: sqlite3.Connection,
) -> None:
    index, records = LogIndex(), [record(number) for number in range(12)]
    keep(connection, *records[:10])
    assert None not in places(index, connection, *records[:10])
    for dropped in (records[9], records[8], records[3]):
        retention.drop(connection, dropped.header.obj)
    assert keep(connection, records[10]) == [11]
    assert places(index, connection, records[9], records[8], records[3], records[10]) == [
        None,
        None,
        None,
        11,
    ]
    assert keep(connection, records[9]) == [12]
    assert places(index, connection, records[9]) == [12]
    connection.execute("DELETE FROM record")
    assert keep(connection, records[11]) == [13]
    assert places(index, connection, *records[10:]) == [None, 13]


def test_ids_that_begin_alike_are_told_apart(connection: sqlite3.Connection) -> None:
    alike = [b"the same" + bytes([number]) * 24 for number in range(20)]
    for number, record_id in enumerate(alike, 1):
        connection.execute(
            "INSERT INTO record VALUES (?, ?, ?, 0, x'', x'', NULL)", (number, record_id, bytes(16))
        )
    index = LogIndex()
    index.catch_up(connection)
    assert [index.find(connection, each) for each in alike] == list(range(1, 21))
    assert index.find(connection, b"the same" + b"\xff" * 24) is None


def test_two_transactions_see_what_each_of_them_should(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    index, early, late = LogIndex(), record(1), record(2)
    keep(connection, early)
    with closing(connect(tmp_path / "hub.db", read_only=True)) as reader:
        reader.execute("BEGIN")
        assert places(index, reader, early, late) == [1, None]
        keep(connection, late)
        assert places(index, connection, early, late) == [1, 2]
        assert places(index, reader, early, late) == [1, None]
        reader.execute("ROLLBACK")
        assert places(index, reader, early, late) == [1, 2]
