"""Neighbouring hubs as they are heard on the network, and the caretaker's last resort, the sweep.

A ``Finder`` speaks through the announcer's own responder. A second one on this machine would hear
only half of what is sent to port 5353 alone, would keep the interfaces a second time, and could not
know what the first has just said.

It asks for itself and does not use the library's browser: that one puts every name it ever heard into
each question, so that a device which announces a thousand hubs would make all true ones shout.
Nothing of the library's cache is used either, only what passes by.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Generic, TypeVar

from zeroconf import (  # type: ignore[attr-defined] # most are public, but not in __all__
    DNSAddress,
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    DNSRecord,
    DNSService,
    DNSText,
    RecordUpdate,
    RecordUpdateListener,
    Zeroconf,
)

from hub.domain import naming
from hub.domain.errors import HubError
from hub.domain.ids import HubId
from hub.domain.naming import HubHint, LocalAddress
from hub.domain.reaching import Sighting, believable
from hub.words import N_

HUB_SERVICE = "_communityhub._tcp.local."

MAX_PLACES = 200
"""Hubs kept in mind at once."""
MAX_ADDRESSES = 8
MOST_S = 4500
"""The longest that an announcement is believed; RFC 6762 section 10 wants 75 minutes."""
OVERLAP_S = 120.0
"""For how long an address that is no longer announced is tried behind newer ones: a host record's life."""
SECOND_S = 3.0
"""Until the second question: hubs and networks that came up together with this one are there by then."""
EVERY_S = 60.0
"""Between later questions. Answers that are known are told in them, so that nobody repeats those."""
FRESH = 5
"""Questions for which an answer is known: then it is heard again, in case its hub moved unheard."""
TELL_S = 0.25
"""Announcements come in bursts; also the most often that a noisy network can occupy the hub."""
SILENCE_S = 20.0
"""After it, a network on which nobody has said anything is one that keeps devices apart."""
TOLD_AT_ONCE = 20
"""Known answers in one question: with names of usual length it stays in one packet."""
ASKED_AT_ONCE = 10

SWEEP_AT_ONCE = 64
KNOCK_S = 0.6
"""How long a device in the same building may take to say that a port is open."""
ANSWER_S = 5.0
"""How long a hub behind an open port may take to say who it is; small machines are slow at TLS."""

_A, _PTR, _TXT, _AAAA, _SRV = 1, 12, 16, 28, 33
_IN, _UNICAST, _QUERY = 1, 0x8000, 0x0000

T = TypeVar("T")


class NoDeviceSeen(HubError):
    """Nothing at all was heard of any other device on the network."""

    code = "no-device-seen"
    status = 503
    template = N_(
        "This hub sees no other device at all. What is stored is safe. Some Wi-Fi keeps devices apart "
        "(“client isolation”, “guest network”): have that turned off, connect the hubs by cable, or "
        "carry a USB stick between them."
    )


