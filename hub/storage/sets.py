"""The sets that are reconciled with neighbours, as rows: each shared record of the log that has not left.

A set is what its records say and nothing else: hubs with equal logs have equal sets. A record is in none
from the first Monday on that follows from its own header (`hub.domain.policy.leaves_at`), whether or not
the log still keeps it. Every function runs inside the caller's transaction (sync.md 2.5, "Storage").
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Final, NamedTuple

from hub.domain.bodies import decode_notice
from hub.domain.errors import Refused
from hub.domain.notices import Kind
from hub.domain.policy import DAY_MS, leaves_at
from hub.domain.reconcile import ID_BYTES, ZERO, Bound, Item, fingerprint_of, sum_of
from hub.domain.reconcile import add as added
from hub.domain.records import Record, RecordType, WireRecord, decode_header
from hub.domain.sharing import Entry, SetKey, set_of, urgency
from hub.storage import bulk
from hub.storage.log_index import LogIndex

BLOCK: Final = 512
"""Items of a block when it is made; at twice as many it becomes two."""
_COUNTED_EVERY: Final = 64
"""The newest are counted after so many records of the log: each time it would be most of the work."""
_WEEK_MS: Final = 7 * DAY_MS
_URGENT: Final = Kind.URGENT.encode()
_INTO: Final = "INSERT INTO set_item"
_LAST: Final = Item(2**63 - 1, b"")
_KEPT: Final = 8
"""Blocks a `StoredSet` keeps at hand: a message goes through a set in order, by both ends of each range."""


def add(connection: sqlite3.Connection, new: Sequence[tuple[Record, int]]) -> None:
    """Put records that are new in the log, each at a place in it, into their sets; nothing for those that
    are in none.

    The newest of a set cost one page: their block has no sum.
    """
    week = _swept(connection) or 0
    by_set: dict[SetKey, list[tuple[Item, int, int]]] = {}
    for record, n in new:
        key, leaves = set_of(record.header), _week_of(record.header.exp)
        if key is not None and leaves > week:
            by_set.setdefault(key, []).append((Item(record.header.stamp.ms, record.id), n, leaves))
    for key, found in by_set.items():
        number = _number_or_new(connection, key)
        newest, _, _ = _block_of(connection, number, _LAST)
        rows = [(number, *item, n, leaves) for item, n, leaves in found if item >= newest]
        bulk.insert(connection, _INTO, rows)
        is_time = any(n % _COUNTED_EVERY == 0 for _, _, _, n, _ in rows)
        if is_time and _count(connection, number, newest) >= 2 * BLOCK:
            _make_blocks(connection, number, newest)
        for item, n, leaves in found:
            if item < newest:
                bulk.insert(connection, _INTO, [(number, *item, n, leaves)])
                _add_to_block(connection, number, item)


def _add_to_block(connection: sqlite3.Connection, number: int, item: Item) -> None:
    """Sum ``item``, which is in the set by now, up with the others of its block."""
    low, size, total = _block_of(connection, number, item)
    assert size is not None  # noqa: S101 - only the newest has none
    if size + 1 < 2 * BLOCK:
        _put(connection, number, _Block(low, size + 1, added(total, sum_of([item.id]))))
        return
    items = _read(connection, number, low, limit=2 * BLOCK)
    _put(connection, number, _Block(low, BLOCK, sum_of(each.id for each in items[:BLOCK])))
    _put(connection, number, _Block(Bound(*items[BLOCK]), BLOCK, sum_of(each.id for each in items[BLOCK:])))


def remove(connection: sqlite3.Connection, record: Record) -> None:
    """Take a record that is dropped from the log out of its set; nothing when it is not in it.

    A block that has become small is joined with others by the next `sweep` that takes something out.
    """
    key, item = set_of(record.header), Item(record.header.stamp.ms, record.id)
    number = _number(connection, key) if key is not None else None
    if number is None:
        return
    gone = connection.execute("DELETE FROM set_item WHERE (shared_set, ts, id) = (?, ?, ?)", (number, *item))
    low, size, total = _block_of(connection, number, item)
    if gone.rowcount and size is not None:
        _put(connection, number, _Block(low, size - 1, added(total, -sum_of([item.id]))))


def must_sweep(connection: sqlite3.Connection, now_ms: int) -> bool:
    """Whether a Monday has passed since the last `sweep`; writes nothing."""
    return _swept(connection) != _last_week(now_ms)


def sweep(connection: sqlite3.Connection, now_ms: int) -> int:
    """Let everything leave whose Monday has come; returns how many items that were.

    Nothing is lost by it: where a clock ran ahead and was put right, what had left too early is in its
    set again.
    """
    week = _last_week(now_ms)
    before = _swept(connection) or 0
    connection.execute("UPDATE set_week SET week = ?", (week,))
    if week < before:
        rebuild(connection)
        return 0
    rows = connection.execute("SELECT DISTINCT shared_set FROM set_item WHERE leaves <= ?", (week,))
    numbers = [number for (number,) in rows]
    gone = connection.execute("DELETE FROM set_item WHERE leaves <= ?", (week,)).rowcount
    for number in numbers:
        _make_blocks(connection, number)
    return gone


def are_missing(connection: sqlite3.Connection) -> bool:
    """Whether the log is older than the sets, which have to be made from it once."""
    return _swept(connection) is None


def rebuild(connection: sqlite3.Connection) -> None:
    """Make every set again from the log; which week it is stays as it was."""
    week = _swept(connection) or 0
    connection.execute("UPDATE set_week SET week = ?", (week,))
    connection.execute("DELETE FROM set_item")
    connection.execute("DELETE FROM set_block")
    for n, record_id, data in connection.execute("SELECT n, id, header FROM record ORDER BY n"):
        header = decode_header(data, stored=True)
        key, leaves = set_of(header), _week_of(header.exp)
        if key is not None and leaves > week:
            connection.execute(
                "INSERT INTO set_item VALUES (?, ?, ?, ?, ?)",
                (_number_or_new(connection, key), header.stamp.ms, record_id, n, leaves),
            )
    for (number,) in connection.execute("SELECT n FROM shared_set").fetchall():
        _make_blocks(connection, number)


def faults(connection: sqlite3.Connection) -> Iterator[str]:
    """A sentence for each set whose sums are not those of its items (`hub check`)."""
    for number, stream in connection.execute("SELECT n, stream FROM shared_set").fetchall():
        blocks = _blocks(connection, number)
        lows = [block.low for block in blocks]
        ends = [*lows[1:], None]
        if lows[:1] != [ZERO] or [block.size is None for block in blocks] != [end is None for end in ends]:
            yield f"the blocks of set {number} ({stream}) do not cover it"
            continue
        for block, end in zip(blocks, ends, strict=True):
            ids = [item.id for item in _read(connection, number, block.low, end=end)]
            if block.size is not None and (block.size, block.sum) != (len(ids), sum_of(ids)):
                yield f"a sum in set {number} ({stream}) is not that of its items"
                break


def shared_sets(connection: sqlite3.Connection) -> list[SetKey]:
    """The sets that hold anything, in the order of their keys."""
    rows = connection.execute(
        "SELECT stream, origin FROM shared_set"
        " WHERE EXISTS (SELECT 1 FROM set_item WHERE shared_set = shared_set.n) ORDER BY stream, origin"
    )
    return [SetKey(*row) for row in rows]


def summary(connection: sqlite3.Connection, key: SetKey) -> tuple[bytes, int]:
    """Fingerprint and size of a set: from the sums of its blocks, and its newest items."""
    return fingerprint_of(StoredSet(connection, key))


def items_since(connection: sqlite3.Connection, key: SetKey, since_ms: int = 0) -> Iterator[tuple[Item, int]]:
    """The items of a set from a stamp (Unix ms) on, in order, each with its record's place in the log."""
    rows = connection.execute(
        "SELECT ts, set_item.id, set_item.n FROM set_item JOIN shared_set ON shared_set = shared_set.n"
        " WHERE (stream, origin) = (?, ?) AND ts >= ? ORDER BY ts, set_item.id",
        (*key, since_ms),
    )
    return ((Item(ts, record_id), n) for ts, record_id, n in rows)


