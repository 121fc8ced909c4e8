"""A session: what two paired hubs say to each other while they are connected, as a state machine.

One for each connection, alike on both sides. Nothing here waits, reads a clock or touches a disk: whoever
drives it hands in frames, the time and a `Snapshot`, and carries out the effects in their order, each once.
Nothing that the other side sends raises: what breaks a rule ends the session (`End`). Nothing is kept for
the next one: it begins with what the sets hold by then (docs/protocol.md, "Session").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from hub.domain.admission import Outcome
from hub.domain.clock import TimeQuality
from hub.domain.ids import HubId
from hub.domain.reconcile import BadMessage, Item
from hub.domain.records import WireRecord
from hub.domain.sharing import Choices, SetKey, sets_between
from hub.sync.protocol.fetching import Fetching, InFlight
from hub.sync.protocol.frames import (
    Bye,
    Frame,
    Hello,
    Mark,
    Offered,
    OtherProtocol,
    Ping,
    Pong,
    Received,
    Reconcile,
    Records,
    Summary,
    Taken,
    Told,
    Wanted,
    decode,
    encode,
    is_reason,
)
from hub.sync.protocol.giving import Giving
from hub.sync.protocol.limits import DEFAULT_LIMITS, Limits, TooMuch, Unexpected
from hub.sync.protocol.negentropy import Reconciler, TooManyOpen, TooManyRounds
from hub.sync.protocol.snapshot import Snapshot
from hub.words import N_

PROTOCOL = 1
"""The only version of the session's protocol so far."""


class PeerTooOld(BadMessage):
    """The other hub's newest protocol is older than the oldest spoken here."""

    code = "protocol-too-old"
    template = N_(
        "That hub’s program is too old for this one: it needs protocol {needed} or newer. "
        "Nothing was exchanged and nothing is lost. Update that hub."
    )

    def __init__(self, needed: int = PROTOCOL) -> None:
        super().__init__()
        self.fields = {"needed": needed}


class PeerTooNew(PeerTooOld):
    """The other hub's oldest protocol is newer than the newest spoken here."""

    code = "protocol-too-new"
    template = N_(
        "This hub’s program is too old for that one: it needs protocol {needed} or newer. "
        "Nothing was exchanged and nothing is lost. Update this hub."
    )


class SameHub(BadMessage):
    """The other hub says that it is this one."""

    code = "same-hub"
    template = N_(
        "Another machine says that it is this hub. Nothing was exchanged. "
        "Perhaps its card was copied: run only one of the two."
    )


class AnotherHub(BadMessage):
    """The hello is of another hub than the connection's certificate."""

    code = "another-hub"


class Stalled(BadMessage):
    """What was waited for did not come in time."""

    code = "no-progress"


class Silent(BadMessage):
    """Nothing came for a long time, not even an answer to a ping."""

    code = "silent"


class ToldBye(BadMessage):
    """The other side ended the session; ``reason`` is its code."""

    code = "left"
    template = N_("The other hub ended the exchange ({reason}). What came so far is kept.")

    def __init__(self, reason: str = "left") -> None:
        super().__init__()
        self.fields = {"reason": reason}


