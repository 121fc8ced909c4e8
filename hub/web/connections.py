"""The listener for residents: aiohttp's low-level server with deadlines, caps and an ordered end.

aiohttp by itself waits for a request head or body for as long as the client likes, keeps every
connection, writes a traceback for each malformed request and tells its version. Here

- a request head has to be complete in ``head_s``, a body and an answer have to move, and the number
  of connections is bounded. A newcomer takes the place of the connection that has kept its place
  longest without asking anything; a connection that is being answered never loses its place.
- what clients do wrong is counted in :class:`ConnectionCounts`, not logged.

One timer looks after all connections, and only while there are any: a hub nobody visits does not
wake up. Nothing is done for each request that can be seen by that timer instead.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import hdrs, http, http_parser, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from hub.domain.errors import HubError, Refused
from hub.words import N_

_log = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

ACCEPTED_AT_ONCE = 16
"""Connections taken from the kernel before those already taken are read: far fewer than the caps, so
that a newcomer among thousands has its head read before it could become the oldest without one."""
KERNEL_QUEUE = 4096
"""Connections that wait in the kernel, where they cost next to nothing. A shorter queue drops some of a
crowd, and whoever is dropped tries again only after a whole second."""

READ_AHEAD = 64 * 1024
"""Bytes of a body kept for a handler that is slower than its client; twice that stops the client."""


class BodyTooSlow(Refused):
    """The rest of a request's body did not come in time; raised where the body is being read."""

    code = "body-too-slow"
    status = 408
    template = N_(
        "What you sent stopped coming before it was all here. Nothing was changed. "
        "Go closer to the Wi-Fi and send it again."
    )


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What clients of the listener may take. Seconds, bytes, and numbers of connections."""

    connections: int = 512
    """In all."""
    heads_per_address: int = 64
    """Connections of one address that have not sent a complete head: a hall may share one address."""
    head_s: float = 10.0
    """From connecting, or from the first byte of a later request, to its complete head."""
    idle_s: float = 30.0
    """Between an answer and the first byte of the next request."""
    slowest: int = 1024
    """Bytes a second that a body or an answer has to move, on average over its window."""
    body_window_s: float = 10.0
    answer_window_s: float = 30.0
    linger_s: float = 5.0
    """For reading away what is left of a body after its answer, so that the client reads the answer."""
    place_s: float = 1.0
    """For which a connection keeps its place, if another can be found, when the places run out."""
    look_s: float = 1.0
    """Between two looks at all connections; each deadline may be missed by as much."""
    line_bytes: int = 4096
    field_bytes: int = 8190
    fields: int = 64
    """Request line, one header field with its name, and header fields of a request head."""


@dataclass(slots=True)
class ConnectionCounts:
    """What went wrong since the start, for the hub's health; never by whom."""

    malformed: int = 0
    """Requests that are not HTTP/1, or whose body breaks its own framing."""
    late_heads: int = 0
    slow_bodies: int = 0
    stalled_answers: int = 0
    """Cut because their client did not read on."""
    crowded_out: int = 0
    """Connections that gave their place to a newcomer."""
    turned_away: int = 0
    """Newcomers for whom there was no place, since everybody else was being answered."""
    faults: int = 0
    """Handlers that raised what they should not; these are logged as well."""


def fast_parser_present() -> bool:
    """Whether aiohttp parses with its C parser; the one in Python is slow and has been less strict."""
    return http.HttpRequestParser is not http_parser.HttpRequestParserPy


