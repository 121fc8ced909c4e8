"""A paired hub gone bad: ``python hostile.py KEY CERTIFICATE HOST:PORT MODE SECONDS``.

KEY is the key file of a hub that ADDRESS's hub is paired with, CERTIFICATE that hub's own (DER, hex). It does
one bad thing as often as it can for so long, and prints how often.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from hub.domain.clock import TimeQuality
from hub.domain.errors import HubError
from hub.domain.ids import HubId
from hub.domain.neighbours import parse_address
from hub.domain.sharing import DEFAULT_CHOICES
from hub.services.identity import load_or_create
from hub.sync.line import Line
from hub.sync.protocol.frames import Frame, Hello, Offered, Ping, Summary, encode
from hub.sync.transport import Caller
from hub.sync.trust import Credentials, Trust

CHANCE = random.Random(1)


def _hello(me: HubId) -> bytes:
    return encode(
        Hello(me, 1, 1, "0.1.0", "Bank Street", "brick", 0, TimeQuality.UNKNOWN, DEFAULT_CHOICES, ())
    )


async def garbage(line: Line, me: HubId) -> int:
    """Bytes that mean nothing, after a hello or instead of it."""
    if CHANCE.random() < 0.5:
        await line.send(_hello(me))
    await line.send(CHANCE.randbytes(CHANCE.choice([1, 100, 60_000, 500_000])))
    await _closed(line)
    return 1


async def pings(line: Line, me: HubId) -> int:
    """Questions."""
    await line.send(_hello(me))
    return await _again_and_again(line, lambda number: Ping(number))


async def offers(line: Line, me: HubId) -> int:
    """Thousands of records that nobody has."""
    await line.send(_hello(me))
    return await _again_and_again(
        line, lambda _: Offered(0, tuple(CHANCE.randbytes(32) for _ in range(1000)))
    )


async def rounds(line: Line, me: HubId) -> int:
    """One comparison after the other."""
    await line.send(_hello(me))
    return await _again_and_again(line, lambda _: Summary(False, ()))


async def _again_and_again(line: Line, frame: Callable[[int], Frame]) -> int:
    async with asyncio.TaskGroup() as group:
        ended = group.create_task(_closed(line))
        for number in count():
            if ended.done():
                return number
            await line.send(encode(frame(number)))
            await asyncio.sleep(0)
    raise AssertionError


async def _closed(line: Line) -> None:
    while await line.receive() is not None:
        pass


async def silence(line: Line, me: HubId) -> int:
    """Connected, and nothing said."""
    await asyncio.sleep(0.5)
    return 1


MODES: dict[str, Callable[[Line, HubId], Awaitable[int]]] = {
    each.__name__: each for each in (garbage, pings, offers, rounds, silence)
}


async def run(key: Path, certificate: bytes, at: str, mode: str, seconds: float) -> int:
    """How often it was done."""
    credentials = Credentials(load_or_create(key, lambda _: b"").key)
    trust, done = Trust(credentials), 0
    victim = trust.pin(certificate)
    caller = Caller(trust)

    async def worker() -> None:
        nonlocal done
        while True:
            with suppress(HubError):
                line = await caller.dial(victim, parse_address(at))
                try:
                    done += await MODES[mode](line, credentials.hub)
                except* OSError:
                    done += 1
                await line.close()

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for _ in range(4 if mode in ("garbage", "silence") else 1):
                group.create_task(worker())
    await caller.close()
    return done


if __name__ == "__main__":
    given = sys.argv[1:]
    often = asyncio.run(run(Path(given[0]), bytes.fromhex(given[1]), given[2], given[3], float(given[4])))
    sys.stdout.write(f"{often}\n")
