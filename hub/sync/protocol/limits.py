"""What a session allows itself and the other side, and the rules whose breach ends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hub.domain.reconcile import BadMessage
from hub.sync.protocol.frames import MAX_IDS, MAX_RECORDS, MAX_RECORDS_BYTES
from hub.sync.protocol.negentropy import FRAME_BYTES


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers of a session. The first group is part of the protocol: both sides hold to it."""

    wanted: int = 8_192
    """Ids that one side may want and not have yet: what they are sorted by urgency among."""
    offers: int = 4
    """`Offered` frames without an answer."""
    unacknowledged: int = 4
    """`Records` frames without a `Received`: little lies between an urgent notice and its reader."""
    ids: int = MAX_IDS
    records: int = MAX_RECORDS
    records_bytes: int = MAX_RECORDS_BYTES
    message: int = FRAME_BYTES

    waiting: int = 16_384
    """Ids of either direction whose turn has not come; what is found beyond them is found again later."""
    enough: int = 12_288
    """Of those, from which on no further differences are looked for: what three months apart come to, so that
    the erasures among them, which are the newest, are found before anything is sent."""
    patience_s: float = 60.0
    """Without what is waited for, the session ends; and another neighbour is asked for what was claimed."""
    again_s: float = 21_600.0
    """After which what came and was not kept may be fetched once more: there may be room for it by then."""
    quiet_s: float = 40.0
    """Silence after which the other side is asked whether it is there."""
    silent_s: float = 100.0
    """Silence after which it is not."""
    round_s: float = 300.0
    """Between the end of a round and the next."""
    jitter: float = 0.2
    """Of ``round_s``, more or less: hubs that woke up together drift apart."""
    rounds_a_minute: int = 30
    """That the other side may ask for; and twice as many pings."""


DEFAULT_LIMITS = Limits()


class Unexpected(BadMessage):
    """A frame at a time when it means nothing."""

    code = "unexpected-frame"


class TooMuch(BadMessage):
    """More ids wanted, offers unanswered, records unacknowledged, or rounds asked for than allowed."""

    code = "too-much-at-once"


class Unasked(BadMessage):
    """A record that this hub did not ask for."""

    code = "unasked-record"


class Recent:
    """The last ``most`` ids put in: older ones are forgotten."""

    def __init__(self, most: int) -> None:
        self._ids: dict[bytes, None] = {}
        self._most = most

    def __contains__(self, record_id: bytes) -> bool:
        return record_id in self._ids

    def update(self, ids: Iterable[bytes]) -> None:
        """Put ``ids`` in, as the newest."""
        for each in ids:
            self._ids.pop(each, None)
            self._ids[each] = None
            if len(self._ids) > self._most:
                del self._ids[next(iter(self._ids))]