class GuardedServer(web.Server):
    """A protocol factory for ``loop.create_server`` whose connections keep to ``limits``.

    ``handler`` answers each request; a :class:`~hub.domain.errors.HubError` that it raises becomes a
    plain answer with that status, any other exception a 500 and a logged fault. Must be made
    while the event loop runs. TCP on Linux only.
    """

    def __init__(self, handler: Handler, limits: ConnectionLimits | None = None) -> None:
        self.limits = limits or ConnectionLimits()
        self.counts = ConnectionCounts()
        self.stopping = False
        super().__init__(
            handler,
            access_log=None,
            auto_decompress=False,  # no browser sends a compressed body, and they are bombs
            keepalive_timeout=self.limits.idle_s,
            lingering_time=self.limits.linger_s,
            read_bufsize=READ_AHEAD,
            max_line_size=self.limits.line_bytes,
            max_field_size=self.limits.field_bytes,
            max_headers=self.limits.fields,
        )
        self._heads: dict[GuardedConnection, float] = {}
        """Connections whose head is incomplete and since when, the oldest first."""
        self._heads_of: dict[str, dict[GuardedConnection, None]] = {}
        """The same by address."""
        self._settled: dict[GuardedConnection, None] = {}
        """All others that are open or whose last request is still at work."""
        self._listeners: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> RequestHandler:
        return GuardedConnection(self, self._loop, self._kwargs)

    async def listen(self, bound: socket.socket) -> None:
        """Answer on the TCP socket ``bound``, which belongs to this server from here on."""
        listener = await self._loop.create_server(self, sock=bound, backlog=ACCEPTED_AT_ONCE)
        bound.listen(KERNEL_QUEUE)
        self._listeners.append(listener)

    async def stop(self, grace_s: float = 4.0) -> None:
        """Stop listening, close idle connections, let requests finish, and end within ``grace_s`` + 0.5 s.

        Requests that are still being answered after ``grace_s`` are cancelled and cut off.
        """
        self.stopping = True
        for listener in self._listeners:
            listener.close()
        connections = [*self._heads, *self._settled]
        endings = [ending for connection in connections for ending in connection.finish()]
        if endings:
            await asyncio.wait(endings, timeout=grace_s)
            for connection in connections:
                connection.cut()
            for ending in endings:
                ending.cancel()
            await asyncio.wait(endings, timeout=0.5)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def admit(self, newcomer: GuardedConnection) -> None:
        """Give a new connection a place, at another's cost where none is free, or turn it away."""
        if self.stopping:
            newcomer.cut()
            return
        same = self._heads_of.get(newcomer.address)
        if same is not None and len(same) >= self.limits.heads_per_address:
            self._crowd_out(next(iter(same)))
        if len(self._heads) + len(self._settled) >= self.limits.connections:
            least = self._least_deserving()
            if least is None:
                self.counts.turned_away += 1
                newcomer.turn_away(_FULL)
                return
            self._crowd_out(least)
        self.head_begun(newcomer)
        if self._timer is None:
            self._timer = self._loop.call_later(self.limits.look_s, self._look)

    def head_begun(self, connection: GuardedConnection) -> None:
        """``connection`` has to send a complete head from now on."""
        connection.head_open = True
        self._settled.pop(connection, None)
        self._heads[connection] = self._loop.time()
        self._heads_of.setdefault(connection.address, {})[connection] = None

    def head_complete(self, connection: GuardedConnection) -> None:
        """``connection`` has sent the head that it began."""
        self._forget_head(connection)
        self._settled[connection] = None

    def dismiss(self, connection: GuardedConnection) -> None:
        """Free the place of ``connection``, if it has one."""
        if connection.head_open:
            self._forget_head(connection)
        self._settled.pop(connection, None)

    def _forget_head(self, connection: GuardedConnection) -> None:
        connection.head_open = False
        del self._heads[connection]
        same = self._heads_of[connection.address]
        del same[connection]
        if not same:
            del self._heads_of[connection.address]

    def _least_deserving(self) -> GuardedConnection | None:
        """Who has to make room: none if all are being answered.

        That is the oldest with an incomplete head, then the one idle for longest. Whoever has had
        its place for less than ``place_s`` is spared if the other kind has one that has had its time:
        otherwise a few newcomers would push out one another while others sit and wait.
        """
        in_time = self._loop.time() - self.limits.place_s
        oldest = next(iter(self._heads), None)
        if oldest is not None and self._heads[oldest] <= in_time:
            return oldest
        idle = (connection for connection in self._settled if connection.idle)
        longest = min(idle, key=lambda connection: connection.idle_since, default=None)
        if longest is not None and (oldest is None or longest.idle_since <= in_time):
            return longest
        return oldest

    def _crowd_out(self, connection: GuardedConnection) -> None:
        self.counts.crowded_out += 1
        self.dismiss(connection)
        connection.cut()

    def _look(self) -> None:
        now = self._loop.time()
        begun_by = now - self.limits.head_s
        while self._heads:
            connection, since = next(iter(self._heads.items()))
            if since > begun_by:
                break
            self.counts.late_heads += 1
            self.dismiss(connection)
            connection.turn_away(_LATE)
        for connection in tuple(self._settled):
            connection.look(now)
        visited = self._heads or self._settled
        self._timer = self._loop.call_later(self.limits.look_s, self._look) if visited else None


