"""Hubs that look for each other on a street of their own; and the sweep, where nothing is heard."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from hub.discovery import find
from hub.discovery.find import sweep
from tests.integration.discovery.conftest import Fact, Program, Street

SETTLE_S = 8.0
"""By then a hub has said and asked all that belongs to its start."""


def sees(*names: str):
    """Whether a fact says that exactly the hubs of these names are seen."""
    return lambda fact: sorted(name for name, _ in fact.get("seen", ())) == sorted(names) and "seen" in fact


def addresses(fact: Fact, name: str) -> list[str]:
    return next(there for called, there in fact["seen"] if called == name)


def cost(counter: Program) -> int:
    counter.end()
    return int(counter.hears(lambda fact: "payload" in fact)["payload"])


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_hubs_that_start_together_find_each_other_within_three_seconds_for_15_kilobytes(street: Street):
    names = ["Green Lane", "Elm Road", "Mill Lane", "Oakfield"]
    houses = [street.house(f"10.77.0.{number}") for number in range(1, 5)]
    counter = street.count()
    hubs = [
        street.run(house, "seeker", name, str(n))
        for n, (house, name) in enumerate(zip(houses, names, strict=True))
    ]
    for hub in hubs:
        hub.hears(lambda fact: fact.get("started"))
    began = time.monotonic()
    for name, hub in zip(names, hubs, strict=True):
        fact = hub.hears(sees(*set(names) - {name}))
        assert fact["sync"] == [8448]
        assert fact["pairing"] == []
    assert time.monotonic() - began < 3.0
    time.sleep(SETTLE_S)
    assert cost(counter) <= 15_000


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_hub_that_joins_four_is_found_in_three_seconds_and_its_end_is_known_in_one(street: Street):
    houses = [street.house(f"10.77.0.{number}") for number in range(1, 6)]
    others = [street.run(house, "hub", f"Hall {n}", str(n)) for n, house in enumerate(houses[:3])]
    green = street.run(houses[3], "seeker", "Green Lane", "4")
    green.hears(sees("Hall 0", "Hall 1", "Hall 2"))
    for other in others:
        other.hears(lambda fact: fact.get("names"))
    time.sleep(SETTLE_S)

    counter = street.count()
    elm = street.run(houses[4], "seeker", "Elm Road", "5")
    elm.hears(lambda fact: fact.get("started"))
    began = time.monotonic()
    elm.hears(sees("Hall 0", "Hall 1", "Hall 2", "Green Lane"))
    green.hears(sees("Hall 0", "Hall 1", "Hall 2", "Elm Road"))
    assert time.monotonic() - began < 3.0
    time.sleep(SETTLE_S)
    assert cost(counter) <= 7_500

    began = time.monotonic()
    elm.tell(signal.SIGTERM)
    green.hears(sees("Hall 0", "Hall 1", "Hall 2"))
    assert time.monotonic() - began < 1.0


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_four_idle_hubs_say_less_than_a_kilobyte_a_minute_each(street: Street):
    houses = [street.house(f"10.77.0.{number}") for number in range(1, 5)]
    minute_s = 4  # all that a hub says while nothing happens is one question a minute
    hubs = [
        street.run(house, "seeker", f"Community Centre {n}", str(n), str(minute_s))
        for n, house in enumerate(houses)
    ]
    for hub in hubs:
        hub.hears(lambda fact: len(fact.get("seen", ())) == 3)
    time.sleep(SETTLE_S)
    counter = street.count()
    time.sleep(3 * minute_s)
    assert 0 < cost(counter) / len(hubs) / 3 <= 1_000


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_pairing_window_is_announced_while_it_is_open(street: Street):
    lane, road = street.house("10.77.0.1"), street.house("10.77.0.2")
    green, elm = street.run(lane, "seeker", "Green Lane", "1"), street.run(road, "hub", "Elm Road", "2")
    assert green.hears(sees("Elm Road"))["pairing"] == []
    elm.tell(signal.SIGUSR1)
    green.hears(lambda fact: fact.get("pairing") == [8449], seconds=2)
    elm.tell(signal.SIGUSR2)
    assert green.hears(lambda fact: fact.get("pairing") == [], seconds=2)["sync"] == [8448]


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_hub_that_comes_late_to_the_network_or_moves_is_followed(street: Street):
    lane, road = street.house("10.77.0.1"), street.house(None)
    green, elm = street.run(lane, "seeker", "Green Lane", "1"), street.run(road, "seeker", "Elm Road", "2")
    green.hears(lambda fact: fact.get("names"))
    elm.hears(lambda fact: fact.get("sentence"))

    street.move_in(road, "10.77.0.2")
    assert addresses(green.hears(sees("Elm Road"), seconds=3), "Elm Road") == ["10.77.0.2"]
    assert addresses(elm.hears(sees("Green Lane"), seconds=3), "Green Lane") == ["10.77.0.1"]

    street.move_out(road, "10.77.0.2")
    street.move_in(road, "10.77.0.9")
    moved = green.hears(lambda fact: "seen" in fact and addresses(fact, "Elm Road")[0] == "10.77.0.9")
    assert addresses(moved, "Elm Road") == ["10.77.0.9", "10.77.0.2"]  # tried in turn, newest first


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_two_hubs_of_one_name_that_start_at_one_moment_are_seen_as_two(street: Street):
    houses = [street.house(f"10.77.0.{number}") for number in range(1, 4)]
    outside = street.run(houses[0], "seeker", "Oakfield", "3")
    for n, house in enumerate(houses[1:]):
        street.run(house, "seeker", "Green Lane", str(n))
    both = outside.hears(sees("Green Lane", "Green Lane"))
    assert sorted(there for _, there in both["seen"]) == [["10.77.0.2"], ["10.77.0.3"]]


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_where_wi_fi_keeps_devices_apart_the_caretaker_is_told_and_hubs_find_each_other_afterwards(
    street: Street,
):
    lane, road = street.house("10.77.0.1"), street.house("10.77.0.2")
    for house in (lane, road):
        street.isolate(house, True)
    green = street.run(lane, "seeker", "Green Lane", "1", "3")
    elm = street.run(road, "seeker", "Elm Road", "2", "3")
    told = green.hears(lambda fact: fact.get("trouble"), seconds=25)
    assert "sees no other device at all" in told["trouble"]
    assert not any("seen" in fact for fact in green.facts)
    for house in (lane, road):
        street.isolate(house, False)
    green.hears(sees("Elm Road"), seconds=6)
    elm.hears(sees("Green Lane"), seconds=6)
    if {"trouble": ""} not in green.facts:  # said on its own, before or after who is seen
        green.hears(lambda fact: fact == {"trouble": ""})


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_hub_that_was_cut_off_is_a_hint_meanwhile_and_found_at_its_new_address_when_it_is_back(
    street: Street,
):
    lane, road = street.house("10.77.0.1"), street.house("10.77.0.2")
    green = street.run(lane, "seeker", "Green Lane", "1", "3")
    elm = street.run(road, "seeker", "Elm Road", "2", "3")
    green.hears(sees("Elm Road"))
    street.block(road)
    elm.end(signal.SIGKILL)
    street.move_out(road, "10.77.0.2")
    street.move_in(road, "10.77.0.9")
    elm = street.run(road, "seeker", "Elm Road", "2", "3")
    elm.hears(lambda fact: fact.get("names"))
    assert green.hears_within(2) is None  # mDNS never says that somebody is gone who did not say so
    street.unblock(road)
    back = green.hears(lambda fact: "seen" in fact, seconds=20)
    assert addresses(back, "Elm Road")[0] == "10.77.0.9"
    elm.hears(sees("Green Lane"), seconds=10)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_hubs_with_nothing_but_link_local_addresses_find_each_other(street: Street):
    houses = [street.house(None), street.house(None)]
    for house in houses:
        street.use_link_local_only(house)
    green, elm = (
        street.run(house, "seeker", name, str(n))
        for n, (house, name) in enumerate(zip(houses, ("Green Lane", "Elm Road"), strict=True))
    )
    for hub, other in ((green, "Elm Road"), (elm, "Green Lane")):
        (address,) = addresses(hub.hears(sees(other)), other)
        assert address.startswith("fe80::")
        assert "%" in address  # without the scope nobody could connect


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_thousand_hubs_that_do_not_exist_cost_little_and_wash_nobody_away(street: Street):
    houses = [street.house(f"10.77.0.{number}") for number in range(1, 4)]
    green = street.run(houses[0], "seeker", "Green Lane", "1")
    street.run(houses[1], "hub", "Elm Road", "2")
    before = green.hears(sees("Elm Road"))["cpu_s"]
    street.run(houses[2], "flood", "1000", "10.77.0.3").hears(lambda fact: fact.get("ended"))
    crowded = green.hears(lambda fact: len(fact.get("seen", ())) == find.MAX_PLACES)
    assert "Elm Road" in {name for name, _ in crowded["seen"]}
    counter = street.count()
    time.sleep(5)
    assert cost(counter) < 5_000  # they make nobody shout
    green.end()
    ended = green.hears(lambda fact: fact.get("ended"))
    assert ended["cpu_s"] - before < 1.5


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_sweep_of_the_whole_network_finds_a_hub_that_multicast_does_not_reach(street: Street):
    lane, road = street.house("10.77.0.1"), street.house("10.77.0.254")
    street.house("10.77.0.77")  # a device that is no hub
    street.run(road, "door").hears(lambda fact: fact.get("started"))
    swept = street.run(lane, "knock").hears(lambda fact: "answered" in fact, seconds=12)
    assert swept["found"] == [["10.77.0.254", "a hub"]]
    assert swept["answered"] == 2
    assert swept["trouble"] == ""
    assert swept["took"] < 5.0


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_sweep_where_nothing_answers_ends_in_words(street: Street):
    lane = street.house("10.77.0.1")
    swept = street.run(lane, "knock").hears(lambda fact: "answered" in fact, seconds=12)
    assert swept["found"] == []
    assert "sees no other device at all" in swept["trouble"]


async def test_a_sweep_asks_only_where_a_door_opens_and_takes_no_harm_from_the_answers(monkeypatch):
    monkeypatch.setattr(find, "ANSWER_S", 0.2)
    asked: list[str] = []

    async def ask(host: str, port: int) -> str | None:
        asked.append(host)
        if host == "127.0.9.2":
            raise ConnectionResetError
        if host == "127.0.9.3":
            return None
        if host == "127.0.9.4":
            await asyncio.Event().wait()
        return f"hub at {host}"

    def greet(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        writing.close()

    doors = [await asyncio.start_server(greet, "127.0.9.1", 0)]
    port = doors[0].sockets[0].getsockname()[1]
    doors += [await asyncio.start_server(greet, f"127.0.9.{number}", port) for number in (2, 3, 4, 5)]
    try:
        swept = await sweep([f"127.0.9.{number}" for number in range(1, 9)], port, ask)
    finally:
        for each in doors:
            each.close()
            await each.wait_closed()
    assert swept.found == (("127.0.9.1", "hub at 127.0.9.1"), ("127.0.9.5", "hub at 127.0.9.5"))
    assert swept.answered == 8
    assert sorted(asked) == [f"127.0.9.{number}" for number in range(1, 6)]
    assert swept.trouble is None


async def test_a_sweep_of_nothing_finds_nothing():
    async def ask(host: str, port: int) -> None:
        raise AssertionError(host)

    assert (await sweep([], 8448, ask)).found == ()