class Finder:
    """Keeps the other hubs on the network in mind, as hints, while an `Announcer` runs it.

    ``hub`` is the own key, whose announcements are ignored. ``on_change`` is called in the event loop
    with all sightings when one came, went or changed, at most every quarter of a second.
    ``is_neighbour`` says of a hint whether it is of a paired hub: those are kept when a flood of
    others fills the table. ``every_s``: seconds between questions once the first are asked.
    """

    def __init__(
        self,
        *,
        hub: HubId,
        on_change: Callable[[tuple[Sighting, ...]], None],
        is_neighbour: Callable[[HubHint], bool] = lambda hint: False,
        every_s: float = EVERY_S,
    ) -> None:
        self._hub = hub
        self._on_change = on_change
        self._every_s = every_s
        self._crowd = Crowd(hub, is_neighbour)
        self._told: tuple[Sighting, ...] = ()
        self._telling: asyncio.TimerHandle | None = None
        self._again = asyncio.Event()
        self._life: _Life | None = None
        self._asking: asyncio.Future[None] | None = None

    def sightings(self) -> tuple[Sighting, ...]:
        """The hubs heard of, in the order in which they turned up."""
        return self._crowd.sightings(time.monotonic())

    def look_again(self) -> None:
        """Ask the network anew, for a caretaker who wants to know."""
        self._again.set()

    def trouble(self) -> HubError | None:
        """What a caretaker should know when no hub is seen: that no device at all is heard."""
        life = self._life
        if life is None or life.heard_somebody or self._crowd.places:
            return None
        return NoDeviceSeen() if time.monotonic() - life.since >= SILENCE_S else None

    # --- driven by the announcer ------------------------------------------------------------------

    def begin(self, zc: Zeroconf, instance: str, here: Sequence[LocalAddress]) -> None:
        """Listen and ask through ``zc``; ``instance`` is this hub's service there, ``here`` its addresses."""
        self._crowd.settle(here)
        self._tell_soon()
        self._life = _Life(zc, instance, here, self._heard)
        zc.async_add_listener(self._life, None)
        self._asking = asyncio.ensure_future(self._keep_asking(self._life))

    def follow(self, here: Sequence[LocalAddress]) -> None:
        """This machine's addresses changed: there may be other hubs in sight, by other ways."""
        if self._life is not None:
            self._life.own |= _packed(here)
            self._crowd.settle(here)
            self._tell_soon()
            self._again.set()

    async def end(self) -> None:
        """The responder ends; what was heard stays a hint until its time is over."""
        life, asking = self._life, self._asking
        self._life = self._asking = None
        if life is not None:
            life.zc.async_remove_listener(life)
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        if asking is not None:
            asking.cancel()
            await asyncio.wait([asking])

    # ----------------------------------------------------------------------------------------------

    def _heard(self, records: list[DNSRecord]) -> None:
        if self._crowd.hear(records, time.monotonic()):
            self._tell_soon()

    def _tell_soon(self) -> None:
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TELL_S, self._tell)

    def _tell(self) -> None:
        self._telling = None
        sightings = self.sightings()
        if sightings != self._told:
            self._told = sightings
            self._on_change(sightings)

    async def _keep_asking(self, life: _Life) -> None:
        while True:
            self._again.clear()
            # Hubs that start together, when the power is back, do not ask together.
            pauses = chain((0.02 + self._hub[0] / 2560, SECOND_S), repeat(None))
            for number, pause in enumerate(pauses):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause() if pause is None else pause):
                        await self._again.wait()
                if self._again.is_set():
                    break
                life.zc.async_send(self._question(life, first=number == 0))
                self._tell_soon()  # some may have been forgotten meanwhile

    def _pause(self) -> float:
        """Longer where many are known, and each question tells of them: idle traffic has a budget."""
        return self._every_s * max(1.0, min(len(self._crowd.places), TOLD_AT_ONCE) / 6)

    def _question(self, life: _Life, *, first: bool) -> DNSOutgoing:
        """Who is a hub here? Tells who is known, so that they may be silent.

        The first wants to hear from all, and by unicast, which costs the others nothing.
        """
        question = DNSOutgoing(_QUERY)
        question.add_question(DNSQuestion(HUB_SERVICE, _PTR, _IN | (_UNICAST if first else 0)))
        for name in self._crowd.unclear():
            question.add_question(DNSQuestion(name, _SRV, _IN))
            question.add_question(DNSQuestion(name, _TXT, _IN))
        known = () if first else self._crowd.known(time.monotonic(), FRESH * self._every_s)
        for name, ttl in ((life.instance, MOST_S), *known):
            question.add_answer_at_time(DNSPointer(HUB_SERVICE, _PTR, _IN, ttl, name), 0)
        return question


class _Life(RecordUpdateListener):
    """Hears what passes by one life of the responder."""

    def __init__(
        self,
        zc: Zeroconf,
        instance: str,
        here: Iterable[LocalAddress],
        heard: Callable[[list[DNSRecord]], None],
    ) -> None:
        super().__init__()
        self.zc = zc
        self.instance = instance
        self.own = _packed(here)
        """Addresses of this machine, whose own answers it hears as well; those just lost among them."""
        self.since = time.monotonic()
        self.heard_somebody = False
        self._heard = heard

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        # Records that the cache gives up are told as well: those are neither fresh nor a goodbye.
        fresh = [each.new for each in records if each.new.ttl == 0 or not each.new.is_expired(now)]
        if not self.heard_somebody:
            self.heard_somebody = any(
                isinstance(each, DNSAddress) and each.address not in self.own for each in fresh
            )
        self._heard(fresh)


@dataclass(slots=True)
class _Spot:
    """One announced instance, by what is known of it."""

    name: str
    ttl: int
    heard: float
    hint: HubHint | None = None
    server: str = ""
    port: int = 0


