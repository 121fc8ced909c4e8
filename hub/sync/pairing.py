"""Pairing over the network: a listener that is there only while a caretaker holds it open, and a call.

One pairing at a time, and so many attempts an hour: each is one guess for somebody in between.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp

from hub.domain.errors import HubError
from hub.domain.ids import HubId
from hub.domain.neighbours import Address, Card
from hub.runtime.routing import Route
from hub.services.neighbours import Standing, Step
from hub.sync.line import CLOSE_S, Line
from hub.sync.listener import STRANGER, Listener, ListenerLimits, session
from hub.sync.protocol.pairing import (
    MAX_FRAME,
    NONCE_BYTES,
    Busy,
    Cut,
    Effect,
    Expired,
    Keep,
    Over,
    Pairing,
    Refusal,
    Say,
    Stage,
    TooManyAttempts,
    Trouble,
)
from hub.sync.transport import CALL_S, calling, calling_socket, over_call, url_of
from hub.sync.trust import Credentials, tls_context
from hub.words import N_

_log = logging.getLogger(__name__)

PAIRING_PATH = "/v1/pairing"


class NotOpen(Trouble):
    """Nobody answers where a hub was to be paired."""

    code = "pairing-not-open"
    template = N_(
        "No hub waits at {address} to be paired. Nothing was changed. "
        "Ask its caretaker to open pairing there, and look whether the address is right."
    )


class NothingToCompare(Trouble):
    """There are no digits to say yes to."""

    code = "nothing-to-compare"
    template = N_("There are no digits to compare at the moment. Nothing was changed. Pair from the start.")


class NotRunning(Trouble):
    """The hub is only just starting, or stopping."""

    code = "pairing-not-running"
    status = 503
    template = N_("The hub cannot pair at the moment. Nothing was changed. Try again in a minute.")


@dataclass(frozen=True, slots=True)
class PairingLimits:
    """How long what may take, in seconds, and how often."""

    step_s: float = 10.0
    """For each frame that a program sends."""
    compare_s: float = 600.0
    """For two caretakers to say yes."""
    attempts: int = 5
    period_s: float = 3600.0


Paired = Callable[[Card, Address | None], Awaitable[None]]
"""Stores a new neighbour and lets it in, with the address where it was met. May raise a `HubError`."""


@dataclass(slots=True)
class _Attempt:
    """A pairing under way or over; ``pairing`` and ``line`` are there once the other hub is."""

    until: float
    """Loop time."""
    pairing: Pairing | None = None
    line: Line | None = None
    kept: bool = False
    trouble: HubError | None = None
    over: bool = False
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """There is something for the caretaker to see: digits, or the end."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: asyncio.Timeout | None = None
    """For the next frame."""
    calling: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Window:
    """While the listener is open."""

    until: float
    task: asyncio.Task[None]
    timeout: asyncio.Timeout | None = None


