"""The hub announces itself: two services, the names people type, and the watch over those names.

python-zeroconf probes for instance names only, and never for the host name a service stands on: with
two hubs called Green Lane it would send everybody to the one that spoke last. So instance names are
unique by construction, ``hub-<id>.local`` is always there, and ``<slug>.local`` is claimed here: ask
first, listen for as long as it is held, and when somebody else answers for it, let one of the two go.

Both services give the port of the residents' pages, which any program that lists services can open.
Where a paired hub or one that wants to pair connects is said in the TXT record of ``_communityhub._tcp``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from zeroconf import (  # type: ignore[attr-defined] # the first three are public, but not in __all__
    DNSAddress,
    DNSOutgoing,
    DNSQuestion,
    Error,
    RecordUpdate,
    RecordUpdateListener,
    ServiceInfo,
    Zeroconf,
)
from zeroconf.asyncio import AsyncZeroconf

from hub.discovery.find import HUB_SERVICE, Finder
from hub.discovery.interfaces import AddressWatch, interface_addresses
from hub.domain import naming
from hub.domain.errors import HubError
from hub.domain.ids import HubId
from hub.domain.naming import LocalAddress
from hub.words import N_

WEB_SERVICE = "_http._tcp.local."

ASK_S = 1.0
"""How long an answer for a name is waited for before the name is taken for free."""
CHECK_S = 600.0
"""Between checks of the name in use: networks are joined and parted while hubs run."""
CONTEST_S = 5.0
"""After a contest that this hub won: by then the other has let go, or never will."""
SETTLE_S = 0.5
"""Address changes and answers come in bursts; also the most often a noisy network can wake the hub."""
RETRY_S = 30.0
FAREWELL_S = 0.9

_A, _AAAA, _IN, _NO_FLUSH_IN, _UNICAST = 1, 28, 1, 1, 0x8000
_QUERY, _RESPONSE = 0x0000, 0x8400
"""Record types, class and flags of RFC 1035 section 3.2 and RFC 6762 sections 5.4, 10.2 and 18."""

_FOR_BROWSERS = {b"path": b"/"}
"""In an ``_http._tcp`` TXT record the keys have meanings of their own: ``p`` would be a password."""

_LOG = logging.getLogger(__name__)


class NameTaken(HubError):
    """Another device answers for the name this hub would have; it has another one now."""

    code = "name-taken"
    status = 409
    template = N_(
        "Another device on this network already answers to {wanted}. People reach this hub at {name} "
        "instead, and its notices are safe. Give one of the two another name, then start this hub again."
    )


class HubTwin(HubError):
    """Another device answers for the name made of this hub's own key."""

    code = "hub-twin"
    status = 409
    template = N_(
        "Another device on this network says that it is this very hub ({name}). What is stored is safe, "
        "but people may reach the other one. If a copy of this hub is running, turn one of the two off."
    )


class NoNetwork(HubError):
    """This machine has no address that anyone else could use."""

    code = "no-network"
    status = 503
    template = N_(
        "The hub has no network address, so nobody can reach it yet. What is stored is safe. "
        "Plug in the cable or join the Wi-Fi: the hub goes on by itself."
    )


