"""What a hub makes of announcements, true and hostile ones, and what it asks; without a network."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import (
    DNSAddress,
    DNSIncoming,
    DNSOutgoing,
    DNSPointer,
    DNSRecord,
    DNSService,
    DNSText,
    RecordUpdate,
    RecordUpdateListener,
)

from hub.discovery import find
from hub.discovery.find import HUB_SERVICE, Crowd, Finder
from hub.domain import naming
from hub.domain.ids import HubId
from hub.domain.naming import LocalAddress
from hub.domain.reaching import Sighting

OWN, ELM, MILL = (HubId(bytes([number]) * 32) for number in (1, 2, 3))
HERE = [LocalAddress("eth0", "10.77.0.1", 24)]


def packed_txt(hub: HubId, name: str) -> bytes:
    attributes = naming.build_txt(naming.hint_of(hub, name, "0.1.0", sync_port=8448, protocol=(1, 1)))
    return b"".join(
        bytes([len(key) + 1 + len(value)]) + key + b"=" + value for key, value in attributes.items()
    )


def announcement(
    hub: HubId, name: str, *addresses: str, ttl: int = 4500, instance: str | None = None
) -> list[DNSRecord]:
    """The records a hub announces; with ``ttl`` 0, its goodbye."""
    instance = f"{instance or naming.instance_name(name, hub)}.{HUB_SERVICE}"
    server = f"{naming.sure_label(hub)}.local."
    return [
        DNSPointer(HUB_SERVICE, 12, 1, ttl, instance),
        DNSService(instance, 33, 0x8001, min(ttl, 120), 0, 0, 8080, server),
        DNSText(instance, 16, 0x8001, ttl, packed_txt(hub, name)),
        *(address_of(server, each, min(ttl, 120)) for each in addresses),
    ]


def address_of(server: str, text: str, ttl: int = 120) -> DNSAddress:
    address = ipaddress.ip_address(text.partition("%")[0])
    scope = int(text.partition("%")[2] or 0) or None
    return DNSAddress(server, 1 if address.version == 4 else 28, 0x8001, ttl, address.packed, scope_id=scope)


def crowd(is_neighbour=lambda hint: False) -> Crowd:
    made = Crowd(OWN, is_neighbour)
    made.settle(HERE)
    return made


def names(sightings: tuple[Sighting, ...]) -> list[str]:
    return [each.hint.name for each in sightings]


def test_an_announcement_is_a_sighting_and_a_goodbye_its_end():
    seen = crowd()
    assert seen.hear(announcement(ELM, "Elm Road", "10.77.0.2", "fe80::2%3"), 5.0)
    (sighting,) = seen.sightings(5.0)
    assert sighting.hint == naming.hint_of(ELM, "Elm Road", "0.1.0", sync_port=8448, protocol=(1, 1))
    assert sighting.addresses == ("10.77.0.2", "fe80::2%3")
    assert sighting.web_port == 8080
    assert sighting.seen == 5.0
    assert seen.hear(announcement(ELM, "Elm Road", ttl=0), 6.0)
    assert seen.sightings(6.0) == ()


def test_what_is_said_in_pieces_is_put_together():
    seen = crowd()
    pointer, service, text, address = announcement(ELM, "Elm Road", "10.77.0.2")
    seen.hear([pointer], 0.0)
    assert seen.sightings(0.0) == ()
    assert seen.unclear() == [f"{naming.instance_name('Elm Road', ELM)}.{HUB_SERVICE}"]
    for piece in (service, text, address):
        seen.hear([piece], 0.0)
    assert names(seen.sightings(0.0)) == ["Elm Road"]
    assert seen.unclear() == []


def test_the_own_announcement_is_nobody_else():
    seen = crowd()
    assert not seen.hear(announcement(OWN, "Tanyard Road", "10.77.0.1"), 0.0)
    pointer, _, text, _ = announcement(OWN, "Tanyard Road", "10.77.0.1")
    seen.hear([pointer], 0.0)
    seen.hear([text], 0.0)
    assert not seen.places


def test_other_devices_and_other_services_are_nothing_to_us():
    seen = crowd()
    printer = "Printer._ipp._tcp.local."
    assert not seen.hear(
        [
            DNSPointer("_ipp._tcp.local.", 12, 1, 4500, printer),
            DNSPointer(HUB_SERVICE, 12, 1, 4500, printer),
            DNSPointer(f"x.{HUB_SERVICE}", 12, 1, 4500, f"a.x.{HUB_SERVICE}"),
            DNSService(printer, 33, 1, 120, 0, 0, 515, "printer.local."),
            address_of("printer.local.", "10.77.0.9"),
        ],
        0.0,
    )
    assert not seen.places


def test_an_announcement_is_believed_for_75_minutes_and_no_longer():
    seen = crowd()
    seen.hear(announcement(ELM, "Elm Road", "10.77.0.2", ttl=2_000_000_000), 0.0)
    assert names(seen.sightings(4499.0)) == ["Elm Road"]
    assert seen.sightings(4500.0) == ()


def test_a_new_address_comes_first_and_the_old_one_goes_after_two_minutes():
    seen = crowd()
    seen.hear(announcement(ELM, "Elm Road", "10.77.0.2"), 0.0)
    seen.hear(announcement(ELM, "Elm Road", "10.77.0.9"), 60.0)
    assert seen.sightings(60.0)[0].addresses == ("10.77.0.9", "10.77.0.2")
    seen.hear(announcement(ELM, "Elm Road", "10.77.0.9"), 130.0)
    assert seen.sightings(130.0)[0].addresses == ("10.77.0.9",)
    seen.hear(announcement(ELM, "Elm Road", "10.77.0.9"), 999.0)
    assert seen.sightings(3000.0)[0].addresses == ("10.77.0.9",), "what was said last stays a hint"


def test_an_address_that_is_taken_back_goes_at_once():
    seen = crowd()
    seen.hear(announcement(ELM, "Elm Road", "10.77.0.2", "10.77.0.9"), 0.0)
    seen.hear([address_of(f"{naming.sure_label(ELM)}.local.", "10.77.0.2", ttl=0)], 1.0)
    assert seen.sightings(1.0)[0].addresses == ("10.77.0.9",)


def test_when_this_hub_moves_what_is_near_changes():
    seen = crowd()
    seen.hear(announcement(ELM, "Elm Road", "10.88.0.2", "10.77.0.2"), 0.0)
    assert seen.sightings(0.0)[0].addresses[0] == "10.77.0.2"
    seen.settle([LocalAddress("wlan0", "10.88.0.1", 24)])
    assert seen.sightings(0.0)[0].addresses[0] == "10.88.0.2"


def fake(number: int) -> list[DNSRecord]:
    return announcement(HubId(number.to_bytes(2) + bytes(30)), f"Hall {number}", "10.77.0.5")


def test_a_flood_washes_away_nobody_who_was_there_and_a_neighbour_still_gets_in():
    seen = crowd(lambda hint: hint.is_of(MILL))
    seen.hear(announcement(ELM, "Elm Road", "10.77.0.2"), 0.0)
    for number in range(1000):
        seen.hear(fake(1000 + number), 1.0)
    sightings = seen.sightings(1.0)
    assert len(sightings) == find.MAX_PLACES
    assert sightings[0].hint.name == "Elm Road"
    seen.hear(announcement(MILL, "Mill Lane", "10.77.0.3"), 2.0)
    sightings = seen.sightings(2.0)
    assert len(sightings) == find.MAX_PLACES
    assert sightings[-1].hint.name == "Mill Lane"
    for number in range(1000):
        seen.hear(fake(5000 + number), 3.0)
    assert seen.sightings(3.0)[-1].hint.name == "Mill Lane"


def test_names_without_a_place_give_way_to_hubs():
    seen = crowd()
    for number in range(500):
        seen.hear([DNSPointer(HUB_SERVICE, 12, 1, 4500, f"Ghost {number}.{HUB_SERVICE}")], 0.0)
    assert len(seen.places) == find.MAX_PLACES
    assert len(seen.unclear()) == find.ASKED_AT_ONCE
    seen.hear(announcement(ELM, "Elm Road", "10.77.0.2"), 1.0)
    assert names(seen.sightings(1.0)) == ["Elm Road"]


def test_a_host_with_very_many_addresses_has_eight():
    seen = crowd()
    seen.hear(announcement(ELM, "Elm Road", *(f"10.77.0.{number}" for number in range(2, 200))), 0.0)
    assert len(seen.sightings(0.0)[0].addresses) == find.MAX_ADDRESSES


labels = st.text(st.characters(exclude_categories=["Cs"]), max_size=70)


@st.composite
def packets(draw):
    """The bytes of an announcement, some of them changed."""
    instance = draw(st.none() | labels.filter(lambda text: 0 < len(text.encode()) < 60 and "." not in text))
    out = DNSOutgoing(0x8400)
    for record in announcement(ELM, "Elm Road", "10.77.0.2", "fe80::2", instance=instance):
        out.add_answer_at_time(record, 0)
    raw = bytearray(out.packets()[0])
    for at, value in draw(
        st.lists(st.tuples(st.integers(12, len(raw) - 1), st.integers(0, 255)), max_size=6)
    ):
        raw[at] = value
    return bytes(raw)


@given(st.lists(packets() | st.binary(max_size=200), max_size=4))
def test_whatever_is_sent_the_crowd_stands_and_its_questions_can_be_written(datagrams):
    finder, wire = Finder(hub=OWN, on_change=lambda sightings: None), Wire()
    life = find._Life(wire, f"Tanyard Road.{HUB_SERVICE}", HERE, lambda records: None)  # type: ignore[arg-type]
    for datagram in datagrams:
        finder._crowd.hear(DNSIncoming(datagram).answers(), 0.0)
    for sighting in finder._crowd.sightings(0.0):
        assert all(ipaddress.ip_address(each) for each in sighting.addresses)
    for first in (True, False):
        for packet in finder._question(life, first=first).packets():
            assert DNSIncoming(packet).valid


@pytest.mark.parametrize("label", ["", ".", "a.b", ".a", "a.", "\ufffd" * 22])
def test_a_name_that_could_not_be_asked_for_is_no_hubs(label):
    seen = crowd()
    seen.hear([DNSPointer(HUB_SERVICE, 12, 1, 4500, f"{label}.{HUB_SERVICE}")], 0.0)
    assert not seen.places


class Wire:
    """Stands for the responder: what is sent, and who listens."""

    def __init__(self) -> None:
        self.listeners: list[RecordUpdateListener] = []
        self.asked: asyncio.Queue[DNSIncoming] = asyncio.Queue()

    def async_add_listener(self, listener: RecordUpdateListener, question: None) -> None:
        self.listeners.append(listener)

    def async_remove_listener(self, listener: RecordUpdateListener) -> None:
        self.listeners.remove(listener)

    def async_send(self, out: DNSOutgoing) -> None:
        for packet in out.packets():
            self.asked.put_nowait(DNSIncoming(packet))

    def say(self, records: list[DNSRecord]) -> None:
        for listener in list(self.listeners):
            listener.async_update_records(self, records[0].created, [RecordUpdate(each) for each in records])  # type: ignore[arg-type]


@pytest.fixture
def told() -> asyncio.Queue[tuple[Sighting, ...]]:
    return asyncio.Queue()


@pytest.fixture
def quick(monkeypatch) -> None:
    monkeypatch.setattr(find, "SECOND_S", 0.02)
    monkeypatch.setattr(find, "TELL_S", 0.01)


@pytest.mark.usefixtures("quick")
async def test_a_finder_asks_first_for_all_and_then_tells_whom_it_knows(told: Any):
    wire, finder = Wire(), Finder(hub=OWN, on_change=told.put_nowait, every_s=60)
    finder.begin(wire, f"Tanyard Road.{HUB_SERVICE}", HERE)  # type: ignore[arg-type]
    first = await wire.asked.get()
    assert first.questions[0].unicast
    assert [each.alias for each in first.answers()] == [f"Tanyard Road.{HUB_SERVICE}"]
    wire.say(announcement(ELM, "Elm Road", "10.77.0.2"))
    second = await wire.asked.get()
    assert not second.questions[0].unicast
    assert {each.alias.split()[0] for each in second.answers()} == {"Tanyard", "Elm"}
    assert names(await told.get()) == names(finder.sightings()) == ["Elm Road"]

    finder.look_again()
    assert (await wire.asked.get()).questions[0].unicast
    await finder.end()
    assert not wire.listeners


@pytest.mark.usefixtures("quick")
async def test_a_change_is_told_once_and_what_was_said_before_is_no_change(told: Any):
    wire, finder = Wire(), Finder(hub=OWN, on_change=told.put_nowait)
    finder.begin(wire, "x", HERE)  # type: ignore[arg-type]
    for _ in range(3):
        wire.say(announcement(ELM, "Elm Road", "10.77.0.2"))
    assert len(await told.get()) == 1
    wire.say(announcement(ELM, "Elm Road", "10.77.0.2"))
    wire.say(announcement(MILL, "Mill Lane", "10.77.0.3"))
    assert len(await told.get()) == 2
    wire.say(announcement(ELM, "Elm Road", ttl=0))
    assert names(await told.get()) == ["Mill Lane"]
    assert told.empty()
    await finder.end()
    assert names(finder.sightings()) == ["Mill Lane"], "a hint outlives the responder it was heard by"


@pytest.mark.usefixtures("quick")
async def test_a_network_on_which_nobody_speaks_is_trouble_after_a_while(monkeypatch, told: Any):
    wire, finder = Wire(), Finder(hub=OWN, on_change=told.put_nowait)
    assert finder.trouble() is None
    finder.begin(wire, "x", HERE)  # type: ignore[arg-type]
    assert finder.trouble() is None
    monkeypatch.setattr(find, "SILENCE_S", 0.0)
    assert finder.trouble() is not None
    wire.say([address_of("hub-0000.local.", "10.77.0.1")])  # the own echo
    assert "no other device at all" in str(finder.trouble())
    wire.say([address_of("printer.local.", "10.77.0.5")])
    assert finder.trouble() is None
    await finder.end()
    assert finder.trouble() is None


async def test_what_the_cache_gives_up_is_neither_news_nor_a_goodbye(told: Any):
    wire, finder = Wire(), Finder(hub=OWN, on_change=told.put_nowait)
    finder.begin(wire, "x", HERE)  # type: ignore[arg-type]
    records = announcement(ELM, "Elm Road", "10.77.0.2")
    wire.say(records)
    for listener in wire.listeners:
        listener.async_update_records(
            wire,  # type: ignore[arg-type]
            records[0].created + 10_000_000,
            [RecordUpdate(each, each) for each in records],
        )
    assert names(finder.sightings()) == ["Elm Road"]
    await finder.end()
