"""Two hubs, two caretakers and whoever stands between them: pairing over real sockets."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from hub.domain.errors import HubError, NoRoom
from hub.domain.neighbours import Address, Card
from hub.domain.sharing import DEFAULT_CHOICES, Choice
from hub.runtime.routing import Route
from hub.services.neighbours import Step
from hub.sync.line import Line
from hub.sync.listener import STRANGER, Listener, session
from hub.sync.pairing import PAIRING_PATH, NothingToCompare, NotOpen, NotRunning, Pairer, PairingLimits
from hub.sync.protocol.pairing import BadPairing, Busy, OwnHub, Pairing, Refusal, Say, TooManyAttempts
from hub.sync.transport import calling_socket, over_call, url_of
from hub.sync.trust import Credentials, tls_context
from tests import world
from tests.integration.conftest import HallClock
from tests.integration.sync.halls import key_of, serving, until

NAMES = {hub.key: (hub.name, hub.colour) for hub in (world.own_hub(), *world.neighbours())}


@dataclass(slots=True)
class Desk:
    """A caretaker's side of pairing, and what their hub kept of it."""

    credentials: Credentials
    card: Card
    clock: HallClock
    pairer: Pairer
    kept: list[tuple[Card, Address | None]] = field(default_factory=list)
    ports: list[int | None] = field(default_factory=list)
    trouble: HubError | None = None
    """What storing a neighbour meets."""

    @property
    def address(self) -> Address:
        """Where it waits to be called."""
        port = self.ports[-1]
        assert port is not None
        return Address("127.0.0.1", port)

    async def steps_to(self, step: Step) -> None:
        """Wait until its pairing has come to ``step``."""
        await until(lambda: self.pairer.standing().step is step)


OpenDesk = Callable[..., Awaitable[Desk]]