class NotAnnounced(HubError):
    """mDNS cannot be spoken here; ``reason`` is the system's word for it."""

    code = "not-announced"
    status = 503
    template = N_(
        "The hub cannot announce its name on this network ({reason}). People can still open it by its "
        "number address. The hub tries again by itself."
    )


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is announced at this moment, for status, health and the printed addresses.

    ``names``: host names that lead here, the best for people first. ``addresses``: for people, best
    first. ``trouble``: what a caretaker should know, ``sentence`` the same in English, or "".
    """

    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    trouble: HubError | None = field(default=None, compare=False)
    sentence: str = ""


class Announcer:
    """Announces one hub until it is cancelled; a network that is missing or hostile never ends it.

    ``name`` is the place's, ``hub`` its key, ``port`` where its pages are served, ``version`` the
    program's. ``sync_port`` and ``protocol``: where paired hubs are answered, in which versions.
    ``on_change`` is called in the event loop with each new ``Announcement``, which is also kept in
    ``now``. ``finder`` looks for other hubs meanwhile. With ``loopback_only`` nothing is announced or
    looked for, and no socket is opened.
    """

    def __init__(
        self,
        *,
        name: str,
        hub: HubId,
        port: int,
        version: str,
        on_change: Callable[[Announcement], None],
        sync_port: int | None = None,
        protocol: tuple[int, int] | None = None,
        finder: Finder | None = None,
        loopback_only: bool = False,
    ) -> None:
        self._card = _Card(name, hub, port, version, sync_port, protocol)
        self._on_change = on_change
        self._finder = finder
        self._loopback_only = loopback_only
        self._wake = asyncio.Event()
        self.now = Announcement()

    def addresses(self) -> tuple[str, ...]:
        """The addresses to print for people, best first, as last seen."""
        return self.now.addresses

    def open_pairing(self, port: int | None) -> None:
        """Say that hubs which are not paired are answered at ``port``; None says that it is over."""
        self._card = replace(self._card, pairing_port=port)
        self._wake.set()

    async def run(self) -> None:
        """Announce until cancelled; says goodbye to the network, in under a second, before it ends."""
        # Its warnings quote packets and addresses of other people's devices, which are not to be kept.
        logging.getLogger("zeroconf").setLevel(logging.CRITICAL)
        wake = self._wake
        if self._loopback_only:
            await asyncio.Event().wait()
        with AddressWatch(wake.set) as watch:
            while True:
                try:
                    await self._speak(wake, watch)
                except (Error, OSError, RuntimeError) as failure:
                    reason = failure.strerror if isinstance(failure, OSError) else None
                    trouble = NotAnnounced(reason=reason or type(failure).__name__)
                    _LOG.warning("not announced: %s", trouble.fields["reason"])
                    self._report((), await interface_addresses(), trouble)
                    await _pause(wake, RETRY_S)

    async def _speak(self, wake: asyncio.Event, watch: AddressWatch) -> None:
        """One life of the responder, from the first address to an error or cancellation."""
        found = await interface_addresses()
        while not naming.announced_addresses(found):
            self._report((), found, NoNetwork())
            await _pause(wake, watch.poll_s)
            found = await interface_addresses()
        voice = _Voice(self._card, found, wake.set, self._finder)
        try:
            await voice.begin()
            while True:
                self._report(voice.names(), found, voice.trouble())
                await _pause(wake, min(watch.poll_s, voice.check_in_s()))
                found = await interface_addresses()
                await voice.follow(found, self._card)
                await voice.keep_name()
        finally:
            await voice.close()

    def _report(
        self, names: tuple[str, ...], found: tuple[LocalAddress, ...], trouble: HubError | None
    ) -> None:
        if not naming.announced_addresses(found):
            names, trouble = (), NoNetwork()
        sentence = "" if trouble is None else str(trouble)
        now = Announcement(names, naming.printed_addresses(found), trouble, sentence)
        if now != self.now:
            self.now = now
            self._on_change(now)


async def _pause(wake: asyncio.Event, seconds: float) -> None:
    """Until something woke the announcer and settled, at most ``seconds``."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
    if wake.is_set():
        await asyncio.sleep(SETTLE_S)
    wake.clear()


@dataclass(frozen=True, slots=True)
class _Card:
    """What one hub says of itself."""

    name: str
    hub: HubId
    port: int
    version: str
    sync_port: int | None
    protocol: tuple[int, int] | None
    pairing_port: int | None = None

    def instance(self, kind: str) -> str:
        return f"{naming.instance_name(self.name, self.hub)}.{kind}"

    def service(self, kind: str, label: str, packed: Iterable[bytes]) -> ServiceInfo:
        """The service of type ``kind`` standing on the host ``label`` at the ``packed`` addresses."""
        return ServiceInfo(
            kind,
            self.instance(kind),
            port=self.port,
            properties=self._for_hubs() if kind == HUB_SERVICE else _FOR_BROWSERS,
            server=_fqdn(label),
            addresses=list(packed),
        )

    def _for_hubs(self) -> dict[bytes, bytes]:
        return naming.build_txt(
            naming.hint_of(
                self.hub,
                self.name,
                self.version,
                sync_port=self.sync_port,
                protocol=self.protocol,
                pairing_port=self.pairing_port,
            )
        )


def _fqdn(label: str) -> str:
    return f"{naming.host_name(label)}."


def _packed(addresses: Iterable[LocalAddress]) -> tuple[bytes, ...]:
    return tuple(each.parsed.packed for each in addresses)


