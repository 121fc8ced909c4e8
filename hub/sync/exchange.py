"""The exchange: a session with every neighbour that can be reached, for as long as the hub runs.

The shell around `hub.sync.protocol.session`: it calls neighbours and answers them, hands each session its
frames, the time and a snapshot of the sets, and carries out what it asks for. All of a session's steps run
one after the other, in the thread of a database reader.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from hub import __version__
from hub.domain.admission import Outcome, Source
from hub.domain.clock import TimeQuality
from hub.domain.errors import HubError, NoRoom, Refused
from hub.domain.ids import HubId
from hub.domain.neighbours import Address, Learnt, Neighbour, Tie, callable_addresses
from hub.domain.reconcile import Item
from hub.domain.sharing import SetKey, sets_between
from hub.services.ingest import Ingest
from hub.services.neighbours import Greeting, Live, Neighbours
from hub.storage import sets
from hub.storage.database import Connection, Database
from hub.storage.log_index import LogIndex
from hub.sync.blobs import Fetcher
from hub.sync.line import Line
from hub.sync.protocol import session as core
from hub.sync.protocol.fetching import InFlight
from hub.sync.protocol.frames import MAX_TOLD, Bye, Told, encode
from hub.sync.protocol.limits import DEFAULT_LIMITS, Limits
from hub.sync.protocol.session import End, Heard, InStep, Moment, Offer, Send, Session
from hub.sync.protocol.snapshot import Snapshot
from hub.sync.transport import Caller, NotReached
from hub.sync.trust import Trust
from hub.words import N_

_log = logging.getLogger(__name__)

LEAST_PAUSE_S = 1.0
"""Between calls of a neighbour, and between its own that are answered: anybody can announce things on a
network, and each session costs the card a little."""
ONE_MOMENT_S = 5.0
"""For which a call that comes in may have been made before this hub's own was answered."""
FIRST_PAUSE_S = 3.0
LONGEST_PAUSE_S = 3600.0
"""Between calls that come to nothing: doubled each time, more or less a fifth."""
BUSY_TICK_S, IDLE_TICK_S = 1.0, 10.0
SYNC_NOW_S = 60.0
"""For which a caretaker who asks for a comparison is kept waiting."""
GOODBYE_S = 0.5
"""For telling a neighbour why a connection is closed at once."""
TOLD_OF_EACH = 2
"""Addresses of another neighbour that one is told, for the case that it cannot find it any more."""
_BLOBS_AGAIN_S = 30.0
"""Before blobs are asked for again of a neighbour that answered at none of its addresses."""
_FRAMES = 64
"""Frames that wait for a session: more than the protocol lets the other side send at once."""
_FRAMES_A_SECOND = 250
"""Of those that are taken in: a busy exchange has some dozens, and a neighbour shall not slow the board."""
_MOST_NEWS = 8_192
"""News that wait for a session; what is beyond them is found in the next round."""

PAUSED, UNPAIRED, COPIED = "paused", "unpaired", "copied"
"""Why a side leaves, for the other's caretakers (docs/protocol.md, "Session")."""

Step = Callable[[Session, Snapshot, Moment], list[core.Effect]]


class Unreachable(Refused):
    """No address of the neighbour is known, or none of them answers."""

    code = "unreachable"
    status = 504
    template = N_(
        "This hub knows no address at which {hub} answers. Nothing is lost, and it goes on trying. "
        "Look whether the other hub is switched on, or give its address with “hub neighbours remember”."
    )


class BrokeOff(HubError):
    """A session ended before both held the same; ``reason`` is the code of the rule or of what happened."""

    code = "exchange-broke-off"
    status = 502
    template = N_(
        "The exchange with that hub broke off ({reason}). What came so far is kept, and nothing is lost. "
        "This hub tries again by itself."
    )

    def __init__(self, reason: str) -> None:
        super().__init__(reason=reason)
        self.is_its_fault = reason not in (core.Silent.code, core.Stalled.code, HubError.code)
        """Whether the other hub broke a rule, rather than a cable."""


class PausedThere(Refused):
    """The other hub's caretakers paused the exchange."""

    code = "paused-there"
    status = 409
    template = N_(
        "The caretakers of that hub have paused the exchange. Nothing is lost. "
        "It goes on by itself when they let it go on."
    )