@asynccontextmanager
async def open_desk(name: str, chance: random.Random, **limits: float) -> AsyncIterator[Desk]:
    credentials = Credentials(key_of(name))
    said, colour = NAMES.get(name, (name, "slate"))
    card = Card(
        credentials.hub,
        said,
        colour,
        credentials.certificate,
        (Address(f"{name}.local", 8448), Address("10.1.2.3", 8448)),
        DEFAULT_CHOICES,
    )
    clock = HallClock(1_795_426_860_000)

    async def keep(new: Card, met: Address | None) -> None:
        if desk.trouble is not None:
            raise desk.trouble
        desk.kept.append((new, met))

    desk = Desk(credentials, card, clock, None)  # type: ignore[arg-type]
    desk.pairer = Pairer(
        credentials,
        lambda: desk.card,
        lambda: 18448,
        lambda: socket.create_server(("127.0.0.1", 0)),
        desk.ports.append,
        keep,
        clock.now_ms,
        clock.monotonic,
        chance.randbytes,
        PairingLimits(**limits),  # type: ignore[arg-type]
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(desk.pairer.run())
        await asyncio.sleep(0)
        yield desk
        running.cancel()


@pytest_asyncio.fixture
async def desks(chance: random.Random) -> AsyncIterator[OpenDesk]:
    """Open a desk by its hub's name; closed after the test."""
    async with AsyncExitStack() as stack:

        async def opened(name: str, **limits: float) -> Desk:
            return await stack.enter_async_context(open_desk(name, chance, **limits))

        yield opened


@pytest_asyncio.fixture
async def gwen(desks: OpenDesk) -> Desk:
    """The caretaker of Tanyard Road."""
    return await desks("tanyard-road")


@pytest_asyncio.fixture
async def owen(desks: OpenDesk) -> Desk:
    """The caretaker of Mill Lane."""
    return await desks("mill-lane")


async def test_two_caretakers_see_the_same_digits_and_both_accept(
    gwen: Desk, owen: Desk, nothing_fails: None
) -> None:
    opened = await owen.pairer.open(10)
    assert opened.step is Step.OPEN
    assert opened.until_ms == pytest.approx(owen.clock.now_ms() + 600_000, abs=100)
    seen = await gwen.pairer.begin(owen.address)
    await owen.steps_to(Step.COMPARING)
    theirs = owen.pairer.standing()
    assert seen.digits == theirs.digits
    assert len(seen.digits) == 6
    assert seen.digits.isdecimal()
    assert (seen.hub, seen.name, seen.choices) == (owen.card.hub, owen.card.name, owen.card.choices)
    assert (theirs.hub, theirs.name, theirs.choices) == (gwen.card.hub, gwen.card.name, gwen.card.choices)

    assert (await gwen.pairer.accept()).step is Step.ACCEPTED
    assert (gwen.kept, owen.kept) == ([], [])
    await owen.pairer.accept()
    await gwen.steps_to(Step.PAIRED)
    await owen.steps_to(Step.PAIRED)
    assert gwen.kept == [(owen.card, Address("127.0.0.1", 18448))]
    assert owen.kept == [(gwen.card, Address("127.0.0.1", 18448))]
    await until(lambda: owen.ports[-1] is None)  # one hub for each opening
    assert (gwen.pairer.standing().trouble, owen.pairer.standing().trouble) == ("", "")


@pytest.mark.parametrize("first", ["who called", "who was called", "both at once"])
async def test_it_does_not_matter_who_accepts_first(gwen: Desk, owen: Desk, first: str) -> None:
    await owen.pairer.open(10)
    await gwen.pairer.begin(owen.address)
    await owen.steps_to(Step.COMPARING)
    order = [gwen, owen] if first == "who called" else [owen, gwen]
    if first == "both at once":
        await asyncio.gather(*(desk.pairer.accept() for desk in order))
    else:
        await order[0].pairer.accept()
        await order[1].pairer.accept()
    for desk in order:
        await desk.steps_to(Step.PAIRED)
    assert len(gwen.kept) == len(owen.kept) == 1


@pytest.mark.parametrize("who", ["who called", "who was called"])
@pytest.mark.parametrize("accepted_before", [True, False])
async def test_a_refusal_of_either_keeps_nothing_anywhere(
    gwen: Desk, owen: Desk, who: str, accepted_before: bool
) -> None:
    await owen.pairer.open(10)
    await gwen.pairer.begin(owen.address)
    await owen.steps_to(Step.COMPARING)
    refuses, other = (gwen, owen) if who == "who called" else (owen, gwen)
    if accepted_before:
        await other.pairer.accept()
    await refuses.pairer.refuse()
    await gwen.steps_to(Step.FAILED)
    await until(lambda: owen.pairer.standing().trouble == Refusal.code)
    assert (gwen.pairer.standing().trouble, owen.pairer.standing().step) == (Refusal.code, Step.OPEN)
    assert (gwen.kept, owen.kept) == ([], [])
    for desk in (gwen, owen):
        with pytest.raises(NothingToCompare):
            await desk.pairer.accept()
    again = await gwen.pairer.begin(owen.address)  # as long as it is open
    assert again.step is Step.COMPARING


@pytest.mark.parametrize("dies", ["who called", "who was called"])
@pytest.mark.parametrize("accepted", [(), ("who called",), ("who was called",)])
async def test_a_hub_that_dies_in_the_middle_leaves_nothing_behind(
    desks: OpenDesk, chance: random.Random, dies: str, accepted: tuple[str, ...]
) -> None:
    stays = await desks("tanyard-road")
    async with open_desk("mill-lane", chance) as gone:
        called, caller = (stays, gone) if dies == "who called" else (gone, stays)
        await called.pairer.open(10)
        await caller.pairer.begin(called.address)
        await called.steps_to(Step.COMPARING)
        for who in accepted:
            await (caller if who == "who called" else called).pairer.accept()
    await until(lambda: stays.pairer.standing().trouble in ("pairing-cut", "pairing-failed"))
    assert (stays.kept, gone.kept) == ([], [])


async def test_where_one_keeps_and_the_other_cannot_both_say_so_and_pairing_again_heals_it(
    gwen: Desk, owen: Desk
) -> None:
    owen.trouble = NoRoom()
    for troubled in (True, False):
        await owen.pairer.open(10)
        await gwen.pairer.begin(owen.address)
        await owen.steps_to(Step.COMPARING)
        await owen.pairer.accept()
        await gwen.pairer.accept()
        await gwen.steps_to(Step.PAIRED)
        if troubled:
            await until(lambda: gwen.pairer.standing().trouble == "pairing-unconfirmed")
            assert "pair again" in gwen.pairer.standing().sentence
            await until(lambda: owen.pairer.standing().trouble == "no-room")
            assert owen.kept == []
            owen.trouble = None
    await owen.steps_to(Step.PAIRED)
    assert [card for card, _ in owen.kept] == [gwen.card]
    assert [card for card, _ in gwen.kept] == [owen.card, owen.card]


async def test_somebody_in_between_with_keys_of_their_own_shows_other_digits(
    gwen: Desk, owen: Desk, desks: OpenDesk
) -> None:
    towards_gwen, towards_owen = await desks("mallory"), await desks("trudy")
    towards_gwen.card = Card(
        towards_gwen.card.hub,
        owen.card.name,
        owen.card.colour,
        towards_gwen.card.certificate,
        owen.card.addresses,
        owen.card.choices,
    )
    await owen.pairer.open(10)
    await towards_gwen.pairer.open(10)
    await towards_owen.pairer.begin(owen.address)
    seen = await gwen.pairer.begin(towards_gwen.address)
    await owen.steps_to(Step.COMPARING)
    assert seen.name == owen.card.name
    assert seen.digits != owen.pairer.standing().digits


async def test_somebody_in_between_who_passes_everything_on_is_found_out(gwen: Desk, owen: Desk) -> None:
    async with relay(owen) as (address, passed):
        with suppress(BadPairing):
            await gwen.pairer.begin(address)
        await gwen.steps_to(Step.FAILED)
    assert len(passed) >= 3  # call, answer, reveal
    assert owen.pairer.standing().digits == ""
    assert (gwen.kept, owen.kept) == ([], [])


@asynccontextmanager
async def relay(to: Desk) -> AsyncIterator[tuple[Address, list[bytes]]]:
    """Somebody with a certificate of their own who passes every frame on to ``to``, and back."""
    credentials = Credentials(key_of("mallory"))
    passed: list[bytes] = []
    await to.pairer.open(10)

    class Door:
        context = tls_context(ssl.PROTOCOL_TLS_SERVER)

        def who(self, certificate: bytes | None) -> object:
            return STRANGER

    credentials.show(Door.context)

    async def pass_on(source: Line, sink: Line) -> None:
        while (frame := await source.receive()) is not None:
            passed.append(frame)
            await sink.send(frame)
        await sink.close()

    async def stand_between(line: Line) -> None:
        async with calling_anybody(to.address) as beyond, asyncio.TaskGroup() as group:
            group.create_task(pass_on(line, beyond))
            group.create_task(pass_on(beyond, line))

    door: object = Door()
    listener = Listener(door, [Route("GET", PAIRING_PATH, session(stand_between))])  # type: ignore[arg-type]
    async with serving(listener) as address:
        yield address, passed


@asynccontextmanager
async def calling_anybody(address: Address) -> AsyncIterator[Line]:
    """A line to wherever pairing is open."""
    context = tls_context(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_NONE
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=calling_socket)) as client:
        line = over_call(STRANGER, await client.ws_connect(url_of(address, PAIRING_PATH), ssl=context))
        try:
            yield line
        finally:
            await line.close()


