"""Which items has only one of two hubs? Negentropy protocol v1 as a state machine for either side.

The source is "Negentropy Protocol V1" (docs/negentropy-protocol-v1.md of hoytech/negentropy); without a
frame that is too small for an answer, messages are equal byte for byte to those of the reference.

Where an answer does not fit into a frame, it ends early with one fingerprint of all the rest, as the
reference's does. Two things are better than there. That fingerprint is of the whole range it stands for on
the wire: the reference's leaves out what was just dropped, so it never matches. And the initiator remembers
what it asked: it asks again for what was cut off and for nothing else, and tells each difference once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from hub.domain.clock import MAX_MS
from hub.domain.reconcile import (
    FINGERPRINT_BYTES,
    ID_BYTES,
    INFINITY,
    ZERO,
    BadMessage,
    Bound,
    SetView,
    Splitting,
    Truncated,
    bucket_ends,
    decode_varint,
    encode_varint,
    exact_bound,
    fingerprint,
    minimal_bound,
)

VERSION = 0x61
"""Protocol version 1; the first byte of every message."""
FRAME_BYTES = 60_000
SMALLEST_FRAME = 4_096
MAX_RANGES = 4_096
"""In one message, either way."""
MAX_ROUNDS = 64
"""Messages of the other hub in one reconciliation."""
MAX_OPEN = 4 * MAX_RANGES
"""Ranges known to differ and not asked about yet. Honest sets stay far below: the lowest go first."""
_RESERVE = 200
"""Bytes of a frame that are kept for what ends it: at most 138 are needed."""
_LEAST_ASKED = 16


class FrameTooLong(BadMessage):
    """A message longer than the frame limit."""

    code = "frame-too-long"


class UnsupportedVersion(BadMessage):
    """The other hub answered in a version of the protocol that this one does not speak."""

    code = "unsupported-version"


class UnknownMode(BadMessage):
    """A range that is neither skipped, nor a fingerprint, nor a list of ids."""

    code = "unknown-mode"


class PrefixTooLong(BadMessage):
    """A bound with more than 32 bytes of an id, or with any at infinity."""

    code = "id-prefix-too-long"


class TimestampTooLarge(BadMessage):
    """A bound at 2**53 milliseconds or later that is not infinity."""

    code = "timestamp-too-large"


class BoundsDescend(BadMessage):
    """A range that ends before it begins."""

    code = "descending-bounds"


class DataAfterInfinity(BadMessage):
    """More bytes after the range that ended at infinity."""

    code = "data-after-infinity"


class TooManyRanges(BadMessage):
    """More than `MAX_RANGES` in one message."""

    code = "too-many-ranges"


class TooManyRounds(BadMessage):
    """More than `MAX_ROUNDS` messages. What was found so far holds; a new reconciliation finds the rest."""

    code = "too-many-rounds"


class TooManyOpen(BadMessage):
    """More than `MAX_OPEN` ranges differ at once. As for `TooManyRounds`, what was found holds."""

    code = "too-many-open-ranges"


class Mode(IntEnum):
    """What a message says about a range."""

    SKIP = 0
    FINGERPRINT = 1
    ID_LIST = 2


class Range(NamedTuple):
    """One range of a message: from the one before (or `ZERO`) to below ``upper``.

    ``payload`` is empty, a fingerprint, or the ids one after the other.
    """

    upper: Bound
    mode: Mode
    payload: bytes = b""


class Step(NamedTuple):
    """What the initiator does next. ``reply`` is None when the reconciliation is finished.

    ``have`` are ids only this hub holds, ``need`` ids only the other holds; each is told once.
    """

    reply: bytes | None
    have: list[bytes]
    need: list[bytes]


class _Question(NamedTuple):
    """A range the initiator wants to hear about, by its fingerprint or (when it differs) split up."""

    lower: Bound
    upper: Bound
    split: bool


class Reconciler:
    """One reconciliation of one set with one neighbour.

    Either the initiator, whose first message is `initiate` and which feeds every answer to `reconcile`
    until the step has no reply; or the other side, which answers every message with `answer` and keeps
    nothing but the number of rounds. Every message is read whole before it has any effect.
    """

    def __init__(
        self, view: SetView, frame_limit: int = FRAME_BYTES, splitting: Splitting | None = None
    ) -> None:
        """``frame_limit`` (bytes, at least 4,096) holds for messages both ways.

        Raises ValueError for a limit that is smaller, or a splitting that never ends or does not fit.
        """
        self.view = view
        """The set as the next call reads it: a fresh one may be put here between any two calls."""
        self._limit = frame_limit
        self._splitting = splitting or Splitting()
        if frame_limit < SMALLEST_FRAME:
            raise ValueError("the frame limit is below 4,096 bytes")
        if not 2 <= self._splitting.fan_out <= 64 or not 2 <= self._splitting.list_below <= 112:
            raise ValueError("this splitting finds no end, or no room in the smallest frame")
        self._rounds = 0
        self._open: deque[_Question] = deque()
        self._asked: list[_Question] = []
        self._window = MAX_RANGES
        self._needed: set[bytes] = set()

    @property
    def is_spent(self) -> bool:
        """Whether no further message of the other hub would be taken."""
        return self._rounds >= MAX_ROUNDS

    def initiate(self) -> bytes:
        """The first message."""
        self._open.append(_Question(ZERO, INFINITY, split=True))
        return self._ask() or bytes((VERSION,))

    def answer(self, message: bytes) -> bytes:
        """The other side's answer to ``message``; raises `BadMessage`.

        A message of another version is answered with the one byte of ours.
        """
        self._admit(message)
        if message[0] != VERSION:
            return bytes((VERSION,))
        writer = _Writer(self._limit)
        lower, begin = ZERO, 0
        for each in parse(message):
            end = self.view.find_lower_bound(each.upper)
            if each.mode is Mode.FINGERPRINT and each.payload != self._fingerprint(begin, end):
                if not writer.put(lower, self._split(begin, end, each.upper)):
                    break
            elif each.mode is Mode.ID_LIST:
                stop = min(end, begin + writer.room_for_ids)
                upper = each.upper if stop == end else exact_bound(self.view.items(stop, stop + 1)[0])
                if not writer.put_ids(lower, upper, self._ids(begin, stop)):
                    break
                if stop < end:
                    lower, begin = upper, stop
                    break
            lower, begin = each.upper, end
        else:
            return writer.message
        writer.put_rest(lower, self._fingerprint(begin, self.view.size()))
        return writer.message

    def reconcile(self, message: bytes) -> Step:
        """What follows from the other hub's answer to this one's last message; raises `BadMessage`.

        What was not asked about is not looked at.
        """
        self._admit(message)
        if message[0] != VERSION:
            raise UnsupportedVersion
        have: list[bytes] = []
        need: list[bytes] = []
        again: list[_Question] = []
        unanswered = 0
        lower, begin, first = ZERO, 0, 0
        for each in parse(message):
            end = self.view.find_lower_bound(each.upper)
            while first < len(self._asked) and self._asked[first].upper <= lower:
                first += 1
            if each.mode is not Mode.SKIP and (met := self._met(first, lower, each.upper)):
                if each.mode is Mode.ID_LIST:
                    self._compare(met, begin, end, each.payload, have, need)
                elif each.payload != self._fingerprint(begin, end):
                    if len(met) > 1 and each.upper == INFINITY:  # the answer was cut off here
                        unanswered = len(met)
                        again += met
                    else:
                        again += [question._replace(split=True) for question in met]
            lower, begin = each.upper, end
        if len(again) + len(self._open) > MAX_OPEN:
            raise TooManyOpen
        self._open.extendleft(reversed(again))
        if unanswered:  # little more than was answered this time; twice as much after a whole answer
            self._window = max(_LEAST_ASKED, (len(self._asked) - unanswered) * 5 // 4)
        else:
            self._window = min(MAX_RANGES, 2 * self._window)
        return Step(self._ask(), have, need)

    def _admit(self, message: bytes) -> None:
        if len(message) > self._limit:
            raise FrameTooLong
        if not message:
            raise Truncated
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise TooManyRounds

    def _ask(self) -> bytes | None:
        """A message with the lowest open questions that fit into it; None when there are none."""
        writer = _Writer(self._limit)
        self._asked = []
        while self._open and len(self._asked) < self._window:
            lower, upper, split = self._open[0]
            begin, end = self.view.find_lower_bound(lower), self.view.find_lower_bound(upper)
            ranges = (
                self._split(begin, end, upper)
                if split
                else [Range(upper, Mode.FINGERPRINT, self._fingerprint(begin, end))]
            )
            if not writer.put(lower, ranges):
                break
            self._open.popleft()
            for each in ranges:
                self._asked.append(_Question(lower, each.upper, split=each.mode is Mode.ID_LIST))
                lower = each.upper
        return writer.message if self._asked else None

    def _met(self, first: int, lower: Bound, upper: Bound) -> list[_Question]:
        """What was asked, from question ``first`` on, between two bounds."""
        met = []
        for place in range(first, len(self._asked)):
            question = self._asked[place]
            if question.lower >= upper:
                break
            met.append(_Question(max(question.lower, lower), min(question.upper, upper), question.split))
        return met

    def _compare(
        self,
        met: Sequence[_Question],
        begin: int,
        end: int,
        listed: bytes,
        have: list[bytes],
        need: list[bytes],
    ) -> None:
        """Tell apart what either side alone holds between two places, of which ``met`` was asked about."""
        theirs = dict.fromkeys(listed[at : at + ID_BYTES] for at in range(0, len(listed), ID_BYTES))
        for lower, upper, _ in met:
            asked = self.view.items(self.view.find_lower_bound(lower), self.view.find_lower_bound(upper))
            have += [item.id for item in asked if item.id not in theirs]
        for item in self.view.items(begin, end):
            theirs.pop(item.id, None)
        found = [each for each in theirs if each not in self._needed]
        self._needed.update(found)
        need += found

    def _split(self, begin: int, end: int, upper: Bound) -> list[Range]:
        """The places ``begin`` to before ``end``, which end at ``upper``, listed or in buckets."""
        if end - begin < self._splitting.list_below:
            return [Range(upper, Mode.ID_LIST, self._ids(begin, end))]
        ranges = []
        for stop in bucket_ends(begin, end, self._splitting.fan_out):
            bound = upper if stop == end else minimal_bound(*self.view.items(stop - 1, stop + 1))
            ranges.append(Range(bound, Mode.FINGERPRINT, self._fingerprint(begin, stop)))
            begin = stop
        return ranges

    def _fingerprint(self, begin: int, end: int) -> bytes:
        return fingerprint(self.view.sum(begin, end), end - begin)

    def _ids(self, begin: int, end: int) -> bytes:
        return b"".join(item.id for item in self.view.items(begin, end))


class _Writer:
    """A message in the making: ranges are put in ascending order, the gaps between them are skipped."""

    def __init__(self, frame_limit: int) -> None:
        self._limit = frame_limit - _RESERVE
        self._bytes = bytearray((VERSION,))
        self._ranges = 0
        self._upper = ZERO

    @property
    def message(self) -> bytes:
        """What was put so far."""
        return bytes(self._bytes)

    @property
    def room_for_ids(self) -> int:
        """How many ids the next list may hold. As in the reference, the last one reaches into the reserve."""
        return max(0, (self._limit - len(self._bytes)) // ID_BYTES + 1)

    def put(self, lower: Bound, ranges: Sequence[Range]) -> bool:
        """Put ``ranges``, which begin at ``lower``; False, and nothing put, when they do not fit."""
        before = len(self._bytes), self._ranges, self._upper
        self._write(lower, ranges)
        if len(self._bytes) <= self._limit and self._ranges <= MAX_RANGES - 2:
            return True
        length, self._ranges, self._upper = before
        del self._bytes[length:]
        return False

    def put_ids(self, lower: Bound, upper: Bound, ids: bytes) -> bool:
        """Put a list of up to `room_for_ids`; False, and nothing put, when the message is full."""
        if len(self._bytes) > self._limit or self._ranges > MAX_RANGES - 4:
            return False
        self._write(lower, [Range(upper, Mode.ID_LIST, ids)])
        return True

    def put_rest(self, lower: Bound, rest: bytes) -> None:
        """End the message with the fingerprint of everything from ``lower`` on: it always fits."""
        self._write(lower, [Range(INFINITY, Mode.FINGERPRINT, rest)])

    def _write(self, lower: Bound, ranges: Sequence[Range]) -> None:
        if lower != self._upper:
            ranges = [Range(lower, Mode.SKIP), *ranges]
        for upper, mode, payload in ranges:
            past = 0 if upper == INFINITY else upper.timestamp - self._upper.timestamp + 1
            self._bytes += encode_varint(past) + encode_varint(len(upper.prefix)) + upper.prefix
            self._bytes.append(mode)
            if mode is Mode.ID_LIST:
                self._bytes += encode_varint(len(payload) // ID_BYTES)
            self._bytes += payload
            self._upper = upper
        self._ranges += len(ranges)


def parse(message: bytes) -> list[Range]:
    """The ranges of a message of our version; raises the `BadMessage` of the first rule it breaks."""
    ranges: list[Range] = []
    at, end = 1, len(message)
    last, timestamp = ZERO, 0
    while at < end:
        if last == INFINITY:
            raise DataAfterInfinity
        if len(ranges) == MAX_RANGES:
            raise TooManyRanges
        past, at = decode_varint(message, at)
        length, at = decode_varint(message, at)
        if length > (ID_BYTES if past else 0):
            raise PrefixTooLong
        timestamp += past - 1
        if timestamp > MAX_MS:
            raise TimestampTooLarge
        upper = Bound(timestamp, message[at : at + length].rstrip(b"\0")) if past else INFINITY
        at += length
        if upper < last:
            raise BoundsDescend
        mode, at = decode_varint(message, at)
        size = 0
        if mode == Mode.FINGERPRINT:
            size = FINGERPRINT_BYTES
        elif mode == Mode.ID_LIST:
            count, at = decode_varint(message, at)
            size = count * ID_BYTES
        elif mode != Mode.SKIP:
            raise UnknownMode
        if at + size > end:
            raise Truncated
        ranges.append(Range(upper, Mode(mode), message[at : at + size]))
        at += size
        last = upper
    return ranges
