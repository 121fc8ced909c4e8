"""The listener for other hubs: whoever connects is known by certificate before a request is read.

What a stranger can take is bounded before that: handshakes at once, in all and by address, and the time
for one. A hub that is known has so many connections, and a deadline for each request's head. Nothing that
others do wrong is logged: it is counted.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from hub.domain.errors import HubError, NotFound
from hub.domain.ids import HubId
from hub.runtime.routing import Match, Route, Router
from hub.sync.line import SILENCE_S, Line, host_of, over_answer, set_user_timeout

_log = logging.getLogger(__name__)

STRANGER = HubId(b"")
"""Who calls where nobody is asked for a certificate."""
_WAIT_S = 1.0
"""Before connections are taken again when the system had nothing left for one."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request of the hub ``hub`` from ``address``; ``names`` are those of its route's pattern."""

    hub: HubId
    address: str
    names: Mapping[str, str]
    request: web.BaseRequest


CallHandler = Callable[[Call], Awaitable[web.StreamResponse]]


class Door(Protocol):
    """Who may come in; `hub.sync.trust.Trust` is one."""

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection's handshake."""

    def who(self, certificate: bytes | None) -> HubId | None:
        """The hub that showed ``certificate`` (DER), or None for one that may not come in."""


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """What those who connect may take. Seconds, bytes, and numbers of connections."""

    handshakes: int = 32
    """At once, in all: the oldest gives way to a newcomer."""
    handshakes_per_address: int = 8
    handshake_s: float = 10.0
    connections_per_hub: int = 8
    """Of one hub: the one that has asked nothing for longest gives way, else the newcomer goes."""
    head_s: float = 20.0
    """From the handshake or the last answer to a complete head."""
    silence_s: float = SILENCE_S
    line_bytes: int = 2048
    field_bytes: int = 4096
    fields: int = 32
    """Request line, one header field with its name, and header fields of a request head."""


@dataclass(slots=True)
class ListenerCounts:
    """What happened since the start; never by whom."""

    let_in: int = 0
    refused: int = 0
    """Handshakes that failed: strangers, and those that sent something else."""
    crowded_out: int = 0
    malformed: int = 0
    faults: int = 0
    """Handlers that raised what they should not; these are logged as well."""