class PartedThere(Refused):
    """The other hub's caretakers ended the pairing."""

    code = "parted-there"
    status = 409
    template = N_(
        "The caretakers of that hub have ended the pairing. Nothing more is exchanged, and what came from it "
        "is still here. Ask them; pair again, or end the pairing here too."
    )


class CopiedThere(Refused):
    """The other hub found that a copy of it runs."""

    code = "copied-there"
    status = 409
    template = N_(
        "That hub runs on two machines at once, and exchanges nothing until its caretakers have said which "
        "is the right one. Nothing is lost."
    )


class CopiedHere(Refused):
    """A copy of this hub runs somewhere."""

    code = "copied-here"
    status = 409
    template = N_(
        "A copy of this hub is running somewhere, so nothing is exchanged. Nothing is lost. "
        "Look at “hub status” for what to do."
    )


@dataclass(frozen=True, slots=True)
class Self:
    """What this hub says of itself when a session begins."""

    name: str
    colour: str
    quality: TimeQuality
    addresses: tuple[Address, ...]


@dataclass(slots=True)
class _Peer:
    """A paired hub as the exchange has it."""

    hub: HubId
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is a reason to call it now."""
    task: asyncio.Task[None] | None = None
    talk: _Talk | None = None
    trouble: HubError | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a round ended or a call failed: whoever asked for a comparison has an answer."""
    answers_at: float = 0.0
    """When its last call was answered, by the monotonic clock, or will be."""


