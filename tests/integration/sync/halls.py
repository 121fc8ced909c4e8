"""Hubs of the street with keys of their own, listening to each other on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.domain.ids import HubId
from hub.domain.neighbours import Address
from hub.runtime.routing import Route
from hub.sync.line import Line
from hub.sync.listener import Call, Listener, ListenerLimits, session
from hub.sync.transport import SESSION_PATH, Caller
from hub.sync.trust import Credentials, Trust


def key_of(name: str) -> Ed25519PrivateKey:
    """The key of the street's hub of that name, the same in every run."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


@dataclass(slots=True)
class Hall:
    """A hub as others meet it: whom it trusts, where it listens, what it calls with.

    Its sessions give back each frame they get, and are kept in ``lines`` while they are open.
    """

    name: str
    credentials: Credentials
    trust: Trust
    listener: Listener
    caller: Caller
    address: Address
    lines: list[Line] = field(default_factory=list)

    @property
    def hub(self) -> HubId:
        """Its id."""
        return self.credentials.hub

    @property
    def certificate(self) -> bytes:
        """Its certificate."""
        return self.credentials.certificate

    def pairs_with(self, other: Hall) -> None:
        """Both pin each other."""
        self.trust.pin(other.certificate)
        other.trust.pin(self.certificate)


@asynccontextmanager
async def serving(listener: Listener) -> AsyncIterator[Address]:
    """A listener on a free port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(listener.serve(bound))
            yield Address("127.0.0.1", bound.getsockname()[1])
            task.cancel()


@asynccontextmanager
async def open_hall(name: str, **limits: float) -> AsyncIterator[Hall]:
    """The hub of that name, listening."""
    credentials = Credentials(key_of(name))
    trust = Trust(credentials)
    hall: Hall

    async def echo(line: Line) -> None:
        hall.lines.append(line)
        while (frame := await line.receive()) is not None:
            await line.send(frame)
        hall.lines.remove(line)

    async def tell(call: Call) -> web.StreamResponse:
        return web.Response(text=f"{name} for {call.names['id']} of {call.hub.hex()[:6]}")

    async def fail(call: Call) -> web.StreamResponse:
        raise LookupError("a fault of the hub")

    listener = Listener(
        trust,
        [
            Route("GET", SESSION_PATH, session(echo)),
            Route("GET", "/v1/blobs/{id}", tell),
            Route("GET", "/v1/fault", fail),
        ],
        ListenerLimits(**limits),  # type: ignore[arg-type]
    )
    trust.when_unpinned.append(listener.cut)
    caller = Caller(trust)
    try:
        async with serving(listener) as address:
            hall = Hall(name, credentials, trust, listener, caller, address)
            yield hall
    finally:
        await caller.close()


async def until(true: Callable[[], bool]) -> None:
    """Return when it is true."""
    while not true():  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0.005)