def newest(connection: sqlite3.Connection) -> int:
    """The place of the last record in the log; 0 while there is none."""
    return int(connection.execute("SELECT coalesce(max(n), 0) FROM record").fetchone()[0])


def news(connection: sqlite3.Connection, after: int) -> list[tuple[SetKey, Item, int]]:
    """What came into sets since the log ended at the place ``after``: set, item, and how soon it is sent."""
    week = _swept(connection) or 0
    found = []
    for record_id, *parts in connection.execute(
        "SELECT id, header, signature, body FROM record WHERE n > ? ORDER BY n", (after,)
    ):
        header = decode_header(parts[0], stored=True)
        key = set_of(header)
        if key is not None and _week_of(header.exp) > week:
            found.append((key, Item(header.stamp.ms, record_id), urgency_of(Record(header, *parts))))
    return found


def find(connection: sqlite3.Connection, key: SetKey, item: Item) -> Entry | None:
    """Where the log has an item of a set, and how soon its record is sent; None when the set lacks it."""
    row = connection.execute(
        "SELECT set_item.n FROM shared_set JOIN set_item ON shared_set = shared_set.n"
        " WHERE (stream, origin, ts, id) = (?, ?, ?, ?)",
        (*key, *item),
    ).fetchone()
    record = _record(connection, row[0]) if row else None
    return Entry(row[0], urgency_of(record)) if record is not None else None


