"""Which records two neighbouring hubs exchange: sets that both compute alike from headers alone."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from hub.domain.ids import HubId
from hub.domain.notices import Scope
from hub.domain.records import Header, RecordType, Stream


class SetKey(NamedTuple):
    """A set that hubs reconcile: what the network shares of a stream, or what one hub tells its neighbours.

    ``origin`` is the hub for the scope ``neighbours``, and empty for ``network``. Keys are ordered as
    they are reconciled.
    """

    stream: str
    origin: bytes

    @property
    def scope(self) -> Scope:
        """Who may hold what is in it."""
        return Scope.NEIGHBOURS if self.origin else Scope.NETWORK


class Choice(StrEnum):
    """What a caretaker lets one neighbour's records of a stream do here (sync.md 2.3, decision 29)."""

    EXCHANGE = "exchange"
    HOLD = "hold"
    """Records come and go; what comes is shown once a caretaker has approved it."""
    NONE = "none"
    """Nothing of the stream goes either way."""


Choices = Mapping[str, Choice]
"""By stream; a stream that is not named is not exchanged."""

DEFAULT_CHOICES: Choices = {
    Stream.STATUS: Choice.EXCHANGE,
    Stream.NOTICES: Choice.EXCHANGE,
    Stream.FILES: Choice.EXCHANGE,
}


def set_of(header: Header) -> SetKey | None:
    """The set a record belongs to; None for what never leaves its hub."""
    if header.scope is Scope.HUB:
        return None
    return SetKey(header.stream, header.hub if header.scope is Scope.NEIGHBOURS else b"")


def sets_between(one: HubId, other: HubId, ours: Choices, theirs: Choices) -> list[SetKey]:
    """The sets two hubs reconcile, in the order both do it: equal whichever of them asks."""
    agreed = sorted(
        stream for stream in set(ours) & set(theirs) if Choice.NONE not in (ours[stream], theirs[stream])
    )
    origins = (b"", *sorted((one, other)))
    return sorted(
        (SetKey(stream, origin) for stream in agreed for origin in origins),
        key=lambda key: (key.stream == Stream.STATUS, bool(key.origin), key),
    )


ERASURES = frozenset({RecordType.RETRACT, RecordType.WITHDRAW, RecordType.RESTORE})
FIRST, SOON, IN_TURN = 0, 1, 2
"""How soon a record is sent: what takes something down or back, what is urgent, everything else."""


def urgency(header: Header, *, urgent: bool) -> int:
    """How soon a record is sent (lower first); ``urgent``: its body is an urgent notice's."""
    if header.type in ERASURES:
        return FIRST
    return SOON if urgent else IN_TURN


class Entry(NamedTuple):
    """An item of a set as this hub has it: its record's place in the log, and how soon it is sent."""

    n: int
    urgency: int
