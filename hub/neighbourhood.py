"""Joins what hears of other hubs with what talks to them: the hub's part in its neighbourhood.

Discovery and sync know nothing of each other; what is heard on the network is told to the exchange here,
and both are handed to the service that caretakers and pages use.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence

from hub.discovery.find import Finder, sweep
from hub.discovery.interfaces import interface_addresses
from hub.domain import reaching
from hub.domain.certificates import hub_of
from hub.domain.errors import HubError
from hub.domain.ids import HubId, base32
from hub.domain.naming import FINGERPRINT_LENGTH
from hub.domain.neighbours import DEFAULT_PORT, Address, Neighbour
from hub.domain.reaching import places_to_try, sweepable
from hub.services.neighbours import Neighbours, Sighting
from hub.sync.protocol.session import PROTOCOL
from hub.sync.station import Station
from hub.sync.trust import tls_context

_log = logging.getLogger(__name__)


class Neighbourhood:
    """`begin`, then `run` until cancelled, then `close`. `hub.services.neighbours.Sightings`."""

    def __init__(
        self,
        station: Callable[[Neighbourhood], Station],
        hub: HubId,
        neighbours: Neighbours,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._hub = hub
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._swept: tuple[Sighting, ...] = ()
        self.station = station(self)
        self.finder = Finder(
            hub=hub,
            on_change=self._heard,
            is_neighbour=lambda hint: any(hint.is_of(each) for each in self.station.trust.hubs),
        )
        neighbours.join(self.station.pairer, self.station.exchange, self)

    @property
    def protocol(self) -> tuple[int, int]:
        """The versions of the sync protocol that are spoken."""
        return PROTOCOL, PROTOCOL

    async def places_of(self, neighbour: Neighbour) -> Sequence[Address]:
        """Where to call ``neighbour``, best first: remembered places, and where it was heard."""
        here = await interface_addresses()
        return places_to_try(neighbour.addresses, self.finder.sightings(), neighbour.hub, here)

    def seen(self) -> Sequence[Sighting]:
        """Hubs that were heard lately, and those that the last sweep found."""
        heard = [self._shown(each) for each in self.finder.sightings()]
        known = {each.fingerprint for each in heard}
        return [*heard, *(each for each in self._swept if each.fingerprint not in known)]

    async def sweep(self) -> Sequence[Sighting]:
        """Ask every address of this hub's own /24 networks who it is."""
        self.finder.look_again()
        here = await interface_addresses()
        found = await sweep(sweepable(here), DEFAULT_PORT, _certificate_at)
        now_ms = self._now_ms()
        self._swept = tuple(
            Sighting(
                base32(hub)[:FINGERPRINT_LENGTH],
                "",
                "",
                (Address(host, DEFAULT_PORT),),
                now_ms,
                "swept",
            )
            for host, hub in found.found
            if hub != self._hub
        )
        if found.trouble is not None and not self.seen():
            raise found.trouble
        return self.seen()

    def _heard(self, _: tuple[reaching.Sighting, ...]) -> None:
        self.station.exchange.network_changed()

    def _shown(self, heard: reaching.Sighting) -> Sighting:
        ago_ms = round((self._monotonic() - heard.seen) * 1000)
        places = heard.pairing_places() or heard.sync_places()
        return Sighting(
            heard.hint.fingerprint,
            heard.hint.name,
            heard.hint.version,
            places,
            self._now_ms() - max(0, ago_ms),
        )


async def _certificate_at(host: str, port: int) -> HubId | None:
    """The hub whose certificate is shown at an address; it lets nobody in for that, and need not."""
    context = tls_context(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname="hub")
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return hub_of(shown) if shown else None
    finally:
        writer.transport.abort()


def bound_or_free(bind: Callable[[int], socket.socket], port: int) -> socket.socket:
    """A socket on ``port``, or on a free one where that is taken: other hubs are told which it is."""
    try:
        return bind(port)
    except HubError:
        _log.warning("the port for neighbours is taken; another is used", extra={"port": port})
        return bind(0)