class GuardedConnection(RequestHandler):
    """One connection of a :class:`GuardedServer`."""

    __slots__ = (
        "_answer_pace",
        "_body",
        "_body_pace",
        "_gone",
        "_guard",
        "_pipe",
        "_serving",
        "address",
        "head_open",
        "when_lost",
    )

    def __init__(
        self, guard: GuardedServer, loop: asyncio.AbstractEventLoop, settings: dict[str, Any]
    ) -> None:
        super().__init__(guard, loop=loop, **settings)
        self._request_factory = self._begin
        self._guard = guard
        self._pipe: asyncio.Transport | None = None
        self._serving: asyncio.Task[None] | None = None
        self._gone: asyncio.Future[None] | None = None
        self._body: StreamReader | None = None
        self._body_pace = _Pace(guard.limits.slowest, guard.limits.body_window_s)
        self._answer_pace = _Pace(guard.limits.slowest, guard.limits.answer_window_s)
        self.address = ""
        self.head_open = False
        """A head has begun and is not complete; kept by the server."""
        self.when_lost: Callable[[], None] | None = None
        """Called when the connection is lost, for an answer that is sent around the transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pipe = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if peer else ""
        super().connection_made(transport)
        self._serving = self._task_handler
        self._guard.admit(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._pipe = None
        if self.when_lost is not None:
            self.when_lost()
        super().connection_lost(exc)
        if self._serving is None or self._serving.done() or self.head_open:
            self._guard.dismiss(self)
        else:
            self._serving.add_done_callback(lambda _: self._guard.dismiss(self))
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except Exception:
            self._guard.counts.malformed += 1
            self.cut()
            return
        if self.head_open:
            if self._messages:
                self._guard.head_complete(self)
        elif self._waiter is None:
            if self._messages:
                self._check_body()
        elif not self._messages:
            self._guard.head_begun(self)

    def _check_body(self) -> None:
        # Whatever follows an incomplete body is an error of its framing; aiohttp tells its reader nothing.
        body = self._body
        if body is not None and not body.is_eof() and body.exception() is None:
            self._guard.counts.malformed += 1
            body.set_exception(RequestPayloadError("the body breaks its own framing"))

    def _begin(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        if self._guard.stopping:
            message = message._replace(should_close=True)
        self._body = payload
        return _Request(message, payload, protocol, writer, task, self._loop)

    @property
    def idle(self) -> bool:
        """Whether it waits for the first byte of a request that follows an answer sent in full."""
        return (
            self._waiter is not None
            and not self._messages
            and self._pipe is not None
            and not self._pipe.get_write_buffer_size()
        )

    @property
    def idle_since(self) -> float:
        """Loop time of the end of the last answer; meaningful while :attr:`idle`."""
        return self._next_keepalive_close_time - self._keepalive_timeout

    def cut(self) -> None:
        """Close at once; what was not sent yet is not sent."""
        pipe = self._pipe
        self.force_close()
        if pipe is not None:
            pipe.abort()

    def turn_away(self, answer: bytes) -> None:
        """Send ``answer``, a whole response, and close."""
        if self._pipe is not None and not self._pipe.is_closing():
            self._pipe.write(answer)
        self.force_close()

    def finish(self) -> list[asyncio.Future[None]]:
        """Close after the request that is being answered, or now; the result is done when all is."""
        if self._waiter is not None and not self._messages:
            self.force_close()
        elif self._current_request is not None:
            request = self._current_request
            request._message = request._message._replace(should_close=True)
        else:
            self.close()
        endings: list[asyncio.Future[None]] = []
        if self._serving is not None and not self._serving.done():
            endings.append(self._serving)
        if self._pipe is not None:
            self._gone = self._loop.create_future()
            endings.append(self._gone)
        return endings

    def look(self, now: float) -> None:
        """Cut a body or an answer that does not move; ``now`` is loop time."""
        pipe, body = self._pipe, self._body
        if pipe is None:
            return
        if body is not None and not body.is_eof() and not self._reading_paused and not self._buffer_paused:
            if self._body_pace.falls_short(now, body.total_bytes, of=body):
                self._guard.counts.slow_bodies += 1
                if body.exception() is None:
                    body.set_exception(BodyTooSlow())
                else:
                    self.cut()
        else:
            self._body_pace.rest()
        if self._waiter is None or pipe.get_write_buffer_size():
            acknowledged = _bytes_acknowledged(pipe)
            if acknowledged is None:
                self._answer_pace.rest()
            elif self._answer_pace.falls_short(now, acknowledged, of=pipe):
                self._guard.counts.stalled_answers += 1
                self.cut()
        else:
            self._answer_pace.rest()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a malformed request or to what a handler raised; closes the connection."""
        if isinstance(exc, ConnectionError):
            raise exc
        text = "This is not a request that the hub can read."
        if isinstance(exc, HttpProcessingError):
            self._guard.counts.malformed += 1
            status = 400
        elif isinstance(exc, RequestPayloadError):
            status = 400
        elif isinstance(exc, HubError):
            status, text = exc.status, str(exc)
        else:
            self._fault(exc)
            status, text = 500, str(HubError())
        if request.writer.output_size > 0:
            raise ConnectionError("part of the answer is sent, so no other can follow")
        answer = web.Response(status=status, text=text + "\n")
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Count and log a fault; what a client's leaving or a broken body brings about is none."""
        exc = kw.get("exc_info")
        if self._pipe is None or isinstance(exc, ConnectionError | HubError | RequestPayloadError):
            return
        self._fault(exc if isinstance(exc, BaseException) else None)

    def _fault(self, exc: BaseException | None) -> None:
        self._guard.counts.faults += 1
        _log.error("a request could not be answered", exc_info=exc)