def _record(connection: sqlite3.Connection, n: int) -> Record | None:
    row = connection.execute("SELECT header, signature, body FROM record WHERE n = ?", (n,)).fetchone()
    return Record(decode_header(row[0], stored=True), *row) if row else None


def urgency_of(record: Record) -> int:
    """How soon a record is sent (`hub.domain.sharing.urgency`), as far as what is left of it tells."""
    urgent = False
    is_notice = record.header.type == RecordType.NOTICE
    if is_notice and record.body is not None and _URGENT in record.body:  # most are not read for it
        with suppress(Refused):  # of a kind that only newer hubs know
            urgent = decode_notice(record, stored=True).draft.kind is Kind.URGENT
    return urgency(record.header, urgent=urgent)


def wire(connection: sqlite3.Connection, n: int) -> WireRecord | None:
    """The record at ``n`` as it travels; None when the log lacks it."""
    row = connection.execute("SELECT header, signature, body FROM record WHERE n = ?", (n,)).fetchone()
    return WireRecord(*row) if row else None


class StoredSet:
    """One set as reconciliation reads it (`hub.domain.reconcile.SetView`), within one transaction."""

    def __init__(self, connection: sqlite3.Connection, key: SetKey) -> None:
        """Reads the sums of the blocks, and the newest items."""
        self._connection = connection
        self._number = _number(connection, key) or 0  # which no set has
        self._loaded: dict[int, _Loaded] = {}
        blocks = _blocks(connection, self._number) or [_Block(ZERO, None, 0)]
        self._lows = [block.low for block in blocks]
        newest = self._load(len(blocks) - 1)
        closed = blocks[:-1]
        self._places = [0, *accumulate([*(block.size or 0 for block in closed), len(newest.items)])]
        self._sums = list(accumulate([*(block.sum for block in closed), newest.sums[-1]], added, initial=0))

    def size(self) -> int:
        """How many items there are."""
        return self._places[-1]

    def items(self, begin: int, end: int) -> Sequence[Item]:
        """The items from place ``begin`` to before place ``end``."""
        if begin == end:
            return []
        found: list[Item] = []
        for block in range(self._block_at(begin), self._block_at(end - 1) + 1):
            first = self._places[block]
            found += self._load(block).items[max(begin - first, 0) : end - first]
        return found

    def find_lower_bound(self, bound: Bound) -> int:
        """The place of the first item that is not below ``bound``."""
        block = bisect_right(self._lows, bound) - 1
        if bound == self._lows[block]:
            return self._places[block]
        return self._places[block] + bisect_left(self._load(block).items, Item(*bound))

    def sum(self, begin: int, end: int) -> int:
        """The `sum_of` the ids from place ``begin`` to before place ``end``."""
        return added(self._sum_before(end), -self._sum_before(begin))

    def _sum_before(self, place: int) -> int:
        block = self._block_at(place)
        before, past = self._sums[block], place - self._places[block]
        return added(before, self._load(block).sums[past]) if past else before

    def _block_at(self, place: int) -> int:
        return bisect_right(self._places, place) - 1

    def _load(self, block: int) -> _Loaded:
        loaded = self._loaded.pop(block, None)
        if loaded is None:
            end = self._lows[block + 1] if block + 1 < len(self._lows) else None
            items = _read(self._connection, self._number, self._lows[block], end=end)
            numbers = (int.from_bytes(item.id, "little") for item in items)
            loaded = _Loaded(items, list(accumulate(numbers, initial=0)))
            if len(self._loaded) == _KEPT:
                del self._loaded[next(iter(self._loaded))]
        self._loaded[block] = loaded
        return loaded