class Exchange:
    """Keeps sessions with all paired hubs: `run` until cancelled. `hub.services.neighbours.Swapping`."""

    def __init__(
        self,
        trust: Trust,
        caller: Caller,
        database: Database,
        neighbours: Neighbours,
        ingest: Ingest,
        fetcher: Fetcher,
        of_itself: Callable[[], Self],
        places_of: Callable[[Neighbour], Awaitable[Sequence[Address]]],
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        chance: Callable[[], float],
        at_once: int = 4,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """``places_of`` says where to call a neighbour, best first. ``chance`` gives numbers in [0, 1).

        ``at_once``: how many neighbours are called and caught up with at a time; sessions that are in
        step cost nothing and are not counted.
        """
        self._trust = trust
        self._caller = caller
        self._database = database
        self._neighbours = neighbours
        self._ingest = ingest
        self._fetcher = fetcher
        self._of_itself = of_itself
        self._places_of = places_of
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._chance = chance
        self._limits = limits
        self._in_flight = InFlight()
        self._index = LogIndex()
        self._places = asyncio.Semaphore(at_once)
        self._peers: dict[HubId, _Peer] = {}
        self._roster_changed = asyncio.Event()
        self._written = asyncio.Event()

    # --- for the rest of the hub ------------------------------------------------------------------

    async def run(self) -> None:
        """Call, answer and tell the news until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell_news())
                while True:
                    self._roster_changed.clear()
                    await self._follow_roster(group)
                    await self._roster_changed.wait()
        finally:
            self._peers.clear()

    async def answer(self, line: Line) -> None:
        """Converse over ``line``, which another hub opened, until either side ends it."""
        peer = self._peers.get(line.hub)
        if peer is None:  # those that are not paired do not come this far
            await _say_bye(line, PAUSED)
            return
        now = self._monotonic()
        peer.answers_at = max(now, peer.answers_at + LEAST_PAUSE_S)
        await asyncio.sleep(peer.answers_at - now)
        await self._converse(peer, line)

    def roster_changed(self) -> None:
        """Somebody was paired or parted with, or something was chosen anew."""
        self._roster_changed.set()

    def something_was_written(self) -> None:
        """Told after each commit."""
        self._written.set()

    def network_changed(self) -> None:
        """Addresses are new here or there: whoever did not answer is called again soon."""
        for peer in self._peers.values():
            peer.wake.set()
            if peer.talk is not None:
                self._look_whether_it_stands(peer.talk)

    async def sync_now(self, hub: HubId) -> None:
        """Compare with ``hub`` now; returns when that is done, has failed, or takes longer than a minute."""
        peer = self._peers.get(hub)
        if peer is None:
            return
        peer.settled.clear()
        if peer.talk is not None:
            peer.talk.tell(lambda session, snapshot, now: session.start_round(snapshot, now))
        peer.wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(SYNC_NOW_S):
                await peer.settled.wait()

    async def forget(self, hub: HubId) -> None:
        """Close every connection with ``hub`` at once; the roster says whether another is opened."""
        peer = self._peers.pop(hub, None)
        if peer is not None:
            if peer.talk is not None:
                found = await self._neighbours.find(hub)
                if found is None or found.tie is not Tie.PAIRED:
                    paused = found is not None and found.tie is Tie.PAUSED
                    await _say_bye(peer.talk.line, PAUSED if paused else UNPAIRED)
                peer.talk.line.cut()
            if peer.task is not None:
                peer.task.cancel()
            peer.settled.set()
        self._trust.unpin(hub)
        self._roster_changed.set()

    def live(self, hub: HubId) -> Live:
        """How the exchange with ``hub`` stands."""
        peer = self._peers.get(hub)
        if peer is None:
            return Live()
        trouble = peer.trouble
        return Live(
            connected=peer.talk is not None and peer.talk.greeting.is_set(),
            to_go=peer.talk.session.to_go if peer.talk is not None else 0,
            trouble=trouble.code if trouble else "",
            sentence=str(trouble) if trouble else "",
        )

    async def exchanged(self, hub: HubId) -> list[SetKey]:
        """The sets that are exchanged with ``hub`` now."""
        found = await self._neighbours.find(hub)
        if found is None or found.tie is not Tie.PAIRED:
            return []
        return sets_between(self._trust.hub, hub, found.choices, found.theirs)

    # --- the roster -------------------------------------------------------------------------------

    async def _follow_roster(self, group: asyncio.TaskGroup) -> None:
        pins = await self._neighbours.pins()
        for hub in self._trust.hubs - pins.keys():
            self._trust.unpin(hub)
        for hub, certificate in pins.items():
            found = await self._neighbours.find(hub)
            if found is not None and found.tie is Tie.PAIRED and hub not in self._peers:
                peer = self._peers[hub] = _Peer(hub)
                peer.task = group.create_task(self._keep(peer), name="neighbour")
            if hub not in self._trust.hubs:
                self._trust.pin(certificate)

    # --- calling ----------------------------------------------------------------------------------

    async def _keep(self, peer: _Peer) -> None:
        """Have a session with a neighbour whenever it can be had."""
        failed = 0
        while True:
            peer.wake.clear()
            talk = peer.talk
            if talk is not None:  # it has called
                await talk.over.wait()
                went_well = talk.was_in_step
            else:
                went_well = await self._call(peer)
            failed = 0 if went_well else failed + 1
            pause_s = min(FIRST_PAUSE_S * 2 ** min(max(0, failed - 1), 16), LONGEST_PAUSE_S)
            await asyncio.sleep(LEAST_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s * (0.8 + 0.4 * self._chance()) - LEAST_PAUSE_S):
                    await peer.wake.wait()

    async def _call(self, peer: _Peer) -> bool:
        """Try every address of a neighbour, and have a session; whether both came in step in it."""
        try:
            async with self._catching_up() as caught_up:
                found = await self._neighbours.find(peer.hub)
                if found is None or found.tie is not Tie.PAIRED or peer.talk is not None:
                    return True
                line, at = await self._dial(peer, found)
                if line is None:
                    return False
                try:
                    return await self._converse(peer, line, at, caught_up)
                finally:
                    line.cut()
                    await line.close()
        except HubError as error:  # of the database: a card without room, most of all
            await self._fail(peer, error)
        except Exception as error:
            _log.error("calling a neighbour failed", exc_info=error)
            await self._fail(peer, BrokeOff(HubError.code))
        return False

    async def _dial(self, peer: _Peer, found: Neighbour) -> tuple[Line | None, Address | None]:
        """A line to a neighbour at the first of its addresses where it answers, and that address."""
        trouble: HubError = Unreachable(hub=found.name)
        for address in await self._places_of(found):
            try:
                line = await self._caller.dial(peer.hub, address)
            except HubError as error:
                if not isinstance(error, NotReached):
                    trouble = error
            except KeyError:  # unpinned meanwhile
                return None, None
            else:
                await self._neighbours.learn(peer.hub, address, Learnt.MET, good=True)
                return line, address
            if peer.talk is not None:  # it has called meanwhile
                return None, None
        known = peer.trouble
        if isinstance(known, BrokeOff) and known.is_its_fault and trouble.code == Unreachable.code:
            peer.settled.set()  # what it did wrong is worth more to a caretaker than that it is off now
        else:
            await self._fail(peer, trouble)
        return None, None

    @asynccontextmanager
    async def _catching_up(self) -> AsyncIterator[Callable[[], None]]:
        """A place among those that are caught up with, until the block ends or what it yields is called."""
        await self._places.acquire()
        held = True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                self._places.release()

        try:
            yield give_back
        finally:
            give_back()

    # --- conversing -------------------------------------------------------------------------------

    async def _gives_way(self, peer: _Peer, line: Line) -> bool:
        """Whether ``line`` becomes the session with ``peer``: both may have called at one moment.

        Then the one stays that the hub of the smaller id opened. Otherwise the newer one does: the other
        hub would not have called while the older one served it.
        """
        while (talk := peer.talk) is not None:
            at_one_moment = talk.line.called != line.called and self._monotonic() - talk.began < ONE_MOMENT_S
            if at_one_moment and talk.line.called == (self._trust.hub < peer.hub):
                return False
            talk.line.cut()
            await talk.over.wait()
        return True

    async def _converse(
        self,
        peer: _Peer,
        line: Line,
        at: Address | None = None,
        caught_up: Callable[[], None] = lambda: None,
    ) -> bool:
        """Keep a session over ``line`` until it ends, and fetch blobs; whether both came in step.

        ``at`` is where this hub called.
        """
        if await self._ingest.is_copied():
            await _say_bye(line, COPIED)
            await self._fail(peer, CopiedHere())
            return False
        known = {each.neighbour.hub: each.neighbour for each in await self._neighbours.every()}
        found = known.pop(peer.hub, None)
        if found is None or found.tie is not Tie.PAIRED or not await self._gives_way(peer, line):
            return False
        if self._peers.get(peer.hub) is not peer:
            return False
        # From here to where the talk is set nothing waits: only one line can be the session.
        session = Session(
            self._trust.hub,
            peer.hub,
            dialled=line.called,
            offer=self._offer(found, known.values()),
            in_flight=self._in_flight,
            chance=self._chance,
            limits=self._limits,
        )
        talk = peer.talk = _Talk(
            line,
            session,
            self._moment,
            self._database,
            self._index,
            partial(self._carry_out, peer),
            self._look_whether_it_stands,
            caught_up,
        )
        talk.at = at
        try:
            async with asyncio.TaskGroup() as group:
                talk.group = group
                parts = [group.create_task(talk.read()), group.create_task(self._fetch_blobs(peer, talk))]
                await talk.run()
                for part in parts:
                    part.cancel()
                await line.close()
        except* HubError as errors:  # a card without room, most of all
            await self._fail(peer, _first_of(errors))
        except* ConnectionError:
            pass
        except* Exception as errors:
            _log.error("a session with a neighbour failed", exc_info=errors)
            await self._fail(peer, BrokeOff(HubError.code))
        finally:
            session.lost()
            line.cut()
            peer.talk = None
            peer.settled.set()
            talk.over.set()
        return talk.was_in_step

    def _offer(self, found: Neighbour, others: Iterable[Neighbour]) -> Offer:
        """What a neighbour is told: of this hub, and where others answered that it may be paired with too."""
        itself = self._of_itself()
        told = [Told(self._trust.hub, address) for address in itself.addresses]
        for other in others:
            if other.tie is Tie.PAIRED:
                good = sorted((-each.good_ms, each.address) for each in other.addresses if each.good_ms)
                told += [Told(other.hub, address) for _, address in good[:TOLD_OF_EACH]]
        return Offer(
            program=__version__,
            name=itself.name,
            colour=itself.colour,
            quality=itself.quality,
            choices=found.choices,
            told=tuple(told[:MAX_TOLD]),
        )

    async def _carry_out(self, peer: _Peer, talk: _Talk, effect: core.Effect) -> Step | None:
        """Do what a session asks for; returns its next step, if there is one at once."""
        match effect:
            case Send(frame):
                await talk.line.send(frame)
            case core.Ingest(records):
                talk.store(self._ingest.take(Source(peer.hub), records))
            case Heard():
                await self._hear(peer, talk, effect)
            case InStep(equal):
                talk.was_in_step = True
                talk.caught_up()
                peer.trouble = None
                if equal:
                    await self._neighbours.in_step(peer.hub)
                peer.settled.set()
                if await self._ingest.is_copied():
                    await self._fail(peer, CopiedHere())
                    return lambda session, snapshot, now: session.leave(COPIED)
            case End():
                if peer.trouble is None or effect.code != COPIED:
                    await self._fail(peer, ended(effect))
        return None

    async def _hear(self, peer: _Peer, talk: _Talk, heard: Heard) -> None:
        hello, line = heard.hello, talk.line
        told = tuple(told.address for told in hello.told if told.hub == peer.hub)
        await self._neighbours.greeted(
            peer.hub,
            Greeting(
                name=hello.name,
                colour=hello.colour,
                version=hello.program,
                protocol=heard.protocol,
                choices=hello.choices,
                quality=hello.quality,
                steady_ms=heard.steady_ms,
                addresses=told,
            ),
        )
        if talk.greeting.is_set():
            return
        if not line.called:
            found = await self._neighbours.find(peer.hub)
            known = [each.address for each in found.addresses] if found is not None else []
            for port in {address.port for address in told or known}:
                talk.at = Address(line.address, port)
                await self._neighbours.learn(peer.hub, talk.at, Learnt.MET)
        for hub, other in self._peers.items():
            if other.talk is None:
                await self._learn_of(other, [each.address for each in hello.told if each.hub == hub])
        talk.greeting.set()

    async def _learn_of(self, other: _Peer, told: Sequence[Address]) -> None:
        """A neighbour said where another one answered, which this hub cannot find now."""
        found = await self._neighbours.find(other.hub) if told else None
        known = {each.address for each in found.addresses} if found is not None else set()
        new = set(callable_addresses(told[:TOLD_OF_EACH])) - known
        for address in new:
            await self._neighbours.learn(other.hub, address, Learnt.TOLD)
        if new:
            other.wake.set()

    async def _fail(self, peer: _Peer, trouble: HubError) -> None:
        known, peer.trouble = peer.trouble, trouble
        if known is None or str(known) != str(trouble):
            _log.info("no exchange with a neighbour", extra={"code": trouble.code})
            with suppress(NoRoom):
                await self._neighbours.troubled(peer.hub, trouble.code)
        peer.settled.set()

    async def _fetch_blobs(self, peer: _Peer, talk: _Talk) -> None:
        await talk.greeting.wait()
        while True:  # each ends when nobody answers there any more
            try:
                found = await self._neighbours.find(peer.hub)
                places = [*([talk.at] if talk.at else []), *(await self._places_of(found) if found else [])]
                for address in dict.fromkeys(places):
                    await self._fetcher.run_with(peer.hub, partial(self._caller.get, peer.hub, address))
            except Exception as error:
                _log.error("fetching files from a neighbour failed", exc_info=error)
            await asyncio.sleep(_BLOBS_AGAIN_S)

    def _look_whether_it_stands(self, talk: _Talk) -> None:
        """Cut all connections when this machine has lost the address that the line was opened from."""
        if not talk.line.stands():
            talk.line.cut()
            self._caller.cut(talk.line.hub)

    def _moment(self) -> Moment:
        return Moment(self._now_ms(), self._monotonic(), self._of_itself().quality)

    # --- news -------------------------------------------------------------------------------------

    async def _tell_news(self) -> None:
        """Hand every session what came into the log, wherever it came from."""
        last = await self._database.read_with(sets.newest)
        while True:
            await self._written.wait()
            self._written.clear()
            last, items = await self._database.read_with(partial(_news_since, last))
            for peer in self._peers.values() if items else ():
                if peer.talk is not None:
                    peer.talk.tell_news(items)


def ended(end: End) -> HubError:
    """What a session's end is to a caretaker."""
    if end.code == core.ToldBye.code:
        for reason, known_here in ((PAUSED, PausedThere), (UNPAIRED, PartedThere), (COPIED, CopiedThere)):
            if end.fields.get("reason") == reason:
                return known_here()
    for known in (core.PeerTooOld, core.PeerTooNew, core.ToldBye):
        if known.code == end.code:
            return known(**end.fields)  # type: ignore[arg-type]
    return core.SameHub() if end.code == core.SameHub.code else BrokeOff(end.code)


News = Sequence[tuple[SetKey, Item, int]]


def _news_since(last: int, connection: Connection) -> tuple[int, News]:
    return sets.newest(connection), sets.news(connection, last)


async def _say_bye(line: Line, reason: str) -> None:
    """Tell the other side why nothing more is said; it may not hear it."""
    with suppress(OSError, RuntimeError, TimeoutError):
        async with asyncio.timeout(GOODBYE_S):
            await line.send(encode(Bye(reason)))


def _first_of(errors: BaseExceptionGroup[HubError]) -> HubError:
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, HubError)  # noqa: S101 - only such are in it
    return found


