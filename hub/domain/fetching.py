"""Blobs on their way from neighbours: which piece comes next, what is right, what may stay (sync.md 2.6).

Nobody who gives a piece is believed. A record names a blob by the SHA-256 of its bytes and by that of the
list of its pieces' hashes; the list is checked against the record, each piece against the list as soon
as it is there, and the whole against its name before anybody sees it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from hub.domain.errors import HubError
from hub.domain.ids import HubId
from hub.domain.notices import BlobRef
from hub.words import N_

PIECE = 256 * 1024
"""Bytes of a piece: what is verified and fetched at a time (decision 26). The last one may be shorter."""
HASH = 32
PREVIEW = 64 * 1024
"""Blobs up to this size come before everything else: thumbnails, mostly."""
ALWAYS = 1024 * 1024
"""Blobs up to this size come by themselves, larger ones when somebody asks for them."""
SHARED_SPAN = 32
"""Pieces asked for with one request while several neighbours bring the same blob."""
LONE_SPAN = 256


class Untrue(HubError):
    """A record names a blob that there cannot be: its sizes and hashes contradict each other."""

    code = "blob-untrue"
    status = 422
    template = N_(
        "This file cannot be fetched: what is written about it contradicts itself. "
        "Ask whoever put it up to add it again."
    )


class WrongBytes(HubError):
    """A list or a piece that a neighbour sent is not what the record says."""

    code = "blob-wrong-bytes"
    status = 502
    template = N_("A neighbouring hub sent other bytes than were asked for. They were not kept.")


def pieces_in(size: int) -> int:
    """How many pieces a blob of ``size`` bytes has."""
    return -(-size // PIECE)


def length_of(size: int, piece: int) -> int:
    """Bytes of piece number ``piece`` (from 0) of a blob of ``size`` bytes."""
    return min(PIECE, size - piece * PIECE)


def require_list(blob: BlobRef, data: bytes) -> None:
    """Raise `WrongBytes` unless ``data`` is the list of the hashes of ``blob``'s pieces."""
    if len(data) != HASH * pieces_in(blob.size) or hashlib.sha256(data).hexdigest() != blob.pieces:
        raise WrongBytes


def list_of_one(blob: BlobRef) -> bytes | None:
    """The list of a blob of one piece, or of none, which nobody has to send; None for a longer one.

    Raises `Untrue` for a reference that no bytes fit.
    """
    count = pieces_in(blob.size)
    if count > 1:
        return None
    known = bytes.fromhex(blob.sha256) if count else b""
    if hashlib.sha256(known).hexdigest() != blob.pieces or (not count and blob.sha256 != _NOTHING):
        raise Untrue
    return known


_NOTHING = hashlib.sha256().hexdigest()


class Bitmap:
    """Which pieces of a blob are here, and which somebody is bringing. Spans are ranges of numbers."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._here = bytearray(count)
        self._claimed = bytearray(count)
        self._left = count

    @property
    def left(self) -> int:
        """Pieces that are not here yet."""
        return self._left

    @property
    def whole(self) -> bool:
        """Whether all are here."""
        return not self._left

    def is_here(self, piece: int) -> bool:
        """Whether a piece has arrived."""
        return bool(self._here[piece])

    def claim(self, most: int) -> range | None:
        """The first run of pieces, at most ``most``, that nobody has or brings: the caller's from now on."""
        taken = bytes(here | claimed for here, claimed in zip(self._here, self._claimed, strict=True))
        first = taken.find(0)
        if first < 0:
            return None
        stop = taken.find(1, first, first + most)
        span = range(first, stop if stop >= 0 else min(first + most, self.count))
        self._claimed[span.start : span.stop] = b"\1" * len(span)
        return span

    def release(self, span: range) -> None:
        """Whoever claimed ``span`` brings no more of it."""
        self._claimed[span.start : span.stop] = bytes(len(span))

    def add(self, piece: int) -> None:
        """A piece has arrived."""
        self._left -= not self._here[piece]
        self._here[piece] = 1