class _Ear(RecordUpdateListener):
    """Collects the addresses that anyone on the network answers for the labels listened for."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake
        self._heard: dict[str, set[bytes]] = {}
        self.own: set[bytes] = set()
        """Addresses of this machine: its own echo, and another responder on the same machine."""

    def listen(self, *labels: str) -> None:
        """Forget what was heard, and listen for ``labels`` from now on."""
        self._heard = {_fqdn(label): set() for label in labels}

    def heard(self, label: str) -> set[bytes]:
        """Packed addresses answered for ``label`` since ``listen``."""
        return self._heard.get(_fqdn(label), set())

    def foreign(self, label: str) -> set[bytes]:
        """Those that are not this machine's."""
        return self.heard(label) - self.own

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        for update in records:
            record = update.new
            if isinstance(record, DNSAddress) and record.ttl:
                heard = self._heard.get(record.key)
                if heard is not None:
                    heard.add(record.address)
                    if record.address not in self.own:
                        self._wake()


class _Voice:
    """One life of the mDNS responder.

    ``_communityhub._tcp`` stands on the sure name from beginning to end; ``_http._tcp`` stands on the
    name claimed for people, and on the sure name while there is none. That is what makes both resolve.
    """

    def __init__(
        self,
        card: _Card,
        found: tuple[LocalAddress, ...],
        wake: Callable[[], None],
        finder: Finder | None,
    ) -> None:
        self._card = card
        self._finder = finder
        self._sure = naming.sure_label(card.hub)
        self._labels = naming.host_labels(card.name)
        self._label: str | None = None
        self._answers = False
        """Whether this program answers for ``_label``; else another responder on this machine does."""
        self._contested = False
        self._announced: set[str] = set()
        self._broadcasts: list[asyncio.Future[object]] = []
        self._ear = _Ear(wake)
        self._found = found
        self._packed = _packed(naming.announced_addresses(found))
        self._ear.own = set(_packed(found))
        self._clock = asyncio.get_running_loop().time
        self._next_check = self._clock() + CHECK_S
        self._zc = AsyncZeroconf(interfaces=naming.multicast_interfaces(found))

    def names(self) -> tuple[str, ...]:
        """Host names that lead here, the best for people first."""
        labels = (self._sure,) if self._label is None else (self._label, self._sure)
        return tuple(naming.host_name(label) for label in labels)

    def trouble(self) -> HubError | None:
        if self._ear.foreign(self._sure):
            return HubTwin(name=naming.host_name(self._sure))
        if self._label != self._labels[0]:
            return NameTaken(wanted=naming.host_name(self._labels[0]), name=self.names()[0])
        return None

    def check_in_s(self) -> float:
        """Seconds until ``keep_name`` has to ask again."""
        return max(0.0, self._next_check - self._clock())

    async def begin(self) -> None:
        """Ask for the names, then announce the hub and its pages; other hubs are looked for from the start.

        Nobody is asked whether the instance names are free. They hold this hub's id: who else has them
        is a copy of this hub, or a sleep proxy or reflector that still repeats its last life, neither
        of which is a reason to be silent, and each question would be answered by every hub there is.
        """
        await self._zc.zeroconf.async_wait_for_start()
        self._zc.zeroconf.async_add_listener(self._ear, None)
        if self._finder is not None:
            self._finder.begin(self._zc.zeroconf, self._card.instance(HUB_SERVICE), self._found)
        first, *others = self._labels
        await self._ask(first)  # before anything is announced, or this hub would answer itself
        await self._announce(HUB_SERVICE, self._sure)
        if not await self._take(first):
            await self._claim(others)
        if WEB_SERVICE not in self._announced:
            await self._announce(WEB_SERVICE, self._sure)

    async def follow(self, found: tuple[LocalAddress, ...], card: _Card) -> None:
        """Announce changed addresses and news, by interfaces that came or went; else nothing."""
        moved, news = found != self._found, card != self._card
        self._card = card
        if moved:
            # Those just lost stay ours for a while: packets with them may still be under way.
            self._ear.own |= set(_packed(found))
            self._found = found
            self._packed = _packed(naming.announced_addresses(found))
        if moved or news:
            await self._announce(HUB_SERVICE, self._sure)
        if moved:
            await self._announce(WEB_SERVICE, self._standing())
        await self._zc.async_update_interfaces(naming.multicast_interfaces(found))
        if moved and self._finder is not None:
            self._finder.follow(found)

    async def keep_name(self) -> None:
        """Ask again for the name in use when it is time, and settle with whoever else answers for it."""
        label = self._label
        due = self._clock() >= self._next_check
        if not due and (self._contested or label is None or not self._ear.foreign(label)):
            return
        if due:
            self._next_check = self._clock() + CHECK_S
            self._ear.own = set(_packed(self._found))
            await self._ask(label or self._sure)
        if label is None:
            return
        foreign = self._ear.foreign(label)
        if not foreign:
            self._contested = False
            if not self._answers and not self._ear.heard(label):
                await self._stand_on(label)
        elif self._answers and not self._contested and naming.prevails(self._packed, foreign):
            self._contested = True
            self._next_check = self._clock() + CONTEST_S
            await self._announce(WEB_SERVICE, label)
        else:
            await self._give_way(label)

    async def close(self) -> None:
        """Goodbye to every service and address, three times as RFC 6762 section 10.1 wants it."""
        self._hush()
        try:
            async with asyncio.timeout(FAREWELL_S):
                if self._finder is not None:
                    await self._finder.end()
                await self._zc.async_close()
        except TimeoutError:
            self._zc.zeroconf.close()

    def _standing(self) -> str:
        return self._label if self._label is not None and self._answers else self._sure

    async def _announce(self, kind: str, label: str) -> None:
        self._broadcasts = [each for each in self._broadcasts if not each.done()]
        service = self._card.service(kind, label, self._packed)
        if kind in self._announced:
            sent = await self._zc.async_update_service(service)
        else:
            sent = await self._zc.async_register_service(service, cooperating_responders=True)
            self._announced.add(kind)
        self._broadcasts.append(asyncio.ensure_future(sent))

    def _hush(self) -> None:
        """Announcements are repeated for half a second: end those that are no longer true."""
        for each in self._broadcasts:
            each.cancel()
        self._broadcasts.clear()

    async def _ask(self, label: str) -> None:
        """Ask the network for ``label`` and the sure name; the answers are the ear's after a second.

        The first question wants unicast answers, which come at once even from who has just multicast;
        the second multicast ones, as a unicast answer may end at another responder on this machine.
        """
        self._ear.listen(label, self._sure)
        for unicast in (_UNICAST, 0):
            question = DNSOutgoing(_QUERY)
            for name in {label, self._sure}:
                for kind in (_A, _AAAA):
                    question.add_question(DNSQuestion(_fqdn(name), kind, _IN | unicast))
            self._zc.zeroconf.async_send(question)
            await asyncio.sleep(ASK_S / 2)

    async def _claim(self, labels: Iterable[str]) -> None:
        """Take the first of ``labels`` that nobody else answers for; with none, the sure name is left."""
        for label in labels:
            await self._ask(label)
            if await self._take(label):
                return

    async def _take(self, label: str) -> bool:
        """Take ``label``, which was asked for. False if another device has it.

        Where another responder on this machine (avahi) answers with this machine's addresses, people
        already come here by that name: it is left to answer alone.
        """
        if self._ear.foreign(label):
            return False
        if self._ear.heard(label):
            self._label, self._answers = label, False
        else:
            await self._stand_on(label)
        return True

    async def _stand_on(self, label: str) -> None:
        self._label, self._answers = label, True
        await self._announce(WEB_SERVICE, label)

    async def _give_way(self, label: str) -> None:
        """Let go of ``label`` and take the next free one, hubs in turn by their ids."""
        _LOG.warning("another device answers for this hub's name; taking another one")
        self._hush()
        if self._answers:
            self._retract(label)
        self._label, self._answers, self._contested = None, False, False
        await self._announce(WEB_SERVICE, self._sure)
        await asyncio.sleep(self._card.hub[0] / 256)
        await self._claim(self._labels[self._labels.index(label) + 1 :])

    def _retract(self, label: str) -> None:
        """Goodbye to this hub's addresses under ``label``, without the flush that would hit the other's."""
        goodbye = DNSOutgoing(_RESPONSE)
        for packed in self._packed:
            kind = _A if len(packed) == 4 else _AAAA
            goodbye.add_answer_at_time(DNSAddress(_fqdn(label), kind, _NO_FLUSH_IN, 0, packed), 0)
        self._zc.zeroconf.async_send(goodbye)
