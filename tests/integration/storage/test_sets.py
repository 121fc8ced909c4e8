"""Stored sets are what the log says: against a set in memory, after any history, and between two hubs."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.domain.bodies import NoticeBody, encode_notice
from hub.domain.clock import Stamp, TimeQuality
from hub.domain.ids import Epoch, HubId, ObjectId
from hub.domain.notices import Kind, NoticeDraft, Scope
from hub.domain.policy import DAY_MS, leaves_at
from hub.domain.reconcile import INFINITY, ZERO, Item, Vector, exact_bound, fingerprint_of, minimal_bound
from hub.domain.records import Header, Record, RecordType, Stream, WireRecord, seal
from hub.domain.sharing import FIRST, IN_TURN, SOON, SetKey
from hub.storage import inspection, journal, retention, sets
from hub.storage.database import connect
from hub.storage.migrate import migrate
from hub.storage.projections import rebuild, refresh
from hub.storage.sets import StoredSet, StoredSnapshot
from hub.sync.protocol.negentropy import Reconciler
from hub.sync.protocol.snapshot import Snapshot
from tests.integration.conftest import Street

NOW_MS = 1_795_426_860_000
ENDS_MS = NOW_MS + 28 * DAY_MS
MILL_LANE, OAKFIELD = HubId(b"m" * 32), HubId(b"o" * 32)
NOTICES = SetKey(Stream.NOTICES, b"")


def record(
    number: int,
    ms: int = NOW_MS,
    *,
    exp: int = ENDS_MS,
    scope: Scope = Scope.NETWORK,
    stream: str = Stream.NOTICES,
    kind: str = RecordType.WITHDRAW,
    body: bytes | None = None,
    hub: HubId = MILL_LANE,
) -> Record:
    """A record of another hub about an object of its own."""
    header = Header(
        hub,
        Epoch(bytes(8)),
        number + 1,
        kind,
        ObjectId(number.to_bytes(16, "big")),
        Stamp(ms, 0),
        TimeQuality.CARETAKER,
        exp,
        scope,
        stream=stream,
    )
    return seal(header, body, lambda data: bytes(64))


def item(of: Record) -> Item:
    return Item(of.header.stamp.ms, of.id)


def urgent(kind: Kind = Kind.URGENT) -> bytes:
    draft = NoticeDraft(kind, "Water is off", "Until noon.", "en", Scope.NETWORK, ENDS_MS)
    return encode_notice(NoticeBody(draft, NOW_MS), bytes(16))


def keep(connection: sqlite3.Connection, records: Iterable[Record]) -> None:
    for each in records:
        journal.append(connection, each, NOW_MS)


def rows(connection: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    return connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()  # noqa: S608 - tables here


def make(path: Path | str = ":memory:") -> sqlite3.Connection:
    connection = connect(Path(path)) if path != ":memory:" else sqlite3.connect(path, isolation_level=None)
    migrate(connection, NOW_MS, "test")
    journal.found(connection, HubId(b"t" * 32), Epoch(bytes(8)))
    return connection


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(make()) as opened:
        yield opened


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "BLOCK", 4)
    monkeypatch.setattr(sets, "_COUNTED_EVERY", 3)
    monkeypatch.setattr(sets, "_KEPT", 2)


def require_equal(connection: sqlite3.Connection, key: SetKey, expected: Iterable[Item]) -> None:
    """The stored set answers every question as the one in memory does."""
    vector, stored = Vector(expected), StoredSet(connection, key)
    size = vector.size()
    everything = vector.items(0, size)
    bounds = [ZERO, INFINITY, *map(exact_bound, everything)]
    bounds += [minimal_bound(*everything[place : place + 2]) for place in range(size - 1)]
    assert stored.size() == size
    assert sets.summary(connection, key) == fingerprint_of(vector)
    assert [stored.find_lower_bound(bound) for bound in bounds] == list(map(vector.find_lower_bound, bounds))
    for begin in range(0, size + 1, max(1, size // 24)):
        for end in range(begin, size + 1, max(1, size // 24)):
            assert stored.sum(begin, end) == vector.sum(begin, end)
            assert list(stored.items(begin, end)) == list(vector.items(begin, end))
    assert [each for each, _ in sets.items_since(connection, key)] == list(everything)
    assert list(sets.faults(connection)) == []


some = st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.permutations(range(60)), st.integers(1, 60)),
        st.tuples(st.just("add"), some, st.integers(1, 8)),
        st.tuples(st.just("remove"), some, st.just(0)),
        st.tuples(st.just("pass"), st.just([]), st.integers(0, 3)),
    ),
    max_size=12,
)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.usefixtures("small_blocks")
@settings(deadline=None, max_examples=60)
@given(steps)
def test_any_history_leaves_the_set_of_what_is_in_the_log(
    history: list[tuple[str, list[int], int]],
) -> None:
    here: dict[int, Record] = {}
    now_ms, swept_ms = NOW_MS, 0
    with closing(make()) as connection:
        for act, numbers, amount in history:
            if act == "pass":
                now_ms = swept_ms = now_ms + amount * 7 * DAY_MS
                sets.sweep(connection, now_ms)
            for number in numbers:
                if act == "remove" and number in here:
                    retention.drop(connection, here.pop(number).header.obj)
                elif act == "add" and number not in here:
                    exp = NOW_MS + number % 5 * 7 * DAY_MS
                    here[number] = record(number, NOW_MS + number % amount, exp=exp)
                    keep(connection, [here[number]])
        shared = [item(each) for each in here.values() if leaves_at(each.header.exp) > swept_ms]
        require_equal(connection, NOTICES, shared)
        before = rows(connection, "set_item")
        rebuild(connection)
        assert rows(connection, "set_item") == before
        require_equal(connection, NOTICES, shared)


@pytest.mark.parametrize("order", ["as they came", "the newest first", "any"])
def test_thousands_of_records_make_blocks_of_hundreds(connection: sqlite3.Connection, order: str) -> None:
    records = [record(number, NOW_MS + number // 3) for number in range(2_600)]
    if order == "the newest first":
        records.reverse()
    elif order == "any":
        random.Random(4).shuffle(records)
    keep(connection, records)
    require_equal(connection, NOTICES, map(item, records))
    sizes = [row[3] for row in rows(connection, "set_block")]
    assert len(sizes) >= 3
    assert all(size is None or sets.BLOCK <= size < 2 * sets.BLOCK for size in sizes)
    assert 0 <= len(records) - sum(size or 0 for size in sizes) < 2 * sets.BLOCK + 64


def test_a_rebuild_of_records_that_came_in_order_gives_equal_blocks(connection: sqlite3.Connection) -> None:
    keep(connection, [record(number, NOW_MS + number) for number in range(1_600)])
    before = rows(connection, "set_block")
    rebuild(connection)
    assert rows(connection, "set_block") == before
    assert [size for *_, size, _ in before] == [512, 512, None]


def test_the_newest_records_change_no_block(connection: sqlite3.Connection) -> None:
    keep(connection, [record(number, NOW_MS + number) for number in range(1_100)])
    before = rows(connection, "set_block")
    keep(connection, [record(number, NOW_MS + number) for number in range(1_100, 1_500)])
    assert rows(connection, "set_block") == before


def test_scope_stream_and_origin_say_which_set_a_record_is_in(connection: sqlite3.Connection) -> None:
    ours = record(1, scope=Scope.HUB)
    told = [record(2, scope=Scope.NEIGHBOURS, hub=hub) for hub in (MILL_LANE, OAKFIELD)]
    file, unheard_of = record(3, stream=Stream.FILES), record(4, stream="recipes", kind="recipe")
    network = record(5)
    keep(connection, [ours, *told, file, unheard_of, network])
    expected = {
        SetKey("notices", b""): network,
        SetKey("notices", MILL_LANE): told[0],
        SetKey("notices", OAKFIELD): told[1],
        SetKey("files", b""): file,
        SetKey("recipes", b""): unheard_of,
    }
    snapshot = StoredSnapshot(connection)
    assert snapshot.shared_sets() == sorted(expected)
    for key, only in expected.items():
        require_equal(connection, key, [item(only)])
        assert snapshot.find(key, item(ours)) is None
    assert snapshot.find(SetKey("notices", b""), item(file)) is None
    assert snapshot.summary(SetKey("notices", bytes(32))) == fingerprint_of(Vector([]))


def test_a_record_that_comes_twice_is_in_its_set_once(connection: sqlite3.Connection) -> None:
    keep(connection, [record(1), record(1)])
    require_equal(connection, NOTICES, [item(record(1))])


def test_an_item_is_found_with_its_record_as_it_travels(connection: sqlite3.Connection) -> None:
    one = record(1, kind=RecordType.NOTICE, body=urgent())
    keep(connection, [one])
    snapshot = StoredSnapshot(connection)
    entry = snapshot.find(NOTICES, item(one))
    assert entry is not None
    assert snapshot.wire(entry.n) == WireRecord(one.header_bytes, one.signature, one.body)
    assert snapshot.wire(entry.n + 1) is None
    assert snapshot.find(NOTICES, Item(NOW_MS + 1, one.id)) is None
    assert list(snapshot.items_since(NOTICES, NOW_MS)) == [(item(one), entry.n)]
    assert list(snapshot.items_since(NOTICES, NOW_MS + 1)) == []


def test_news_are_what_came_into_sets_since(connection: sqlite3.Connection) -> None:
    assert sets.newest(connection) == 0
    sets.sweep(connection, leaves_at(NOW_MS))
    keep(connection, [record(1)])
    after = sets.newest(connection)
    assert sets.news(connection, after) == []
    water_off = record(2, kind=RecordType.NOTICE, body=urgent())
    file = record(3, stream=Stream.FILES, kind=RecordType.FILE)
    keep(connection, [water_off, record(4, scope=Scope.HUB), record(5, exp=NOW_MS), file, record(1)])
    assert sets.news(connection, after) == [
        (NOTICES, item(water_off), SOON),
        (SetKey(Stream.FILES, b""), item(file), IN_TURN),
    ]
    assert sets.news(connection, sets.newest(connection)) == []


def test_an_id_is_enough_to_find_a_record_but_only_in_its_own_set(connection: sqlite3.Connection) -> None:
    shared, ours = record(1), record(2, scope=Scope.HUB)
    keep(connection, [shared, ours])
    snapshot: Snapshot = StoredSnapshot(connection)
    assert snapshot.entry(NOTICES, shared.id) == StoredSnapshot(connection).find(NOTICES, item(shared))
    assert snapshot.entry(NOTICES, shared.id) is not None
    assert snapshot.entry(SetKey(Stream.FILES, b""), shared.id) is None
    assert snapshot.entry(NOTICES, ours.id) is None
    assert snapshot.entry(NOTICES, bytes(32)) is None


def test_what_is_in_the_log_or_waiting_is_not_lacking(connection: sqlite3.Connection) -> None:
    kept, waiting, other = record(1), record(2), record(3)
    keep(connection, [kept])
    connection.execute(
        "INSERT INTO waiting_record (id, neighbour, origin, obj, reason, ts, arrived_ms, header, signature)"
        " VALUES (?, ?, ?, ?, 'quota', 0, 0, x'', x'')",
        (waiting.id, OAKFIELD, MILL_LANE, waiting.header.obj),
    )
    lacking = [each for each in (kept, waiting, other) if StoredSnapshot(connection).lacks(each.id)]
    assert lacking == [other]


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (RecordType.RETRACT, None, FIRST),
        (RecordType.WITHDRAW, None, FIRST),
        (RecordType.NOTICE, urgent(), SOON),
        (RecordType.NOTICE, urgent(Kind.NEWS), IN_TURN),
        (RecordType.NOTICE, b"of a later release", IN_TURN),
        (RecordType.NOTICE, None, IN_TURN),
        (RecordType.REPLY, urgent(), IN_TURN),
    ],
)
def test_what_is_urgent_is_sent_soon_and_erasures_first(
    connection: sqlite3.Connection, kind: str, body: bytes | None, expected: int
) -> None:
    one = record(1, kind=kind, body=body)
    keep(connection, [one])
    entry = sets.find(connection, NOTICES, item(one))
    assert entry is not None
    assert entry.urgency == sets.urgency_of(one) == expected


def test_a_record_leaves_on_its_own_monday_though_its_object_stays(connection: sqlite3.Connection) -> None:
    first = record(1, exp=NOW_MS, kind=RecordType.NOTICE, body=urgent(Kind.NEWS))
    later = record(1, NOW_MS + 1, exp=ENDS_MS, kind=RecordType.NOTICE, body=urgent(Kind.NEWS))
    keep(connection, [first, later])
    refresh(connection, first.header.obj)
    monday = leaves_at(NOW_MS)
    assert sets.sweep(connection, monday - 1) == 0
    require_equal(connection, NOTICES, [item(first), item(later)])
    assert not sets.must_sweep(connection, monday - 1)
    assert sets.must_sweep(connection, monday)
    assert sets.sweep(connection, monday) == 1
    require_equal(connection, NOTICES, [item(later)])
    assert [each.record.id for each in journal.versions(connection, first.header.obj)] == [first.id, later.id]
    rebuild(connection)
    require_equal(connection, NOTICES, [item(later)])


def test_a_record_whose_monday_has_passed_comes_into_no_set(connection: sqlite3.Connection) -> None:
    sets.sweep(connection, leaves_at(NOW_MS))
    keep(connection, [record(1, exp=NOW_MS), record(2, exp=ENDS_MS)])
    require_equal(connection, NOTICES, [item(record(2, exp=ENDS_MS))])


def test_what_left_because_a_clock_ran_ahead_is_back_once_it_is_put_right(
    connection: sqlite3.Connection,
) -> None:
    records = [record(number, NOW_MS + number) for number in range(20)]
    keep(connection, records)
    assert sets.sweep(connection, NOW_MS + 12 * 365 * DAY_MS) == 20
    require_equal(connection, NOTICES, [])
    assert sets.sweep(connection, NOW_MS) == 0
    require_equal(connection, NOTICES, map(item, records))


def test_what_is_on_no_page_leaves_the_log_once_every_record_of_it_has_left(
    connection: sqlite3.Connection,
) -> None:
    recipe = record(1, exp=NOW_MS, kind="recipe", stream="recipes")
    later = record(1, NOW_MS + 1, exp=ENDS_MS, kind="recipe", stream="recipes")
    erasure = record(2, exp=NOW_MS, kind=RecordType.RETRACT)
    shown = record(3, exp=ENDS_MS, kind=RecordType.NOTICE, body=urgent(Kind.NEWS))
    keep(connection, [recipe, later, erasure, shown])
    refresh(connection, shown.header.obj)
    monday = leaves_at(NOW_MS)
    assert retention.ended(connection, monday - 1, unshown=True) == []
    assert retention.ended(connection, monday) == []
    assert retention.ended(connection, monday, unshown=True) == [erasure.header.obj]
    retention.drop(connection, erasure.header.obj)
    assert retention.ended(connection, leaves_at(ENDS_MS) - 1, unshown=True) == []
    everything = [shown.header.obj, recipe.header.obj]
    assert retention.ended(connection, leaves_at(ENDS_MS), unshown=True) == everything


def test_what_has_to_stay_a_while_does_not_keep_the_rest_from_leaving(
    connection: sqlite3.Connection,
) -> None:
    for number in range(60):
        notice = record(number, exp=NOW_MS + number // 30, kind=RecordType.NOTICE, body=urgent(Kind.NEWS))
        erasure = record(number, NOW_MS + 1, exp=ENDS_MS, kind=RecordType.RETRACT)
        keep(connection, [notice] if number // 30 else [notice, erasure])
        refresh(connection, notice.header.obj)
    assert len(retention.ended(connection, leaves_at(NOW_MS + 1))) == 20


def test_a_log_that_is_older_than_the_sets_gets_them_when_it_is_migrated(
    connection: sqlite3.Connection,
) -> None:
    records = [record(number) for number in range(5)]
    keep(connection, records)
    connection.execute("DELETE FROM set_item")
    connection.execute("UPDATE set_week SET week = NULL")
    migrate(connection, NOW_MS, "test")
    require_equal(connection, NOTICES, map(item, records))


FAULTS = {
    "an item that is missing": "DELETE FROM set_item WHERE n = 700",
    "an item with another record": "UPDATE set_item SET n = 701 WHERE n = 700",
    "an item that leaves at another time": "UPDATE set_item SET leaves = leaves + 1 WHERE n = 1300",
    "an item of no record": "INSERT INTO set_item VALUES (1, 5, x'05', 5, 9999)",
    "a set of another stream": "UPDATE shared_set SET stream = 'files'",
    "a wrong sum": "UPDATE set_block SET sum = zeroblob(32) WHERE count > 0",
    "a wrong count": "UPDATE set_block SET count = count + 1 WHERE count > 0",
    "a block that is missing": "DELETE FROM set_block WHERE ts = (SELECT max(ts) FROM set_block)",
    "a set that begins nowhere": "DELETE FROM set_block WHERE ts = 0",
    "no block for the newest": "DELETE FROM set_block WHERE count IS NULL",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_mended_by_a_rebuild(connection: sqlite3.Connection, name: str) -> None:
    keep(connection, [record(number, NOW_MS + number) for number in range(1_600)])
    connection.execute(FAULTS[name])
    assert [fault for fault in inspection.check(connection) if fault.what == "projection"]
    rebuild(connection)
    assert not [fault for fault in inspection.check(connection) if fault.what == "projection"]


def test_two_hubs_find_exactly_what_the_other_lacks(tmp_path: Path) -> None:
    chance = random.Random(4)
    records = [record(number, NOW_MS + number // 2) for number in range(2_400)]
    alone = chance.sample(records, 60)
    with closing(make(tmp_path / "ours.db")) as ours, closing(make(tmp_path / "theirs.db")) as theirs:
        for connection, lacking in ((ours, alone[::2]), (theirs, alone[1::2])):
            lacks = {each.id for each in lacking}
            had = [each for each in records if each.id not in lacks]
            chance.shuffle(had)
            connection.execute("BEGIN")
            keep(connection, had)
            connection.execute("COMMIT")
        initiator = Reconciler(StoredSnapshot(ours).view(NOTICES))
        other = Reconciler(StoredSnapshot(theirs).view(NOTICES))
        have: list[bytes] = []
        need: list[bytes] = []
        message: bytes | None = initiator.initiate()
        while message is not None:
            step = initiator.reconcile(other.answer(message))
            message = step.reply
            have += step.have
            need += step.need
        by_id = {each.id: each for each in records}
        assert sorted(have) == sorted(each.id for each in alone[1::2])
        assert sorted(need) == sorted(each.id for each in alone[::2])
        keep(ours, [by_id[each] for each in need])  # type: ignore[index]
        keep(theirs, [by_id[each] for each in have])  # type: ignore[index]
        assert sets.summary(ours, NOTICES) == sets.summary(theirs, NOTICES)


async def test_housekeeping_lets_records_leave_on_their_monday(street: Street) -> None:
    made = await street.person("ann").puts_up("Ladder to lend")
    [(n,)] = await street.rows("SELECT n FROM set_item")
    assert made
    assert n
    street.clock.pass_time(days=28 + 7 + 7)
    await street.hub.housekeeping.round()
    assert await street.table("set_item") == []
    assert (await street.hub.upkeep.check()).findings == ()