class _Talk:
    """A session with its line: whatever happens waits in a queue, and each is one step."""

    def __init__(
        self,
        line: Line,
        session: Session,
        moment: Callable[[], Moment],
        database: Database,
        index: LogIndex,
        carry_out: Callable[[_Talk, core.Effect], Awaitable[Step | None]],
        ticking: Callable[[_Talk], None],
        caught_up: Callable[[], None],
    ) -> None:
        self.line = line
        self.session = session
        self.greeting = asyncio.Event()
        self.over = asyncio.Event()
        self.was_in_step = False
        self.at: Address | None = None
        """Where the other hub answers, as far as this line shows."""
        self.began = moment().monotonic
        self.caught_up = caught_up
        self._moment = moment
        self._database = database
        self._index = index
        self._carry_out = carry_out
        self._ticking = ticking
        self._waiting: asyncio.Queue[Callable[[], Step | None]] = asyncio.Queue()
        """Each gives a step when its turn has come; None is the end."""
        self._room = asyncio.Semaphore(_FRAMES)
        self.group: asyncio.TaskGroup
        self._storing: asyncio.Task[None] | None = None
        self._news: list[tuple[SetKey, Item, int]] = []
        self._clock = asyncio.get_running_loop().time
        self._ticked = self._clock()

    def tell(self, step: Step) -> None:
        """Let the session take ``step`` when its turn comes."""
        self._waiting.put_nowait(lambda: step)

    def store(self, taking: Awaitable[Outcome]) -> None:
        """Let records be taken in while the next ones come; the session hears of it in the order of these."""
        self._storing = self.group.create_task(self._stored(taking, self._storing))

    async def _stored(self, taking: Awaitable[Outcome], before: asyncio.Task[None] | None) -> None:
        outcome = await taking
        if before is not None:
            await before
        self.tell(lambda session, snapshot, now: session.stored(outcome, snapshot, now))

    def tell_news(self, items: News) -> None:
        """Records are new here."""
        if not self._news:
            self._waiting.put_nowait(self._take_news)
        self._news += items[: _MOST_NEWS - len(self._news)]

    async def read(self) -> None:
        """Take in frames until the line is closed."""
        since, frames = self._clock(), 0
        with suppress(OSError):
            while (frame := await self.line.receive()) is not None:
                await self._room.acquire()
                frames += 1
                if frames >= _FRAMES_A_SECOND:
                    await asyncio.sleep(since + 1 - self._clock())
                if self._clock() >= since + 1:
                    since, frames = self._clock(), 0
                self._waiting.put_nowait(partial(self._take_frame, frame))
        self._waiting.put_nowait(lambda: None)

    async def run(self) -> None:
        """Until either side ends it, or the line is closed."""
        step: Step | None = lambda session, snapshot, now: session.begin(snapshot, now)  # noqa: E731
        while step is not None and not self.session.has_ended:
            following = deque([step])
            while following:
                for effect in await self._database.read_with(partial(self._stepped, following.popleft())):
                    then = await self._carry_out(self, effect)
                    if then is not None:
                        following.append(then)
            step = await self._next_step() if not self.session.has_ended else None

    async def _next_step(self) -> Step | None:
        """What comes next; and now and then that time has passed, however much comes."""
        tick_at = self._ticked + (BUSY_TICK_S if self.session.is_busy else IDLE_TICK_S)
        if self._clock() < tick_at:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(tick_at):
                    return (await self._waiting.get())()
        self._ticked = self._clock()
        self._ticking(self)
        return lambda session, snapshot, now: session.tick(snapshot, now)

    def _take_frame(self, frame: bytes) -> Step:
        self._room.release()
        return lambda session, snapshot, now: session.receive(frame, snapshot, now)

    def _take_news(self) -> Step:
        items, self._news = self._news, []
        return lambda session, snapshot, now: session.news(items, snapshot, now)

    def _stepped(self, step: Step, connection: Connection) -> list[core.Effect]:
        return step(self.session, sets.StoredSnapshot(connection, self._index), self._moment())