class StoredSnapshot:
    """Every set and the log behind it within one transaction (`hub.sync.protocol.session.Snapshot`)."""

    def __init__(self, connection: sqlite3.Connection, index: LogIndex | None = None) -> None:
        """``index`` is kept by whoever looks up ids often; one is made where there is none."""
        self._connection = connection
        self._index = index or LogIndex()
        self._caught_up = False
        self._views: dict[SetKey, StoredSet] = {}
        self._numbers: dict[SetKey, int | None] = {}

    def summary(self, key: SetKey) -> tuple[bytes, int]:
        """Fingerprint and size of a set."""
        return fingerprint_of(self.view(key))

    def view(self, key: SetKey) -> StoredSet:
        """The set to read; empty when nothing is in it."""
        if key not in self._views:
            self._views[key] = StoredSet(self._connection, key)
        return self._views[key]

    def find(self, key: SetKey, item: Item) -> Entry | None:
        """Where the log has an item of a set, and how soon its record is sent."""
        return find(self._connection, key, item)

    def entry(self, key: SetKey, record_id: bytes) -> Entry | None:
        """What `find` gives for the item of a set with that id: a neighbour that wants one names no stamp."""
        n = self._place(record_id)
        record = _record(self._connection, n) if n is not None else None
        if n is None or record is None:
            return None
        has = "SELECT 1 FROM set_item WHERE (shared_set, ts, id) = (?, ?, ?)"
        item = self._number_of(key), record.header.stamp.ms, record_id
        is_in = self._connection.execute(has, item).fetchone() is not None
        return Entry(n, urgency_of(record)) if is_in else None

    def lacks(self, record_id: bytes) -> bool:
        """Whether a record is neither in the log nor waiting, so that a neighbour is asked for it."""
        if self._place(record_id) is not None:
            return False
        waiting = "SELECT 1 FROM waiting_record WHERE id = ?"
        return self._connection.execute(waiting, (record_id,)).fetchone() is None

    def wire(self, n: int) -> WireRecord | None:
        """The record at a place in the log as it travels."""
        return wire(self._connection, n)

    def shared_sets(self) -> list[SetKey]:
        """The sets that hold anything."""
        return shared_sets(self._connection)

    def items_since(self, key: SetKey, since_ms: int = 0) -> Iterator[tuple[Item, int]]:
        """The items of a set from a stamp (Unix ms) on, each with its record's place in the log."""
        return items_since(self._connection, key, since_ms)

    def _number_of(self, key: SetKey) -> int | None:
        if key not in self._numbers:
            self._numbers[key] = _number(self._connection, key)
        return self._numbers[key]

    def _place(self, record_id: bytes) -> int | None:
        if not self._caught_up:
            self._index.catch_up(self._connection)
            self._caught_up = True
        return self._index.find(self._connection, record_id)


class _Loaded(NamedTuple):
    """A block's items, and the (unbounded) sum of the ids before each of them and after the last."""

    items: list[Item]
    sums: list[int]


class _Block(NamedTuple):
    """A run of items from ``low`` on. Those of the newest are neither counted (None) nor summed (0)."""

    low: Bound
    size: int | None
    sum: int


_FROM: Final = "FROM set_item WHERE shared_set = ? AND (ts, id) >= (?, ?)"


