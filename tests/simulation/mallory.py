"""A hub with a key, neighbours and no scruples: it knows every record there is, and keeps no rule."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hub.domain import cbor
from hub.domain.bodies import NoticeBody, encode_notice
from hub.domain.clock import Stamp, TimeQuality
from hub.domain.ids import Epoch, HubId, ObjectId
from hub.domain.notices import Kind, NoticeDraft, Scope
from hub.domain.policy import DAY_MS
from hub.domain.reconcile import Item
from hub.domain.records import Header, Record, RecordType, Stream, WireRecord, seal
from hub.domain.sharing import Entry, SetKey, sets_between
from hub.storage import journal, sets
from hub.sync.protocol.fetching import id_of
from hub.sync.protocol.frames import (
    MAX_IDS,
    Bye,
    Mark,
    Offered,
    Ping,
    Received,
    Records,
    Summary,
    Taken,
    Wanted,
    encode,
)
from hub.sync.protocol.snapshot import Snapshot
from tests.simulation.hall import Hall, Talk

if TYPE_CHECKING:
    from tests.simulation.town import Ledger, Pair

_YEAR_MS = 365 * DAY_MS


class _Lies:
    """What Mallory's own sessions read: much of it is not so."""

    def __init__(self, true: sets.StoredSnapshot, mallory: Mallory) -> None:
        self._true = true
        self._mallory = mallory

    def summary(self, key: SetKey) -> tuple[bytes, int]:
        chance = self._mallory.chance
        fingerprint, size = self._true.summary(key)
        return (chance.randbytes(16), size) if chance.random() < 0.03 else (fingerprint, size)

    def view(self, key: SetKey) -> Any:
        return self._true.view(key)

    def entry(self, key: SetKey, record_id: bytes) -> Entry | None:
        """Whatever it has, it gives in any set; what it has not it says to have."""
        n = self._true._place(record_id)
        if n is None and self._mallory.chance.random() < 0.2:
            return Entry(self._mallory.chance.randint(1, 400), 0)
        return None if n is None else Entry(n, self._mallory.chance.randint(0, 2))

    def wire(self, n: int) -> WireRecord | None:
        """A record with its body back, without it, or with another's."""
        record, mallory = self._true.wire(n), self._mallory
        if record is None or mallory.chance.random() < 0.75:
            return record
        return mallory.spoil(record)

    def lacks(self, record_id: bytes) -> bool:
        return self._mallory.chance.random() < 0.1 or self._true.lacks(record_id)