async def test_a_hub_that_has_not_opened_pairing_is_not_there(gwen: Desk, owen: Desk) -> None:
    await owen.pairer.open(10)
    address = owen.address
    await owen.pairer.close()
    assert owen.ports == [address.port, None]
    assert owen.pairer.standing().step is Step.CLOSED
    with pytest.raises(NotOpen) as caught:
        await gwen.pairer.begin(address)
    assert str(address) in str(caught.value)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)


async def test_pairing_closes_by_itself(owen: Desk) -> None:
    await owen.pairer.open(0)
    await until(lambda: owen.ports[-1] is None)
    assert owen.pairer.standing().step is Step.CLOSED


async def test_digits_that_nobody_accepts_go_by_themselves(desks: OpenDesk) -> None:
    gwen, owen = await desks("tanyard-road"), await desks("mill-lane", compare_s=0.1)
    await owen.pairer.open(10)
    await gwen.pairer.begin(owen.address)
    await gwen.pairer.accept()
    await gwen.steps_to(Step.FAILED)
    assert gwen.pairer.standing().trouble == "pairing-expired"
    assert owen.pairer.standing().trouble == "pairing-expired"
    assert (gwen.kept, owen.kept) == ([], [])


async def test_one_pairing_at_a_time(gwen: Desk, owen: Desk, desks: OpenDesk) -> None:
    library = await desks("library")
    await owen.pairer.open(10)
    await gwen.pairer.begin(owen.address)
    await owen.steps_to(Step.COMPARING)
    digits = owen.pairer.standing().digits
    with pytest.raises(Busy):
        await library.pairer.begin(owen.address)
    assert owen.pairer.standing().digits == digits
    for desk in (gwen, owen):
        with pytest.raises(Busy):
            await desk.pairer.open(10)
        with pytest.raises(Busy):
            await desk.pairer.begin(owen.address)