@dataclass(frozen=True, slots=True)
class Moment:
    """Now: ``now_ms`` is this hub's time (Unix ms), ``monotonic`` seconds of a clock that never jumps;
    ``quality`` is how far the time can be trusted (None: as at the hello)."""

    now_ms: int
    monotonic: float
    quality: TimeQuality | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """What this hub says of itself in its hello: see `hub.sync.protocol.frames.Hello`."""

    program: str
    name: str
    colour: str
    quality: TimeQuality
    choices: Choices
    told: tuple[Told, ...] = ()
    lowest: int = PROTOCOL
    highest: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Send:
    """Send a frame, after those before it."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Ingest:
    """Verify and store ``records`` (it may be none), then call `Session.stored`, in the order of these."""

    records: tuple[WireRecord, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """The other hub spoke of itself: at its hello, and whenever its clock was measured.

    ``protocol`` is the version spoken. ``offset_ms`` is its clock less ours, and ``steady_ms`` its clock
    less our clock that only runs forward; None at the hello.
    """

    hello: Hello
    protocol: int
    offset_ms: int | None = None
    steady_ms: int | None = None


@dataclass(frozen=True, slots=True)
class InStep:
    """A round is over: both sides have all that the other let go.

    ``equal`` is False where sets still differ, by records that came or were refused meanwhile.
    """

    equal: bool = True


@dataclass(frozen=True, slots=True)
class End:
    """The session is over: close the connection. ``code`` and ``fields`` are for the caretaker."""

    code: str
    fields: Mapping[str, object]


Effect = Send | Ingest | Heard | InStep | End


class Session:
    """One side of a connection between the hubs ``me`` and ``peer`` (which its certificate proved)."""

    def __init__(
        self,
        me: HubId,
        peer: HubId,
        *,
        dialled: bool,
        offer: Offer,
        in_flight: InFlight | None = None,
        chance: Callable[[], float] = lambda: 0.5,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """``dialled`` says that this side opened the connection: it leads the rounds.

        ``in_flight`` is shared by all sessions of this hub. ``chance`` gives numbers from 0 to below 1.
        """
        self._me = me
        self._peer = peer
        self._leads = dialled
        self._offer = offer
        self._chance = chance
        self._limits = limits
        self._fetching = Fetching(limits, InFlight(limits.patience_s) if in_flight is None else in_flight)
        self._giving = Giving(limits, ())
        self._effects: list[Effect] = []
        self._ended = False

        self._hello: Hello | None = None
        self._keys: list[SetKey] = []
        self._places: dict[SetKey, int] = {}

        self._said: Summary | None = None
        """Ours of a round, until theirs has come."""
        self._running = False
        """From two summaries that differ to the closing ones."""
        self._ahead: deque[int] = deque()
        self._asking: Reconciler | None = None
        self._index = -1
        """The set that is being reconciled."""
        self._answer_due = False
        self._held: bytes | None = None
        """The next message about it, until what was found so far has gone its way."""
        self._answering: Reconciler | None = None
        self._unfinished = False
        self._moved = False
        """Whether records came or went in this round: then what it left out is worth another at once."""
        self._again = False
        self._asked_for: deque[float] = deque(maxlen=limits.rounds_a_minute)
        self._pinged: deque[float] = deque(maxlen=2 * limits.rounds_a_minute)

        self._ping: tuple[int, float] | None = None
        self._measures = False
        self._pings = 0
        self._heard_at = self._progress_at = self._round_at = 0.0
        self._awaited = True

    @property
    def to_go(self) -> int:
        """How many records are known to be missing here and on their way from this neighbour."""
        return self._fetching.to_go

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of this session."""
        return self._ended

    @property
    def is_busy(self) -> bool:
        """Whether anything is waited for, so that a late `tick` would be noticed."""
        return self._awaited or self._fetching.hopes

    def begin(self, snapshot: Snapshot, now: Moment) -> list[Effect]:
        """The connection stands: say hello."""
        self._heard_at = self._progress_at = now.monotonic
        offer = self._offer
        self._send(
            Hello(
                hub=self._me,
                lowest=offer.lowest,
                highest=offer.highest,
                program=offer.program,
                name=offer.name,
                colour=offer.colour,
                ms=now.now_ms,
                quality=offer.quality,
                choices=offer.choices,
                told=offer.told,
            )
        )
        return self._taken()

    def receive(self, frame: bytes, snapshot: Snapshot, now: Moment) -> list[Effect]:
        """The other side sent ``frame``."""
        if self._ended:
            return []
        self._heard_at = now.monotonic
        try:
            said = decode(frame, lowest=self._offer.lowest, highest=self._offer.highest)
            if said is not None:
                self._hear(said, snapshot, now)
        except OtherProtocol as other:
            if other.highest < self._offer.lowest:
                self._end(PeerTooOld(self._offer.lowest))
            else:
                self._end(PeerTooNew(other.lowest))
        except BadMessage as error:
            self._end(error)
        if not self._ended and self._has_stalled(now):
            self._end(Stalled())  # chatter does not keep a session
        return self._go_on(snapshot, now)

    def stored(self, outcome: Outcome, snapshot: Snapshot, now: Moment) -> list[Effect]:
        """What became of the oldest `Ingest`."""
        if self._ended:
            return []
        self._giving.theirs(self._fetching.store(outcome))
        self._moved = self._moved or bool(outcome.stored)
        self._progress_at = now.monotonic
        self._send(Received())
        return self._go_on(snapshot, now)

    def news(
        self, items: Sequence[tuple[SetKey, Item, int]], snapshot: Snapshot, now: Moment
    ) -> list[Effect]:
        """Records that are new here, with their urgency, wherever they came from: the other side may lack
        them."""
        if self._ended or self._hello is None:
            return []  # the first round will find them
        for key, item, urgency in items:
            place = self._places.get(key)
            if place is not None:
                self._giving.news(place, item.id, urgency)
        return self._go_on(snapshot, now)

    def tick(self, snapshot: Snapshot, now: Moment) -> list[Effect]:
        """Time has passed; to be called about once a second while `is_busy`, else every ten seconds."""
        if self._ended:
            return []
        silence = now.monotonic - self._heard_at
        if silence >= self._limits.silent_s:
            self._end(Silent())
        elif self._has_stalled(now):
            self._end(Stalled())
        elif self._hello is not None:
            self._fetching.look_again(now.monotonic)
            if self._leads and now.monotonic >= self._round_at:
                self._open_round(snapshot, now)
            elif silence >= self._limits.quiet_s:
                self._send_ping(now)
        return self._go_on(snapshot, now)

    def start_round(self, snapshot: Snapshot, now: Moment) -> list[Effect]:
        """Somebody wants a round at once: nothing happens while one is running."""
        if not self._ended and self._hello is not None:
            self._open_round(snapshot, now)
        return self._go_on(snapshot, now)

    def leave(self, reason: str) -> list[Effect]:
        """This side ends the session, and tells the other the ``reason``: a code, as ``paused``."""
        if self._ended:
            return []
        if not is_reason(reason):
            raise ValueError(reason)
        self._stop(reason, {})
        return self._taken()

    def lost(self) -> None:
        """The connection is gone: what was being fetched may be fetched from others. May be called twice."""
        self._ended = True
        self._fetching.leave()

    def _has_stalled(self, now: Moment) -> bool:
        return self._awaited and now.monotonic - self._progress_at >= self._limits.patience_s

    # What is heard

    def _hear(self, said: Frame, snapshot: Snapshot, now: Moment) -> None:
        if isinstance(said, Bye):
            self._ended = True
            self._fetching.leave()
            self._effects.append(End(ToldBye.code, {"reason": said.reason}))
        elif self._hello is None or isinstance(said, Hello):
            self._greet(said, snapshot, now)
        elif isinstance(said, Ping):
            _count(self._pinged, now)
            known = self._offer.quality if now.quality is None else now.quality
            self._send(Pong(said.number, now.now_ms, known))
        elif isinstance(said, Pong):
            self._measure(said, now)
        else:
            self._progress_at = now.monotonic
            self._work(said, snapshot, now)

    def _greet(self, said: Frame, snapshot: Snapshot, now: Moment) -> None:
        if self._hello is not None or not isinstance(said, Hello):
            raise Unexpected
        if said.hub == self._me:
            raise SameHub
        if said.hub != self._peer:
            raise AnotherHub
        self._hello = said
        self._keys = sets_between(self._me, self._peer, self._offer.choices, said.choices)
        self._places = {key: place for place, key in enumerate(self._keys)}
        self._giving = Giving(self._limits, self._keys)
        self._effects.append(Heard(said, self._protocol(said)))
        if self._leads:
            self._open_round(snapshot, now)

    def _protocol(self, hello: Hello) -> int:
        return min(hello.highest, self._offer.highest)

    def _work(self, said: Frame, snapshot: Snapshot, now: Moment) -> None:
        if isinstance(said, Reconcile | Offered | Wanted) and said.index >= len(self._keys):
            raise Unexpected
        match said:
            case Summary():
                self._compare(said, snapshot, now)
            case Reconcile():
                self._reconcile(said, snapshot)
            case Offered():
                self._giving.theirs(said.ids)
                self._fetching.offer(said)
            case Taken():
                self._giving.take(said, snapshot)
            case Wanted():
                self._giving.want(said, snapshot)
            case Records():
                self._fetching.arrive(said)
                self._effects.append(Ingest(said.records))
            case Received():
                self._giving.acknowledge()
                self._moved = True
            case _:
                raise Unexpected

    # Rounds

    def _open_round(self, snapshot: Snapshot, now: Moment) -> None:
        if self._running or self._said is not None:
            return
        self._unfinished = self._moved = False
        self._fetching.overflowed = self._giving.overflowed = False
        self._say_summary(snapshot, closing=False)
        self._measure_clock(now)

    def _say_summary(self, snapshot: Snapshot, *, closing: bool) -> Summary:
        said = Summary(closing, tuple(Mark(*snapshot.summary(key)) for key in self._keys))
        self._said = said
        self._send(said)
        return said

    def _compare(self, theirs: Summary, snapshot: Snapshot, now: Moment) -> None:
        """Both sides judge by the same two frames, so both come to the same end."""
        if len(theirs.marks) != len(self._keys):
            raise Unexpected
        ours = self._said
        if ours is None:
            if theirs.closing != self._running or (self._leads and theirs.closing):
                raise Unexpected
            if not theirs.closing:
                _count(self._asked_for, now)
                self._measure_clock(now)
            ours = self._say_summary(snapshot, closing=theirs.closing)
        elif theirs.closing != ours.closing:
            raise Unexpected
        self._said = None
        differing = [place for place, mark in enumerate(theirs.marks) if mark != ours.marks[place]]
        self._answering, self._index = None, -1
        if differing and not ours.closing:
            self._running = True
            if self._leads:
                self._ahead.extend(differing)
        else:
            self._close_round(now, equal=not differing)

    def _close_round(self, now: Moment, *, equal: bool) -> None:
        self._running = False
        self._effects.append(InStep(equal))
        spread = self._limits.jitter * (2 * self._chance() - 1)
        self._round_at = now.monotonic + self._limits.round_s * (1 + spread)
        left_out = self._unfinished or self._fetching.overflowed or self._giving.overflowed
        self._again = self._leads and self._moved and left_out

    def _reconcile(self, said: Reconcile, snapshot: Snapshot) -> None:
        view = snapshot.view(self._keys[said.index])
        if self._leads:
            if self._asking is None or not self._answer_due or said.index != self._index:
                raise Unexpected
            self._answer_due = False
            self._asking.view = view
            try:
                step = self._asking.reconcile(said.message)
            except (TooManyOpen, TooManyRounds):
                self._asking, self._unfinished = None, True
                return
            self._giving.have(self._index, step.have, snapshot)
            self._fetching.lists(self._index, step.need)
            self._held = step.reply
            if self._held is None:
                self._asking = None
            elif self._asking.is_spent:
                self._asking, self._held, self._unfinished = None, None, True
        else:
            if not self._running or self._said is not None or said.index < self._index:
                raise Unexpected
            if self._answering is None or said.index > self._index:
                self._answering, self._index = Reconciler(view, self._limits.message), said.index
            self._answering.view = view
            self._send(Reconcile(self._index, self._answering.answer(said.message)))

    @property
    def _is_looking(self) -> bool:
        """Whether more differences may be found before any is swapped: all of them go by urgency."""
        return (self._asking is not None or bool(self._ahead)) and not self._has_enough

    @property
    def _has_enough(self) -> bool:
        return max(self._fetching.waiting, self._giving.waiting) >= self._limits.enough

    def _lead_on(self, snapshot: Snapshot) -> None:
        """The next message of a round, unless enough was found before and has to go its way first."""
        if self._answer_due or self._said is not None or self._has_enough:
            return
        if self._asking is None and self._ahead:
            self._index = self._ahead.popleft()
            self._asking = Reconciler(snapshot.view(self._keys[self._index]), self._limits.message)
            self._held = self._asking.initiate()
        if self._held is not None:
            self._answer_due = True
            self._send(Reconcile(self._index, self._held))
            self._held = None
        elif self._fetching.is_idle and self._giving.is_idle:
            self._say_summary(snapshot, closing=True)

    # Time

    def _send_ping(self, now: Moment) -> None:
        if self._ping is None:
            self._pings += 1
            self._ping = (self._pings, now.monotonic)
            self._send(Ping(self._pings))

    def _measure_clock(self, now: Moment) -> None:
        self._measures = True
        self._send_ping(now)

    def _measure(self, said: Pong, now: Moment) -> None:
        if self._ping is None or said.number != self._ping[0] or self._hello is None:
            raise Unexpected
        there_and_back_ms = (now.monotonic - self._ping[1]) * 1000
        self._ping = None
        if self._measures:
            self._measures = False
            self._hello = replace(self._hello, quality=said.quality)
            its_ms = said.ms + round(there_and_back_ms / 2)
            offset_ms, steady_ms = its_ms - now.now_ms, its_ms - round(now.monotonic * 1000)
            self._effects.append(Heard(self._hello, self._protocol(self._hello), offset_ms, steady_ms))

    # What is said

    def _go_on(self, snapshot: Snapshot, now: Moment) -> list[Effect]:
        """Say what can be said now, and hand out the effects."""
        if not self._ended and self._hello is not None:
            if self._again:
                self._again = False
                self._open_round(snapshot, now)
            if self._running and self._leads:
                self._lead_on(snapshot)
            looking = self._is_looking
            for frame in self._fetching.say(snapshot, now.monotonic, hold=looking):
                self._send(frame)
            for frame in self._giving.say(snapshot, hold=looking):
                self._send(frame)
            if self._running and self._leads:
                self._lead_on(snapshot)  # nothing may have been left to say
        awaited = (
            self._hello is None
            or self._said is not None
            or self._running
            or self._fetching.awaits
            or self._giving.awaits
        )
        if awaited and not self._awaited:
            self._progress_at = now.monotonic
        self._awaited = awaited
        return self._taken()

    def _send(self, frame: Frame) -> None:
        self._effects.append(Send(encode(frame)))

    def _end(self, error: BadMessage) -> None:
        self._stop(error.code, error.fields)

    def _stop(self, reason: str, fields: Mapping[str, object]) -> None:
        self._send(Bye(reason))
        self._effects.append(End(reason, fields))
        self.lost()

    def _taken(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects


def _count(times: deque[float], now: Moment) -> None:
    """One more of what the other side may do so often a minute; raises `TooMuch`."""
    if len(times) == times.maxlen and now.monotonic - times[0] < 60:
        raise TooMuch
    times.append(now.monotonic)