class Mallory(Hall):
    """Joined to its neighbours like any hub."""

    def __init__(self, *given: Any) -> None:
        *hall, ledger = given
        self.ledger: Ledger = ledger
        self.favourite = ""
        """The plot that it prefers, if any."""
        self.is_rude = False
        self.later: list[Header] = []
        """Erasures to come."""
        self.spoken: deque[bytes] = deque(maxlen=50)
        self.town_pairs: Callable[[HubId], list[Pair]] = lambda hub: []
        super().__init__(*hall)

    def snapshot(self, connection: Any) -> Snapshot:
        return _Lies(sets.StoredSnapshot(connection, self.index), self)

    def send(self, talk: Talk, frame: bytes) -> None:
        """Most of what it says is what its session meant."""
        chance = self.chance
        self.spoken.append(frame)
        kind = chance.random()
        if self.is_rude and kind < 0.02:
            return
        if self.is_rude and kind < 0.06:
            frame = self.bent(frame)
        elif self.is_rude and kind < 0.08:
            super().send(talk, chance.choice(self.spoken))
        super().send(talk, frame)

    def bent(self, frame: bytes) -> bytes:
        """``frame`` with some bytes changed, cut off, or put in."""
        chance, data = self.chance, bytearray(frame)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(4):
                case 0 if at < len(data):
                    data[at] ^= 1 << chance.randrange(8)
                case 1:
                    data[at:at] = chance.randbytes(chance.randint(1, 5))
                case 2:
                    del data[at : at + chance.randint(1, 9)]
                case _ if data:
                    data[0] = chance.randrange(16)
        return bytes(data)

    def spoil(self, record: WireRecord) -> WireRecord:
        """``record`` otherwise than it was signed, or as it was before its erasure."""
        chance = self.chance
        known = self.ledger.bodies
        match chance.randrange(6):
            case 0:
                return replace(record, body=None)
            case 1:
                return replace(record, body=known.get(id_of(record), record.body))
            case 2 if known:
                return replace(record, body=chance.choice(list(known.values())[-50:]))
            case 3:
                return replace(record, signature=chance.randbytes(64))
            case 4:
                header = bytearray(record.header)
                header[chance.randrange(len(header))] ^= 1 << chance.randrange(8)
                return replace(record, header=bytes(header))
            case _:
                return record

    # --- plots ------------------------------------------------------------------------------------

    def plot(self) -> None:
        """Do one thing that no honest hub would."""
        if self.later and self.chance.random() < 0.6:
            self._put(self.later.pop(), None)
            self.tell_news()
        if self.favourite and self.chance.random() < 0.5:
            getattr(self, self.favourite)()
            return
        self.chance.choices(
            (
                self.write_something,
                self.resurrect,
                self.offer_anything,
                self.say_something,
                self.change_its_mood,
                self.write_twice,
                self.erase_what_waits,
                self.flood,
            ),
            (40, 15, 25, 16, 5, 2, 12, 5),
        )[0]()

    def write_something(self) -> None:
        """A record with any header that a signature can be put to."""
        self._put(self._header(), self._body())
        self.tell_news()

    def erase_what_waits(self) -> None:
        """Put something up, put a version on its way whose time has not come, and erase it all."""
        header, hour_ms = self._header(plain=True), 3_600_000
        stamp = header.stamp
        self._put(replace(header, type=RecordType.NOTICE), self._body())
        later = replace(header, type=RecordType.NOTICE, seq=self._next(), stamp=Stamp(stamp.ms + hour_ms, 0))
        self._put(later, self._body())
        self.tell_news()
        self.later.append(
            replace(
                header, type=RecordType.RETRACT, seq=self._next(), stamp=Stamp(stamp.ms, stamp.counter + 1)
            )
        )

    def change_its_mood(self) -> None:
        """Bend what it says, or keep to the form of it, which gets it further."""
        self.is_rude = not self.is_rude

    def offer_anything(self) -> None:
        """Offer whatever it has, and some that it has not, in whatever set."""
        chance = self.chance
        rows = self.card.connection.execute("SELECT id FROM record").fetchall()
        ids = [row[0] for row in rows]
        if not ids:
            return
        some = [Item(0, each) for each in chance.sample(sorted(ids), min(len(ids), 30))]
        some += [Item(0, chance.choice(self._known_ids())), Item(0, chance.randbytes(32))]
        for talk in self.talks.values():
            pair = next(pair for pair in self.town_pairs(self.hub) if talk.peer in (pair.one, pair.other))
            keys = sets_between(pair.one, pair.other, pair.choices[pair.one], pair.choices[pair.other])
            news = [(chance.choice(keys), item, 0) for item in some]
            talk.tell(lambda session, snapshot, now, news=news: session.news(news, snapshot, now))  # type: ignore[misc]

    def write_twice(self) -> None:
        """Two records with one number."""
        header = self._header()
        for _ in range(2):
            self._put(replace(header, obj=ObjectId(self.chance.randbytes(16))), self._body())
        self.tell_news()

    def flood(self) -> None:
        """More than its share."""
        header = self._header(plain=True)
        about = self.chance.random() < 0.5
        for _ in range(self.chance.choice((60, 350))):
            fresh = replace(
                header, seq=self._next(), obj=header.obj if about else ObjectId(self.chance.randbytes(16))
            )
            kind = RecordType.RETRACT if about and self.chance.random() < 0.9 else RecordType.NOTICE
            self._put(replace(fresh, type=kind), None if kind == RecordType.RETRACT else self._body())
        self.tell_news()

    def resurrect(self) -> None:
        """What others erased is put back, and their erasure forgotten."""

        def work(connection: Any) -> None:
            rows = connection.execute(
                "SELECT n, id, header, signature FROM record WHERE body IS NULL ORDER BY n DESC LIMIT 60"
            ).fetchall()
            for n, record_id, data, signature in rows:
                header = self.ledger.header(record_id, data)
                if header.type == RecordType.RETRACT:
                    sets.remove(connection, Record(header, data, signature, None))
                    connection.execute("DELETE FROM record WHERE n = ?", (n,))
                elif record_id in self.ledger.bodies:
                    journal.give_body(connection, n, self.ledger.bodies[record_id])

        self.card.transact(work)

    def say_something(self) -> None:
        """A frame of its own making."""
        chance = self.chance
        talks = [talk for talk in self.talks.values() if not talk.job.is_over]
        if not talks:
            return
        talk = chance.choice(talks)
        for _ in range(chance.choice((1, 1, 3))):
            super().send(talk, self._frame())

    def _known_ids(self) -> list[bytes]:
        """Of every record that anybody saw, whoever may."""
        return list(self.ledger.headers) or [bytes(32)]

    def _frame(self) -> bytes:
        chance = self.chance
        every = self._known_ids()
        some = tuple(dict.fromkeys(chance.choice(every) for _ in range(min(chance.randint(1, 300), MAX_IDS))))
        if chance.random() < 0.3:
            some = tuple(chance.randbytes(32) for _ in range(chance.randint(1, 20)))
        index = chance.choice((0, 0, 1, 2, 3, 4, 5, 6, 7, 90))
        match chance.randrange(9):
            case 0:
                return encode(Offered(index, some))
            case 1 | 2 | 3:
                return encode(Wanted(index, some, chance.random() < 0.1))
            case 4:
                marks = (Mark(chance.randbytes(16), 7),) * chance.randint(0, 9)
                return encode(Summary(chance.random() < 0.5, marks))
            case 5:
                return encode(chance.choice((Ping(7), Received(), Bye("stopping"), Taken((True, False)))))
            case 6:
                rows = self.card.connection.execute(
                    "SELECT header, signature, body FROM record ORDER BY n DESC LIMIT 5"
                ).fetchall()
                return encode(Records(tuple(WireRecord(*row) for row in rows), some[:3]))
            case 7 if self.spoken:
                return chance.choice(self.spoken)
            case _:
                return bytes((chance.randrange(1, 13),)) + chance.randbytes(chance.randint(0, 60))

    # --- writing ----------------------------------------------------------------------------------

    _seq = 10_000

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _header(self, *, plain: bool = False) -> Header:
        chance, known = self.chance, list(self.ledger.headers.values())
        theirs = chance.choice(known) if known else None
        now_ms = self.clock.now_ms()
        kind = chance.choice(list(RecordType)) if chance.random() < 0.5 else RecordType.NOTICE
        stamp_ms = now_ms
        exp_ms = now_ms + chance.choice((1, 5, 28)) * DAY_MS
        if not plain and chance.random() < 0.35:
            stamp_ms += chance.choice(
                (5 * 60_000, 3_600_000, DAY_MS, 47 * 3_600_000, 3 * DAY_MS, 10 * _YEAR_MS, -_YEAR_MS, -now_ms)
            )
            exp_ms = max(0, stamp_ms) + chance.choice((-DAY_MS, 28 * DAY_MS, 399 * DAY_MS, 900 * DAY_MS))
        obj = ObjectId(chance.randbytes(16))
        if theirs is not None and not plain and chance.random() < 0.5:
            obj = theirs.obj
        hub = self.hub
        if theirs is not None and not plain and chance.random() < 0.15:
            hub = theirs.hub  # which its signature will not fit
        return Header(
            hub=hub,
            epoch=Epoch(b"mallory!"),
            seq=self._next(),
            type="riddle" if chance.random() < 0.05 and not plain else kind,
            obj=obj,
            stamp=Stamp(max(0, stamp_ms), chance.randint(0, 3)),
            quality=TimeQuality.REFERENCE,
            exp=max(0, exp_ms),
            scope=Scope.NETWORK if plain else chance.choices(list(Scope), (10, 25, 65))[0],
            ref=theirs.obj if theirs is not None and chance.random() < 0.3 else None,
            stream=chance.choice((Stream.NOTICES, Stream.NOTICES, Stream.FILES, Stream.STATUS))
            if not plain
            else Stream.NOTICES,
        )

    def _body(self) -> bytes | None:
        chance = self.chance
        kind = chance.random()
        if kind < 0.1:
            return None
        if kind < 0.2:
            odd: bytes = cbor.encode({0: bytes(16), 1: chance.choice((7, "news", [1])), 8: 2**52})
            return odd
        if kind < 0.25 and self.ledger.bodies:
            return chance.choice(list(self.ledger.bodies.values())[-50:])
        word = f"m{chance.getrandbits(48):x}"
        draft = NoticeDraft(
            Kind.URGENT if chance.random() < 0.3 else Kind.NEWS, word, f"Buy {word}!", "en", Scope.NETWORK, 0
        )
        return encode_notice(NoticeBody(draft, self.clock.now_ms()), chance.randbytes(16))

    def _put(self, header: Header, body: bytes | None) -> None:
        record = seal(header, body, self.identity.sign)
        self.card.transact(lambda connection: journal.append(connection, record, self.clock.now_ms()))
