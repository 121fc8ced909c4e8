"""Hubs as their neighbours know them: names, addresses to call, and what was agreed with each.

Whatever another hub says of itself is cleaned here before anybody sees it: a name is one line of
readable text, a colour is one of the house colours, an address can be called.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from hub.domain.certificates import hub_of
from hub.domain.clock import TimeQuality
from hub.domain.errors import Refused
from hub.domain.folding import fold
from hub.domain.ids import HubId, short_hub_id
from hub.domain.naming import MAX_VERSION, readable, sure_label
from hub.domain.notices import MAX_NAME
from hub.domain.records import Stream
from hub.domain.sharing import Choice, Choices
from hub.words import N_

DEFAULT_PORT = 8448
"""Where hubs listen for each other."""
PAIRING_PORT = 8449
"""Where a hub listens while its caretaker holds pairing open."""
COLOURS = ("moss", "damson", "harbour", "brick", "heather", "olive", "peacock", "slate")
"""The house colours by name."""
UNKNOWN_COLOUR = "slate"
MAX_ADDRESSES = 16
"""Kept for each hub: what neighbours tell of it must not grow without end."""
CHOSEN_STREAMS = (Stream.NOTICES, Stream.FILES)
"""What a caretaker can choose; the status is exchanged with every neighbour."""
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*\.?")
_ADDRESS = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_PAGE = re.compile(r"https?://(?P<host>\[[^\]]*\]|[^/:?#]*)[^ ]*", re.IGNORECASE)


class BadAddress(Refused):
    """What was typed is no address."""

    code = "bad-address"
    status = 422
    template = N_(
        "“{typed}” is no address of a hub. Nothing was changed. "
        "Type a name or number, as oakfield.local or 192.168.4.7."
    )


class Address(NamedTuple):
    """Where a hub can be called: ``host`` is an IP address (a link-local one with its zone) or a name."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Learnt(StrEnum):
    """How this hub came to know an address."""

    TYPED = "typed"
    HEARD = "heard"
    """From mDNS or a sweep: a hint that may come from anybody."""
    TOLD = "told"
    """By the hub itself, or by another neighbour."""
    MET = "met"
    """The hub called from there."""


@dataclass(frozen=True, slots=True)
class KnownAddress:
    """An address of a neighbour; ``good_ms`` is when the neighbour last proved to be there."""

    address: Address
    learnt: Learnt
    good_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """What two hubs tell each other when they pair. ``choices`` are those of the hub the card is of.

    ``certificate`` is DER; make cards of foreign data with `card_of`.
    """

    hub: HubId
    name: str
    colour: str
    certificate: bytes
    addresses: tuple[Address, ...]
    choices: Choices


class Tie(StrEnum):
    """What another hub is to this one."""

    PAIRED = "paired"
    PAUSED = "paused"
    """Paired, and nothing is swapped until a caretaker lets it go on."""
    PARTED = "parted"
    """No longer paired; what came from it stays as an archive."""
    REMOVING = "removing"
    """No longer paired; what came from it is being erased here."""
    REMOVED = "removed"
    """No longer paired, and nothing that it wrote is shown here, whoever brings it."""


