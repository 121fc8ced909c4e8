"""When a neighbour is called: at once when there is a reason, and less and less often when it is off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from hub.domain.ids import HubId
from hub.domain.neighbours import Address, Tie
from hub.sync import exchange
from hub.sync.exchange import Exchange, Unreachable
from hub.sync.transport import NotReached

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MILL = HubId(b"m" * 32)
PLACE = Address("192.0.2.7", 8448)


class Off:
    """A neighbour that is off, whoever calls; it notes when, in seconds of the loop."""

    def __init__(self) -> None:
        self.called: list[float] = []
        self.tie = Tie.PAIRED
        self.codes: list[str] = []

    async def dial(self, hub: HubId, address: Address) -> None:
        """Nobody answers."""
        self.called.append(asyncio.get_running_loop().time())
        raise NotReached(address=address)

    async def pins(self) -> dict[HubId, bytes]:
        return {MILL: b"certificate"}

    async def find(self, hub: HubId) -> Any:
        return SimpleNamespace(hub=hub, name="Mill Lane", tie=self.tie, addresses=())

    async def troubled(self, hub: HubId, code: str) -> None:
        self.codes.append(code)

    async def read_with(self, work: object) -> int:
        """For the news: there are none."""
        return 0


async def places(_: object) -> Sequence[Address]:
    return [PLACE]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are a hundredth of what they are."""
    monkeypatch.setattr(exchange, "LEAST_PAUSE_S", 0.005)
    monkeypatch.setattr(exchange, "FIRST_PAUSE_S", 0.03)
    monkeypatch.setattr(exchange, "LONGEST_PAUSE_S", 0.24)


def an_exchange(off: Off) -> Exchange:
    trust: Any = SimpleNamespace(
        hub=HubId(b"e" * 32), hubs=frozenset(), pin=lambda _: None, unpin=lambda _: None
    )
    world: Any = off
    loop = asyncio.get_running_loop()
    chance = random.Random(7)
    return Exchange(
        trust, world, world, world, world, world, lambda: world, places, lambda: 0, loop.time, chance.random
    )


@pytest.mark.usefixtures("quick")
async def test_the_pause_between_calls_of_a_hub_that_is_off_doubles_up_to_an_hour() -> None:
    off = Off()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(an_exchange(off).run())
        while len(off.called) < 7:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
        running.cancel()
    pauses = [after - before for before, after in zip(off.called, off.called[1:], strict=False)]
    for pause, meant in zip(pauses, (0.03, 0.06, 0.12, 0.24, 0.24, 0.24), strict=True):
        assert meant * 0.8 <= pause <= meant * 1.2 + 0.05
    assert len({round(pause / meant, 2) for pause, meant in zip(pauses[3:], [0.24] * 3, strict=True)}) > 1
    assert off.codes == ["unreachable"], "written on the card once, not at every call"


@pytest.mark.usefixtures("quick")
async def test_who_is_off_is_called_at_once_when_the_network_changes_or_a_caretaker_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "FIRST_PAUSE_S", 1000.0)
    off = Off()
    calls = an_exchange(off)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(calls.run())
        while not off.called:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.005)
        await calls.sync_now(MILL)
        assert len(off.called) == 2
        assert calls.live(MILL).sentence == str(Unreachable(hub="Mill Lane"))
        calls.network_changed()
        while len(off.called) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        running.cancel()
