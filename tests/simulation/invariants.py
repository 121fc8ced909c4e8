"""What must hold, as sentences; each function finds what breaks its sentence.

`check` is for a town at rest: nothing is on the way, every honest hub has heard what the others say, and
Mallory keeps still. `check_one` is for any moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from hub.domain import cbor
from hub.domain.clock import MAX_AHEAD_MS
from hub.domain.ids import HubId
from hub.domain.notices import Scope
from hub.domain.policy import leaves_at
from hub.domain.reconcile import ID_BYTES
from hub.domain.records import CONTENT_TYPES, Header
from hub.domain.sharing import SetKey
from hub.domain.status import status_object
from hub.storage import arrivals, journal, sets
from hub.storage.projections import rebuild
from hub.sync.protocol.frames import OFFERED, RECORDS
from tests.simulation.hall import QUOTAS
from tests.simulation.machine import opened

if TYPE_CHECKING:
    from tests.simulation.hall import Hall
    from tests.simulation.town import Town

SAME_SET = "Hubs that are joined hold the same of what they share"
NOTHING_SCOPED_LEAKS = "Nothing is said to or kept by anybody for whom it is not meant"
NOTHING_ERASED_RETURNS = "What was erased where its erasure has come has no words there ever again"
EACH_RECORD_COMES_ONCE = "Each record comes to each hub once, for as long as any hub keeps it"
PAGES_FOLLOW_THE_LOG = "What pages and sets show is what the log says"
EXPIRED_LEAVES_ALIKE = "What has expired is in no set and leaves every log"
NOBODY_SPEAKS_FOR_ANOTHER = "What stands in an honest hub's name was written by it"
A_SHARE_AND_NO_MORE = "A hostile hub fills its share and no more"
COPIES_ARE_NOTICED = "Two records with one number are noticed"
NOBODY_TURNS_OUR_CLOCK = "No other hub moves this one's clock far"
HONEST_HUBS_GET_ALONG = "Hubs that keep the rules do not end sessions over them"
EVERYBODY_READS_THE_SAME = "A notice that everybody may read is the same on every board"


def check(town: Town) -> None:
    """Everything, of a town at rest; raises `Broken`."""
    from tests.simulation.town import Broken

    for hall in town.halls:
        check_one(town, hall)
        _raise(PAGES_FOLLOW_THE_LOG, hall, pages_that_differ(town, hall))
    for sentence, find in _AT_REST:
        for fault in find(town):
            raise Broken(sentence, fault)


def check_one(town: Town, hall: Hall) -> None:
    """What holds of one honest hub at any moment; raises `Broken`."""
    for sentence, find in _ALWAYS:
        _raise(sentence, hall, find(town, hall))


def _raise(sentence: str, hall: Hall, faults: Iterator[str]) -> None:
    from tests.simulation.town import Broken

    for fault in faults:
        raise Broken(sentence, f"{hall.name}: {fault}")


# --- at rest ----------------------------------------------------------------------------------------


def differences(town: Town) -> Iterator[str]:
    """Hubs that are joined hold the same of what they share.

    What the network shares of a stream is the same at all hubs that are joined by hubs which exchange it;
    what a hub tells its neighbours is the same there and at each of them. Left aside is what a hostile hub
    wrote with a stamp that has not come: hubs that did not know the time may have taken it.
    """
    streams = {key.stream for pair in town.pairs.values() for key in town.sets_of(pair)}
    held = {hall.hub: _items(town, hall) for hall in town.halls}
    for pair in _honest_pairs(town):
        for key in town.sets_of(pair):
            if key.stream in streams:
                one, other = held[pair.one][key], held[pair.other][key]
                if one != other:
                    names = town.name_of(pair.one), town.name_of(pair.other)
                    yield (
                        f"{key.stream} of {key.origin.hex()[:8] or 'all'}: only {names[0]} has"
                        f" {_some(one - other)}, only {names[1]} has {_some(other - one)}"
                    )


def expired_that_stays(town: Town) -> Iterator[str]:
    """What has expired is in no set and leaves every log, by what housekeeping does in one go."""
    for hall in town.halls:
        now_ms = hall.clock.now_ms()
        connection = hall.card.connection
        if sets.must_sweep(connection, now_ms):
            continue  # housekeeping has not run since Monday
        expected: dict[SetKey, set[bytes]] = defaultdict(set)
        for record_id, data in connection.execute("SELECT id, header FROM record"):
            header = town.ledger.header(record_id, data)
            key = _set_of(header)
            if key is not None and leaves_at(header.exp) > now_ms:
                expected[key].add(record_id)
        found = {key: ids for key, ids in _items(town, hall, everything=True).items() if ids}
        if found != dict(expected):
            for key in found.keys() | expected.keys():
                more, fewer = found.get(key, set()) - expected[key], expected[key] - found.get(key, set())
                if more or fewer:
                    yield f"{hall.name}, {key.stream}: {_some(more)} too many, {_some(fewer)} missing"
        for fault in sets.faults(connection):
            yield f"{hall.name}: {fault}"


def what_is_read(town: Town) -> Iterator[str]:
    """A notice that everybody may read is the same on every board.

    Where nobody is hostile (one who is may pass records on without their words), and no caretaker erased
    it for one hub only.
    """
    if town.mallory is not None:
        return
    for pair in _honest_pairs(town):
        if not any(key == SetKey("notices", b"") for key in town.sets_of(pair)):
            continue
        [one], [other] = town.machines(pair.one), town.machines(pair.other)
        boards = _board(town, one), _board(town, other)
        for obj in boards[0].keys() | boards[1].keys():
            aside = obj in town.ledger.touched or not (
                _all_shared(town, one, obj) and _all_shared(town, other, obj)
            )
            if boards[0].get(obj) != boards[1].get(obj) and not aside:
                yield f"{obj.hex()[:8]} of {one.name}, {other.name}: {[board.get(obj) for board in boards]}"


def _board(town: Town, hall: Hall) -> dict[bytes, tuple[Any, ...]]:
    rows = hall.card.connection.execute(
        "SELECT notice.obj, record.id, record.header, record.body IS NULL, state"
        " FROM notice JOIN record ON record.n = notice.record WHERE exp_ms > ?",
        (town.world.ms,),
    )
    return {
        obj: (record_id.hex()[:8], bodiless, state)
        for obj, record_id, data, bodiless, state in rows
        if town.ledger.header(record_id, data).scope is Scope.NETWORK
    }


def _all_shared(town: Town, hall: Hall, obj: bytes) -> bool:
    rows = hall.card.connection.execute("SELECT id, header FROM record WHERE obj = ?", (obj,))
    return all(town.ledger.header(*row).scope is Scope.NETWORK for row in rows)


def _honest_pairs(town: Town) -> list[Any]:
    return [pair for pair in town.pairs.values() if town.outlaw not in (pair.one, pair.other)]


def _items(town: Town, hall: Hall, *, everything: bool = False) -> dict[SetKey, set[bytes]]:
    found: dict[SetKey, set[bytes]] = defaultdict(set)
    latest_ms = town.world.ms + MAX_AHEAD_MS
    for stream, origin, ts, record_id in hall.card.connection.execute(
        "SELECT stream, shared_set.origin, ts, set_item.id FROM set_item"
        " JOIN shared_set ON shared_set.n = shared_set"
    ):
        if everything or ts <= latest_ms or town.ledger.headers[record_id].hub != town.outlaw:
            found[SetKey(stream, origin)].add(record_id)
    return found


def _set_of(header: Header) -> SetKey | None:
    """`hub.domain.sharing.set_of`, written down once more."""
    if header.scope is Scope.HUB:
        return None
    return SetKey(header.stream, b"" if header.scope is Scope.NETWORK else header.hub)


# --- of one hub -------------------------------------------------------------------------------------


def leaks(town: Town, hall: Hall) -> Iterator[str]:
    """Nothing is kept by anybody for whom it is not meant."""
    for table in ("record", "waiting_record"):
        for record_id, data in hall.card.connection.execute(f"SELECT id, header FROM {table}"):  # noqa: S608
            header = town.ledger.header(record_id, data)
            if header.hub == hall.hub or header.scope is Scope.NETWORK:
                continue
            if header.scope is Scope.HUB or town.pair(header.hub, hall.hub) is None:
                yield f"{table} {record_id.hex()[:8]} of {town.name_of(header.hub)} is for {header.scope}"


def leaks_of(town: Town, sender: HubId, to: HubId, frame: bytes) -> Iterator[str]:
    """Nothing is said to anybody for whom it is not meant."""
    if not frame or frame[0] not in (RECORDS, OFFERED):
        return
    pair = town.pair(sender, to)
    agreed = set(town.sets_of(pair)) if pair else set()
    said = cbor.decode(frame[1:])  # whoever wants an id twice is told twice, which no honest hub would read
    if frame[0] == RECORDS:
        told = [(sha256(header + signature).digest(), header) for header, signature, _ in said[0]]
    else:
        told = [(said[1][at : at + ID_BYTES], b"") for at in range(0, len(said[1]), ID_BYTES)]
    for record_id, data in told:
        if record_id in town.ledger.headers or data:
            key = _set_of(town.ledger.header(record_id, data))
            if key not in agreed:
                yield f"{record_id.hex()[:8]} of {key} to {town.name_of(to)}"


def words_of_the_erased(town: Town, hall: Hall) -> Iterator[str]:
    """What was erased where its erasure has come has no words there ever again.

    Left aside is what every hub has dropped, its erasure too: a hub that does not know the time takes it from
    a hostile one, shows it nowhere, and drops it once more when it knows.
    """
    hall.look_for_erasures(town.ledger.header)
    for table in ("record", "waiting_record"):
        for record_id, data in hall.card.connection.execute(
            f"SELECT id, header FROM {table} WHERE body IS NOT NULL"  # noqa: S608
        ):
            header = town.ledger.header(record_id, data)
            returned = (header.hub, header.obj) in hall.erased and header.type in CONTENT_TYPES
            if returned and leaves_at(header.exp) > town.world.ms:
                yield f"{record_id.hex()[:8]} in {table}"


def words_left(town: Town, hall: Hall, erasure: Header) -> Iterator[str]:
    """No words are left, nor wait, of what an erasure erased that has just come."""
    for table in ("record", "waiting_record"):
        for record_id, data in hall.card.connection.execute(
            f"SELECT id, header FROM {table} WHERE obj = ? AND body IS NOT NULL",  # noqa: S608
            (erasure.obj,),
        ):
            header = town.ledger.header(record_id, data)
            if header.hub == erasure.hub and header.type in CONTENT_TYPES:
                yield f"{record_id.hex()[:8]} in {table}"


def forgeries(town: Town, hall: Hall) -> Iterator[str]:
    """What stands in an honest hub's name was written by it."""
    for record_id, data, body in hall.card.connection.execute("SELECT id, header, body FROM record"):
        header = town.ledger.header(record_id, data)
        if header.hub == town.outlaw:
            continue
        if record_id not in town.ledger.genuine:
            yield f"{record_id.hex()[:8]} of {town.name_of(header.hub)}"
        elif body is not None and body != town.ledger.bodies[record_id]:
            yield f"the words of {record_id.hex()[:8]}"