def _week_of(exp_ms: int) -> int:
    """The week (of 1970's, from Thursdays on) on whose Monday a record leaves."""
    return leaves_at(exp_ms) // _WEEK_MS


def _last_week(now_ms: int) -> int:
    """The week of the last such Monday: exactly one lies in the seven days up to now."""
    return leaves_at(now_ms + 1 - 2 * _WEEK_MS) // _WEEK_MS


def _swept(connection: sqlite3.Connection) -> int | None:
    """The last week whose records have left; None while the sets are still to be made."""
    week: int | None = connection.execute("SELECT week FROM set_week").fetchone()[0]
    return week


def _number(connection: sqlite3.Connection, key: SetKey) -> int | None:
    """The number of a set; None while nothing ever was in it."""
    row = connection.execute("SELECT n FROM shared_set WHERE (stream, origin) = (?, ?)", key).fetchone()
    return row[0] if row else None


def _number_or_new(connection: sqlite3.Connection, key: SetKey) -> int:
    """The number of a set, which gets one, and its first block, when something comes into it."""
    number = _number(connection, key)
    if number is None:
        (number,) = connection.execute(
            "INSERT INTO shared_set (stream, origin) VALUES (?, ?) RETURNING n", key
        ).fetchone()
        _put(connection, number, _Block(ZERO, None, 0))
    return number


def _blocks(connection: sqlite3.Connection, number: int) -> list[_Block]:
    rows = connection.execute(f"{_COLUMNS} WHERE shared_set = ? ORDER BY ts, id", (number,))
    return [_block(row) for row in rows]


def _block_of(connection: sqlite3.Connection, number: int, item: Item) -> _Block:
    """The block an item belongs to."""
    return _block(
        connection.execute(
            f"{_COLUMNS} WHERE shared_set = ? AND (ts, id) <= (?, ?) ORDER BY ts DESC, id DESC LIMIT 1",
            (number, *item),
        ).fetchone()
    )


_COLUMNS: Final = "SELECT ts, id, count, sum FROM set_block"


def _block(row: tuple[int, bytes, int | None, bytes | None]) -> _Block:
    ts, low, count, total = row
    return _Block(Bound(ts, low), count, int.from_bytes(total or b"", "little"))


def _put(connection: sqlite3.Connection, number: int, block: _Block) -> None:
    total = None if block.size is None else block.sum.to_bytes(ID_BYTES, "little")
    connection.execute(
        "INSERT OR REPLACE INTO set_block VALUES (?, ?, ?, ?, ?)", (number, *block.low, block.size, total)
    )


def _read(
    connection: sqlite3.Connection, number: int, low: Bound, limit: int = -1, end: Bound | None = None
) -> list[Item]:
    """Items from ``low`` on in order: to before ``end``, and at most ``limit``."""
    before, bounds = ("", ()) if end is None else (" AND (ts, id) < (?, ?)", end)
    rows = connection.execute(
        f"SELECT ts, id {_FROM}{before} ORDER BY ts, id LIMIT ?", (number, *low, *bounds, limit)
    )
    return [Item(*row) for row in rows]


def _count(connection: sqlite3.Connection, number: int, low: Bound) -> int:
    """How many items there are from ``low`` on."""
    return int(connection.execute(f"SELECT count(*) {_FROM}", (number, *low)).fetchone()[0])


def _make_blocks(connection: sqlite3.Connection, number: int, low: Bound = ZERO) -> None:
    """Make the blocks from ``low`` on again, as if the items had come in order."""
    connection.execute("DELETE FROM set_block WHERE shared_set = ? AND (ts, id) >= (?, ?)", (number, *low))
    newest: list[Item] = []
    for row in connection.execute(f"SELECT ts, id {_FROM} ORDER BY ts, id", (number, *low)):
        newest.append(Item(*row))
        if len(newest) == 2 * BLOCK:
            _put(connection, number, _Block(low, BLOCK, sum_of(item.id for item in newest[:BLOCK])))
            del newest[:BLOCK]
            low = Bound(*newest[0])
    _put(connection, number, _Block(low, None, 0))
