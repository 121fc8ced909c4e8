"""A line: the open session of two hubs, alike whichever of them called. A binary WebSocket over TLS."""

from __future__ import annotations

import socket
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from aiohttp import WSMessage, WSMsgType, web

from hub.domain.errors import Refused
from hub.domain.ids import HubId
from hub.sync.protocol.frames import MAX_FRAME
from hub.words import N_

CLOSE_S = 2.0
"""For a goodbye."""
SILENCE_S = 60.0
"""For which what was sent may stay unacknowledged."""


class NotASession(Refused):
    """A request for a session that is none."""

    code = "not-a-session"
    template = N_("This address is for hubs to talk to each other. Nothing was changed.")


class _WebSocket(Protocol):
    """What aiohttp's two kinds of WebSocket have in common."""

    async def receive(self) -> WSMessage:
        """The next message."""

    async def send_bytes(self, data: bytes) -> None:
        """Send one."""

    async def close(self) -> Any:
        """End it."""


class Line:
    """A session's connection with ``hub``, whose end of it is at the IP address ``address``."""

    def __init__(
        self,
        hub: HubId,
        address: str,
        socket_: _WebSocket,
        cut: Callable[[], None],
        *,
        called: bool,
        here: str = "",
    ) -> None:
        """``here`` is the IP address of this end."""
        self.hub = hub
        self.address = address
        self._here = here
        self.called = called
        """Whether this hub called, and not the other."""
        self._socket = socket_
        self._cut = cut

    async def send(self, frame: bytes) -> None:
        """Send ``frame``; waits while the other side takes nothing. Raises `ConnectionError` at its end."""
        await self._socket.send_bytes(frame)

    async def receive(self) -> bytes | None:
        """The next frame, or None once the line is closed; text and frames too long close it."""
        message = await self._socket.receive()
        if message.type is WSMsgType.BINARY:
            frame: bytes = message.data
            return frame
        await self.close()
        return None

    async def close(self) -> None:
        """Say goodbye and close; takes at most two seconds."""
        await self._socket.close()

    def stands(self) -> bool:
        """Whether this machine still has the address that the line was opened from: without it, nothing
        comes any more, and the other side does not hear of it."""
        return not self._here or _is_here(self._here)

    def cut(self) -> None:
        """Close at once, without a goodbye."""
        self._cut()


async def over_answer(request: web.BaseRequest, hub: HubId, address: str) -> tuple[Line, web.StreamResponse]:
    """The line that ``request`` of ``hub`` asks for, and the answer that its handler returns at the end.

    Raises `NotASession`.
    """
    answer = web.WebSocketResponse(timeout=CLOSE_S, compress=False, max_msg_size=MAX_FRAME + 1)
    try:
        await answer.prepare(request)
    except (web.HTTPException, ValueError) as error:  # it does not expect every key it may be sent
        raise NotASession from error
    transport = request.transport
    here = host_of(transport.get_extra_info("sockname")) if transport else ""
    cut = transport.abort if transport else _nothing
    return Line(hub, address, answer, cut, called=False, here=here), answer


def set_user_timeout(connected: socket.socket | TransportSocket, seconds: float) -> None:
    """End the connection once what was sent has not been acknowledged for that long: the other is gone."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))


def host_of(peer: tuple[str | int, ...] | None) -> str:
    """The IP address in what a socket says of its other end: IPv4 as such, a link-local one with its zone."""
    if not peer:
        return ""
    host = str(peer[0]).removeprefix("::ffff:") if "." in str(peer[0]) else str(peer[0])
    if len(peer) == 4 and peer[3] and "%" not in host:
        with suppress(OSError):  # that network has gone
            return f"{host}%{socket.if_indextoname(int(peer[3]))}"
    return host


def _is_here(address: str) -> bool:
    """Whether ``address`` is one of this machine's."""
    try:
        [(family, kind, protocol, _, place), *_] = socket.getaddrinfo(
            address, 0, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
        with socket.socket(family, kind, protocol) as trial:
            trial.bind(place)
    except OSError:
        return False
    return True


def _nothing() -> None:
    """There is nothing left to cut."""
