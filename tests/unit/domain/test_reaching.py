"""Which addresses of a neighbour are tried, and in which order; and which a sweep may ask."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain import reaching
from hub.domain.ids import HubId
from hub.domain.naming import LocalAddress, hint_of
from hub.domain.neighbours import Address, KnownAddress, Learnt
from hub.domain.reaching import Sighting, believable, places_to_try, sweepable

ELM = HubId(bytes([2]) * 32)
HERE = (
    LocalAddress("lo", "127.0.0.1", 8),
    LocalAddress("eth0", "192.168.1.5", 24),
    LocalAddress("eth0", "fe80::5", 64),
    LocalAddress("eth0", "2001:db8:1::5", 64),
)


def remembered(address: Address, good_ms: int | None = None) -> KnownAddress:
    return KnownAddress(address, Learnt.TYPED, good_ms)


def sighting(*addresses: str, seen: float = 0.0, hub: HubId = ELM, port: int | None = 8448) -> Sighting:
    return Sighting(hint_of(hub, "Elm Road", "0.1.0", sync_port=port), addresses, 8080, seen)


def test_the_nearest_address_comes_first_and_of_those_the_newest():
    heard = [
        "10.42.0.1",
        "fe80::9%3",
        "192.168.1.9",
        "2001:db8:1::9",
        "192.168.1.7",
        "169.254.3.3",
        "fd00::9",
    ]
    assert believable(heard, HERE) == (
        "192.168.1.9", "2001:db8:1::9", "192.168.1.7", "10.42.0.1", "fd00::9", "fe80::9%3", "169.254.3.3",
    )  # fmt: skip


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "::1", "0.0.0.0", "::",  # noqa: S104
        "224.0.0.251", "ff02::fb", "8.8.8.8", "2001:db8:2::9", "fe80::9",
        "::ffff:8.8.8.8", "::ffff:10.0.0.1", "64:ff9b::808:808", "255.255.255.255", "192.0.2.1", "100.64.0.1",
        "240.0.0.1", "", "elm-road.local", "10.0.0.1/24", "10.0.0",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_a_neighbours_is_not_believed(address):
    assert believable([address], HERE) == ()


def test_a_public_address_in_the_own_network_is_believed():
    assert believable(["100.64.0.9"], [LocalAddress("eth0", "100.64.0.1", 24)]) == ("100.64.0.9",)


@given(st.lists(st.ip_addresses().map(str), max_size=12), st.lists(st.ip_addresses(v=4).map(str), max_size=3))
def test_what_is_believed_was_heard_and_would_not_leave_the_building(heard, own):
    here = [LocalAddress("eth0", ip, 24) for ip in own]
    told = believable(heard, here)
    assert set(told) <= set(heard)
    for each in told:
        address = ipaddress.ip_address(each)
        assert address.is_private or any(address in local.network for local in here)


def test_what_worked_is_dialled_first_then_what_is_near():
    known = [
        remembered(Address("10.9.9.9", 8448), good_ms=5),
        remembered(Address("elm.example", 9000)),
        remembered(Address("10.8.8.8", 8448), good_ms=9),
        remembered(Address("172.16.0.1", 8448)),
    ]
    heard = [
        sighting("192.168.1.7", "fe80::7%2", seen=1.0),
        sighting("192.168.1.9", "10.8.8.8", seen=2.0),
        sighting("192.168.1.66", hub=HubId(bytes(32)), seen=3.0),
    ]
    assert [place.host for place in places_to_try(known, heard, ELM, HERE)] == [
        "10.8.8.8", "10.9.9.9", "elm.example", "192.168.1.9", "192.168.1.7", "172.16.0.1", "fe80::7%2",
    ]  # fmt: skip


def test_a_hub_that_does_not_say_where_it_syncs_is_not_dialled_by_what_was_heard():
    assert places_to_try([], [sighting("192.168.1.7", port=None)], ELM, HERE) == ()
    assert sighting("192.168.1.7", port=None).pairing_places() == ()


def test_however_much_is_announced_or_remembered_a_round_of_dialling_ends():
    past = [remembered(Address(f"10.0.0.{n}", 8448), good_ms=n) for n in range(100)]
    lies = [sighting(*(f"192.168.1.{n}" for n in range(8)), seen=float(n)) for n in range(100)]
    places = places_to_try(past, lies, ELM, HERE)
    assert len(places) == reaching.MAX_PLACES
    assert places[0] == Address("10.0.0.99", 8448)
    assert places[reaching.MAX_REMEMBERED].host.startswith("192.168.1.")


def test_a_sweep_asks_the_own_networks_and_never_more_than_a_24():
    asked = sweepable([LocalAddress("eth0", "10.1.2.3", 8), LocalAddress("wlan0", "192.168.7.1", 28)])
    assert len(asked) == 253 + 13
    assert asked[0] == "10.1.2.1"
    assert "10.1.2.3" not in asked
    assert "10.1.3.1" not in asked
    assert asked[-1] == "192.168.7.14"


def test_a_sweep_does_not_touch_public_networks_tunnels_or_link_local_ones():
    here = [
        LocalAddress("lo", "127.0.0.1", 8), LocalAddress("eth0", "81.2.69.142", 24),
        LocalAddress("eth1", "169.254.1.1", 16), LocalAddress("wg0", "10.9.0.1", 24),
        LocalAddress("eth0", "fd00::1", 64),
    ]  # fmt: skip
    assert sweepable(here) == ()
    assert sweepable([]) == ()