@dataclass(frozen=True, slots=True)
class Missing:
    """A blob that a record names and that is not here. Times are Unix ms.

    ``asked_ms`` is when somebody here asked for it. ``let_go``: it was here and gave way to others, so
    it does not come again by itself.
    """

    ref: BlobRef
    asked_ms: int | None = None
    let_go: bool = False

    @property
    def wanted(self) -> bool:
        """Whether it is to be fetched."""
        return self.asked_ms is not None or (not self.let_go and self.ref.size <= ALWAYS)

    @property
    def turn(self) -> tuple[int, int]:
        """Sorts what is fetched: previews, then what people wait for (asked first, first), then the rest."""
        if self.ref.size <= PREVIEW:
            return (0, 0)
        return (2, 0) if self.asked_ms is None else (1, self.asked_ms)


@dataclass(frozen=True, slots=True)
class Foreign:
    """A blob of other hubs that is here, and when it was last of use (Unix ms)."""

    sha256: str
    size: int
    used_ms: int


def to_let_go(kept: Iterable[Foreign], used: int, room: int) -> list[Foreign]:
    """Which of ``kept`` give way, the longest unused first, until ``used`` bytes are at most ``room``."""
    leaving = []
    for each in sorted(kept, key=lambda each: (each.used_ms, each.sha256)):
        if used <= room:
            break
        leaving.append(each)
        used -= each.size
    return leaving


_LACKS_S = (60.0, 600.0, 3600.0)
"""How long a neighbour is not asked again for a blob that it does not have: the first time, the second, …"""
_LIED_S = 6 * 3600.0
_SHUNNED_S = 3600.0
_LIES = 3
"""After so many lies a neighbour is asked for nothing for a while."""
_STALLED_S = 60.0
_REMEMBERED = 20_000
"""Refusals of one neighbour that are kept in mind."""


@dataclass(slots=True)
class _Memory:
    refusals: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By blob: how often in a row it was refused, and until when it is not asked for."""
    shunned_until: float = 0.0
    lies: int = 0


class Manners:
    """What is known of each neighbour as a giver of blobs. Times are monotonic seconds, handed in."""

    def __init__(self) -> None:
        self._known: dict[HubId, _Memory] = {}

    def greet(self, hub: HubId) -> None:
        """``hub`` is connected (again): what it did not have, it may have by now. Lies are not forgotten."""
        memory = self._of(hub)
        memory.refusals = {blob: told for blob, told in memory.refusals.items() if told[0] == 0}

    def may_ask(self, hub: HubId, blob: str, now: float) -> bool:
        """Whether ``hub`` is worth asking for ``blob`` (hex) now."""
        memory = self._of(hub)
        return now >= memory.shunned_until and now >= memory.refusals.get(blob, (0, 0.0))[1]

    def lacks(self, hub: HubId, blob: str, now: float) -> None:
        """``hub`` does not have it, or does not give it."""
        times, _ = self._of(hub).refusals.get(blob, (0, 0.0))
        self._note(hub, blob, times + 1, now + _LACKS_S[min(times, len(_LACKS_S) - 1)])

    def lied(self, hub: HubId, blob: str, now: float) -> None:
        """``hub`` sent something else than it should have."""
        memory = self._of(hub)
        memory.lies += 1
        if memory.lies % _LIES == 0:
            memory.shunned_until = now + _SHUNNED_S
        self._note(hub, blob, 0, now + _LIED_S)

    def stalled(self, hub: HubId, blob: str, now: float) -> None:
        """``hub`` left off in the middle, or took too long over a piece."""
        times, _ = self._of(hub).refusals.get(blob, (0, 0.0))
        self._note(hub, blob, max(times, 1), now + _STALLED_S)

    def next_chance(self, hub: HubId, blobs: Iterable[str], now: float) -> float | None:
        """Seconds until ``hub`` may be asked for one of ``blobs`` that it may not be asked for now."""
        memory = self._of(hub)
        times = [max(memory.shunned_until, memory.refusals.get(blob, (0, 0.0))[1]) - now for blob in blobs]
        return min((time for time in times if time > 0), default=None)

    def _note(self, hub: HubId, blob: str, times: int, until: float) -> None:
        refusals = self._of(hub).refusals
        refusals.pop(blob, None)
        refusals[blob] = (times, until)
        if len(refusals) > _REMEMBERED:
            del refusals[next(iter(refusals))]

    def _of(self, hub: HubId) -> _Memory:
        return self._known.setdefault(hub, _Memory())


def bytes_of(blob: BlobRef, span: range) -> tuple[int, int]:
    """The first byte of a span of pieces, and the first after it."""
    return span.start * PIECE, min(span.stop * PIECE, blob.size)
