"""Hubs that were apart, joined directly in this process: bytes and round trips are exact, and so is the order.

Bytes are those of the frames, without the WebSocket and the TLS around them. Only seconds are this machine's.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import cast

from hub.domain.admission import Source
from hub.domain.clock import TimeQuality
from hub.domain.files import CollectionDraft, FileDraft, Licence, MayAdd
from hub.domain.ids import Epoch, ObjectId
from hub.domain.neighbours import Card
from hub.domain.notices import BlobRef, NoticeDraft, Scope
from hub.domain.records import Record, RecordType, decode_header
from hub.domain.sharing import DEFAULT_CHOICES
from hub.services.identity import Identity, identity_of
from hub.services.ingest import admit, verify_all
from hub.services.publishing import publish_collection, publish_file, publish_notice, retract
from hub.storage import journal, neighbours, sets
from hub.storage.database import connect
from hub.storage.journal import Pen
from hub.storage.log_index import LogIndex
from hub.storage.migrate import migrate
from hub.sync.protocol.fetching import id_of
from hub.sync.protocol.frames import Records, decode
from hub.sync.protocol.session import End, Ingest, InStep, Moment, Offer, Send, Session
from tests.bench.figures import Figure
from tests.bench.street import DAY_MS, Ground, now_ms, wordy
from tests.unit.sync import halls

HUBS, SHARED, NEW = 10, 2_000, 200
"""Of the line: what all have, and what each wrote since."""
DAYS, ITEMS, ERASED, FILES = 90, 50, 30, 5
"""Three months: items a day and hub, of which so many are files; erased are notices that both have."""
FILE_BYTES = 2_000_000_000 // (DAYS * FILES * 2)
TOGETHER = 1_000
"""Notices that both had before."""


def run(ground: Ground) -> list[Figure]:
    """A line of ten, and two that hear of each other after three months."""
    return [
        *_line("what each wrote while they were apart", _apart),
        *_line("live", _live),
        *_months(ground.work),
    ]


# --- ten hubs in a line -------------------------------------------------------------------------------------


def _line(what: str, scenario: Callable[[list[halls.Hall]], list[halls.Line]]) -> list[Figure]:
    street = [halls.Hall(f"hall {number}") for number in range(HUBS)]
    shared = [halls.record(number, body=bytes(400)) for number in range(SHARED)]
    for hall in street:
        for each in shared:
            hall.keep(each)
    lines = scenario(street)
    everything = {each for hall in street for each in hall.held}
    assert all(len(hall.held) == len(everything) == SHARED + HUBS * NEW for hall in street)
    delivered = sum(len(hall.arrived) for hall in street)
    crossings = Counter[tuple[int, str, bytes]]()
    overhead = 0
    for number, line in enumerate(lines):
        for sender, data in line.sent:
            frame = decode(data, lowest=1, highest=1)
            overhead += len(data)
            if isinstance(frame, Records):
                overhead -= sum(each.size for each in frame.records)
                crossings.update((number, sender.name, id_of(each)) for each in frame.records)
    again = max(Counter(each for each in hall.arrived).most_common(1)[0][1] for hall in street)
    name = f"{HUBS} hubs in a line, {what}"
    note = f"{delivered:,} delivered; all that is not the records themselves, of all links"
    return [
        Figure("apart", f"{name}: bytes a record delivered", overhead / delivered, "B", "<=80", note),
        Figure(
            "apart", f"{name}: most times a record crossed a link one way", max(crossings.values()), "", "<=1"
        ),
        Figure("apart", f"{name}: most times a hub received a record", again, "", "<=1"),
    ]


def _apart(street: list[halls.Hall]) -> list[halls.Line]:
    for place, hall in enumerate(street):
        for number in range(NEW):
            hall.keep(halls.record(SHARED + place * NEW + number, body=bytes(400)))
    lines = _joined(street)
    _settle(lines)
    return lines


def _live(street: list[halls.Hall]) -> list[halls.Line]:
    lines = _joined(street)
    _settle(lines)
    for number in range(NEW):
        for place, hall in enumerate(street):
            hall.write(halls.record(SHARED + place * NEW + number, body=bytes(400)))
        _settle(lines)
    return lines


def _joined(street: list[halls.Hall]) -> list[halls.Line]:
    clock = halls.Clock()
    return [halls.Line(one, other, clock) for one, other in pairwise(street)]


def _settle(lines: Sequence[halls.Line]) -> None:
    """Until nothing is on the way; every link carries a frame in turn."""
    while sum(line.carry(0) + line.carry(1) for line in lines):
        pass


# --- three months apart -------------------------------------------------------------------------------------


@dataclass
class Side:
    """A hub with a database on the disk and a session."""

    name: str
    identity: Identity
    connection: sqlite3.Connection
    chance: random.Random
    index: LogIndex = field(default_factory=LogIndex)
    session: Session = field(init=False)
    frames: deque[bytes] = field(default_factory=deque)
    """On the way here."""
    in_step: bool = False

    def write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Run ``work`` in a transaction."""
        self.connection.execute("BEGIN IMMEDIATE")
        work(self.connection)
        self.connection.execute("COMMIT")

    def pen(self, at_ms: int) -> Pen:
        """To write at a time."""
        return Pen(self.identity.sign, at_ms, TimeQuality.CARETAKER)

    def knows(self, other: Side, at_ms: int) -> None:
        """Pair with another."""
        card = Card(other.identity.hub, other.name, "moss", b"certificate", (), DEFAULT_CHOICES)
        self.write(lambda connection: neighbours.add(connection, card, DEFAULT_CHOICES, at_ms))


