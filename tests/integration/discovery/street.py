"""What the lab runs inside its namespaces: ``python street.py hub|seeker|browse|count|flood|… …``.

Each prints one JSON object a line; SIGTERM ends it in the orderly way.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
import sys
import time

from zeroconf import (  # type: ignore[attr-defined] # the records are public, but not in __all__
    AddressResolver,
    DNSAddress,
    DNSOutgoing,
    DNSPointer,
    DNSService,
    DNSText,
    IPVersion,
    ServiceInfo,
    ServiceListener,
    Zeroconf,
)
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from hub.discovery.announce import HUB_SERVICE, WEB_SERVICE, Announcement, Announcer
from hub.discovery.find import Finder, sweep
from hub.discovery.interfaces import interface_addresses
from hub.domain import naming
from hub.domain.ids import HubId
from hub.domain.reaching import Sighting, sweepable


def say(**fact: object) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


async def hub(name: str, seed: str, finder: Finder | None = None) -> None:
    """Announce a hub whose key is 32 times the byte ``seed``; SIGUSR1 opens pairing, SIGUSR2 shuts it."""

    def changed(now: Announcement) -> None:
        say(names=now.names, addresses=now.addresses, sentence=now.sentence)

    announcer = Announcer(
        name=name, hub=_key(seed), port=8080, version="0.1.0", on_change=changed,
        sync_port=8448, protocol=(1, 1), finder=finder,
    )  # fmt: skip
    running = asyncio.ensure_future(announcer.run())
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, running.cancel)
    loop.add_signal_handler(signal.SIGUSR1, announcer.open_pairing, 8449)
    loop.add_signal_handler(signal.SIGUSR2, announcer.open_pairing, None)
    say(started=True)
    try:
        await running
    except asyncio.CancelledError:
        say(ended=True, cpu_s=time.process_time())


async def seeker(name: str, seed: str, every_s: str = "60") -> None:
    """A hub that looks for others, and says whom it sees; ``trouble`` is what it would tell about that."""

    def changed(sightings: tuple[Sighting, ...]) -> None:
        say(
            seen=sorted((each.hint.name, each.addresses) for each in sightings),
            sync=sorted({place.port for each in sightings for place in each.sync_places()}),
            pairing=sorted({place.port for each in sightings for place in each.pairing_places()}),
            cpu_s=time.process_time(),
        )

    finder = Finder(hub=_key(seed), on_change=changed, every_s=float(every_s))
    telling = asyncio.ensure_future(_tell_trouble(finder))
    try:
        await hub(name, seed, finder)
    finally:
        telling.cancel()


async def _tell_trouble(finder: Finder) -> None:
    told = ""
    while True:
        trouble = finder.trouble()
        if (words := str(trouble or "")) != told:
            told = words
            say(trouble=words)
        await asyncio.sleep(0.2)


def _key(seed: str) -> HubId:
    return HubId(bytes([int(seed)]) * 32)


async def knock() -> None:
    """Sweep the own network once, and say who answered with what."""

    async def ask(host: str, port: int) -> str:
        reading, writing = await asyncio.open_connection(host, port)
        try:
            return (await reading.readline()).decode().strip()
        finally:
            writing.close()

    began = time.monotonic()
    swept = await sweep(sweepable(await interface_addresses()), 8448, ask)
    trouble = str(swept.trouble or "")
    say(found=swept.found, answered=swept.answered, trouble=trouble, took=time.monotonic() - began)


async def door() -> None:
    """Answer everybody who connects to the port of hubs."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)

    def greet(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        writing.write(b"a hub\n")
        writing.close()

    async with await asyncio.start_server(greet, "0.0.0.0", 8448):  # noqa: S104 - its network is the lab's
        say(started=True)
        await ended.wait()


async def flood(hubs: str, own_address: str) -> None:
    """Announce so many hubs that do not exist, nearly as fast as they can be sent."""
    for number in range(int(hubs)):
        announced = DNSOutgoing(0x8400)
        name, server = f"Hall {number}.{HUB_SERVICE}", f"hub-{number}.local."
        hint = naming.hint_of(HubId(number.to_bytes(32)[::-1]), f"Hall {number}", "0.1.0", sync_port=8448)
        txt = b"".join(
            bytes([len(key) + 1 + len(value)]) + key + b"=" + value
            for key, value in naming.build_txt(hint).items()
        )
        announced.add_answer_at_time(DNSPointer(HUB_SERVICE, 12, 1, 4500, name), 0)
        announced.add_answer_at_time(DNSService(name, 33, 0x8001, 120, 0, 0, 8080, server), 0)
        announced.add_answer_at_time(DNSText(name, 16, 0x8001, 4500, txt), 0)
        address = bytes([10, 77, 1 + number // 250, 1 + number % 250])
        announced.add_answer_at_time(DNSAddress(server, 1, 0x8001, 120, address), 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own_address))
            for packet in announced.packets():
                sending.sendto(packet, ("224.0.0.251", 5353))
        if number % 20 == 0:
            await asyncio.sleep(0.01)  # more at once, and most would be lost
    say(ended=True)


async def count() -> None:
    """Count what enters the bridge for mDNS, until ended: ``payload`` is the bytes of UDP payload."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    packets = payload = 0

    def look() -> None:
        nonlocal packets, payload
        frame, (interface, protocol, kind, *_) = tap.recvfrom(65536)
        if kind == socket.PACKET_OUTGOING or not interface.startswith("port"):
            return
        if protocol == 0x0800 and frame[23] == socket.IPPROTO_UDP:
            at = 14 + (frame[14] & 15) * 4
        elif protocol == 0x86DD and frame[20] == socket.IPPROTO_UDP:
            at = 54
        else:
            return
        source, target, length = struct.unpack("!HHH", frame[at : at + 6])
        if 5353 in (source, target):
            packets, payload = packets + 1, payload + length - 8

    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as tap:
        asyncio.get_running_loop().add_reader(tap, look)
        say(started=True)
        await ended.wait()
        asyncio.get_running_loop().remove_reader(tap)
    say(packets=packets, payload=payload)


class Events(ServiceListener):
    def __init__(self) -> None:
        self.fresh: set[tuple[str, str]] = set()

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.fresh.add((type_, name))

    update_service = add_service

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        say(gone=name.removesuffix(f".{type_}"), type=type_)


async def browse() -> None:
    """Say what is found and what goes, until ended."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    events = Events()
    async with AsyncZeroconf(ip_version=IPVersion.All) as zc:
        browser = AsyncServiceBrowser(zc.zeroconf, [HUB_SERVICE, WEB_SERVICE], listener=events)
        while not ended.is_set():
            for kind, name in list(events.fresh):
                events.fresh.discard((kind, name))
                info = AsyncServiceInfo(kind, name)
                await info.async_request(zc.zeroconf, 2000)
                say(
                    found=name.removesuffix(f".{kind}"),
                    type=kind,
                    server=info.server,
                    port=info.port,
                    addresses=info.parsed_addresses(),
                    txt={key.decode(): (value or b"").decode() for key, value in info.properties.items()},
                    txt_bytes=len(info.text),
                )
            await asyncio.sleep(0.05)
        await browser.async_cancel()


async def resolve(name: str) -> None:
    """Say the addresses somebody answers for ``name``, asked by a newcomer."""
    async with AsyncZeroconf(ip_version=IPVersion.All) as zc:
        resolver = AddressResolver(f"{name}.")
        await resolver.async_request(zc.zeroconf, 2000)
        say(addresses=resolver.parsed_addresses())


async def stranger(host: str, address: str) -> None:
    """Answer for ``host`` at ``address`` as a printer or avahi would, without asking or yielding."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with AsyncZeroconf(ip_version=IPVersion.All) as zc:
        kind = "_printer._tcp.local."
        info = ServiceInfo(
            kind, f"{host} {address.replace('.', '-')}.{kind}", port=515, server=f"{host}.local.",
            addresses=[socket.inet_aton(address)],
        )  # fmt: skip
        await (await zc.async_register_service(info))
        say(started=True)
        await ended.wait()


async def hog() -> None:
    """Hold the mDNS port and let nobody share it."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as held:
        held.bind(("::", 5353))
        say(started=True)
        await ended.wait()


if __name__ == "__main__":
    roles = {
        "hub": hub, "seeker": seeker, "browse": browse, "resolve": resolve, "stranger": stranger, "hog": hog,
        "flood": flood, "count": count, "knock": knock, "door": door,
    }  # fmt: skip
    role = roles[sys.argv[1]]
    asyncio.run(role(*sys.argv[2:]))