async def test_five_attempts_an_hour_whether_they_are_seen_through_or_not(
    gwen: Desk, owen: Desk, desks: OpenDesk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hub.sync.pairing")
    await owen.pairer.open(10)
    callers = [await desks(f"caller {number}") for number in range(7)]
    for caller in callers[:5]:
        await caller.pairer.begin(owen.address)
        await caller.pairer.refuse()
        await until(lambda: owen.pairer.standing().step is Step.OPEN)
    for caller in callers[5:]:
        with pytest.raises(TooManyAttempts):
            await caller.pairer.begin(owen.address)
    assert owen.pairer.standing().step is Step.OPEN
    assert [record.levelname for record in caplog.records if "too many" in record.message] == ["WARNING"]
    owen.clock.pass_time(minutes=61)
    assert (await gwen.pairer.begin(owen.address)).step is Step.COMPARING


async def test_who_learns_the_number_and_hangs_up_has_used_an_attempt(
    gwen: Desk, desks: OpenDesk, chance: random.Random
) -> None:
    owen = await desks("mill-lane", attempts=1)
    await owen.pairer.open(10)
    async with relayed_once(owen):
        pass
    with pytest.raises(TooManyAttempts):
        await gwen.pairer.begin(owen.address)


@asynccontextmanager
async def relayed_once(desk: Desk) -> AsyncIterator[None]:
    """Call ``desk``, read its answer, and hang up before revealing anything."""
    credentials = Credentials(key_of("mallory"))
    card = Card(credentials.hub, "Mallory", "slate", credentials.certificate, (), DEFAULT_CHOICES)
    pairing = Pairing(card, 8448, bytes(32), credentials.sign, desk.credentials.certificate)
    async with calling_anybody(desk.address) as line:
        [call] = pairing.begin()
        assert isinstance(call, Say)
        await line.send(call.frame)
        assert await line.receive() is not None
        yield
    await until(lambda: desk.pairer.standing().step is Step.OPEN)
    assert desk.pairer.standing().trouble == ""


async def test_the_caller_has_five_attempts_an_hour_as_well(gwen: Desk, desks: OpenDesk) -> None:
    for number in range(5):
        async with open_desk(f"hub {number}", random.Random(number)) as other:
            await other.pairer.open(10)
            await gwen.pairer.begin(other.address)
            await gwen.pairer.refuse()
    owen = await desks("mill-lane")
    await owen.pairer.open(10)
    with pytest.raises(TooManyAttempts):
        await gwen.pairer.begin(owen.address)


async def test_a_hub_is_not_paired_with_itself(desks: OpenDesk, chance: random.Random) -> None:
    gwen, twin = await desks("tanyard-road"), await desks("tanyard-road")
    await twin.pairer.open(10)
    with pytest.raises(OwnHub):
        await gwen.pairer.begin(twin.address)


async def test_a_call_that_nobody_answers_can_be_given_up(gwen: Desk) -> None:
    async def call(address: Address) -> None:
        with pytest.raises(Refusal):
            await gwen.pairer.begin(address)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with asyncio.TaskGroup() as group:
            group.create_task(call(Address("127.0.0.1", silent.getsockname()[1])))
            await gwen.steps_to(Step.CALLING)
            await gwen.pairer.refuse()
    assert (gwen.pairer.standing().step, gwen.pairer.standing().trouble) == (Step.FAILED, Refusal.code)


async def test_what_answers_and_is_no_hub_is_told_as_such(gwen: Desk, nothing_fails: None) -> None:
    async def other(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="a printer")

    server = web.Server(other)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(server, "127.0.0.1", 0)
    with pytest.raises(NotOpen):
        await gwen.pairer.begin(Address("127.0.0.1", listening.sockets[0].getsockname()[1]))
    listening.close()
    await server.shutdown()


async def test_garbage_changes_nothing_for_those_who_mean_it(
    gwen: Desk, owen: Desk, chance: random.Random, nothing_fails: None
) -> None:
    await owen.pairer.open(10)
    for sent in (b"", b"\x16\x03\x01\x02\x00\x01", chance.randbytes(2000)):
        _, writer = await asyncio.open_connection(*owen.address)
        writer.write(sent)
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
    for sent in (b"\x01", b"\x02\xf5", b"\xff" * 100, bytes(9000), chance.randbytes(500), b"\x01\xa0"):
        async with calling_anybody(owen.address) as line:
            with suppress(ConnectionError):
                await line.send(sent)
                while await line.receive() is not None:
                    pass
    assert owen.pairer.standing().step is Step.OPEN
    await gwen.pairer.begin(owen.address)
    await owen.steps_to(Step.COMPARING)


async def test_a_hub_that_opens_and_then_calls_stops_waiting(gwen: Desk, owen: Desk) -> None:
    await gwen.pairer.open(10)
    await owen.pairer.open(10)
    await gwen.pairer.begin(owen.address)
    assert gwen.ports[-1] is None


async def test_what_the_other_hub_says_of_itself_is_cleaned_before_it_is_shown(
    gwen: Desk, owen: Desk
) -> None:
    owen.card = Card(
        owen.card.hub,
        "Mill\u202e\nLane",
        "plaid",
        owen.card.certificate,
        (Address("224.0.0.1", 8448), Address("10.1.2.3", 0), Address("mill.local", 8448)),
        {"notices": Choice.HOLD, "gossip": Choice.EXCHANGE},
    )
    await owen.pairer.open(10)
    await gwen.pairer.begin(owen.address)
    await owen.steps_to(Step.COMPARING)
    await gwen.pairer.accept()
    await owen.pairer.accept()
    await gwen.steps_to(Step.PAIRED)
    [(card, _)] = gwen.kept
    assert (card.colour, card.addresses) == ("slate", (Address("mill.local", 8448),))
    assert "\u202e" not in card.name
    assert "\n" not in card.name
    assert card.choices["notices"] is Choice.HOLD
    assert "gossip" not in card.choices


async def test_before_it_runs_nothing_is_paired(chance: random.Random) -> None:
    async with open_desk("mill-lane", chance) as desk:
        pass
    with pytest.raises(NotRunning):
        await desk.pairer.open(10)
    with pytest.raises(NotRunning):
        await desk.pairer.begin(Address("127.0.0.1", 9))