def shares(town: Town, hall: Hall) -> Iterator[str]:
    """A hostile hub fills its share and no more: of a day's records, and of what waits.

    Beyond its share it may erase what it wrote, once each.
    """
    outlaw = town.outlaw
    if outlaw is None:
        return
    connection = hall.card.connection
    count, size = connection.execute(
        "SELECT count(*), coalesce(sum(length(header) + length(signature) + coalesce(length(body), 0)), 0)"
        " FROM waiting_record WHERE neighbour = ?",
        (outlaw,),
    ).fetchone()
    if count > QUOTAS.waiting_records or size > QUOTAS.waiting_size:
        yield f"{count} records wait"
    (objects,) = connection.execute("SELECT count(DISTINCT obj) FROM record").fetchone()
    for (number, _, day), taken in town.ledger.taken.items():
        if number == id(hall) and taken > QUOTAS.records + objects:
            yield f"{taken} records on day {day}, of {objects} objects"


def unnoticed_copies(town: Town, hall: Hall) -> Iterator[str]:
    """Two records with one number are noticed, where another hub's or the present epoch's."""
    connection = hall.card.connection
    own = journal.lineage(connection)
    seen: dict[tuple[HubId, bytes, int], bytes] = {}
    for record_id, data in connection.execute("SELECT id, header FROM record"):
        header = town.ledger.header(record_id, data)
        if header.hub == own.hub:
            continue
        number = header.hub, header.epoch, header.seq
        is_known = arrivals.fork_of(connection, header.hub, header.epoch) is not None
        if seen.setdefault(number, record_id) != record_id and not is_known:
            yield f"{town.name_of(header.hub)} number {header.seq}"


