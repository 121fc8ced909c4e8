"""The log: our own place in it, and records that are there once, in order, as they were signed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.domain.clock import ZERO, Stamp, TimeQuality
from hub.domain.ids import Epoch, HubId, ObjectId
from hub.domain.notices import Scope
from hub.domain.records import RecordType, verify
from hub.storage import journal
from hub.storage.journal import Pen
from hub.storage.migrate import migrate

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
HUB = HubId(KEY.public_key().public_bytes_raw())
EPOCH = Epoch(b"epoch 01")
NOW_MS = 1_795_426_860_000
OBJ = ObjectId(bytes(16))


def pen(now_ms: int = NOW_MS) -> Pen:
    return Pen(KEY.sign, now_ms, TimeQuality.CARETAKER)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        migrate(opened, NOW_MS, "test")
        journal.found(opened, HUB, EPOCH)
        yield opened


def write(
    connection: sqlite3.Connection, now_ms: int = NOW_MS, body: bytes | None = b"body"
) -> journal.Logged:
    return journal.publish(
        connection,
        pen(now_ms),
        RecordType.NOTICE,
        OBJ,
        NOW_MS + 1000,
        Scope.NETWORK,
        (lambda stamp: body) if body is not None else None,
    )


def test_a_new_database_is_founded_once_and_keeps_its_epoch(connection: sqlite3.Connection) -> None:
    assert journal.found(connection, HUB, Epoch(b"epoch 02")).epoch == EPOCH
    assert journal.last_stamp(connection) == ZERO


def test_the_database_of_another_key_is_refused(connection: sqlite3.Connection) -> None:
    with pytest.raises(journal.AnotherKey):
        journal.found(connection, HubId(bytes(32)), EPOCH)


def test_records_of_our_own_are_numbered_stamped_and_signed(connection: sqlite3.Connection) -> None:
    written = [write(connection, now_ms) for now_ms in (NOW_MS, NOW_MS, NOW_MS - 5000, NOW_MS + 1)]
    headers = [each.record.header for each in written]
    assert [header.seq for header in headers] == [1, 2, 3, 4]
    assert [header.stamp for header in headers] == [
        Stamp(NOW_MS, 0),
        Stamp(NOW_MS, 1),
        Stamp(NOW_MS, 2),
        Stamp(NOW_MS + 1, 0),
    ]
    assert {(header.hub, header.epoch, header.quality) for header in headers} == {
        (HUB, EPOCH, TimeQuality.CARETAKER)
    }
    for each in written:
        record = verify(each.record.header_bytes, each.record.signature, each.record.body)
        assert record.id == each.record.id
    assert journal.last_stamp(connection) == Stamp(NOW_MS + 1, 0)


def test_a_number_that_was_rolled_back_is_used_again(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    write(connection)
    connection.execute("ROLLBACK")
    assert write(connection).record.header.seq == 1
    assert len(journal.versions(connection, OBJ)) == 1


def test_a_record_that_comes_twice_is_kept_once_with_the_time_it_first_came(
    connection: sqlite3.Connection,
) -> None:
    first = write(connection)
    again = journal.append(connection, first.record, NOW_MS + 99)
    assert again == first
    assert journal.versions(connection, OBJ) == [first]


def test_an_erased_body_does_not_come_back_with_a_second_copy(connection: sqlite3.Connection) -> None:
    first = write(connection)
    journal.drop_body(connection, first.n)
    journal.append(connection, first.record, NOW_MS + 99)
    [left] = journal.versions(connection, OBJ)
    assert left.record.body is None
    assert verify(left.record.header_bytes, left.record.signature, None).id == first.record.id


def test_objects_are_listed_in_the_order_of_their_first_records(connection: sqlite3.Connection) -> None:
    names = [ObjectId(bytes([number]) * 16) for number in (9, 3, 7)]
    for name in (*names, names[0]):
        journal.publish(connection, pen(), RecordType.WITHDRAW, name, NOW_MS, Scope.HUB)
    assert journal.objects(connection) == names


def test_a_record_is_found_by_its_id(connection: sqlite3.Connection) -> None:
    written = write(connection)
    obj = written.record.header.obj
    assert journal.find(connection, obj, written.record.id) == written
    assert journal.find(connection, obj, type(written.record.id)(bytes(32))) is None
    assert journal.has(connection, obj)
    assert not journal.has(connection, type(obj)(b"\xff" * 16))
