"""The one way in for records of other hubs, whether a neighbour sends them or a stick brings them.

Record by record, and any number of times: what is here already changes nothing, so whoever was cut off
begins again. `verify_all` is what costs, and is done outside the writer's thread; `admit` is one
transaction. Nothing of what it takes can break a page: `hub.domain.projection` and `hub.domain.legible`
decide what of it is shown.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from hub.domain.admission import (
    ORPHAN_MS,
    QUOTAS,
    Allowance,
    Outcome,
    Quotas,
    Refusal,
    Source,
    Standing,
    Stored,
    Wait,
    is_ahead,
    objection,
)
from hub.domain.bodies import NoticeBody
from hub.domain.clock import MAX_AHEAD_MS, MAX_MS, ZERO, TimeQuality
from hub.domain.errors import NoRoom, Refused
from hub.domain.ids import Epoch, HubId, ObjectId, RecordId, base32
from hub.domain.neighbours import PINNED, Tie
from hub.domain.notices import Kind
from hub.domain.policy import DAY_MS
from hub.domain.projection import Logged, owner, spent
from hub.domain.projection import Standing as Shown
from hub.domain.reconcile import Item
from hub.domain.records import (
    CONTENT_TYPES,
    Header,
    Record,
    RecordType,
    WireRecord,
    decode_header,
)
from hub.domain.sharing import ERASURES, SetKey, set_of, urgency
from hub.services.erasure import Eraser
from hub.services.proving import MANY, Read, prove_in_thread, proved
from hub.storage import (
    arrivals,
    authors,
    decisions,
    journal,
    moderation,
    neighbours,
    notices,
    retention,
    traces,
)
from hub.storage.arrivals import Fork, Pile
from hub.storage.database import Connection, Database
from hub.storage.journal import Pen
from hub.storage.projections import refresh

RELEASED_AT_ONCE = 200
"""Waiting records that one transaction looks at again."""
GATHER_S = 2.0
"""Erasures come one batch after the other: one wipe is for all of them."""
WIPE_PAUSE_S = 60.0
"""Between two wipes for erasures of other hubs: each writes the database anew."""
ROUND_S = 300.0


def verify_all(records: Iterable[WireRecord]) -> list[Record | Refused]:
    """Each of ``records`` as it was signed, or why it is none: size, canonical CBOR, hashes, signature."""
    found: list[Record | Refused] = []
    for record in records:
        try:
            found.append(proved(record, decode_header(record.header)))
        except Refused as refused:
            found.append(refused)
    return found


def id_of(wire: WireRecord) -> RecordId:
    """The id that a record has if it is genuine."""
    return RecordId(hashlib.sha256(wire.header + wire.signature).digest())


def admit(
    connection: Connection,
    records: Sequence[Record],
    source: Source,
    now_ms: int,
    quality: TimeQuality,
    quotas: Quotas = QUOTAS,
) -> Outcome:
    """Take verified ``records`` that ``source`` brings into the log, in one transaction of the caller's.

    ``now_ms`` and ``quality`` are this hub's time and how far it can be trusted. Pages, search and sets
    are in step afterwards. What was erased leaves traces, for `Eraser.wipe`.
    """
    desk = _Desk(connection, source, now_ms, quality, quotas)
    desk.read = journal.versions_of(connection, {record.header.obj for record in records})
    for record in records:
        desk.receive(record)
    return desk.close()


@dataclass(frozen=True, slots=True)
class _Change:
    """An object, what the log has of it, and what is to be in the log of what arrives."""

    obj: ObjectId
    before: dict[RecordId, Logged]
    arriving: dict[RecordId, Record]

    @property
    def new(self) -> list[Record]:
        """What the log does not have."""
        return [record for record_id, record in self.arriving.items() if record_id not in self.before]


@dataclass(slots=True)
class _Desk:
    """One batch: `receive` decides about each record, `close` writes what is taken."""

    connection: Connection
    source: Source
    now_ms: int
    quality: TimeQuality
    quotas: Quotas
    known: int = 0
    waiting: int = 0
    refused: list[tuple[RecordId, str]] = field(default_factory=list)
    taken: dict[RecordId, Record] = field(default_factory=dict)
    filled: dict[RecordId, Record] = field(default_factory=dict)
    """Records that were here without the body they bring now."""
    read: dict[ObjectId, list[Logged]] = field(default_factory=dict)
    """What the log has of an object."""
    branches: dict[tuple[HubId, Epoch], int] = field(default_factory=dict)
    met: dict[HubId, bool] = field(default_factory=dict)
    """Whether records of a hub were ever taken."""
    kept: dict[HubId, int] = field(default_factory=dict)
    """How many records of a hub the log has, with those of this batch."""
    erasing: set[tuple[HubId, ObjectId]] = field(default_factory=set)
    forks: dict[tuple[HubId, Epoch], Fork | None] = field(default_factory=dict)
    lineage: journal.Lineage = field(init=False)
    standing: Standing = field(init=False)
    allowance: Allowance = field(init=False)
    aside: tuple[int, int] = field(init=False)
    unwanted: frozenset[HubId] = field(init=False)
    kept_away: frozenset[ObjectId] = field(init=False)
    some_wait: bool = field(init=False)

    def __post_init__(self) -> None:
        connection, source = self.connection, self.source
        self.lineage = journal.lineage(connection)
        self.standing, joined_ms = _standing(connection, source, self.lineage.hub)
        brought = arrivals.delivered(connection, source.key, self.day)
        self.allowance = Allowance(
            self.quotas,
            joining=joined_ms is not None and 0 <= self.now_ms - joined_ms < DAY_MS,
            records=sum(records for records, _ in brought.values()),
            size=sum(size for _, size in brought.values()),
            origins=arrivals.introduced(connection, source.key, self.day),
            brought={hub: records for hub, (records, _) in brought.items()},
        )
        self.aside = arrivals.aside(connection, source.key)
        self.unwanted = neighbours.unwanted(connection)
        self.kept_away = moderation.kept_away(connection)
        self.some_wait = arrivals.anything_waits(connection)

    @property
    def day(self) -> int:
        """Which quotas count."""
        return self.now_ms // DAY_MS

    @property
    def is_full(self) -> bool:
        """Whether nothing more can be taken today, nor kept aside."""
        spent_up = self.allowance.records >= self.quotas.records or self.allowance.size >= self.quotas.size
        count, size = self.aside
        return spent_up and (count >= self.quotas.waiting_records or size >= self.quotas.waiting_size)

    def receive(self, record: Record) -> None:
        """Decide whether a record is taken, waits, or is refused."""
        record_id, header = record.id, record.header
        if record_id in self.taken or self.waits(record_id):
            self.known += 1
            return
        for logged in self._versions(header.obj):
            if logged.record.id == record_id:
                self.known += 1
                if logged.record.body is None and record.body is not None:
                    self.filled[record_id] = record
                return
        refusal = objection(header, self.standing, self.now_ms, self.quality)
        wait = None if refusal else self._must_wait(record)
        if wait is Refusal.FORKED:
            refusal, wait = Refusal.FORKED, None
        if isinstance(wait, Wait):
            refusal = self._keep_aside(record, wait)
        elif refusal is None:
            self.taken[record_id] = record
        if refusal is not None:
            self.refused.append((record_id, str(refusal)))

    def waits(self, record_id: RecordId) -> bool:
        """Whether a record was kept aside before."""
        return self.some_wait and arrivals.waits(self.connection, record_id)

    def close(self) -> Outcome:
        """Write what was taken."""
        by_object: dict[ObjectId, dict[RecordId, Record]] = {}
        for record_id, record in (*self.filled.items(), *self.taken.items()):
            by_object.setdefault(record.header.obj, {})[record_id] = record
        changes = [self._arrive(obj, records) for obj, records in by_object.items()]
        new = [record for change in changes for record in change.new]
        logged = journal.append_all(self.connection, new, self.now_ms)
        self._count(logged)
        by_id = {each.record.id: each for each in logged}
        stored = [each for change in changes for each in self._write(change, by_id)]
        self._account()
        return Outcome(tuple(stored), self.known, self.waiting, tuple(self.refused))

    # --- deciding ---------------------------------------------------------------------------------

    def _must_wait(self, record: Record) -> Wait | Refusal | None:
        """Why a record waits. An erasure of something that is here waits for nothing."""
        header, ours = record.header, record.header.hub == self.lineage.hub
        if self._erases(header):
            self.erasing.add((header.hub, header.obj))
            return None
        fork = self._fork(header)
        if fork is not None and not ours and fork.decided != "moved":
            return Refusal.FORKED if fork.decided else Wait.FORK
        new = not ours and not self._has_met(header.hub)
        if new and self.source.stick:
            return Wait.STRANGER
        if is_ahead(header, self.now_ms, self.quality):
            return Wait.FUTURE
        if self._has_enough(header) or not self.allowance.take(header.hub, _size(record), new=new, ours=ours):
            return Wait.QUOTA
        self.met[header.hub] = True
        return None

    def _fork(self, header: Header) -> Fork | None:
        branch = header.hub, header.epoch
        if branch not in self.forks:
            self.forks[branch] = arrivals.fork_of(self.connection, *branch)
        return self.forks[branch]

    def _has_met(self, hub: HubId) -> bool:
        if hub not in self.met:
            self.met[hub] = arrivals.is_known(self.connection, hub)
        return self.met[hub]

    def _erases(self, header: Header) -> bool:
        """Whether it is the first to erase something that is here."""
        if header.type != RecordType.RETRACT or (header.hub, header.obj) in self.erasing:
            return False
        types = {logged.record.header.type for logged in self._theirs(header)}
        return bool(types & CONTENT_TYPES) and RecordType.RETRACT not in types

    def _has_enough(self, header: Header) -> bool:
        """Whether the log has as much of a hub, or of one of its objects, as it may."""
        if header.hub == self.lineage.hub:
            return False
        if header.hub not in self.kept:
            self.kept[header.hub] = arrivals.kept_of(self.connection, header.hub)
        self.kept[header.hub] += 1
        most = self.quotas
        return self.kept[header.hub] > most.origin_kept or len(self._theirs(header)) >= most.versions

    def _theirs(self, header: Header) -> list[Logged]:
        """What the log has of an object by the hub that writes of it now."""
        return [logged for logged in self._versions(header.obj) if logged.record.header.hub == header.hub]

    def _versions(self, obj: ObjectId) -> list[Logged]:
        if obj not in self.read:
            self.read[obj] = journal.versions(self.connection, obj)
        return self.read[obj]

    def _keep_aside(self, record: Record, reason: Wait) -> Refusal | None:
        count, size = self.aside
        if count >= self.quotas.waiting_records or size + _size(record) > self.quotas.waiting_size:
            return Refusal.OVER_QUOTA
        erased = any(each.record.header.type == RecordType.RETRACT for each in self._theirs(record.header))
        if erased or self._may_not_speak(record.header):
            record = replace(record, body=None)
        arrivals.keep_aside(self.connection, self.source.key, reason, record, self.now_ms)
        self.some_wait = True
        self.aside = count + 1, size + _size(record)
        self.waiting += 1
        return None

    def _may_not_speak(self, header: Header) -> bool:
        """Whether only the header of a record is kept: its hub's words, or the object's, are unwanted."""
        ours = header.hub == self.lineage.hub
        return header.hub in self.unwanted or (header.obj in self.kept_away and not ours)

    # --- writing ----------------------------------------------------------------------------------

    def _arrive(self, obj: ObjectId, records: dict[RecordId, Record]) -> _Change:
        """What is to be logged of an object. A body that may not be kept is dropped before it reaches the
        card."""
        before = {logged.record.id: logged for logged in self._versions(obj)}
        arriving = {
            record_id: Logged(
                -1,
                replace(record, body=None) if self._may_not_speak(record.header) else record,
                self.now_ms,
            )
            for record_id, record in records.items()
        }
        for logged in spent([*{**before, **arriving}.values()]):
            if logged.n == -1:
                record = logged.record
                arriving[record.id] = replace(logged, record=replace(record, body=None))
        return _Change(obj, before, {record_id: each.record for record_id, each in arriving.items()})

    def _write(self, change: _Change, logged: Mapping[RecordId, Logged]) -> list[Stored]:
        """Show what the records of an object add up to: those from before, and the ``logged`` ones."""
        connection, obj, before = self.connection, change.obj, [*change.before.values()]
        after = dict(change.before)
        for record_id, record in change.arriving.items():
            known = change.before.get(record_id)
            if known is None:
                after[record_id] = logged[record_id]
            elif record.body is not None:
                journal.give_body(connection, known.n, record.body)
                after[record_id] = replace(known, record=record)
        new, versions = change.new, list(after.values())
        self._erase(obj, before, versions, [record.header for record in new])
        shown = refresh(connection, obj, versions, self.lineage.hub, new=not before)
        self._present(obj, before, shown)
        return [
            Stored(key, Item(record.header.stamp.ms, record.id), urgency)
            for record in new
            for key, urgency in self._told(record, shown)
        ]

    def _told(self, record: Record, shown: Shown | None) -> Iterator[tuple[SetKey, int]]:
        """The set a record is in, and how soon neighbours hear of it; nothing for one that is in none."""
        key = set_of(record.header)
        if key is not None:
            leading = shown is not None and shown.content.record.header == record.header and is_urgent(shown)
            yield key, urgency(record.header, urgent=leading)

    def _present(self, obj: ObjectId, before: Sequence[Logged], shown: Shown | None) -> None:
        """Let a new object wait for a caretaker where that was chosen."""
        if shown is None or owner(before, self.lineage.hub) is not None:
            return
        header = shown.content.record.header
        if self._needs_approval(shown):
            thread = header.ref if header.type == RecordType.REPLY else None
            moderation.await_approval(self.connection, obj, thread, self.now_ms)

    def _count(self, new: Sequence[Logged]) -> None:
        """Notice whether two hubs write with one key; for this hub's own there is a copy of it somewhere."""
        counted = [(self._branch(logged.record.header), logged) for logged in new]
        forked = {
            (logged.record.header.hub, logged.record.header.epoch)
            for logged in (*arrivals.count(self.connection, counted), *filter(self._is_of_a_copy, new))
        }
        for hub, epoch in forked:
            arrivals.fork(self.connection, hub, epoch, self.now_ms)

    def _branch(self, header: Header) -> int:
        branch = header.hub, header.epoch
        if branch not in self.branches:
            self.branches[branch] = arrivals.branch(self.connection, *branch)
        return self.branches[branch]

    def _is_of_a_copy(self, logged: Logged) -> bool:
        header = logged.record.header
        if (header.hub, header.epoch) != (self.lineage.hub, self.lineage.epoch):
            return False
        # While the time is unknown, one of ours that has ended would not be known here.
        return self.quality is not TimeQuality.UNKNOWN or header.seq > journal.last_number(self.connection)

    def _erase(
        self, obj: ObjectId, before: Sequence[Logged], after: Sequence[Logged], new: Sequence[Header]
    ) -> None:
        """Carry out a retraction that has just come: whatever is noted of the object goes with it."""
        retracted = {header.hub for header in new if header.type == RecordType.RETRACT}
        for hub in retracted:
            arrivals.drop_bodies(self.connection, hub, obj)
        if retracted and before and owner(after, self.lineage.hub) in retracted:
            traces.leave(self.connection, traces.NOW, notices.blobs_of(self.connection, obj))
            moderation.forget(self.connection, obj)
            authors.disown(self.connection, obj)

    def _needs_approval(self, shown: Shown) -> bool:
        """Whether a caretaker looks at a new object first."""
        header = shown.content.record.header
        if header.hub == self.lineage.hub:
            return False
        if self.standing.holds(header):
            return True
        return is_urgent(shown) and (
            arrivals.urgent(self.connection, header.hub, self.now_ms) > self.quotas.urgent
        )

    def _account(self) -> None:
        """Count what came, and let this hub's clock follow."""
        sums: dict[HubId, tuple[int, int]] = {}
        latest = ZERO
        for record in self.taken.values():
            hub = record.header.hub
            count, size = sums.get(hub, (0, 0))
            sums[hub] = count + 1, size + _size(record)
            if record.header.stamp.ms <= self.now_ms + MAX_AHEAD_MS:
                latest = max(latest, record.header.stamp)
        for hub, (count, size) in sums.items():
            arrivals.deliver(self.connection, self.source.key, self.day, hub, count, size)
            if hub != self.lineage.hub:
                by = hub if hub in self.standing.paired else self.source.key
                arrivals.know(self.connection, hub, by, self.day)
                arrivals.keep_of(self.connection, hub, count)
        journal.heed(self.connection, latest, self.now_ms)