PINNED = frozenset({Tie.PAIRED, Tie.PAUSED})
"""Hubs whose certificate is known and taken."""
UNWANTED = frozenset({Tie.REMOVING, Tie.REMOVED})


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A hub that is or was paired with this one. Times are Unix ms.

    ``choices`` are ours, ``theirs`` what they last said. ``heard_ms`` is when it last answered,
    ``swapped_ms`` when both last held the same; ``trouble`` the code of the last error since then.
    ``offset_ms`` is its clock less ours, None while either does not know the time; ``quality`` is how far
    it trusts its own.
    """

    hub: HubId
    name: str
    colour: str
    certificate: bytes
    tie: Tie
    choices: Choices
    theirs: Choices
    paired_ms: int
    heard_ms: int | None = None
    swapped_ms: int | None = None
    trouble: str = ""
    protocol: int = 1
    version: str = ""
    offset_ms: int | None = None
    quality: TimeQuality = TimeQuality.UNKNOWN
    addresses: tuple[KnownAddress, ...] = ()


def card_of(
    certificate: bytes,
    name: str,
    colour: str,
    addresses: Iterable[Address],
    choices: Mapping[str, str],
) -> Card:
    """The card of the hub whose ``certificate`` it is, its words cleaned; raises `BadCertificate`."""
    hub = hub_of(certificate)
    return Card(
        hub,
        shown_name(hub, name),
        shown_colour(colour),
        certificate,
        callable_addresses(addresses),
        read_choices(choices),
    )


def shown_name(hub: HubId, said: str) -> str:
    """What a hub that calls itself ``said`` is called here: one readable line, never empty."""
    return readable(said)[:MAX_NAME].rstrip() or sure_label(hub)


def shown_colour(said: str) -> str:
    """``said`` if it is a house colour, else the colour of hubs nobody knows."""
    return said if said in COLOURS else UNKNOWN_COLOUR


def shown_version(said: str) -> str:
    """``said`` if it can be a version of a program, else nothing."""
    return said if len(said) <= MAX_VERSION and said.isascii() and said.isprintable() else ""


def told_apart(names: Mapping[HubId, str], own: str = "") -> dict[HubId, str]:
    """``names``, each that another hub (or this one, ``own``) has as well with four letters of its id.

    A hub cannot pass for another by taking its name; letter cases and accents make no other name.
    """
    taken = Counter(_alike(name) for name in (*names.values(), *([own] if own else [])))
    return {
        hub: f"{name} ({short_hub_id(hub)})" if taken[_alike(name)] > 1 else name
        for hub, name in names.items()
    }


def _alike(name: str) -> str:
    return " ".join(fold(name).split())


def read_choices(said: Mapping[str, str]) -> dict[str, Choice]:
    """Choices that came as text: what is no stream of ours or no choice counts as not exchanged."""
    chosen: dict[str, Choice] = {Stream.STATUS: Choice.EXCHANGE}
    for stream in CHOSEN_STREAMS:
        if said.get(stream) in set(Choice):
            chosen[stream] = Choice(said[stream])
    return chosen


def agreed(ours: Choices, theirs: Choices, stream: str) -> bool:
    """Whether both let records of ``stream`` come and go."""
    return Choice.NONE not in (ours.get(stream, Choice.NONE), theirs.get(stream, Choice.NONE))


def parse_address(typed: str, port: int = DEFAULT_PORT) -> Address:
    """The address a person typed or pasted, ``port`` where none is said; raises `BadAddress`.

    The address of a hub's pages counts for the hub: its port is that of the pages and is left out.
    """
    text = typed.strip()
    page = _PAGE.fullmatch(text)
    if page is not None:
        text = page["host"]
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise BadAddress(typed=readable(typed)[:60])
    address = Address((found["six"] or found["host"]).lower(), int(found["port"] or port))
    if not _can_be_called(address) or (found["six"] and ":" not in address.host):
        raise BadAddress(typed=readable(typed)[:60])
    return address


def callable_addresses(said: Iterable[Address]) -> tuple[Address, ...]:
    """Those of the first 16 addresses another hub named that can be called."""
    return tuple(address for address in dict.fromkeys(islice(said, MAX_ADDRESSES)) if _can_be_called(address))


def _can_be_called(address: Address) -> bool:
    if not 1 <= address.port <= 65535:
        return False
    try:
        number = ipaddress.ip_address(address.host)
    except ValueError:
        host = address.host
        return (
            len(host) <= 253
            and _HOST.fullmatch(host) is not None
            and not re.fullmatch(r"[0-9.]*", host)  # a mistyped number is no name
        )
    return not (number.is_unspecified or number.is_multicast)


_TRUST = {Learnt.TYPED: 0, Learnt.HEARD: 1, Learnt.TOLD: 2, Learnt.MET: 3}


def order_to_try(known: Iterable[KnownAddress]) -> list[Address]:
    """Addresses in the order to call them: where the hub was met last, then typed, heard, told ones."""
    return [
        each.address
        for each in sorted(known, key=lambda each: (-(each.good_ms or 0), _TRUST[each.learnt], each.address))
    ]


def spare(known: Iterable[KnownAddress]) -> list[Address]:
    """The addresses beyond the 16 worth keeping: those that would be tried last, but none that was typed."""
    hints = [each for each in known if each.learnt is not Learnt.TYPED]
    return order_to_try(hints)[MAX_ADDRESSES:]