def _months(work: Path) -> list[Figure]:
    now = now_ms()
    apart_ms = now - DAYS * DAY_MS
    one, other = (_founded(work / f"apart-{name}.db", name, apart_ms) for name in ("mill-lane", "oakfield"))
    with closing(one.connection), closing(other.connection):
        for side, far in ((one, other), (other, one)):
            side.knows(far, apart_ms - DAY_MS)
        drafts = [draft for _, draft in wordy(TOGETHER)]
        common = _written_together(one, other, drafts, apart_ms)
        for side in (one, other):
            _written_apart(side, drafts, apart_ms, now)
        erased = one.chance.sample(common, ERASED)
        for obj in erased:
            one.write(lambda connection, obj=obj: retract(connection, one.pen(now), obj))  # type: ignore[misc]
        began = time.perf_counter()
        talk = Conversation(one, other, now)
        talk.run()
        seconds = time.perf_counter() - began
        _must_be_equal(one, other, erased)
    came = DAYS * ITEMS * 2 + ERASED + 2
    what = f"{DAYS} days x {ITEMS} items on either side, {ERASED} erasures, 2 GB of files listed"
    each = talk.bytes / came
    return [
        Figure(
            "apart",
            f"{what}: seconds",
            seconds,
            "s",
            "",
            f"{came:,} records both ways, in one process, on the disk",
        ),
        Figure(
            "apart",
            f"{what}: megabytes",
            talk.bytes / 1e6,
            "MB",
            "",
            f"{each:,.0f} B a record, {talk.overhead / came:,.0f} of them not the record's",
        ),
        Figure(
            "apart",
            f"{what}: round trips",
            talk.trips,
            "",
            "",
            f"erased at the other hub after {talk.erased_after}",
        ),
        Figure("apart", f"{what}: records before the last erasure came", talk.before_erasures, "", "<=0"),
    ]


