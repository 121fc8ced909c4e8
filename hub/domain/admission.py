"""What becomes of a record that a neighbour or a stick brings: kept, known, waiting, or refused.

The rules are pure; `hub.services.ingest` asks them in the order of sync.md 2.7. A paired neighbour may be
hostile: whatever it brings too much of waits, and a caretaker hears of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hub.domain.clock import MAX_AHEAD_MS, TimeQuality
from hub.domain.ids import HubId, RecordId
from hub.domain.notices import Scope
from hub.domain.policy import DAY_MS, RETRACT_MARGIN_MS, leaves_at
from hub.domain.reconcile import Item
from hub.domain.records import Header, RecordType
from hub.domain.sharing import Choice, Choices, SetKey

HELD_AHEAD_MS: Final = 2 * DAY_MS
"""A stamp further ahead than this is not waited for (sync.md 2.2)."""
LONGEST_MS: Final = 400 * DAY_MS
"""Nothing shared lasts longer (decision 11)."""
_NEVER_MS: Final = 32_503_680_000_000
"""The year 3000: what no calendar can write is taken by no hub, whatever it knows of the time."""
ORPHAN_MS: Final = 30 * DAY_MS
"""How long a reply or a file waits for what it belongs to (sync.md 2.4)."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A record that is in the log now and was not before; ``urgency`` as in `hub.domain.sharing`."""

    key: SetKey
    item: Item
    urgency: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch of records.

    ``known`` were here already. ``waiting`` were verified and are kept aside (from the future, over a
    quota, of a stranger, of a frozen identity). ``refused`` names the others with the code of the rule.
    """

    stored: tuple[Stored, ...] = ()
    known: int = 0
    waiting: int = 0
    refused: tuple[tuple[RecordId, str], ...] = ()


class Wait(StrEnum):
    """Why a verified record is kept aside."""

    FUTURE = "future"
    """Its stamp is up to 48 hours ahead."""
    QUOTA = "quota"
    """Its neighbour or its origin brought too much today."""
    STRANGER = "stranger"
    """It came on a stick, of a hub nobody here knows."""
    FORK = "fork"
    """Two hubs write with its key and epoch."""


class Refusal(StrEnum):
    """Why a record is not kept; the code that `Outcome.refused` gives. Others are those of `Refused`."""

    NOT_PAIRED = "not-paired"
    STAYS_HOME = "stays-home"
    """Its scope lets it leave its hub never."""
    NOT_FOR_US = "not-for-us"
    """It is for the neighbours of its origin, and was not brought by one of the two."""
    NOT_AGREED = "not-agreed"
    """This hub does not exchange its stream with who brought it."""
    EXPIRED = "expired"
    """Every hub has dropped it by now."""
    TOO_LONG_LIVED = "too-long-lived"
    FROM_THE_FUTURE = "from-the-future"
    OVER_QUOTA = "over-quota"
    """Its neighbour's share of what waits is full: it is to be offered again another day."""
    FORKED = "forked"
    """A caretaker decided that nothing more of that epoch is taken."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much is taken of one neighbour (or of sticks, together) before the rest has to wait.

    A day is one of UTC. Bytes count headers, signatures and bodies.
    """

    records: int = 150_000
    """A day: a hub that joins gets 100,000 at once (issue 4's first join), with half as many to spare."""
    size: int = 200_000_000
    """Bytes a day: as many records of 1.3 kB."""
    origin_records: int = 20_000
    """A day and origin, after the first day of a pairing: ten times what a busy hub writes in a week of
    issue 4's three months apart, so that a stick after a year still passes."""
    origin_kept: int = 200_000
    """Of one origin in the log: twice what a whole region is expected to share, some 60 MB of headers."""
    versions: int = 1_000
    """Of one object: whoever opens it reads them all, and nobody changes a notice so often."""
    new_origins: int = 5
    """A day, after the first day of a pairing."""
    joining_origins: int = 200
    """On the first day of a pairing: more hubs than one region has."""
    waiting_records: int = 10_000
    waiting_size: int = 32_000_000
    """Of what waits, of one neighbour; beyond it nothing is kept aside."""
    urgent: int = 5
    """Urgent notices of one hub that may lead the board at one time; further ones wait for approval."""


