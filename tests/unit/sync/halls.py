"""Halls whose sets are dictionaries, and lines between them that a test may cut: sessions without a disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

from hub.domain import cbor
from hub.domain.admission import Outcome, Stored
from hub.domain.clock import TimeQuality
from hub.domain.ids import HubId, RecordId
from hub.domain.neighbours import Address
from hub.domain.reconcile import Item, Vector, fingerprint_of
from hub.domain.records import Stream, WireRecord
from hub.domain.sharing import DEFAULT_CHOICES, IN_TURN, Choices, Entry, SetKey
from hub.sync.protocol.fetching import InFlight, id_of
from hub.sync.protocol.frames import Frame, Told, decode
from hub.sync.protocol.limits import DEFAULT_LIMITS, Limits
from hub.sync.protocol.session import Effect, End, Heard, Ingest, InStep, Moment, Offer, Send, Session
from tests import world

NOON_MS = 1_795_392_000_000
NETWORK = SetKey(Stream.NOTICES, b"")


def hub_id(name: str) -> HubId:
    """The id that a hall of this name has here."""
    return HubId(sha256(name.encode()).digest())


def record(
    number: int, key: SetKey = NETWORK, urgency: int = IN_TURN, body: bytes | None = b"words"
) -> WireRecord:
    """Record ``number`` of a set, a second after the one before: a stand-in, which nobody could verify."""
    header = cbor.encode([key.stream, key.origin, NOON_MS + 1000 * number, urgency, number])
    return WireRecord(header, bytes(64), body)


@dataclass
class Hall:
    """A hub: what it holds by id, in the order it came, and what it would refuse."""

    name: str
    choices: Choices = field(default_factory=lambda: dict(DEFAULT_CHOICES))
    quality: TimeQuality = TimeQuality.REFERENCE
    ahead_ms: int = 0
    refuses: set[bytes] = field(default_factory=set)
    waits: set[bytes] = field(default_factory=set)
    held: dict[bytes, WireRecord] = field(default_factory=dict)
    places: list[bytes] = field(default_factory=list)
    entries: dict[SetKey, dict[bytes, Entry]] = field(default_factory=dict)
    items: dict[SetKey, set[Item]] = field(default_factory=dict)
    vectors: dict[SetKey, Vector] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    arrived: list[bytes] = field(default_factory=list)
    """Every record that came, as often as it came."""
    wire_instead: dict[bytes, WireRecord | None] = field(default_factory=dict)
    """What the log has by now at the place of a record."""

    def __post_init__(self) -> None:
        self.in_flight = InFlight()

    @cached_property
    def hub(self) -> HubId:
        return hub_id(self.name)

    def offer(self, **changes: object) -> Offer:
        """What it says of itself."""
        told = (Told(self.hub, Address("192.168.4.7", 8448)),)
        given = {"program": "0.1.0", "name": self.name, "colour": "moss", "quality": self.quality}
        return Offer(**{**given, "choices": self.choices, "told": told, **changes})  # type: ignore[arg-type]

    def admit(self, records: Iterable[WireRecord]) -> Outcome:
        """Keep what is new, as the hub's one path for incoming records does."""
        stored: list[Stored] = []
        refused: list[tuple[RecordId, str]] = []
        known = waiting = 0
        for each in records:
            record_id = id_of(each)
            if record_id in self.held:
                known += 1
            elif record_id in self.refuses:
                refused.append((RecordId(record_id), "bad-record"))
            elif record_id in self.waits:
                waiting += 1
            else:
                stored.append(self.keep(each))
        return Outcome(tuple(stored), known, waiting, tuple(refused))

    def keep(self, kept: WireRecord) -> Stored:
        """Put a record in its set."""
        stream, origin, ts, urgency, _ = cbor.read(kept.header)
        key, item = SetKey(stream, origin), Item(ts, id_of(kept))
        self.held[item.id] = kept
        self.places.append(item.id)
        self.entries.setdefault(key, {})[item.id] = Entry(len(self.places) - 1, urgency)
        self.items.setdefault(key, set()).add(item)
        self.vectors.pop(key, None)
        return Stored(key, item, urgency)

    def write(self, *records: WireRecord) -> None:
        """Somebody here writes: every open line hears of it."""
        self.tell([self.keep(each) for each in records])

    def tell(self, stored: Sequence[Stored]) -> None:
        """Pass on what is new."""
        for line in self.lines:
            line.news(self, stored)

    # The snapshot

    def summary(self, key: SetKey) -> tuple[bytes, int]:
        return fingerprint_of(self.view(key))

    def view(self, key: SetKey) -> Vector:
        if key not in self.vectors:
            self.vectors[key] = Vector(self.items.get(key, ()))
        return self.vectors[key]

    def entry(self, key: SetKey, record_id: bytes) -> Entry | None:
        return self.entries.get(key, {}).get(record_id)

    def wire(self, n: int) -> WireRecord | None:
        record_id = self.places[n]
        return self.wire_instead.get(record_id, self.held.get(record_id))

    def lacks(self, record_id: bytes) -> bool:
        return record_id not in self.held and record_id not in self.waits


@dataclass
class Clock:
    """One for a street; ``ms`` is right."""

    seconds: float = 1000.0

    @property
    def ms(self) -> int:
        return NOON_MS + round(self.seconds * 1000)


