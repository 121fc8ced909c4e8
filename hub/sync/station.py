"""The part of a hub that talks to other hubs, put together: listener, calls, pairing and the exchange."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from hub.domain.neighbours import Address, Card, Learnt, Neighbour
from hub.domain.sharing import DEFAULT_CHOICES
from hub.runtime.routing import Route
from hub.services.fetching import Fetching
from hub.services.identity import Identity
from hub.services.ingest import Ingest
from hub.services.neighbours import Neighbours
from hub.storage.blobs import BlobStore
from hub.storage.database import Database
from hub.sync.blobs import Fetcher, Giving
from hub.sync.exchange import Exchange, Self
from hub.sync.listener import Listener, session
from hub.sync.pairing import Pairer
from hub.sync.transport import SESSION_PATH, Caller
from hub.sync.trust import Credentials, Trust

Bind = Callable[[int], socket.socket]
"""Gives a TCP socket on a port (0: a free one), bound to where the hub listens for others. Blocking."""


class Station:
    """Made where the event loop runs; `begin`, then `run` until cancelled, then `close`."""

    def __init__(
        self,
        identity: Identity,
        database: Database,
        blobs: BlobStore,
        neighbours: Neighbours,
        ingest: Ingest,
        fetching: Fetching,
        of_itself: Callable[[], Self],
        places_of: Callable[[Neighbour], Awaitable[Sequence[Address]]],
        bind: Bind,
        ports: tuple[int, int],
        pairing_opened: Callable[[int | None], None],
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        chance: Callable[[int], bytes],
        at_once: int,
    ) -> None:
        """``ports``: for neighbours, and for hubs that are to be paired. ``pairing_opened`` is told the port
        while pairing is open, then None. ``of_itself`` is asked whenever a session begins."""
        self._neighbours = neighbours
        self._of_itself = of_itself
        self._bind = bind
        self._ports = ports
        self._bound: socket.socket | None = None
        credentials = Credentials(identity.key)
        self._certificate = credentials.certificate
        self.trust = Trust(credentials)
        self._caller = Caller(self.trust)
        self.exchange = Exchange(
            self.trust,
            self._caller,
            database,
            neighbours,
            ingest,
            Fetcher(fetching),
            of_itself,
            places_of,
            now_ms,
            monotonic,
            lambda: int.from_bytes(chance(4), "big") / 2**32,
            at_once,
        )
        giving = Giving(database, blobs, self.exchange.exchanged, now_ms, fetching.want_for_neighbour)
        self._listener = Listener(
            self.trust, [Route("GET", SESSION_PATH, session(self.exchange.answer)), *giving.routes()]
        )
        self.trust.when_unpinned.append(self._listener.cut)
        self.pairer = Pairer(
            credentials,
            self.card,
            lambda: self.port,
            lambda: bind(ports[1]),
            pairing_opened,
            self._paired,
            now_ms,
            monotonic,
            chance,
        )

    @property
    def port(self) -> int:
        """Where neighbours are answered."""
        return self._bound.getsockname()[1] if self._bound is not None else self._ports[0]

    def card(self) -> Card:
        """What other hubs are told of this one."""
        itself = self._of_itself()
        return Card(
            self.trust.hub,
            itself.name,
            itself.colour,
            self._certificate,
            itself.addresses,
            DEFAULT_CHOICES,
        )

    async def begin(self) -> None:
        """Take the port. Raises what ``bind`` raises."""
        self._bound = await asyncio.to_thread(self._bind, self._ports[0])

    async def run(self) -> None:
        """Answer, call and swap until cancelled."""
        assert self._bound is not None  # noqa: S101 - `begin` came first
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listener.serve(self._bound))
            group.create_task(self.exchange.run())
            group.create_task(self.pairer.run())

    async def close(self) -> None:
        """Close every connection and the port."""
        await self._caller.close()
        if self._bound is not None:
            self._bound.close()

    async def _paired(self, card: Card, met: Address | None) -> None:
        await self._neighbours.add(card)
        if met is not None:
            await self._neighbours.learn(card.hub, met, Learnt.MET, good=True)
        self.exchange.roster_changed()
