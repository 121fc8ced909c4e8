"""Calling other hubs: over TLS that takes nobody but the hub that was called for it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

import aiohttp
from yarl import URL

from hub.domain.errors import HubError
from hub.domain.ids import HubId
from hub.domain.neighbours import Address
from hub.sync.line import CLOSE_S, SILENCE_S, Line, host_of, set_user_timeout
from hub.sync.protocol.frames import MAX_FRAME
from hub.sync.trust import Trust
from hub.words import N_

SESSION_PATH = "/v1/session"
CALL_S = 15.0
"""From calling to the head of the answer."""
KEPT_S = 15.0
"""For which a connection waits for another request: less than a listener lets it wait."""
_READ_AHEAD = 1024 * 1024
"""Bytes of an answer that may lie in memory: with fewer, large blobs come at two thirds of the speed."""
_SERVER_NAME = "hub"
"""Sent in the handshake instead of the address, which may be no name that TLS takes."""


class NotReached(HubError):
    """Nobody answers, or nobody who speaks as hubs do."""

    code = "not-reached"
    status = 504
    template = N_(
        "No hub answers at {address}. Nothing was changed. "
        "Look whether it is switched on and whether the address is right."
    )


class AnotherHub(HubError):
    """A hub answers, but not the one that was called."""

    code = "another-hub"
    status = 502
    template = N_(
        "Another hub than the one this hub is paired with answers at {address}. Nothing was exchanged. "
        "If that hub was set up anew, pair with it again."
    )


class NotLetIn(HubError):
    """The hub that was called ends the connection once it sees who calls."""

    code = "not-let-in"
    status = 502
    template = N_(
        "The hub at {address} does not let this hub in. Nothing was exchanged. "
        "Ask its caretaker; if it is paired with this hub no more, pair again."
    )


class Caller:
    """Calls hubs that ``trust`` has pinned; made where the event loop runs, closed before that ends."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._contexts: dict[HubId, ssl.SSLContext] = {}
        self._sockets: dict[HubId, WeakSet[socket.socket]] = {}
        self._called: ContextVar[HubId] = ContextVar("called")
        """Who is being called, for the factory of sockets, which nobody tells."""
        self._client = self._made(kept=True)
        self._dialler = self._made(kept=False)
        """For sessions: a connection that was kept may be dead, when this machine has got another address."""
        trust.when_unpinned.append(self.cut)

    async def dial(self, hub: HubId, address: Address) -> Line:
        """Open a session with ``hub`` at ``address``.

        Raises `NotReached`, `AnotherHub` or `NotLetIn`, and `KeyError` unless ``hub`` is pinned.
        """
        context = self._context(hub)
        with calling(address):
            async with asyncio.timeout(CALL_S):
                answer = await self._dialler.ws_connect(
                    url_of(address, SESSION_PATH),
                    ssl=context,
                    server_hostname=_SERVER_NAME,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
                    max_msg_size=MAX_FRAME + 1,
                )
        line = over_call(hub, answer)
        shown = answer.get_extra_info("ssl_object")
        if self._trust.who(shown and shown.getpeercert(binary_form=True)) != hub:
            line.cut()
            await line.close()
            raise AnotherHub(address=address)
        return line

    async def get(
        self, hub: HubId, address: Address, path: str, fields: Mapping[str, str] | None = None
    ) -> aiohttp.ClientResponse:
        """The answer of ``hub`` to a GET of ``path`` with header ``fields``: leave it by ``async with``.

        Its body raises `aiohttp.ClientError` and `TimeoutError`. Raises as `dial` does.
        """
        context = self._context(hub)
        with calling(address):
            async with asyncio.timeout(CALL_S):
                answer = await self._client.get(
                    url_of(address, path),
                    ssl=context,
                    server_hostname=_SERVER_NAME,
                    headers=fields,
                    allow_redirects=False,
                )
        if self._contexts.get(hub) is not context:  # it was unpinned meanwhile
            answer.close()
            raise AnotherHub(address=address)
        return answer

    def cut(self, hub: HubId) -> None:
        """Close every connection to ``hub`` at once."""
        self._contexts.pop(hub, None)
        for connected in self._sockets.pop(hub, ()):
            with suppress(OSError):  # it was not connected yet, or no longer
                connected.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Close every connection."""
        self._trust.when_unpinned.remove(self.cut)
        await self._client.close()
        await self._dialler.close()

    def _made(self, *, kept: bool) -> aiohttp.ClientSession:
        pool: dict[str, Any] = {"keepalive_timeout": KEPT_S} if kept else {"force_close": True}
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(use_dns_cache=False, socket_factory=self._socket, **pool),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=SILENCE_S),
            auto_decompress=False,
            read_bufsize=_READ_AHEAD,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    def _context(self, hub: HubId) -> ssl.SSLContext:
        if hub not in self._contexts:
            self._contexts[hub] = self._trust.calling(hub)
        self._called.set(hub)
        return self._contexts[hub]

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        made = calling_socket(info)
        self._sockets.setdefault(self._called.get(), WeakSet()).add(made)
        return made


def over_call(hub: HubId, answer: aiohttp.ClientWebSocketResponse[Any]) -> Line:
    """The line that ``hub`` agreed to."""
    peer, connected = answer.get_extra_info("peername"), answer.get_extra_info("socket")
    here = host_of(answer.get_extra_info("sockname"))

    def cut() -> None:
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    return Line(hub, host_of(peer), answer, cut, called=True, here=here)


def calling_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that notices when the other end is gone."""
    family, kind, protocol, *_ = info
    made = socket.socket(family, kind, protocol)
    set_user_timeout(made, SILENCE_S)
    return made


def url_of(address: Address, path: str) -> URL:
    """Where ``path`` of the hub at ``address`` is."""
    return URL.build(scheme="https", host=address.host, port=address.port, path=path)


@contextmanager
def calling(address: Address) -> Iterator[None]:
    """Turns what goes wrong in calling a hub at ``address`` into what is known of it."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise AnotherHub(address=address) from error
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL, TimeoutError, ValueError) as error:
        raise NotReached(address=address) from error
    except (aiohttp.ClientError, ConnectionError) as error:  # the handshake was done by then
        raise NotLetIn(address=address) from error
