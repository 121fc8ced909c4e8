"""One hub of the town: the shipped services over a card in memory, and a stand-in for `hub.sync.exchange`."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, cast

from hub.domain.admission import Outcome, Quotas, Source, Wait
from hub.domain.ids import Epoch, HubId, RecordId, base32
from hub.domain.neighbours import Card as VisitingCard
from hub.domain.neighbours import Tie
from hub.domain.policy import BoardPolicy
from hub.domain.records import RecordType, WireRecord
from hub.domain.sharing import Choices
from hub.services.housekeeping import Housekeeping
from hub.services.identity import Identity
from hub.services.ingest import Ingest
from hub.services.neighbours import Greeting, Neighbours, Verdict
from hub.services.receipts import Receipts, SelfPortrait
from hub.storage import arrivals, journal, neighbours, sets
from hub.storage.journal import Pen
from hub.storage.log_index import LogIndex
from hub.sync.protocol import session as core
from hub.sync.protocol.fetching import InFlight, id_of
from hub.sync.protocol.session import End, Heard, InStep, Moment, Offer, Send, Session
from hub.sync.protocol.snapshot import Snapshot
from tests.simulation.machine import Card, Clock, Nothing, Wiper, World
from tests.simulation.turns import Job, Pause, Turn

QUOTAS = Quotas(
    records=200,
    size=200_000,
    origin_records=120,
    waiting_records=40,
    waiting_size=40_000,
    urgent=3,
)
"""Small enough to be met by a flood that a short run has time for."""
BACKLOG = 256

Step = Callable[[Session, Snapshot, Moment], list[core.Effect]]


class Watcher(Protocol):
    """Who looks on (`tests.simulation.town.Town`)."""

    def said(self, sender: Hall, to: HubId, frame: bytes) -> None:
        """A frame was sent."""
        ...

    def arrived(self, hall: Hall, by: HubId, records: Sequence[WireRecord]) -> None:
        """Wanted records came, and are not stored yet."""
        ...

    def stored(self, hall: Hall, by: HubId, outcome: Outcome) -> None:
        """What became of them."""
        ...

    def ended(self, hall: Hall, by: HubId, end: End) -> None:
        """A session gave up."""
        ...

    def wrote(self, hall: Hall) -> None:
        """Something was committed."""
        ...


@dataclass(eq=False)
class Line:
    """A connection of two hubs: what is said arrives in order, late, or is lost with all that follows."""

    caller: Hall
    answerer: Hall
    on_the_way: tuple[deque[bytes | None], deque[bytes | None]] = field(
        default_factory=lambda: (deque(), deque())
    )
    """To the caller, to the answerer; None is the end of the connection."""
    is_cut: bool = False

    def side(self, hall: Hall) -> int:
        """The place of what is on the way to ``hall``."""
        return 0 if hall is self.caller else 1

    def send(self, hall: Hall, frame: bytes) -> None:
        """``hall`` sends a frame."""
        if not self.is_cut:
            self.on_the_way[1 - self.side(hall)].append(frame)

    def close(self) -> None:
        """Either side hangs up: what was sent arrives first."""
        if not self.is_cut:
            self.is_cut = True
            for queue in self.on_the_way:
                queue.append(None)

    def tear(self, chance: random.Random) -> None:
        """The connection breaks: some of what is on the way arrives, and a side may notice nothing."""
        if not self.is_cut:
            self.is_cut = True
            for queue in self.on_the_way:
                for _ in range(chance.randint(0, len(queue))):
                    queue.pop()
                if chance.random() < 0.7:
                    queue.append(None)


class WatchedInFlight(InFlight):
    """Remembers what was taken over from a neighbour that was slow: it may come from both."""

    def __init__(self, patience_s: float) -> None:
        super().__init__(patience_s)
        self._patience = patience_s
        self.taken_over: set[bytes] = set()
        self._since: dict[bytes, tuple[object, float]] = {}

    def claim(self, record_id: bytes, by: object, monotonic: float) -> bool:
        granted = super().claim(record_id, by, monotonic)
        if granted:
            before = self._since.get(record_id)
            if before is not None and before[0] is not by and monotonic - before[1] >= self._patience:
                self.taken_over.add(record_id)
            self._since[record_id] = by, monotonic
        return granted

    def release(self, ids: Iterable[bytes], by: object) -> None:
        ids = tuple(ids)
        super().release(ids, by)
        for each in ids:
            if each in self._since and self._since[each][0] is by:
                del self._since[each]


class Talk:
    """A session with its line, driven as `hub.sync.exchange` does it."""

    def __init__(self, hall: Hall, peer: HubId, line: Line, session: Session) -> None:
        self.hall = hall
        self.peer = peer
        self.line = line
        self.session = session
        self.inbox: deque[Step | None] = deque()
        self.ended = False
        self.in_step = False
        self.job = Job(self._run())

    @property
    def called(self) -> bool:
        """Whether this side dialled."""
        return self.line.caller is self.hall

    @property
    def is_ready(self) -> bool:
        """Whether it can go on."""
        return not self.job.is_over and (not self.job.is_idle or bool(self.inbox))

    def tell(self, step: Step | None) -> None:
        """Let the session take ``step`` when its turn comes; None says that the line is gone."""
        if step is None or len(self.inbox) < BACKLOG:
            self.inbox.append(step)

    async def _run(self) -> None:
        try:
            await self._take(lambda session, snapshot, now: session.begin(snapshot, now))
            while not self.ended:
                while not self.inbox:
                    await Pause(Turn.IDLE)
                step = self.inbox.popleft()
                if step is None:
                    break
                await self._take(step)
        finally:
            self.session.lost()
            self.line.close()

    async def _take(self, step: Step) -> None:
        steps = deque([step])
        while steps and not self.ended:
            taken = steps.popleft()
            effects = await self.hall.card.read_with(
                lambda connection, taken=taken: taken(  # type: ignore[misc]
                    self.session, self.hall.snapshot(connection), self.hall.moment()
                )
            )
            for effect in effects:
                following = await self._carry_out(effect)
                if following is not None:
                    steps.append(following)

    async def _carry_out(self, effect: core.Effect) -> Step | None:
        hall = self.hall
        match effect:
            case Send(frame):
                hall.send(self, frame)
            case core.Ingest(records):
                hall.town.arrived(hall, self.peer, records)
                outcome = await hall.ingest.take(Source(self.peer), records)
                hall.settled(records)
                hall.town.stored(hall, self.peer, outcome)
                return lambda session, snapshot, now: session.stored(outcome, snapshot, now)
            case Heard(hello, protocol):
                await hall.neighbours.greeted(
                    self.peer,
                    Greeting(hello.name, hello.colour, hello.program, protocol, hello.choices),
                )
            case InStep(equal):
                self.in_step = equal
                if equal:
                    await hall.neighbours.in_step(self.peer)
            case End(code):
                self.ended = True
                hall.town.ended(hall, self.peer, effect)
                await hall.neighbours.troubled(self.peer, code)
        return None


class Hall:
    """A hub on a machine. What is in memory is new after each `boot`."""

    def __init__(
        self,
        name: str,
        identity: Identity,
        town: Watcher,
        world: World,
        chance: random.Random,
        data: bytes | None = None,
    ) -> None:
        self.name = name
        self.identity = identity
        self.town = town
        self.chance = chance
        self.clock = Clock(world)
        self.erased: set[tuple[bytes, bytes]] = set()
        """Hub and object of each erasure that has reached this database."""
        self.backups: list[tuple[bytes, set[tuple[bytes, bytes]]]] = []
        self.arriving: Counter[bytes] = Counter()
        """Records that came and are not stored yet."""
        self.carried: set[bytes] = set()
        """Records that a stick brought: a neighbour may be sending them just then."""
        self.had: set[bytes] = set()
        """Records that were ever in this database."""
        self.learnt = 0
        """Up to which place in its log the town has looked."""
        self.is_writing = False
        """Whether what is committed now was written here."""
        self.begin_with(data)

    @property
    def hub(self) -> HubId:
        """Its id; a clone has the same."""
        return self.identity.hub

    def begin_with(self, data: bytes | None) -> None:
        """Put a card in, with ``data`` or as new, and start."""
        self.card = Card(data)
        self.card.committed = self._committed
        self.card.transact(
            lambda connection: journal.found(connection, self.hub, Epoch(self.chance.randbytes(8)))
        )
        self.boot()

    def boot(self) -> None:
        """Start the program."""
        connection, card = self.card.connection, cast(Any, self.card)
        self.clock.boot(journal.last_stamp(connection))
        self.index = LogIndex()
        self.in_flight = WatchedInFlight(60.0)
        self.arriving.clear()
        self.told = sets.newest(connection)
        self.has_news = False
        self.talks: dict[HubId, Talk] = {}
        self.old_talks: list[Talk] = []
        wiper, none = cast(Any, Wiper(self.card)), cast(Any, Nothing())
        self.neighbours = Neighbours(card, wiper, self.hub, lambda: self.name, self.clock.now_ms)
        self.ingest = Ingest(card, wiper, self.pen, self.chance.randbytes, QUOTAS)
        self.receipts = Receipts(card, self.hub, self.pen, self.chance.randbytes, self._portrait)
        self.housekeeping = Housekeeping(
            card, none, none, wiper, none, none, self.hub, self.pen, lambda: BoardPolicy()
        )

    def _portrait(self) -> SelfPortrait:
        return SelfPortrait(self.name, "moss", "0.1.0")

    def _committed(self) -> None:
        self.has_news = True
        self.town.wrote(self)

    def pen(self) -> Pen:
        """To write with now."""
        return Pen(self.identity.sign, self.clock.now_ms(), self.clock.quality())

    def moment(self) -> Moment:
        """What the clocks say to a session."""
        return Moment(self.clock.now_ms(), self.clock.monotonic())

    def snapshot(self, connection: Any) -> Snapshot:
        """What a session reads."""
        return sets.StoredSnapshot(connection, self.index)

    # --- pairing ----------------------------------------------------------------------------------

    def pair(self, other: Hall, ours: Choices, theirs: Choices) -> None:
        """Both caretakers have accepted."""
        card = VisitingCard(other.hub, other.name, "moss", b"certificate", (), theirs)
        self.card.transact(lambda connection: neighbours.add(connection, card, ours, self.clock.now_ms()))

    def paired(self) -> dict[HubId, Choices]:
        """With whom something is exchanged now, and what."""
        rows = neighbours.every(self.card.connection)
        return {each.hub: each.choices for each in rows if each.tie is Tie.PAIRED}

    # --- talking ----------------------------------------------------------------------------------

    def converse(self, peer: HubId, line: Line, choices: Choices) -> Talk:
        """Begin a session over ``line``."""
        session = Session(
            self.hub,
            peer,
            dialled=line.caller is self,
            offer=Offer("0.1.0", self.name, "moss", self.clock.quality(), choices),
            in_flight=self.in_flight,
            chance=self.chance.random,
        )
        talk = self.talks[peer] = Talk(self, peer, line, session)
        return talk

    def gives_way(self, peer: HubId, line: Line) -> bool | None:
        """Whether ``line`` becomes the session (`Exchange._gives_way`); None: when the old one is over."""
        talk = self.talks.get(peer)
        if talk is None:
            return True
        if talk.job.is_over:
            del self.talks[peer]
            return True
        if talk.called != (line.caller is self) and talk.called == (self.hub < peer):
            return False
        if not talk.line.is_cut:
            talk.line.close()
        talk.tell(None)
        return None

    def send(self, talk: Talk, frame: bytes) -> None:
        """Say something."""
        self.town.said(self, talk.peer, frame)
        talk.line.send(self, frame)

    def settled(self, records: Sequence[WireRecord]) -> None:
        """Records that came are stored, or not."""
        self.arriving.subtract(map(id_of, records))

    def ready(self) -> Iterator[Talk]:
        """Sessions that can go on."""
        return (talk for talk in self.talks.values() if talk.is_ready)

    def tell_news(self) -> int:
        """Hand every session what came into the log; returns how many records."""
        self.has_news = False
        connection, last = self.card.connection, self.told
        self.told, items = sets.newest(connection), sets.news(connection, last)
        if items:
            for talk in self.talks.values():
                talk.tell(partial(_with_news, items))
        return len(items)

    def halt(self) -> None:
        """The power is gone: what was in memory is lost."""
        for talk in self.talks.values():
            talk.job.drop()
        self.talks.clear()

    # --- caretakers -------------------------------------------------------------------------------

    def is_copied(self) -> bool:
        """Whether it found out that it runs twice: then it exchanges nothing."""
        return arrivals.is_copied(self.card.connection)

    def decide_forks(self) -> int:
        """A caretaker says of every hub that is there twice that it moved."""
        forks = Job(self.neighbours.forks()).finish()
        for hub in {each.hub: None for each in forks}:
            Job(self.neighbours.decide(base32(hub), Verdict.MOVED, "ola")).finish()
        return len(forks)

    def let_strangers_in(self) -> None:
        """A caretaker lets in whom only a stick knew."""
        for pile in Job(self.ingest.troubles()).finish():
            if pile.reason is Wait.STRANGER:
                Job(self.ingest.let_in(pile.origin, "ola")).finish()

    def has(self, record_id: bytes) -> bool:
        """Whether a record is in the log, or waits."""
        return any(
            self.card.connection.execute(f"SELECT 1 FROM {table} WHERE id = ?", (record_id,)).fetchone()  # noqa: S608
            for table in ("record", "waiting_record")
        )

    def waiting(self) -> int:
        """How many records wait."""
        (count,) = self.card.connection.execute("SELECT count(*) FROM waiting_record").fetchone()
        return int(count)

    def look_for_erasures(self, headers: Callable[[RecordId, bytes], Any]) -> None:
        """Note which erasures have come."""
        for record_id, header_bytes in self.card.connection.execute(
            "SELECT id, header FROM record WHERE obj IN (SELECT obj FROM retraction)"
            " OR instr(header, CAST('retract' AS BLOB))"
        ):
            header = headers(RecordId(record_id), header_bytes)
            if header.type == RecordType.RETRACT:
                self.erased.add((header.hub, header.obj))


def received(frame: bytes, session: Session, snapshot: Snapshot, now: Moment) -> list[core.Effect]:
    """A frame came."""
    return session.receive(frame, snapshot, now)


def ticked(session: Session, snapshot: Snapshot, now: Moment) -> list[core.Effect]:
    """Time passed."""
    return session.tick(snapshot, now)


def asked(session: Session, snapshot: Snapshot, now: Moment) -> list[core.Effect]:
    """A caretaker wants a comparison."""
    return session.start_round(snapshot, now)


def _with_news(items: Sequence[Any], session: Session, snapshot: Snapshot, now: Moment) -> list[core.Effect]:
    return session.news(items, snapshot, now)