class Listener:
    """Answers hubs that ``door`` lets in, by ``routes``; `serve` until cancelled."""

    def __init__(
        self,
        door: Door,
        routes: Iterable[Route[CallHandler]],
        limits: ListenerLimits | None = None,
    ) -> None:
        self.limits = limits or ListenerLimits()
        self.counts = ListenerCounts()
        self._door = door
        self._router = Router(routes)
        self._arriving: dict[asyncio.Task[None], str] = {}
        """Handshakes under way and the address of each, the oldest first."""
        self._open: dict[HubId, list[_Connection]] = {}
        """Connections of each hub, the oldest first."""

    async def serve(self, bound: socket.socket) -> None:
        """Answer on the TCP socket ``bound``, which stays its owner's to close."""
        loop = asyncio.get_running_loop()
        bound.setblocking(False)
        bound.listen(self.limits.handshakes)
        server = _Server(self)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        arrived, address = await loop.sock_accept(bound)
                    except OSError:  # too many open files; or who knocked has gone
                        await asyncio.sleep(_WAIT_S)
                        continue
                    self._make_room(address[0])
                    task = group.create_task(self._welcome(server, arrived))
                    self._arriving[task] = address[0]
                    task.add_done_callback(lambda done: self._arriving.pop(done, None))
        finally:
            for connections in tuple(self._open.values()):
                for connection in tuple(connections):
                    connection.cut()
            await server.shutdown(0.1)

    def cut(self, hub: HubId) -> None:
        """Close every connection of ``hub`` at once."""
        for connection in tuple(self._open.get(hub, ())):
            connection.cut()

    def _make_room(self, address: str) -> None:
        """End the oldest handshakes where there are too many for another one from ``address``."""
        same = [task for task, other in self._arriving.items() if other == address]
        leave = same[: max(0, len(same) + 1 - self.limits.handshakes_per_address)]
        if not leave and len(self._arriving) >= self.limits.handshakes:
            leave = [next(iter(self._arriving))]
        for task in leave:
            self.counts.crowded_out += 1
            self._arriving.pop(task)
            task.cancel()

    async def _welcome(self, server: _Server, arrived: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        set_user_timeout(arrived, self.limits.silence_s)
        try:
            await loop.connect_accepted_socket(
                server,
                arrived,
                ssl=self._door.context,
                ssl_handshake_timeout=self.limits.handshake_s,
                ssl_shutdown_timeout=1.0,
            )
        except OSError:  # what TLS does not like is one as well, and so is a handshake that takes too long
            self.counts.refused += 1

    def let_in(self, connection: _Connection, certificate: bytes | None) -> bool:
        """Whether ``connection``, whose other end showed ``certificate``, may stay."""
        hub = self._door.who(certificate)
        if hub is None:
            self.counts.refused += 1
            return False
        others = self._open.setdefault(hub, [])
        if len(others) >= self.limits.connections_per_hub:
            self.counts.crowded_out += 1
            idle = next((each for each in others if each.idle), None)
            if idle is None:
                return False
            self.gone(idle)
            idle.cut()
        connection.hub = hub
        self._open.setdefault(hub, []).append(connection)
        self.counts.let_in += 1
        return True

    def gone(self, connection: _Connection) -> None:
        """``connection`` has no place any more, if it had one."""
        others = self._open.get(connection.hub, [])
        if connection in others:
            others.remove(connection)
            if not others:
                del self._open[connection.hub]

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to a request of a hub that was let in."""
        connection = cast(_Connection, request.protocol)
        try:
            found = self._router.find(request.method, request.path)
            if not isinstance(found, Match):
                raise NotFound
            return await found.handler(Call(connection.hub, connection.address, found.names, request))
        except HubError as error:
            status, text = error.status, str(error)
        except (ConnectionError, RequestPayloadError):
            raise
        except Exception as error:
            self.counts.faults += 1
            _log.error("a neighbour's request could not be answered", exc_info=error)
            status, text = 500, str(HubError())
        if request.writer.output_size > 0:
            raise ConnectionResetError("part of the answer is sent, so no other can follow")
        answer = web.Response(status=status, text=text + "\n")
        answer.force_close()
        return answer


def session(converse: Callable[[Line], Awaitable[None]]) -> CallHandler:
    """A handler that makes a session of a request and closes it when ``converse`` returns."""

    async def handle(call: Call) -> web.StreamResponse:
        line, answer = await over_answer(call.request, call.hub, call.address)
        try:
            await converse(line)
        finally:
            await line.close()
        return answer

    return handle


class _Server(web.Server):
    def __init__(self, listener: Listener) -> None:
        limits = listener.limits
        self.listener = listener
        super().__init__(
            listener.answer,
            request_factory=self._request,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=limits.head_s,
            lingering_time=0,
            max_line_size=limits.line_bytes,
            max_field_size=limits.field_bytes,
            max_headers=limits.fields,
        )

    def __call__(self) -> RequestHandler:
        return _Connection(self, self._loop, self._kwargs)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return _Request(message, payload, protocol, writer, task, self._loop)


class _Request(web.BaseRequest):
    """A request whose answer does not tell strangers which software and versions the hub runs."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.pop(hdrs.SERVER, None)


class _Connection(RequestHandler):
    """A connection after its handshake."""

    __slots__ = ("_listener", "_pipe", "address", "hub")

    def __init__(self, server: _Server, loop: asyncio.AbstractEventLoop, settings: dict[str, Any]) -> None:
        super().__init__(server, loop=loop, **settings)
        self._listener = server.listener
        self._pipe: asyncio.Transport | None = None
        self.hub = STRANGER
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pipe = cast(asyncio.Transport, transport)
        self.address = host_of(transport.get_extra_info("peername"))
        super().connection_made(transport)
        if not self._listener.let_in(
            self, transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        ):
            self.cut()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._pipe = None
        super().connection_lost(exc)
        self._listener.gone(self)

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except Exception:
            self._listener.counts.malformed += 1
            self.cut()

    @property
    def idle(self) -> bool:
        """Whether it waits for a request."""
        return self._waiter is not None and not self._messages

    def cut(self) -> None:
        """Close at once; what was not sent yet is not sent."""
        pipe = self._pipe
        self.force_close()
        if pipe is not None:
            pipe.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no request; closes the connection."""
        self._listener.counts.malformed += 1
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionResetError("the connection has ended, or part of the answer is sent")
        answer = web.Response(status=400, text="This is not a request that the hub can read.\n")
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Count it: a connection ended in between. Faults of handlers are logged where they are caught."""
        self._listener.counts.malformed += 1
