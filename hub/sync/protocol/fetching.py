"""The half of a session that fetches: what the other side listed or offered, until it is stored here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from hashlib import sha256

from hub.domain.admission import Outcome
from hub.domain.records import WireRecord
from hub.sync.protocol.frames import Frame, Offered, Records, Taken, Wanted
from hub.sync.protocol.limits import Limits, Recent, TooMuch, Unasked
from hub.sync.protocol.snapshot import Snapshot


class InFlight:
    """Which records are being fetched from some neighbour: one for a hub, shared by its sessions.

    A claim holds until it is released, or for ``patience_s`` seconds: a neighbour that lists a record and
    does not send it must not keep it from coming from another.
    """

    def __init__(self, patience_s: float = 60.0) -> None:
        self._patience_s = patience_s
        self._claims: dict[bytes, tuple[object, float]] = {}

    def __len__(self) -> int:
        return len(self._claims)

    def claim(self, record_id: bytes, by: object, monotonic: float) -> bool:
        """Whether ``by`` may fetch the record; from now on nobody else may."""
        claim = (by, monotonic)
        # One step: sessions may run in threads of their own.
        if self._claims.setdefault(record_id, claim) is claim:
            return True
        if not self.is_free(record_id, monotonic):
            return False
        self._claims[record_id] = claim
        return True

    def is_free(self, record_id: bytes, monotonic: float) -> bool:
        """Whether anybody may claim the record."""
        held = self._claims.get(record_id)
        return held is None or monotonic - held[1] >= self._patience_s

    def release(self, ids: Iterable[bytes], by: object) -> None:
        """Let go of what ``by`` claimed of ``ids``."""
        for each in ids:
            held = self._claims.get(each)
            if held is not None and held[0] is by:
                del self._claims[each]


class Fetching:
    """What this side wants. What arrived is not wanted again for some hours, stored or not."""

    def __init__(self, limits: Limits, in_flight: InFlight) -> None:
        self._limits = limits
        self._in_flight = in_flight
        self._listed: dict[bytes, int] = {}
        self._elsewhere: dict[bytes, int] = {}
        """Being fetched from another neighbour: wanted of this one when that fails."""
        self._offers: deque[Offered] = deque()
        self._wanted: set[bytes] = set()
        self._storing: deque[list[bytes]] = deque()
        self._claimed: set[bytes] = set()
        self._arrived = Recent(limits.waiting)
        self._forgets_at = 0.0
        self.overflowed = False
        """Whether anything listed was let go for want of room; reset by whoever starts another round."""

    @property
    def to_go(self) -> int:
        """How many records are known to be missing and on their way."""
        return len(self._listed) + len(self._claimed)

    @property
    def waiting(self) -> int:
        """How many listed ids have not been asked for yet."""
        return len(self._listed)

    @property
    def hopes(self) -> bool:
        """Whether something may have to be fetched here that another neighbour is to bring."""
        return bool(self._elsewhere)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to fetch from this neighbour."""
        return not (self._listed or self._offers or self._claimed)

    @property
    def awaits(self) -> bool:
        """Whether the other side owes records."""
        return bool(self._wanted)

    def lists(self, index: int, ids: Iterable[bytes]) -> None:
        """The other side has ``ids`` in the set at ``index``."""
        for each in ids:
            if each in self._claimed:
                continue
            if len(self._listed) >= self._limits.waiting:
                self.overflowed = True
                return
            self._listed.setdefault(each, index)

    def offer(self, offered: Offered) -> None:
        """The other side offers ids; raises `TooMuch`."""
        if len(self._offers) >= self._limits.offers:
            raise TooMuch
        self._offers.append(offered)

    def arrive(self, frame: Records) -> None:
        """What was wanted is here; raises `Unasked`, or `TooMuch` for more than may be unacknowledged."""
        if len(self._storing) >= self._limits.unacknowledged:
            raise TooMuch
        ids = [id_of(each) for each in frame.records]
        settled = {*ids, *frame.gone}
        if len(settled) < len(ids) + len(frame.gone) or not settled <= self._wanted:
            raise Unasked
        self._wanted -= settled
        self._storing.append([*ids, *frame.gone])

    def store(self, outcome: Outcome) -> list[bytes]:
        """What arrived first has been dealt with: returns the ids that were stored."""
        settled = self._storing.popleft()
        self._claimed.difference_update(settled)
        self._in_flight.release(settled, self)
        self._arrived.update(settled)
        return [each.item.id for each in outcome.stored]

    def look_again(self, monotonic: float) -> None:
        """Want of this neighbour what another was to bring and brings no more, if it did not."""
        for each in [each for each in self._elsewhere if self._in_flight.is_free(each, monotonic)]:
            self.lists(self._elsewhere.pop(each), [each])

    def say(self, snapshot: Snapshot, monotonic: float, *, hold: bool) -> Iterator[Frame]:
        """What can be asked for now; ``hold`` keeps back what was listed, since more may be."""
        while self._offers and len(self._wanted) + len(self._offers[0].ids) <= self._limits.wanted:
            offered = self._offers.popleft()
            yield Taken(tuple(self._lacks(each, offered.index, snapshot, monotonic) for each in offered.ids))
        if not hold:
            wishes = self._wishes(snapshot, monotonic)
            for place, (index, ids) in enumerate(wishes, start=1):
                yield Wanted(index, tuple(ids), more=place < len(wishes))

    def _wishes(self, snapshot: Snapshot, monotonic: float) -> list[tuple[int, list[bytes]]]:
        """As much of what was listed as there is room for, by set, in lists that fit into frames."""
        room = self._limits.wanted * 3 // 4  # the rest is for offers: an urgent one must not wait
        wishes: list[tuple[int, list[bytes]]] = []
        while self._listed and len(self._wanted) < room:
            each, index = next(iter(self._listed.items()))
            if self._lacks(each, index, snapshot, monotonic):
                if not wishes or wishes[-1][0] != index or len(wishes[-1][1]) == self._limits.ids:
                    wishes.append((index, []))
                wishes[-1][1].append(each)
        return wishes

    def leave(self) -> None:
        """The session has ended: others may fetch what it claimed."""
        self._in_flight.release(self._claimed, self)
        self._claimed.clear()
        self._wanted.clear()
        self._listed.clear()
        self._elsewhere.clear()
        self._offers.clear()

    def _lacks(self, each: bytes, index: int, snapshot: Snapshot, monotonic: float) -> bool:
        """Whether to ask for a record now; it then counts as asked for."""
        self._listed.pop(each, None)
        if monotonic >= self._forgets_at:
            self._arrived = Recent(self._limits.waiting)
            self._forgets_at = monotonic + self._limits.again_s
        if each in self._claimed or each in self._arrived or not snapshot.lacks(each):
            return False
        if not self._in_flight.claim(each, self, monotonic):
            if len(self._elsewhere) < self._limits.waiting:
                self._elsewhere[each] = index
            else:
                self.overflowed = True
            return False
        self._elsewhere.pop(each, None)
        self._claimed.add(each)
        self._wanted.add(each)
        return True


def id_of(record: WireRecord) -> bytes:
    """The id that a record has if it is genuine (`hub.domain.records.Record.id`)."""
    return sha256(record.header + record.signature).digest()