class Line:
    """A connection of two halls, of which the first dialled. Frames wait until they are carried."""

    def __init__(
        self,
        one: Hall,
        other: Hall,
        clock: Clock | None = None,
        limits: Limits = DEFAULT_LIMITS,
        chance: float = 0.5,
    ) -> None:
        self.halls = (one, other)
        self.clock = clock or Clock()
        self.sessions = tuple(
            Session(
                hall.hub,
                far.hub,
                dialled=hall is one,
                offer=hall.offer(),
                in_flight=hall.in_flight,
                chance=lambda: chance,
                limits=limits,
            )
            for hall, far in ((one, other), (other, one))
        )
        self.on_the_way: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self.sent: list[tuple[Hall, bytes]] = []
        self.effects: tuple[list[Effect], list[Effect]] = ([], [])
        self.is_cut = False
        self.most_to_go = 0
        self.is_slow = False
        """Whether what arrives is stored only by `store`."""
        self.unstored: tuple[deque[Ingest], deque[Ingest]] = (deque(), deque())
        for hall in self.halls:
            hall.lines.append(self)
        for side in (0, 1):
            self.do(side, self.sessions[side].begin(self.halls[side], self.now(side)))

    def now(self, side: int) -> Moment:
        """What the clocks of that side say."""
        return Moment(self.clock.ms + self.halls[side].ahead_ms, self.clock.seconds)

    def carry(self, side: int) -> bool:
        """Carry the oldest frame for ``side``, if there is one."""
        if self.is_cut or not self.on_the_way[side]:
            return False
        frame = self.on_the_way[side].popleft()
        self.do(side, self.sessions[side].receive(frame, self.halls[side], self.now(side)))
        return True

    def run(self) -> None:
        """Carry everything, in turn, until nothing is on the way."""
        while self.carry(0) | self.carry(1):
            pass

    def settle(self) -> None:
        """Carry and store everything, in turn."""
        while self.carry(0) | self.carry(1) or self.store(0) | self.store(1):
            pass

    def wait(self, seconds: float) -> None:
        """Let time pass, and both notice each second of it."""
        for _ in range(round(seconds)):
            self.clock.seconds += 1
            self.tick()
            self.settle()

    def tick(self) -> None:
        """Both notice what time it is."""
        for side in (0, 1):
            if not self.is_cut:
                self.do(side, self.sessions[side].tick(self.halls[side], self.now(side)))

    def news(self, hall: Hall, stored: Sequence[Stored]) -> None:
        """Something is new at ``hall``."""
        side = self.halls.index(hall)
        if not self.is_cut:
            new = [(each.key, each.item, each.urgency) for each in stored]
            self.do(side, self.sessions[side].news(new, hall, self.now(side)))

    def start_round(self, side: int) -> None:
        """Somebody at that side asks for a round."""
        self.do(side, self.sessions[side].start_round(self.halls[side], self.now(side)))

    def inject(self, side: int, frame: bytes) -> list[Effect]:
        """Hand ``frame`` to ``side`` as if the other had sent it."""
        effects = self.sessions[side].receive(frame, self.halls[side], self.now(side))
        self.do(side, effects)
        return effects

    def store(self, side: int) -> bool:
        """Store what arrived first at ``side``, if anything did; its other lines hear of it."""
        if not self.unstored[side]:
            return False
        hall, records = self.halls[side], self.unstored[side].popleft().records
        hall.arrived += map(id_of, records)
        outcome = hall.admit(records)
        self.do(side, self.sessions[side].stored(outcome, hall, self.now(side)))
        hall.tell(outcome.stored)
        return True

    def cut(self) -> None:
        """The connection is gone, with what was on the way."""
        if not self.is_cut:
            self.is_cut = True
            for hall, session in zip(self.halls, self.sessions, strict=True):
                session.lost()
                hall.lines.remove(self)

    def frames(self, form: type[Frame] | None = None) -> list[tuple[str, Frame]]:
        """What was said so far, and by whom; only of type ``form``."""
        said = [(hall.name, decode(frame, lowest=1, highest=1)) for hall, frame in self.sent]
        return [
            (name, frame) for name, frame in said if frame is not None and isinstance(frame, form or object)
        ]

    def of(self, side: int, form: type[Effect]) -> list[Effect]:
        """The effects of a kind, as one side carried them out."""
        return [each for each in self.effects[side] if isinstance(each, form)]

    def ends(self) -> Iterator[End]:
        """How it ended, on either side."""
        return (each for side in (0, 1) for each in self.effects[side] if isinstance(each, End))

    def do(self, side: int, effects: Iterable[Effect]) -> None:
        """Carry out what the session of that side asks for."""
        hall = self.halls[side]
        self.most_to_go = max(self.most_to_go, self.sessions[side].to_go)
        for effect in effects:
            self.effects[side].append(effect)
            match effect:
                case Send(frame):
                    self.sent.append((hall, frame))
                    self.on_the_way[1 - side].append(frame)
                case Ingest():
                    self.unstored[side].append(effect)
                    if not self.is_slow:
                        self.store(side)
                case Heard() | InStep() | End():
                    pass


def street() -> tuple[Hall, Hall, Hall]:
    """Our hall and two neighbours."""
    names = [world.own_hub().name, *(each.name for each in world.neighbours())]
    one, other, third = (Hall(name) for name in names[:3])
    return one, other, third