class Pairer:
    """Pairs this hub with one other at a time: `run` until cancelled, and meanwhile what caretakers ask.

    ``card`` is what other hubs are told of this one and ``port`` where it listens for neighbours; ``bind``
    (blocking) gives a TCP socket for callers, ``opened`` is told its port and, at the end, None.
    ``now_ms`` is the wall clock, ``monotonic`` counts seconds, ``chance`` makes random bytes.
    """

    def __init__(
        self,
        credentials: Credentials,
        card: Callable[[], Card],
        port: Callable[[], int],
        bind: Callable[[], socket.socket],
        opened: Callable[[int | None], None],
        paired: Paired,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        chance: Callable[[int], bytes],
        limits: PairingLimits | None = None,
    ) -> None:
        self._credentials = credentials
        self._card = card
        self._port = port
        self._bind = bind
        self._opened = opened
        self._paired = paired
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._chance = chance
        self._limits = limits or PairingLimits()
        self._group: asyncio.TaskGroup | None = None
        self._window: _Window | None = None
        self._attempt: _Attempt | None = None
        self._attempts: deque[float] = deque()
        """When those of the last period were, by ``monotonic``."""
        self._refusing = False

    async def run(self) -> None:
        """Carry pairings until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await asyncio.Event().wait()
        finally:
            self._group = None

    # --- what caretakers do -------------------------------------------------------------------------

    async def open(self, minutes: int) -> Standing:
        """Let any one hub call for ``minutes``. Raises `Busy` or what binding the port raises."""
        group = self._running()
        if self._under_way():
            raise Busy
        await self._shut()
        bound = await asyncio.to_thread(self._bind)
        if self._under_way() or self._window is not None:
            bound.close()
            raise Busy
        self._attempt = None
        ready = asyncio.Event()
        until = self._loop_time() + minutes * 60
        self._window = _Window(until, group.create_task(self._keep_open(bound, until, ready)))
        await ready.wait()
        return self.standing()

    async def close(self) -> None:
        """Let nobody call any more, and refuse a pairing that is under way."""
        await self.refuse()
        await self._shut()

    async def begin(self, address: Address) -> Standing:
        """Call the hub that waits at ``address``; answers once there are digits to compare.

        ``address`` has the port of that hub's pairing. Raises a `HubError` if it comes to nothing.
        """
        group = self._running()
        if self._under_way():
            raise Busy
        attempt = self._attempt = _Attempt(self._loop_time() + CALL_S)
        attempt.calling = group.create_task(self._call(attempt, address))
        await self._shut()  # one direction at a time
        await attempt.settled.wait()
        if attempt.trouble is not None:
            raise attempt.trouble
        return self.standing()

    def standing(self) -> Standing:
        """How the present or last pairing stands."""
        attempt, window = self._attempt, self._window
        if attempt is None or (window is not None and not attempt.settled.is_set()):
            return Standing(Step.OPEN, until_ms=self._ms(window.until)) if window else Standing()
        trouble = attempt.trouble
        if window is not None and trouble is not None and not attempt.kept:
            step, until = Step.OPEN, window.until
        else:
            step, until = self._step(attempt), 0.0 if attempt.over else attempt.until
        card = attempt.pairing.card if attempt.pairing else None
        comparing = step in (Step.COMPARING, Step.ACCEPTED)
        shown = card if comparing or step is Step.PAIRED else None
        return Standing(
            step,
            digits=attempt.pairing.digits if attempt.pairing and comparing else "",
            hub=shown.hub if shown else None,
            name=shown.name if shown else "",
            choices=shown.choices if shown else None,
            until_ms=self._ms(until) if until else 0,
            trouble=trouble.code if trouble else "",
            sentence=str(trouble) if trouble else "",
        )

    async def accept(self) -> Standing:
        """The digits are the same on both. Raises `NothingToCompare`."""
        attempt = self._attempt
        if attempt is None or attempt.over or attempt.pairing is None or not attempt.pairing.digits:
            raise NothingToCompare
        async with attempt.turn:
            await self._carry_out(attempt, attempt.pairing.accept())
        return self.standing()

    async def refuse(self) -> Standing:
        """They are not, or this was not meant."""
        attempt = self._attempt
        if attempt is not None and not attempt.over:
            if attempt.pairing is not None:
                async with attempt.turn:
                    await self._carry_out(attempt, attempt.pairing.refuse())
            elif attempt.calling is not None:
                attempt.trouble = Refusal()
                attempt.calling.cancel()
        return self.standing()

    # --- waiting to be called -----------------------------------------------------------------------

    async def _keep_open(self, bound: socket.socket, until: float, ready: asyncio.Event) -> None:
        listener = Listener(
            _Porch(self._credentials),
            [Route("GET", PAIRING_PATH, session(self._answer))],
            ListenerLimits(connections_per_hub=16, head_s=self._limits.step_s),
        )
        try:
            with bound, suppress(TimeoutError):
                async with asyncio.timeout_at(until) as timeout:
                    if self._window is not None:
                        self._window.timeout = timeout
                    self._opened(bound.getsockname()[1])
                    ready.set()
                    await listener.serve(bound)
        except Exception as error:
            _log.error("the listener for pairing failed", exc_info=error)
        finally:
            self._window = None
            self._opened(None)
            ready.set()

    async def _shut(self) -> None:
        """Close the listener, if it is open, and what is connected to it."""
        window = self._window
        if window is not None:
            _end_at(window.timeout, 0.0)
            await asyncio.wait([window.task])

    async def _answer(self, line: Line) -> None:
        """A hub has called."""
        try:
            async with asyncio.timeout(self._limits.step_s):
                first = await line.receive()
        except TimeoutError:
            return
        if first is None:
            return
        pairing = self._new_pairing(None)
        effects = pairing.stop(Busy()) if self._under_way() else pairing.receive(first)
        if pairing.stage is Stage.ANSWERED and not self._another_attempt():
            effects = pairing.stop(TooManyAttempts())
        if pairing.stage is Stage.OVER:
            for effect in effects:
                if isinstance(effect, Say):
                    await self._say(line, effect.frame)
            return
        attempt = _Attempt(self._loop_time() + self._limits.step_s, pairing, line)
        before, self._attempt = self._attempt, attempt
        try:
            await self._converse(attempt, effects)
        finally:
            _close_books(attempt)
            if not attempt.settled.is_set() and self._attempt is attempt:
                self._attempt = before  # nobody saw anything of it
        await line.close()
        window = self._window
        if window is not None:
            _end_at(window.timeout, 0.0 if attempt.kept else window.until)

    # --- calling --------------------------------------------------------------------------------------

    async def _call(self, attempt: _Attempt, address: Address) -> None:
        try:
            await self._call_and_converse(attempt, address)
        except HubError as error:
            attempt.trouble = error
        except Exception as error:
            _log.error("a pairing failed", exc_info=error)
            attempt.trouble = HubError()
        finally:
            _close_books(attempt)
            attempt.settled.set()

    async def _call_and_converse(self, attempt: _Attempt, address: Address) -> None:
        context = tls_context(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_mode = ssl.CERT_NONE  # the digits tell whose certificate it is
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=calling_socket, use_dns_cache=False),
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as client:
            try:
                with calling(address):
                    async with asyncio.timeout_at(attempt.until):
                        answer = await client.ws_connect(
                            url_of(address, PAIRING_PATH),
                            ssl=context,
                            server_hostname="hub",
                            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
                            max_msg_size=MAX_FRAME + 1,
                        )
            except HubError as error:
                raise NotOpen(address=address) from error
            line = attempt.line = over_call(STRANGER, answer)
            try:
                if not self._another_attempt():
                    raise TooManyAttempts
                shown = answer.get_extra_info("ssl_object")
                certificate = shown.getpeercert(binary_form=True) if shown else None
                attempt.pairing = self._new_pairing(certificate or b"")
                attempt.until = self._loop_time() + self._limits.step_s
                await self._converse(attempt, attempt.pairing.begin())
            finally:
                await line.close()

    # --- both -------------------------------------------------------------------------------------------

    async def _converse(self, attempt: _Attempt, effects: list[Effect]) -> None:
        """Carry the pairing to its end."""
        pairing, line = attempt.pairing, attempt.line
        if pairing is None or line is None:
            return
        while True:
            async with attempt.turn:
                await self._carry_out(attempt, effects)
            if attempt.over:
                return
            try:
                async with asyncio.timeout_at(attempt.until) as attempt.waiting:
                    frame = await line.receive()
            except TimeoutError:
                effects = pairing.stop(Expired()) or pairing.lost()
            else:
                effects = pairing.lost() if frame is None else pairing.receive(frame)
            finally:
                attempt.waiting = None

    async def _carry_out(self, attempt: _Attempt, effects: list[Effect]) -> None:
        pairing, line = attempt.pairing, attempt.line
        if pairing is None or line is None:
            return
        shown = attempt.settled.is_set()
        left = deque(effects)
        while left:
            match left.popleft():
                case Say(frame):
                    await self._say(line, frame)
                case Keep(card, port):
                    met = Address(line.address, port) if 1 <= port <= 65535 else None
                    try:
                        await self._paired(card, met)
                    except HubError as error:
                        left.extend(pairing.not_kept(error))
                    except Exception as error:
                        _log.error("a new neighbour could not be stored", exc_info=error)
                        left.extend(pairing.not_kept(HubError()))
                    else:
                        attempt.kept = True
                        left.extend(pairing.kept())
                case Over(trouble):
                    attempt.trouble = trouble
                    attempt.over = True
                    _log.info("a pairing ended", extra={"code": trouble.code if trouble else "paired"})
        if pairing.stage is Stage.COMPARING and not shown:
            attempt.until = self._loop_time() + self._limits.compare_s
            attempt.settled.set()
        elif pairing.stage is Stage.AGREED:
            attempt.until = self._loop_time() + self._limits.step_s
        _end_at(attempt.waiting, 0.0 if attempt.over else attempt.until)
        window = self._window
        if window is not None and not attempt.over:
            _end_at(window.timeout, max(window.until, attempt.until + CALL_S))

    async def _say(self, line: Line, frame: bytes) -> None:
        with suppress(ConnectionError, TimeoutError):  # the next frame that does not come tells
            async with asyncio.timeout(self._limits.step_s):
                await line.send(frame)

    def _new_pairing(self, certificate: bytes | None) -> Pairing:
        credentials = self._credentials
        nonce = self._chance(NONCE_BYTES)
        return Pairing(self._card(), self._port(), nonce, credentials.sign, certificate)

    def _another_attempt(self) -> bool:
        """Count an attempt; False if there were too many."""
        now = self._monotonic()
        while self._attempts and self._attempts[0] <= now - self._limits.period_s:
            self._attempts.popleft()
            self._refusing = False
        if len(self._attempts) >= self._limits.attempts:
            if not self._refusing:  # said once, however often somebody knocks
                _log.warning("too many attempts to pair", extra={"count": len(self._attempts)})
            self._refusing = True
            return False
        self._attempts.append(now)
        _log.info("an attempt to pair", extra={"count": len(self._attempts)})
        return True

    def _under_way(self) -> bool:
        return self._attempt is not None and not self._attempt.over

    def _running(self) -> asyncio.TaskGroup:
        if self._group is None:
            raise NotRunning
        return self._group

    def _step(self, attempt: _Attempt) -> Step:
        pairing = attempt.pairing
        if attempt.kept:
            return Step.PAIRED
        if attempt.over:
            return Step.FAILED
        if pairing is None or not pairing.digits:
            return Step.CALLING
        return Step.ACCEPTED if pairing.accepted else Step.COMPARING

    def _loop_time(self) -> float:
        return asyncio.get_running_loop().time()

    def _ms(self, until: float) -> int:
        return self._now_ms() + round((until - self._loop_time()) * 1000)


class _Porch:
    """Anybody may come in, and sees the hub's certificate."""

    def __init__(self, credentials: Credentials) -> None:
        self.context = tls_context(ssl.PROTOCOL_TLS_SERVER)
        credentials.show(self.context)

    def who(self, certificate: bytes | None) -> HubId | None:
        """A stranger: who it is, the pairing proves."""
        return STRANGER


def _close_books(attempt: _Attempt) -> None:
    """Nothing more happens to ``attempt``, whatever ended it."""
    attempt.over = True
    if not attempt.kept and attempt.trouble is None:
        attempt.trouble = Cut()


def _end_at(timeout: asyncio.Timeout | None, when: float) -> None:
    """Let ``timeout`` end what it guards at the loop time ``when``, unless it has done so already."""
    if timeout is not None and not timeout.expired():
        timeout.reschedule(when)