class _Request(web.BaseRequest):
    """A request whose answer does not tell which software and versions the hub runs."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        del response.headers[hdrs.SERVER]


class _Pace:
    """Whether something moves fast enough, measured over one window after another."""

    __slots__ = ("_at", "_bytes_s", "_mark", "_of", "_window_s")

    def __init__(self, bytes_s: int, window_s: float) -> None:
        self._bytes_s = bytes_s
        self._window_s = window_s
        self._of: object = None
        self._at = 0.0
        self._mark = 0

    def rest(self) -> None:
        """Nothing has to move now."""
        self._of = None

    def falls_short(self, now: float, moved: int, *, of: object) -> bool:
        """Whether a window has just ended in which too few bytes of ``of`` moved; ``moved`` is their sum."""
        if of is not self._of:
            self._of, self._at, self._mark = of, now, moved
            return False
        passed_s = now - self._at
        if passed_s < self._window_s:
            return False
        short = moved - self._mark < passed_s * self._bytes_s
        self._at, self._mark = now, moved
        return short


_TCP_INFO = struct.Struct("=24xI92xQ16xI")
"""``tcpi_unacked``, ``tcpi_bytes_acked`` and ``tcpi_notsent_bytes`` of linux/tcp.h's ``struct tcp_info``."""


def _bytes_acknowledged(pipe: asyncio.Transport) -> int | None:
    """Bytes that the other side has taken so far, or None when it has nothing left to take.

    The kernel is asked, because a file may be sent without passing through the transport's buffer.
    """
    try:
        info = pipe.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        unacknowledged, acknowledged, not_sent = _TCP_INFO.unpack(info)
    except (OSError, struct.error):
        return None
    if unacknowledged or not_sent or pipe.get_write_buffer_size():
        return int(acknowledged)
    return None


def _closing_answer(status: str, text: str, *fields: str) -> bytes:
    """A whole response, for a connection that no request can be read from."""
    body = f"{text}\n"
    lines = (
        f"HTTP/1.1 {status}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        *fields,
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("ascii")


_LATE = _closing_answer("408 Request Timeout", "The request did not come in time.")
_FULL = _closing_answer(
    "503 Service Unavailable",
    "The hub is busy. Nothing is lost. Try again in a few seconds.",
    "Retry-After: 5",
)
