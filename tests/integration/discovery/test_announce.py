"""Two hubs on one street, heard from outside; and what a hub does where there is no network."""

from __future__ import annotations

import asyncio
import time

import pytest

from hub.discovery.announce import CONTEST_S, HUB_SERVICE, WEB_SERVICE, Announcement, Announcer
from hub.discovery.interfaces import AddressWatch, interface_addresses, local_addresses
from hub.domain.ids import HubId, base32, short_hub_id


def sure(seed: int) -> str:
    return f"hub-{short_hub_id(HubId(bytes([seed]) * 32))}.local"


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_two_hubs_see_each_other_and_their_names_lead_to_them(street):
    lane, road = street.house("10.77.0.1"), street.house("10.77.0.2")
    outside = street.run(lane, "browse")
    green, elm = street.run(lane, "hub", "Green Lane", "1"), street.run(road, "hub", "Elm Road", "2")
    assert green.hears(lambda fact: fact.get("names"))["names"] == ["green-lane.local", sure(1)]
    assert elm.hears(lambda fact: fact.get("names"))["names"] == ["elm-road.local", sure(2)]

    services = {}  # which of the two is heard first is chance
    while services.keys() != {HUB_SERVICE, WEB_SERVICE}:
        fact = outside.hears(lambda fact: fact.get("found", "").startswith("Elm"))
        services[fact["type"]] = fact
    heard, pages = services[HUB_SERVICE], services[WEB_SERVICE]
    assert heard["addresses"] == ["10.77.0.2"]
    assert heard["server"] == f"{sure(2)}."
    assert heard["port"] == 8080
    assert heard["txt"] == {
        "txtvers": "1", "id": base32(bytes([2]) * 32)[:26], "n": "Elm Road", "v": "0.1.0",
        "p": "1-1", "s": "8448",
    }  # fmt: skip
    assert heard["txt_bytes"] < 200
    assert pages["port"] == 8080
    assert pages["txt"] == {"path": "/"}  # whose p would be a password

    assert street.resolve(lane, "elm-road.local") == ["10.77.0.2"]
    assert street.resolve(lane, sure(2)) == ["10.77.0.2"]
    assert street.resolve(road, "green-lane.local") == ["10.77.0.1"]

    took = elm.end()
    assert took < 1.0
    assert elm.facts[-1].get("ended") or elm.hears(lambda fact: fact.get("ended"))
    kinds = {outside.hears(lambda fact: fact.get("gone", "").startswith("Elm"))["type"] for _ in range(2)}
    assert kinds == {HUB_SERVICE, WEB_SERVICE}
    assert street.resolve(lane, "elm-road.local") == []


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_two_hubs_of_one_name_that_start_at_one_moment_end_with_two_names(street):
    lane, road, guest = street.house("10.77.0.1"), street.house("10.77.0.2"), street.house("10.77.0.3")
    hubs = {
        "10.77.0.1": street.run(lane, "hub", "Green Lane", "1"),
        "10.77.0.2": street.run(road, "hub", "Green Lane", "2"),
    }
    settled: dict[str, str] = {}
    deadline = time.monotonic() + 15
    while set(settled) != {"green-lane.local", "green-lane-2.local"}:
        assert time.monotonic() < deadline, settled
        for address, hub in hubs.items():
            while fact := hub.hears_within(0.1):
                if fact.get("names"):
                    settled = {name: there for name, there in settled.items() if there != address}
                    settled[fact["names"][0]] = address
    for name, address in settled.items():
        assert street.resolve(guest, name) == [address]


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_two_hubs_of_one_name_that_grew_up_apart_come_to_terms_when_they_meet(street):
    lane, road, guest = street.house("10.77.0.1"), street.house("10.77.0.2"), street.house("10.77.0.3")
    street.block(road)
    hubs = {
        "10.77.0.1": street.run(lane, "hub", "Green Lane", "1"),
        "10.77.0.2": street.run(road, "hub", "Green Lane", "2"),
    }
    for hub in hubs.values():
        assert hub.hears(lambda fact: fact.get("names"))["names"][0] == "green-lane.local"
    street.unblock(road)
    street.resolve(guest, "green-lane.local")  # one question of one phone, and each hears the other's answer
    moved = hubs["10.77.0.1"].hears(lambda fact: "green-lane-2.local" in fact.get("names", ()))
    assert "already answers to green-lane.local" in moved["sentence"]
    assert hubs["10.77.0.2"].hears_within(CONTEST_S + 2) is None
    assert street.resolve(guest, "green-lane.local") == ["10.77.0.2"]
    assert street.resolve(guest, "green-lane-2.local") == ["10.77.0.1"]


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_hub_without_a_network_waits_for_one_and_follows_its_addresses(street):
    lane, guest = street.house(None), street.house("10.77.0.3")
    outside = street.run(guest, "browse")
    hub = street.run(lane, "hub", "Green Lane", "1")
    waiting = hub.hears(lambda fact: fact.get("sentence"))
    assert waiting["names"] == []
    assert "no network address" in waiting["sentence"]

    street.move_in(lane, "10.77.0.1")
    there = hub.hears(lambda fact: fact.get("names"))
    assert there["addresses"] == ["10.77.0.1"]
    assert there["sentence"] == ""
    outside.hears(lambda fact: fact.get("type") == HUB_SERVICE and fact.get("addresses") == ["10.77.0.1"])

    street.move_out(lane, "10.77.0.1")
    street.move_in(lane, "10.77.0.9")
    assert hub.hears(lambda fact: "10.77.0.9" in fact.get("addresses", ()))["names"] == there["names"]
    hub_again = outside.hears(lambda fact: "10.77.0.9" in fact.get("addresses", ()))
    assert hub_again["found"].startswith("Green Lane")
    assert street.resolve(guest, "green-lane.local") == ["10.77.0.9"]

    street.move_out(lane, "10.77.0.9")
    assert hub.hears(lambda fact: fact.get("names") == [])["addresses"] == []
    street.move_in(lane, "10.77.0.5")
    assert hub.hears(lambda fact: fact.get("names"))["addresses"] == ["10.77.0.5"]
    assert street.resolve(guest, "green-lane.local") == ["10.77.0.5"]


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_name_that_another_device_has_is_left_to_it(street):
    lane, shop = street.house("10.77.0.9"), street.house("10.77.0.1")
    printer = street.run(shop, "stranger", "green-lane", "10.77.0.1")
    printer.hears(lambda fact: fact.get("started"))
    hub = street.run(lane, "hub", "Green Lane", "1")
    named = hub.hears(lambda fact: fact.get("names"))
    assert named["names"] == ["green-lane-2.local", sure(1)]
    assert "already answers to green-lane.local" in named["sentence"]
    assert street.resolve(shop, "green-lane-2.local") == ["10.77.0.9"]


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_device_that_takes_a_name_and_never_yields_gets_it_in_the_end(street):
    lane, shop = street.house("10.77.0.9"), street.house("10.77.0.1")
    hub = street.run(lane, "hub", "Green Lane", "1")
    assert hub.hears(lambda fact: fact.get("names"))["names"][0] == "green-lane.local"
    street.run(shop, "stranger", "green-lane", "10.77.0.1")
    hub.hears(lambda fact: "green-lane-2.local" in fact.get("names", ()), seconds=15)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_another_responder_on_the_same_machine_is_no_conflict(street):
    lane, guest = street.house("10.77.0.1"), street.house("10.77.0.3")
    neighbour = street.run(lane, "stranger", "green-lane", "10.77.0.1")
    neighbour.hears(lambda fact: fact.get("started"))
    hub = street.run(lane, "hub", "Green Lane", "1")
    named = hub.hears(lambda fact: fact.get("names"))
    assert named["names"] == ["green-lane.local", sure(1)]
    assert named["sentence"] == ""
    assert street.resolve(guest, "green-lane.local") == ["10.77.0.1"]


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_copy_of_a_hub_is_announced_all_the_same_and_both_say_so(street):
    lane, road = street.house("10.77.0.1"), street.house("10.77.0.2")
    first = street.run(lane, "hub", "Green Lane", "1")
    first.hears(lambda fact: fact.get("names"))
    second = street.run(road, "hub", "Green Lane", "1")
    for hub in (second, first):
        hub.hears(lambda fact: "this very hub" in fact.get("sentence", ""), seconds=12)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_where_mdns_cannot_be_spoken_the_hub_says_why_and_tries_again(street):
    lane, guest = street.house("10.77.0.1"), street.house("10.77.0.3")
    hog = street.run(lane, "hog")
    hog.hears(lambda fact: fact.get("started"))
    hub = street.run(lane, "hub", "Green Lane", "1")
    silent = hub.hears(lambda fact: fact.get("sentence"))
    assert silent["names"] == []
    assert silent["addresses"] == ["10.77.0.1"]
    assert "cannot announce its name on this network (Address already in use)" in silent["sentence"]
    hog.end()
    street.move_in(lane, "10.77.0.8")  # a change of addresses is a reason to try before the pause is over
    assert hub.hears(lambda fact: fact.get("names"))["names"][0] == "green-lane.local"
    assert street.resolve(guest, "green-lane.local") == ["10.77.0.1", "10.77.0.8"]


async def test_on_loopback_only_nothing_is_announced():
    heard: list[Announcement] = []
    announcer = Announcer(
        name="Green Lane", hub=HubId(bytes(32)), port=8080, version="0.1.0", on_change=heard.append,
        loopback_only=True,
    )  # fmt: skip
    running = asyncio.ensure_future(announcer.run())
    await asyncio.sleep(0.05)
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert heard == []
    assert announcer.now == Announcement()
    assert announcer.addresses() == ()


async def test_addresses_are_looked_up_beside_the_event_loop():
    found = await interface_addresses()
    assert "127.0.0.1" in {each.ip for each in found}
    assert "127.0.0.1" not in await local_addresses()


async def test_a_watch_leaves_nothing_behind():
    with AddressWatch(lambda: None) as watch:
        assert watch.poll_s >= 5
    with AddressWatch(lambda: None):
        pass
