"""What the lab runs inside its namespaces: ``python street.py hub|browse|resolve|stranger|hog …``.

Each prints one JSON object a line; SIGTERM ends it in the orderly way.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time

from zeroconf import AddressResolver, IPVersion, ServiceInfo, ServiceListener, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from hub.discovery.announce import HUB_SERVICE, WEB_SERVICE, Announcement, Announcer
from hub.domain.ids import HubId


def say(**fact: object) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


async def hub(name: str, seed: str) -> None:
    """Announce a hub whose key is 32 times the byte ``seed``."""

    def changed(now: Announcement) -> None:
        say(names=now.names, addresses=now.addresses, sentence=now.sentence)

    key = HubId(bytes([int(seed)]) * 32)
    announcer = Announcer(name=name, hub=key, port=8080, version="0.1.0", on_change=changed)
    running = asyncio.ensure_future(announcer.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    say(started=True)
    try:
        await running
    except asyncio.CancelledError:
        say(ended=True, cpu_s=time.process_time())


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
    roles = {"hub": hub, "browse": browse, "resolve": resolve, "stranger": stranger, "hog": hog}
    role = roles[sys.argv[1]]
    asyncio.run(role(*sys.argv[2:]))