class Crowd:
    """What was heard of hubs, from anyone on the network: bounded, and cheap to flood.

    Moments are monotonic seconds. ``own`` is this hub's key, ``is_neighbour`` as for `Finder`.
    """

    def __init__(self, own: HubId, is_neighbour: Callable[[HubHint], bool]) -> None:
        self._own = own
        self._is_neighbour = is_neighbour
        self._here: tuple[LocalAddress, ...] = ()
        self.places: dict[str, _Spot] = {}
        self._hosts: dict[str, dict[str, float]] = {}
        """Addresses of the hosts that places stand on, newest first, and when each was last heard."""
        self._best: dict[str, tuple[str, ...]] = {}

    def settle(self, here: Iterable[LocalAddress]) -> None:
        """This machine's addresses, which decide what is near."""
        self._here = tuple(here)
        self._best.clear()

    def sightings(self, now: float) -> tuple[Sighting, ...]:
        """Those of which enough is known to connect, in the order in which they turned up."""
        self._forget(now)
        seen = []
        for spot in self.places.values():
            addresses = self._addresses(spot.server)
            if spot.hint is not None and spot.port and addresses:
                seen.append(Sighting(spot.hint, addresses, spot.port, spot.heard))
        return tuple(seen)

    def known(self, now: float, fresh_s: float) -> list[tuple[str, int]]:
        """Names heard in the last ``fresh_s`` seconds, and the seconds they are good for.

        Who is told more than half of what it would answer does not answer (RFC 6762 section 7.1).
        """
        fresh = (spot for spot in self.places.values() if now - spot.heard < fresh_s)
        return [(spot.name, spot.ttl - int(now - spot.heard)) for spot in islice(fresh, TOLD_AT_ONCE)]

    def unclear(self) -> list[str]:
        """Names that were announced without saying where they are."""
        return list(
            islice((each.name for each in self.places.values() if not _is_whole(each)), ASKED_AT_ONCE)
        )

    def hear(self, records: Iterable[DNSRecord], now: float) -> bool:
        """Take in the records of one packet; whether any of them was about hubs."""
        pointers: list[DNSPointer] = []
        services: list[DNSService] = []
        hints: dict[str, HubHint | None] = {}
        addresses: dict[str, list[DNSAddress]] = {}
        for record in records:
            if isinstance(record, DNSAddress):
                addresses.setdefault(record.key, []).append(record)
            elif not record.key.endswith(HUB_SERVICE):
                continue
            elif isinstance(record, DNSPointer):
                if record.key == HUB_SERVICE:
                    pointers.append(record)
            elif isinstance(record, DNSService):
                services.append(record)
            elif isinstance(record, DNSText):
                hints[record.key] = naming.parse_txt(naming.unpack_txt(record.text))
        touched = False
        for pointer in pointers:
            touched |= self._point(pointer, hints, now)
        for key, hint in hints.items():
            spot = self.places.get(key)
            if spot is None:
                continue
            spot.hint, spot.heard, touched = hint, now, True
            if hint is not None and hint.is_of(self._own):
                del self.places[key]
        for service in services:
            spot = self.places.get(service.key)
            if spot is not None and service.ttl:
                spot.server, spot.port, touched = service.server_key, service.port, True
        if addresses and self.places:
            servers = {spot.server for spot in self.places.values()}
            for host in addresses.keys() & servers:
                touched |= self._locate(host, addresses[host], now)
        return touched

    def _point(self, pointer: DNSPointer, hints: dict[str, HubHint | None], now: float) -> bool:
        key = pointer.alias.lower()
        label = key.removesuffix(f".{HUB_SERVICE}")
        if label in ("", key) or "." in label or len(label.encode()) > naming.MAX_LABEL_BYTES:
            return False  # no hub's name, and one that could not be written into a question
        if pointer.ttl == 0:
            return self.places.pop(key, None) is not None
        hint = hints.get(key)
        if hint is not None and hint.is_of(self._own):
            return False
        spot = self.places.get(key)
        if spot is None:
            if not self._make_room(hint):
                return False
            self.places[key] = _Spot(pointer.alias, min(pointer.ttl, MOST_S), now)
        else:
            spot.ttl, spot.heard = min(pointer.ttl, MOST_S), now
        return True

    def _make_room(self, hint: HubHint | None) -> bool:
        """Whether a newcomer that says ``hint`` may be kept; for it, one that matters less may have to go.

        Strangers do not push out strangers: a flood shall not wash away the hubs that were there.
        """
        if len(self.places) < MAX_PLACES:
            return True
        if hint is None:
            return False
        matters = self._is_neighbour(hint)
        for key, spot in self.places.items():
            if spot.hint is None or (matters and not self._is_neighbour(spot.hint)):
                del self.places[key]
                return True
        return False

    def _locate(self, host: str, records: Iterable[DNSAddress], now: float) -> bool:
        known = self._hosts.get(host, {})
        gone = {text for text in (_text(each) for each in records if not each.ttl) if text}
        fresh = sorted({text for text in (_text(each) for each in records if each.ttl) if text})
        kept = dict.fromkeys(fresh, now)
        for text, at in known.items():
            if text not in gone and (not fresh or now - at < OVERLAP_S):
                kept.setdefault(text, at)
        self._hosts[host] = dict(islice(kept.items(), MAX_ADDRESSES))
        if list(self._hosts[host]) != list(known):
            self._best.pop(host, None)
        return True

    def _addresses(self, host: str) -> tuple[str, ...]:
        best = self._best.get(host)
        if best is None:
            best = self._best[host] = believable(self._hosts.get(host, ()), self._here)
        return best

    def _forget(self, now: float) -> None:
        self.places = {key: spot for key, spot in self.places.items() if now - spot.heard < spot.ttl}
        servers = {spot.server for spot in self.places.values()}
        for host in [host for host in self._hosts if host not in servers]:
            del self._hosts[host]
        for host in [host for host in self._best if host not in servers]:
            del self._best[host]


