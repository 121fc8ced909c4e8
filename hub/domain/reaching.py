"""Where another hub may be reached: what was heard of it, which addresses are worth trying, in which order.

All of it is hints (decision 31). mDNS answers come from anyone on the network, so they are believed
only so far as they could be true, and nothing found here says who answers at an address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hub.domain.ids import HubId
from hub.domain.naming import HubHint, IpAddress, LocalAddress, announced_addresses
from hub.domain.neighbours import Address, KnownAddress

MAX_PLACES = 12
"""Places worth trying at one attempt: each may cost a whole timeout."""
MAX_REMEMBERED = 6
"""Of those, the ones that worked once: a hub that moved house shall not wait for all of its past."""
MAX_SIGHTINGS = 4
"""Sightings of one hub that are looked at: anybody may announce its id."""

_PRIVATE = tuple(
    ipaddress.ip_network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
"""RFC 1918 and RFC 4193. ``is_private`` means more, and lets ``::ffff:192.0.2.1`` lead out of the house."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Another hub as it was last heard on the network: a hint, neither liveness nor identity.

    ``addresses`` are believable ones, the best to try first; ``web_port`` is where residents' pages
    are. ``seen`` is when it was last heard, in monotonic seconds.
    """

    hint: HubHint
    addresses: tuple[str, ...]
    web_port: int
    seen: float = field(compare=False)

    def sync_places(self) -> tuple[Address, ...]:
        """Where a paired hub is answered."""
        return self._places(self.hint.sync_port)

    def pairing_places(self) -> tuple[Address, ...]:
        """Where a hub that is not paired is answered; none while the pairing window is shut."""
        return self._places(self.hint.pairing_port)

    def _places(self, port: int | None) -> tuple[Address, ...]:
        return () if port is None else tuple(Address(host, port) for host in self.addresses)


def believable(heard: Iterable[str], here: Iterable[LocalAddress]) -> tuple[str, ...]:
    """Of the addresses ``heard`` for another hub (newest first), those that can be tried, best first.

    mDNS does not pass a router. So an address that is neither private nor in a network of ``here``
    (this machine's addresses) is not believed: nobody shall point hubs at a stranger on the internet.
    First those in a network of ``here``, then other private ones, then link-local ones; of a kind the
    newest first. Link-local IPv6 needs a scope, without which it leads nowhere.
    """
    networks = [each.network for each in here if not each.parsed.is_loopback]
    ranked: list[tuple[int, str]] = []
    for text in heard:
        address = _parsed(text)
        if address is None or address.is_loopback or address.is_multicast or address.is_unspecified:
            continue
        if address.is_link_local:
            if address.version == 4 or getattr(address, "scope_id", None):
                ranked.append((2, text))
        elif any(address in network for network in networks):
            ranked.append((0, text))
        elif _is_private(address):
            ranked.append((1, text))
    return tuple(text for _, text in sorted(ranked, key=lambda each: each[0]))


def places_to_try(
    remembered: Iterable[KnownAddress],
    sightings: Iterable[Sighting],
    hub: HubId,
    here: Sequence[LocalAddress],
) -> tuple[Address, ...]:
    """Where to dial ``hub``, best first, at most 12: each place once.

    What worked before, the last of it first; then, as far as they share a network with this machine
    (``here``), what was typed or told and what was heard, the newest sighting first; then the rest.
    """
    worked: list[tuple[int, Address]] = []
    hoped: list[Address] = []
    for each in remembered:
        if each.good_ms is None:
            hoped.append(each.address)
        else:
            worked.append((each.good_ms, each.address))
    of_it = sorted((seen for seen in sightings if seen.hint.is_of(hub)), key=lambda seen: -seen.seen)
    hoped += [place for seen in of_it[:MAX_SIGHTINGS] for place in seen.sync_places()]
    networks = [each.network for each in here]

    def farness(place: Address) -> int:
        address = _parsed(place.host)
        if address is None:
            return 0  # a name that a caretaker typed
        if address.is_link_local:
            return 2
        return 0 if any(address in network for network in networks) else 1

    hoped.sort(key=farness)
    worked.sort(key=lambda each: -each[0])
    first = [place for _, place in worked[:MAX_REMEMBERED]]
    return tuple(dict.fromkeys([*first, *hoped]))[:MAX_PLACES]


def sweepable(here: Iterable[LocalAddress]) -> tuple[str, ...]:
    """The addresses that a caretaker's sweep asks: the private IPv4 networks this machine is in.

    Of each at most the /24 around the own address: more would look like an attack, and less is asked
    where the network is smaller. Without own addresses. Nothing where there is no such network.
    """
    own = {each.ip for each in here}
    asked: dict[str, None] = {}
    for each in announced_addresses(here):
        address = each.parsed
        if address.version != 4 or not _is_private(address):
            continue
        network = ipaddress.ip_network((each.ip, max(24, each.network.prefixlen)), strict=False)
        asked.update(dict.fromkeys(str(host) for host in network.hosts()))
    return tuple(host for host in asked if host not in own)


def _is_private(address: IpAddress) -> bool:
    return any(address in network for network in _PRIVATE)


def _parsed(text: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