def clocks_that_were_moved(town: Town, hall: Hall) -> Iterator[str]:
    """No other hub moves this one's clock far."""
    stamp_ms = journal.last_stamp(hall.card.connection).ms
    if stamp_ms > hall.clock.highest_ms + MAX_AHEAD_MS:
        yield f"{(stamp_ms - hall.clock.highest_ms) / 1000:.0f} s ahead of what it ever believed"


_COMPARED = ("notice", "reply", "collection", "file", "blob_use", "hub_status", "retraction", "set_item")


def pages_that_differ(town: Town, hall: Hall) -> Iterator[str]:
    """What pages and sets show is what the log says: a rebuild changes nothing."""
    with closing(opened(hall.card.copy())) as connection:
        before = {table: _rows(connection, table) for table in _COMPARED}
        connection.execute("BEGIN")
        rebuild(connection)
        connection.execute("COMMIT")
        for table, rows in before.items():
            after = _rows(connection, table)
            if table == "hub_status":  # the words of one may go with what stands under its object
                rows = {row for row in rows if status_object(row[0]) not in town.ledger.touched}
                after = {row for row in after if status_object(row[0]) not in town.ledger.touched}
            if rows != after:
                yield f"{table}: {_some(rows - after)} became {_some(after - rows)}"


def _rows(connection: Any, table: str) -> set[tuple[Any, ...]]:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    kept = ", ".join(column for column in columns if column != "key")
    return set(connection.execute(f"SELECT {kept} FROM {table}"))  # noqa: S608


def _some(found: set[Any]) -> str:
    shown = [each.hex()[:8] if isinstance(each, bytes) else str(each) for each in sorted(found, key=repr)[:4]]
    return f"{len(found)} {shown}" if found else "none"


_AT_REST: list[tuple[str, Callable[[Town], Iterator[str]]]] = [
    (EXPIRED_LEAVES_ALIKE, expired_that_stays),
    (SAME_SET, differences),
    (EVERYBODY_READS_THE_SAME, what_is_read),
]
_ALWAYS: list[tuple[str, Callable[[Town, Hall], Iterator[str]]]] = [
    (NOTHING_SCOPED_LEAKS, leaks),
    (NOTHING_ERASED_RETURNS, words_of_the_erased),
    (NOBODY_SPEAKS_FOR_ANOTHER, forgeries),
    (A_SHARE_AND_NO_MORE, shares),
    (COPIES_ARE_NOTICED, unnoticed_copies),
    (NOBODY_TURNS_OUR_CLOCK, clocks_that_were_moved),
]