class Conversation:
    """Two sides' sessions; frames of one direction travel together."""

    def __init__(self, one: Side, other: Side, now: int) -> None:
        self._sides = (one, other)
        self._now = now
        self.bytes = self.overhead = self.trips = self.erased_after = self.before_erasures = 0
        self.kinds: list[str] = []
        """What came to the second, in its order."""
        for side, far, dialled in ((one, other, True), (other, one, False)):
            offer = Offer("bench", side.name, "moss", TimeQuality.CARETAKER, DEFAULT_CHOICES)
            side.session = Session(side.identity.hub, far.identity.hub, dialled=dialled, offer=offer)
        for side in self._sides:
            self._do(side, side.session.begin(self._snapshot(side), self._moment()))

    def run(self) -> None:
        """Until both hold the same."""
        flights = 0
        while any(side.frames for side in self._sides):
            for side in self._sides:
                frames, side.frames = side.frames, deque()
                flights += bool(frames)
                for frame in frames:
                    self._do(side, side.session.receive(frame, self._snapshot(side), self._moment()))
                    self.trips = (flights + 1) // 2
        assert all(side.in_step for side in self._sides)
        self.trips = (flights + 1) // 2

    def _do(self, side: Side, effects: Iterable[object]) -> None:
        far = self._sides[side is self._sides[0]]
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            assert not isinstance(effect, End), effect
            if isinstance(effect, Send):
                far.frames.append(effect.frame)
                self.bytes += len(effect.frame)
                self.overhead += len(effect.frame)
            elif isinstance(effect, InStep):
                side.in_step = effect.equal
            elif isinstance(effect, Ingest):
                self._note(side, effect)
                waiting.extend(self._ingested(side, far, effect))

    def _ingested(self, side: Side, far: Side, effect: Ingest) -> list[object]:
        records = [cast(Record, each) for each in verify_all(effect.records)]
        found = []
        side.write(
            lambda connection: found.append(
                admit(connection, records, Source(far.identity.hub), self._now, TimeQuality.CARETAKER)
            )
        )
        assert not found[0].refused, found[0].refused[:3]
        assert not found[0].waiting
        return list(side.session.stored(found[0], self._snapshot(side), self._moment()))

    def _note(self, side: Side, effect: Ingest) -> None:
        self.overhead -= sum(each.size for each in effect.records)
        if side is self._sides[1]:
            for each in effect.records:
                kind = decode_header(each.header).type
                if kind == RecordType.RETRACT:
                    self.erased_after = self.trips
                    self.before_erasures = sum(kind != RecordType.RETRACT for kind in self.kinds)
                self.kinds.append(kind)

    def _snapshot(self, side: Side) -> sets.StoredSnapshot:
        return sets.StoredSnapshot(side.connection, side.index)

    def _moment(self) -> Moment:
        return Moment(self._now, 1000.0)


def _founded(path: Path, name: str, at_ms: int) -> Side:
    path.unlink(missing_ok=True)
    chance = random.Random(name)
    side = Side(name, identity_of(chance.randbytes(32)), connect(path), chance)
    migrate(side.connection, at_ms, "bench")
    side.write(lambda connection: journal.found(connection, side.identity.hub, Epoch(chance.randbytes(8))))
    return side


def _written_together(one: Side, other: Side, drafts: Sequence[NoticeDraft], at_ms: int) -> list[ObjectId]:
    """Notices of the first that the second has taken in."""
    objects = [ObjectId(one.chance.randbytes(16)) for _ in range(TOGETHER)]

    def publish(connection: sqlite3.Connection) -> None:
        for number, (obj, draft) in enumerate(zip(objects, drafts, strict=True)):
            publish_notice(
                connection, one.pen(at_ms - TOGETHER + number), obj, draft, one.chance.randbytes(16)
            )

    def take(connection: sqlite3.Connection) -> None:
        records = [logged.record for obj in objects for logged in journal.versions(one.connection, obj)]
        admit(connection, records, Source(one.identity.hub), at_ms, TimeQuality.CARETAKER)

    one.write(publish)
    other.write(take)
    return objects


def _written_apart(side: Side, drafts: Sequence[NoticeDraft], from_ms: int, until_ms: int) -> None:
    """What residents put up while the cable was pulled; none of it has ended yet."""
    end_ms, chance, shelf = until_ms + 60 * DAY_MS, side.chance, ObjectId(side.chance.randbytes(16))
    step_ms = DAY_MS // ITEMS

    def publish(connection: sqlite3.Connection) -> None:
        films = CollectionDraft("Films", "", "en", "", MayAdd.EVERYONE, Licence.ASK, 0, Scope.NETWORK, end_ms)
        publish_collection(connection, side.pen(from_ms), shelf, films, bytes(16))
        for number in range(DAYS * ITEMS):
            pen, obj, salt = (
                side.pen(from_ms + number * step_ms),
                ObjectId(chance.randbytes(16)),
                chance.randbytes(16),
            )
            draft = drafts[number % len(drafts)]
            if number % ITEMS < FILES:
                blob = BlobRef(chance.randbytes(32).hex(), FILE_BYTES, chance.randbytes(32).hex())
                film = FileDraft(f"{draft.title}.mp4", blob, "", "en", Scope.NETWORK, end_ms)
                publish_file(connection, pen, obj, film, shelf, salt)
            else:
                publish_notice(connection, pen, obj, draft, salt)

    side.write(publish)


def _must_be_equal(one: Side, other: Side, erased: Iterable[ObjectId]) -> None:
    """The same records on both, and of what was erased no words."""
    records = [set(side.connection.execute("SELECT id FROM record").fetchall()) for side in (one, other)]
    assert records[0] == records[1]
    for obj in erased:
        for side in (one, other):
            assert all(logged.record.body is None for logged in journal.versions(side.connection, obj))
