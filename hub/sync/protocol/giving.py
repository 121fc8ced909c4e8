"""The half of a session that gives: what the other side may lack is offered, and sent when it is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush

from hub.domain.records import WireRecord
from hub.domain.sharing import SetKey
from hub.sync.protocol.fetching import id_of
from hub.sync.protocol.frames import Frame, Offered, Records, Taken, Wanted
from hub.sync.protocol.limits import Limits, Recent, TooMuch, Unexpected
from hub.sync.protocol.snapshot import Snapshot


class Giving:
    """What goes out of the sets ``keys``, the urgent first, and never from outside them."""

    def __init__(self, limits: Limits, keys: Sequence[SetKey]) -> None:
        self._limits = limits
        self._keys = keys
        self._order = 0
        """Counts what comes in: equally urgent records keep their order."""
        self._found: list[tuple[int, int, int, bytes]] = []
        """What reconciliation found, until there is no more of it: then it is sorted in with the news."""
        self._to_offer: list[tuple[int, int, int, bytes]] = []
        self._offering: set[bytes] = set()
        self._offered: deque[Offered] = deque()
        self._outbox: list[tuple[int, int, bytes, int]] = []
        self._gone: list[bytes] = []
        self._unacknowledged = 0
        self._more_wanted = False
        self._theirs = Recent(limits.waiting)
        self.overflowed = False
        """Whether anything to offer was let go for want of room; reset by whoever starts another round."""

    @property
    def waiting(self) -> int:
        """How many ids have not been offered yet."""
        return len(self._found) + len(self._to_offer)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to offer or to send."""
        return not (self.waiting or self._offered or self._outbox or self._gone or self._unacknowledged)

    @property
    def awaits(self) -> bool:
        """Whether the other side owes answers, acknowledgements, or the rest of what it wants."""
        return bool(self._offered or self._unacknowledged or self._more_wanted)

    def theirs(self, ids: Iterable[bytes]) -> None:
        """The other side has ``ids``: they are not offered to it as news."""
        self._theirs.update(ids)

    def news(self, index: int, record_id: bytes, urgency: int) -> None:
        """A record came in that the other side may lack."""
        if record_id not in self._theirs:
            self._push(self._to_offer, index, record_id, urgency)

    def have(self, index: int, ids: Iterable[bytes], snapshot: Snapshot) -> None:
        """The other side lacks ``ids`` of the set at ``index``."""
        for each in ids:
            if self.waiting >= self._limits.waiting:
                self.overflowed = True
                return
            entry = snapshot.entry(self._keys[index], each)
            if entry is not None:
                self._push(self._found, index, each, entry.urgency)

    def want(self, wanted: Wanted, snapshot: Snapshot) -> None:
        """The other side wants ids that this one listed; raises `TooMuch`."""
        self._put_out(wanted.index, wanted.ids, snapshot)
        self._more_wanted = wanted.more

    def take(self, taken: Taken, snapshot: Snapshot) -> None:
        """The answer to the oldest offer; raises `Unexpected`, or `TooMuch` where too much is taken."""
        if not self._offered or len(taken.wanted) != len(self._offered[0].ids):
            raise Unexpected
        offered = self._offered.popleft()
        self._offering.difference_update(offered.ids)
        wanted = [each for each, is_wanted in zip(offered.ids, taken.wanted, strict=True) if is_wanted]
        self._put_out(offered.index, wanted, snapshot)

    def acknowledge(self) -> None:
        """The other side stored what was sent first; raises `Unexpected`."""
        if not self._unacknowledged:
            raise Unexpected
        self._unacknowledged -= 1

    def say(self, snapshot: Snapshot, *, hold: bool) -> Iterator[Frame]:
        """What can be offered and sent now; ``hold`` keeps back what was found, since more may be."""
        if not hold:
            for each in self._found:
                heappush(self._to_offer, each)
            self._found.clear()
        while self._to_offer and len(self._offered) < self._limits.offers:
            index = self._to_offer[0][2]
            ids: list[bytes] = []
            while self._to_offer and self._to_offer[0][2] == index and len(ids) < self._limits.ids:
                ids.append(heappop(self._to_offer)[3])
            offered = Offered(index, tuple(ids))
            self._offered.append(offered)
            yield offered
        while (
            (self._outbox or self._gone)
            and not self._more_wanted
            and self._unacknowledged < self._limits.unacknowledged
        ):
            self._unacknowledged += 1
            yield self._next_records(snapshot)

    def _push(
        self, heap: list[tuple[int, int, int, bytes]], index: int, record_id: bytes, urgency: int
    ) -> None:
        if record_id in self._offering:
            return
        if self.waiting >= self._limits.waiting:
            self.overflowed = True
            return
        self._order += 1
        self._offering.add(record_id)
        heappush(heap, (urgency, self._order, index, record_id))

    def _put_out(self, index: int, ids: Sequence[bytes], snapshot: Snapshot) -> None:
        if len(self._outbox) + len(self._gone) + len(ids) > self._limits.wanted:
            raise TooMuch
        for each in ids:
            entry = snapshot.entry(self._keys[index], each)
            if entry is None:
                self._gone.append(each)
            else:
                self._order += 1
                heappush(self._outbox, (entry.urgency, self._order, each, entry.n))

    def _next_records(self, snapshot: Snapshot) -> Records:
        """The most urgent records that fit into a frame, and the ids of some that are gone."""
        records: list[WireRecord] = []
        size = 0
        while self._outbox and len(records) < self._limits.records:
            _, _, record_id, n = self._outbox[0]
            record = snapshot.wire(n)
            # A place in the log may have come to another record since, of whatever scope.
            if record is None or id_of(record) != record_id:
                self._gone.append(record_id)
            elif records and size + record.size > self._limits.records_bytes:
                break
            else:
                records.append(record)
                size += record.size
            heappop(self._outbox)
        gone, self._gone = self._gone[: self._limits.ids], self._gone[self._limits.ids :]
        return Records(tuple(records), tuple(gone))