@dataclass(frozen=True, slots=True)
class Sweep(Generic[T]):
    """What a sweep came upon: who answered at which address, and how many devices answered anything."""

    found: tuple[tuple[str, T], ...]
    answered: int

    @property
    def trouble(self) -> HubError | None:
        """The sentence for a caretaker when not even a device that is no hub answered."""
        return None if self.answered else NoDeviceSeen()


async def sweep(
    addresses: Sequence[str], port: int, ask: Callable[[str, int], Awaitable[T | None]]
) -> Sweep[T]:
    """Knock at ``port`` of each of ``addresses``, 64 at once, and ``ask`` those that open who they are.

    For a caretaker who wants it, and never of itself: to a network's guardians it looks like an attack.
    ``addresses`` are those of `hub.domain.reaching.sweepable`. ``ask`` connects anew and answers None
    for what is no hub; its failures count as that. 254 silent addresses take 2.4 seconds.
    """
    turn = asyncio.Semaphore(SWEEP_AT_ONCE)
    found: dict[str, T] = {}
    answered = 0

    async def visit(address: str) -> None:
        nonlocal answered
        async with turn:
            opened = await _knock(address, port)
            answered += opened is not None
            if not opened:
                return
            with contextlib.suppress(OSError, EOFError, ValueError, HubError):
                async with asyncio.timeout(ANSWER_S):
                    who = await ask(address, port)
                if who is not None:
                    found[address] = who

    async with asyncio.TaskGroup() as visits:
        for address in addresses:
            visits.create_task(visit(address))
    return Sweep(tuple((each, found[each]) for each in addresses if each in found), answered)


async def _knock(address: str, port: int) -> bool | None:
    """True where the port is open, False where a device says that it is not, None where nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as knocking:
        knocking.setblocking(False)
        try:
            async with asyncio.timeout(KNOCK_S):
                await asyncio.get_running_loop().sock_connect(knocking, (address, port))
        except ConnectionRefusedError:
            return False
        except OSError:
            return None
        return True


def _is_whole(spot: _Spot) -> bool:
    return spot.hint is not None and bool(spot.port)


def _packed(addresses: Iterable[LocalAddress]) -> set[bytes]:
    return {each.parsed.packed for each in addresses}


def _text(record: DNSAddress) -> str | None:
    """The address of ``record`` as it is connected to; None where its length is no address's."""
    try:
        address = ipaddress.ip_address(record.address)
    except ValueError:
        return None
    scope = f"%{record.scope_id}" if record.scope_id and address.is_link_local else ""
    return f"{address}{scope}"