QUOTAS: Final = Quotas()


@dataclass(frozen=True, slots=True)
class Source:
    """Who brings records: a neighbour on its connection, or a stick.

    ``hub`` is the neighbour, or the hub that wrote and signed the stick's bundle, None where nobody did.
    """

    hub: HubId | None
    stick: bool = False

    @property
    def key(self) -> bytes:
        """Whose quotas count: all sticks share one."""
        return b"" if self.stick or self.hub is None else self.hub


@dataclass(frozen=True, slots=True)
class Standing:
    """Who brings records to this hub (``own``), and what this hub has chosen for those it is paired with."""

    own: HubId
    source: Source
    paired: Mapping[HubId, Choices]

    @property
    def choices(self) -> Choices | None:
        """Those for who brings the records; None if it is not paired."""
        return self.paired.get(self.source.hub) if self.source.hub is not None else None

    def holds(self, header: Header) -> bool:
        """Whether a caretaker looks at it before it is shown: whoever brings it, or its origin, is a
        neighbour for which that was chosen."""
        chosen = (self.choices or {}, self.paired.get(header.hub, {}))
        return any(choices.get(header.stream) is Choice.HOLD for choices in chosen)


def objection(header: Header, standing: Standing, now_ms: int, quality: TimeQuality) -> Refusal | None:
    """Why a record is not taken from who brings it, by its header alone; None if it may be.

    While this hub does not know the time, neither past nor future is held against a record.
    """
    return _misdirected(header, standing) or _mistimed(header, now_ms, quality)


def _misdirected(header: Header, standing: Standing) -> Refusal | None:
    source = standing.source
    if standing.choices is None and not source.stick:
        return Refusal.NOT_PAIRED
    if header.scope is Scope.HUB:
        return Refusal.STAYS_HOME
    if header.scope is Scope.NEIGHBOURS and header.hub != standing.own:
        allowed = set(standing.paired) if source.stick else {source.hub}
        if header.hub not in allowed:
            return Refusal.NOT_FOR_US
    if standing.choices is not None and standing.choices.get(header.stream, Choice.NONE) is Choice.NONE:
        return Refusal.NOT_AGREED
    return None


def _mistimed(header: Header, now_ms: int, quality: TimeQuality) -> Refusal | None:
    margin_ms = RETRACT_MARGIN_MS if header.type == RecordType.RETRACT else 0
    if header.exp > header.stamp.ms + LONGEST_MS + margin_ms + HELD_AHEAD_MS:
        return Refusal.TOO_LONG_LIVED
    if header.stamp.ms > _NEVER_MS:
        return Refusal.FROM_THE_FUTURE
    if quality is TimeQuality.UNKNOWN:
        return None
    if leaves_at(header.exp) <= now_ms:
        return Refusal.EXPIRED
    if header.stamp.ms > now_ms + HELD_AHEAD_MS:
        return Refusal.FROM_THE_FUTURE
    return None


def is_ahead(header: Header, now_ms: int, quality: TimeQuality) -> bool:
    """Whether a record's stamp has to come due first."""
    return quality is not TimeQuality.UNKNOWN and header.stamp.ms > now_ms + MAX_AHEAD_MS


@dataclass(slots=True)
class Allowance:
    """What is left today of a neighbour's quotas; `take` uses it up.

    ``joining``: this is the first day of the pairing, on which the neighbour may bring everything there
    is. ``brought`` are today's records by origin.
    """

    quotas: Quotas
    joining: bool
    records: int
    size: int
    origins: int
    brought: dict[HubId, int]

    def take(self, origin: HubId, size: int, *, new: bool, ours: bool) -> bool:
        """Whether a record of ``origin`` is taken now. ``new``: nothing of that origin was taken before;
        ``ours``: it is this hub's own, coming home."""
        quotas, brought = self.quotas, self.brought.get(origin, 0)
        most_origins = quotas.joining_origins if self.joining else quotas.new_origins
        if self.records >= quotas.records or self.size + size > quotas.size:
            return False
        if not ours and not self.joining and brought >= quotas.origin_records:
            return False
        if new and self.origins >= most_origins:
            return False
        self.records += 1
        self.size += size
        self.origins += new
        self.brought[origin] = brought + 1
        return True
