"""The town: hubs, the network between them, and what befalls them, drawn from one seed."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import combinations

from hub.domain.admission import Outcome, Source
from hub.domain.clock import BUILT_MS
from hub.domain.ids import Epoch, HubId, RecordId
from hub.domain.neighbours import Tie
from hub.domain.policy import DAY_MS, MINUTE_MS, leaves_at
from hub.domain.records import Header, RecordType, Stream, WireRecord, decode_header
from hub.domain.sharing import Choice, Choices, SetKey, sets_between
from hub.services.identity import identity_of
from hub.storage import journal, neighbours, sets
from hub.sync.protocol.fetching import id_of
from hub.sync.protocol.session import End
from tests.simulation import invariants, residents
from tests.simulation.hall import Hall, Line, Talk, asked, received, ticked
from tests.simulation.machine import PowerCut, World
from tests.simulation.mallory import Mallory
from tests.simulation.turns import Job, without_threads

YEAR_MS = 365 * DAY_MS
HONEST_ENDS = frozenset({"left", "no-progress", "silent"})
"""How a session of two hubs that keep the rules may end."""
TOLD = 80
"""Events that a failure prints."""


class Broken(AssertionError):
    """An invariant does not hold; ``sentence`` says which, ``found`` what was found."""

    def __init__(self, sentence: str, found: str) -> None:
        super().__init__(f"{sentence}: {found}")
        self.sentence = sentence


@dataclass(frozen=True)
class Pair:
    """Two paired hubs, and what each of them chose for the other."""

    one: HubId
    other: HubId
    choices: dict[HubId, Choices]

    def other_than(self, hub: HubId) -> HubId:
        """Its neighbour."""
        return self.other if hub == self.one else self.one


@dataclass
class Ledger:
    """What nobody in the town knows: what was truly said."""

    headers: dict[bytes, Header] = field(default_factory=dict)
    genuine: set[bytes] = field(default_factory=set)
    """Ids of records that honest hubs wrote."""
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    """Every body that was ever written, for whoever keeps what should be erased."""
    arrivals: Counter[str] = field(default_factory=Counter)
    """How often records came once, again, were put aside or refused."""
    ends: Counter[str] = field(default_factory=Counter)
    """How sessions with a hostile hub ended."""
    taken: Counter[tuple[int, bytes, int]] = field(default_factory=Counter)
    """Records that were stored: of whose (a hall's number), by whom, on which day."""
    touched: set[bytes] = field(default_factory=set)
    """Objects that a caretaker erased at one hub only."""

    def header(self, record_id: RecordId | bytes, data: bytes) -> Header:
        """The header in ``data``."""
        found = self.headers.get(record_id)
        if found is None:
            found = self.headers[record_id] = decode_header(data, stored=True)
        return found


class Town:
    """``seed`` decides everything. `run` takes steps; what breaks an invariant raises `Broken`."""

    def __init__(self, seed: int, favourite: str = "") -> None:
        """``favourite`` is a plot of Mallory's; there may be no Mallory in towns without one."""
        self.chance = chance = random.Random(seed)
        self.seed = seed
        self.world = World(BUILT_MS + DAY_MS + chance.randrange(DAY_MS))
        self.ledger = Ledger()
        self.events: deque[str] = deque(maxlen=TOLD)
        self.step = 0
        self.steps: Counter[str] = Counter()
        self.digest = sha256()
        self.lines: list[Line] = []
        self.ringing: list[Line] = []
        self.parted: set[frozenset[HubId]] = set()
        """Pairs between which nothing gets through."""
        self.is_healing = False
        self.mallory: Mallory | None = None
        number = chance.randint(3, 7)
        self.halls = [self._new_hall(f"Hall {place}") for place in range(number)]
        if chance.random() < 0.7 or favourite:
            self.mallory = Mallory(
                "Mallory", identity_of(chance.randbytes(32)), self, self.world, chance, self.ledger
            )
            self.mallory.town_pairs = self.pairs_of
            self.mallory.favourite = favourite
        self.pairs: dict[frozenset[HubId], Pair] = {}
        self._pair_up()
        self.watch: Callable[[Town], None] = lambda town: None

    # --- the town ---------------------------------------------------------------------------------

    def _new_hall(self, name: str) -> Hall:
        return Hall(name, identity_of(self.chance.randbytes(32)), self, self.world, self.chance)

    @property
    def everybody(self) -> list[Hall]:
        """Every machine, Mallory's too."""
        return [*self.halls, *([self.mallory] if self.mallory else [])]

    @property
    def outlaw(self) -> HubId | None:
        """Who keeps no rules."""
        return self.mallory.hub if self.mallory else None

    def machines(self, hub: HubId) -> list[Hall]:
        """The machines that answer to ``hub``: two of a clone."""
        return [hall for hall in self.everybody if hall.hub == hub]

    def pair(self, one: HubId, other: HubId) -> Pair | None:
        """What was agreed between two hubs."""
        return self.pairs.get(frozenset((one, other)))

    def pairs_of(self, hub: HubId) -> list[Pair]:
        """With whom a hub is paired."""
        return [pair for pair in self.pairs.values() if hub in (pair.one, pair.other)]

    def sets_of(self, pair: Pair) -> list[SetKey]:
        """The sets that a pair agreed on."""
        return sets_between(pair.one, pair.other, pair.choices[pair.one], pair.choices[pair.other])

    def _pair_up(self) -> None:
        chance, honest = self.chance, self.halls
        chosen = [(chance.choice(honest[:place]), hall) for place, hall in enumerate(honest) if place]
        known = {frozenset((one.hub, other.hub)) for one, other in chosen}
        for one, other in combinations(honest, 2):
            if frozenset((one.hub, other.hub)) not in known and chance.random() < 0.25:
                chosen.append((one, other))
        if self.mallory:
            victims = chance.sample(honest, chance.randint(2, min(4, len(honest))))
            chosen += [(victim, self.mallory) for victim in victims]
        for one, other in chosen:
            choices = {one.hub: self._some_choices(), other.hub: self._some_choices()}
            self.pairs[frozenset((one.hub, other.hub))] = Pair(one.hub, other.hub, choices)
            one.pair(other, choices[one.hub], choices[other.hub])
            other.pair(one, choices[other.hub], choices[one.hub])

    def _some_choices(self) -> Choices:
        chance = self.chance
        return {
            Stream.STATUS: Choice.EXCHANGE,
            Stream.NOTICES: Choice.HOLD if chance.random() < 0.1 else Choice.EXCHANGE,
            Stream.FILES: chance.choices((Choice.EXCHANGE, Choice.HOLD, Choice.NONE), (80, 8, 12))[0],
        }

    # --- what is seen -----------------------------------------------------------------------------

    def tell(self, event: str) -> None:
        """Note what happens, for whoever has to understand a failure."""
        told = f"{self.step:6} {event}"
        self.events.append(told)
        self.digest.update(told.encode())

    def said(self, sender: Hall, to: HubId, frame: bytes) -> None:
        """See `Watcher`: nothing scoped leaks."""
        if sender is not self.mallory:
            for fault in invariants.leaks_of(self, sender.hub, to, frame):
                raise Broken(invariants.NOTHING_SCOPED_LEAKS, f"{sender.name} sent {fault}")

    def arrived(self, hall: Hall, by: HubId, records: Sequence[WireRecord]) -> None:
        """See `Watcher`: each record comes once."""
        ids = list(map(id_of, records))
        if hall is not self.mallory:
            for each in ids:
                here = hall.arriving[each] > 0 or hall.has(each)
                self.ledger.arrivals["again" if here else "once"] += 1
                if here and each not in hall.in_flight.taken_over and each not in hall.carried:
                    raise Broken(invariants.EACH_RECORD_COMES_ONCE, f"{each.hex()[:8]} to {hall.name}")
        hall.arriving.update(ids)

    def stored(self, hall: Hall, by: HubId, outcome: Outcome) -> None:
        """See `Watcher`: a hostile hub has its share and no more."""
        self.ledger.arrivals.update(code for _, code in outcome.refused)
        self.ledger.arrivals["aside"] += outcome.waiting
        self.tell(
            f"{hall.name} stored {len(outcome.stored)} of {self.name_of(by)}, knew {outcome.known},"
            f" put aside {outcome.waiting}, refused {sorted({code for _, code in outcome.refused})}"
        )
        if by == self.outlaw and hall is not self.mallory:
            for each in outcome.stored:
                row = hall.card.connection.execute(
                    "SELECT seen_ms FROM record WHERE id = ?", (each.item.id,)
                ).fetchone()
                if row is not None:
                    self.ledger.taken[id(hall), by, row[0] // DAY_MS] += 1

    def ended(self, hall: Hall, by: HubId, end: End) -> None:
        """See `Watcher`: honest hubs do not accuse one another."""
        self.tell(f"{hall.name} ended with {self.name_of(by)}: {end.code} {dict(end.fields)}")
        if hall is self.mallory or by == self.outlaw:
            self.ledger.ends[end.code] += 1
            return
        reason = str(end.fields.get("reason", end.code))
        if end.code not in HONEST_ENDS or reason not in HONEST_ENDS:
            raise Broken(
                invariants.HONEST_HUBS_GET_ALONG, f"{hall.name} and {self.name_of(by)}: {end.code} {reason}"
            )

    def wrote(self, hall: Hall) -> None:
        """See `Watcher`: whatever an honest hub signs is genuine."""
        if hall is not self.mallory:
            self.learn(hall)

    def learn(self, hall: Hall) -> None:
        """Look at the records that are new in a log, and note those that the hub wrote itself."""
        rows = hall.card.connection.execute(
            "SELECT n, id, header, body FROM record WHERE n > ? ORDER BY n", (hall.learnt,)
        )
        for n, record_id, data, body in rows:
            hall.learnt = n
            header = self.ledger.header(record_id, data)
            if record_id in hall.had and hall.clock.highest_ms < leaves_at(header.exp):
                raise Broken(invariants.EACH_RECORD_COMES_ONCE, f"{record_id.hex()[:8]} to {hall.name}")
            hall.had.add(record_id)
            if header.type == RecordType.RETRACT:
                for fault in invariants.words_left(self, hall, header):
                    raise Broken(invariants.NOTHING_ERASED_RETURNS, f"{hall.name}: {fault}")
            if header.hub == hall.hub and hall.is_writing:
                self.ledger.genuine.add(record_id)
            if body is not None:
                self.ledger.bodies[record_id] = body

    def name_of(self, hub: HubId) -> str:
        """What a hub is called."""
        return next((hall.name for hall in self.everybody if hall.hub == hub), hub.hex()[:8])

    # --- steps ------------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """Take so many steps; the town comes to rest every few hundred, and at the end."""
        with without_threads():
            self._run(steps)

    def _run(self, steps: int) -> None:
        rest_at = self.step + self.chance.randint(150, 500)
        for _ in range(steps):
            self.step += 1
            self.take_step()
            if self.step % 50 == 0:
                invariants.check_one(self, self.chance.choice(self.halls))
            if self.step >= rest_at:
                self.come_to_rest()
                rest_at = self.step + self.chance.randint(150, 500)
        self.come_to_rest()

    def take_step(self) -> None:
        """Something happens."""
        act = self.chance.choices(_ACTS, _WEIGHTS)[0]
        try:
            done = act(self)
        except PowerCut:  # those who write are told by `cutting`
            raise AssertionError("nobody was at the machine whose power went") from None
        if not done:
            self.work() or self.carry() or self.answer() or self.dial() or self.write()
        self.steps[act.__name__] += 1

    def guarded(self, hall: Hall, work: Callable[[], object]) -> None:
        """Do ``work`` on a machine; if its power goes meanwhile, it starts again."""
        try:
            work()
        except PowerCut:
            self.tell(f"{hall.name} lost its power in the middle of a transaction")
            self.crash(hall)

    # the network

    def carry(self) -> bool:
        """Some frames arrive."""
        loaded = [
            (line, side)
            for line in self.lines
            for side in (0, 1)
            if line.on_the_way[side] and not (side and line in self.ringing)
        ]
        if not loaded:
            return False
        line, side = self.chance.choice(loaded)
        hall = (line.caller, line.answerer)[side]
        talk = self._talk_on(hall, line)
        queue = line.on_the_way[side]
        for _ in range(self.chance.choice((1, 1, 2, 8))):
            if queue:
                frame = queue.popleft()
                if talk is not None:
                    talk.tell(None if frame is None else partial(received, frame))
        if talk is not None and self.chance.random() < 0.8:
            self.go_on(talk)
        self._forget_dead_lines()
        return True

    def _talk_on(self, hall: Hall, line: Line) -> Talk | None:
        return next((talk for talk in hall.talks.values() if talk.line is line), None)

    def go_on(self, talk: Talk, turns: int = 10_000) -> None:
        """Let a session do what it can."""

        def work() -> None:
            left = turns
            while talk.is_ready and left:
                left -= 1
                talk.job.go_on()

        self.guarded(talk.hall, work)
        if talk.job.is_over and talk.hall.talks.get(talk.peer) is talk:
            del talk.hall.talks[talk.peer]

    def work(self) -> bool:
        """A session goes on a little."""
        ready = [talk for hall in self.everybody for talk in hall.ready()]
        if not ready:
            return False
        self.go_on(self.chance.choice(ready), self.chance.randint(1, 12))
        return True

    def dial(self) -> bool:
        """A hub calls a neighbour it has no session with."""
        pair = self.chance.choice(list(self.pairs.values()))
        caller_id = self.chance.choice((pair.one, pair.other))
        caller = self.chance.choice(self.machines(caller_id))
        answerer = self.chance.choice(self.machines(pair.other_than(caller_id)))
        return self.call(caller, answerer)

    def call(self, caller: Hall, answerer: Hall) -> bool:
        """``caller`` dials; returns whether a line came of it."""
        if frozenset((caller.hub, answerer.hub)) in self.parted or answerer.hub in caller.talks:
            return False
        choices = caller.paired().get(answerer.hub)
        if choices is None or caller.hub not in answerer.paired():
            return False
        if caller.is_copied() or answerer.is_copied():
            return False
        line = Line(caller, answerer)
        self.lines.append(line)
        self.ringing.append(line)
        self.tell(f"{caller.name} calls {answerer.name}")
        self.go_on(caller.converse(answerer.hub, line, choices))
        return True

    def answer(self) -> bool:
        """A hub answers a call."""
        if not self.ringing:
            return False
        line = self.ringing.pop(self.chance.randrange(len(self.ringing)))
        hall, peer = line.answerer, line.caller.hub
        choices = hall.paired().get(peer)
        if line.is_cut or choices is None:
            line.close()
            return True
        verdict = hall.gives_way(peer, line)
        if verdict is None:
            self.go_on(hall.talks[peer])
            self.ringing.append(line)
        elif verdict:
            self.go_on(hall.converse(peer, line, choices))
        else:
            line.close()
        return True

    def break_line(self) -> bool:
        """A connection breaks."""
        whole = [line for line in self.lines if not line.is_cut]
        if not whole:
            return False
        line = self.chance.choice(whole)
        self.tell(f"the line of {line.caller.name} and {line.answerer.name} breaks")
        line.tear(self.chance)
        return True

    def _forget_dead_lines(self) -> None:
        if len(self.lines) > 40 or self.is_healing:
            alive = {talk.line for hall in self.everybody for talk in hall.talks.values()}
            self.lines = [line for line in self.lines if line in alive or line in self.ringing]

    def part(self) -> bool:
        """The town falls into two parts, or some links stop working."""
        chance, hubs = self.chance, sorted({hall.hub for hall in self.everybody})
        if self.parted and chance.random() < 0.6:
            self.parted.clear()
            self.tell("every link works again")
            return True
        half = set(chance.sample(hubs, chance.randint(1, len(hubs) - 1)))
        cut = [pair for pair in self.pairs if len(pair & half) == 1]
        self.parted.update(cut)
        for line in self.lines:
            if frozenset((line.caller.hub, line.answerer.hub)) in self.parted:
                line.tear(chance)
        self.tell(f"{len(cut)} links stop working")
        return True

    # time

    def let_time_pass(self) -> bool:
        """Seconds, minutes, seldom hours or days; sessions notice."""
        chance = self.chance
        seconds = chance.choices(
            (
                chance.uniform(0.05, 3),
                chance.uniform(3, 70),
                chance.uniform(70, 900),
                25_000,
                250_000,
                900_000,
            ),
            (62, 32, 4, 1, 0.6, 0.4),
        )[0]
        self.world.pass_by(seconds)
        for hall in self.everybody:
            for talk in list(hall.talks.values()):
                if chance.random() < 0.7:
                    talk.tell(ticked)
                    self.go_on(talk)
        return True

    def turn_clock(self) -> bool:
        """A wall clock jumps, or is put right."""
        chance, hall = self.chance, self.chance.choice(self.everybody)
        kind = chance.random()
        if kind < 0.35:
            hall.clock.wrong_ms = 0
        elif kind < 0.65:
            hall.clock.wrong_ms = chance.choice((-10, 10)) * YEAR_MS
        elif kind < 0.9:
            hall.clock.wrong_ms = chance.randint(-3 * DAY_MS, 3 * DAY_MS)
        elif kind < 0.93:
            hall.clock.wrong_ms = chance.randint(20 * DAY_MS, 90 * DAY_MS)
        else:
            hall.clock.wrong_ms = -self.world.ms  # 1970
        self.tell(f"the clock of {hall.name} is {hall.clock.wrong_ms / DAY_MS:+.2f} days wrong")
        return True

    # machines

    def cut_power(self) -> bool:
        """A machine loses its power, now or in the middle of its next transaction."""
        hall = self.chance.choice(self.everybody)
        if self.chance.random() < 0.5:
            hall.card.cut_after = int(10 ** self.chance.uniform(1, 4.5))
            return True
        self.tell(f"{hall.name} lost its power")
        self.crash(hall)
        return True

    def crash(self, hall: Hall) -> None:
        """What was not committed is lost, and so is what was in memory."""
        hall.card.cut_after = None
        hall.halt()
        for line in self.lines:
            if hall in (line.caller, line.answerer):
                line.tear(self.chance)
        self.ringing = [line for line in self.ringing if not line.is_cut]
        hall.boot()

    def back_up(self) -> bool:
        """A copy is made of a card."""
        hall = self.chance.choice(self.halls)
        hall.look_for_erasures(self.ledger.header)
        hall.backups.append((hall.card.copy(), set(hall.erased)))
        del hall.backups[:-2]
        return True

    def restore(self) -> bool:
        """A copy is put back, as a restore does it, or just so."""
        hall = self.chance.choice(self.halls)
        if not hall.backups:
            return False
        properly = self.chance.random() < 0.75
        data, erased = self.chance.choice(hall.backups)
        self.crash(hall)
        hall.card.close()
        hall.erased = set(erased)
        hall.learnt = 0
        hall.had.clear()
        hall.begin_with(data)
        if properly:
            epoch = Epoch(self.chance.randbytes(8))
            hall.card.transact(lambda connection: journal.new_epoch(connection, epoch))
        hall.boot()
        self.tell(f"{hall.name} was restored {'properly' if properly else 'without a new epoch'}")
        return True

    def clone(self) -> bool:
        """A card is copied, and both run."""
        if len(self.halls) > len({hall.hub for hall in self.halls}) or len(self.halls) > 7:
            return False
        hall = self.chance.choice(self.halls)
        twin = Hall(f"{hall.name} again", hall.identity, self, self.world, self.chance, hall.card.copy())
        twin.erased = set(hall.erased)
        twin.clock.highest_ms = hall.clock.highest_ms
        self.halls.append(twin)
        self.tell(f"{hall.name} runs twice")
        return True

    # residents and caretakers

    def write(self) -> bool:
        """Somebody puts something up, changes it, takes it down or erases it."""
        hall = self.chance.choice(self.halls)

        def work() -> None:
            hall.is_writing = True
            try:
                residents.act(self, hall)
            finally:
                hall.is_writing = False

        self.guarded(hall, work)
        if self.chance.random() < 0.7:
            hall.tell_news()
        return True

    def speak(self) -> bool:
        """A hub tells its sessions what is new."""
        told = [hall for hall in self.everybody if hall.has_news]
        if not told:
            return False
        self.chance.choice(told).tell_news()
        return True

    def keep_house(self) -> bool:
        """A hub does what it does by itself."""
        hall = self.chance.choice(self.halls)
        self.look_after(hall, self.chance.choice(("purge", "release", "status", "orphans")))
        return True

    def look_after(self, hall: Hall, what: str) -> None:
        """One of the chores of a hub."""

        def work() -> None:
            hall.is_writing = True
            try:
                if what == "purge":
                    Job(hall.housekeeping.round()).finish()
                elif what == "release":
                    Job(hall.ingest.release()).finish()
                elif what == "orphans":
                    Job(hall.ingest.drop_orphans()).finish()
                else:
                    Job(hall.receipts.publish_when_due()).finish()
                    Job(hall.receipts._tidy()).finish()
            finally:
                hall.is_writing = False

        if not self.is_healing:
            self.tell(f"{hall.name}: {what}")
        self.guarded(hall, work)

    def pause(self) -> bool:
        """A caretaker pauses a neighbour, or lets it go on."""
        pair = self.chance.choice(list(self.pairs.values()))
        hall = self.chance.choice(self.machines(pair.one))
        if hall is self.mallory:
            return False
        tie = Tie.PAUSED if self.chance.random() < 0.4 else Tie.PAIRED
        self.guarded(
            hall,
            lambda: hall.card.transact(lambda connection: neighbours.tie(connection, pair.other, tie)),
        )
        talk = hall.talks.get(pair.other)
        if tie is Tie.PAUSED and talk is not None:
            talk.line.close()
            talk.tell(None)
        return True

    def carry_stick(self) -> bool:
        """Somebody carries what one hub shares to another, whether these know each other or not."""
        chance = self.chance
        giver, taker = chance.choice(self.everybody), chance.choice(self.halls)
        if giver.hub == taker.hub:
            return False
        records = giver_records(giver, taker, self)
        chance.shuffle(records)
        records = records[: chance.randint(0, 40)]
        self.tell(f"a stick from {giver.name} to {taker.name}: {len(records)} records")

        taker.carried.update(map(id_of, records))

        def work() -> None:
            source = Source(giver.hub if chance.random() < 0.8 else None, stick=True)
            Job(taker.ingest.take(source, records)).finish()

        self.guarded(taker, work)
        return True

    def plot(self) -> bool:
        """Mallory does something."""
        if self.mallory is None:
            return False
        mallory = self.mallory
        self.guarded(mallory, mallory.plot)
        for talk in list(mallory.talks.values()):
            self.go_on(talk)
        return True

    # --- rest -------------------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        """Heal everything, let all that is said be heard, and look whether all is as it should be."""
        self.tell("the town comes to rest")
        self.is_healing = True
        if self.chance.random() < 0.4:
            self.world.pass_by(self.chance.uniform(1, 12) * 86_400)
        self._heal()
        for attempt in range(60):
            self._catch_up()
            if self._is_quiet():
                break
            self.world.pass_by(86_400 if self._waits() or attempt > 2 else 65)
        invariants.check(self)
        self.is_healing = False
        self.watch(self)

    def _heal(self) -> None:
        self.parted.clear()
        if self.mallory is not None:
            self.mallory.halt()
            self.mallory.boot()
        for line in self.lines:
            line.tear(self.chance)
        for hall in self.halls:
            hall.card.cut_after = None
        self._put_away_clones()
        for hall in self.halls:
            self.crash(hall)
            hall.clock.wrong_ms = 0
            for pair in self.pairs_of(hall.hub):
                hall.card.transact(
                    lambda connection, pair=pair, hall=hall: neighbours.tie(  # type: ignore[misc]
                        connection, pair.other_than(hall.hub), Tie.PAIRED
                    )
                )
        self.lines.clear()
        self.ringing.clear()
        self.world.ms = max([self.world.ms, *(self._latest(hall) for hall in self.halls)]) + MINUTE_MS
        for hall in self.halls:
            hall.boot()

    def _latest(self, hall: Hall) -> int:
        """The latest stamp of an honest hub in a log."""
        outlaw = self.outlaw
        rows = hall.card.connection.execute("SELECT id, header FROM record").fetchall()
        rows += hall.card.connection.execute("SELECT id, header FROM waiting_record").fetchall()
        stamps = [header.stamp.ms for row in rows if (header := self.ledger.header(*row)).hub != outlaw]
        return max([journal.last_stamp(hall.card.connection).ms, *stamps])

    def _put_away_clones(self) -> None:
        for hub in sorted({hall.hub for hall in self.halls}):
            twins = self.machines(hub)
            if len(twins) > 1:
                gone = self.chance.choice(twins)
                gone.halt()
                self.halls.remove(gone)
                self.tell(f"{gone.name} is put away")

    def _catch_up(self) -> None:
        for hall in self.halls:
            hall.decide_forks()
            hall.let_strangers_in()
            self.look_after(hall, "release")
            self.look_after(hall, "purge")
        for pair in self.pairs.values():
            if self.outlaw in (pair.one, pair.other):
                continue
            [one], [other] = self.machines(pair.one), self.machines(pair.other)
            if other.hub not in one.talks and one.hub not in other.talks:
                self.call(one, other)
            elif other.hub in one.talks:
                one.talks[other.hub].tell(asked)
        self._run_dry()

    def _run_dry(self) -> None:
        while True:
            busy = False
            for hall in self.halls:
                if hall.has_news:
                    hall.tell_news()
                for talk in list(hall.ready()):
                    busy = True
                    self.go_on(talk)
            while self.ringing:
                busy = self.answer()
            while self.carry():
                busy = True
            if not busy:
                return

    def _is_quiet(self) -> bool:
        return (
            not self._waits()
            and not any(hall.has_news or hall.is_copied() for hall in self.halls)
            and not any(True for _ in invariants.differences(self))
        )

    def _waits(self) -> bool:
        return any(hall.waiting() for hall in self.halls)


def giver_records(giver: Hall, taker: Hall, town: Town) -> list[WireRecord]:
    """What a bundle of one hub for another brings (`hub.sync.bundle`)."""
    snapshot = sets.StoredSnapshot(giver.card.connection, giver.index)
    pair = town.pair(giver.hub, taker.hub)
    keys = town.sets_of(pair) if pair else [key for key in snapshot.shared_sets() if not key.origin]
    wires = [snapshot.wire(n) for key in keys for _, n in snapshot.items_since(key)]
    found = [each for each in wires if each is not None]
    if isinstance(giver, Mallory):
        found = [giver.spoil(each) if town.chance.random() < 0.4 else each for each in found]
    return found


_TABLE: list[tuple[Callable[[Town], bool], float]] = [
    (Town.carry, 55),
    (Town.work, 8),
    (Town.write, 9),
    (Town.speak, 4),
    (Town.let_time_pass, 7),
    (Town.dial, 7),
    (Town.answer, 7),
    (Town.break_line, 1.2),
    (Town.part, 0.6),
    (Town.turn_clock, 0.5),
    (Town.cut_power, 0.8),
    (Town.back_up, 0.3),
    (Town.restore, 0.2),
    (Town.clone, 0.15),
    (Town.keep_house, 2.5),
    (Town.pause, 0.4),
    (Town.carry_stick, 0.6),
    (Town.plot, 5),
]
_ACTS = [act for act, _ in _TABLE]
_WEIGHTS = [weight for _, weight in _TABLE]