def _standing(connection: Connection, source: Source, own: HubId) -> tuple[Standing, int | None]:
    """What was agreed with whoever brings records, and since when it is paired."""
    roster = {each.hub: each for each in neighbours.every(connection) if each.tie in PINNED}
    found = roster.get(source.hub) if source.hub is not None else None
    if found is not None and found.tie is Tie.PAUSED and not source.stick:
        del roster[found.hub]
        found = None
    joined_ms = found.paired_ms if found is not None and not source.stick else None
    return Standing(own, source, {hub: each.choices for hub, each in roster.items()}), joined_ms


def is_urgent(shown: Shown) -> bool:
    """Whether it is an urgent notice that anybody may see."""
    return isinstance(shown.body, NoticeBody) and shown.body.draft.kind is Kind.URGENT


def _size(record: Record) -> int:
    return len(record.header_bytes) + len(record.signature) + len(record.body or b"")


# --- what waited ------------------------------------------------------------------------------------


def release(connection: Connection, now_ms: int, quality: TimeQuality, quotas: Quotas = QUOTAS) -> Outcome:
    """Take in what need not wait any longer, up to 200 records, in a transaction of the caller's.

    What was too much on an earlier day is looked at once a day.
    """
    ahead_ms = MAX_MS if quality is TimeQuality.UNKNOWN else now_ms + MAX_AHEAD_MS
    waiting = arrivals.due(connection, ahead_ms, RELEASED_AT_ONCE)
    waiting += arrivals.over_quota(connection, now_ms // DAY_MS * DAY_MS, RELEASED_AT_ONCE - len(waiting))
    by_neighbour: dict[bytes, list[Record]] = {}
    for each in waiting:
        arrivals.take_up(connection, each.record.id)
        by_neighbour.setdefault(each.neighbour, []).append(each.record)
    if waiting:
        traces.leave(connection)
    outcomes = [
        admit(
            connection,
            records,
            Source(HubId(neighbour)) if neighbour else Source(None, stick=True),
            now_ms,
            quality,
            quotas,
        )
        for neighbour, records in by_neighbour.items()
    ]
    return _together(outcomes)


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(
        tuple(stored for each in outcomes for stored in each.stored),
        sum(each.known for each in outcomes),
        sum(each.waiting for each in outcomes),
        tuple(refused for each in outcomes for refused in each.refused),
    )


# --- the service ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Looked:
    """A batch before its signatures: what is settled without them, and what has to be verified."""

    known: int
    refused: tuple[tuple[RecordId, str], ...]
    rest: tuple[tuple[WireRecord, Header], ...]


def look(
    connection: Connection,
    records: Iterable[WireRecord],
    source: Source,
    now_ms: int,
    quality: TimeQuality,
    quotas: Quotas = QUOTAS,
) -> Looked:
    """Sort out, reading only, what needs no signature: records that are here, or would not be taken."""
    desk = _Desk(connection, source, now_ms, quality, quotas)
    known = 0
    refused: list[tuple[RecordId, str]] = []
    read: list[tuple[RecordId, WireRecord, Header]] = []
    rest: list[tuple[WireRecord, Header]] = []
    for wire in records:
        try:
            read.append((id_of(wire), wire, decode_header(wire.header)))
        except Refused as error:
            refused.append((id_of(wire), error.code))
    have_bodies = journal.have_bodies(connection, {header.obj for _, _, header in read})
    for record_id, wire, header in read:
        here = have_bodies.get(record_id)
        refusal = objection(header, desk.standing, now_ms, quality)
        if desk.waits(record_id) or here or (here is not None and wire.body is None):
            known += 1
        elif refusal is not None:
            refused.append((record_id, str(refusal)))
        elif desk.is_full and header.type != RecordType.RETRACT:
            refused.append((record_id, str(Refusal.OVER_QUOTA)))
        else:
            rest.append((wire, header))
    return Looked(known, tuple(refused), tuple(rest))


class Ingest:
    """Takes in what other hubs bring, and what of it had to wait; tells caretakers what is held and why."""

    def __init__(
        self,
        database: Database,
        eraser: Eraser,
        pen: Callable[[], Pen],
        chance: Callable[[int], bytes],
        quotas: Quotas = QUOTAS,
        prove: Callable[[Sequence[Read]], Awaitable[list[Record | Refused]]] = prove_in_thread,
    ) -> None:
        self._database = database
        self._eraser = eraser
        self._pen = pen
        self._chance = chance
        self._quotas = quotas
        self._prove = prove
        self._erased = asyncio.Event()

    async def take(self, source: Source, records: Sequence[WireRecord]) -> Outcome:
        """Verify and store what ``source`` brings; when it answers, what was stored is durable.

        Raises `NoRoom`; nothing else that ``records`` could cause.
        """
        pen, quotas = self._pen(), self._quotas
        looked = await self._database.read_with(
            lambda connection: look(connection, records, source, pen.now_ms, pen.quality, quotas)
        )
        verified = await self._prove(looked.rest)
        genuine = [each for each in verified if isinstance(each, Record)]
        false = [
            (wire, each.code)
            for (wire, _), each in zip(looked.rest, verified, strict=True)
            if isinstance(each, Refused)
        ]

        def write(connection: Connection) -> Outcome:
            if false:  # they cost as much as true ones
                day, size = pen.now_ms // DAY_MS, sum(wire.size for wire, _ in false)
                arrivals.deliver(connection, source.key, day, HubId(source.key), len(false), size)
            return admit(connection, genuine, source, pen.now_ms, pen.quality, quotas)

        outcome = Outcome()
        taken_down = any(record.header.type in ERASURES for record in genuine)
        if len(genuine) >= MANY and not taken_down:  # not news, but a neighbour that is caught up with
            outcome = await self._database.bring(write)
        elif genuine:
            outcome = await self._database.write(write)
        elif false:
            outcome = await self._database.note(write)
        if any(record.header.type == RecordType.RETRACT for record in genuine):
            self._erased.set()
        refused = (*looked.refused, *((id_of(wire), code) for wire, code in false))
        return replace(outcome, known=outcome.known + looked.known, refused=(*refused, *outcome.refused))

    async def release(self) -> Outcome:
        """Take in what need not wait any longer; soon after a caretaker's word, too.

        A hub that moved to another card goes on under a new epoch: its numbers were used twice.
        """
        if await self._database.read_with(arrivals.has_moved):
            epoch = Epoch(self._chance(8))
            await self._database.note(lambda connection: journal.new_epoch(connection, epoch))
        outcomes: list[Outcome] = []
        while await self._database.read_with(self._anything_due):
            pen = self._pen()
            outcome = await self._database.write(
                partial(release, now_ms=pen.now_ms, quality=pen.quality, quotas=self._quotas)
            )
            self._erased.set()
            outcomes.append(outcome)
        return _together(outcomes)

    async def finish_erasures(self) -> None:
        """Wipe what other hubs erased soon after it was told; for the supervisor."""
        while True:
            await self._erased.wait()
            await asyncio.sleep(GATHER_S)
            self._erased.clear()
            now_ms = self._pen().now_ms
            if await self._database.read_with(lambda connection: traces.wait(connection, now_ms)):  # noqa: B023
                with suppress(NoRoom):
                    await self._eraser.wipe()
                await asyncio.sleep(WIPE_PAUSE_S)

    async def look_after(self) -> None:
        """Release what is due, and let go of what never found its place; for the supervisor."""
        while True:
            with suppress(NoRoom):
                await self.release()
                await self.drop_orphans()
            await asyncio.sleep(ROUND_S)

    async def drop_orphans(self) -> int:
        """Erase the words of replies and files whose notice or collection did not come within 30 days."""
        pen = self._pen()
        if pen.quality is TimeQuality.UNKNOWN:
            return 0
        before_ms = pen.now_ms - ORPHAN_MS
        found = await self._database.read_with(
            lambda connection: arrivals.orphans(connection, before_ms, RELEASED_AT_ONCE)
        )

        def write(connection: Connection) -> None:
            for obj in found:
                retention.strip(connection, obj)

        if found:
            await self._database.write(write)
        return len(found)

    # --- caretakers -------------------------------------------------------------------------------

    async def troubles(self) -> list[Pile]:
        """What is held back, of whom and why, the oldest first."""
        return await self._database.read_with(arrivals.piles)

    async def is_copied(self) -> bool:
        """Whether a copy of this hub runs somewhere: until a caretaker has said that it moved, nothing is
        exchanged."""
        return await self._database.read_with(arrivals.is_copied)

    async def let_in(self, hub: HubId, actor: str) -> Outcome:
        """Take records of a hub that only a stick knew, those that wait first."""
        pen = self._pen()

        def write(connection: Connection) -> None:
            arrivals.know(connection, hub, b"", pen.now_ms // DAY_MS)
            decisions.note(connection, pen.now_ms, actor, "let in", base32(hub)[:26])

        await self._database.write(write)
        return await self.release()

    async def turn_away(self, hub: HubId, actor: str) -> int:
        """Drop whatever waits of a hub; returns how many records. They may come again."""
        pen = self._pen()

        def write(connection: Connection) -> int:
            decisions.note(connection, pen.now_ms, actor, "turn away", base32(hub)[:26])
            return arrivals.drop_of(connection, hub)

        return await self._database.write(write)

    def _anything_due(self, connection: Connection) -> bool:
        pen = self._pen()
        ahead_ms = MAX_MS if pen.quality is TimeQuality.UNKNOWN else pen.now_ms + MAX_AHEAD_MS
        return bool(
            arrivals.due(connection, ahead_ms, 1)
            or arrivals.over_quota(connection, pen.now_ms // DAY_MS * DAY_MS, 1)
        )
